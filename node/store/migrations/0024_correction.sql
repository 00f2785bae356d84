-- What a person has the VBQ of this site judged by beside its cut-offs, or took back: `offset`, how far a scanner reads VBQ
-- above another one; `day-to-day`, the standard deviation between two examinations of one patient (scanner empty). The
-- newest decision of a kind and scanner holds. value in VBQ; evidence as it was measured when it was adopted.
CREATE TABLE fact_correction_decision (
    decision_id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('offset', 'day-to-day')),
    scanner TEXT NOT NULL CHECK ((scanner = '') = (kind = 'day-to-day')),
    decision TEXT NOT NULL CHECK (decision IN ('adopted', 'withdrawn')),
    value REAL CHECK ((value IS NULL) = (decision = 'withdrawn')),
    evidence TEXT CHECK (json_valid(evidence)),
    decided_at TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_why TEXT NOT NULL
) STRICT;

-- Which offset the VBQ cut of a flag holds; none: none.
ALTER TABLE record_flag ADD COLUMN offset_decision INTEGER REFERENCES fact_correction_decision;
