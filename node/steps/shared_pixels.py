"""The same image under two patients: series whose measured slice is pixel for pixel that of another patient's.

A copy under new UIDs (a study imported a second time, anonymised or moved to another patient) is known by its pixels
alone. It is linked to neither until the PACS takes one of them back, or the two patients turn out to be one. Noise
makes every slice of a scanner another; only a copy is the same in every pixel.
"""

from collections.abc import Mapping

from sqlite_utils import Database

from analytics.reasons import Reason
from node.store.database import insert, writing
from node.store.pending import touch
from node.store.reasons import stored

SHARED = """
WITH owned AS (
    SELECT p.series_instance_uid AS series, p.pixels_sha256 AS pixels, i.person
    FROM derived_measured_pixels AS p
    JOIN derived_series AS s USING (series_instance_uid)
    JOIN derived_identifier AS i ON i.authority = s.patient_authority AND i.patient_id = s.patient_id
    WHERE s.withdrawn = 0
      AND p.pixels_sha256 IN (SELECT pixels_sha256 FROM derived_measured_pixels
                              GROUP BY pixels_sha256 HAVING count(*) > 1)
      AND EXISTS (SELECT 1 FROM derived_measurement AS m WHERE m.series_instance_uid = p.series_instance_uid
                  AND m.reading_id IS NULL AND m.current = 1)
)
SELECT one.series, other.series FROM owned AS one JOIN owned AS other USING (pixels)
WHERE one.person <> other.person ORDER BY 1, 2
"""

OWNER = "SELECT patient_authority, patient_id FROM derived_series WHERE series_instance_uid = ?"


def note_pixels(db: Database, study_uid: str, pixels: Mapping[str, str]) -> None:
    """Keep what the measured slices of a study show, in place of what was kept; called in the transaction.

    Parameters
    ----------
    pixels
        :func:`node.measure.task.pixels_sha256` of the measured slice, by series.
    """
    db.execute(
        "DELETE FROM derived_measured_pixels WHERE series_instance_uid IN "
        "(SELECT series_instance_uid FROM derived_series WHERE study_instance_uid = ?)",
        [study_uid],
    )
    db.conn.executemany("INSERT OR REPLACE INTO derived_measured_pixels VALUES (?, ?)", list(pixels.items()))


def hold_shared_pixels(db: Database) -> int:
    """Hold what stands under several patients and let go what no longer does; returns how many series changed.

    Both patients of a series that changed are derived anew, whatever the change came by: a measurement, a correction,
    a rejection note, a merge of patient numbers.
    """
    others: dict[str, list[str]] = {}
    for series, other in db.execute(SHARED):
        others.setdefault(series, []).append(other)
    wanted = {
        series: stored([Reason("pixels-of-another-patient", {"series": tuple(found)})])
        for series, found in others.items()
    }
    known = dict(db.execute("SELECT series_instance_uid, reason FROM derived_shared_pixels").fetchall())
    changed = sorted(series for series in wanted.keys() | known.keys() if wanted.get(series) != known.get(series))
    if not changed:
        return 0
    with writing(db):
        for series in changed:
            db.execute("DELETE FROM derived_shared_pixels WHERE series_instance_uid = ?", [series])
            for authority, patient_id in db.execute(OWNER, [series]).fetchall():
                if authority is not None and patient_id is not None:
                    touch(db, authority, patient_id)
        insert(
            db,
            "derived_shared_pixels",
            [{"series_instance_uid": series, "reason": wanted[series]} for series in changed if series in wanted],
        )
    return len(changed)
