-- The snapshot for people who query: each view as a table of its name and columns, with keys. A test keeps the columns and
-- those of the views equal, and names what is missing here. node.db has all of it; of research.db see snapshot.py.
-- Who changes a table here raises SCHEMA in snapshot.py.

CREATE TABLE cohort (
    id TEXT NOT NULL PRIMARY KEY, vbq REAL, age REAL, sex_male INTEGER, smoking INTEGER, diabetes INTEGER, hypertension INTEGER,
    calcium INTEGER, diagnosis TEXT, bmi REAL, neutrophils REAL, lymphocytes REAL, platelets REAL, nlr REAL, plr REAL, site TEXT,
    scanner_stratum TEXT, surgery_date TEXT, mri_date TEXT, cbc_date TEXT, eligible INTEGER, exclusion_reasons TEXT, tier TEXT,
    vbq_sd REAL, t_score REAL, bmd_g_per_cm2 REAL, hu REAL, event INTEGER, exclusion_reason_codes TEXT, monocytes REAL, lmr REAL,
    sii REAL, siri REAL
);
CREATE INDEX cohort_surgery_date ON cohort (surgery_date);

CREATE TABLE flags (
    flag_id INTEGER PRIMARY KEY, night TEXT, id TEXT, patient TEXT, change TEXT, tier TEXT, previous_tier TEXT, cause TEXT,
    surgery_date TEXT, vbq REAL, nlr REAL, plr REAL, threshold_version INTEGER REFERENCES thresholds (version), vbq_cut REAL,
    nlr_cut REAL, plr_cut REAL, cut_of TEXT, scanner_stratum TEXT, vbq_sd REAL, near_cut INTEGER, latest INTEGER,
    reason_codes TEXT
);
CREATE INDEX flags_id ON flags (id);
CREATE INDEX flags_surgery_date ON flags (surgery_date);

CREATE TABLE measurements (
    measurement_id TEXT NOT NULL PRIMARY KEY, series_instance_uid TEXT REFERENCES series (series_instance_uid),
    sop_instance_uid TEXT, instance_number INTEGER, frame_number INTEGER, source TEXT, status TEXT, reasons TEXT,
    reason_codes TEXT, vbq_mean REAL, vbq_median REAL, vbq_sd REAL, levels_confidence REAL, l1_signal REAL, l2_signal REAL,
    l3_signal REAL, l4_signal REAL, csf_signal REAL, rois TEXT, algorithm_name TEXT, algorithm_version TEXT,
    study_instance_uid TEXT, patient_authority TEXT, patient_id TEXT, study_date TEXT, scanner_stratum TEXT,
    approved_algorithm TEXT, current INTEGER, in_effect INTEGER, segmental_vbq TEXT, s1_vbq REAL, ebq TEXT,
    t2_series_instance_uid TEXT, fluid_on_t2 TEXT, reading_id INTEGER REFERENCES readings (reading_id),
    measured_at TEXT
);
CREATE INDEX measurements_series_instance_uid ON measurements (series_instance_uid);
CREATE INDEX measurements_reading_id ON measurements (reading_id);

CREATE TABLE readings (
    reading_id INTEGER PRIMARY KEY, series_instance_uid TEXT REFERENCES series (series_instance_uid), reader TEXT, added_at TEXT,
    instance_number INTEGER, frame_number INTEGER, circles TEXT, approved_algorithm TEXT, picture TEXT, status TEXT, reasons TEXT,
    reason_codes TEXT, vbq_mean REAL, vbq_median REAL, vbq_sd REAL, previous_source TEXT, previous_vbq_mean REAL,
    in_effect INTEGER, withdrawn_at TEXT, withdrawn_by TEXT, withdrawn_why TEXT, step TEXT, independent INTEGER
);
CREATE INDEX readings_series_instance_uid ON readings (series_instance_uid);

CREATE TABLE blood_counts (
    patient TEXT NOT NULL, specimen TEXT NOT NULL, taken_at TEXT, date_only INTEGER, status TEXT, basis TEXT,
    neutrophils_10e9_per_l REAL, lymphocytes_10e9_per_l REAL, platelets_10e9_per_l REAL, leukocytes_10e9_per_l REAL, nlr REAL,
    plr REAL, notes TEXT, reason_codes TEXT, monocytes_10e9_per_l REAL, lmr REAL, sii REAL, siri REAL,
    PRIMARY KEY (patient, specimen)
);
CREATE INDEX blood_counts_taken_at ON blood_counts (taken_at);

CREATE TABLE operations (
    patient TEXT NOT NULL, patient_authority TEXT, patient_id TEXT, booking TEXT NOT NULL, planned_at TEXT, date_only INTEGER,
    cancelled INTEGER, moved_from TEXT, procedure TEXT, surgeon_number TEXT, surgeon TEXT, service TEXT, procedure_class TEXT,
    PRIMARY KEY (patient, booking)
);
CREATE INDEX operations_planned_at ON operations (planned_at);
CREATE INDEX operations_patient_id ON operations (patient_id);

CREATE TABLE links (
    id TEXT NOT NULL PRIMARY KEY, patient TEXT, booking TEXT, status TEXT, reasons TEXT, reason_codes TEXT, surgery_date TEXT,
    series_instance_uid TEXT REFERENCES series (series_instance_uid), mri_date TEXT, specimen TEXT, cbc_date TEXT,
    eligible INTEGER, exclusion_reasons TEXT, exclusion_reason_codes TEXT,
    FOREIGN KEY (patient, booking) REFERENCES operations (patient, booking),
    FOREIGN KEY (patient, specimen) REFERENCES blood_counts (patient, specimen)
);
CREATE INDEX links_patient ON links (patient);
CREATE INDEX links_series_instance_uid ON links (series_instance_uid);
CREATE INDEX links_surgery_date ON links (surgery_date);

CREATE TABLE fits (
    fit_id TEXT NOT NULL PRIMARY KEY, night TEXT, made_at TEXT, status TEXT, reason TEXT, n_rows INTEGER, n_used INTEGER,
    df_resid INTEGER, r2 REAL, adj_r2 REAL, snapshot_sha256 TEXT, code_version TEXT,
    erased_rows INTEGER
);

CREATE TABLE fit_terms (
    fit_id TEXT NOT NULL REFERENCES fits (fit_id), term TEXT NOT NULL, b REAL, se REAL, t REAL, p REAL, ci_low REAL, ci_high REAL,
    beta_std REAL, vif REAL, partial_r2 REAL,
    PRIMARY KEY (fit_id, term)
);

CREATE TABLE thresholds (
    version INTEGER PRIMARY KEY, night TEXT, method TEXT, n INTEGER, vbq REAL, nlr REAL, plr REAL, ratios TEXT, strata TEXT,
    evidence TEXT, announced TEXT, proposed_at TEXT, state TEXT, decided_at TEXT, decided_by TEXT
);

CREATE TABLE reports (
    report_id TEXT NOT NULL PRIMARY KEY, night TEXT, kind TEXT, made_at TEXT, fit_id TEXT REFERENCES fits (fit_id), subject TEXT,
    text TEXT, html TEXT, counts TEXT, mails INTEGER, mails_sent INTEGER
);

-- No key: two messages of several hundred thousand may share the twelve digits of their id.
CREATE TABLE messages (
    id TEXT NOT NULL, received_at TEXT, times_received INTEGER, type TEXT, version TEXT, control_id TEXT, sender TEXT,
    sent_at TEXT, processing_id TEXT, status TEXT, reason TEXT, reason_codes TEXT
);
CREATE INDEX messages_id ON messages (id);
CREATE INDEX messages_received_at ON messages (received_at);
CREATE INDEX messages_status ON messages (status);

CREATE TABLE series (
    series_instance_uid TEXT NOT NULL PRIMARY KEY, study_instance_uid TEXT, patient_authority TEXT, patient_id TEXT,
    identified INTEGER, study_date TEXT, modality TEXT, description TEXT, scanner_stratum TEXT, instances INTEGER,
    completeness TEXT, expected_instances INTEGER, completeness_reasons TEXT, completeness_reason_codes TEXT,
    last_received_at TEXT, role TEXT, chosen INTEGER, reasons TEXT, reason_codes TEXT, protocol TEXT, state TEXT, taken_back TEXT,
    accession_number TEXT
);
CREATE INDEX series_patient_id ON series (patient_id);
CREATE INDEX series_study_instance_uid ON series (study_instance_uid);
CREATE INDEX series_accession_number ON series (accession_number);

CREATE TABLE problems (
    step TEXT, source TEXT, code TEXT, detail TEXT, reason_codes TEXT
);
CREATE INDEX problems_source ON problems (source);

CREATE TABLE corrections (
    decision_id INTEGER PRIMARY KEY, kind TEXT, scanner TEXT, reference TEXT, decision TEXT, value REAL, ci_low REAL,
    ci_high REAL, n INTEGER, source TEXT, decided_at TEXT, decided_by TEXT, decided_why TEXT, in_force INTEGER
);

CREATE TABLE pool_exports (
    export_id INTEGER PRIMARY KEY, exported_at TEXT, n INTEGER, sums INTEGER, content TEXT
);

CREATE TABLE results (
    result_id INTEGER PRIMARY KEY, kind TEXT, destination TEXT, series_instance_uid TEXT REFERENCES series (series_instance_uid),
    study_instance_uid TEXT, version INTEGER, identifier TEXT, replaces TEXT, status TEXT, vbq_mean REAL, vbq_median REAL,
    vbq_sd REAL, nlr REAL, plr REAL, tier TEXT, threshold_version INTEGER REFERENCES thresholds (version), reason_codes TEXT,
    protocol TEXT, algorithm TEXT, approved_by TEXT, made_at TEXT, latest INTEGER, state TEXT, sent_at TEXT, attempts INTEGER,
    last_error TEXT, answered_at TEXT, sha256 TEXT, size_bytes INTEGER
);
CREATE INDEX results_series_instance_uid ON results (series_instance_uid);

CREATE TABLE audit (
    audit_id INTEGER PRIMARY KEY, at TEXT, name TEXT, address TEXT, action TEXT, subject TEXT
);
CREATE INDEX audit_at ON audit (at);
