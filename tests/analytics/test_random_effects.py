"""Random effects against what R metafor prints for its data set dat.bcg (README of wviechtb/metafor; Colditz 1994)."""

import numpy as np
import pytest

from analytics.methods.random_effects import RandomEffects, random_effects
from analytics.reasons import Reason

BCG = np.array([
    [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
    [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232], [17, 1699, 65, 1600],
    [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
], dtype=float)  # fmt: skip
"""Ill and well of the vaccinated, ill and well of the others."""


def risk_ratios() -> tuple[list[float], list[float]]:
    a, b, c, d = BCG.T
    effects = np.log(a / (a + b)) - np.log(c / (c + d))
    return effects.tolist(), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)).tolist()


def found(effects: list[float], errors: list[float]) -> RandomEffects:
    result = random_effects(effects, errors)
    assert isinstance(result, RandomEffects)
    return result


def test_reml_with_hartung_and_knapp_is_metafors() -> None:
    result = found(*risk_ratios())
    assert (result.tau2, result.q) == pytest.approx((0.3132, 152.2330), abs=5e-5)
    assert result.i2 == pytest.approx(0.9222, abs=5e-5)
    assert (result.b, result.se, result.t) == pytest.approx((-0.7145, 0.1808, -3.9522), abs=5e-5)
    assert (result.ci_low, result.ci_high, result.p) == pytest.approx((-1.1084, -0.3206, 0.0019), abs=5e-5)
    ends = np.exp([result.prediction_low or 0, result.prediction_high or 0])
    assert ends.tolist() == pytest.approx([0.14, 1.76], abs=5e-3)
    assert sum(result.weights) == pytest.approx(1)


def test_sites_that_agree_have_no_variance_between_them_and_no_narrower_interval_than_without_the_factor() -> None:
    result = found([0.02, 0.02, 0.02], [0.01, 0.01, 0.01])
    assert (result.tau2, result.i2, result.q) == (0, 0, 0)
    assert result.se == pytest.approx(0.01 / 3**0.5)


def test_two_sites_say_nothing_of_a_third() -> None:
    result = found([0.1, 0.3], [0.05, 0.05])
    assert result.prediction_low is None
    # Equal variances: REML is the moment estimator, var(y) − v = 0.02 − 0.0025.
    assert result.tau2 == pytest.approx(0.0175)


def test_one_site_is_refused() -> None:
    assert random_effects([0.1], [0.05]) == Reason("pool-too-few-sites", {"sites": 1, "needed": 2})


def test_what_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="standard error above 0"):
        random_effects([0.1, 0.2], [0.05, 0.0])
