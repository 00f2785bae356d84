-- Backups that were begun; the last some hundred are remembered. reasons, as in derived tables: why it failed, or what is
-- not in it.
CREATE TABLE state_backup (
    backup_id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL,
    began_at TEXT NOT NULL,
    finished_at TEXT,
    status TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed')),
    generation TEXT,
    files INTEGER,
    new_files INTEGER,                   -- stored by it; the others were there from an earlier one
    bytes INTEGER,
    reasons TEXT NOT NULL CHECK (json_valid(reasons))
) STRICT;
