-- What was measured beside the score (S1, end plates) of automatic measurements that are kept.
ALTER TABLE record_measurement ADD COLUMN beside TEXT CHECK (json_valid(beside));
