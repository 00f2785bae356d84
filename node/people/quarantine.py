"""Quarantine: received objects that cannot be taken in, kept with the reason until somebody mends them.

The object itself lies in the archive like every other and never changes. ``quarantine/`` in the data folder holds a
copy of each, named by its public id, and the reason beside it. Whoever corrects the copy (with DCMTK's dcmodify, say)
and calls ``vbq-node quarantine retry`` has it taken in as an object of its own, in place of the one that was received;
a copy that is as it was is only read again, which helps once this software has learnt to read it, or where only its
sender named it wrongly: then it is taken in by the names in its data set.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from filecmp import cmp
from functools import partial
from pathlib import Path

import pydicom
import structlog
from sqlite_utils import Database

from analytics.reasons import Reason, codes, words
from node.clock import to_text
from node.dicom.content import content_faults
from node.dicom.part10 import file_header, misnamed, read_identity
from node.dicom.reader import read_header
from node.dicom.recorder import Receipt, insert_receipt
from node.errors import DicomReadError, InputError
from node.store.archive import Archive
from node.store.database import insert, writing
from node.store.failures import in_words, tried
from node.store.problems import forget_problems
from node.store.public_id import public_id_sql
from node.store.reasons import loaded

FOLDER = "quarantine"
CORRECTED = "corrected"
"""Code of the problem that stands for an object in whose place a corrected one was taken in; it is shown to nobody."""
OWN_RESULT = "own-result"
"""The same for a result of this node that came back: it is kept, and counts for nothing."""
BEGUN = ".new"
"""End of the name of a copy that is not whole yet."""
BY_HAND = ""
"""Stands for the sender in the receipt of a corrected object."""

QUARANTINED = f"""
SELECT {public_id_sql("o.sha256")} AS id, p.reasons,
       (SELECT r.received_at FROM fact_object_receipt AS r WHERE r.object_id = o.object_id
        ORDER BY r.receipt_id LIMIT 1) AS received_at,
       (SELECT r.calling_ae FROM fact_object_receipt AS r WHERE r.object_id = o.object_id
        ORDER BY r.receipt_id LIMIT 1) AS calling_ae,
       o.size_bytes, o.sop_class_uid, o.sop_instance_uid, o.transfer_syntax_uid, o.sha256, o.object_id
FROM derived_problem AS p
JOIN fact_object AS o ON o.sha256 = p.unit_key
WHERE p.step = 'index' AND p.unit_kind = 'object' AND p.code NOT IN ('{CORRECTED}', '{OWN_RESULT}')
ORDER BY received_at, id
"""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What became of one object; ``error`` is ``None`` when it is taken in."""

    id: str
    corrected: bool
    error: str | None


def quarantined(db: Database) -> list[dict[str, object]]:
    """Every object in quarantine: id, reason, received_at, calling_ae, size and what its sender called it."""
    return [{name: value for name, value in row.items() if name != "object_id"} for row in _listed(db)]


def show(db: Database, archive: Archive, folder: Path, object_id: str) -> dict[str, object]:
    """One object with the file to correct and as much of its header as can be read.

    Raises
    ------
    InputError
        No object of this id is in quarantine.
    """
    (row,) = _rows(db, [object_id])
    return {
        **{name: value for name, value in row.items() if name != "object_id"},
        "file": str(_copy(folder, object_id)),
        "header": _legible(archive.path(str(row["sha256"]))),
    }


def retry(
    db: Database, archive: Archive, folder: Path, object_ids: Sequence[str], *, by: str, now: datetime
) -> list[Retried]:
    """Try again to take objects in, all that are in quarantine without ids; the steps do the rest.

    Raises
    ------
    InputError
        An id is not in quarantine.
    OSError
        The archive cannot be written.
    """
    return [_retry(db, archive, folder, row, by=by, now=now) for row in _rows(db, object_ids)]


def mirror(db: Database, archive: Archive, folder: Path) -> None:
    """Make ``quarantine/`` hold what is in quarantine: a copy and the reason of each, and nothing that has left it.

    A copy that is there is never touched: somebody may be at work on it.
    """
    place = folder / FOLDER
    rows = {str(row["id"]): row for row in _listed(db)}
    if not rows and not place.is_dir():
        return
    try:
        place.mkdir(exist_ok=True)
        for left in (*place.glob(f".*{BEGUN}"), *place.glob("tmp????????")):  # of one that was killed
            left.unlink()
        there = {path.stem for path in place.glob("*.txt")}
        for name in there - rows.keys():
            _remove(folder, name)
        for name in rows.keys() - there:
            put = tried(partial(_put, archive, folder, name, rows[name]))
            if put.error is not None:
                log.error("an object cannot be put into the quarantine folder", id=name, error=in_words(put.error))
    except OSError as error:
        # The objects themselves are safe in the archive.
        log.error("the quarantine folder cannot be kept", error=str(error))


def _listed(db: Database) -> list[dict[str, object]]:
    """What is in quarantine, with the words of the reason and its codes."""
    found = []
    for row in db.query(QUARANTINED):
        reasons = loaded(row.pop("reasons"))
        found.append({"id": row.pop("id"), "reason": "; ".join(words(reasons)), **row, "reason_codes": codes(reasons)})
    return found


def _rows(db: Database, object_ids: Sequence[str]) -> list[dict[str, object]]:
    rows = {str(row["id"]): row for row in _listed(db)}
    unknown = [name for name in object_ids if name not in rows]
    if unknown:
        raise InputError(f"not in quarantine: {', '.join(unknown)}; `vbq-node quarantine list` shows what is")
    return [rows[name] for name in object_ids or rows]


def _retry(db: Database, archive: Archive, folder: Path, row: dict[str, object], *, by: str, now: datetime) -> Retried:
    name, original = str(row["id"]), archive.path(str(row["sha256"]))
    copy = _copy(folder, name)
    corrected = copy.is_file() and original.is_file() and not cmp(copy, original, shallow=False)
    try:
        if corrected:
            _take_in(db, archive, row, copy, by=by, now=now)
        else:
            read_header(original)
    except (DicomReadError, FileNotFoundError) as error:
        why = "the file is missing from the archive" if isinstance(error, FileNotFoundError) else str(error)
        return Retried(id=name, corrected=corrected, error=why)
    with writing(db):
        if not corrected and misnamed(str(row["sop_class_uid"]), str(row["sop_instance_uid"])):
            _note_correction(db, row, int(str(row["object_id"])), by=by, now=now)
        forget_problems(db, "index", "object", str(row["sha256"]))
    _remove(folder, name)
    return Retried(id=name, corrected=corrected, error=None)


def _take_in(db: Database, archive: Archive, row: dict[str, object], copy: Path, *, by: str, now: datetime) -> None:
    """Store a corrected copy as an object of its own, and that it stands in place of the one that was received."""
    header, identity = read_header(copy), read_identity(copy)
    named = {
        "sop_class_uid": header.image.sop_class_uid or identity.sop_class_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "transfer_syntax_uid": identity.transfer_syntax_uid,
    }
    stored = archive.store(
        header=file_header(**named),
        dataset=copy.read_bytes()[identity.dataset_offset :],
        transfer_syntax_uid=identity.transfer_syntax_uid,
    )
    receipt = Receipt(stored=stored, received_at=now, calling_ae=BY_HAND, peer_address=BY_HAND, **named)
    with writing(db):
        insert_receipt(db, receipt)
        (corrected_id,) = db.execute("SELECT object_id FROM fact_object WHERE sha256 = ?", [stored.sha256]).fetchone()
        _note_correction(db, row, corrected_id, by=by, now=now)


def _note_correction(db: Database, row: dict[str, object], corrected_id: int, *, by: str, now: datetime) -> None:
    correction = {
        "object_id": row["object_id"],
        "corrected_id": corrected_id,
        "corrected_at": to_text(now),
        "corrected_by": by,
    }
    insert(db, "fact_correction", [correction])


def _put(archive: Archive, folder: Path, name: str, row: dict[str, object]) -> None:
    original = archive.path(str(row["sha256"]))
    if original.is_file():
        begun = _copy(folder, name).with_name(f".{name}{BEGUN}")
        shutil.copyfile(original, begun)
        begun.chmod(0o640)
        begun.rename(_copy(folder, name))
    # The reason is written last: with it the object counts as there.
    _copy(folder, name).with_suffix(".txt").write_text(f"{row['reason']}\n", encoding="utf-8")


def _remove(folder: Path, name: str) -> None:
    _copy(folder, name).unlink(missing_ok=True)
    _copy(folder, name).with_suffix(".txt").unlink(missing_ok=True)


def _copy(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.dcm"


def _legible(path: Path) -> dict[str, str | None]:
    """What tells a person which image it is, as far as it can be read."""
    keywords = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "StudyDate", "SeriesDescription")
    try:
        with content_faults(Reason("not-readable-as-dicom", {"fault": ""})):
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(keywords))
            return {keyword: str(dataset[keyword].value) if keyword in dataset else None for keyword in keywords}
    except (OSError, DicomReadError):
        return dict.fromkeys(keywords)
