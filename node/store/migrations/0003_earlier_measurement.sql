-- Automatic measurements that deriving everything again may not arrive at: of another version of the algorithm, or of a
-- series as it once stood. Columns and reasons as they stood in derived_measurement when the row was kept. Shown where
-- derived_measurement has none of the same series, images and version.
CREATE TABLE record_measurement (
    series_instance_uid TEXT NOT NULL,
    instances_sha256 TEXT NOT NULL,
    algorithm_name TEXT NOT NULL,
    algorithm_version TEXT NOT NULL,
    sop_instance_uid TEXT,
    instance_number INTEGER,
    frame_number INTEGER,
    status TEXT NOT NULL CHECK (status IN ('measured', 'review', 'rejected')),
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    vbq_mean REAL,
    vbq_median REAL,
    vbq_sd REAL,
    levels_confidence REAL,
    rois TEXT NOT NULL CHECK (json_valid(rois)),
    kept_at TEXT NOT NULL,
    PRIMARY KEY (series_instance_uid, instances_sha256, algorithm_name, algorithm_version)
) STRICT;
