-- A person took back that of a study what came last holds: its versions stand beside each other again.
CREATE TABLE fact_study_withdrawal (
    decision_id INTEGER PRIMARY KEY REFERENCES fact_study_decision,
    study_instance_uid TEXT NOT NULL,
    withdrawn_at TEXT NOT NULL,
    withdrawn_by TEXT NOT NULL
) STRICT;

-- SHA-256 of the pixels of the slice that was read; none for readings from before it was kept.
CREATE TABLE fact_reading_pixels (
    reading_id INTEGER PRIMARY KEY REFERENCES fact_reading,
    pixels_sha256 TEXT NOT NULL
) STRICT;
