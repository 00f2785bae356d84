"""From a native sagittal slice to the grid the networks see, and back: by geometry, never by assumption."""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.records import Circle
from analytics.vbq.automatic import SagittalImage

GRID_MM = 1.1
"""Spacing of the grid on which bodies, discs and canal are segmented; 256 pixels span 282 mm, the paper's field."""
MAX_EXTENT_MM = 560.0
"""A field of view beyond this is no image of a spine, or its spacing is wrong."""
MIN_EXTENT_MM = 60.0
"""A field of view that could hold two lumbar bodies at most."""
BRIGHT_PERCENTILE = 99.0
"""Percentile of the pixels that are not air: the signal that becomes 1 in what the network sees."""
AIR = 0.02
"""Share of the greatest signal below which there is air or nothing."""
FEW_PX = 1.3
"""Radius below which a circle is placed on the centre of a pixel."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A slice turned so that rows run to the feet and columns to the back, on square pixels.

    Attributes
    ----------
    signal
        (rows, columns) in the units of the native slice.
    spacing_mm
        Of its square pixels.
    transposed, flipped
        How the native axes were turned: first transposed, then flipped along (rows, columns).
    native_shape, native_spacing_mm
        Of the slice it came from.
    """

    signal: NDArray[np.float64]
    spacing_mm: float
    transposed: bool
    flipped: tuple[bool, bool]
    native_shape: tuple[int, int]
    native_spacing_mm: tuple[float, float]

    def to_native(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) rows and columns of the grid as rows and columns of the native slice, both 0-based."""
        shape, spacing = self._turned()
        turned = (np.asarray(points, dtype=np.float64) + 0.5) * self.spacing_mm / np.asarray(spacing) - 0.5
        for axis in (0, 1):
            if self.flipped[axis]:
                turned[..., axis] = shape[axis] - 1 - turned[..., axis]
        out: NDArray[np.float64] = turned[..., ::-1] if self.transposed else turned
        return out

    def from_native(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) rows and columns of the native slice as rows and columns of the grid, both 0-based."""
        shape, spacing = self._turned()
        turned = np.array(points, dtype=np.float64)
        if self.transposed:
            turned = turned[..., ::-1].copy()
        for axis in (0, 1):
            if self.flipped[axis]:
                turned[..., axis] = shape[axis] - 1 - turned[..., axis]
        out: NDArray[np.float64] = (turned + 0.5) * np.asarray(spacing) / self.spacing_mm - 0.5
        return out

    def _turned(self) -> tuple[tuple[int, int], tuple[float, float]]:
        if not self.transposed:
            return self.native_shape, self.native_spacing_mm
        return self.native_shape[::-1], self.native_spacing_mm[::-1]


def to_grid(image: SagittalImage, spacing_mm: float = GRID_MM) -> Grid:
    """Turn and resample a native slice (linear, after a Gaussian where the grid is coarser)."""
    along_columns, along_rows = np.asarray(image.orientation[:3]), np.asarray(image.orientation[3:])
    # The axis of the slice that runs more along the patient's long axis becomes the rows.
    transposed = bool(abs(along_columns[2]) > abs(along_rows[2]))
    down, back = (along_columns, along_rows) if transposed else (along_rows, along_columns)
    flipped = (bool(down[2] > 0), bool(back[1] < 0))
    grid = Grid(
        signal=np.empty((0, 0)),
        spacing_mm=spacing_mm,
        transposed=transposed,
        flipped=flipped,
        native_shape=(image.signal.shape[0], image.signal.shape[1]),
        native_spacing_mm=image.spacing_mm,
    )
    return _filled(grid, image.signal)


def _filled(grid: Grid, signal: NDArray[np.float64]) -> Grid:
    turned = signal.T if grid.transposed else signal
    turned = np.flip(turned, tuple(axis for axis in (0, 1) if grid.flipped[axis]))
    shape, spacing = turned.shape, grid.native_spacing_mm[:: -1 if grid.transposed else 1]
    zoom = [grid.spacing_mm / mm for mm in spacing]
    smooth = scipy.ndimage.gaussian_filter(turned, [0.4 * step if step > 1 else 0.0 for step in zoom])
    size = [max(1, round(shape[axis] / zoom[axis])) for axis in (0, 1)]
    return Grid(
        signal=_linear(smooth, *((np.arange(size[axis]) + 0.5) * zoom[axis] - 0.5 for axis in (0, 1))),
        spacing_mm=grid.spacing_mm,
        transposed=grid.transposed,
        flipped=grid.flipped,
        native_shape=grid.native_shape,
        native_spacing_mm=grid.native_spacing_mm,
    )


def resampled(plane: NDArray[np.floating], source: Grid, target: Grid) -> NDArray[np.float64]:
    """A plane of one grid of a slice on another grid of it (linear)."""
    zoom = target.spacing_mm / source.spacing_mm
    rows, columns = ((np.arange(size, dtype=np.float64) + 0.5) * zoom - 0.5 for size in target.signal.shape)
    return _linear(plane.astype(np.float64), rows, columns)


def _linear(plane: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """A plane where so many rows and columns cross; beyond its edge, its edge. First along rows, then along columns."""
    out = plane
    for at in (rows, columns):
        inside = np.clip(at, 0, out.shape[0] - 1)
        low = np.minimum(inside.astype(np.intp), max(0, out.shape[0] - 2))
        share = (inside - low)[:, np.newaxis]
        out = (out[low] * (1 - share) + out[np.minimum(low + 1, out.shape[0] - 1)] * share).T
    return out


def native_circle(grid: Grid, row: float, column: float, radius_px: float) -> Circle:
    """A circle about a place of the grid, in native pixels; ``radius_px`` is native."""
    at = grid.to_native(np.array([[row, column]]))[0]
    # A tenth of a pixel is as fine as a person places a circle; one of a few pixels holds most about a pixel's centre.
    digits = 1 if radius_px >= FEW_PX else 0
    return Circle(row=round(float(at[0]), digits), col=round(float(at[1]), digits), radius_px=round(radius_px, 2))


def normalised(signal: NDArray[np.float64]) -> NDArray[np.float32]:
    """What the network sees: the root of the signal over its bright end, 0 … 1; all zero where nothing is seen."""
    peak = float(np.max(signal, initial=0.0))
    if not np.isfinite(peak) or peak <= 0:
        return np.zeros(signal.shape, dtype=np.float32)
    bright = float(np.percentile(signal[signal > AIR * peak], BRIGHT_PERCENTILE))
    return np.sqrt(np.clip(signal / bright, 0.0, 1.0)).astype(np.float32)


def disc(reach_px: tuple[float, float]) -> NDArray[np.float64]:
    """What a circle covers of a grid, as weights that sum to 1; ``reach_px`` is half of its rows and of its columns.

    An ellipse, where a circle of native pixels lies on rows and columns that are spaced otherwise.
    """
    height, width = (int(np.ceil(reach)) for reach in reach_px)
    rows, columns = np.ogrid[-height : height + 1, -width : width + 1]
    covered = ((rows / reach_px[0]) ** 2 + (columns / reach_px[1]) ** 2 <= 1).astype(np.float64)
    out: NDArray[np.float64] = covered / covered.sum()
    return out
