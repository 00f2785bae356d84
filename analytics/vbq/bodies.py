"""Circles in the marrow: in the anterior two-thirds of a body, inside the cortex, away from what is not marrow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.vbq.grid import Grid, disc
from analytics.vbq.spine import Part, Spine

CORTEX_MM = 2.0
"""Kept free along the wall and the end plates: the cortex, its chemical shift and the partial volume."""
ANTERIOR_PART = 2.0 / 3.0
"""Ma et al.: circles lie in the anterior two-thirds; the basivertebral vein enters from behind."""
RADII_MM = (7.0, 6.0, 5.0, 4.5, 4.0)
"""Tried from the greatest. Readers used 5 to 9 mm (6.4 mm, the mean of fourteen on 145 slices)."""
BACK_MM = 1.0
"""So far behind the middle of what is allowed the circles of readers lie (0.7 mm). There the marrow differs from that
of theirs by 1.5 % (RMS), in the middle by 1.7 %: towards the coil, in the back, it is brighter by 0.5 % in 1 mm."""
FOCAL = 0.3
"""A pixel is focal (vein, node, haemangioma, Modic change, sclerosis) when its signal differs from that of the body's
marrow by more than this part of it. Between 0.28 and 0.35 nothing changes that readers of 96 slices could tell."""
ALIKE = 0.12
"""Signals that differ by less than this part of them are counted together where the marrow's own is looked for."""
LIKE_THE_OTHERS = 0.15
"""Relative: marrow so far from the line through the other bodies' counts half. On 408 slices that of L1 to L4 scatters
about the line by 0.06 (SD), by up to 0.16; the coil's end adds to it."""
COMPARED = 6
"""Bodies from L5 up, that is up to T12; further up the coil's end is near."""
LUMBAR = 5
WHOLE = 0.6
"""Share of the median area of L5 to L1 from which T12 is in the field as a whole."""
EDGE_PX = 3
FOCAL_SHARE = 0.02
"""Largest share of a circle that may be focal."""
FEW = 12
"""Pixels of marrow on the grid; fewer leave no room for a circle."""


@dataclass(frozen=True, kw_only=True)
class BodyCircle:
    """A circle on the grid (0-based), and how the marrow around it looks."""

    row: float
    column: float
    radius_mm: float
    focal_share: float
    """Share of the pixels of the circle that differ from the body's marrow."""


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
    rows, columns = body.points
    forward = (rows - body.centre[0]) * front[0] + (columns - body.centre[1]) * front[1]
    back, fore = np.percentile(forward, [2, 98])
    out = np.zeros_like(body.mask)
    keep = forward >= fore - ANTERIOR_PART * (fore - back)
    out[rows[keep], columns[keep]] = True
    about = box(body.mask, 1)
    out[about] &= scipy.ndimage.distance_transform_edt(body.mask[about]) * spine.spacing_mm >= CORTEX_MM
    return out


def body_circles(grid: Grid, spine: Spine, indices: Sequence[int]) -> list[BodyCircle | None]:
    """The greatest circle in the marrow of each body that holds next to nothing focal, near the middle; ``None``: no
    room.

    Parameters
    ----------
    indices
        Of the bodies, 0 (L5) to 5 (T12).

    Verification: lesions painted into healthy bodies, ``tests/benchmarks/vbq_lesions.py``.
    """
    signal = scipy.ndimage.gaussian_filter(grid.signal, 0.5)
    places = [marrow(spine, index) for index in range(min(len(spine.bodies), COMPARED))]
    signals = {index: signal[place] for index, place in enumerate(places) if np.count_nonzero(place) >= FEW}
    return [
        greatest_circle(signal, places[index], own_signal(signals, index), axes(spine, index)[1], spine.spacing_mm)
        if index in signals
        else None
        for index in indices
    ]


def own_signal(signals: Mapping[int, NDArray[np.float64]], index: int) -> float:
    """Signal of the marrow of body ``index``, from the signals in the marrow of it and of the other bodies.

    The one about which most of its pixels lie; of two kinds of marrow in one body the one that goes with the other
    bodies. A median would lie between the halves of a body of which one is sclerotic, and call neither focal.
    """
    values = signals[index]
    candidates = np.quantile(values, np.linspace(0.02, 0.98, 97))
    candidates = candidates[candidates > 0]
    others = {at: float(np.median(other)) for at, other in signals.items() if at != index}
    expected = on_the_line(others, index) if len(others) > 1 else float(np.median(values))
    if candidates.size == 0 or expected <= 0:
        return float(np.median(values))
    apart = np.abs(values[np.newaxis, :] / candidates[:, np.newaxis] - 1) / ALIKE
    alike = np.maximum(1 - apart**2, 0).sum(axis=1)
    unlike_the_others = (candidates / expected - 1) / LIKE_THE_OTHERS
    return float(candidates[np.argmax(alike / (1 + unlike_the_others**2))])


def on_the_line(signals: Mapping[int, float], index: int) -> float:
    """What body ``index`` would show if the signal changed evenly from foot to head, as it does with the coil's
    sensitivity: on the line of Theil (1950) and Sen (1968), which one body of five cannot move."""
    slopes = [(signals[b] - signals[a]) / (b - a) for a, b in combinations(signals, 2)]
    slope = float(np.median(slopes))
    return float(np.median([value + slope * (index - at) for at, value in signals.items()]))


def greatest_circle(
    signal: NDArray[np.float64], place: NDArray[np.bool_], own: float, front: NDArray[np.float64], spacing_mm: float
) -> BodyCircle | None:
    """In a place (a mask) of a body whose marrow shows ``own``; ``front``: unit vector (rows, columns)."""
    about = box(place, int(np.ceil(RADII_MM[0] / spacing_mm)))
    place, signal = place[about], signal[about]
    focal = (np.abs(signal - own) > FOCAL * own).astype(np.float64)
    room = scipy.ndimage.distance_transform_edt(place) * spacing_mm
    middle = np.asarray(scipy.ndimage.center_of_mass(place)) - front * BACK_MM / spacing_mm
    best: BodyCircle | None = None
    for radius in RADII_MM:
        rows, columns = np.nonzero(room >= radius)
        if rows.size == 0:
            continue
        circle = disc((radius / spacing_mm, radius / spacing_mm))
        share = scipy.ndimage.convolve(focal, circle, mode="constant")[rows, columns]
        away = np.hypot(rows - middle[0], columns - middle[1])
        # A few focal pixels, more or less, move no circle.
        choice = int(np.lexsort((away, np.round(np.maximum(share, FOCAL_SHARE), 3)))[0])
        found = BodyCircle(
            row=float(rows[choice] + about[0].start),
            column=float(columns[choice] + about[1].start),
            radius_mm=radius,
            focal_share=float(share[choice]),
        )
        if found.focal_share <= FOCAL_SHARE:
            return found
        if best is None or found.focal_share < best.focal_share:
            best = found
    return best


def box(mask: NDArray[np.bool_], margin_px: int) -> tuple[slice, slice]:
    """Rows and columns of the mask, and a margin."""
    (top, bottom), (left, right) = ((int(at.min()), int(at.max())) for at in np.nonzero(mask))
    return (
        slice(max(0, top - margin_px), bottom + margin_px + 1),
        slice(max(0, left - margin_px), right + margin_px + 1),
    )


def whole_bodies(spine: Spine) -> list[Part]:
    """L5 to L1, and T12 where the field holds all of it."""
    lumbar, above = list(spine.bodies[:LUMBAR]), spine.bodies[LUMBAR:COMPARED]
    usual = float(np.median([body.area_mm2 for body in lumbar]))
    return [*lumbar, *(t12 for t12 in above if not t12.mask[:EDGE_PX].any() and t12.area_mm2 >= WHOLE * usual)]


def heights_mm(spine: Spine) -> Sequence[float]:
    """Of each body along its axis, from foot to head."""
    out = []
    for index, body in enumerate(spine.bodies):
        up, _ = axes(spine, index)
        rows, columns = body.points
        along = (rows - body.centre[0]) * up[0] + (columns - body.centre[1]) * up[1]
        low, high = np.percentile(along, [3, 97])
        out.append(float(high - low) * spine.spacing_mm)
    return out
