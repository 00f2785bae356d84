"""VBQ by itself: from the slices of one stack to a score with circles, an uncertainty, and reasons for every doubt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.records import CSF, LEVELS, MeasurementStatus, VbqScore
from analytics.vbq import appearance, csf, disease, fractures, networks, quality, uncertainty
from analytics.vbq.automatic import AutomaticMeasurement, FluidOnT2, SagittalImage, T2At
from analytics.vbq.beside import beside_the_score
from analytics.vbq.bodies import BodyCircle, body_circles
from analytics.vbq.csf import FluidCircle
from analytics.vbq.elsewhere import doubts_of_elsewhere
from analytics.vbq.fluid_t2 import NO_FLUID, PURE_ON_T2, fluid_on_t2
from analytics.vbq.grid import MAX_EXTENT_MM, MIN_EXTENT_MM, Grid, native_circle, normalised, resampled, to_grid
from analytics.vbq.levels import LEVEL_INDEX, SURE, Levels, name_levels, up_of
from analytics.vbq.morphology import dilated
from analytics.vbq.outlines import outlines
from analytics.vbq.score import ScoreError, circle_mean, score
from analytics.vbq.spine import CANAL, Spine, find_spine

LOOKED_AT = 3
"""Slices about the middle of the stack that are segmented; more while the best of them is the outermost: the midline is
reached from where it usually lies, with a slice on either side of it."""
SAME_LEVEL_MM = 12.0
"""L3 of neighbouring slices lies within this; more means that they count differently."""
PURE = 0.80
"""Purity below which the fluid cannot be told from the roots. Of 96 slices that were read by eye, at least one reader
was unsure of the fluid on each of the 27 below, whose scores were off by 0.30 (RMS); above, most readers were sure on
67 of 68. None lay between 0.79 and 0.87."""
NO_DARK_LAYER = 0.935
"""Purity from which the fluid is no layer before the sac that is darker than fluid: below it lie all of 70 phantoms
whose circle does in part or wholly (scores off by 5 to 23 %), and a tenth of the slices."""
ROOTS_OVER_FLUID = 1.58
"""Roots are less bright against fluid: 0.87 to 1.57 on 23 of 26 slices below that purity; in phantoms with a sac of 40
to 70 % of its depth, whose circle lies in the layer, 1.60 to 1.89 but for those of one."""
UNEVEN_FLUID = 0.04
"""Standard deviation over mean in the circle beyond the noise: where the circle is half in the layer 0.05 to 0.14."""
NOISY_FLUID = 0.105
"""Noise over the fluid beyond which a circle counts as no evener than its spread shows: with the noise taken out,
nothing is left of a layer either (phantoms with noise of 0.12 to 0.16, 6 to 11 % too high). Of 375 slices three have
more, none of them such purity."""
DEEP_MM = 4.0
"""Fluid of this depth has room for an even circle."""
BEHIND_A_LAYER = 1.15
"""What lies behind a circle in the layer is brighter than it, fluid as well: 1.17 times and more in 140 phantoms where
they are off by more than 4 %. Below lie four of the 375 slices, of which two wait for nothing else."""
ANOTHER_FLUID = 0.05
"""Of 104 demo phantoms eleven differ by more: all whose score is off by more than 4 % (a dark layer before the sac)."""
COARSE_MM = 1.75
"""Thirty slices resampled to 1.5 mm gave the same status and scores that differ by 1.0 % (RMS, worst 2 %); to 2.2 mm
(128 pixels in 280 mm) by 2.0 % (worst 5 %)."""
DULL = 0.1
"""Spread of the signals of a slice over the usual one of its stack; 0.5 and more at either end of five real stacks."""
FOCAL_CIRCLE = 0.10
"""Largest share of a circle that may be focal; above it a person must look."""
SETTLED_BY_T2 = frozenset({"fluid-like-roots", "fluid-or-dark-layer", "fluid-brighter-than-elsewhere"})
"""Codes of doubts that a T2 lifts where it shows fluid in the circle."""


@dataclass(frozen=True, kw_only=True)
class SeenSlice:
    """One slice on the grid and what is seen on it."""

    index: int
    image: SagittalImage
    grid: Grid
    probability: NDArray[np.float32]
    spine: Spine
    levels: Levels


@dataclass(frozen=True, kw_only=True)
class FluidPlace:
    """Where the fluid at L3 is sought.

    ``grid`` is the slice on the grid of the fluid; on it lie ``canal`` (its probability) and ``centre`` (of L3), and a
    circle of fluid covers ``reach_px`` to either side, of its rows and of its columns.
    """

    grid: Grid
    canal: NDArray[np.float64]
    centre: tuple[float, float]
    reach_px: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Circles and score on one slice, and where its fluid was sought."""

    score: VbqScore
    bodies: dict[str, BodyCircle]
    fluid: FluidCircle
    place: FluidPlace


def measure_stack(
    images: Sequence[SagittalImage], *, t1_stated: bool = True, t2_at: T2At | None = None
) -> AutomaticMeasurement:
    """Measure VBQ on the mid-sagittal slice of a stack.

    Parameters
    ----------
    images
        Sagittal slices of one stack, in any order; one slice is enough.
    t1_stated
        The headers say that this is T1 without fat saturation and contrast. Otherwise the image has to show it.
    t2_at
        Asked once, for the slice that is measured. Without one nothing is other than on T1 alone.

    Returns
    -------
    AutomaticMeasurement
        ``measured``, ``review`` (a person must look) or ``rejected`` (no score can be had), with every reason. Nothing
        is raised for any content of the images.
    """
    usable = {index: image for index, image in enumerate(images) if not _unusable(image)}
    if not usable:
        first = _unusable(images[0]) if images else Reason("no-images")
        return _rejected([first] if first else [], None)
    dull = _dull(usable)
    seen = _look({index: image for index, image in usable.items() if index not in dull})
    best = max(seen, key=_midline)
    if best.levels.refusals:
        return _rejected(best.levels.refusals, best)
    try:
        scored = _score(best)
    except ScoreError as error:
        return _rejected([error.reason], best)
    if against := appearance.not_t1(best.grid, best.spine, scored.score):
        return _rejected(against, best)
    neighbours = [other for other in seen if other is not best and _next_to(best, other, usable)]
    on_t2 = _on_t2(best, scored, t2_at(best.image) if t2_at else None)
    found = _judged(best, scored, neighbours, t1_stated=t1_stated, on_t2=on_t2)
    if repeated := _repeated([image for index, image in usable.items() if index not in dull]):
        found = _doubted(found, Reason("slices-repeated", {"slices": repeated}))
    blank = len(dull) + sum(_unusable(image) == Reason("image-empty") for image in images)
    return _doubted(found, Reason("slices-blank", {"slices": blank})) if blank else found


def _unusable(image: SagittalImage) -> Reason | None:
    if image.signal.ndim != 2 or not np.isfinite(image.signal).all():
        return Reason("signals-not-numbers")
    extent = [count * mm for count, mm in zip(image.signal.shape, image.spacing_mm, strict=True)]
    if not all(np.isfinite(extent)) or min(extent) < MIN_EXTENT_MM or max(extent) > MAX_EXTENT_MM:
        return Reason("field-of-view", {"rows_mm": float(extent[0]), "columns_mm": float(extent[1])})
    if float(np.ptp(image.signal)) == 0:
        return Reason("image-empty")
    return None


def _dull(images: dict[int, SagittalImage]) -> set[int]:
    """Slices that are all dark or all bright: their signals spread next to nothing beside those of the others."""
    spreads = {index: float(np.ptp(np.percentile(image.signal[::4, ::4], (1, 99)))) for index, image in images.items()}
    usual = float(np.median(list(spreads.values())))
    return {index for index, spread in spreads.items() if spread < DULL * usual}


def _repeated(images: Sequence[SagittalImage]) -> int:
    """How many slices show the very pixels of another: noise alone makes no two alike, so one of the two is missing."""
    return len(images) - len({hash(image.signal.tobytes()) for image in images})


def _doubted(found: AutomaticMeasurement, doubt: Reason) -> AutomaticMeasurement:
    rejected = found.status is MeasurementStatus.REJECTED
    status = MeasurementStatus.REJECTED if rejected else MeasurementStatus.REVIEW
    return replace(found, status=status, reasons=(*found.reasons, doubt))


def _place(image: SagittalImage) -> float:
    """Of a slice along the stack, in mm."""
    normal = np.cross(image.orientation[:3], image.orientation[3:])
    # Every stack is walked in the same direction, whichever way its slices were numbered or its rows run.
    normal = normal if normal[int(np.argmax(np.abs(normal)))] > 0 else -normal
    return float(np.dot(normal, image.position_mm))


def _look(usable: dict[int, SagittalImage]) -> list[SeenSlice]:
    """Segment the middle of the stack, and further out while the best slice is the outermost."""
    order = sorted(usable, key=lambda index: (_place(usable[index]), index))
    middle = len(order) // 2
    low, high = max(0, middle - LOOKED_AT // 2), min(len(order), middle + LOOKED_AT // 2 + 1)
    seen = {index: _see(index, usable[index]) for index in order[low:high]}
    while True:
        best = max(seen.values(), key=_midline).index
        if best == order[low] and low > 0:
            low -= 1
            seen[order[low]] = _see(order[low], usable[order[low]])
        elif best == order[high - 1] and high < len(order):
            seen[order[high]] = _see(order[high], usable[order[high]])
            high += 1
        elif not seen[best].levels.index and high - low < len(order):
            # Nothing to be counted in the middle and towards one end: the midline may lie anywhere.
            low, high = 0, len(order)
            seen |= {index: _see(index, usable[index]) for index in order if index not in seen}
        else:
            return [seen[index] for index in order[low:high]]


def _see(index: int, image: SagittalImage) -> SeenSlice:
    grid = to_grid(image)
    probability = networks.segment(normalised(grid.signal))
    spine = find_spine(probability, grid.spacing_mm)
    return SeenSlice(
        index=index,
        image=image,
        grid=grid,
        probability=probability,
        spine=spine,
        levels=name_levels(spine, probability),
    )


def _midline(seen: SeenSlice) -> tuple[int, float]:
    """How much of the midline a slice shows: first a countable chain, then canal and spinous processes in mm²."""
    spine = seen.spine
    return min(len(spine.bodies), len(LEVEL_INDEX)), spine.canal_mm2 + spine.posterior_mm2


def _next_to(best: SeenSlice, other: SeenSlice, usable: dict[int, SagittalImage]) -> bool:
    order = sorted(usable, key=lambda index: (_place(usable[index]), index))
    return abs(order.index(best.index) - order.index(other.index)) == 1


def _score(seen: SeenSlice) -> Scored:
    """Place the circles and compute the score.

    Raises
    ------
    ScoreError
        A body or the canal leaves no room for a circle.
    """
    circles_of_bodies = body_circles(seen.grid, seen.spine, [LEVEL_INDEX[name] for name in LEVELS])
    bodies = dict(zip(LEVELS, circles_of_bodies, strict=True))
    if missing := [name for name, circle in bodies.items() if circle is None]:
        raise ScoreError(Reason("no-room-in-bodies", {"levels": tuple(missing)}))
    placed = {name: circle for name, circle in bodies.items() if circle is not None}
    place = _fluid_place(seen)
    fluid = _fluid(seen, place)
    spacing = max(seen.image.spacing_mm)
    circles = {
        name: native_circle(seen.grid, circle.row, circle.column, circle.radius_mm / spacing)
        for name, circle in placed.items()
    }
    circles[CSF] = native_circle(place.grid, fluid.row, fluid.column, _fluid_radius_px(seen.image))
    found = score(seen.image.signal, circles, spacing_mm=seen.image.spacing_mm)
    return Scored(score=found, bodies=placed, fluid=fluid, place=place)


def _fluid(seen: SeenSlice, place: FluidPlace) -> FluidCircle:
    view = csf.fluid_view(place.grid, place.canal, place.centre[0])
    if view is None:
        raise ScoreError(Reason("no-canal-at-l3"))
    radius_px = _fluid_radius_px(seen.image)
    circle = csf.fluid_circle(
        view,
        networks.fluid(view.planes()),
        centre=place.centre,
        up=up_of(seen.spine, "L3"),
        reach_px=place.reach_px,
        mean_at=lambda row, column: circle_mean(seen.image.signal, native_circle(place.grid, row, column, radius_px)),
    )
    if circle is None:
        raise ScoreError(Reason("no-room-in-canal"))
    return circle


def _fluid_place(seen: SeenSlice) -> FluidPlace:
    grid = to_grid(seen.image, csf.FLUID_MM)
    body = seen.spine.bodies[LEVEL_INDEX["L3"]]
    centre = grid.from_native(seen.grid.to_native(np.array([body.centre])))[0]
    only_the_canal = np.where(dilated(seen.spine.canal, 2), seen.probability[CANAL], 0.0)
    radius_px = _fluid_radius_px(seen.image)
    rows_mm, columns_mm = seen.image.spacing_mm[:: -1 if grid.transposed else 1]
    return FluidPlace(
        grid=grid,
        canal=resampled(only_the_canal, seen.grid, grid),
        centre=(float(centre[0]), float(centre[1])),
        reach_px=(radius_px * rows_mm / grid.spacing_mm, radius_px * columns_mm / grid.spacing_mm),
    )


def _on_t2(seen: SeenSlice, scored: Scored, t2: SagittalImage | None) -> FluidOnT2 | None:
    """What a T2 in the same place says of the circle of fluid; ``None``: there is none, or it does not fit."""
    if t2 is None or _unusable(t2):
        return None
    place = scored.place
    return fluid_on_t2(
        t2,
        seen.image,
        fine=place.grid,
        canal=place.canal,
        coarse=seen.grid,
        probability=seen.probability[CANAL],
        centre=place.centre,
        circle=(scored.fluid.row, scored.fluid.column),
        reach_px=place.reach_px,
    )


def _fluid_radius_px(image: SagittalImage) -> float:
    """Of the circle in native pixels that has the area of one of :data:`csf.RADIUS_MM`; at least a pixel."""
    return max(1.0, csf.RADIUS_MM / sqrt(image.spacing_mm[0] * image.spacing_mm[1]))


def _judged(
    best: SeenSlice, scored: Scored, neighbours: Sequence[SeenSlice], *, t1_stated: bool, on_t2: FluidOnT2 | None
) -> AutomaticMeasurement:
    confidence, level_doubts = _levels_with(best, neighbours)
    of_neighbours = [value for value in (_vbq_or_none(other) for other in neighbours) if value is not None]
    doubts = [
        *level_doubts,
        *quality.doubts(scored.score, head_up=not best.grid.transposed and not best.grid.flipped[0]),
        *doubts_of_circles(scored, best.image),
        *_doubts_of_elsewhere(best, scored),
        *(Reason("body-fractured", {"level": name}) for name in fractures.fractured(best.spine)),
        *appearance.doubts(best.grid, best.spine, scored.score, t1_stated=t1_stated),
        *appearance.doubts_of_signal(best.image, scored.score),
        *appearance.doubts_of_marrow(best.grid, best.spine, scored.score),
        *disease.doubts_of_bodies(best.grid, best.spine),
    ]
    spread = uncertainty.vbq_sd(best.image, scored.score, scored.fluid, of_neighbours)
    if spread > uncertainty.TOO_WIDE * scored.score.vbq_mean:
        doubts.append(Reason("score-uncertain", {"half_width": 1.96 * spread}))
    doubts, notes = with_t2(doubts, on_t2)
    review = bool(doubts) or confidence < SURE
    return AutomaticMeasurement(
        status=MeasurementStatus.REVIEW if review else MeasurementStatus.MEASURED,
        reasons=(*doubts, *notes),
        slice_index=best.index,
        score=scored.score,
        vbq_sd=spread,
        levels_confidence=confidence,
        outlines=outlines(best.grid, best.spine),
        beside=beside_the_score(best.image, best.grid, best.spine, scored.score),
        fluid_on_t2=on_t2,
    )


def with_t2(doubts: Sequence[Reason], on_t2: FluidOnT2 | None) -> tuple[list[Reason], list[Reason]]:
    """What is doubted once a T2 was looked at, and what is said of it."""
    if on_t2 is None:
        return list(doubts), []
    if on_t2.best < NO_FLUID:
        return [*doubts, Reason("fluid-dark-on-t2", {"share": on_t2.best})], []
    left = [one for one in doubts if one.code not in SETTLED_BY_T2]
    if on_t2.worst < PURE_ON_T2 or len(left) == len(doubts):
        return list(doubts), []
    return left, [Reason("fluid-bright-on-t2", {"share": on_t2.worst})]


def _levels_with(best: SeenSlice, neighbours: Sequence[SeenSlice]) -> tuple[float, list[Reason]]:
    """Confidence and doubts of the levels, once the neighbouring slices were asked."""
    confidence, doubts = best.levels.confidence, list(best.levels.doubts)
    here = best.spine.bodies[LEVEL_INDEX["L3"]].centre
    for other in neighbours:
        if not other.levels.index:
            continue
        there = other.spine.bodies[LEVEL_INDEX["L3"]].centre
        if abs(here[0] - there[0]) * best.grid.spacing_mm > SAME_LEVEL_MM:
            confidence *= 0.6
            doubts.append(Reason("neighbour-counts-otherwise"))
            break
    return round(confidence, 3), doubts


def _vbq_or_none(seen: SeenSlice) -> float | None:
    if seen.levels.refusals:
        return None
    try:
        return _score(seen).score.vbq_mean
    except ScoreError:
        return None


def doubts_of_circles(scored: Scored, image: SagittalImage) -> list[Reason]:
    """Circles that hold something else than the marrow of their body, and fluid that may be none."""
    found = [
        Reason("circle-focal", {"name": name, "share": float(circle.focal_share)})
        for name, circle in scored.bodies.items()
        if circle.focal_share > FOCAL_CIRCLE
    ]
    if scored.fluid.purity < PURE:
        found.append(Reason("fluid-like-roots"))
    elif abs(scored.fluid.other) > ANOTHER_FLUID:
        found.append(Reason("fluid-in-two-parts", {"difference": float(scored.fluid.other)}))
    elif _dark_layer(scored, image):
        found.append(Reason("fluid-or-dark-layer"))
    if (spacing_mm := max(image.spacing_mm)) > COARSE_MM:
        found.append(Reason("pixels-too-coarse-for-fluid", {"spacing_mm": float(spacing_mm)}))
    return found


def _doubts_of_elsewhere(seen: SeenSlice, scored: Scored) -> Sequence[Reason]:
    place = scored.place
    marrow = disease.marrow_signals(seen.grid, seen.spine)
    if "L3" not in marrow:
        return []
    centres = np.array([seen.spine.bodies[LEVEL_INDEX[name]].centre for name in marrow])
    rows = place.grid.from_native(seen.grid.to_native(centres))[:, 0]
    return doubts_of_elsewhere(
        place.grid.signal,
        place.canal,
        place.reach_px,
        scored.score.rois[CSF].mean,
        {name: (float(row), signal) for (name, signal), row in zip(marrow.items(), rows, strict=True)},
    )


def _dark_layer(scored: Scored, image: SagittalImage) -> bool:
    """Whether the circle of fluid may lie in what is darker than fluid: roots behind it are too bright for it, or it is
    uneven although there is room."""
    fluid, circle = scored.fluid, scored.score.rois[CSF]
    if fluid.purity >= NO_DARK_LAYER:
        return False
    noise = appearance.noise(image, scored.score)
    variance = circle.sd**2 - noise**2
    if noise > NOISY_FLUID * circle.mean:
        variance += circle.sd**2 * sqrt(2 / (circle.pixels - 1))
    uneven = sqrt(max(0.0, variance)) / circle.mean
    half_in_it = fluid.depth_mm > DEEP_MM and uneven > UNEVEN_FLUID and fluid.behind > BEHIND_A_LAYER
    return fluid.behind > ROOTS_OVER_FLUID or half_in_it


def _rejected(reasons: Sequence[Reason], seen: SeenSlice | None) -> AutomaticMeasurement:
    return AutomaticMeasurement(
        status=MeasurementStatus.REJECTED,
        reasons=tuple(reasons),
        slice_index=seen.index if seen else None,
        score=None,
        vbq_sd=None,
        levels_confidence=None,
        outlines=outlines(seen.grid, seen.spine) if seen else {},
    )
