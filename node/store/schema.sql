-- Facts (fact_*) are written once and never changed; everything in derived_* can be derived from them again;
-- records (record_*) are results that were shown to somebody and never change. state_* is bookkeeping of delivery.
-- People query the views, never these tables. Times: ISO 8601 in UTC; dates: YYYY-MM-DD, local to the site.

-- ---- facts -----------------------------------------------------------------------------------------------------
CREATE TABLE fact_site (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- One row per distinct DICOM data set; its bytes lie in the archive under their SHA-256. The UIDs are those by which its
-- sender named it, as sent: they may be none.
CREATE TABLE fact_object (
    object_id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    size_bytes INTEGER NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL
) STRICT;
CREATE INDEX fact_object_sop ON fact_object (sop_instance_uid);

-- One row per acknowledged C-STORE; the first of an object is its arrival, later ones are the same bytes again. A file
-- whose receiver was killed before it answered is taken in at the next start, from an empty AE title and address.
CREATE TABLE fact_object_receipt (
    receipt_id INTEGER PRIMARY KEY,
    object_id INTEGER NOT NULL REFERENCES fact_object,
    received_at TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    peer_address TEXT NOT NULL
) STRICT;
CREATE INDEX fact_object_receipt_object ON fact_object_receipt (object_id, received_at);

-- What a PACS answered to a C-FIND for the series of a study, empty when it does not know the study:
-- {"<SeriesInstanceUID>": {"images": n, "modality": "MR", "description": …, "body_part": …}, …}. Of each peer the newest
-- answer counts.
CREATE TABLE fact_study_query (
    query_id INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    series TEXT NOT NULL CHECK (json_valid(series))
) STRICT;
CREATE INDEX fact_study_query_study ON fact_study_query (study_instance_uid, peer, query_id);

-- A person gave a corrected file in place of an object that could not be taken in, or took it in itself by the names in
-- its data set (corrected_id = object_id). The newest of an object holds.
CREATE TABLE fact_correction (
    correction_id INTEGER PRIMARY KEY,
    object_id INTEGER NOT NULL REFERENCES fact_object,
    corrected_id INTEGER NOT NULL REFERENCES fact_object,
    corrected_at TEXT NOT NULL,
    corrected_by TEXT NOT NULL
) STRICT;
CREATE INDEX fact_correction_object ON fact_correction (object_id);

-- A sender asked whether objects are kept (Storage Commitment, N-ACTION): [[SOP Class UID, SOP Instance UID], …]. One
-- without a row in record_commitment is pending.
CREATE TABLE fact_commitment_request (
    request_id INTEGER PRIMARY KEY,
    transaction_uid TEXT NOT NULL,
    requested_at TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    peer_address TEXT NOT NULL,
    instances TEXT NOT NULL CHECK (json_valid(instances))
) STRICT;

-- One row per distinct MLLP frame (the bytes between SB and EB). Same bytes again: a further receipt only.
CREATE TABLE fact_frame (
    frame_id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    raw BLOB NOT NULL
) STRICT;

CREATE TABLE fact_frame_receipt (
    receipt_id INTEGER PRIMARY KEY,
    frame_id INTEGER NOT NULL REFERENCES fact_frame,
    received_at TEXT NOT NULL,
    peer_address TEXT NOT NULL,
    ack TEXT NOT NULL
) STRICT;
CREATE INDEX fact_frame_receipt_frame ON fact_frame_receipt (frame_id, received_at);

-- What a reader placed: {"slice": n, "frame": n (of a multi-frame image only), "L1": [row, col, radius_px], … "CSF": […]}.
-- The newest of a series is in effect;
-- who returns to an earlier one gives it again.
CREATE TABLE fact_reading (
    reading_id INTEGER PRIMARY KEY,
    series_instance_uid TEXT NOT NULL,
    reader TEXT NOT NULL,
    rois TEXT NOT NULL CHECK (json_valid(rois)),
    approves TEXT,                       -- name and version of the algorithm whose circles the reader took as they were
    added_at TEXT NOT NULL
) STRICT;
CREATE INDEX fact_reading_series ON fact_reading (series_instance_uid);

-- A cohort table as the site gave it. The newest file that names an id decides that id's row.
CREATE TABLE fact_import (
    import_id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    file_name TEXT NOT NULL,
    content BLOB NOT NULL,
    imported_at TEXT NOT NULL
) STRICT;

-- A person (or the rule in force) adopted or retired a threshold version.
CREATE TABLE fact_threshold_decision (
    decision_id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL REFERENCES record_threshold,
    decision TEXT NOT NULL CHECK (decision IN ('adopted', 'retired')),
    decided_at TEXT NOT NULL,
    decided_by TEXT NOT NULL
) STRICT;

-- A person decided whether two numbers that differ in leading zeros only are one patient. The newest of a pair holds.
CREATE TABLE fact_identity_decision (
    decision_id INTEGER PRIMARY KEY,
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    other_patient_id TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('confirmed', 'rejected')),
    decided_at TEXT NOT NULL,
    decided_by TEXT NOT NULL
) STRICT;

-- ---- derived ---------------------------------------------------------------------------------------------------
-- Decisions about patient numbers that have taken effect.
CREATE TABLE derived_identity_decision (decision_id INTEGER PRIMARY KEY REFERENCES fact_identity_decision) STRICT;

-- Answers of a PACS that have taken effect.
CREATE TABLE derived_study_query (query_id INTEGER PRIMARY KEY REFERENCES fact_study_query) STRICT;

-- Headers of every object that could be read as DICOM. `headers` is the JSON of what the choice of series needs.
CREATE TABLE derived_instance (
    object_id INTEGER PRIMARY KEY REFERENCES fact_object,
    sop_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    modality TEXT,
    instance_number INTEGER,
    headers TEXT NOT NULL CHECK (json_valid(headers))
) STRICT;
CREATE INDEX derived_instance_study ON derived_instance (study_instance_uid);
CREATE INDEX derived_instance_series ON derived_instance (series_instance_uid, instance_number);

-- One row per series of a study that has been quiet for the set time. A study without rows, or with stale ones, is
-- pending: a new image makes the study's rows stale, and they hold until the study is quiet and judged again.
CREATE TABLE derived_series (
    series_instance_uid TEXT PRIMARY KEY,
    study_instance_uid TEXT NOT NULL,
    patient_authority TEXT,
    patient_id TEXT,
    birth_date TEXT,
    sex TEXT,
    study_date TEXT,
    modality TEXT,
    description TEXT,
    scanner_stratum TEXT,
    instances INTEGER NOT NULL,
    instances_sha256 TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('t1_sagittal', 'undecided', 'other')),
    chosen INTEGER NOT NULL CHECK (chosen IN (0, 1)),
    inputs_sha256 TEXT,                  -- of what an automatic measurement of the study looks at; of candidates only
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    protocol TEXT NOT NULL CHECK (json_valid(protocol)),
    last_received_at TEXT NOT NULL,
    missing_slices INTEGER NOT NULL,
    completeness TEXT NOT NULL CHECK (completeness IN ('complete', 'incomplete', 'unverified')),
    completeness_reasons TEXT NOT NULL CHECK (json_valid(completeness_reasons)),
    expected_instances INTEGER,
    stale INTEGER NOT NULL DEFAULT 0 CHECK (stale IN (0, 1))
) STRICT;
CREATE INDEX derived_series_patient ON derived_series (patient_authority, patient_id);
CREATE INDEX derived_series_study ON derived_series (study_instance_uid);
CREATE INDEX derived_series_incomplete ON derived_series (series_instance_uid) WHERE completeness = 'incomplete';
CREATE INDEX derived_series_chosen ON derived_series (study_instance_uid, series_instance_uid, inputs_sha256, stale)
    WHERE chosen = 1;

-- Series of a judged study that a PACS has by its newest answer and of which nothing came. of_use: MR, and no other part
-- of the body is named; t1_sagittal: and it calls itself so.
CREATE TABLE derived_unsent_series (
    study_instance_uid TEXT NOT NULL,
    peer TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    modality TEXT,
    description TEXT,
    instances INTEGER NOT NULL,
    of_use INTEGER NOT NULL CHECK (of_use IN (0, 1)),
    t1_sagittal INTEGER NOT NULL CHECK (t1_sagittal IN (0, 1)),
    PRIMARY KEY (study_instance_uid, peer, series_instance_uid)
) STRICT;

-- One row per reading of a series as it stands (instances_sha256 is that of its row in derived_series), and one per
-- automatic measurement of it as it stood each time its study had become quiet (inputs_sha256; current = 1: as it
-- stands). In effect is the newest reading, without one the current automatic measurement.
CREATE TABLE derived_measurement (
    series_instance_uid TEXT NOT NULL,
    source TEXT NOT NULL,                -- auto, or reading:NAME
    reading_id INTEGER REFERENCES fact_reading,
    instances_sha256 TEXT NOT NULL,
    current INTEGER NOT NULL DEFAULT 1 CHECK (current IN (0, 1)),
    sop_instance_uid TEXT,
    instance_number INTEGER,
    frame_number INTEGER,
    status TEXT NOT NULL CHECK (status IN ('measured', 'review', 'rejected')),
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    vbq_mean REAL,
    vbq_median REAL,
    vbq_sd REAL,
    levels_confidence REAL,
    rois TEXT NOT NULL CHECK (json_valid(rois)),
    algorithm_name TEXT NOT NULL,
    algorithm_version TEXT NOT NULL,
    CHECK ((source = 'auto') = (reading_id IS NULL))
) STRICT;
CREATE UNIQUE INDEX derived_measurement_reading ON derived_measurement (series_instance_uid, reading_id)
    WHERE reading_id IS NOT NULL;
CREATE UNIQUE INDEX derived_measurement_auto ON derived_measurement (series_instance_uid, instances_sha256)
    WHERE reading_id IS NULL;
CREATE INDEX derived_measurement_review ON derived_measurement (series_instance_uid)
    WHERE status = 'review' AND source = 'auto' AND current = 1;
CREATE INDEX derived_measurement_series ON derived_measurement (series_instance_uid, current, reading_id);

-- One row per message of a frame (a frame may be a batch).
CREATE TABLE derived_message (
    frame_id INTEGER NOT NULL REFERENCES fact_frame,
    position INTEGER NOT NULL,
    control_id TEXT,
    type TEXT,
    version TEXT,
    sender TEXT,
    sent_at TEXT,
    processing_id TEXT,
    status TEXT NOT NULL CHECK (status IN ('used', 'held', 'refused', 'ignored')),
    reason TEXT,
    PRIMARY KEY (frame_id, position)
) STRICT;

-- What a message says about one patient, as typed JSON: kind 'specimen', 'patient', 'appointment', 'merge'.
CREATE TABLE derived_extract (
    frame_id INTEGER NOT NULL REFERENCES fact_frame,
    position INTEGER NOT NULL,
    item INTEGER NOT NULL,
    kind TEXT NOT NULL,
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    sent_at TEXT,
    content TEXT NOT NULL CHECK (json_valid(content)),
    PRIMARY KEY (frame_id, position, item)
) STRICT;
CREATE INDEX derived_extract_patient ON derived_extract (authority, patient_id);
CREATE INDEX derived_extract_kind ON derived_extract (kind);

-- Every patient number seen, and the person it leads to after merges.
CREATE TABLE derived_identifier (
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    person TEXT NOT NULL,
    PRIMARY KEY (authority, patient_id)
) STRICT;
CREATE INDEX derived_identifier_person ON derived_identifier (person);
CREATE INDEX derived_identifier_stripped ON derived_identifier (authority, ltrim(patient_id, '0'));

-- A person without a row here is pending: anything new about the person deletes the row, the link step derives
-- the person's blood counts, operations and links anew and writes it back.
CREATE TABLE derived_person (
    person TEXT PRIMARY KEY,
    pseudonym TEXT NOT NULL UNIQUE,
    birth_date TEXT,
    sex TEXT,
    contradiction TEXT
) STRICT;

CREATE TABLE derived_blood_count (
    person TEXT NOT NULL,
    specimen TEXT NOT NULL,
    taken_at TEXT,
    date_only INTEGER NOT NULL,
    status TEXT NOT NULL,
    basis TEXT,
    neutrophils_10e9_per_l REAL,
    lymphocytes_10e9_per_l REAL,
    platelets_10e9_per_l REAL,
    leukocytes_10e9_per_l REAL,
    nlr REAL,
    plr REAL,
    notes TEXT NOT NULL CHECK (json_valid(notes)),
    PRIMARY KEY (person, specimen)
) STRICT;

CREATE TABLE derived_operation (
    person TEXT NOT NULL,
    booking TEXT NOT NULL,
    planned_at TEXT NOT NULL,
    date_only INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    procedure TEXT,
    moved_from TEXT,
    PRIMARY KEY (person, booking)
) STRICT;

-- One row per patient and operation (or per provisional pair), what it links or exactly why not.
CREATE TABLE derived_link (
    episode TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    person TEXT NOT NULL,
    booking TEXT,
    status TEXT NOT NULL CHECK (status IN ('linked', 'incomplete', 'held', 'cancelled', 'provisional')),
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    surgery_date TEXT,
    series_instance_uid TEXT,
    mri_date TEXT,
    specimen TEXT,
    cbc_date TEXT,
    scanner_stratum TEXT,
    vbq REAL,
    vbq_sd REAL,
    age INTEGER,
    sex_male INTEGER,
    smoking INTEGER,
    diabetes INTEGER,
    hypertension INTEGER,
    calcium INTEGER,
    diagnosis TEXT,
    bmi REAL,
    neutrophils REAL,
    lymphocytes REAL,
    platelets REAL,
    nlr REAL,
    plr REAL,
    t_score REAL,
    bmd_g_per_cm2 REAL,
    hu REAL,
    event INTEGER,
    eligible INTEGER NOT NULL CHECK (eligible IN (0, 1)),
    exclusion_reasons TEXT NOT NULL CHECK (json_valid(exclusion_reasons))
) STRICT;
CREATE INDEX derived_link_person ON derived_link (person);

CREATE TABLE derived_import_row (
    id TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    import_id INTEGER NOT NULL REFERENCES fact_import,
    line INTEGER NOT NULL,
    vbq REAL, age REAL, sex_male INTEGER, smoking INTEGER, diabetes INTEGER, hypertension INTEGER, calcium INTEGER,
    diagnosis TEXT, bmi REAL, neutrophils REAL, lymphocytes REAL, platelets REAL, nlr REAL, plr REAL,
    surgery_date TEXT, mri_date TEXT, cbc_date TEXT, scanner_stratum TEXT,
    t_score REAL, bmd_g_per_cm2 REAL, hu REAL, event INTEGER,
    eligible INTEGER NOT NULL CHECK (eligible IN (0, 1)),
    exclusion_reasons TEXT NOT NULL CHECK (json_valid(exclusion_reasons))
) STRICT;

-- What needs a person, found while deriving. `source` names the fact: 'object 3fa2bc91d0e4' (start
-- of its SHA-256), 'message 91d0e43fa2bc.1', 'import 2 line 9', 'series 1.2.3'.
CREATE TABLE derived_problem (
    step TEXT NOT NULL,
    source TEXT NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (step, source, code, detail)
) STRICT;

-- ---- records ---------------------------------------------------------------------------------------------------
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

-- ---- state -----------------------------------------------------------------------------------------------------
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
