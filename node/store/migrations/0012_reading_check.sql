-- What a reading failed when it was stored, confirmed by its reader (reasons as in derived tables), and which picture an
-- approval is of. None for readings from before there were checks.
CREATE TABLE fact_reading_check (
    reading_id INTEGER PRIMARY KEY REFERENCES fact_reading,
    doubts TEXT NOT NULL CHECK (json_valid(doubts)),
    picture TEXT
) STRICT;

-- A reading that a person took back: it counts for nothing from then on, and what was before it is in effect again.
CREATE TABLE fact_reading_withdrawal (
    reading_id INTEGER PRIMARY KEY REFERENCES fact_reading,
    why TEXT NOT NULL,
    withdrawn_by TEXT NOT NULL,
    withdrawn_at TEXT NOT NULL
) STRICT;
