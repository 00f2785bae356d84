-- By which definition everything derived was derived, since when, and until when it was all there again (null: the steps
-- are at it). One row, from the first start on.
CREATE TABLE state_derivation (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    definition_sha256 TEXT NOT NULL,
    began_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;
