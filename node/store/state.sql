-- Schema 1, state: bookkeeping of delivery, of nights and of what the receivers refused. Read with the files of
-- migrations/, which hold what came later. Frozen: never edit this file.

CREATE TABLE state_delivery (
    mail_id INTEGER PRIMARY KEY REFERENCES record_mail,
    queued_at TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'sent', 'dead')),
    attempts INTEGER NOT NULL,
    next_attempt_at TEXT NOT NULL,
    leased_until TEXT,
    last_error TEXT,
    sent_at TEXT
) STRICT;

-- Questions to a PACS that it has not answered yet.
CREATE TABLE state_study_query (
    study_instance_uid TEXT NOT NULL,
    peer TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at TEXT NOT NULL,
    last_error TEXT NOT NULL,
    PRIMARY KEY (study_instance_uid, peer)
) STRICT;

-- Series that `vbq-node fetch` could not bring; a later fetch that can deletes the row.
CREATE TABLE state_fetch (
    peer TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    failed_at TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (peer, series_instance_uid)
) STRICT;

-- Up to which object it is settled what goes to a destination; what was there before it was set up does not. While it
-- cannot be reached: since when, how often it was tried, and when it is tried again.
CREATE TABLE state_destination (
    peer TEXT PRIMARY KEY,
    enrolled_object_id INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since TEXT,
    next_attempt_at TEXT,
    last_error TEXT
) STRICT;

-- Objects to be sent on, once per destination.
CREATE TABLE state_forward (
    peer TEXT NOT NULL,
    object_id INTEGER NOT NULL REFERENCES fact_object,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'sent', 'dead')),
    attempts INTEGER NOT NULL,
    next_attempt_at TEXT NOT NULL,
    last_error TEXT,
    sent_at TEXT,
    PRIMARY KEY (peer, object_id)
) STRICT;
CREATE INDEX state_forward_due ON state_forward (peer, next_attempt_at) WHERE status = 'waiting';
CREATE INDEX state_forward_dead ON state_forward (peer, object_id) WHERE status = 'dead';

-- Requests for Storage Commitment whose answer could not be delivered yet.
CREATE TABLE state_commitment (
    request_id INTEGER PRIMARY KEY REFERENCES fact_commitment_request,
    attempts INTEGER NOT NULL,
    next_attempt_at TEXT NOT NULL,
    last_error TEXT NOT NULL
) STRICT;

-- Who was not let in by the DICOM receiver and what it did not take, one row for each peer and reason; the receiver keeps
-- a bounded number of them for a month. settled_at: since then the same peer was let in.
CREATE TABLE state_refusal (
    peer_address TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    called_ae TEXT NOT NULL,
    reason TEXT NOT NULL,
    code TEXT NOT NULL,
    times INTEGER NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    settled_at TEXT,
    PRIMARY KEY (peer_address, calling_ae, called_ae, reason)
) STRICT;

-- What did not agree between archive and records when the receiver last started: the file of a record is missing or
-- cut off (damaged), or a file without a record is not what its name says (foreign).
CREATE TABLE state_archive (
    sha256 TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('missing', 'damaged', 'foreign'))
) STRICT;

-- The ledger of nights: both the scheduled job and the catch-up at start ask it before they run.
CREATE TABLE state_run (
    kind TEXT NOT NULL,
    night TEXT NOT NULL,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed')),
    detail TEXT,
    PRIMARY KEY (kind, night)
) STRICT;
