"""Bodies, discs and canal as things: the chain of vertebrae that a segmented slice shows, from the sacrum up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.vbq.morphology import filled, opened

BACKGROUND, BODY, DISC, CANAL, POSTERIOR, S1, SACRAL_DISC = range(7)
"""Classes of the network, in the order of its output planes."""
CLASSES = ("background", "body", "disc", "canal", "posterior elements", "S1", "S1/S2 disc")

MIN_BODY_MM2 = 200.0
"""A lumbar body shows 700–1400 mm² on the mid-sagittal slice; one that is cut by the field or crushed shows less."""
MIN_DISC_MM2 = 40.0
MIN_S1_MM2 = 150.0
STEP_MM = (17.0, 55.0)
"""Distance between centres of neighbouring bodies: children to tall adults, with the slice's obliqueness."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One body or disc: where it is on the grid."""

    mask: NDArray[np.bool_]
    centre: tuple[float, float]
    """Row and column on the grid, 0-based."""
    area_mm2: float

    @cached_property
    def points(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of its pixels."""
        rows, columns = np.nonzero(self.mask)
        return rows, columns


@dataclass(frozen=True, kw_only=True, eq=False)
class Spine:
    """What one slice shows, on the grid; bodies and discs from foot to head.

    ``discs[i]`` lies under ``bodies[i]``, ``None`` where none is seen. ``s1`` is the first sacral body and
    ``sacral_disc`` what lies under it; ``below_s1`` are discs and first sacral bodies that were seen further down.
    """

    spacing_mm: float
    bodies: Sequence[Part]
    discs: Sequence[Part | None]
    s1: Part | None
    sacral_disc: Part | None
    below_s1: Sequence[Part]
    canal: NDArray[np.bool_]
    canal_mm2: float
    posterior_mm2: float
    """Areas of the canal and of the posterior elements behind it, both beside the lowest five bodies."""
    set_aside: Sequence[Reason] = field(default_factory=tuple)
    """What looked like a part of the chain and was left out, in words."""


def find_spine(probability: NDArray[np.float32], spacing_mm: float) -> Spine:
    """The chain of bodies in the class planes (:data:`CLASSES` or its first five, rows, columns) of one slice."""
    winner = np.argmax(probability, axis=0)
    candidates = _parts(winner == BODY, spacing_mm, MIN_BODY_MM2)
    discs = _parts(winner == DISC, spacing_mm, MIN_DISC_MM2)
    sacral = _parts(winner == S1, spacing_mm, MIN_S1_MM2)
    remnants = _parts(winner == SACRAL_DISC, spacing_mm, 8.0)
    chain, set_aside = _chain(candidates, spacing_mm)
    s1 = _under(sacral, chain[0], spacing_mm) if chain else None
    under: list[Part | None] = []
    for index, body in enumerate(chain):
        below = chain[index - 1] if index else s1
        under.append(_between(discs, body, below))
    canal = _largest(winner == CANAL)
    beside = _beside(chain[:5], winner.shape)
    return Spine(
        spacing_mm=spacing_mm,
        bodies=chain,
        discs=under,
        s1=s1,
        sacral_disc=_under(remnants, s1, spacing_mm) if s1 else None,
        below_s1=[part for part in (*sacral, *discs) if s1 and part is not s1 and _is_under(part, s1, spacing_mm)],
        canal=canal,
        canal_mm2=float(np.count_nonzero(canal & beside)) * spacing_mm**2,
        posterior_mm2=float(np.count_nonzero((winner == POSTERIOR) & beside)) * spacing_mm**2,
        set_aside=set_aside,
    )


def _beside(bodies: Sequence[Part], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The rows of the bodies."""
    out = np.zeros(shape, dtype=bool)
    if bodies:
        rows = np.flatnonzero(np.any([body.mask.any(axis=1) for body in bodies], axis=0))
        out[rows[0] : rows[-1] + 1] = True
    return out


def _parts(mask: NDArray[np.bool_], spacing_mm: float, minimum_mm2: float) -> list[Part]:
    """Connected regions of at least an area, after thin bridges are cut; from foot to head."""
    labels, count = scipy.ndimage.label(opened(mask))
    areas = np.bincount(labels.ravel(), minlength=count + 1) * spacing_mm**2
    found = []
    for number, box in enumerate(scipy.ndimage.find_objects(labels), start=1):
        if areas[number] < minimum_mm2:
            continue
        region = labels[box] == number
        rows, columns = np.nonzero(region)
        whole = np.zeros(mask.shape, dtype=bool)
        whole[box] = filled(region)
        centre = (float(rows.mean()) + box[0].start, float(columns.mean()) + box[1].start)
        found.append(Part(mask=whole, centre=centre, area_mm2=float(areas[number])))
    return sorted(found, key=lambda part: -part.centre[0])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = scipy.ndimage.label(mask)
    if count == 0:
        return mask
    out: NDArray[np.bool_] = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return out


def _chain(candidates: Sequence[Part], spacing_mm: float) -> tuple[list[Part], tuple[Reason, ...]]:
    """The longest run of neighbours from foot to head (then the largest); what lies apart from it is set aside."""
    runs: list[list[Part]] = []
    for index, part in enumerate(candidates):
        before = [runs[lower] for lower in range(index) if _near(candidates[lower], part, spacing_mm)]
        runs.append([*max(before, key=_worth, default=[]), part])
    best = max(runs, key=_worth, default=[])
    left = len(candidates) - len(best)
    return best, (Reason("regions-apart", {"regions": left}),) if left else ()


def _worth(run: Sequence[Part]) -> tuple[int, float]:
    return len(run), sum(part.area_mm2 for part in run)


def _is_under(part: Part, upper: Part, spacing_mm: float) -> bool:
    return part.centre[0] > upper.centre[0] and distance_mm(part, upper, spacing_mm) <= STEP_MM[1]


def _under(parts: Sequence[Part], upper: Part, spacing_mm: float) -> Part | None:
    """The nearest part below another, within a step."""
    below = [part for part in parts if _is_under(part, upper, spacing_mm)]
    return min(below, key=lambda part: distance_mm(part, upper, spacing_mm), default=None)


def _near(lower: Part, upper: Part, spacing_mm: float) -> bool:
    return STEP_MM[0] <= distance_mm(lower, upper, spacing_mm) <= STEP_MM[1]


def distance_mm(one: Part, other: Part, spacing_mm: float) -> float:
    """Between the centres of two parts."""
    return float(np.hypot(one.centre[0] - other.centre[0], one.centre[1] - other.centre[1])) * spacing_mm


def steps_mm(spine: Spine) -> list[float]:
    """From each body to the next above."""
    return [distance_mm(lower, upper, spine.spacing_mm) for lower, upper in pairwise(spine.bodies)]


def _between(discs: Sequence[Part], upper: Part, lower: Part | None) -> Part | None:
    """The disc between two bodies: nearest to the middle of their centres; under the lowest body, nearest below it."""
    if lower is None:
        below = [disc for disc in discs if disc.centre[0] > upper.centre[0]]
        return min(below, key=lambda disc: _gap(disc.centre, upper.centre), default=None)
    middle = ((upper.centre[0] + lower.centre[0]) / 2, (upper.centre[1] + lower.centre[1]) / 2)
    nearest = min(discs, key=lambda disc: _gap(disc.centre, middle), default=None)
    if nearest is None or _gap(nearest.centre, middle) > 0.35 * _gap(upper.centre, lower.centre):
        return None
    return nearest


def _gap(one: tuple[float, float], other: tuple[float, float]) -> float:
    return float(np.hypot(one[0] - other[0], one[1] - other[1]))
