"""On which pixels a reading was placed: the same slice may show others since.

Their hash is kept with each reading. Of readings from before that, receipts and decisions tell which image was in
effect when they were stored.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlite_utils import Database

from node.errors import DecodingError, DicomReadError
from node.measure.decoding import pixels_sha256, read_slice
from node.store.archive import Archive

KEPT = "SELECT pixels_sha256 FROM fact_reading_pixels WHERE reading_id = ?"
VERSIONS = """
SELECT r.receipt_id, r.received_at, i.sop_instance_uid, i.study_instance_uid, o.sha256
FROM (SELECT object_id, sop_instance_uid, study_instance_uid FROM derived_instance
      WHERE series_instance_uid = :series AND instance_number = :number
      UNION ALL SELECT object_id, sop_instance_uid, study_instance_uid FROM derived_superseded
      WHERE series_instance_uid = :series AND instance_number = :number) AS i
JOIN fact_object AS o USING (object_id) JOIN fact_object_receipt AS r USING (object_id)
ORDER BY r.receipt_id
"""
DECISIONS = """
SELECT coalesce(after_receipt, (SELECT max(receipt_id) FROM fact_object_receipt WHERE received_at <= decided_at), 0)
FROM fact_study_decision AS d LEFT JOIN fact_study_withdrawal AS w USING (decision_id)
WHERE d.study_instance_uid IN (SELECT value FROM json_each(:studies)) AND d.decided_at <= :then
  AND (w.withdrawn_at IS NULL OR w.withdrawn_at > :then)
ORDER BY 1
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a reading was placed: series, InstanceNumber, and the frame (1-based) of a multi-frame image."""

    series_uid: str
    instance_number: int
    frame_number: int | None


def pixels_read(db: Database, archive: Archive, *, reading_id: int, place: Place) -> str | None:
    """SHA-256 of the pixels that a stored reading was placed on; ``None`` where that cannot be told."""
    kept = db.execute(KEPT, [reading_id]).fetchone()
    if kept is not None:
        return str(kept[0])
    (then,) = db.execute("SELECT added_at FROM fact_reading WHERE reading_id = ?", [reading_id]).fetchone()
    versions = db.execute(VERSIONS, {"series": place.series_uid, "number": place.instance_number}).fetchall()
    files = {sha256 for *_, sha256 in versions}
    if len(files) > 1:
        files = _in_effect(db, versions, str(then))
    return _only_pixels(archive, files, place.frame_number)


def _in_effect(db: Database, versions: Collection[tuple[int, str, str, str, str]], then: str) -> set[str]:
    """The files that stood beside each other then; of an image the last one alone once a person had decided so."""
    studies = json.dumps(sorted({study for *_, study, _ in versions}))
    decided = [place for (place,) in db.execute(DECISIONS, {"studies": studies, "then": then})]
    came: dict[str, list[tuple[int, str]]] = {}
    for receipt_id, received_at, image, _, sha256 in versions:
        if received_at <= then:
            came.setdefault(image, []).append((receipt_id, sha256))
    found: set[str] = set()
    for receipts in came.values():
        since = max((place for place in decided if place >= receipts[0][0]), default=None)
        if since is not None:
            last = max(number for number, _ in receipts if number <= since)
            found |= {sha256 for number, sha256 in receipts if number >= last}
        else:
            found |= {sha256 for _, sha256 in receipts}
    return found


def _only_pixels(archive: Archive, files: Collection[str], frame: int | None) -> str | None:
    """The pixels of all of these; ``None`` where they show different ones, or one of them cannot be read."""
    try:
        found = {pixels_sha256(read_slice(archive.path(sha256), frame=frame).signal) for sha256 in files}
    except (DicomReadError, DecodingError, FileNotFoundError):
        return None
    return found.pop() if len(found) == 1 else None
