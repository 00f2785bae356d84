"""What can be had beside the score from the same circles and outlines: by level, of S1, of the end plates.

None of it is validated here: nobody read it, no cut-off is known, and it enters neither the model nor a flag.

- VBQ by level (segmental, :func:`analytics.vbq.score.segmental`): the signal of one level's circle over that of the
  fluid; the mean of the four is the score.
- S1 VBQ: the same of a circle in S1, placed as those of the levels are.
- End-plate bone quality (EBQ). Two definitions are published under this name: signal of the end plates over that of
  the fluid (Jones C, et al. Spine J 2022;22(11):1875–1883: 3 mm on both sides of the disc of an operation), and over
  that of the marrow (Li C, et al. Jt Dis Relat Surg 2023). This is the first: bands of 3 mm along both end plates of a
  disc, the mean of the two over the fluid.
"""

from itertools import pairwise

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.records import CSF, RoiSignal, VbqScore
from analytics.vbq.automatic import Beside, SagittalImage
from analytics.vbq.bodies import CORTEX_MM, FEW, axes, box, greatest_circle
from analytics.vbq.grid import Grid, native_circle
from analytics.vbq.levels import FROM_THE_SACRUM
from analytics.vbq.score import ScoreError, roi_signal
from analytics.vbq.spine import Part, Spine

END_PLATE_MM = 3.0
WITHIN_DEPTH = (0.1, 0.9)
"""Of the depth of a body, from back to front: clear of its corners and spurs."""


def beside_the_score(image: SagittalImage, grid: Grid, spine: Spine, score: VbqScore) -> Beside:
    """S1 VBQ and EBQ of the slice of a score."""
    fluid = score.rois[CSF].mean
    s1 = _of_s1(image, grid, spine)
    return Beside(s1=s1, s1_vbq=s1.mean / fluid if s1 else None, ebq=_ebq(grid, spine, fluid))


def _of_s1(image: SagittalImage, grid: Grid, spine: Spine) -> RoiSignal | None:
    """A circle in S1, which has no vein at its back: its place is all of it inside the cortex."""
    if spine.s1 is None:
        return None
    about = box(spine.s1.mask, 1)
    place = np.zeros_like(spine.s1.mask)
    place[about] = scipy.ndimage.distance_transform_edt(spine.s1.mask[about]) * spine.spacing_mm >= CORTEX_MM
    if np.count_nonzero(place) < FEW:
        return None
    signal = scipy.ndimage.gaussian_filter(grid.signal, 0.5)
    found = greatest_circle(signal, place, float(np.median(signal[place])), axes(spine, 0)[1], spine.spacing_mm)
    if found is None:
        return None
    circle = native_circle(grid, found.row, found.column, found.radius_mm / max(image.spacing_mm))
    try:
        return roi_signal(image.signal, "S1", circle, image.spacing_mm)
    except ScoreError:
        return None


def _ebq(grid: Grid, spine: Spine, fluid: float) -> dict[str, float]:
    """By disc, from L1/L2 down."""
    bodies = dict(zip(("S1", *FROM_THE_SACRUM), (spine.s1, *spine.bodies), strict=False))
    names = list(bodies)
    found = {}
    for lower, upper in reversed(list(pairwise(names))):
        below, above = bodies[lower], bodies[upper]
        if below is None or above is None:
            continue
        at = FROM_THE_SACRUM.index(upper)
        plates = (
            _end_plate(grid, above, axes(spine, at), upper=False),
            _end_plate(grid, below, axes(spine, max(0, at - 1)), upper=True),
        )
        found[f"{upper}/{lower}"] = float(np.mean(plates)) / fluid
    return found


def _end_plate(
    grid: Grid, body: Part, directions: tuple[NDArray[np.float64], NDArray[np.float64]], *, upper: bool
) -> float:
    """Mean signal of the band along the upper or lower end of a body; ``directions``: to the head, and to the front."""
    up, front = directions
    places = (np.stack(body.points) - np.array(body.centre)[:, np.newaxis]) * grid.spacing_mm
    to_the_end, forward = (up if upper else -up) @ places, front @ places
    # The end follows the outline: it is the outermost pixel of each strip one pixel deep.
    strip = np.floor((forward - forward.min()) / grid.spacing_mm).astype(np.intp)
    end = np.full(strip.max() + 1, -np.inf)
    np.maximum.at(end, strip, to_the_end)
    back, fore = np.percentile(forward, [2, 98])
    depth = (forward - back) / (fore - back)
    band = (end[strip] - to_the_end < END_PLATE_MM) & (depth > WITHIN_DEPTH[0]) & (depth < WITHIN_DEPTH[1])
    rows, columns = body.points
    return float(np.mean(grid.signal[rows[band], columns[band]]))
