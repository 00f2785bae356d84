-- Schema 1, facts: written once, durable before they are acknowledged, never changed (triggers abort it). Read with the
-- files of migrations/, which hold what came later; README.md says how to add a table. Frozen: never edit this file.
-- Times: ISO 8601 in UTC; dates: YYYY-MM-DD, local to the site. People query the views, never these tables.

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
