"""Whether a slice looks like T1 without fat saturation: fluid darkest, discs between, marrow and fat bright."""

import numpy as np

from analytics.model import CSF, VbqScore
from analytics.vbq.grid import Grid
from analytics.vbq.spine import Spine

DISC_OVER_FLUID = 1.05
"""On T1 discs are brighter than fluid (1.3–2.5 times on 435 slices), on T2 and STIR darker."""
FAT_OVER_MARROW = 1.35
"""The brightest fat of a T1 slice is brighter than marrow, the more so near the coil; with fat saturation it is not."""
FAT_PERCENTILE = 99.5


def not_t1(grid: Grid, spine: Spine, score: VbqScore) -> list[str]:
    """Why the slice is no T1 without fat saturation; empty when it may be one."""
    fluid = score.rois[CSF].mean
    found = []
    if score.vbq_mean <= 1.0:
        found.append("the fluid is brighter than the marrow: not T1-weighted, or fat-saturated")
    disc = disc_signal(grid, spine)
    if disc is not None and disc < DISC_OVER_FLUID * fluid:
        found.append("the discs are not brighter than the fluid: not T1-weighted")
    return found


def doubts(grid: Grid, spine: Spine, score: VbqScore, *, t1_stated: bool) -> list[str]:
    """What does not fit T1 without fat saturation, but does not rule it out either."""
    marrow = score.vbq_mean * score.rois[CSF].mean
    fat = float(np.percentile(grid.signal, FAT_PERCENTILE))
    if fat < FAT_OVER_MARROW * marrow:
        return ["no fat brighter than the marrow is seen: fat-saturated, or the field of view is small"]
    if not t1_stated:
        # Post-contrast T1 cannot be told from the image alone.
        return ["the headers do not say whether this is T1 without contrast; the image looks like T1"]
    return []


def disc_signal(grid: Grid, spine: Spine) -> float | None:
    """Median signal of the discs above and below L2 to L5."""
    values = [float(np.median(grid.signal[disc.mask])) for disc in spine.discs[:5] if disc is not None]
    return float(np.median(values)) if values else None
