CREATE TABLE spans (
    commit_seq BIGINT NOT NULL,
    arrival_ns BIGINT,
    tenant VARCHAR NOT NULL,
    trace_id VARCHAR NOT NULL,
    span_id VARCHAR NOT NULL,
    parent_span_id VARCHAR,
    trace_state VARCHAR,
    name VARCHAR,
    kind UTINYINT,
    start_ns UBIGINT,
    end_ns UBIGINT,
    status_code UTINYINT,
    status_message VARCHAR,
    scope_name VARCHAR,
    scope_version VARCHAR,
    service_name VARCHAR,
    resource VARCHAR,
    attributes VARCHAR,
    events VARCHAR,
    links VARCHAR,
    dropped UINTEGER
);
CREATE TABLE logs (
    commit_seq BIGINT NOT NULL,
    arrival_ns BIGINT,
    tenant VARCHAR NOT NULL,
    log_key BLOB NOT NULL,
    time_ns UBIGINT,
    observed_ns UBIGINT,
    severity UTINYINT,
    severity_text VARCHAR,
    event_name VARCHAR,
    trace_id VARCHAR,
    span_id VARCHAR,
    scope_name VARCHAR,
    scope_version VARCHAR,
    service_name VARCHAR,
    resource VARCHAR,
    body VARCHAR,
    attributes VARCHAR,
    dropped UINTEGER
);
CREATE TABLE events (
    seq BIGINT NOT NULL,
    session VARCHAR,
    kind VARCHAR NOT NULL,
    body VARCHAR NOT NULL
);
CREATE TABLE findings (
    emission BIGINT NOT NULL,
    id VARCHAR NOT NULL,
    session VARCHAR,
    detector VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    at_ns BIGINT NOT NULL,
    body VARCHAR NOT NULL
);
-- For people with a SQL prompt: one row per step, as first recorded (amendments and retractions are events of their own).
CREATE VIEW steps AS
SELECT seq, session,
       body->>'kind' AS kind, body->>'name' AS name, body->>'agent' AS agent,
       CAST(body->>'started_ns' AS UBIGINT) AS started_ns, CAST(body->>'ended_ns' AS UBIGINT) AS ended_ns,
       body->>'trace_id' AS trace_id, body->>'span_id' AS span_id,
       CAST(body->>'input_tokens' AS BIGINT) AS input_tokens, CAST(body->>'output_tokens' AS BIGINT) AS output_tokens,
       CAST(body->>'cost_usd' AS DECIMAL(18, 9)) AS cost_usd,
       CAST(body->>'error' AS BOOLEAN) AS error,
       body->>'arguments' AS arguments, body->>'result' AS result, body
FROM events WHERE kind = 'step';
