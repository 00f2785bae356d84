-- A person who was erased: of whom nothing stays but this. persons: keyed hashes of the patient numbers, by which a restored
-- backup knows whom to erase again; hashes: SHA-256 of the objects, frames and files that went; gone: how many of what.
CREATE TABLE fact_erasure (
    erasure_id INTEGER PRIMARY KEY,
    persons TEXT NOT NULL CHECK (json_valid(persons)),
    hashes TEXT NOT NULL CHECK (json_valid(hashes)),
    gone TEXT NOT NULL CHECK (json_valid(gone)),
    why TEXT NOT NULL,
    erased_at TEXT NOT NULL,
    erased_by TEXT NOT NULL
) STRICT;

-- A patient whose data must not be erased, or may be again; the newest of a number holds.
CREATE TABLE fact_hold (
    hold_id INTEGER PRIMARY KEY,
    authority TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('held', 'released')),
    why TEXT NOT NULL,
    decided_at TEXT NOT NULL,
    decided_by TEXT NOT NULL
) STRICT;

-- Rows that were taken out of what was fitted, because their patients were erased; the numbers of the fit are as they were.
ALTER TABLE record_fit ADD COLUMN erased_rows INTEGER;
