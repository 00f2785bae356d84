"""A reader's newest scores against the earlier ones: numbers of R, and who is left out."""

import pytest

from analytics.night.readers import P_LIMIT, reader_drifts

BEFORE = [
    -0.04, 0.025, -0.057, 0.138, 0.036, -0.056, 0.049, 0.069, 0.056, -0.014, 0.131, 0.041, -0.04, -0.167, 0.1, 0.006,
    0.009, 0.086, 0.076, 0.058, 0.084, 0.073, 0.016, -0.149,
]  # fmt: skip
NOW = [
    0.183, 0.136, 0.129, 0.037, 0.107, 0.169, 0.235, 0.133, 0.167, 0.136, 0.044, 0.111, 0.112, 0.136, 0.217, 0.193,
    0.128, 0.122, 0.189, 0.179,
]  # fmt: skip


def test_a_step_is_found_with_the_numbers_of_r() -> None:
    """R 4: ``t.test(now, before)`` gives p 2.17189075342e-07 and 0.081878815410 to 0.160254517923."""
    (found,) = reader_drifts({"ann": [*BEFORE, *NOW]})
    assert (found.n_before, found.n_now) == (24, 20)
    assert found.shift == pytest.approx(0.121066666667, rel=1e-9)
    assert (found.ci_low, found.ci_high) == pytest.approx((0.0818788154100, 0.160254517923), rel=1e-9)
    assert found.p == pytest.approx(2.17189075342e-07, rel=1e-9)
    assert found.alarm


def test_the_same_habits_are_no_alarm_and_few_readings_are_not_judged() -> None:
    (found,) = reader_drifts({"ann": BEFORE + BEFORE, "bob": NOW, "eve": [0.0] * 60})
    assert found.reader == "ann"
    assert found.p > P_LIMIT
    assert not found.alarm
