-- By which rule of the settings a decision about a threshold version was made; none: a person made it. `first`: nobody
-- had a tier yet; `left-behind`: the newer cuts have left those in force behind.
CREATE TABLE fact_threshold_rule (
    decision_id INTEGER PRIMARY KEY REFERENCES fact_threshold_decision,
    rule TEXT NOT NULL CHECK (rule IN ('first', 'left-behind'))
) STRICT;

-- Until now the words in `decided_by` alone said it.
INSERT INTO fact_threshold_rule (decision_id, rule)
SELECT decision_id, iif(decided_by = 'rule: first', 'first', 'left-behind')
FROM fact_threshold_decision WHERE decided_by LIKE 'rule: %';

-- Beside the words of `announced` its reasons, as in derived tables; null for what was announced before.
ALTER TABLE record_threshold ADD COLUMN announced_reasons TEXT CHECK (json_valid(announced_reasons));
