-- Units of work on which this software failed, by kind and key as problems have them, and why as reasons (as in derived
-- tables): until now in words. at_work = 1: it is being worked on, or the process ended on it. Nothing is brought along:
-- another version tries everything again.
DROP TABLE state_failure;
CREATE TABLE state_failure (
    step TEXT NOT NULL,
    unit_kind TEXT NOT NULL,
    unit_key TEXT NOT NULL,              -- empty: there is one of the kind
    unit_part TEXT NOT NULL,             -- a message of a frame, a line of a file, a specimen of a patient; empty: all of it
    version TEXT NOT NULL,               -- of the software that failed; empty: a person wants it tried again
    attempts INTEGER NOT NULL,
    at_work INTEGER NOT NULL CHECK (at_work IN (0, 1)),
    final INTEGER NOT NULL CHECK (final IN (0, 1)),
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    next_attempt_at TEXT,
    PRIMARY KEY (step, unit_kind, unit_key, unit_part)
) STRICT;
