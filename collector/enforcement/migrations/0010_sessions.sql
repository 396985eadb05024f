-- The index of sessions: what lists, pages and restarts need without reading the event stream.
CREATE TABLE sessions (
    key TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    session_id TEXT NOT NULL,
    agent_type TEXT NOT NULL,
    state TEXT NOT NULL,
    last_seen_ns INTEGER NOT NULL,
    open_findings INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_by_id ON sessions (session_id);
CREATE INDEX sessions_by_time ON sessions (last_seen_ns DESC, key);
CREATE TABLE merged_sessions (
    absorbed TEXT PRIMARY KEY,
    session_id TEXT NOT NULL,
    survivor TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX merged_sessions_by_id ON merged_sessions (session_id);
-- One row: every event up to `seq` is reflected in the rows above.
CREATE TABLE session_index_state (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), seq INTEGER NOT NULL);
INSERT INTO session_index_state VALUES (1, 0);
