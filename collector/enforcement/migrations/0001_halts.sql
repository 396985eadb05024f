-- Where each session stands: its generation, and the halt or pause that holds it.
CREATE TABLE stances (
  session TEXT PRIMARY KEY,
  generation INTEGER NOT NULL DEFAULT 0,
  active_halt TEXT
) WITHOUT ROWID;

-- A session that was merged away, and the one that stands for it now (never itself absorbed).
CREATE TABLE merges (
  absorbed TEXT PRIMARY KEY,
  survivor TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX merges_by_survivor ON merges (survivor);

CREATE TABLE halts (
  halt_id TEXT PRIMARY KEY,
  session TEXT NOT NULL,
  generation INTEGER NOT NULL,
  verb TEXT NOT NULL,
  halt_reason TEXT,
  finding TEXT,
  requested_by TEXT NOT NULL,
  note TEXT NOT NULL,
  state TEXT NOT NULL,
  requested_ns INTEGER NOT NULL,
  delivered_ns INTEGER,
  acknowledged_ns INTEGER,
  stopped_ns INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0,
  last_error TEXT,
  assertion INTEGER NOT NULL DEFAULT 1,
  subject TEXT NOT NULL
);
CREATE INDEX halts_by_session ON halts (session, generation);
CREATE INDEX halts_by_finding ON halts (finding) WHERE finding IS NOT NULL;
CREATE INDEX halts_by_state ON halts (state);

-- One row for each message to each runtime. `message_id` is the webhook-id of all its attempts.
CREATE TABLE outbox (
  message_id TEXT PRIMARY KEY,
  halt_id TEXT NOT NULL REFERENCES halts (halt_id),
  url TEXT NOT NULL,
  body BLOB NOT NULL,
  created_ns INTEGER NOT NULL,
  next_attempt_ns INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL CHECK (state IN ('pending', 'claimed', 'answered', 'abandoned', 'superseded', 'removed')),
  last_error TEXT
);
CREATE INDEX outbox_due ON outbox (url, next_attempt_ns) WHERE state IN ('pending', 'claimed');
CREATE INDEX outbox_by_halt ON outbox (halt_id);

-- Written before the runtime is called; `outcome` stays NULL where we crashed in between.
CREATE TABLE attempts (
  message_id TEXT NOT NULL REFERENCES outbox (message_id),
  attempt INTEGER NOT NULL,
  started_ns INTEGER NOT NULL,
  ended_ns INTEGER,
  outcome TEXT,
  detail TEXT,
  PRIMARY KEY (message_id, attempt)
) WITHOUT ROWID;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at_ns INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  session TEXT,
  halt_id TEXT,
  detail TEXT NOT NULL
);
CREATE INDEX audit_by_session ON audit (session, id);
