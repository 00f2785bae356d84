"""The measure step, automatic: the candidate series of every quiet study, until the image of one is accepted.

A study is the unit of work: all that it had become each time it was quiet is measured and stored at once, so a kill
at any instant loses at most one study's work. Which study is pending is a query.
"""

import json
from collections.abc import Collection
from functools import partial

from sqlite_utils import Database

from analytics.reasons import Reason
from analytics.vbq.automatic import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.clock import now, to_text
from node.measure.automatic import AUTO, Measure, SeriesMeasurement, measure_study
from node.measure.rois import beside_json
from node.measure.study import study_images, versions
from node.settings import Settings
from node.steps.measure import roi_json
from node.steps.shared_pixels import note_pixels
from node.store.archive import Archive
from node.store.database import insert, writing
from node.store.derivation import keep_measurements
from node.store.failures import Unit, barrier, begin_attempt, forget_failure, note_failure
from node.store.pending import touch
from node.store.reasons import stored

BATCH = 4
"""Studies measured before the other steps, and a request to stop, get their turn."""

PENDING = """
FROM derived_series AS s
WHERE s.chosen = 1 AND s.stale = 0
  AND NOT EXISTS (SELECT 1 FROM state_failure AS f
                  WHERE f.step = 'measure' AND f.unit_kind = 'study' AND f.unit_key = s.study_instance_uid
                    AND f.final = 1)
  AND NOT EXISTS (SELECT 1 FROM derived_measurement AS m WHERE m.series_instance_uid = s.series_instance_uid
                  AND m.reading_id IS NULL AND m.current = 1 AND m.instances_sha256 = s.inputs_sha256
                  AND m.algorithm_name = ? AND m.algorithm_version = ?)
"""
"""Completed by what is asked for; the parameters are :data:`ALGORITHM`."""

ALGORITHM = (AUTOMATIC_NAME, AUTOMATIC_VERSION)

KEY = ("instances_sha256", "algorithm_name", "algorithm_version")
"""What tells the automatic measurements of a series apart."""


def measure_automatically(db: Database, archive: Archive, settings: Settings, measure: Measure) -> int:
    """Measure some of the studies that are new, have changed or were measured by another version; returns how many.

    Parameters
    ----------
    measure
        :func:`analytics.vbq.measure.measure_stack`.
    """
    studies = [
        uid
        for (uid,) in db.execute(
            f"SELECT s.study_instance_uid {PENDING} ORDER BY s.study_instance_uid LIMIT ?", [*ALGORITHM, BATCH]
        )
    ]
    for uid in studies:
        unit = Unit("study", uid)
        if not begin_attempt(db, "measure", unit, at=now()):
            continue
        with barrier(db, "measure", unit, instead=partial(_without, db, uid)):
            _measure(db, archive, settings, measure, uid)
    return len(studies)


def pending_studies(db: Database) -> int:
    """How many studies the step still has to measure."""
    (now_due,) = db.execute(f"SELECT count(*) {PENDING}", ALGORITHM).fetchone()
    # Those that ended the process again and again rest before they are tried again.
    (resting,) = db.execute(
        "SELECT count(*) FROM state_failure WHERE step = 'measure' AND next_attempt_at IS NOT NULL"
    ).fetchone()
    return int(now_due) + int(resting)


def _measure(db: Database, archive: Archive, settings: Settings, measure: Measure, study_uid: str) -> None:
    images = [image for image in study_images(db, archive, study_uid) if not image.withdrawn]
    found = versions(images, study_uid, quiet_s=settings.dicom.quiet_s)
    newest = next(reversed(found), None)
    # What an earlier state showed does not change: measured once, however many states follow.
    kept = {inputs for inputs in _measured(db, study_uid) if inputs in found and inputs != newest}
    results = [
        (result, inputs)
        for inputs, series in found.items()
        if inputs not in kept
        for result in measure_study(series, measure)
    ]
    with writing(db):
        rows = [_row(result, inputs, current=inputs == newest) for result, inputs in results]
        _replace(db, study_uid, rows, kept)
        note_pixels(db, study_uid, [result for result, inputs in results if inputs == newest])
        series = (Unit("series", result.series_uid) for result, _ in results)
        forget_failure(db, "measure", Unit("study", study_uid), *series)
        for result, inputs in results:
            if result.error is not None and inputs == newest:
                note_failure(db, "measure", Unit("series", result.series_uid), result.error)


def _measured(db: Database, study_uid: str) -> set[str]:
    """States of a study of which this algorithm measured the first candidate, without doubts that came later."""
    found = db.execute(
        "SELECT m.instances_sha256 FROM derived_measurement AS m JOIN derived_series AS s USING (series_instance_uid) "
        "WHERE s.study_instance_uid = ? AND m.reading_id IS NULL AND m.algorithm_name = ? AND m.algorithm_version = ? "
        "GROUP BY m.instances_sha256 HAVING max(m.status = 'rejected') = 0 AND max(m.doubts) = 0",
        [study_uid, *ALGORITHM],
    )
    return {inputs for (inputs,) in found}


def _without(db: Database, study_uid: str, _: Reason) -> None:
    """No earlier measurement stands for a study that could not be measured with all that it has now."""
    _replace(db, study_uid, [], frozenset())


def _replace(
    db: Database, study_uid: str, rows: list[dict[str, str | int | float | None]], kept: Collection[str]
) -> None:
    """Put these automatic measurements of a study in the place of earlier ones, and say that they are news.

    ``kept``: states of which the measurement stays, as an earlier one.
    """
    stays, states = f"instances_sha256 IN ({', '.join('?' * len(kept))})", sorted(kept)
    known = db.execute(
        "SELECT series_instance_uid, patient_authority, patient_id FROM derived_series WHERE study_instance_uid = ?",
        [study_uid],
    ).fetchall()
    for uid in {uid for uid, _, _ in known} | {str(row["series_instance_uid"]) for row in rows}:
        _keep_others(db, uid, rows, kept)
        automatic = "series_instance_uid = ? AND reading_id IS NULL"
        db.execute(f"DELETE FROM derived_measurement WHERE {automatic} AND NOT {stays}", [uid, *states])
        db.execute(f"UPDATE derived_measurement SET current = 0 WHERE {automatic}", [uid])
    insert(db, "derived_measurement", rows)
    for row in rows:
        db.execute(
            "INSERT OR IGNORE INTO state_first_measured VALUES (?, ?, ?, ?)",
            [row["series_instance_uid"], row["instances_sha256"], row["algorithm_version"], to_text(now())],
        )
    for authority, patient_id in {(authority, patient_id) for _, authority, patient_id in known}:
        if authority is not None and patient_id is not None:
            touch(db, authority, patient_id)


def _keep_others(
    db: Database, series_uid: str, rows: list[dict[str, str | int | float | None]], kept: Collection[str]
) -> None:
    """Keep as records what is not measured again: of another version of the algorithm, or of no quiet state found."""
    again = {tuple(row[name] for name in KEY) for row in rows if row["series_instance_uid"] == series_uid}
    before = db.execute(
        f"SELECT {', '.join(KEY)} FROM derived_measurement WHERE series_instance_uid = ? AND reading_id IS NULL",
        [series_uid],
    ).fetchall()
    where = " AND ".join(f"{name} = ?" for name in ("series_instance_uid", *KEY))
    for key in before:
        if key not in again and not (key[0] in kept and key[1:] == ALGORITHM):
            keep_measurements(db.conn, where=where, values=(series_uid, *key))


def _row(result: SeriesMeasurement, inputs: str, *, current: bool) -> dict[str, str | int | float | None]:
    place, measured = result.place, result.score
    signals = measured.rois if measured else {}
    return {
        "series_instance_uid": result.series_uid,
        "source": AUTO,
        "reading_id": None,
        "instances_sha256": inputs,
        "current": int(current),
        "sop_instance_uid": place.sop_instance_uid if place else None,
        "instance_number": place.instance_number if place else None,
        "frame_number": place.frame_number if place else None,
        "status": result.status.value,
        "reasons": stored(result.reasons),
        "vbq_mean": measured.vbq_mean if measured else None,
        "vbq_median": measured.vbq_median if measured else None,
        "vbq_sd": result.vbq_sd,
        "levels_confidence": result.levels_confidence,
        "rois": json.dumps({name: roi_json(roi.circle, roi) for name, roi in sorted(signals.items())}),
        "beside": json.dumps(beside_json(result.beside)),
        "algorithm_name": AUTOMATIC_NAME,
        "algorithm_version": AUTOMATIC_VERSION,
    }
