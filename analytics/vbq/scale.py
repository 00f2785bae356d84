"""Whether the stored signals are still what the scanner measured, from their histogram.

A ratio of two signals needs a scale that is linear and begins at zero. A viewer's window baked in, a gamma curve or an
offset leaves traces: many pixels at the highest or the lowest value, values that no pixel has in one part of the range
only, a darkest value that is not dark. What was interpolated afterwards, or stored in floating point, hides the second.
"""

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.vbq.histogram import values_and_counts
from analytics.vbq.morphology import dilated, opened_by_square

AT_THE_TOP = 0.001
"""Largest share of pixels at the highest value; 1–3 pixels of 100,000 on five real series and on pairs, 0.4 % and more
once a window clips the fat."""
AT_THE_BOTTOM = 0.04
"""Largest share of pixels at the lowest value outside what the scanner has blanked; up to 1.6 % on real series, 6 % and
more once a window clips the air."""
LIFTED_BOTTOM = 0.027
"""The same where the lowest value has several times as many pixels as the next ones: noise leaves the fewest pixels at
the lowest, what an offset or a window pushed below zero is heaped up there. On real series and pairs up to 2.0 %, made
smaller by splines 2.6 %; an offset of a twentieth to a sixth of the fluid, which moves scores by 3 to 9 %, leaves up to
4 %."""
HEAPED = 4.0
"""Pixels at the lowest value over those at the next."""
NEXT_VALUES = 0.002
"""Up to so much of the 99th percentile above the lowest lie the next values."""
BLANKED_PX = 7
"""Side of a square of the lowest value: air that was measured is never so even."""
NEAR_PX = 3
BANDS = ((0.01, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.0))
"""Parts of the range up to the 99th percentile in which values that no pixel has are counted."""
FEWEST_MISSING = 4
MISSING_APART = 0.06
"""Difference of the share of missing values between two bands. Multiplying leaves the same gaps everywhere; a gamma of
0.9 leaves 22 % at the lower end and none at the upper, one of 1.25 none and 14 %."""
DENSE_PX = 12.0
"""Mean number of pixels of a value and its neighbours at which it is no chance that one of them has none."""
MAX_LEVELS = 2**17
FLOOR = 0.005
"""Least such gap, over the 99th percentile: signals that were interpolated lie at any distance from each other."""
FLOOR_STEPS = 3
"""A gap above the lowest value of more than so many steps, with so many narrow ones after it, is a floor: a curve that
opens such a gap opens the next ones as well."""


def doubts_of_scale(signal: NDArray[np.float64], drawn: NDArray[np.bool_] | None = None) -> list[Reason]:
    """What shows that the scale of an image is no longer linear; empty where nothing does.

    Parameters
    ----------
    signal
        Shape (rows, columns), after the modality LUT.
    drawn
        Pixels that are no signal, same shape.
    """
    kept = np.ones(signal.shape, dtype=bool) if drawn is None else ~drawn
    values = signal[kept]
    found = []
    if (top := float(np.mean(values == values.max()))) > AT_THE_TOP:
        found.append(Reason("signals-clipped-above", {"share": top}))
    floored = _floored(values)
    bottom, heaped = _at_the_bottom(signal, kept)
    if not floored and bottom > (LIFTED_BOTTOM if heaped else AT_THE_BOTTOM):
        found.append(Reason("signals-clipped-below", {"share": bottom}))
    if _curved(values[values > values.min()] if floored else values):
        found.append(Reason("scale-not-linear"))
    return found


def _at_the_bottom(signal: NDArray[np.float64], kept: NDArray[np.bool_]) -> tuple[float, bool]:
    """Share of pixels at the lowest value, but for what was blanked, and whether they are heaped up there."""
    values, measured = signal[kept], ~blanked(signal)[kept]
    above = values[measured] - values.min()
    lowest = int(np.count_nonzero(above == 0))
    steps = above[above > 0]
    if not steps.size:
        return lowest / values.size, False
    wide = max(float(steps.min()), NEXT_VALUES * float(np.percentile(above, 99)))
    return lowest / values.size, lowest > HEAPED * int(np.count_nonzero(steps <= wide))


def _floored(values: NDArray[np.float64]) -> bool:
    """Whether air below some value was set to the lowest: then a gap lies above that, and a window leaves none."""
    found, _ = values_and_counts(values)
    if found.size < 4 * FEWEST_MISSING:
        return False
    steps = np.diff(found)
    wide = max(FLOOR_STEPS * float(steps.min()), FLOOR * float(np.percentile(values, 99) - found[0]))
    return bool(steps[0] > wide and np.all(steps[1 : 1 + FLOOR_STEPS] < steps[0] / FLOOR_STEPS))


def blanked(signal: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Even areas of the lowest value, and a rim about them: corners and frames without a measurement."""
    lowest = signal == signal.min()
    solid = opened_by_square(lowest, BLANKED_PX)
    if not solid.any():
        return np.zeros(signal.shape, dtype=bool)
    return dilated(solid, NEAR_PX)


def _curved(signal: NDArray[np.float64]) -> bool:
    """Values that no pixel has lie close in one part of the range, and not in another."""
    shares = list(_missing(signal))
    return any(
        one - other > MISSING_APART for one, missing in shares if missing >= FEWEST_MISSING for other, _ in shares
    )


def _missing(signal: NDArray[np.float64]) -> Iterator[tuple[float, int]]:
    """Of each band with enough values: the share of values that no pixel has, and how many."""
    levels = _levels(signal)
    if levels is None:
        return
    pixels = np.bincount(levels)
    dense = scipy.ndimage.uniform_filter1d(pixels.astype(float), 9) >= DENSE_PX
    highest = float(np.percentile(levels, 99))
    for low, high in BANDS:
        band = slice(max(2, int(low * highest)), int(high * highest) + 1)
        values = int(np.count_nonzero(dense[band]))
        if values >= 4 * FEWEST_MISSING:
            missing = int(np.count_nonzero((pixels[band] == 0) & dense[band]))
            yield missing / values, missing


def _levels(signal: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """The stored whole numbers, from the lowest on; ``None`` where the signals are no multiples of a step."""
    values, _ = values_and_counts(signal)
    if values.size < 4 * FEWEST_MISSING:
        return None
    step = float(np.min(np.diff(values)))
    if (values[-1] - values[0]) / step > MAX_LEVELS:
        return None
    levels = np.rint((signal - values[0]) / step)
    even: bool = bool(np.abs(levels * step + values[0] - signal).max() < 0.01 * step)
    return levels.astype(np.intp) if even else None
