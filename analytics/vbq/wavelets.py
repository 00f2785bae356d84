"""The wavelets that a strong JPEG 2000 leaves, where nothing in the headers tells of a lossy compression any more."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

TRANSFORMS = (
    ((-1.586134342, -0.052980118, 0.882911076, 0.443506852), 1.230174105, (1, 2)),
    ((-0.5, 0.25), 1.0, (2,)),
)
"""The two of JPEG 2000, 9/7 and 5/3 (ISO/IEC 15444-1, annex F): their lifting steps, the gain of the low band, and the
levels that are looked at. The first of 5/3 has no details either where an image was enlarged linearly."""
SPARSE = 0.12
"""Median over mean of the details of the first or second level in tissue: compression sets most of them to zero. As
stored 0.39 and more on 450 slices, smoothed by 1.5 pixels or enlarged up to four times 0.27 and more. After JPEG 2000
of 12 bits at 5:1 to 100:1 0.01–0.05 in one of the two; scores of four series moved by up to 6 % at 8:1 to 15:1, and by
up to 10 % at 25:1 and 60:1."""
BESIDE = 0.5
"""What is smooth anyhow is so wherever the wavelets begin: a drawing, an image without noise. After JPEG 2000 it is at
least 0.19 in the first and 0.33 in the second level, one pixel beside."""
PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Rows and columns by which the wavelets may begin further: an image that was cut since has them elsewhere. The first
level of the 9/7 after JPEG 2000 of 6:1 to 100:1 and a cut 0.03–0.09 at the sparsest of the four (0.27 and more at the
least sparse); as stored 0.41 and more at the sparsest on 170 slices."""
KEPT = 98.0
"""Percentile up to which details count for the mean: a line that was drawn has few, but large ones."""
TISSUE = 0.12
"""Part of the brightest signals above which is tissue: air may be set to zero for other reasons."""
PERCENTILE = 99.0
SMALLEST_PX = 16
FEWEST = 256
"""Coefficients from which their shares say something."""


def in_wavelets(signal: NDArray[np.float64]) -> bool:
    """Whether the fine detail in tissue is next to nothing but for a few coefficients, and not so a pixel further."""
    if min(signal.shape) < SMALLEST_PX:
        return False
    here = [sparseness(sizes) for sizes in _details(signal)]
    if min(here, default=1.0) >= SPARSE:
        return _cut_since(signal)
    beside = [sparseness(sizes) for sizes in _details(signal[1:, 1:])]
    found = any(one < SPARSE and one < BESIDE * other for one, other in zip(here, beside, strict=False))
    return found or _cut_since(signal)


def _cut_since(signal: NDArray[np.float64]) -> bool:
    """The same by the finest wavelets, wherever they begin."""
    lifting, gain, _ = TRANSFORMS[0]
    sizes = [_sizes(*_transformed(signal[row:, column:], lifting, gain)) for row, column in PLACES]
    found = [sparseness(one) for one in sizes if one.size >= FEWEST]
    return bool(found) and min(found) < min(SPARSE, BESIDE * max(found))


def sparseness(sizes: NDArray[np.float64]) -> float:
    """Median over mean of the details, without the greatest."""
    kept = sizes[sizes <= np.percentile(sizes, KEPT)]
    return float(np.median(sizes) / np.mean(kept)) if kept.any() else 1.0


def _details(signal: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Sizes of the details where there is tissue, by transform and level; none of what has too few."""
    for lifting, gain, levels in TRANSFORMS:
        low = signal
        for level in range(1, max(levels) + 1):
            low, details = _transformed(low, lifting, gain)
            sizes = _sizes(low, details)
            if level in levels and sizes.size >= FEWEST:
                yield sizes


def _sizes(low: NDArray[np.float64], details: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Of the details where there is tissue."""
    tissue = low > TISSUE * float(np.percentile(low, PERCENTILE))
    return np.concatenate([np.abs(one)[tissue[: one.shape[0], : one.shape[1]]] for one in details])


def _transformed(
    signal: NDArray[np.float64], lifting: Sequence[float], gain: float
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """The low band, and the three of details."""
    low, high = _down_the_rows(signal, lifting, gain)
    (low_low, low_high), (high_low, high_high) = (
        tuple(band.T for band in _down_the_rows(half.T, lifting, gain)) for half in (low, high)
    )
    return low_low, [low_high, high_low, high_high]


def _down_the_rows(
    signal: NDArray[np.float64], lifting: Sequence[float], gain: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high band; at its ends the signal is mirrored."""
    even, odd = signal[::2].astype(float), signal[1::2].astype(float)
    for number, step in enumerate(lifting):
        if number % 2 == 0:
            after = even[1:] if len(even) > len(odd) else np.concatenate([even[1:], even[-1:]])
            odd += step * (even[: len(odd)] + after)
        else:
            before = np.concatenate([odd[:1], odd[: len(even) - 1]])
            after = odd if len(odd) == len(even) else np.concatenate([odd, odd[-1:]])
            even += step * (before + after)
    return even / gain, odd * gain / 2
