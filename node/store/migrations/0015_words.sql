-- The words of the reasons that views make, in the language of the site: SQL has no catalogue. Written anew by whoever
-- opens the database for writing when language or catalogue are others. kind 'reason': parts is a JSON list, ["text", …],
-- ["value", name], ["term", name], ["one", name, words for a single one, for others], ["some", name, for a single one,
-- for others (# stands for the value), nothing where there is none]; kind 'term': the word as a JSON text; kind
-- 'written': language and SHA-256 of all.
CREATE TABLE state_words (
    kind TEXT NOT NULL CHECK (kind IN ('reason', 'term', 'written')),
    key TEXT NOT NULL,
    parts TEXT NOT NULL CHECK (json_valid(parts)),
    PRIMARY KEY (kind, key)
) STRICT;
