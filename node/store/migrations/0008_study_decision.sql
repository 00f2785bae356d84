-- A person decided about the images of a study that were received in several versions: those that came last hold.
CREATE TABLE fact_study_decision (
    decision_id INTEGER PRIMARY KEY,
    study_instance_uid TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('use-newest')),
    decided_at TEXT NOT NULL,
    decided_by TEXT NOT NULL
) STRICT;
CREATE INDEX fact_study_decision_study ON fact_study_decision (study_instance_uid);
