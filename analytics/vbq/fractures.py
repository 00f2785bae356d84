"""Fractures: bodies that lost height, all of it or in front, in the middle or behind, against the others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analytics.records import LEVELS
from analytics.vbq.bodies import LUMBAR, axes, heights_mm, on_the_line, whole_bodies
from analytics.vbq.levels import LEVEL_INDEX
from analytics.vbq.spine import Spine

CRUSHED_BODY = 0.8
"""Share of the median height of the other four. Genant 1993: from a loss of 20 % on it is a fracture; of 416 slices one
in 200 has an L1 below 0.82."""
CRUSHED_AREA = 0.72
"""Share of the median area of the other four: a wedge, or a body that is seen in part; below it lie 2 of 416 slices."""
DEFORMED = 0.82
"""Height at one place over what the other bodies lead one to expect there: of 298 slices below on two, which look
fractured."""
UNLIKE = 0.80
"""The same of front over back, and of the middle over the greater of the two."""
PLACES = ((0.06, 0.26), (0.38, 0.62), (0.74, 0.94))
"""Back, middle and front, as shares of the depth: clear of rounded corners and spurs."""


def fractured(spine: Spine) -> Sequence[str]:
    """The levels among L1 to L4 that are a fifth lower or smaller than the others: crushed, wedged or hollow.

    Genant HK, Wu CY, van Kuijk C, Nevitt MC. Vertebral fracture assessment using a semiquantitative technique. J Bone
    Miner Res 1993;8(9):1137–1148.
    """
    crushed, heights = _crushed(spine), heights_mm_at_places(spine)
    return [name for name in LEVELS if crushed[LEVEL_INDEX[name]] or _deformed(heights, LEVEL_INDEX[name])]


def _crushed(spine: Spine) -> Sequence[bool]:
    """Of L5 to L1."""
    heights = np.array(heights_mm(spine)[:LUMBAR])
    areas = np.array([body.area_mm2 for body in spine.bodies[:LUMBAR]])
    return [
        bool(
            heights[at] < CRUSHED_BODY * np.median(np.delete(heights, at))
            or areas[at] < CRUSHED_AREA * np.median(np.delete(areas, at))
        )
        for at in range(LUMBAR)
    ]


def _deformed(heights: NDArray[np.float64], at: int) -> bool:
    back, middle, front = heights.T
    return any(
        values[at] < limit * _usual(values, at)
        for values, limit in (
            *((values, DEFORMED) for values in (back, middle, front)),
            *((values, UNLIKE) for values in (front / back, middle / np.maximum(front, back))),
        )
    )


def _usual(values: NDArray[np.float64], at: int) -> float:
    """What the other bodies lead one to expect of this: the lower of their line and their median.

    Fronts grow lower from L5 to L1 in healthy spines, and a line through four bodies is unsure at its end.
    """
    others = {int(other): float(values[other]) for other in range(len(values)) if other != at}
    return min(on_the_line(others, at), float(np.median(list(others.values()))))


def heights_mm_at_places(spine: Spine) -> NDArray[np.float64]:
    """(bodies, 3): mean height of L5 to L1, and of a T12 that is whole, at :data:`PLACES`, along the axis of each."""
    out = []
    for at, body in enumerate(whole_bodies(spine)):
        _, front = axes(spine, at)
        forward = front @ (np.stack(body.points) - np.array(body.centre)[:, np.newaxis])
        back, fore = np.percentile(forward, [2, 98])
        depth = (forward - back) / (fore - back)
        pixels = [np.count_nonzero((depth >= low) & (depth < high)) for low, high in PLACES]
        wide = [(high - low) * (fore - back) for low, high in PLACES]
        out.append([max(1, count) / width * spine.spacing_mm for count, width in zip(pixels, wide, strict=True)])
    return np.array(out)
