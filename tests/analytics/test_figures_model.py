"""What the figures of the models draw: the points of ROC curves and of the calibration, counted by hand."""

import numpy as np
import pytest

from analytics.methods.linear import INTERCEPT, fit_linear
from analytics.pictures.model import calibration_points, roc_points


def test_a_curve_goes_through_the_points_counted_by_hand() -> None:
    """Positives 2, 3, 4, negatives 1, 2, 3; without a marker or an outcome a patient is not in it."""
    marker = np.array([1.0, 2, 3, 2, 3, 4, np.nan, 9])
    positive = np.array([0.0, 0, 0, 1, 1, 1, 1, np.nan])
    false_rate, true_rate = roc_points(marker, positive)
    assert false_rate.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
    assert true_rate.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])


def test_the_calibration_of_a_step_in_twenty_rows() -> None:
    """y = x but for ±0.5 in turn, x = 0 … 19: the line's tenths hold two rows, which differ by 1 ± 1."""
    x = np.arange(20.0)
    y = x + np.where(x % 2 == 0, 0.5, -0.5)
    predicted, observed, error = calibration_points(fit_linear(y, np.column_stack([np.ones(20), x]), (INTERCEPT, "x")))
    assert observed.tolist() == pytest.approx([0.5 + 2 * tenth for tenth in range(10)])
    # Each pair is equal (0.5 + 2t twice): x even + 0.5 and the next x − 0.5, so it has no spread.
    assert error.tolist() == pytest.approx([0.0] * 10)
    assert np.all(np.diff(predicted) > 1.9)
