"""What was drawn into the pixels: a frame, lines or text, of one value each, with nothing between it and the tissue.

It is no signal. Behind the back it would be taken for a ghost of motion, and on the spine for bone.
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.vbq.histogram import values_and_counts
from analytics.vbq.morphology import dilated

FEWEST_PX = 12
"""Fewer pixels of the highest value are a spot, as a spike of the radio frequency leaves it."""
ABOVE_NEIGHBOURS = 0.6
"""Median of the pixels beside it, over it: fat that a window has clipped fades into its neighbours, what is drawn does
not."""
RIM_PX = 2
"""About it: what a resampling has smeared."""
FRAME_SHARE = 0.8
"""Share of an outermost row or column."""

OF_ONE_VALUE_PX = 40
"""Fewest pixels of a value between the lowest and the highest that may be text."""
STANDS_OUT = 5.0
"""Times by which a value has more pixels than those next to it: a scanner's signals are spread evenly, up to 1.5 times
on 200 slices as stored; twenty letters have 12 times as many."""
HIGH_PERCENTILE = 95.0
SAME = 1e-7
"""Over that percentile: what computing leaves between equal signals."""
NEXT_VALUES = 0.05
"""Values on either side that are next to one, over it."""
BUT_TWO = 3
"""The most frequent but two of these counts: a drawing has an edge of another value or two."""
NOT_DARK = 0.15
"""Of the percentile: below it are air and what was put in its place."""


def burnt_in(signal: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """The pixels that were drawn; ``None`` where there are none."""
    drawn = [mask for mask in (_brightest(signal), _of_one_value(signal)) if mask is not None]
    return np.logical_or.reduce(drawn) if drawn else None


def _brightest(signal: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    mask: NDArray[np.bool_] = signal == signal.max()
    if np.count_nonzero(mask) < FEWEST_PX:
        return None
    beside = scipy.ndimage.binary_dilation(mask, structure=np.ones((3, 3))) & ~mask
    if not beside.any() or float(np.median(signal[beside])) > ABOVE_NEIGHBOURS * float(signal.max()):
        return None
    return mask


def _of_one_value(signal: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Pixels of a value between the lowest and the highest that is far more frequent than the values next to it."""
    high = float(np.percentile(signal, HIGH_PERCENTILE))
    if high <= 0:
        return None
    # What was computed comes out a little beside what is the same.
    same = np.rint(signal / (SAME * high)) * (SAME * high) if (signal % 1).any() else signal
    values, counts = values_and_counts(same)
    found = [
        at
        for at in np.flatnonzero(counts >= OF_ONE_VALUE_PX)
        if at < len(values) - 1 and values[at] > NOT_DARK * high and _stands_out(values, counts, int(at), high)
    ]
    return np.isin(same, values[found]) if found else None


def _stands_out(values: NDArray[np.float64], counts: NDArray[np.intp], at: int, high: float) -> bool:
    wide = NEXT_VALUES * high
    first, last = np.searchsorted(values, [values[at] - wide, values[at] + wide])
    beside = np.concatenate([counts[first:at], counts[at + 1 : last]])
    return beside.size >= BUT_TWO and bool(counts[at] > STANDS_OUT * np.sort(beside)[-BUT_TWO])


def without(signal: NDArray[np.float64], mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """The image with zeros, which stand for no measurement, where something was drawn."""
    return signal if mask is None else np.where(dilated(mask, RIM_PX), 0.0, signal)


def doubts_of_drawing(mask: NDArray[np.bool_] | None) -> list[Reason]:
    """What was drawn, in words: a frame, or lines and text; empty where nothing was."""
    if mask is None:
        return []
    found = []
    edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    framed = [bool(edge.mean() >= FRAME_SHARE) for edge in edges]
    if any(framed):
        found.append(Reason("frame-burnt-in"))
    frame = np.zeros_like(mask)
    for axis, (first, last) in enumerate((framed[:2], framed[2:])):
        lines = mask.mean(axis=1 - axis) >= FRAME_SHARE
        # Its lines follow each other from the edge on.
        if first:
            frame |= np.expand_dims(np.logical_and.accumulate(lines), 1 - axis)
        if last:
            frame |= np.expand_dims(np.logical_and.accumulate(lines[::-1])[::-1], 1 - axis)
    if np.count_nonzero(mask & ~frame) >= FEWEST_PX:
        found.append(Reason("text-burnt-in"))
    return found
