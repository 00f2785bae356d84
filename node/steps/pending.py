"""What is pending: each step's own query, counted."""

from sqlite_utils import Database

from node.steps.unmeasured import pending_studies
from node.store.pending import UNDERIVED_IMPORTS
from node.store.removed import MEASURED

ROI_ALGORITHM = ("vbq-roi", "1")
"""Name and version of the measurement of a person's circles. The version is raised when the same circles would give
another number or another status; everything is then measured again."""

UNINDEXED = """
SELECT (SELECT count(*) FROM fact_object) - (SELECT count(*) FROM derived_instance)
     - (SELECT count(*) FROM derived_superseded) - (SELECT count(*) FROM derived_problem WHERE step = 'index')
"""

UNMEASURED_READINGS = f"""
FROM fact_reading AS r
JOIN derived_series AS s USING (series_instance_uid)
LEFT JOIN derived_measurement AS m
    ON m.series_instance_uid = r.series_instance_uid AND m.reading_id = r.reading_id
    AND m.instances_sha256 = s.instances_sha256 AND (m.algorithm_name = ? AND m.algorithm_version = ? OR {MEASURED})
WHERE m.reading_id IS NULL AND s.stale = 0
  AND r.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal)
  AND NOT EXISTS (SELECT 1 FROM state_failure AS f
                  WHERE f.step = 'measure' AND f.unit_kind = 'reading'
                    AND f.unit_key = CAST(r.reading_id AS TEXT) AND f.final = 1)
"""
"""Completed by what is asked for; the parameters are :data:`ROI_ALGORITHM`."""

PENDING = {
    "objects to index": UNINDEXED,
    "images sent again": "SELECT count(*) FROM derived_resent",
    "studies arriving": """
        SELECT count(*) FROM (SELECT DISTINCT study_instance_uid AS uid FROM derived_instance) AS study
        WHERE NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.study_instance_uid = uid AND s.stale = 0)
          AND NOT EXISTS (SELECT 1 FROM derived_problem AS p
                          WHERE p.step = 'catalogue' AND p.unit_kind = 'study' AND p.unit_key = uid)
          AND NOT EXISTS (SELECT 1 FROM state_failure AS f
                          WHERE f.step = 'catalogue' AND f.unit_kind = 'study' AND f.unit_key = uid AND f.final = 1)""",
    "messages to interpret": """
        SELECT count(*) FROM fact_frame AS f
        WHERE NOT EXISTS (SELECT 1 FROM derived_message AS m WHERE m.frame_id = f.frame_id)""",
    "patients to link": """
        SELECT count(DISTINCT person) FROM derived_identifier
        WHERE person NOT IN (SELECT person FROM derived_person)""",
    "senders to compare": "SELECT count(*) FROM derived_sender WHERE stale = 1",
    "imports to derive": UNDERIVED_IMPORTS,
}
"""What each step still has to do, by the query that the step itself asks."""


def pending(db: Database) -> dict[str, int]:
    """How many units of work each step still has; all zero when everything derived is up to date."""
    found = {name: int(db.execute(sql).fetchone()[0]) for name, sql in PENDING.items()}
    (readings,) = db.execute(f"SELECT count(*) {UNMEASURED_READINGS}", ROI_ALGORITHM).fetchone()
    return found | {"readings to measure": readings, "studies to measure": pending_studies(db)}
