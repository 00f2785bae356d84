-- Units of work on which this software failed: something unforeseen was raised, or the process ended. final = 1: left out
-- until another version, or a person, wants them tried again; 0: tried again by itself. `unit` as `source` of a problem.
CREATE TABLE state_failure (
    step TEXT NOT NULL,
    unit TEXT NOT NULL,
    version TEXT NOT NULL,               -- of the software that failed; empty: a person wants it tried again
    attempts INTEGER NOT NULL,
    final INTEGER NOT NULL CHECK (final IN (0, 1)),
    detail TEXT NOT NULL,
    PRIMARY KEY (step, unit)
) STRICT;
