-- The newest receipt when a person decided: receipts and decisions have one order, whatever the clock said. Decisions from
-- before it was kept came after what had been received by their time.
ALTER TABLE fact_study_decision ADD COLUMN after_receipt INTEGER;
