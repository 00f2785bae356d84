"""Readings that do not count yet where two people read: the second is missing, or the two are too far apart.

As with automatic measurements of incomplete series, what is said of it stands behind its own reasons and goes again.
"""

from sqlite_utils import Database

from node.people.two_readers import standings
from node.settings import Readers
from node.store.database import writing
from node.store.pending import touch
from node.store.reasons import loaded, stored

READ = """
SELECT m.rowid, m.reading_id, m.series_instance_uid, m.doubts, m.reasons, s.patient_authority, s.patient_id
FROM derived_measurement AS m JOIN derived_series AS s USING (series_instance_uid)
WHERE m.reading_id IS NOT NULL AND s.stale = 0 AND (m.doubts > 0 OR (m.status = 'measured' AND ?))
"""


def hold_unsettled(db: Database, rule: Readers) -> int:
    """Hold the newest reading of a series until a second has confirmed it or a third has settled two.

    Returns how many measurements changed.
    """
    standing = standings(db, rule)
    changed = []
    for rowid, reading_id, series, doubts, reasons, authority, patient_id in db.execute(
        READ, [rule.number == 2]
    ).fetchall():
        of_series = standing.get(series)
        newest = of_series is not None and of_series.given[-1].reading_id == reading_id
        wanted = of_series.doubts(rule) if of_series and newest else []
        before = loaded(reasons)
        own = before[: len(before) - doubts]
        if list(before[len(own) :]) != wanted:
            status = "review" if wanted else "measured"
            changed.append((status, len(wanted), stored([*own, *wanted]), rowid, authority, patient_id))
    if not changed:
        return 0
    with writing(db):
        for *values, authority, patient_id in changed:
            db.execute("UPDATE derived_measurement SET status = ?, doubts = ?, reasons = ? WHERE rowid = ?", values)
            if authority is not None and patient_id is not None:
                touch(db, authority, patient_id)
    return len(changed)
