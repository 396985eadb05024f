-- What is normal for each agent type: sketches of finished sessions, and the last published figures.
CREATE TABLE baselines (
    agent_type TEXT PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;
