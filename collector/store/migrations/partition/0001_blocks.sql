CREATE TABLE spans (
    commit_seq BIGINT NOT NULL,
    arrival_ns BIGINT,
    block BIGINT NOT NULL,
    tenant VARCHAR NOT NULL,
    trace_id VARCHAR NOT NULL,
    span_id VARCHAR NOT NULL,
    parent_span_id VARCHAR,
    name VARCHAR,
    kind UTINYINT,
    start_ns UBIGINT,
    end_ns UBIGINT,
    status_code UTINYINT,
    service_name VARCHAR
);
CREATE TABLE logs (
    commit_seq BIGINT NOT NULL,
    arrival_ns BIGINT,
    block BIGINT NOT NULL,
    tenant VARCHAR NOT NULL,
    log_key BLOB NOT NULL,
    time_ns UBIGINT,
    severity UTINYINT,
    event_name VARCHAR,
    trace_id VARCHAR,
    span_id VARCHAR,
    service_name VARCHAR
);
-- What the rows above do not say, and the recorded events: collector/store/packing.py. The bodies are compressed already.
CREATE TABLE blocks (
    block BIGINT NOT NULL,
    commit_seq BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    arrival_ns BIGINT,
    sessions VARCHAR NOT NULL,
    kinds VARCHAR NOT NULL,
    events INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    notes VARCHAR,
    body BLOB NOT NULL USING COMPRESSION uncompressed
);
