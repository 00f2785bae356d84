"""The blocks of 8 × 8 pixels that JPEG leaves, where nothing in the headers tells of a lossy compression any more."""

import numpy as np
import scipy
from numpy.typing import NDArray

BLOCK_PX = 8
BLOCKY = 0.65
"""Excess of the steps between blocks over other steps. As stored 0.00–0.04 on five real series, enlarged linearly or
by splines the same; after JPEG of quality 75, which moves scores by 1 %, 0.3–0.5, from 30 down (1–8 %) 0.7 and more."""


MIDDLE = (3, 4)
"""Frequencies (waves in a block, of rows and columns together) that JPEG keeps at quality 75 and not at 40."""
SPARSE = 0.15
"""Median over mean of these in tissue: 0.46 and more on 450 slices as stored, smoothed or enlarged as well; 0.02–0.05
after JPEG of quality 40, which moves scores by up to 3 %, and 20."""
BESIDE = 0.5
"""The same in blocks that begin half a block further, after JPEG: 0.54 and more."""
KEPT = 94.0
"""Percentile of the blocks, by their strongest such frequency, that count for the mean: what was drawn fills others."""
TISSUE = 0.12
"""Part of the brightest blocks above which is tissue: air may be set to zero for other reasons."""


def in_blocks(signal: NDArray[np.float64]) -> bool:
    """Whether steps every eight rows or columns, wherever the first of them lies, are greater than those between, or
    blocks from the corner of the image on, or from where such steps are, hold few of the middle frequencies."""
    (rows, first_row), (columns, first_column) = _excess(signal.T), _excess(signal)
    return max(rows, columns) > BLOCKY or any(
        _few_frequencies(signal[row:, column:]) for row, column in {(0, 0), (first_row, first_column)}
    )


def _few_frequencies(signal: NDArray[np.float64]) -> bool:
    """Not so in blocks that begin in the middle of these: what is smooth anyhow is so in both."""
    here = sparseness(signal)
    half = BLOCK_PX // 2
    return here < SPARSE and here < BESIDE * sparseness(signal[half:, half:])


def sparseness(signal: NDArray[np.float64]) -> float:
    """Median over mean of the middle frequencies of the blocks with tissue; 1 where there are next to none."""
    rows, columns = (length // BLOCK_PX for length in signal.shape)
    if min(rows, columns) < BLOCK_PX:
        return 1.0
    cut = signal[: rows * BLOCK_PX, : columns * BLOCK_PX].reshape(rows, BLOCK_PX, columns, BLOCK_PX).swapaxes(1, 2)
    means = cut.mean(axis=(2, 3))
    waves = np.add.outer(np.arange(BLOCK_PX), np.arange(BLOCK_PX))
    tissue = cut[means > TISSUE * float(np.percentile(means, 99))]
    found = np.abs(scipy.fft.dctn(tissue, axes=(1, 2), norm="ortho")[:, np.isin(waves, MIDDLE)])
    if not found.any():
        return 1.0
    strength = found.max(axis=1)
    return float(np.median(found) / np.mean(found[strength <= np.percentile(strength, KEPT)]))


def _excess(signal: NDArray[np.float64]) -> tuple[float, int]:
    """Over the mean step between columns; of the eight places for an edge the one that stands out, over the next, and
    the first column of a block there."""
    steps = np.abs(np.diff(signal, axis=1))
    usual = float(steps.mean())
    if signal.shape[1] < 4 * BLOCK_PX or usual == 0:
        return 0.0, 0
    beyond = (steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2).mean(axis=0) / usual
    # A line that was drawn is no grid: the median passes over it.
    places = np.array([float(np.median(beyond[first::BLOCK_PX])) for first in range(BLOCK_PX)])
    next_to_highest, highest = np.sort(places)[-2:]
    # The steps begin with the one from the second to the third column.
    return float(highest - next_to_highest), (int(np.argmax(places)) + 2) % BLOCK_PX
