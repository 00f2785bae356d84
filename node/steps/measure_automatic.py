"""The measure step, automatic: the candidate series of every quiet study, until the image of one is accepted.

A study is the unit of work: all that it had become each time it was quiet is measured and stored at once, so a kill
at any instant loses at most one study's work. Which study is pending is a query.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from time import perf_counter

import structlog
from sqlite_utils import Database

from analytics.reasons import Reason
from node.clock import now, to_text
from node.measure.automatic import Measure
from node.measure.study import image_rows
from node.measure.task import Row, StudyOutcome, StudyTask, do, in_these_words, newest_inputs
from node.settings import Settings
from node.steps.shared_pixels import note_pixels
from node.steps.unmeasured import ALGORITHM, PENDING
from node.store.archive import Archive
from node.store.database import insert, writing
from node.store.derivation import keep_measurements
from node.store.failures import Unit, barrier, begin_attempt, forget_failure, note_outcome
from node.store.pending import touch

BATCH = 4
"""Studies measured before the other steps, and a request to stop, get their turn."""

log = structlog.get_logger()

KEY = ("instances_sha256", "algorithm_name", "algorithm_version")
"""What tells the automatic measurements of a series apart."""


def measure_automatically(
    db: Database,
    archive: Archive,
    settings: Settings,
    measure: Measure,
    took: Callable[[float], None] = lambda seconds: None,
) -> int:
    """Measure some of the studies that are new, have changed or were measured by another version; returns how many.

    Parameters
    ----------
    measure
        :func:`analytics.vbq.measure.measure_stack`.
    took
        Told how long each study took, in seconds, from the reading of its images to the commit.
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
        with barrier(db, "measure", unit, instead=partial(without, db, uid)):
            began = perf_counter()
            _measure(db, archive, settings, measure, uid)
            took(perf_counter() - began)
    return len(studies)


def task_of(db: Database, settings: Settings, study_uid: str) -> StudyTask:
    """What measuring a study needs."""
    return StudyTask(
        study_uid=study_uid,
        images=image_rows(db, study_uid),
        quiet_s=settings.dicom.quiet_s,
        measured=tuple(sorted(_measured(db, study_uid))),
    )


def _measure(db: Database, archive: Archive, settings: Settings, measure: Measure, study_uid: str) -> None:
    outcome = do(task_of(db, settings, study_uid), measure, archive.path)
    with writing(db):
        store(db, outcome)


def store(db: Database, outcome: StudyOutcome) -> None:
    """Put what came of a study in the place of what was measured before; within a unit of work."""
    unit = Unit("study", outcome.study_uid)
    if outcome.fault is not None:
        log.error("a study could not be measured", study=outcome.study_uid, fault=outcome.fault)
        reason = Reason("unit-failed", {"fault": outcome.fault})
        note_outcome(db, "measure", unit, reason)
        without(db, outcome.study_uid, reason)
        return
    rows = in_these_words(outcome).rows
    _replace(db, outcome.study_uid, rows, outcome.kept)
    note_pixels(db, outcome.study_uid, outcome.pixels)
    series = {Unit("series", str(row["series_instance_uid"])) for row in outcome.rows}
    forget_failure(db, "measure", unit, *sorted(series))
    for uid, fault in outcome.faults.items():
        note_outcome(db, "measure", Unit("series", uid), Reason("unit-failed", {"fault": fault}))


def measured_elsewhere(db: Database, study_uid: str, outcome: StudyOutcome | None) -> bool:
    """Whether a study is no longer to be measured, or no longer as it was; within the unit of work that stores it.

    Parameters
    ----------
    outcome
        What came of it; ``None`` where nothing did.
    """
    row = db.execute(
        f"SELECT s.inputs_sha256 {PENDING} AND s.study_instance_uid = ? LIMIT 1", [*ALGORITHM, study_uid]
    ).fetchone()
    if row is None or outcome is None:
        return row is None
    newest = newest_inputs(outcome.rows)
    return newest not in (None, row[0]) or not set(outcome.kept) <= _measured(db, study_uid)


def _measured(db: Database, study_uid: str) -> set[str]:
    """States of a study of which this algorithm measured the first candidate, without doubts that came later."""
    found = db.execute(
        "SELECT m.instances_sha256 FROM derived_measurement AS m JOIN derived_series AS s USING (series_instance_uid) "
        "WHERE s.study_instance_uid = ? AND m.reading_id IS NULL AND m.algorithm_name = ? AND m.algorithm_version = ? "
        "GROUP BY m.instances_sha256 HAVING max(m.status = 'rejected') = 0 AND max(m.doubts) = 0",
        [study_uid, *ALGORITHM],
    )
    return {inputs for (inputs,) in found}


def without(db: Database, study_uid: str, _: Reason) -> None:
    """No earlier measurement stands for a study that could not be measured with all that it has now."""
    _replace(db, study_uid, (), ())


def _replace(db: Database, study_uid: str, rows: Sequence[Row], kept: Collection[str]) -> None:
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


def _keep_others(db: Database, series_uid: str, rows: Sequence[Row], kept: Collection[str]) -> None:
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
