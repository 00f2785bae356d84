"""How the ratios of one patient vary, from made-up repeats whose spread is known."""

from datetime import UTC, datetime, timedelta
from math import exp, log

import numpy as np
import pytest

from analytics.counts.repeats import LEAST_PERSONS, ratio_error

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def repeats(persons: int, *, apart: int = 3) -> list[tuple[str, datetime, float, float]]:
    """Lymphocytes that err by 0.11, neutrophils by 0.14, platelets by 0.07 (ln units): ρ = 0.11²/(0.178 × 0.130)."""
    random = np.random.default_rng(1)
    found = []
    for number in range(persons):
        level = random.normal(1.0, 0.5)
        for visit in range(2):
            n, one, p = random.normal(0, [0.14, 0.11, 0.07])
            day = DAY + timedelta(days=visit * apart)
            found.append((f"P{number}", day, exp(level + n - one), exp(4.8 + p - one)))
    return found


def test_the_spread_within_patients_is_found() -> None:
    found = ratio_error(repeats(4000))
    assert found is not None
    assert (found.persons, found.sd_ln_nlr) == (4000, pytest.approx((0.14**2 + 0.11**2) ** 0.5, rel=0.05))
    assert found.sd_ln_plr == pytest.approx((0.07**2 + 0.11**2) ** 0.5, rel=0.05)
    assert found.correlation == pytest.approx(0.11**2 / (0.178 * 0.130), abs=0.05)


def test_by_hand() -> None:
    """Twenty patients whose NLR is e^0.2 times the first and whose PLR is e^−0.1 times: 1.4826 × 0.2/√2."""
    counts = [
        row
        for number in range(LEAST_PERSONS)
        for row in (
            (str(number), DAY, 2.0, 100.0),
            (str(number), DAY + timedelta(days=9), 2 * exp(0.2), 100 * exp(-0.1)),
        )
    ]
    found = ratio_error(counts)
    assert found is not None
    assert (found.sd_ln_nlr, found.sd_ln_plr) == pytest.approx((1.4826 * 0.2 / 2**0.5, 1.4826 * 0.1 / 2**0.5))
    assert found.correlation == -0.95, "opposite, as far as it goes"
    assert ratio_error([*counts[2:], ("one", DAY, 1.0, log(9))]) is None, "nineteen and a single count"


def test_counts_of_long_ago_are_no_repeats() -> None:
    assert ratio_error(repeats(100, apart=31)) is None
