"""The measure step, of readings: the circles that people placed become scores, measured, doubtful or refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlite_utils import Database

from analytics.reasons import Reason
from analytics.records import Circle, MeasurementStatus, VbqScore
from analytics.vbq.quality import doubts
from analytics.vbq.score import ScoreError, score
from analytics.vbq.uncertainty import reading_sd
from node.errors import DicomReadError, SliceError
from node.measure.decoding import pixels_sha256
from node.measure.rois import roi_json
from node.people.read_pixels import Place, pixels_read
from node.people.reading_checks import NEVER_LIFTED
from node.people.readings import FoundSlice, Reading, find_slice, load_slice, parse_rois
from node.steps import pending as due
from node.store.archive import Archive
from node.store.database import insert, writing
from node.store.failures import Unit, barrier, forget_failure
from node.store.pending import touch
from node.store.reasons import loaded, loaded_against, stored

COLUMNS = """
r.reading_id, r.series_instance_uid, r.reader, r.rois,
s.instances_sha256, s.role, s.reasons, s.protocol_warnings, s.patient_authority, s.patient_id, r.approves,
(SELECT c.doubts FROM fact_reading_check AS c WHERE c.reading_id = r.reading_id),
EXISTS (SELECT 1 FROM fact_reading AS o
        WHERE o.series_instance_uid = r.series_instance_uid AND o.rois = r.rois
          AND lower(trim(o.reader)) <> lower(trim(r.reader))
          -- The same circles on other pixels confirm nothing.
          AND NOT EXISTS (SELECT 1 FROM fact_reading_pixels AS p JOIN fact_reading_pixels AS q
                          ON q.reading_id = o.reading_id AND q.pixels_sha256 <> p.pixels_sha256
                          WHERE p.reading_id = r.reading_id)
          AND o.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal))
"""


@dataclass(frozen=True, kw_only=True)
class _Pending:
    reading_id: int
    series_uid: str
    reader: str
    rois: str
    instances_sha256: str
    role: str
    speaks_against: Sequence[Reason]
    protocol_warnings: Sequence[Reason]
    patient_authority: str | None
    patient_id: str | None
    own_sd: bool
    """Whether its standard deviation is computed: who approves the automatic circles takes theirs with them, and
    readings from before there were checks stay as they were."""
    doubts: Sequence[Reason]
    """Checks that it failed when it was stored, and that no second reader has lifted."""


@dataclass(frozen=True, kw_only=True)
class _Result:
    status: MeasurementStatus
    reasons: Sequence[Reason]
    instance_number: int | None
    frame_number: int | None
    circles: Mapping[str, Circle]
    found: FoundSlice | None = None
    score: VbqScore | None = None
    vbq_sd: float | None = None


def measure_readings(db: Database, archive: Archive) -> int:
    """Measure every reading whose series has changed or that is new; returns how many."""
    sql = f"SELECT {COLUMNS} {due.UNMEASURED_READINGS} ORDER BY r.reading_id"
    rows = db.execute(sql, due.ROI_ALGORITHM).fetchall()
    for row in rows:
        unit = Unit("reading", str(row[0]))
        pending = _pending(row)
        with barrier(db, "measure", unit, instead=partial(_store_failure, db, pending)):
            result = _measure(db, archive, pending)
            with writing(db):
                _store(db, pending, result)
                forget_failure(db, "measure", unit)
    return len(rows)


def _store(db: Database, pending: _Pending, result: _Result) -> None:
    db.execute(
        "DELETE FROM derived_measurement WHERE series_instance_uid = ? AND reading_id = ?",
        [pending.series_uid, pending.reading_id],
    )
    insert(db, "derived_measurement", [_row(pending, result)])
    if pending.patient_authority is not None and pending.patient_id is not None:
        touch(db, pending.patient_authority, pending.patient_id)


def _store_failure(db: Database, pending: _Pending, reason: Reason) -> None:
    """The reading is in effect, though it gives no number: what it should have replaced must not stand for it."""
    result = _Result(
        status=MeasurementStatus.REJECTED, reasons=[reason], instance_number=None, frame_number=None, circles={}
    )
    _store(db, pending, result)


def _pending(row: Sequence[str | int | None]) -> _Pending:
    reading_id, series_uid, reader, rois, instances_sha256, role, reasons, warnings, authority, patient_id, *last = row
    approves, doubts_then, seconded = last
    return _Pending(
        reading_id=int(str(reading_id)),
        series_uid=str(series_uid),
        reader=str(reader),
        rois=str(rois),
        instances_sha256=str(instances_sha256),
        role=str(role),
        speaks_against=loaded_against(str(reasons)),
        protocol_warnings=loaded(str(warnings)),
        patient_authority=None if authority is None else str(authority),
        patient_id=None if patient_id is None else str(patient_id),
        own_sd=approves is None and doubts_then is not None,
        doubts=[one for one in loaded(str(doubts_then or "[]")) if not seconded or one.code in NEVER_LIFTED],
    )


def _measure(db: Database, archive: Archive, pending: _Pending) -> _Result:
    reading = parse_rois(pending.rois)
    number, frame = reading.place
    found = None
    try:
        found = find_slice(db, pending.series_uid, reading)
        pixels = load_slice(archive, found)
        place = Place(series_uid=pending.series_uid, instance_number=number, frame_number=frame)
        read = pixels_read(db, archive, reading_id=pending.reading_id, place=place)
        if read is not None and read != pixels_sha256(pixels.signal):
            reason = Reason("read-on-other-pixels", {"slice": number})
            return _unscored(MeasurementStatus.REVIEW, reason, reading, found)
        measured = score(pixels.signal, reading.rois, spacing_mm=pixels.spacing_mm)
    except (SliceError, DicomReadError, ScoreError) as error:
        return _unscored(MeasurementStatus.REJECTED, error.reason, reading, found)
    unknown = [Reason("read-on-unknown-pixels", {"slice": number})] if read is None else []
    against = _each_once([*doubts(measured), *pending.doubts, *_wrong_series(pending)])
    return _Result(
        status=MeasurementStatus.REVIEW if against else MeasurementStatus.MEASURED,
        # How the images were made is said, whoever placed the circles.
        reasons=[*against, *unknown, *pending.protocol_warnings],
        instance_number=number,
        frame_number=frame,
        circles=reading.rois,
        found=found,
        score=measured,
        vbq_sd=reading_sd(pixels.signal, pixels.spacing_mm, measured) if pending.own_sd else None,
    )


def _unscored(status: MeasurementStatus, reason: Reason, reading: Reading, found: FoundSlice | None) -> _Result:
    return _Result(
        status=status,
        reasons=[reason],
        instance_number=reading.instance_number,
        frame_number=reading.frame_number,
        circles=reading.rois,
        found=found,
    )


def _each_once(reasons: Sequence[Reason]) -> list[Reason]:
    """By their codes and what they are about; a check may have been failed then and now."""
    return list(dict.fromkeys(reasons))


def _wrong_series(pending: _Pending) -> Sequence[Reason]:
    # Of an undecided one the headers say nothing; the person who read it has seen what it is.
    if pending.role in {"t1_sagittal", "undecided"}:
        return []
    return [Reason("read-on-another-series", {"against": tuple(pending.speaks_against)})]


def _row(pending: _Pending, result: _Result) -> dict[str, str | int | float | None]:
    measured = result.score
    signals = measured.rois if measured else {}
    name, version = due.ROI_ALGORITHM
    return {
        "series_instance_uid": pending.series_uid,
        "source": f"reading:{pending.reader}",
        "reading_id": pending.reading_id,
        "instances_sha256": pending.instances_sha256,
        "sop_instance_uid": result.found.sop_instance_uid if result.found else None,
        "instance_number": result.instance_number,
        "frame_number": result.frame_number,
        "status": result.status.value,
        "reasons": stored(result.reasons),
        "vbq_mean": measured.vbq_mean if measured else None,
        "vbq_median": measured.vbq_median if measured else None,
        "vbq_sd": result.vbq_sd,
        "rois": json.dumps({n: roi_json(c, signals.get(n)) for n, c in sorted(result.circles.items())}),
        "algorithm_name": name,
        "algorithm_version": version,
    }
