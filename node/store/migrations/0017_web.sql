-- Who may log in to the pages, and what each may do there. password: an argon2 hash; none where a proxy says who it is.
CREATE TABLE state_user (
    name TEXT PRIMARY KEY,
    roles TEXT NOT NULL CHECK (json_valid(roles)),
    password TEXT,
    disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
    changed_at TEXT NOT NULL
) STRICT;

-- Who is logged in. Of the token that the browser has, only the digest is kept.
CREATE TABLE state_session (
    token_sha256 TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    form_token TEXT NOT NULL,            -- what a form must bring, so that no other site can send it
    began_at TEXT NOT NULL,
    seen_at TEXT NOT NULL
) STRICT;

-- Who is at which item of the worklist.
CREATE TABLE state_worklist (
    item TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    taken_at TEXT NOT NULL
) STRICT;

-- Who did or saw what in the pages. Each row seals the one before it: sha256 is that of its other columns as JSON.
CREATE TABLE record_audit (
    audit_id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    previous_sha256 TEXT NOT NULL,
    sha256 TEXT NOT NULL
) STRICT;

-- What a reader said of a series that it cannot be read, about its images as they were; or took back.
CREATE TABLE fact_series_decision (
    decision_id INTEGER PRIMARY KEY,
    series_instance_uid TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('unreadable', 'withdrawn')),
    why TEXT NOT NULL,
    instances_sha256 TEXT NOT NULL,
    decided_at TEXT NOT NULL,
    decided_by TEXT NOT NULL
) STRICT;
CREATE INDEX fact_series_decision_series ON fact_series_decision (series_instance_uid, decision_id);
