"""Ghosts of motion: copies of the whole image, moved along the direction of phase encoding, seen in the air behind the
back.

A ghost of 5 % moves a score by a tenth, and nothing in the spine itself shows it. Where there should be air, what
remains of the image follows the image moved by the ghost's distance. That needs air behind the back: ghosts that fall
on the body alone stay unseen.
"""

from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.vbq.automatic import SagittalImage
from analytics.vbq.grid import to_grid
from analytics.vbq.morphology import dilated, opened

GRID_MM = 1.5
NEAREST_MM = 22.0
"""A copy that is moved by less cannot be told from the flare at the edge of the skin."""
BODY_OVER_MARROW = 0.18
"""Brighter than this part of the marrow is body, darker may be a ghost."""
SKIN_PX = 3
MINIMUM_AIR_PX = 200
ALIKE = 0.7
"""Correlation of the air with the moved image. With :data:`GHOST` none of 435 slices reaches both; the scanner's own
ghosts are seen on some, with an amplitude of 0.005 to 0.02."""
GHOST = 0.025
"""Amplitude over the image."""
MOST = 0.25
"""A stronger copy would lift the fluid beyond what is measured there, and no level could be told: what is bright behind
the back and resembles the image by chance (a line, a coil's spot) is none."""


def ghost(image: SagittalImage, marrow: float) -> float | None:
    """Amplitude of a ghost over the image it is a copy of (0 … 1); ``None`` where none is seen.

    ``marrow``: mean signal of the marrow, in the unit of the image.

    Verification
    ------------
    Copies of known amplitude laid over real slices (tests/acceptance/test_vbq_hard_cases.py).
    """
    signal = to_grid(image, GRID_MM).signal
    air = _behind_the_back(signal, marrow)
    if np.count_nonzero(air) < MINIMUM_AIR_PX:
        return None
    seen = signal[air] - signal[air].mean()
    alike, amplitude = max((_likeness(seen, copy[air]) for copy in _moved(signal)), default=(0.0, 0.0))
    return amplitude if alike >= ALIKE and GHOST <= amplitude <= MOST else None


def _behind_the_back(signal: NDArray[np.float64], marrow: float) -> NDArray[np.bool_]:
    """Pixels behind the last of the body in their row; zeros are what the scanner has blanked."""
    bright: NDArray[np.bool_] = signal > BODY_OVER_MARROW * marrow
    found, count = scipy.ndimage.label(opened(bright, 2))
    if count == 0:
        return np.zeros(signal.shape, dtype=bool)
    sizes = np.bincount(found.ravel())[1:]
    largest: NDArray[np.bool_] = found == 1 + int(np.argmax(sizes))
    body = dilated(largest, SKIN_PX)
    behind = body[:, ::-1].cumsum(axis=1)[:, ::-1] == 0
    out: NDArray[np.bool_] = behind & (signal > 0) & np.any(body, axis=1, keepdims=True)
    return out


def _moved(signal: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """The image moved to both sides, along rows and columns, by every distance; what leaves it comes in again."""
    for axis in (0, 1):
        for step in range(round(NEAREST_MM / GRID_MM), signal.shape[axis] // 2):
            yield np.roll(signal, step, axis) + np.roll(signal, -step, axis)


def _likeness(seen: NDArray[np.float64], copy: NDArray[np.float64]) -> tuple[float, float]:
    """Correlation, and the slope of what is seen on the copy; ``seen`` has a mean of 0."""
    copy = copy - copy.mean()
    product, power = float(seen @ copy), float(copy @ copy)
    scale = power * float(seen @ seen)
    return (product / scale**0.5, product / power) if scale > 0 else (0.0, 0.0)
