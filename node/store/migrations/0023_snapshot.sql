-- What has changed since the snapshots were renewed, in the order in which it was committed; rows that they have go again.
CREATE TABLE state_changed (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    key TEXT NOT NULL
) STRICT;

-- Up to which change the snapshots are renewed, and the mark that they bear then. Without a row nothing is noted: they are
-- made whole.
CREATE TABLE state_published (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq INTEGER NOT NULL,
    mark INTEGER NOT NULL
) STRICT;

-- When a score of a series as it stood was computed first; deriving again changes nothing about that.
CREATE TABLE state_first_measured (
    series_instance_uid TEXT NOT NULL,
    instances_sha256 TEXT NOT NULL,
    algorithm_version TEXT NOT NULL,
    measured_at TEXT NOT NULL,
    PRIMARY KEY (series_instance_uid, instances_sha256, algorithm_version)
) STRICT;
