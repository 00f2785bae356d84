"""The fluid at L3 against that at the other levels: what is even and brighter than fluid at L3 alone is no fluid.

The network that tells fluid from roots sees the canal at L3 over its own median, so that a tumour or blood that fills
the sac there looks to it like fluid. At levels further up and down the sac still shows what fluid is. Each level is
held against the marrow of its own body, as the coil shades along the spine.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.vbq.csf import FLUID_MM, HALF_LEVEL_MM, IN_CANAL
from analytics.vbq.grid import disc

BRIGHTER = 1.25
"""Fluid at L3 over that of the level but one to which it is brightest: 0.87 to 1.22 on 284 measured slices, where it
says nothing of the error; with an even mass of 1.5 times the fluid 30 to 60 mm long behind L3, which makes scores 12 to
30 % too low, 1.30 to 1.93 in seven of eight slices, and 1.11 where it is as long as three levels."""
DARK_PERCENTILE = 15.0
"""Of the circles that the canal has room for at a level: roots, the cord and fat are brighter than fluid."""
FEWEST_PLACES = 20
FEWEST_LEVELS = 3


def doubts_of_elsewhere(
    signal: NDArray[np.float64],
    canal: NDArray[np.float64],
    reach_px: tuple[float, float],
    fluid: float,
    levels: Mapping[str, tuple[float, float]],
) -> Sequence[Reason]:
    """Whether what is taken for fluid at L3 is brighter than the fluid of other levels.

    Parameters
    ----------
    signal, canal
        On a grid of :data:`analytics.vbq.csf.FLUID_MM`.
    reach_px
        Half of its rows and of its columns that a circle covers.
    fluid
        Signal of the circle at L3.
    levels
        Of each level, L3 among them: the row of the middle of its body, and the signal of its marrow.
    """
    if levels["L3"][1] <= 0:
        return []
    circle = disc(reach_px)
    whole = scipy.ndimage.convolve((canal > IN_CANAL).astype(np.float64), circle, mode="constant") > 0.999
    smooth = scipy.ndimage.convolve(signal, circle, mode="nearest")
    rows = np.arange(signal.shape[0])[:, np.newaxis]
    ratios = []
    for name, (row, marrow) in levels.items():
        places = whole & (np.abs(rows - row) * FLUID_MM <= HALF_LEVEL_MM)
        if name != "L3" and np.count_nonzero(places) >= FEWEST_PLACES:
            dark = float(np.percentile(smooth[places], DARK_PERCENTILE))
            if dark > 0 and marrow > 0:
                ratios.append(fluid / levels["L3"][1] / (dark / marrow))
    if len(ratios) < FEWEST_LEVELS or (ratio := sorted(ratios)[-2]) <= BRIGHTER:
        return []
    return [Reason("fluid-brighter-than-elsewhere", {"ratio": ratio})]
