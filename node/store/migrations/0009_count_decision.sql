-- A person approved a held blood count of a patient number, with correct values for cells where they were wrong or missing
-- (10⁹/L: {"lymphocytes": 2.0}), or took the approval back. It holds for the count as it stood (count_sha256); the newest
-- of a specimen counts.
CREATE TABLE fact_count_decision (
    decision_id INTEGER PRIMARY KEY,
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    specimen TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('approved', 'withdrawn')),
    count_sha256 TEXT NOT NULL,
    cells TEXT NOT NULL CHECK (json_valid(cells)),
    decided_at TEXT NOT NULL,
    decided_by TEXT NOT NULL
) STRICT;
CREATE INDEX fact_count_decision_number ON fact_count_decision (authority, patient_id, specimen, decision_id);
