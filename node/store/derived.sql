-- Everything here can be derived again from the facts, and is: when this definition differs from that of the database,
-- all derived_* tables are dropped, made as they stand here, and the steps fill them. So edit freely; no migration.
-- A step that makes something else of the same facts without a change here raises DERIVATION in schema.py.

-- Decisions about patient numbers that have taken effect.
CREATE TABLE derived_identity_decision (decision_id INTEGER PRIMARY KEY REFERENCES fact_identity_decision) STRICT;

-- Decisions about the signs of a person that have taken effect.
CREATE TABLE derived_signs_decision (decision_id INTEGER PRIMARY KEY REFERENCES fact_signs_decision) STRICT;

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
    headers TEXT NOT NULL CHECK (json_valid(headers)),
    content_of INTEGER REFERENCES fact_object,  -- earlier object of the same image, the same but for whose it is
    known_since TEXT,                    -- when its pixels came first, where that was in an earlier object
    settled_at TEXT,                     -- when it took effect in place of another, or came back
    rejected TEXT                        -- code of the note by which a PACS has taken it back
) STRICT;
CREATE INDEX derived_instance_sop ON derived_instance (sop_instance_uid);
CREATE INDEX derived_instance_study ON derived_instance (study_instance_uid);
CREATE INDEX derived_instance_series ON derived_instance (series_instance_uid, instance_number);

-- Objects in whose place a later one of the same SOP Instance UID stands: they are kept, and count for nothing. changed:
-- what the later one says otherwise, a JSON array; told = 1: and a person should know. sent_by: who sent the later one.
CREATE TABLE derived_superseded (
    object_id INTEGER PRIMARY KEY REFERENCES fact_object,
    sop_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    modality TEXT,
    instance_number INTEGER,
    headers TEXT NOT NULL CHECK (json_valid(headers)),
    replaced_by INTEGER NOT NULL REFERENCES fact_object,
    changed TEXT NOT NULL CHECK (json_valid(changed)),
    sent_by TEXT NOT NULL,
    told INTEGER NOT NULL CHECK (told IN (0, 1))
) STRICT;
CREATE INDEX derived_superseded_sop ON derived_superseded (sop_instance_uid);
CREATE INDEX derived_superseded_series ON derived_superseded (series_instance_uid, instance_number);

-- SOP Instance UIDs of which several objects stand, until a person decides: their pixels differ, or cannot be compared
-- (a file is gone), or the later one came from a peer that may not correct the earlier.
CREATE TABLE derived_undecided (
    sop_instance_uid TEXT NOT NULL,
    series_instance_uid TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    why TEXT NOT NULL CHECK (why IN ('pixels', 'gone', 'peer')),
    PRIMARY KEY (sop_instance_uid, series_instance_uid, study_instance_uid)
) STRICT;

-- SOP Instance UIDs of which it is to be judged again which object holds.
CREATE TABLE derived_resent (sop_instance_uid TEXT PRIMARY KEY) STRICT;

-- Up to which receipt it is known what came again, and which decisions about studies have taken effect.
CREATE TABLE derived_receipts_read (only INTEGER PRIMARY KEY CHECK (only = 1), receipt_id INTEGER NOT NULL) STRICT;
CREATE TABLE derived_study_decision (decision_id INTEGER PRIMARY KEY REFERENCES fact_study_decision) STRICT;

-- What a rejection note (object_id; IHE IOCM) takes back.
CREATE TABLE derived_rejection (
    object_id INTEGER NOT NULL REFERENCES fact_object,
    sop_instance_uid TEXT NOT NULL,
    code TEXT NOT NULL,
    PRIMARY KEY (object_id, sop_instance_uid)
) STRICT;
CREATE INDEX derived_rejection_sop ON derived_rejection (sop_instance_uid);

-- Patients whose number stands in images that are linked to nobody, and why.
CREATE TABLE derived_claim (
    study_instance_uid TEXT NOT NULL,
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    reason TEXT NOT NULL CHECK (json_valid(reason)),
    PRIMARY KEY (study_instance_uid, authority, patient_id)
) STRICT;
CREATE INDEX derived_claim_patient ON derived_claim (authority, patient_id);

-- One row per series of a study that has been quiet for the set time. A study without rows, or with stale ones, is
-- pending: a new image makes the study's rows stale, and they hold until the study is quiet and judged again.
CREATE TABLE derived_series (
    series_instance_uid TEXT PRIMARY KEY,
    public_id TEXT,                      -- what stands for the UID in addresses of the pages
    study_instance_uid TEXT NOT NULL,
    patient_authority TEXT,
    patient_id TEXT,
    birth_date TEXT,
    sex TEXT,
    accession_number TEXT,
    study_date TEXT,
    began_at TEXT,                       -- null where the images give no time of day
    postoperative INTEGER NOT NULL DEFAULT 0 CHECK (postoperative IN (0, 1)),  -- by its descriptions
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
    protocol_warnings TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(protocol_warnings)),
    last_received_at TEXT NOT NULL,
    missing_slices INTEGER NOT NULL,
    completeness TEXT NOT NULL CHECK (completeness IN ('complete', 'incomplete', 'unverified')),
    completeness_reasons TEXT NOT NULL CHECK (json_valid(completeness_reasons)),
    expected_instances INTEGER,
    -- The images name a patient, but are linked to nobody; a PACS has taken all of it back.
    withheld INTEGER NOT NULL DEFAULT 0 CHECK (withheld IN (0, 1)),
    withdrawn INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1)),
    -- Reasons: what of it a PACS has taken back by a note; what a PACS has no longer by its answer.
    rejections TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(rejections)),
    fewer TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(fewer)),
    stale INTEGER NOT NULL DEFAULT 0 CHECK (stale IN (0, 1))
) STRICT;
CREATE INDEX derived_series_patient ON derived_series (patient_authority, patient_id);
CREATE INDEX derived_series_roles ON derived_series (study_instance_uid, role, stale, withdrawn);
CREATE INDEX derived_series_rejections ON derived_series (series_instance_uid) WHERE rejections <> '[]';
CREATE INDEX derived_series_fewer ON derived_series (series_instance_uid) WHERE fewer <> '[]';
CREATE INDEX derived_series_nobodys ON derived_series (study_instance_uid) WHERE patient_id IS NULL;
CREATE INDEX derived_series_public ON derived_series (public_id);
CREATE INDEX derived_series_study ON derived_series (study_instance_uid);
CREATE INDEX derived_series_incomplete ON derived_series (series_instance_uid) WHERE completeness = 'incomplete';
CREATE INDEX derived_series_chosen ON derived_series (study_instance_uid, series_instance_uid, inputs_sha256, stale)
    WHERE chosen = 1;

-- The names of the patient that images of a series state, as hashes under the key of the node.
CREATE TABLE derived_series_names (
    series_instance_uid TEXT PRIMARY KEY,
    names TEXT NOT NULL CHECK (json_valid(names))
) STRICT;

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
    doubts INTEGER NOT NULL DEFAULT 0,   -- so many of its reasons, the last ones, are of the series and may go again
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
    beside TEXT CHECK (json_valid(beside)), -- S1 and end plates; automatic ones only
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
CREATE INDEX derived_measurement_doubtful ON derived_measurement (status) WHERE status IN ('review', 'rejected');
CREATE INDEX derived_measurement_series ON derived_measurement (series_instance_uid, current, reading_id);

-- SHA-256 of the pixels of the slice on which a series as it stands was measured automatically.
CREATE TABLE derived_measured_pixels (
    series_instance_uid TEXT PRIMARY KEY,
    pixels_sha256 TEXT NOT NULL
) STRICT;
CREATE INDEX derived_measured_pixels_sha256 ON derived_measured_pixels (pixels_sha256);

-- Series of which another patient has the very pixels, and why they are linked to neither.
CREATE TABLE derived_shared_pixels (
    series_instance_uid TEXT PRIMARY KEY,
    reason TEXT NOT NULL CHECK (json_valid(reason))
) STRICT;

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
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    PRIMARY KEY (frame_id, position)
) STRICT;

CREATE INDEX derived_message_sender ON derived_message (sender);
CREATE INDEX derived_message_held ON derived_message (status) WHERE status IN ('held', 'refused');

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
    stated TEXT CHECK (json_valid(stated)),  -- of whom the number is: {source, birth_date, sex, names}, names as keyed hashes
    PRIMARY KEY (frame_id, position, item)
) STRICT;
CREATE INDEX derived_extract_patient ON derived_extract (authority, patient_id);
CREATE INDEX derived_extract_kind ON derived_extract (kind);
CREATE INDEX derived_extract_specimen ON derived_extract (content ->> '$.specimen', content ->> '$.taken_at')
    WHERE kind = 'specimen';
CREATE INDEX derived_extract_puzzling ON derived_extract (frame_id, position)
    WHERE kind = 'appointment' AND json_extract(content, '$.understood') IN ('unknown', 'unclear');

-- Messages with results of which nothing is understood, and rows of unknown codes; the reasons name a row (no value).
CREATE TABLE derived_unread (
    frame_id INTEGER NOT NULL REFERENCES fact_frame,
    position INTEGER NOT NULL,
    code TEXT NOT NULL,
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    PRIMARY KEY (frame_id, position, code, reasons)
) STRICT;

-- Every patient number seen, and the person it leads to after merges.
CREATE TABLE derived_identifier (
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    person TEXT NOT NULL,
    PRIMARY KEY (authority, patient_id)
) STRICT;
CREATE INDEX derived_identifier_zeros ON derived_identifier (authority, patient_id) WHERE substr(patient_id, 1, 1) = '0';
CREATE INDEX derived_identifier_person ON derived_identifier (person);
CREATE INDEX derived_identifier_stripped ON derived_identifier (authority, ltrim(patient_id, '0'));

-- A person without a row here is pending: anything new about the person deletes the row, the link step derives
-- the person's blood counts, operations and links anew and writes it back.
CREATE TABLE derived_person (
    person TEXT PRIMARY KEY,
    pseudonym TEXT NOT NULL UNIQUE,
    birth_date TEXT,
    sex TEXT,
    contradiction TEXT,
    only_counts INTEGER NOT NULL DEFAULT 0 CHECK (only_counts IN (0, 1))  -- nothing but blood counts is known
) STRICT;
CREATE INDEX derived_person_only_counts ON derived_person (pseudonym) WHERE only_counts = 1;

-- What states other signs (birth date, sex, name) than the person whom its number leads to, until somebody decides.
CREATE TABLE derived_doubt (
    person TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('message', 'image', 'number', 'merge')),
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    signs TEXT NOT NULL,                 -- digest of the signs, by which a decision names them
    sources TEXT NOT NULL CHECK (json_valid(sources)),  -- messages or series, as problems name them
    reason TEXT NOT NULL CHECK (json_valid(reason)),
    PRIMARY KEY (authority, patient_id, signs, kind)
) STRICT;
CREATE INDEX derived_doubt_person ON derived_doubt (person);

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
    monocytes_10e9_per_l REAL,
    nlr REAL,
    plr REAL,
    lmr REAL,
    sii REAL,
    siri REAL,
    notes TEXT NOT NULL CHECK (json_valid(notes)),
    PRIMARY KEY (person, specimen)
) STRICT;

CREATE INDEX derived_blood_count_held ON derived_blood_count (status) WHERE status = 'held';

-- Counts that nothing but their distance from what is usual may hold, as each is compared. doubt: why this one is held.
CREATE TABLE derived_sender_count (
    person TEXT NOT NULL,
    specimen TEXT NOT NULL,
    sender TEXT NOT NULL,
    taken_at TEXT,
    lymphocytes REAL,
    platelets REAL,
    plr REAL,
    nlr REAL,
    ratios INTEGER NOT NULL CHECK (ratios IN (0, 1)),  -- it has NLR and PLR
    confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1)),  -- its lymphocytes, by a second measurement
    platelets_confirmed INTEGER NOT NULL DEFAULT 0 CHECK (platelets_confirmed IN (0, 1)),  -- by the plateletcrit
    forms_agree INTEGER NOT NULL DEFAULT 0 CHECK (forms_agree IN (0, 1)),  -- counted and in percent, not by hand
    waits INTEGER NOT NULL DEFAULT 0 CHECK (waits IN (0, 1)),  -- for the sender's next counts
    doubt TEXT CHECK (json_valid(doubt)),
    PRIMARY KEY (person, specimen)
) STRICT;
CREATE INDEX derived_sender_count_doubt ON derived_sender_count (sender) WHERE doubt IS NOT NULL;
CREATE INDEX derived_sender_count_sender ON derived_sender_count (sender, taken_at);

-- What is usual of a sender's counts (ln), of the set of all of them. stale: the set has changed since.
CREATE TABLE derived_sender (
    sender TEXT PRIMARY KEY,
    persons INTEGER NOT NULL,
    norm TEXT NOT NULL CHECK (json_valid(norm)),
    stale INTEGER NOT NULL CHECK (stale IN (0, 1))
) STRICT;
CREATE INDEX derived_sender_stale ON derived_sender (sender) WHERE stale = 1;

CREATE TABLE derived_operation (
    person TEXT NOT NULL,
    booking TEXT NOT NULL,
    planned_at TEXT NOT NULL,
    date_only INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    procedure TEXT,
    surgeon_number TEXT,
    surgeon TEXT,
    service TEXT,
    procedure_class TEXT,                -- what conf/procedures.toml makes of it
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
    monocytes REAL,
    nlr REAL,
    plr REAL,
    lmr REAL,
    sii REAL,
    siri REAL,
    t_score REAL,
    bmd_g_per_cm2 REAL,
    hu REAL,
    event INTEGER,
    eligible INTEGER NOT NULL CHECK (eligible IN (0, 1)),
    exclusion_reasons TEXT NOT NULL CHECK (json_valid(exclusion_reasons))
) STRICT;
CREATE INDEX derived_link_held ON derived_link (episode) WHERE status = 'held';
CREATE INDEX derived_link_person ON derived_link (person);

CREATE TABLE derived_import_row (
    id TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    import_id INTEGER NOT NULL REFERENCES fact_import,
    line INTEGER NOT NULL,
    vbq REAL, age REAL, sex_male INTEGER, smoking INTEGER, diabetes INTEGER, hypertension INTEGER, calcium INTEGER,
    diagnosis TEXT, bmi REAL, neutrophils REAL, lymphocytes REAL, platelets REAL, nlr REAL, plr REAL,
    surgery_date TEXT, mri_date TEXT, cbc_date TEXT, scanner_stratum TEXT,
    t_score REAL, bmd_g_per_cm2 REAL, hu REAL, event INTEGER, monocytes REAL, lmr REAL, sii REAL, siri REAL,
    eligible INTEGER NOT NULL CHECK (eligible IN (0, 1)),
    exclusion_reasons TEXT NOT NULL CHECK (json_valid(exclusion_reasons))
) STRICT;

-- What needs a person, found while deriving. unit_kind and unit_key name the fact (an object or a frame by its SHA-256),
-- unit_part a part of it: the position of a message in its frame, the line of an imported file; 0: the whole.
CREATE TABLE derived_problem (
    step TEXT NOT NULL,
    unit_kind TEXT NOT NULL,
    unit_key TEXT NOT NULL,
    unit_part INTEGER NOT NULL DEFAULT 0,
    code TEXT NOT NULL,
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    PRIMARY KEY (step, unit_kind, unit_key, unit_part, code, reasons)
) STRICT;
