"""The pairs of MRIs of one patient that the archive holds, as the database knows them."""

from datetime import date
from itertools import pairwise

from sqlite_utils import Database

from analytics.paper.rescans import Pair
from node.settings import Settings

LONGEST_DAYS = 90
"""Between two MRIs that show the same bone."""

# One score of each study: of the series that was chosen. What a PACS has taken back is not in effect.
SCORES = """
SELECT i.person, m.study_date, m.scanner_stratum, m.vbq_{form}, m.study_instance_uid
FROM measurements AS m
JOIN derived_series AS s USING (series_instance_uid)
JOIN derived_identifier AS i ON i.authority = m.patient_authority AND i.patient_id = m.patient_id
WHERE m.in_effect = 1 AND m.status = 'measured' AND m.vbq_{form} IS NOT NULL AND s.chosen = 1 AND s.postoperative = 0
  AND m.study_date IS NOT NULL AND coalesce(m.scanner_stratum, '') <> ''
ORDER BY i.person, m.study_date, m.study_instance_uid
"""
OPERATIONS = "SELECT person, substr(planned_at, 1, 10) FROM derived_operation WHERE cancelled = 0"


def pairs(db: Database, settings: Settings, *, longest_days: int = LONGEST_DAYS) -> list[Pair]:
    """The two MRIs of each patient that lie nearest to each other, on different days and with no operation between."""
    operations: dict[str, list[date]] = {}
    for person, day in db.execute(OPERATIONS).fetchall():
        operations.setdefault(person, []).append(date.fromisoformat(day))
    scores: dict[str, list[tuple[date, str, float]]] = {}
    for person, day, scanner, vbq, _ in db.execute(SCORES.format(form=settings.measurement.form)).fetchall():
        scores.setdefault(person, []).append((date.fromisoformat(day), scanner, float(vbq)))
    found = []
    for person, scans in scores.items():
        near = [
            Pair(vbq=(one[2], other[2]), scanners=(one[1], other[1]), days=(other[0] - one[0]).days)
            for one, other in pairwise(scans)
            if 0 < (other[0] - one[0]).days <= longest_days
            and not any(one[0] <= day <= other[0] for day in operations.get(person, ()))
        ]
        if near:
            found.append(min(near, key=lambda pair: pair.days))
    return found
