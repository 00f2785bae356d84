-- As what a reading was given where two people read a series: the first, the second, or the one that settles two. independent:
-- its reader was shown no other person's reading of the series. None for readings from before there were steps.
CREATE TABLE fact_reading_step (
    reading_id INTEGER PRIMARY KEY REFERENCES fact_reading,
    step TEXT NOT NULL CHECK (step IN ('first', 'second', 'settling')),
    independent INTEGER NOT NULL CHECK (independent IN (0, 1))
) STRICT;
