"""What a person's circles must pass: outlines, levels and noise that the automatic measurement sees on the slice."""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.records import CSF, LEVELS, Circle, VbqScore
from analytics.vbq.appearance import FLUID_OVER_NOISE, noise
from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage

CANAL = "canal"
INSIDE_BODY = 0.92
INSIDE_CANAL = 0.5
"""Least share of a circle inside the outline of its body, or of the canal. Of 1,880 circles of readers on measured
slices 99.5 % lie inside their body by 0.96 and more, the others below 0.75; twice the usual radius is 0.88 to 0.97."""
UNEVEN_FLUID = 0.14
"""Standard deviation over mean of the signals in the circle of fluid, beyond the noise: up to 0.125 in 458 readings of
measured slices whose reader was sure of the fluid; 0.16 to 0.42 in circles of twice the size and more."""
UNCERTAIN = 0.05
"""Relative: greatest standard deviation of a reading by its own circles. Not reached by 458 readings of slices that are
measured and whose reader was sure of the fluid; 0.05 to 0.12 where a circle lies half beside the sac."""
FAR_SD = 3.5
"""Distance from a measured automatic score, in standard deviations of the two; one of 470 readings is 3.5 away, none
further."""
OFF_MIDLINE = 1
"""Most slices beside the midline."""

OF_THE_PICTURE = frozenset({
    "fluid-in-noise", "pixels-too-coarse-for-fluid", "walls-blurred", "signals-below-zero", "nothing-dark",
    "signals-clipped-above", "signals-clipped-below", "scale-not-linear", "frame-burnt-in", "text-burnt-in",
    "ghost-of-motion", "few-bits", "pixels-reworked", "images-lossy", "signal-in-blocks", "signal-in-wavelets",
    "slices-blank", "slices-repeated",
})  # fmt: skip
"""Codes of doubts about the pixels: whoever places or approves circles, looking does not cure them."""
OF_THE_SERIES = frozenset(
    {"images-missing", "gaps-between-slices", "fewer-slices", "images-unreadable", "images-unplaced"}
)
"""Codes of doubts about what is not there: approving what was measured without it does not bring it. Who places circles
of his own has seen the slices and chosen one."""


def doubts_of_circles(circles: Mapping[str, Circle], seen: AutomaticMeasurement) -> list[Reason]:
    """Circles outside the outlines on their slice, and levels that are counted otherwise from the sacrum.

    ``seen``: what the automatic measurement sees on the same slice. Where it does not see L1 to L4 and the canal, there
    is nothing to hold against a person.
    """
    bodies = {name: seen.outlines[name] for name in (*LEVELS, "L5", "S1") if name in seen.outlines}
    if not {*LEVELS, CANAL} <= seen.outlines.keys():
        return []
    found = []
    for name in LEVELS:
        shares = {other: share_inside(circles[name], outline) for other, outline in bodies.items()}
        best = max(shares, key=lambda other: shares[other])
        if best != name and shares[best] >= INSIDE_CANAL:
            found.append(Reason("circle-on-other-level", {"name": name, "level": best}))
        elif shares[name] < INSIDE_BODY:
            found.append(Reason("circle-outside-body", {"name": name, "share": shares[name]}))
    if (share := share_inside(circles[CSF], seen.outlines[CANAL])) < INSIDE_CANAL:
        found.append(Reason("circle-outside-canal", {"share": share}))
    # 618 of 628 readings; the others went elsewhere on purpose, most where the fluid at L3 is not pure.
    if min(LEVELS, key=lambda name: abs(circles[name].row - circles[CSF].row)) != "L3":
        found.append(Reason("csf-not-at-l3"))
    return found


def doubts_of_picture(image: SagittalImage, score: VbqScore, seen: AutomaticMeasurement) -> list[Reason]:
    """What is wrong with the slice itself, and fluid that is not above the noise under these circles."""
    found = [reason for reason in seen.reasons if reason.code in OF_THE_PICTURE]
    fluid = score.rois[CSF].mean
    marrow = min(score.rois[name].mean for name in LEVELS)
    if fluid >= marrow:
        found.append(Reason("fluid-not-darker"))
    noisy = noise(image, score)
    uneven = sqrt(max(0.0, score.rois[CSF].sd ** 2 - noisy**2))
    if uneven > UNEVEN_FLUID * fluid:
        found.append(Reason("reading-fluid-uneven", {"share": uneven / fluid}))
    if "fluid-in-noise" not in {one.code for one in found} and noisy * FLUID_OVER_NOISE > fluid:
        found.append(Reason("fluid-in-noise"))
    return found


def uncertain(vbq: float, vbq_sd: float) -> list[Reason]:
    """A reading whose circles leave its score open: one lies at an edge, where a shift by half a millimetre counts."""
    return [Reason("reading-uncertain", {"half_width": 1.96 * vbq_sd})] if vbq_sd > UNCERTAIN * vbq else []


def far_from(automatic: float, automatic_sd: float, vbq: float, vbq_sd: float) -> list[Reason]:
    """A score too far from the automatic one, by the standard deviations of both; uncertainty gains no room."""
    distance = abs(vbq - automatic) / float(np.hypot(automatic_sd, min(vbq_sd, UNCERTAIN * vbq)))
    if distance <= FAR_SD:
        return []
    return [Reason("far-from-automatic", {"distance": distance, "automatic": automatic})]


def share_inside(circle: Circle, outline: NDArray[np.float64]) -> float:
    """Share of the pixels of a circle (at least its centre) inside an outline of native rows and columns."""
    reach = int(circle.radius_px) + 2
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    rows, columns = rows + round(circle.row), columns + round(circle.col)
    inside = np.hypot(rows - circle.row, columns - circle.col) <= circle.radius_px
    points = np.column_stack([rows[inside], columns[inside]]) if inside.any() else np.array([[circle.row, circle.col]])
    return float(np.mean(_contains(outline, points.astype(float))))


def _contains(outline: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a closed line encloses each point (how often a ray crosses it)."""
    following = np.roll(outline, -1, axis=0)
    above = outline[:, 0] > points[:, :1]
    crosses = above != (following[:, 0] > points[:, :1])
    height = np.where(following[:, 0] == outline[:, 0], 1.0, following[:, 0] - outline[:, 0])
    at = outline[:, 1] + (points[:, :1] - outline[:, 0]) / height * (following[:, 1] - outline[:, 1])
    odd: NDArray[np.bool_] = np.count_nonzero(crosses & (points[:, 1:] < at), axis=1) % 2 == 1
    return odd
