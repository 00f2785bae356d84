"""The measurement of one study as a task: what it needs and what comes of it as plain values, without a database.

The step measures by it in its own process, the back-fill in others, on this machine or another. The same task gives the
same outcome, bit for bit, wherever it is done with the same software.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.measure.automatic import (
    AUTO,
    Measure,
    SeriesMeasurement,
    StudySeries,
    beside_candidates,
    in_order,
    measure_study,
)
from node.measure.decoding import pixels_sha256
from node.measure.rois import beside_json, roi_json, t2_json
from node.measure.study import ImageRow, received, versions
from node.store.failures import in_words, tried
from node.store.reasons import loaded, stored

Row = dict[str, str | int | float | None]
"""A row of ``derived_measurement``."""


@dataclass(frozen=True, kw_only=True)
class StudyTask:
    """A study: its images as :func:`node.measure.study.image_rows` gives them, and ``dicom.quiet_s``.

    ``measured`` are the states of it that need not be measured again unless they are how it stands.
    """

    study_uid: str
    images: tuple[ImageRow, ...]
    quiet_s: float
    measured: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As text, for another process."""
        return json.dumps([self.study_uid, self.images, self.quiet_s, self.measured])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The task of such a text."""
        study_uid, images, quiet_s, measured = json.loads(text)
        rows = tuple(ImageRow(*image) for image in images)
        return cls(study_uid=study_uid, images=rows, quiet_s=quiet_s, measured=tuple(measured))


@dataclass(frozen=True, kw_only=True)
class StudyOutcome:
    """What came of a study: a row for each series that was measured, or ``fault``, why the study as a whole failed.

    ``kept`` are the states that were not measured again. ``pixels`` has the hash of each measured slice of the newest
    state, by series; ``faults`` the series on which the software failed. Faults are the kind of the error and the line
    that raised it.
    """

    study_uid: str
    rows: tuple[Row, ...] = ()
    pixels: Mapping[str, str]
    faults: Mapping[str, str]
    fault: str | None = None
    kept: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As text, for another process; equal outcomes give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The outcome of such a text."""
        content: dict[str, Any] = json.loads(text)
        return cls(**{**content, "rows": tuple(content["rows"]), "kept": tuple(content["kept"])})


def in_these_words(outcome: StudyOutcome) -> StudyOutcome:
    """The outcome with its reasons in the words of this process: who measured it may speak another language."""
    rows = tuple(row | {"reasons": stored(loaded(str(row["reasons"])))} for row in outcome.rows)
    return replace(outcome, rows=rows)


def do(task: StudyTask, measure: Measure, path: Callable[[str], Path]) -> StudyOutcome:
    """Measure a study each time that it had become quiet.

    Parameters
    ----------
    measure
        :func:`analytics.vbq.measure.measure_stack`.
    path
        Where the file of an image lies, by its SHA-256.

    Raises
    ------
    OSError
        It lies with the machine (:func:`node.store.failures.of_the_machine`).
    """
    done = tried(lambda: _measured(task, measure, path))
    if done.error is not None:
        return StudyOutcome(study_uid=task.study_uid, pixels={}, faults={}, fault=in_words(done.error))
    return done.result()


def looked_at(task: StudyTask) -> set[str]:
    """SHA-256 of the images whose pixels :func:`do` may look at; of the others the headers are enough."""
    images = [image for image in received(task.images, Path) if not image.withdrawn]
    found = versions(images, task.study_uid, quiet_s=task.quiet_s)
    return {str(image.path) for series in found.values() for one in _looked_at(series) for image in one.images}


def _looked_at(series: Mapping[str, StudySeries]) -> list[StudySeries]:
    return [*in_order(series), *beside_candidates(series)]


def _measured(task: StudyTask, measure: Measure, path: Callable[[str], Path]) -> StudyOutcome:
    images = [image for image in received(task.images, path) if not image.withdrawn]
    found = versions(images, task.study_uid, quiet_s=task.quiet_s)
    newest = next(reversed(found), None)
    # What an earlier state showed does not change: measured once, however many states follow.
    kept = tuple(inputs for inputs in found if inputs in task.measured and inputs != newest)
    results = [
        (result, inputs)
        for inputs, series in found.items()
        if inputs not in kept
        for result in measure_study(series, measure)
    ]
    current = [result for result, inputs in results if inputs == newest]
    return StudyOutcome(
        study_uid=task.study_uid,
        rows=tuple(_row(result, inputs, current=inputs == newest) for result, inputs in results),
        pixels={one.series_uid: pixels_sha256(one.image.signal) for one in current if one.image is not None},
        faults={one.series_uid: in_words(one.error) for one in current if one.error is not None},
        kept=kept,
    )


def _row(result: SeriesMeasurement, inputs: str, *, current: bool) -> Row:
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
        "beside": json.dumps(beside_json(result.beside) | t2_json(result.t2)),
        "algorithm_name": AUTOMATIC_NAME,
        "algorithm_version": AUTOMATIC_VERSION,
    }


def newest_inputs(rows: Sequence[Row]) -> str | None:
    """The state of the study that the current rows are of."""
    return next((str(row["instances_sha256"]) for row in rows if row["current"]), None)
