"""How far a score may be off: everything known to move it, in quadrature, scaled so that the interval holds."""

from collections.abc import Sequence
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray

from analytics.records import CSF, LEVELS, Circle, VbqScore
from analytics.vbq.automatic import SagittalImage
from analytics.vbq.csf import FluidCircle
from analytics.vbq.score import ScoreError, score

SHADING = 0.012
"""Relative: what the coil's shading between marrow and canal moves a score by."""
JITTER_MM = 0.7
"""How far a careful person's circle lies from another's."""
NEIGHBOUR_WEIGHT = 0.25
"""Share of the difference to a neighbouring slice: the midline is hit to a fraction of a slice."""
NO_NEIGHBOUR = 0.015
"""Relative, where there is no neighbouring slice."""
IMPURITY = 0.35
"""Relative error per unit of impurity of the fluid."""
SCALE = 0.56
"""Scale by which the 95 % interval held the mean of two readers in 95 % of the measured of 60 slices, for the fifteen
pairs of six readers each (tests/readings; 96 % since the circles keep to healthy marrow); it held that of all six in
all."""
TOO_WIDE = 0.08
"""Relative: a score with a greater standard deviation waits for a person."""


def vbq_sd(image: SagittalImage, measured: VbqScore, fluid: FluidCircle, beside: Sequence[float]) -> float:
    """Standard deviation of ``measured.vbq_mean``, same unit.

    ``beside``: the scores of the neighbouring slices, where they could be had.
    """
    relative = sqrt(
        sum(
            part**2
            for part in (
                _jitter(image.signal, image.spacing_mm, measured),
                fluid.relative_sd,
                _noise(measured),
                SHADING,
                IMPURITY * (1 - fluid.purity),
                _neighbours(measured.vbq_mean, beside),
            )
        )
    )
    return SCALE * relative * measured.vbq_mean


def reading_sd(signal: NDArray[np.float64], spacing_mm: tuple[float, float], read: VbqScore) -> float:
    """Standard deviation of the score of a person's circles: what moves it but the choice of the fluid and slice."""
    parts = (_jitter(signal, spacing_mm, read), _noise(read), SHADING, NO_NEIGHBOUR)
    return SCALE * sqrt(sum(part**2 for part in parts)) * read.vbq_mean


def _jitter(signal: NDArray[np.float64], spacing_mm: tuple[float, float], measured: VbqScore) -> float:
    """Relative: of the score when each circle is moved, one at a time, in four directions."""
    total = 0.0
    step = [JITTER_MM / mm for mm in spacing_mm]
    for name in (*LEVELS, CSF):
        moved = []
        for rows, columns in ((step[0], 0.0), (-step[0], 0.0), (0.0, step[1]), (0.0, -step[1])):
            circles = {key: roi.circle for key, roi in measured.rois.items()}
            old = circles[name]
            circles[name] = Circle(row=old.row + rows, col=old.col + columns, radius_px=old.radius_px)
            try:
                moved.append(score(signal, circles, spacing_mm=spacing_mm).vbq_mean)
            except ScoreError:
                continue
        if moved:
            total += float(np.mean([(value / measured.vbq_mean - 1) ** 2 for value in moved]))
    return sqrt(total)


def _noise(measured: VbqScore) -> float:
    """Relative: standard errors of the means of the circles."""
    fluid = measured.rois[CSF]
    marrow = sum(measured.rois[name].mean for name in LEVELS)
    errors = hypot(*(measured.rois[name].sd / sqrt(measured.rois[name].pixels) for name in LEVELS))
    return hypot(fluid.sd / sqrt(fluid.pixels) / fluid.mean, errors / marrow)


def _neighbours(vbq: float, beside: Sequence[float]) -> float:
    if not beside:
        return NO_NEIGHBOUR
    return NEIGHBOUR_WEIGHT * float(np.sqrt(np.mean([(value / vbq - 1) ** 2 for value in beside])))
