"""The cerebrospinal fluid at L3: where the sac holds nothing but fluid, told from the nerve roots by a network.

On T1 the roots of the cauda equina are only a little brighter than the fluid, and a circle that holds some of them
makes every score too low; one that is placed on the darkest spot makes it too high, the more so the noisier the image.
The network learned on T1 where the T2 of the same examination shows fluid. Of the circles at the level of L3 that it
takes for fluid, one whose mean is the median of all is the region: typical, not extreme. Those near the middle of the
body weigh more: along the level the coil shades, and the sac changes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analytics.vbq.grid import Grid, disc

FLUID_MM = 0.7
"""Spacing of the grid on which fluid is told from roots."""
WINDOW_PX = (128, 64)
"""Rows and columns of what the network sees, about the canal at L3: 90 × 45 mm."""
RADIUS_MM = 1.8
"""Readers used 1.5 to 2.2 mm; the strip of fluid is often 4 mm wide."""
HALF_LEVEL_MM = 14.0
"""The level of L3 reaches so far up and down from the centre of the body: half its height."""
MIDDLE_MM = 9.0
"""Standard deviation of the weight of a circle by its height: readers place theirs behind the middle of the body."""
LOG_RANGE = 4.0
"""The signal is shown between a quarter of the canal's median and four times it."""
IN_CANAL = 0.5
CORE = 0.6
AS_GOOD = 0.95
"""Circles at least so good as the best, by what the network says, count as fluid."""
NEARLY = 0.8
"""Circles at least so good as the best may be fluid as well."""
TYPICAL = 0.1
"""Share of the circles of fluid whose means are nearest to the median: one of them, pure and near the middle of the
body, is the region."""
MINIMUM_CANAL_PX = 50


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
    relative_sd
        Standard deviation of the means of all circles that count as fluid, each counted once, over their median.
    other
        Median of the means of all circles that may be fluid as well, over that of those that count as fluid, less 1;
        both weighted by height.
        Far from 0: the level shows two kinds of fluid, and one of them is something else.
    """

    row: float
    column: float
    radius_mm: float
    purity: float
    relative_sd: float
    other: float


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
        Of the body (on the view's grid): the level reaches :data:`HALF_LEVEL_MM` up and down from it along ``up``.
    reach_px
        Half of the rows and of the columns of the view's grid that a circle covers: a circle in native pixels is an
        ellipse where rows and columns are spaced otherwise.
    mean_at
        Mean signal of a circle about a row and column of the view's grid, in native pixels.
    """
    rows, columns = np.indices(fluid.shape)
    along = (rows + view.origin[0] - centre[0]) * up[0] + (columns + view.origin[1] - centre[1]) * up[1]
    circle = disc(reach_px)
    canal = (view.canal > IN_CANAL).astype(np.float64)
    whole = ndimage.convolve(canal, circle, mode="constant") > 0.999
    inside = whole & (np.abs(along) * FLUID_MM <= HALF_LEVEL_MM) & _in_image(view)
    if not inside.any():
        return None
    purity = np.where(inside, ndimage.convolve(fluid * canal, circle, mode="constant"), 0.0)
    nearly = np.argwhere(inside & (purity >= NEARLY * purity.max()))
    purities = purity[tuple(nearly.T)]
    means = np.array([mean_at(float(row), float(column)) for row, column in nearly + np.array(view.origin)])
    good = purities >= AS_GOOD * purity.max()
    weights = np.exp(-((along[tuple(nearly.T)] * FLUID_MM / MIDDLE_MM) ** 2) / 2)
    median = _median(means[good], weights[good])
    if median <= 0:
        return None
    off = np.where(good, np.abs(means / median - 1), np.inf)
    # The purest of the typical lies in the middle of the fluid, where a small shift changes nothing.
    typical = off <= np.quantile(off[good], TYPICAL)
    row, column = nearly[int(np.argmax(np.where(typical, purities * weights, -1.0)))] + np.array(view.origin)
    return FluidCircle(
        row=float(row),
        column=float(column),
        radius_mm=RADIUS_MM,
        purity=float(purity.max()),
        relative_sd=float(np.std(means[good])) / median,
        other=_median(means, weights) / median - 1,
    )


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Weighted median."""
    order = np.argsort(values)
    weight = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(weight, weight[-1] / 2)])


def _in_image(view: FluidView) -> NDArray[np.bool_]:
    rows = np.arange(WINDOW_PX[0])[:, None] + view.origin[0]
    columns = np.arange(WINDOW_PX[1])[None, :] + view.origin[1]
    shape = view.grid.signal.shape
    inside: NDArray[np.bool_] = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return inside
