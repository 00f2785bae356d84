"""The automatic measurement of a study: its candidate series in their order, until the image of one is accepted.

The headers say which series may be the sagittal T1 and in which order (:func:`analytics.vbq.series.candidates`); the
images decide. Used by the step, which knows the files by the database, and by ``vbq-node measure``, which knows them
by their paths.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.records import MeasurementStatus, VbqScore
from analytics.vbq.automatic import AutomaticMeasurement, Beside, SagittalImage, T2At
from analytics.vbq.series import (
    MINIMUM_SLICES,
    Verdict,
    after_contrast,
    candidates,
    fluid_series,
    judge,
    maybe_after_contrast,
)
from node.dicom.stack import Place, Stack, StoredImage, read_stacks
from node.errors import DecodingError
from node.measure.decoding import read_slices
from node.measure.t2 import USUAL_THICKNESS_MM, Images, T2Slices, T2Used
from node.store.failures import in_words, tried

AUTO = "auto"

SEVERITY = {MeasurementStatus.MEASURED: 0, MeasurementStatus.REVIEW: 1, MeasurementStatus.REJECTED: 2}

log = structlog.get_logger()

_Where = tuple[str, frozenset[str]]
"""Frame of Reference and studies of a series."""


class Measure(Protocol):
    """:func:`analytics.vbq.measure.measure_stack`, or another measurement with the same contract."""

    def __call__(
        self, images: Sequence[SagittalImage], *, t1_stated: bool = True, t2_at: T2At | None = None
    ) -> AutomaticMeasurement: ...


@dataclass(frozen=True, kw_only=True)
class StudySeries:
    """One series of a study: its images, and what its headers say that it is."""

    uid: str
    images: Sequence[StoredImage]
    verdict: Verdict
    studies: frozenset[str]
    """Studies that its images name; one, unless something is wrong."""


@dataclass(frozen=True, kw_only=True)
class SeriesMeasurement:
    """What came of one series; ``place`` and ``image`` are of the slice that was measured."""

    series_uid: str
    status: MeasurementStatus
    reasons: tuple[Reason, ...]
    place: Place | None = None
    score: VbqScore | None = None
    vbq_sd: float | None = None
    levels_confidence: float | None = None
    image: SagittalImage | None = None
    outlines: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    beside: Beside | None = None
    t2: T2Used | None = None
    error: Exception | None = None
    """What was raised where the software failed on the series, which is then rejected."""


def series_of(uid: str, images: Sequence[StoredImage]) -> StudySeries:
    """A series from its images."""
    return StudySeries(
        uid=uid,
        images=images,
        verdict=judge([image for stored in images for image in stored.header.images]),
        studies=frozenset(stored.header.study_instance_uid for stored in images),
    )


def in_order(series: Mapping[str, StudySeries]) -> list[StudySeries]:
    """The series of a study that may be its sagittal T1, the best first; none whose images name several studies."""
    verdicts = {uid: one.verdict for uid, one in series.items() if len(one.studies) == 1}
    return [series[uid] for uid in candidates(verdicts)]


def doubts_of_order(series: Mapping[str, StudySeries]) -> dict[str, Reason]:
    """What the other series of a study give to doubt about a candidate, by the UID of the candidate."""
    verdicts = {uid: one.verdict for uid, one in series.items()}
    late, maybe = after_contrast(verdicts), maybe_after_contrast(verdicts)
    doubts = {uid: Reason("contrast-of-examination", {"where": places}) for uid, places in maybe.items()}
    doubts |= {uid: Reason("after-contrast", {"series": first}) for uid, first in late.items()}
    return {one.uid: doubts[one.uid] for one in in_order(series) if one.uid in doubts}


def t2_by_place(series: Mapping[str, StudySeries]) -> dict[_Where, list[StudySeries]]:
    """The T2 series of a study that may say where the fluid of a T1 series is, by where they lie; no T1 is one."""
    found: dict[_Where, list[StudySeries]] = {}
    for uid in fluid_series({uid: one.verdict for uid, one in series.items()}):
        one, where = series[uid], _where(series[uid])
        # What was taken back or compressed with loss speaks for nothing, even where a person may still look at it.
        if where is not None and not any(image.in_doubt or image.header.lossy for image in one.images):
            found.setdefault(where, []).append(one)
    return found


def t2_beside(by_place: Mapping[_Where, Sequence[StudySeries]], t1: StudySeries) -> Sequence[StudySeries]:
    """Those of :func:`t2_by_place` that are of the study and Frame of Reference of a T1 series."""
    where = _where(t1)
    return () if where is None else by_place.get(where, ())


def beside_candidates(series: Mapping[str, StudySeries]) -> list[StudySeries]:
    """The T2 series that the measurement of a study looks at."""
    by_place = t2_by_place(series)
    places = {where for t1 in in_order(series) if (where := _where(t1)) is not None} if by_place else set()
    found = {one.uid: one for where in places for one in by_place.get(where, ())}
    return [found[uid] for uid in sorted(found)]


def _where(series: StudySeries) -> _Where | None:
    frame = _frame_of_reference(series)
    return (frame, series.studies) if frame else None


def _frame_of_reference(series: StudySeries) -> str | None:
    """Of all its images; ``None`` where they do not say, or not the same."""
    given = {image.frame_of_reference_uid for stored in series.images for image in stored.header.images}
    return given.pop() if len(given) == 1 else None


def measure_study(
    series: Mapping[str, StudySeries], measure: Measure, *, picked: bool = False
) -> Iterator[SeriesMeasurement]:
    """Measure the candidates of a study one after the other, until one is not rejected by its image.

    ``picked``: a person named the files. A few slices are then what was wanted; otherwise they are what arrived of
    more, and such a series waits for a person.
    """
    doubts, fluid = doubts_of_order(series), t2_by_place(series)
    for one in in_order(series):
        tries = tried(partial(measure_series, one, measure, picked=picked, beside=t2_beside(fluid, one)))
        result = tries.result() if tries.error is None else _failed(one, tries.error)
        if one.uid in doubts:
            result = doubted(result, (doubts[one.uid],))
        yield result
        if result.status is not MeasurementStatus.REJECTED:
            return


def measure_series(
    series: StudySeries, measure: Measure, *, picked: bool = False, beside: Sequence[StudySeries] = ()
) -> SeriesMeasurement:
    """Measure one series; where it holds several stacks, the one that comes out best. ``picked``: as above.

    ``beside``: T2 series of the same place, as :func:`t2_beside` gives them.
    """
    stacks = read_stacks(series.images, read_slices, foreign=series.verdict.foreign)
    if not any(stack.images for stack in stacks):
        why = tuple(doubt for stack in stacks[:1] for doubt in stack.doubts)
        return _rejected(series, Reason("no-image-placed"), *why)
    results = [_measure_stack(series, stack, measure, beside) for stack in stacks if stack.images]
    if few := _few(series):
        results = [replace(one, reasons=(*one.reasons, *few)) if picked else doubted(one, few) for one in results]
    best = min(results, key=lambda result: SEVERITY[result.status])
    usable = [result for result in results if result.status is not MeasurementStatus.REJECTED]
    if len(usable) > 1:
        doubt = Reason("several-stacks", {"stacks": len(usable)})
        return doubted(best, (doubt,))
    return best


def _measure_stack(
    series: StudySeries, stack: Stack, measure: Measure, beside: Sequence[StudySeries]
) -> SeriesMeasurement:
    asked = T2Slices(
        {one.uid: Images(stored=one.images, foreign=one.verdict.foreign) for one in beside},
        within_mm=(series.verdict.protocol.slice_thickness_mm or USUAL_THICKNESS_MM) / 2,
    )
    found = measure(stack.images, t1_stated=series.verdict.weighting_stated, t2_at=asked if beside else None)
    at = found.slice_index
    result = SeriesMeasurement(
        series_uid=series.uid,
        status=found.status,
        reasons=(*found.reasons, *stack.notes, *series.verdict.protocol.warnings),
        place=None if at is None else stack.places[at],
        score=found.score,
        vbq_sd=found.vbq_sd,
        levels_confidence=found.levels_confidence,
        image=None if at is None else stack.images[at],
        outlines=found.outlines,
        beside=found.beside,
        t2=asked.used(found.fluid_on_t2),
    )
    return doubted(result, (*stack.doubts, *series.verdict.doubts))


def _few(series: StudySeries) -> tuple[Reason, ...]:
    """What is to be known of a series of so few slices that the midline may lie beside them."""
    slices = series.verdict.slices
    if slices >= MINIMUM_SLICES:
        return ()
    return (Reason("fewer-slices", {"minimum": MINIMUM_SLICES, "slices": slices}),)


def doubted(result: SeriesMeasurement, doubts: Sequence[Reason]) -> SeriesMeasurement:
    """The result with what a person must know first; a measured one then waits for a person."""
    if not doubts:
        return result
    doubtful = result.status is MeasurementStatus.MEASURED
    return replace(
        result,
        status=MeasurementStatus.REVIEW if doubtful else result.status,
        reasons=(*doubts, *result.reasons),
    )


def _failed(series: StudySeries, error: Exception) -> SeriesMeasurement:
    log.error("the automatic measurement failed", series=series.uid, error=in_words(error))
    if isinstance(error, DecodingError):
        reason = error.reason
    else:
        reason = Reason("measurement-failed", {"fault": type(error).__name__})
    return replace(_rejected(series, reason), error=error)


def _rejected(series: StudySeries, *reasons: Reason) -> SeriesMeasurement:
    return SeriesMeasurement(series_uid=series.uid, status=MeasurementStatus.REJECTED, reasons=reasons)
