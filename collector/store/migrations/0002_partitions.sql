-- Telemetry and events moved to the partitions: collector/store/upgrade.py. Findings stay here.
DROP VIEW steps;
DROP TABLE spans;
DROP TABLE logs;
DROP TABLE events;
-- Findings are appended in the order of the steps they were made at, so that this column spares reading most of them.
ALTER TABLE findings ADD COLUMN step_seq BIGINT;
UPDATE findings SET step_seq = CAST(body->>'step_seq' AS BIGINT);
