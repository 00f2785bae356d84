-- What retention took away by the rules of the settings. kind: image, study, message or report; key: the SHA-256 of the object
-- or of the frame, the StudyInstanceUID, or the report; sha256: of what went (of a study: of the images that were measured).
-- kept: what had been derived of it, by which everything can be derived again without it; reports have none.
CREATE TABLE fact_removal (
    removal_id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('image', 'study', 'message', 'report')),
    key TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    rule TEXT NOT NULL,
    kept TEXT CHECK (json_valid(kept)),
    removed_at TEXT NOT NULL
) STRICT;
CREATE INDEX fact_removal_key ON fact_removal (kind, key);
