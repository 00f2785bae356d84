"""Circles between the node and DICOM.

The node counts in pixel centres: (0, 0) is the centre of the first pixel. Coordinates of DICOM (SCOORD, and graphics in
PIXEL units) count from the corner of that pixel, so its centre is (0.5, 0.5) (PS3.3, C.18.6.1.2 and C.10.5.1.2).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from analytics.reasons import Reason
from analytics.vbq.score import REGIONS
from node.dicom.reader import read_slice
from node.errors import DicomReadError
from node.results.content import Region, Result, Score

HALF_A_PIXEL = 0.5
SAME = 1e-6
"""Share by which a mean of the pixels may differ from that of the measurement, by how it was added up."""


def scored(result: Result) -> Score:
    """The score of a result that has one; the renderers of circles are asked for no other."""
    assert result.finding.score is not None, "only what has a score has circles"
    return result.finding.score


def signal_of(result: Result) -> NDArray[np.float64]:
    """The pixels of the slice, shape (rows, columns), after the modality LUT.

    Raises
    ------
    DicomReadError
        They cannot be read, or do not give the means of the measurement: it is not the slice that was measured.
    """
    assert result.image is not None, "a score has a slice"
    signal = read_slice(result.image, frame=result.finding.frame_number).signal
    for name, region in scored(result).regions.items():
        mean = float(signal[inside(region, signal.shape)].mean())
        if abs(mean - region.mean) > SAME * max(1.0, abs(region.mean)):
            raise DicomReadError(Reason("result-of-other-pixels", {"region": name}))
    return signal


def inside(region: Region, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels whose centre lies in the circle, shape (rows, columns)."""
    return _distances(region, shape) <= region.radius_px**2


def _distances(region: Region, shape: tuple[int, ...]) -> NDArray[np.float64]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    squared: NDArray[np.float64] = (rows - region.row) ** 2 + (columns - region.col) ** 2
    return squared


def graphic(region: Region, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A CIRCLE of DICOM, its centre and a point on it: shape (2, 2), each column and row from the corner of the image.

    DICOM keeps them as numbers of 32 bits. Where that would move a pixel across the rim, the radius is put midway
    between the outermost pixel within and the innermost one without, so that every reader finds the same pixels.
    """
    wanted = inside(region, shape)
    radius = region.radius_px
    if not np.array_equal(_read_back(region, radius, shape), wanted):
        distances = np.sqrt(_distances(region, shape))
        radius = float(distances[wanted].max() + distances[~wanted].min()) / 2
        if not np.array_equal(_read_back(region, radius, shape), wanted):
            raise DicomReadError(Reason("result-circle-not-kept"))
    across, down = region.col + HALF_A_PIXEL, region.row + HALF_A_PIXEL
    return np.array([[across, down], [across + radius, down]])


def _read_back(region: Region, radius: float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels that a reader finds who has the numbers of 32 bits."""
    across, down = (float(np.float32(one + HALF_A_PIXEL)) for one in (region.col, region.row))
    rim = float(np.float32(region.col + HALF_A_PIXEL + radius)) - across
    moved = Region(
        row=down - HALF_A_PIXEL, col=across - HALF_A_PIXEL, radius_px=rim,
        mean=region.mean, sd=region.sd, pixels=region.pixels,
    )  # fmt: skip
    return inside(moved, shape)


def in_order(regions: Mapping[str, Region]) -> list[tuple[str, Region]]:
    """L1 to L4, then the fluid."""
    return [(name, regions[name]) for name in REGIONS if name in regions]
