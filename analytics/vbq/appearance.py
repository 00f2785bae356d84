"""Whether a slice looks like T1 without fat saturation: fluid darkest, discs between, marrow and fat bright.

And whether the marrow looks like marrow that a score can be had from: of one kind at all levels, without metal.
"""

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.records import CSF, LEVELS, VbqScore
from analytics.vbq.automatic import SagittalImage
from analytics.vbq.blocks import in_blocks
from analytics.vbq.bodies import box, marrow
from analytics.vbq.burnt import burnt_in, doubts_of_drawing, without
from analytics.vbq.disease import marrow_signal
from analytics.vbq.ghosts import ghost
from analytics.vbq.grid import Grid
from analytics.vbq.levels import LEVEL_INDEX
from analytics.vbq.morphology import dilated, eroded
from analytics.vbq.scale import blanked, doubts_of_scale
from analytics.vbq.spine import Spine
from analytics.vbq.wavelets import in_wavelets

DISC_OVER_FLUID = 1.05
"""Least disc over fluid: on T1 discs are brighter than fluid (1.3–2.5 times on 435 slices), on T2 and STIR darker."""
FAT_OVER_MARROW = 1.35
"""The brightest fat of a T1 slice is brighter than marrow, the more so near the coil; with fat saturation it is not."""
FAT_PERCENTILE = 99.5
MARROW_OVER_DISC = 1.0
"""On T1 marrow of an adult is brighter than the discs (in its circles 1.02–2.6 times on 416 slices). Marrow that is not
is taken for infiltrated by radiologists (Carroll 1997), or its fat is suppressed."""
BODIES_OVER_DISC = 1.2
"""The same of whole bodies: 1.20 to 2.3 times on 295 of 298 slices, 1.04 to 1.13 on three whose marrow is dark."""
LEVEL_TO_LEVEL = (0.7, 1.33)
"""Signal of one level over the median of the other three; 0.77–1.23 on 98 of 100 slices. Of 435 slices eight lie beyond
0.7–1.33, four of them with a lesion or a fracture that is plain to see. Beyond: a metastasis, a haemangioma, sclerosis,
a fracture's oedema, radiation, metal, or the end of the coil."""
UNEVEN_MARROW = 0.32
"""Standard deviation over mean inside the marrow of one body; 99 of 100 slices lie below."""
DARK_PERCENTILE = 1.0
DARK_OVER_FLUID = 0.05
"""An image has pixels that are darker than this part of the fluid: the darkest have at most 0.013 on 416 slices."""
OFFSET_OVER_FLUID = 0.08
"""An offset of this part moves a score by 5 %. In fields of 256 × 220 mm and less, without air at their edges, the
lowest value of one of eight slices was 0.063 of the fluid."""
EVENLY_LIFTED = 1.5
"""A smaller offset lifts many pixels to the lowest value: the darkest hundredth is less than this many times it, and
without an offset 2 times and more."""
DARK_BESIDE_BLANKED = 0.15
"""The darkest hundredth where corners were blanked and the darkest air with them: 0.10 on a real series made so."""
NOISE_LIFTS = 0.25
"""What noise adds to the darkest hundredth, over its standard deviation: a low quantile of Rayleigh's distribution."""
WHOLE_FIELD_MM = 260.0
"""A field of this size has air at its edges. In a smaller one the darkest hundredth may be as bright as after local
contrast enhancement (0.06 to 0.16 of the fluid), and what tells the two apart is how much is dark."""
DARK, DARK_SHARE = 0.3, 0.13
"""Air, vessels and cortical bone are darker than this part of the fluid: 0.15 to 0.51 of the pixels, in fields down to
240 × 180 mm and with noise of 5 % of marrow as well; local contrast enhancement leaves 0.06 to 0.12."""
DULL_FAT = 1.95
"""The brightest fat over marrow after local contrast enhancement: 1.35 to 1.89 times; of 282 slices as they are below
this on one of twenty."""
BELOW_ZERO = 0.05
"""Lowest signal, as a share of the fluid: resampling undershoots a little; an offset lies further below zero."""
VOID = 0.3
"""Share of the marrow's signal below which a pixel inside a body is metal, gas or calcium."""
VOID_SHARE = 0.04
"""Largest share of the inside of a body that may be void."""
VOID_DEPTH_MM = 2.0
"""Deeper than the cortex."""
SHARP = 0.12
EDGE_PERCENTILE = 75.0
"""Slope of the signal along the walls of the bodies, per pixel of the grid and over the marrow; 0.17–0.38 on 416
slices. A Gaussian of 2.2 mm makes it 0.08–0.11 and moves scores by 4–13 %."""
FLUID_OVER_NOISE = 5.0
"""Least fluid over noise: below it the noise of a magnitude image lifts the fluid by 2 % and more (Gudbjartsson
1995)."""


def not_t1(grid: Grid, spine: Spine, score: VbqScore) -> list[Reason]:
    """Why the slice is no T1 without fat saturation; empty when it may be one."""
    if score.vbq_mean > 1.0:
        return []
    return [
        Reason("fluid-brighter-than-marrow"),
        *_dark_discs(grid, spine, score),
    ]


def _dark_discs(grid: Grid, spine: Spine, score: VbqScore) -> list[Reason]:
    disc = disc_signal(grid, spine)
    if disc is None or disc >= DISC_OVER_FLUID * score.rois[CSF].mean:
        return []
    return [Reason("discs-not-brighter-than-fluid")]


def doubts(grid: Grid, spine: Spine, score: VbqScore, *, t1_stated: bool) -> list[Reason]:
    """What does not fit T1 without fat saturation, but does not rule it out either."""
    bone = score.vbq_mean * score.rois[CSF].mean
    found = _dark_discs(grid, spine, score)
    fat = float(np.percentile(grid.signal, FAT_PERCENTILE))
    disc = disc_signal(grid, spine)
    if fat < FAT_OVER_MARROW * bone:
        found.append(Reason("no-bright-fat"))
    if disc is not None and bone < MARROW_OVER_DISC * disc:
        found.append(Reason("marrow-not-brighter-than-discs"))
    # Circles keep to what marrow is left; whole bodies do not.
    elif disc is not None and (ratio := marrow_signal(grid, spine) / disc) < BODIES_OVER_DISC:
        found.append(Reason("marrow-hardly-brighter-than-discs", {"ratio": ratio}))
    if not found and not t1_stated:
        # Post-contrast T1 cannot be told from the image alone.
        found.append(Reason("t1-only-by-image"))
    return found


def doubts_of_signal(image: SagittalImage, score: VbqScore) -> list[Reason]:
    """What makes the ratio of two signals mean something else: another scale, what was drawn, ghosts, noise."""
    fluid = score.rois[CSF].mean
    drawn = burnt_in(image.signal)
    signal = without(image.signal, drawn)
    found: list[Reason] = [*doubts_of_drawing(drawn), *doubts_of_scale(image.signal, drawn)]
    if in_blocks(image.signal):
        found.append(Reason("signal-in-blocks"))
    if in_wavelets(signal):
        found.append(Reason("signal-in-wavelets"))
    if float(np.min(image.signal)) < -BELOW_ZERO * fluid:
        found.append(Reason("signals-below-zero"))
    noisy = noise(image, score)
    if _nothing_dark(signal, image.spacing_mm, score, noisy):
        found.append(Reason("nothing-dark"))
    # What is drawn behind the back resembles the image by chance.
    if drawn is None and (amplitude := ghost(image, score.vbq_mean * fluid)) is not None:
        found.append(Reason("ghost-of-motion", {"share": amplitude}))
    if noisy * FLUID_OVER_NOISE > fluid:
        found.append(Reason("fluid-in-noise"))
    return found


def _nothing_dark(signal: NDArray[np.float64], spacing_mm: tuple[float, float], score: VbqScore, noisy: float) -> bool:
    """Whether air and cortical bone have signal: all of it (an offset), or nearly all (local contrast enhancement).

    Corners that were blanked do not count as dark.
    """
    blank = blanked(signal)
    if blank.all():
        return False
    seen, fluid = signal[~blank], score.rois[CSF].mean
    lowest, darkest = float(signal.min()) / fluid, float(np.percentile(seen, DARK_PERCENTILE)) / fluid
    if lowest > DARK_OVER_FLUID and (lowest > OFFSET_OVER_FLUID or darkest < EVENLY_LIFTED * lowest):
        return True
    limit = DARK_BESIDE_BLANKED if blank.any() else DARK_OVER_FLUID
    if darkest <= limit:
        return False
    if float(np.mean(seen < DARK * fluid)) < DARK_SHARE:
        return True
    if min(count * mm for count, mm in zip(signal.shape, spacing_mm, strict=True)) < WHOLE_FIELD_MM:
        return False
    # Local contrast enhancement lifts noise as well: what noise explains counts only where fat is as bright as ever.
    dull = float(np.percentile(seen, FAT_PERCENTILE)) < DULL_FAT * score.vbq_mean * fluid
    return dull or darkest > limit + NOISE_LIFTS * noisy / fluid


def noise(image: SagittalImage, score: VbqScore) -> float:
    """Standard deviation of the noise, from second differences along the rows of the marrow circles (they do not see
    slow changes); in the unit of the signal."""
    found = []
    for name in LEVELS:
        circle = score.rois[name].circle
        rows = slice(round(circle.row - circle.radius_px / 2), round(circle.row + circle.radius_px / 2) + 1)
        columns = slice(round(circle.col - circle.radius_px / 2), round(circle.col + circle.radius_px / 2) + 1)
        found.append(np.abs(np.diff(image.signal[rows, columns], n=2, axis=1)).ravel())
    # 1, -2, 1 has the variance of six pixels.
    return 1.4826 * float(np.median(np.concatenate(found))) / 6**0.5


def doubts_of_marrow(grid: Grid, spine: Spine, score: VbqScore) -> list[Reason]:
    """Levels whose marrow is not like that of the others, and bodies with metal."""
    means = np.array([score.rois[name].mean for name in LEVELS])
    found = []
    for at, name in enumerate(LEVELS):
        ratio = float(means[at]) / float(np.median(np.delete(means, at)))
        if not LEVEL_TO_LEVEL[0] <= ratio <= LEVEL_TO_LEVEL[1]:
            found.append(Reason("level-of-other-signal", {"level": name, "ratio": ratio}))
    for name in LEVELS:
        inside = grid.signal[marrow(spine, LEVEL_INDEX[name])]
        if inside.size and float(np.std(inside)) > UNEVEN_MARROW * float(np.mean(inside)):
            found.append(Reason("marrow-uneven", {"level": name}))
    if sharpness(grid, spine, float(np.median(means))) < SHARP:
        found.append(Reason("walls-blurred"))
    if any(share > VOID_SHARE for share in void_shares(grid, spine, float(np.median(means)))):
        found.append(Reason("signal-voids"))
    return found


def sharpness(grid: Grid, spine: Spine, bone: float) -> float:
    """Slope of the signal along the walls of L5 to L1, per pixel and over the marrow's signal."""
    bodies = np.any([body.mask for body in spine.bodies[:5]], axis=0)
    wall = dilated(bodies, 2) & ~eroded(bodies, 2)
    slope = np.hypot(*np.gradient(grid.signal))
    return float(np.percentile(slope[wall], EDGE_PERCENTILE)) / bone


def void_shares(grid: Grid, spine: Spine, bone: float) -> list[float]:
    """Of the inside of L5 to L1 and S1: what has next to no signal."""
    parts = [*spine.bodies[:5], *([spine.s1] if spine.s1 else [])]
    found = []
    for part in parts:
        about = box(part.mask, 1)
        inside = scipy.ndimage.distance_transform_edt(part.mask[about]) * spine.spacing_mm >= VOID_DEPTH_MM
        if inside.any():
            found.append(float(np.mean(grid.signal[about][inside] < VOID * bone)))
    return found


def disc_signal(grid: Grid, spine: Spine) -> float | None:
    """Median signal of the discs above and below L2 to L5."""
    values = [float(np.median(grid.signal[disc.mask])) for disc in spine.discs[:5] if disc is not None]
    return float(np.median(values)) if values else None
