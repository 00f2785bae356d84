"""Circles in the marrow: in the anterior two-thirds of a body, inside the cortex, away from what is not marrow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analytics.vbq.grid import Grid, disc
from analytics.vbq.spine import Part, Spine

CORTEX_MM = 2.0
"""Kept free along the wall and the end plates: the cortex, its chemical shift and the partial volume."""
ANTERIOR_PART = 2.0 / 3.0
"""Ma et al.: circles lie in the anterior two-thirds; the basivertebral vein enters from behind."""
RADII_MM = (7.5, 6.5, 5.5, 4.5, 4.0)
"""Tried from the greatest. Readers used 5 to 9 mm (6.8 mm, the mean of six on each of 60 slices); circles of 8 mm were
brighter than theirs by 0.5 %, of 7.5 mm by 0.2 %."""
UNEVEN_MM = 100.0
"""A relative standard deviation of 1 % within a circle counts as 1 mm away from the middle of the marrow. The mean of
L1 to L4 then differs from readers' by 1.3 % (RMS) on 60 slices and by 1.2 % on 36 others, without it by 1.8 and 1.3 %
(readers' means themselves are known to 0.6 and 0.9 %)."""
FOCAL_FACTOR = 3.5
FOCAL_FLOOR = 0.12
"""A pixel is focal (vein, node, haemangioma, Modic change, sclerosis) when it differs from the body's median by more
than so many robust standard deviations and by more than this part of the median."""
FOCAL_SHARE = 0.02
"""Of a circle may be focal."""


@dataclass(frozen=True, kw_only=True)
class BodyCircle:
    """A circle on the grid (0-based), and how the marrow around it looks."""

    row: float
    column: float
    radius_mm: float
    focal_share: float
    """Of the pixels of the circle that differ from the body's marrow."""
    body_focal_share: float
    """Of the anterior two-thirds inside the cortex."""


def axes(spine: Spine, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors (rows, columns) of body ``index``: to the head, and to the front."""
    body = spine.bodies[index]
    below = spine.discs[index]
    above = spine.discs[index + 1] if index + 1 < len(spine.bodies) else None
    low, high = (
        _end(below, spine.bodies[index - 1] if index else None, body),
        _end(above, spine.bodies[index + 1] if index + 1 < len(spine.bodies) else None, body),
    )
    up = np.asarray(high) - np.asarray(low)
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 0 else np.array([-1.0, 0.0])
    return up, np.array([up[1], -up[0]]) if up[0] > 0 else np.array([-up[1], up[0]])


def _end(disc: Part | None, neighbour: Part | None, body: Part) -> tuple[float, float]:
    if disc is not None:
        return disc.centre
    if neighbour is not None:
        return ((neighbour.centre[0] + body.centre[0]) / 2, (neighbour.centre[1] + body.centre[1]) / 2)
    return body.centre


def marrow(spine: Spine, index: int) -> NDArray[np.bool_]:
    """Where a circle may lie: the oriented anterior two-thirds of a body, inside the cortex; a mask on the grid."""
    body = spine.bodies[index]
    _, front = axes(spine, index)
    rows, columns = np.nonzero(body.mask)
    forward = (rows - body.centre[0]) * front[0] + (columns - body.centre[1]) * front[1]
    back, fore = np.percentile(forward, [2, 98])
    out = np.zeros_like(body.mask)
    keep = forward >= fore - ANTERIOR_PART * (fore - back)
    out[rows[keep], columns[keep]] = True
    depth = ndimage.distance_transform_edt(body.mask) * spine.spacing_mm
    inside: NDArray[np.bool_] = out & (depth >= CORTEX_MM)
    return inside


def body_circle(grid: Grid, spine: Spine, index: int) -> BodyCircle | None:
    """The greatest circle in the marrow of body ``index`` that holds next to nothing focal; ``None``: no room.

    Of several the one that is near the middle and even: readers keep away from the fat about the basivertebral vein,
    and where a body shows two kinds of marrow, they stay within one.
    """
    allowed = marrow(spine, index)
    if np.count_nonzero(allowed) < 12:
        return None
    box = _box(allowed, int(np.ceil(RADII_MM[0] / spine.spacing_mm)))
    allowed, signal = allowed[box], ndimage.gaussian_filter(grid.signal[box], 0.5)
    values = signal[allowed]
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    focal = np.abs(signal - median) > max(FOCAL_FACTOR * spread, FOCAL_FLOOR * median)
    body_share = float(np.mean(focal[allowed]))
    relative = signal / max(median, 1e-9)
    room = ndimage.distance_transform_edt(allowed) * spine.spacing_mm
    middle = np.asarray(ndimage.center_of_mass(allowed))
    best: BodyCircle | None = None
    for radius in RADII_MM:
        rows, columns = np.nonzero(room >= radius)
        if rows.size == 0:
            continue
        circle = disc((radius / spine.spacing_mm, radius / spine.spacing_mm))
        share, mean, square = (
            ndimage.convolve(plane, circle, mode="constant")[rows, columns]
            for plane in (focal.astype(np.float64), relative, relative**2)
        )
        away = np.hypot(rows - middle[0], columns - middle[1]) * spine.spacing_mm
        uneven = np.sqrt(np.maximum(square - mean**2, 0.0))
        choice = int(np.lexsort((away + UNEVEN_MM * uneven, np.round(share, 3)))[0])
        found = BodyCircle(
            row=float(rows[choice] + box[0].start),
            column=float(columns[choice] + box[1].start),
            radius_mm=radius,
            focal_share=float(share[choice]),
            body_focal_share=body_share,
        )
        if found.focal_share <= FOCAL_SHARE:
            return found
        if best is None or found.focal_share < best.focal_share:
            best = found
    return best


def _box(mask: NDArray[np.bool_], margin_px: int) -> tuple[slice, slice]:
    """Rows and columns of the mask, and a margin."""
    (top, bottom), (left, right) = ((int(at.min()), int(at.max())) for at in np.nonzero(mask))
    return (
        slice(max(0, top - margin_px), bottom + margin_px + 1),
        slice(max(0, left - margin_px), right + margin_px + 1),
    )


def heights_mm(spine: Spine) -> Sequence[float]:
    """Of each body along its axis, from foot to head."""
    out = []
    for index, body in enumerate(spine.bodies):
        up, _ = axes(spine, index)
        rows, columns = np.nonzero(body.mask)
        along = (rows - body.centre[0]) * up[0] + (columns - body.centre[1]) * up[1]
        low, high = np.percentile(along, [3, 97])
        out.append(float(high - low) * spine.spacing_mm)
    return out
