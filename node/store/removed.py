"""What stands in the place of what retention took away: enough to derive everything again without it.

Of an image stays what the index step made of its header, of a study what was measured in it, of a message what it said;
each is put back where the step finds no file, or no text, to read. Nothing of it is judged anew.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from node.store.database import insert

OF_FRAME = ("derived_message", "derived_extract")
"""Tables with what a frame says."""
OF_STUDY = ("derived_measurement", "derived_measured_pixels")
"""Tables with what was measured in a study."""

STANDS = """
kind = 'image' AND NOT EXISTS (
    SELECT 1 FROM fact_object AS o JOIN fact_object_receipt AS r USING (object_id)
    WHERE o.sha256 = fact_removal.key AND r.received_at > fact_removal.removed_at)
"""
"""Of a row of ``fact_removal``: the image was removed and has not been sent again since."""

MEASURED = """
EXISTS (SELECT 1 FROM fact_removal AS k WHERE k.kind = 'study' AND k.key = s.study_instance_uid
        AND k.sha256 = s.inputs_sha256)
"""
"""Of a row ``s`` of ``derived_series``: it is measured for good, by whichever version of the algorithm."""


def removed_images(db: Database, *, shelf: str = "") -> set[str]:
    """SHA-256 of the images that were removed and have not come again, all or those that begin with ``shelf``."""
    rows = db.execute(
        f"SELECT key FROM fact_removal WHERE {STANDS} AND key >= :from AND key < :to",
        {"from": shelf, "to": shelf + "g"},
    )
    return {key for (key,) in rows}


def removed_since(db: Database, sha256: str) -> str | None:
    """When an image was removed that has not come again; ``None`` where it was not."""
    (moment,) = db.execute(f"SELECT max(removed_at) FROM fact_removal WHERE key = ? AND {STANDS}", [sha256]).fetchone()
    return None if moment is None else str(moment)


def kept(db: Database, kind: str, key: str) -> dict[str, Any] | None:
    """What stands in the place of what was removed last under this key; ``None`` where nothing was."""
    row = db.execute(
        "SELECT kept FROM fact_removal WHERE kind = ? AND key = ? ORDER BY removal_id DESC LIMIT 1", [kind, key]
    ).fetchone()
    return None if row is None or row[0] is None else dict(json.loads(row[0]))


def kept_header(db: Database, sha256: str) -> str | None:
    """The header of a removed image, as ``derived_instance.headers`` has it."""
    found = kept(db, "image", sha256)
    return None if found is None else str(found["headers"])


def rows_of(db: Database, tables: Iterable[str], where: str, values: Sequence[object]) -> dict[str, list[Any]]:
    """Rows of derived tables as they stand, to be kept."""
    return {table: list(db.query(f"SELECT * FROM {table} WHERE {where}", values)) for table in tables}


def put_back_measurements(db: Database, study_uid: str, inputs_sha256: str | None) -> None:
    """Put back what was measured in a study, if it stands as it stood then; inside a unit of work."""
    row = db.execute(
        "SELECT kept FROM fact_removal WHERE kind = 'study' AND key = ? AND sha256 = ? "
        "ORDER BY removal_id DESC LIMIT 1",
        [study_uid, inputs_sha256],
    ).fetchone()
    if row is None:
        return
    withdrawn = {reading_id for (reading_id,) in db.execute("SELECT reading_id FROM fact_reading_withdrawal")}
    found = json.loads(row[0])
    measurements = [one for one in found["derived_measurement"] if one["reading_id"] not in withdrawn]
    _insert(db, "derived_measurement", measurements)
    _insert(db, "derived_measured_pixels", found["derived_measured_pixels"])


def put_back_message(db: Database, frame_id: int, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Put back what a frame said, inside a unit of work; returns its rows of ``derived_extract``."""
    for table in OF_FRAME:
        _insert(db, table, [row | {"frame_id": frame_id} for row in found[table]])
    return list(found["derived_extract"])


def removed_messages(db: Database) -> dict[int, dict[str, Any]]:
    """What is kept of each frame whose text was removed, by its number."""
    rows = db.execute(
        "SELECT f.frame_id, k.kept FROM fact_removal AS k JOIN fact_frame AS f ON f.sha256 = k.key "
        "WHERE k.kind = 'message'"
    )
    return {frame_id: json.loads(text) for frame_id, text in rows.fetchall()}


def names_one_of(found: Mapping[str, Any], numbers: Collection[tuple[str, str]]) -> bool:
    """Whether what is kept of a frame says something of one of these patient numbers."""
    return any((one["authority"], one["patient_id"]) in numbers for one in found["derived_extract"])


def without_persons(found: Mapping[str, Any], numbers: Collection[tuple[str, str]]) -> dict[str, Any] | None:
    """What is kept of a frame without what it says of these; ``None`` where nothing is left.

    A message that says nothing of anybody else goes as a whole.
    """
    extracts = [one for one in found["derived_extract"] if (one["authority"], one["patient_id"]) not in numbers]
    before = {one["position"] for one in found["derived_extract"]}
    gone = before - {one["position"] for one in extracts}
    messages = [one for one in found["derived_message"] if one["position"] not in gone]
    return {"derived_message": messages, "derived_extract": extracts} if messages else None


def _insert(db: Database, table: str, rows: Iterable[dict[str, Any]]) -> None:
    """Rows that an earlier version may have kept (a column that is new needs a default); what stands already stays."""
    columns = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})").fetchall()}
    for row in rows:
        known = {name: value for name, value in row.items() if name in columns}
        insert(db, table, [known], or_ignore=True)
