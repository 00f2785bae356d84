"""What makes a computed score doubtful: such a score waits for a person."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import hypot

from analytics.plausible import RANGES
from analytics.reasons import Reason
from analytics.records import CSF, LEVELS, Circle, VbqScore

MINIMUM_MARROW_PIXELS = 10
MINIMUM_CSF_PIXELS = 5
"""Fewest pixels of a circle: below these its mean follows noise and partial volume rather than tissue."""


def doubts(score: VbqScore, *, head_up: bool = True) -> tuple[Reason, ...]:
    """Reasons for which a person must look at a score; empty when there are none.

    ``head_up``: the rows of the image run from head to foot, so that the order of the circles can be checked.
    """
    circles = {name: roi.circle for name, roi in score.rois.items()}
    order = _order(circles) if head_up else ()
    return (*_small(score), *_overlaps(circles), *order, *_implausible(score))


def _small(score: VbqScore) -> Sequence[Reason]:
    found = []
    for name, roi in score.rois.items():
        minimum = MINIMUM_CSF_PIXELS if name == CSF else MINIMUM_MARROW_PIXELS
        if roi.pixels < minimum:
            found.append(Reason("circle-small", {"name": name, "pixels": roi.pixels, "minimum": minimum}))
    return found


def _overlaps(circles: dict[str, Circle]) -> Sequence[Reason]:
    return [
        Reason("circles-overlap", {"one": one, "other": other})
        for (one, a), (other, b) in combinations(circles.items(), 2)
        if hypot(a.row - b.row, a.col - b.col) < a.radius_px + b.radius_px
    ]


def _order(circles: dict[str, Circle]) -> Sequence[Reason]:
    """Rows grow from head to foot in a sagittal image as every scanner shows it."""
    found = [
        Reason("circles-out-of-order", {"upper": upper, "lower": lower})
        for upper, lower in pairwise(LEVELS)
        if circles[upper].row >= circles[lower].row
    ]
    if not found and not circles["L2"].row < circles[CSF].row < circles["L4"].row:
        found.append(Reason("csf-not-at-l3"))
    return found


def _implausible(score: VbqScore) -> Sequence[Reason]:
    low, high = RANGES["vbq"].low, RANGES["vbq"].high
    return [
        Reason("score-not-plausible", {"form": form, "value": value, "low": low, "high": high})
        for form, value in (("mean", score.vbq_mean), ("median", score.vbq_median))
        if not low <= value <= high
    ]
