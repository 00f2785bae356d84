-- Schema 1, records: results that were shown to somebody, with what they came from; never changed (triggers abort it).
-- Read with the files of migrations/, which hold what came later. Frozen: never edit this file.

CREATE TABLE record_fit (
    fit_id TEXT PRIMARY KEY,
    night TEXT NOT NULL UNIQUE,
    made_at TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('fitted', 'refused')),
    reason TEXT,
    n_rows INTEGER NOT NULL,
    n_used INTEGER NOT NULL,
    df_resid INTEGER,
    r2 REAL,
    adj_r2 REAL,
    snapshot_sha256 TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    result TEXT NOT NULL CHECK (json_valid(result)),
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    code_version TEXT NOT NULL
) STRICT;

CREATE TABLE record_fit_term (
    fit_id TEXT NOT NULL REFERENCES record_fit,
    term TEXT NOT NULL,
    b REAL NOT NULL, se REAL NOT NULL, t REAL NOT NULL, p REAL NOT NULL,
    ci_low REAL NOT NULL, ci_high REAL NOT NULL,
    beta_std REAL, vif REAL, partial_r2 REAL,
    PRIMARY KEY (fit_id, term)
) STRICT;

CREATE TABLE record_threshold (
    version INTEGER PRIMARY KEY,
    night TEXT NOT NULL,
    method TEXT NOT NULL,
    n INTEGER NOT NULL,
    vbq REAL NOT NULL,
    nlr REAL NOT NULL,
    plr REAL NOT NULL,
    ratios TEXT NOT NULL,
    strata TEXT NOT NULL CHECK (json_valid(strata)),
    evidence TEXT NOT NULL CHECK (json_valid(evidence)),
    -- Why the rule of the settings will adopt it with the next night; null: only a person can.
    announced TEXT,
    snapshot_sha256 TEXT NOT NULL,
    proposed_at TEXT NOT NULL
) STRICT;

-- One row whenever an episode gets a tier, changes tier or leaves the list; the newest row of an episode holds.
CREATE TABLE record_flag (
    flag_id INTEGER PRIMARY KEY,
    night TEXT NOT NULL,
    episode TEXT NOT NULL,
    change TEXT NOT NULL CHECK (change IN ('new', 'changed', 'resolved')),
    tier TEXT CHECK (tier IN ('flagged', 'intermediate', 'lower')),
    previous_tier TEXT,
    cause TEXT NOT NULL,
    surgery_date TEXT NOT NULL,
    vbq REAL, nlr REAL, plr REAL,
    scanner_stratum TEXT,
    threshold_version INTEGER REFERENCES record_threshold,
    vbq_cut REAL,
    cut_of TEXT,
    vbq_sd REAL,
    near_cut INTEGER CHECK (near_cut IN (0, 1))
) STRICT;
CREATE INDEX record_flag_episode ON record_flag (episode, flag_id);

-- What was answered to a request for Storage Commitment, and confirmed as heard: how many objects were found on the
-- disk as received, and which not, with the reason code: [[SOP Class UID, SOP Instance UID, code], …].
CREATE TABLE record_commitment (
    request_id INTEGER PRIMARY KEY REFERENCES fact_commitment_request,
    answered_at TEXT NOT NULL,
    committed INTEGER NOT NULL,
    failed TEXT NOT NULL CHECK (json_valid(failed))
) STRICT;

CREATE TABLE record_report (
    report_id TEXT PRIMARY KEY,
    night TEXT NOT NULL,
    kind TEXT NOT NULL,
    made_at TEXT NOT NULL,
    fit_id TEXT REFERENCES record_fit,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    html TEXT NOT NULL,
    counts TEXT NOT NULL CHECK (json_valid(counts)),
    UNIQUE (night, kind)
) STRICT;

-- The rendered mail, once per recipient, written in the transaction of what it reports.
CREATE TABLE record_mail (
    mail_id INTEGER PRIMARY KEY,
    report_id TEXT NOT NULL REFERENCES record_report,
    recipient TEXT NOT NULL,
    message_id TEXT NOT NULL UNIQUE,
    mime BLOB NOT NULL,
    queued_at TEXT NOT NULL,
    UNIQUE (report_id, recipient)
) STRICT;
