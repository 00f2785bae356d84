"""How far a score may be off: everything known to move it, in quadrature, weighted so that the interval holds."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from analytics.records import CSF, LEVELS, Circle, VbqScore
from analytics.vbq.automatic import SagittalImage
from analytics.vbq.csf import FluidCircle
from analytics.vbq.score import ScoreError, score

# The weights below are near to those with which the errors against the mean of two readers on 146 slices
# (tests/readings) are most likely; what did not help on an eighth of the slices that was left out in turn is not here.
ALWAYS = 0.008
"""Relative: what is left where nothing else is seen; the coil's shading between marrow and canal."""
UNEVEN = 0.2
"""Share of the unevenness of the marrow: where it differs from place to place, so do the circles of two people."""
JITTER_MM = 0.7
"""How far a careful person's circle of fluid lies from another's."""
JITTER = 0.5
"""Share of what that moves the score by."""
ELSEWHERE = 0.45
"""Share of the difference to the fluid that the level shows elsewhere."""
OTHER = 0.6
"""Share of the difference to what may be fluid as well."""
IMPURITY = 0.1
"""Relative error per unit of impurity of the fluid."""
NEIGHBOUR_WEIGHT = 0.14
"""Share of the difference to a neighbouring slice: the midline is hit to a fraction of a slice."""
NO_NEIGHBOUR = 0.008
"""Relative, where there is no neighbouring slice."""
TOO_WIDE = 0.07
"""Relative: a score with a greater standard deviation waits for a person."""


def vbq_sd(image: SagittalImage, measured: VbqScore, fluid: FluidCircle, beside: Sequence[float]) -> float:
    """Standard deviation of ``measured.vbq_mean`` against the mean of two readers, same unit.

    ``beside``: the scores of the neighbouring slices, where they could be had.
    """
    parts = (
        *_of_circles(image.signal, image.spacing_mm, measured),
        ELSEWHERE * fluid.elsewhere,
        OTHER * fluid.other,
        IMPURITY * (1 - fluid.purity),
        _neighbours(measured.vbq_mean, beside),
    )
    return sqrt(sum(part**2 for part in parts)) * measured.vbq_mean


def reading_sd(signal: NDArray[np.float64], spacing_mm: tuple[float, float], read: VbqScore) -> float:
    """Standard deviation of the score of a person's circles: what moves it but the choice of the fluid and slice."""
    parts = (*_of_circles(signal, spacing_mm, read), NO_NEIGHBOUR)
    return sqrt(sum(part**2 for part in parts)) * read.vbq_mean


def _of_circles(
    signal: NDArray[np.float64], spacing_mm: tuple[float, float], measured: VbqScore
) -> tuple[float, float, float]:
    """Relative: what circles themselves tell."""
    uneven = float(np.mean([measured.rois[name].sd / measured.rois[name].mean for name in LEVELS]))
    return ALWAYS, UNEVEN * uneven, JITTER * _jitter(signal, spacing_mm, measured)


def _jitter(signal: NDArray[np.float64], spacing_mm: tuple[float, float], measured: VbqScore) -> float:
    """Relative: of the score when the circle of fluid is moved in four directions."""
    rows, columns = (JITTER_MM / mm for mm in spacing_mm)
    moved = []
    for down, back in ((rows, 0.0), (-rows, 0.0), (0.0, columns), (0.0, -columns)):
        circles = {name: roi.circle for name, roi in measured.rois.items()}
        old = circles[CSF]
        circles[CSF] = Circle(row=old.row + down, col=old.col + back, radius_px=old.radius_px)
        try:
            moved.append(score(signal, circles, spacing_mm=spacing_mm).vbq_mean / measured.vbq_mean - 1)
        except ScoreError:
            continue
    return float(np.sqrt(np.mean(np.square(moved)))) if moved else 0.0


def _neighbours(vbq: float, beside: Sequence[float]) -> float:
    if not beside:
        return NO_NEIGHBOUR
    return NEIGHBOUR_WEIGHT * float(np.sqrt(np.mean([(value / vbq - 1) ** 2 for value in beside])))
