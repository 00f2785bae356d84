"""Which studies the measure step has still to do, by itself: whoever only counts them needs nothing that measures."""

from sqlite_utils import Database

from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.store.removed import MEASURED

PENDING = f"""
FROM derived_series AS s
WHERE s.chosen = 1 AND s.stale = 0
  AND NOT EXISTS (SELECT 1 FROM state_failure AS f
                  WHERE f.step = 'measure' AND f.unit_kind = 'study' AND f.unit_key = s.study_instance_uid
                    AND f.final = 1)
  AND NOT EXISTS (SELECT 1 FROM derived_measurement AS m WHERE m.series_instance_uid = s.series_instance_uid
                  AND m.reading_id IS NULL AND m.current = 1 AND m.instances_sha256 = s.inputs_sha256
                  AND (m.algorithm_name = ? AND m.algorithm_version = ? OR {MEASURED}))
"""
"""Completed by what is asked for; the parameters are :data:`ALGORITHM`."""

ALGORITHM = (AUTOMATIC_NAME, AUTOMATIC_VERSION)


def pending_studies(db: Database) -> int:
    """How many studies the step still has to measure."""
    (now_due,) = db.execute(f"SELECT count(*) {PENDING}", ALGORITHM).fetchone()
    # Those that ended the process again and again rest before they are tried again.
    (resting,) = db.execute(
        "SELECT count(*) FROM state_failure WHERE step = 'measure' AND next_attempt_at IS NOT NULL"
    ).fetchone()
    return int(now_due) + int(resting)
