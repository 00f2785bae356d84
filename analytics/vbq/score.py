"""From circles on one slice to the vertebral bone quality score."""

from collections.abc import Mapping
from math import ceil, floor, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from analytics.reasons import Reason, Value
from analytics.records import CSF, LEVELS, Circle, RoiSignal, VbqScore

REGIONS = (*LEVELS, CSF)
MINIMUM_PIXELS = 2
"""A sample standard deviation needs two; a circle of one pixel is a slip."""


class ScoreError(ValueError):
    """No honest score can be had from this image and these circles; ``reason`` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


def score(image: NDArray[np.float64], rois: Mapping[str, Circle], *, spacing_mm: tuple[float, float]) -> VbqScore:
    """Vertebral bone quality from one sagittal T1-weighted slice.

    ``vbq_mean`` is the mean of the four mean marrow signals of L1–L4 over the mean signal of the CSF at L3 (the form
    of the paper that this software follows), ``vbq_median`` their median over the same (Ehresman 2020).

    Parameters
    ----------
    image
        Signal of one slice, shape (rows, columns), after the modality LUT.
    rois
        Exactly the regions ``L1``, ``L2``, ``L3``, ``L4`` and ``CSF``; 0-based native pixels. A pixel belongs to a
        circle when its centre lies within the radius (on it, too).
    spacing_mm
        Distance between rows and between columns in mm, as in DICOM's Pixel Spacing.

    Raises
    ------
    ScoreError
        A region is missing or unknown, a circle is not finite, not wholly in the image or holds fewer than two
        pixels, a signal in it is not finite, the CSF signal is not positive, or the spacing is not positive.

    References
    ----------
    Ehresman J, et al. Novel MRI-based score for assessment of bone density in operative spine patients. Spine J
    2020;20(4):556–562.

    Verification
    ------------
    Two readers' circles on five real series, computed independently of this code, agree to 4 decimals
    (tests/analytics/test_vbq_score.py).
    """
    if set(rois) != set(REGIONS):
        given = tuple(sorted(rois)) or ("none",)
        raise ScoreError(Reason("regions-wrong", {"needed": REGIONS, "given": given}))
    if image.ndim != 2:
        raise ScoreError(Reason("image-not-a-slice", {"dimensions": image.ndim}))
    if not all(isfinite(spacing) and spacing > 0 for spacing in spacing_mm):
        raise ScoreError(Reason("spacing-not-positive", {"spacing_mm": str(spacing_mm)}))
    signals = {name: roi_signal(image, name, rois[name], spacing_mm) for name in REGIONS}
    if signals[CSF].mean <= 0:
        raise ScoreError(Reason("csf-signal-not-positive", {"signal": signals[CSF].mean}))
    marrow = [signals[level].mean for level in LEVELS]
    return VbqScore(
        vbq_mean=float(np.mean(marrow)) / signals[CSF].mean,
        vbq_median=float(np.median(marrow)) / signals[CSF].mean,
        rois=signals,
    )


def segmental(score: VbqScore) -> dict[str, float]:
    """VBQ of each of L1 to L4 alone: the mean signal of its circle over that of the fluid; their mean is the score."""
    return {name: score.rois[name].mean / score.rois[CSF].mean for name in LEVELS}


def circle_mean(image: NDArray[np.float64], circle: Circle) -> float:
    """Mean signal of the pixels whose centres lie within a circle.

    Raises
    ------
    ScoreError
        The circle is not finite or not wholly in the image.
    """
    return float(image[_members(image.shape, "circle", circle)].mean())


def roi_signal(image: NDArray[np.float64], name: str, circle: Circle, spacing_mm: tuple[float, float]) -> RoiSignal:
    """What the pixels of one circle say.

    Raises
    ------
    ScoreError
        The circle is not finite, not wholly in the image, holds too few pixels or some that are no numbers.
    """
    values = image[_members(image.shape, name, circle)]
    if values.size < MINIMUM_PIXELS:
        about: dict[str, Value] = {"name": name, "pixels": int(values.size), "minimum": MINIMUM_PIXELS}
        raise ScoreError(Reason("circle-without-pixels", about))
    if not np.isfinite(values).all():
        raise ScoreError(Reason("circle-signals-not-numbers", {"name": name}))
    return RoiSignal(
        circle=circle,
        # Of a circle in pixels; where rows and columns differ in spacing, of the circle with the same area in mm².
        radius_mm=circle.radius_px * sqrt(spacing_mm[0] * spacing_mm[1]),
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)),
        pixels=int(values.size),
    )


def _members(shape: tuple[int, ...], name: str, circle: Circle) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column indices of the pixels whose centres lie within the circle."""
    row, col, radius = circle.row, circle.col, circle.radius_px
    if not all(isfinite(value) for value in (row, col, radius)) or radius <= 0:
        raise ScoreError(Reason("circle-not-finite", {"name": name}))
    for what, centre, count in (("rows", row, shape[0]), ("columns", col, shape[1])):
        if centre - radius < -0.5 or centre + radius > count - 0.5:
            raise ScoreError(Reason("circle-beyond-image", {"name": name, "count": count, "what": what}))
    rows = np.arange(max(0, ceil(row - radius)), min(shape[0] - 1, floor(row + radius)) + 1)
    cols = np.arange(max(0, ceil(col - radius)), min(shape[1] - 1, floor(col + radius)) + 1)
    inside = (rows[:, None] - row) ** 2 + (cols[None, :] - col) ** 2 <= radius**2
    found_rows, found_cols = np.nonzero(inside)
    return rows[found_rows], cols[found_cols]
