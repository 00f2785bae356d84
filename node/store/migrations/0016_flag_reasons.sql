-- Beside the words of `cause` and `cut_of` their reasons, as in derived tables; null for flags from before.
ALTER TABLE record_flag ADD COLUMN cause_reasons TEXT CHECK (json_valid(cause_reasons));
ALTER TABLE record_flag ADD COLUMN cut_of_reasons TEXT CHECK (json_valid(cut_of_reasons));
