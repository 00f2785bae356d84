-- A person decided about signs (birth date, sex, name; by their digest) that messages or images state under a patient
-- number: confirmed, they are of the patient; rejected, of somebody else. The newest of number and signs holds.
CREATE TABLE fact_signs_decision (
    decision_id INTEGER PRIMARY KEY,
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    signs TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('confirmed', 'rejected')),
    decided_at TEXT NOT NULL,
    decided_by TEXT NOT NULL
) STRICT;
CREATE INDEX fact_signs_decision_number ON fact_signs_decision (authority, patient_id);
