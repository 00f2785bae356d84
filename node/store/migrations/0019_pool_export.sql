-- What was given away for a model over several sites: the file as written, and for each of its sums the rows in it and
-- whose each is, [{row: patient}, …]; no two exports may show by their difference what a few patients are like.
CREATE TABLE record_pool_export (
    export_id INTEGER PRIMARY KEY,
    exported_at TEXT NOT NULL,
    n INTEGER NOT NULL,
    content TEXT NOT NULL CHECK (json_valid(content)),
    members TEXT NOT NULL CHECK (json_valid(members))
) STRICT;
