"""Which body is which: counted from the sacrum up, with everything that makes the count doubtful."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.reasons import Reason, Value
from analytics.records import LEVELS
from analytics.vbq.bodies import axes, heights_mm
from analytics.vbq.spine import BODY, S1, Part, Spine, steps_mm

FROM_THE_SACRUM = ("L5", "L4", "L3", "L2", "L1")
SURE = 0.75
"""Least confidence from which the levels are taken as named right."""
LEVEL_INDEX = {name: index for index, name in enumerate(FROM_THE_SACRUM)}

BODY_AREA_MM2 = 380.0
BODY_HEIGHT_MM = 17.0
"""Medians below these are no adult lumbar spine: cervical and upper thoracic bodies, children, other things."""
LARGE_AREA_MM2 = 1700.0
LARGE_HEIGHT_MM = 34.0
"""Medians above these are no human spine: the pixel spacing is wrong. 416 ordinary slices: 603–1150 mm², 21–29 mm."""
SMALL_HEIGHT_MM = 19.5
"""A median below this is rare in adults (none of 416 slices): lower thoracic bodies, a youth, a wrong spacing."""
HEIGHT_TO_DEPTH = (0.52, 0.95)
"""Median of height over depth; 0.58–0.88 on 416 slices. Beyond, rows or columns are not spaced as the headers say."""
LOW_AREA = 0.72
"""Share of the median area of the four bodies above: a smaller lowest body may be the first sacral one."""
LOW_DISC = 0.55
"""Share of the median length of the discs above: a shorter lowest disc may be the one under S1."""
LONG_REMNANT = 0.72
"""Length of the S1/S2 disc over that of L5/S1; on 98 of 100 ordinary slices it is below 0.69."""
SACRAL_L5 = 0.9
"""Area of L5 over the median of L1 to L4, and length of the disc under it over the median of the discs above."""
THIN_LAST_DISC = 0.75
"""Height of the disc under L5 over the median of the discs above. Below this and both of :data:`SACRAL_L5` lie 8 of 415
slices: all three whose levels readers counted against each other, three more where L5 lies in line with the sacrum, one
off the midline, and one that looks ordinary. (The limits were set on these.)"""
SECOND_S1 = 0.3
"""Share of the area of S1: a disc or another first sacral body under it that is larger is no ordinary remnant."""
UNEVEN_STEP = 1.3
"""A step over the median of its chain (at most 1.19 on 416 slices): a body is missing between, or two are one."""
SHORT_STEP = 0.72
"""A step over the median of its chain (at least 0.79): half a body was taken for one."""
TALL_BODY = 1.35
"""Over the median height (at most 1.22): two bodies that were taken as one."""
EDGE_PX = 1
SACRUM_MM = 10.0
"""Least image below S1, in mm (15 mm or more on 416 slices): where the field ends, the last body seen may be
any, and the network then takes it for S1."""
SMALL_S1 = 0.6
"""Share of the median area of L1 to L5; 0.67–1.06 on 416 slices. A smaller one is cut off, or is not S1."""
SACRAL_TURN_DEG = 11.0
"""The way from L5 to S1 turns backwards against the way from L3 to L5: by 20–52° on 98 of 100 slices."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Indexes into the bodies of a spine, by level; empty when nothing can be counted.

    ``confidence`` 0 … 1; ``doubts`` say what lowered it; ``refusals`` why there are no L1 to L4.
    """

    index: dict[str, int]
    confidence: float
    doubts: tuple[Reason, ...]
    refusals: tuple[Reason, ...]


def name_levels(spine: Spine, probability: NDArray[np.float32]) -> Levels:
    """Count from the sacrum up; ``probability`` (classes, rows, columns) is what the spine was found in."""
    refusals = _refusals(spine)
    if refusals:
        return Levels(index={}, confidence=0.0, doubts=(), refusals=refusals)
    doubts = [
        *_doubts_of_size(spine),
        *_doubts_of_sacrum(spine, probability),
        *_doubts_of_lowest(spine),
        *_doubts_of_chain(spine),
    ]
    confidence = 1.0
    for factor, _ in doubts:
        confidence *= factor
    return Levels(
        index=dict(LEVEL_INDEX),
        confidence=round(confidence, 3),
        doubts=tuple(reason for _, reason in doubts),
        refusals=(),
    )


def _refusals(spine: Spine) -> tuple[Reason, ...]:
    if len(spine.bodies) < len(FROM_THE_SACRUM):
        return (Reason("few-bodies", {"bodies": len(spine.bodies)}),)
    lowest = spine.bodies[: len(FROM_THE_SACRUM)]
    if not spine.canal.any():
        return (Reason("no-canal"),)
    area, height = float(np.median([body.area_mm2 for body in lowest])), float(np.median(heights_mm(spine)[:5]))
    if area < BODY_AREA_MM2 or height < BODY_HEIGHT_MM:
        return (Reason("bodies-too-small", {"area_mm2": area, "height_mm": height}),)
    if area > LARGE_AREA_MM2 or height > LARGE_HEIGHT_MM:
        return (Reason("bodies-too-large", {"area_mm2": area, "height_mm": height}),)
    return _canal_refusals(spine, lowest)


def _canal_refusals(spine: Spine, bodies: Sequence[Part]) -> tuple[Reason, ...]:
    behind: list[str] = []
    before: list[str] = []
    for name, body in zip(FROM_THE_SACRUM, bodies, strict=True):
        columns = np.flatnonzero(spine.canal[round(body.centre[0])])
        if columns.size:
            (behind if columns.mean() > body.centre[1] else before).append(name)
    if len(before) > len(behind):
        return (Reason("canal-in-front"),)
    if missing := [name for name in LEVELS if name not in behind]:
        return (Reason("canal-leaves-slice", {"levels": tuple(missing)}),) if "L3" in missing else ()
    return ()


def _doubts_of_size(spine: Spine) -> list[tuple[float, Reason]]:
    """Whether the bodies are as large and deep as lumbar ones; otherwise they are others, or the spacing is wrong."""
    heights = np.array(heights_mm(spine)[:5])
    areas = np.array([body.area_mm2 for body in spine.bodies[:5]])
    height, ratio = float(np.median(heights)), float(np.median(heights**2 / areas))
    found: list[tuple[float, Reason]] = []
    if height < SMALL_HEIGHT_MM:
        found.append((0.6, Reason("bodies-low", {"height_mm": height})))
    if not HEIGHT_TO_DEPTH[0] <= ratio <= HEIGHT_TO_DEPTH[1]:
        found.append((0.6, Reason("bodies-of-odd-shape", {"ratio": ratio})))
    return found


def _doubts_of_sacrum(spine: Spine, probability: NDArray[np.float32]) -> list[tuple[float, Reason]]:
    if spine.s1 is None:
        return [(0.3, Reason("s1-not-seen"))]
    found = []
    lowest = spine.bodies[0]
    if spine.s1.centre[0] <= lowest.centre[0]:
        found.append((0.2, Reason("s1-not-below")))
    step = float(np.hypot(*np.subtract(spine.s1.centre, lowest.centre))) * spine.spacing_mm
    if step > UNEVEN_STEP * float(np.median(steps_mm(spine)[:4])) + 4:
        found.append((0.3, Reason("body-missing-above-sacrum")))
    mixed = float(np.mean(probability[S1][lowest.mask]))
    if mixed > 0.12:
        found.append((1 - min(0.6, 2 * mixed), Reason("l5-perhaps-s1")))
    pure = float(np.mean(probability[BODY][spine.s1.mask]))
    if pure > 0.12:
        found.append((1 - min(0.6, 2 * pure), Reason("s1-perhaps-lumbar")))
    return [*found, *_doubts_of_s1(spine, spine.s1), *_transitional(spine, spine.s1)]


def _doubts_of_s1(spine: Spine, s1: Part) -> list[tuple[float, Reason]]:
    """Whether S1 is one: turned backwards, of a size with the others, and with more of the sacrum seen under it."""
    found = []
    l5, l3 = spine.bodies[0].centre, spine.bodies[LEVEL_INDEX["L3"]].centre
    turn = _degrees_backwards(l5, s1.centre) - _degrees_backwards(l3, l5)
    if turn < SACRAL_TURN_DEG:
        found.append((0.4, Reason("s1-not-turned")))
    left = (s1.mask.shape[0] - 1 - int(np.flatnonzero(s1.mask.any(axis=1))[-1])) * spine.spacing_mm
    if left < SACRUM_MM:
        found.append((0.4, Reason("s1-at-the-edge")))
    elif spine.sacral_disc is None:
        found.append((0.5, Reason("nothing-under-s1")))
    share = s1.area_mm2 / float(np.median([body.area_mm2 for body in spine.bodies[:5]]))
    if share < SMALL_S1:
        found.append((0.6, Reason("s1-small", {"share": share})))
    return found


def _degrees_backwards(upper: tuple[float, float], lower: tuple[float, float]) -> float:
    """Of the way from one centre down to another, against straight down."""
    return float(np.degrees(np.arctan2(lower[1] - upper[1], lower[0] - upper[0])))


def _transitional(spine: Spine, s1: Part) -> list[tuple[float, Reason]]:
    """A long disc or another such body under S1, or a small L5 on a small disc: S1 like L5, or L5 like the sacrum."""
    last = spine.discs[0]
    if any(part.area_mm2 > SECOND_S1 * s1.area_mm2 for part in spine.below_s1):
        return [(0.5, Reason("transitional-second-s1"))]
    if last is not None and _like_the_sacrum(spine, last):
        return [(0.5, Reason("transitional-small-l5"))]
    remnant = spine.sacral_disc
    if last is None or remnant is None:
        return []
    ratio = length_mm(remnant, spine.spacing_mm) / length_mm(last, spine.spacing_mm)
    if ratio < LONG_REMNANT:
        return []
    return [(0.5, Reason("transitional-long-disc", {"ratio": ratio}))]


def _share_of_l5(spine: Spine) -> float:
    """Area of L5 over the median of the four bodies above it."""
    return spine.bodies[0].area_mm2 / float(np.median([body.area_mm2 for body in spine.bodies[1:5]]))


def _like_the_sacrum(spine: Spine, last: Part) -> bool:
    """A sacralised L5, or S1 above a disc that is nearly full: small, and on a disc that is short and thin."""
    above = [disc for disc in spine.discs[1:5] if disc is not None]
    if not above:
        return False
    lengths = np.array([length_mm(disc, spine.spacing_mm) for disc in (last, *above)])
    heights = np.array([disc.area_mm2 for disc in (last, *above)]) / lengths
    short = lengths[0] < SACRAL_L5 * float(np.median(lengths[1:]))
    thin = heights[0] < THIN_LAST_DISC * float(np.median(heights[1:]))
    return bool(_share_of_l5(spine) < SACRAL_L5 and short and thin)


def length_mm(part: Part, spacing_mm: float) -> float:
    """The longer extent of a disc."""
    rows, columns = part.points
    points = np.stack([rows, columns], axis=1) - np.array(part.centre)
    _, _, directions = np.linalg.svd(points, full_matrices=False)
    low, high = np.percentile(points @ directions[0], [2, 98])
    return float(high - low) * spacing_mm


def _doubts_of_lowest(spine: Spine) -> list[tuple[float, Reason]]:
    found = []
    share = _share_of_l5(spine)
    if share < LOW_AREA:
        found.append((0.6, Reason("l5-small", {"share": share})))
    discs = [length_mm(disc, spine.spacing_mm) for disc in spine.discs[1:5] if disc is not None]
    last = spine.discs[0]
    if last is None:
        found.append((0.6, Reason("no-disc-under", {"level": FROM_THE_SACRUM[0]})))
    elif discs and length_mm(last, spine.spacing_mm) < LOW_DISC * float(np.median(discs)):
        found.append((0.6, Reason("disc-under-l5-short")))
    return found


def _doubts_of_chain(spine: Spine) -> list[tuple[float, Reason]]:
    found = []
    steps, heights = steps_mm(spine)[:4], heights_mm(spine)[:5]
    middle_step, middle_height = float(np.median(steps)), float(np.median(heights))
    for number, step in enumerate(steps):
        pair: dict[str, Value] = {"upper": FROM_THE_SACRUM[number + 1], "lower": FROM_THE_SACRUM[number]}
        if step > UNEVEN_STEP * middle_step:
            found.append((0.4, Reason("step-long", pair)))
        if step < SHORT_STEP * middle_step:
            found.append((0.4, Reason("step-short", pair)))
    for number, height in enumerate(heights):
        if height > TALL_BODY * middle_height:
            found.append((0.4, Reason("body-tall", {"level": FROM_THE_SACRUM[number]})))
    for number in range(1, 5):
        if spine.discs[number] is None:
            found.append((0.8, Reason("no-disc-under", {"level": FROM_THE_SACRUM[number]})))
    top = spine.bodies[LEVEL_INDEX["L1"]]
    if bool(top.mask[: EDGE_PX + 1].any()):
        found.append((0.6, Reason("l1-cut-off")))
    return found


def up_of(spine: Spine, name: str) -> NDArray[np.float64]:
    """Unit vector (rows, columns) to the head at a level."""
    return axes(spine, LEVEL_INDEX[name])[0]
