"""Outlines of what was seen, for a picture that a person can check."""

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray

from analytics.vbq.grid import Grid
from analytics.vbq.levels import FROM_THE_SACRUM
from analytics.vbq.spine import Spine


def outlines(grid: Grid, spine: Spine) -> dict[str, NDArray[np.float64]]:
    """By name (``L5`` … ``L1``, ``S1``, ``canal``): (n, 2) rows and columns of the native slice, 0-based."""
    masks = {name: body.mask for name, body in zip(FROM_THE_SACRUM, spine.bodies, strict=False)}
    if spine.s1 is not None:
        masks["S1"] = spine.s1.mask
    if spine.canal.any():
        masks["canal"] = spine.canal
    found = {name: _outline(mask) for name, mask in masks.items()}
    return {name: grid.to_native(line) for name, line in found.items() if line is not None}


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """The longest line around a mask, rows and columns."""
    lines = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    if not lines:
        return None
    longest = max((np.asarray(line) for line in lines), key=len)
    return longest[:, ::-1] - 1.0
