"""The automatic measurement: what goes in, and what comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.records import MeasurementStatus, RoiSignal, VbqScore


@dataclass(frozen=True, kw_only=True)
class SagittalImage:
    """One slice of a stack, with what places it in the patient.

    Attributes
    ----------
    signal
        (rows, columns), after the modality rescale; greater is more signal.
    spacing_mm
        Between the centres of neighbouring rows, and of neighbouring columns.
    position_mm
        Centre of pixel (0, 0) in patient coordinates (x to the left, y to the back, z to the head).
    orientation
        Direction cosines of increasing column index, then of increasing row index.
    """

    signal: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    position_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]


T2At = Callable[[SagittalImage], SagittalImage | None]
"""The slice of a T2 of the same examination in the place of a T1 slice; ``None``: there is none."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What stands beside the score and is not validated here (:mod:`analytics.vbq.beside`); ratios without unit.

    Attributes
    ----------
    s1
        Circle in S1 and its signal; ``None`` where S1 is not seen or leaves no room for one.
    s1_vbq
        Its signal over that of the fluid.
    ebq
        End-plate bone quality by disc (``L1/L2`` … ``L5/S1``), as far as both end plates are seen.
    """

    s1: RoiSignal | None
    s1_vbq: float | None
    ebq: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class FluidOnT2:
    """Share of the circle of fluid that is fluid by a T2, 0 to 1: moved by a pixel to the worst and the best side."""

    worst: float
    best: float


@dataclass(frozen=True, kw_only=True)
class AutomaticMeasurement:
    """What was measured on one stack, or why not.

    Attributes
    ----------
    status, reasons
        ``measured`` may have reasons too (warnings); ``review`` and ``rejected`` always have some.
    slice_index
        0-based, into the images as given; ``None`` when no slice could be chosen.
    score
        Circles in native pixels of that slice with their signals, and both forms of the score; ``None`` when
        ``rejected``.
    vbq_sd
        Standard deviation of ``score.vbq_mean`` by everything that is known to move it; same unit.
    levels_confidence
        0 to 1: that L1 … L4 are named right.
    outlines
        By name (``L1`` … ``L5``, ``S1``, ``canal``): (n, 2) row and column of a closed outline in native pixels.
    beside
        What stands beside the score; ``None`` without one.
    fluid_on_t2
        What the T2 of the same examination says of the circle of fluid; ``None`` without one that shows the same.
    """

    status: MeasurementStatus
    reasons: tuple[Reason, ...]
    slice_index: int | None
    score: VbqScore | None
    vbq_sd: float | None
    levels_confidence: float | None
    outlines: Mapping[str, NDArray[np.float64]]
    beside: Beside | None = None
    fluid_on_t2: FluidOnT2 | None = None
