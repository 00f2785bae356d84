-- When a unit on which the process ended again and again is tried again by itself; null: by another version or a person.
ALTER TABLE state_failure ADD COLUMN next_attempt_at TEXT;
