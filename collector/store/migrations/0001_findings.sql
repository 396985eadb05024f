-- Telemetry and events are in the partitions: migrations/partition.
CREATE TABLE findings (
    emission BIGINT NOT NULL,
    id VARCHAR NOT NULL,
    session VARCHAR,
    detector VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    at_ns BIGINT NOT NULL,
    body VARCHAR NOT NULL,
    -- Findings are appended in the order of the steps they were made at, so that this column spares reading most of them.
    step_seq BIGINT
);
