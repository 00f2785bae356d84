"""The cerebrospinal fluid at L3: where the sac holds nothing but fluid, told from the nerve roots by a network.

On T1 the roots of the cauda equina are only a little brighter than the fluid, and a circle that holds some of them
makes every score too low; one that is placed on the darkest spot makes it too high, the more so the noisier the image.
The network learned on T1 where the T2 of the same examination shows fluid. All circles that it takes for fluid say
together what fluid shows, those straight behind the middle of L3 more than others: along the sac the coil shades, and
roots come and go. The region is a circle there that shows just that; where circles at other places or of another size
say something else, the score is less sure.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.vbq.grid import Grid, disc

FLUID_MM = 0.7
"""Spacing of the grid on which fluid is told from roots."""
WINDOW_PX = (128, 64)
"""Rows and columns of what the network sees, about the canal at L3: 90 × 45 mm."""
RADIUS_MM = 1.8
"""Readers used 1.5 to 2.2 mm; the strip of fluid is often 4 mm wide."""
HALF_LEVEL_MM = 14.0
"""The level of L3 reaches so far up and down from the centre of the body: half its height."""
MIDDLE_MM = 2.5
"""Standard deviation of the weight of a circle by its height over the middle of the body, along the rows: readers go
straight back from there, whatever the tilt of L3, and lie 3.5 mm higher along the sac than its own axis would have it.
On 145 slices the fluid then differs from theirs by 2.0 %, with 9 mm about the axis by 2.8 % (1.9 to 2.1 % for 2 to 4
mm)."""
LEVEL_MM = 9.0
"""The same where the whole level is asked."""
APART = 0.06
"""What the circles near the middle say differs from what the best of the whole level say by no more than this part: a
dark spot that is not fluid draws no score after it. 145 slices are as near to their readers with it as without."""
DARKER = 0.4
"""Quantile of the weighted means: what roots reach into is brighter than fluid, next to nothing is darker. The median
is brighter than readers' circles by 0.9 %, this one by 0.0 % (0.35: darker by 0.5 %)."""
LOG_RANGE = 4.0
"""The signal is shown between a quarter of the canal's median and four times it."""
IN_CANAL = 0.5
IN_FLUID = 0.5
CORE = 0.6
AS_GOOD = 0.9
"""Circles at least so good as the best, by what the network says, count as fluid."""
BEST = 0.95
"""The same where the whole level is asked."""
NEARLY = 0.8
"""Circles at least so good as the best may be fluid as well."""
TYPICAL = 0.05
"""Share of the circles of fluid whose means are nearest to what they say together: one of them, pure and near the
middle of the body, is the region."""
MINIMUM_CANAL_PX = 50
BEHIND_MM = (3.5, 6.3)
BAND_MM = 2.0
"""Half of the height over which what lies before and behind a circle is averaged."""


@dataclass(frozen=True, kw_only=True)
class FluidView:
    """What the fluid network sees, and how to get back.

    ``signal`` and ``canal`` (:data:`WINDOW_PX`) on a grid of :data:`FLUID_MM`; ``origin`` is its first row and column.
    """

    grid: Grid
    signal: NDArray[np.float64]
    canal: NDArray[np.float64]
    origin: tuple[int, int]

    def planes(self) -> NDArray[np.float32]:
        """(2, rows, columns): the logarithm of the signal over the canal's median, and the canal."""
        middle = float(np.median(self.signal[self.canal > CORE]))
        relative = np.log(np.clip(self.signal / middle, 1 / LOG_RANGE, LOG_RANGE))
        return np.stack([relative, self.canal]).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class FluidCircle:
    """A circle in the fluid, and how sure it is fluid.

    Attributes
    ----------
    row, column
        On the grid of the view's ``grid`` (0-based).
    purity
        0 to 1: mean probability of fluid in the best circle at the level.
    other
        Median of the means of all circles that may be fluid as well, over that of the best, less 1; both of the whole
        level, weighted by height.
        Far from 0: the level shows two kinds of fluid, and one of them is something else.
    elsewhere
        What the circles say that lie about the axis of L3 instead of straight behind it, over what those say, less 1.
    behind
        Signal some millimetres behind the circle, where roots lie in a narrow sac, over that of the circle.
    depth_mm
        From front to back, what is taken for fluid at the circle.
    """

    row: float
    column: float
    radius_mm: float
    purity: float
    other: float
    elsewhere: float
    behind: float
    depth_mm: float


def fluid_view(grid: Grid, canal: NDArray[np.float64], row: float) -> FluidView | None:
    """Cut the window about the canal at a row of the grid; ``None`` where there is no canal.

    ``grid`` and ``canal`` (its probability, 0 … 1) lie on :data:`FLUID_MM`.
    """
    middle = round(row)
    band = canal[max(0, middle - 3) : middle + 4]
    columns = np.flatnonzero((band > IN_CANAL).any(axis=0))
    if columns.size == 0:
        return None
    height, width = WINDOW_PX
    origin = (middle - height // 2, int(columns.mean()) - width // 2)
    view = FluidView(grid=grid, signal=_cut(grid.signal, origin), canal=_cut(canal, origin), origin=origin)
    core = view.canal > CORE
    if np.count_nonzero(core) < MINIMUM_CANAL_PX or float(np.median(view.signal[core])) <= 0:
        return None
    return view


def _cut(plane: NDArray[np.float64], origin: tuple[int, int]) -> NDArray[np.float64]:
    rows, columns = (
        np.clip(np.arange(start, start + length), 0, size - 1)
        for start, length, size in zip(origin, WINDOW_PX, plane.shape, strict=True)
    )
    return plane[np.ix_(rows, columns)]


def fluid_circle(
    view: FluidView,
    fluid: NDArray[np.float32],
    *,
    centre: tuple[float, float],
    up: NDArray[np.float64],
    reach_px: tuple[float, float],
    mean_at: Callable[[float, float], float],
) -> FluidCircle | None:
    """The typical circle of fluid at a level; ``None`` where the canal has no room for one.

    Parameters
    ----------
    fluid
        What the network says of the view: probability of fluid, :data:`WINDOW_PX`.
    centre, up
        Of the body (on the view's grid), and its axis: the level reaches :data:`HALF_LEVEL_MM` up and down along the
        rows.
    reach_px
        Half of the rows and of the columns of the view's grid that a circle covers: a circle in native pixels is an
        ellipse where rows and columns are spaced otherwise.
    mean_at
        Mean signal of a circle about a row and column of the view's grid, in native pixels.
    """
    rows, columns = np.indices(fluid.shape)
    down, back = np.subtract(rows, centre[0] - view.origin[0]), np.subtract(columns, centre[1] - view.origin[1])
    circle = disc(reach_px)
    canal = (view.canal > IN_CANAL).astype(np.float64)
    whole = scipy.ndimage.convolve(canal, circle, mode="constant") > 0.999
    inside = whole & (np.abs(down) * FLUID_MM <= HALF_LEVEL_MM) & _in_image(view)
    if not inside.any():
        return None
    purity = np.where(inside, scipy.ndimage.convolve(fluid * canal, circle, mode="constant"), 0.0)
    nearly = np.argwhere(inside & (purity >= NEARLY * purity.max()))
    purities = purity[tuple(nearly.T)]
    means = np.array([mean_at(float(row), float(column)) for row, column in nearly + np.array(view.origin)])
    good = purities >= AS_GOOD * purity.max()
    best = purities >= BEST * purity.max()
    near, far = (_weights(down[tuple(nearly.T)], spread) for spread in (MIDDLE_MM, LEVEL_MM))
    level = _quantile(means[best], far[best], 0.5)
    if level <= 0:
        return None
    said = float(np.clip(_quantile(means[good], near[good], DARKER) / level, 1 - APART, 1 + APART)) * level
    off = np.where(good, np.abs(means / said - 1), np.inf)
    # The purest of the typical lies in the middle of the fluid, where a small shift changes nothing.
    typical = off <= max(np.min(off), np.quantile(off[good], TYPICAL))
    chosen = int(np.argmax(np.where(typical, purities * near, -1.0)))
    about_the_axis = _weights((down * up[0] + back * up[1])[tuple(nearly.T)], MIDDLE_MM)
    return FluidCircle(
        row=float(nearly[chosen, 0] + view.origin[0]),
        column=float(nearly[chosen, 1] + view.origin[1]),
        radius_mm=RADIUS_MM,
        purity=float(purity.max()),
        other=_quantile(means, far, 0.5) / level - 1,
        elsewhere=_quantile(means[good], about_the_axis[good], DARKER) / said - 1,
        behind=_behind(scipy.ndimage.convolve(view.signal, circle, mode="nearest"), *nearly[chosen]),
        depth_mm=_depth_mm(fluid, *nearly[chosen]),
    )


def _behind(smooth: NDArray[np.float64], row: int, column: int) -> float:
    """Signal at :data:`BEHIND_MM` behind a place over that at it."""
    profile = _band(smooth, row)
    near, far = (column + round(mm / FLUID_MM) for mm in BEHIND_MM)
    return float(np.median(profile[min(near, len(profile) - 1) : far + 1]) / profile[column])


def _depth_mm(fluid: NDArray[np.float32], row: int, column: int) -> float:
    """Columns of fluid about a place, without a gap."""
    profile = _band(fluid.astype(np.float64), row) > IN_FLUID
    ahead, back = np.flatnonzero(~profile[:column]), np.flatnonzero(~profile[column:])
    first = int(ahead[-1]) + 1 if ahead.size else 0
    last = column + int(back[0]) if back.size else len(profile)
    return float((last - first) * FLUID_MM)


def _band(plane: NDArray[np.float64], row: int) -> NDArray[np.float64]:
    """Mean of the rows about one."""
    half = round(BAND_MM / FLUID_MM)
    out: NDArray[np.float64] = plane[max(0, row - half) : row + half + 1].mean(axis=0)
    return out


def _weights(away_px: NDArray[np.float64], spread_mm: float) -> NDArray[np.float64]:
    """Of circles so far from the middle of the level; never 0, so that those of a level without any near it count."""
    out: NDArray[np.float64] = np.exp(-((away_px * FLUID_MM / spread_mm) ** 2) / 2) + 1e-12
    return out


def _quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """Weighted."""
    order = np.argsort(values)
    weight = np.cumsum(weights[order])
    return float(values[order][min(np.searchsorted(weight, share * weight[-1]), len(values) - 1)])


def _in_image(view: FluidView) -> NDArray[np.bool_]:
    rows = np.arange(WINDOW_PX[0])[:, None] + view.origin[0]
    columns = np.arange(WINDOW_PX[1])[None, :] + view.origin[1]
    shape = view.grid.signal.shape
    inside: NDArray[np.bool_] = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return inside
