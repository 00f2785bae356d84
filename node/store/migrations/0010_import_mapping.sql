-- What a person said about the columns of an imported file (TOML). Kept with the file: both together make its rows.
CREATE TABLE fact_import_mapping (
    import_id INTEGER PRIMARY KEY REFERENCES fact_import,
    content TEXT NOT NULL
) STRICT;
