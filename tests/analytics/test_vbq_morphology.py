"""Masks by shifted copies against scipy.ndimage, whose definitions they keep."""

import numpy as np
import pytest
from scipy import ndimage

from analytics.vbq.morphology import dilated, eroded, filled, opened, opened_by_square


@pytest.fixture(params=range(12))
def mask(request: pytest.FixtureRequest) -> np.ndarray:
    rng = np.random.default_rng(request.param)
    return rng.random(rng.integers(1, 40, 2)) < rng.choice([0.3, 0.6, 0.9, 0.97])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_erosion_dilation_and_opening_are_those_of_scipy(mask: np.ndarray, times: int):
    assert np.array_equal(eroded(mask, times), ndimage.binary_erosion(mask, iterations=times))
    assert np.array_equal(dilated(mask, times), ndimage.binary_dilation(mask, iterations=times))
    assert np.array_equal(opened(mask, times), ndimage.binary_opening(mask, iterations=times))


@pytest.mark.parametrize("side", [3, 7])
def test_opening_by_a_square_is_that_of_scipy(mask: np.ndarray, side: int):
    assert np.array_equal(opened_by_square(mask, side), ndimage.binary_opening(mask, np.ones((side, side))))


def test_holes_are_filled_as_scipy_fills_them(mask: np.ndarray):
    assert np.array_equal(filled(mask), ndimage.binary_fill_holes(mask))
