"""What was drawn into the pixels: a frame, lines or text at the highest value, with nothing between it and the tissue.

It is no signal. Behind the back it would be taken for a ghost of motion, and on the spine for bone.
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.reasons import Reason
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


def burnt_in(signal: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """The pixels that were drawn; ``None`` where there are none."""
    mask: NDArray[np.bool_] = signal == signal.max()
    if np.count_nonzero(mask) < FEWEST_PX:
        return None
    beside = scipy.ndimage.binary_dilation(mask, structure=np.ones((3, 3))) & ~mask
    if not beside.any() or float(np.median(signal[beside])) > ABOVE_NEIGHBOURS * float(signal.max()):
        return None
    return mask


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
