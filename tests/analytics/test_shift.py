"""Other patients or scanners than the frozen ones; p values from scipy (ttest_ind, fisher_exact)."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analytics.night.shift import find_shifts


def people(n: int, *, prefix: str, age: float = 64.0, men: int | None = None, scanners: str = "AB") -> pd.DataFrame:
    """Ages at equal distances about a mean (SD 8.07 at n = 100), the first ``men`` are men, scanners in turn."""
    men = n // 2 if men is None else men
    return pd.DataFrame(
        {
            "id": [f"{prefix}{number:03d}" for number in range(n)],
            "age": age + np.linspace(-13.86, 13.86, n), "bmi": 24.0, "nlr": np.tile([2.0, 3.0], n // 2 + 1)[:n],
            "plr": 200.0, "sex_male": [1.0 if number < men else 0.0 for number in range(n)], "smoking": 0.0,
            "diabetes": np.nan, "mri_date": "", "surgery_date": "",
            "scanner_stratum": [scanners[number % len(scanners)] for number in range(n)],
        }
    )  # fmt: skip


def test_patients_like_the_frozen_ones_are_none() -> None:
    assert find_shifts(people(100, prefix="F"), people(40, prefix="N")) == ()


def test_an_older_cohort_is_said() -> None:
    (found,) = find_shifts(people(100, prefix="F"), people(40, prefix="N", age=72.0))
    assert (found.kind, found.name, found.n_before, found.n_now) == ("mean", "age", 100, 40)
    assert (found.before, found.now) == (pytest.approx(64), pytest.approx(72))
    ages = np.linspace(-13.86, 13.86, 40) + 72, np.linspace(-13.86, 13.86, 100) + 64
    assert found.p == pytest.approx(stats.ttest_ind(*ages, equal_var=False).pvalue)


def test_a_ratio_has_to_differ_by_more_than_a_season() -> None:
    """NLR of 2 and 3 in turn (mean 2.5): the margin is 3 % of it, 0.075."""
    frozen, new = people(100, prefix="F"), people(40, prefix="N")
    spread = np.tile([2.0, 3.0], 20)
    for difference in (0.5, -0.5):
        (found,) = find_shifts(frozen, new.assign(nlr=spread + difference))
        assert (found.name, found.now) == ("nlr", pytest.approx(2.5 + difference))
        beyond = spread + difference - np.sign(difference) * 0.075
        assert found.p == pytest.approx(stats.ttest_ind(beyond, frozen.nlr, equal_var=False).pvalue)
    assert stats.ttest_ind(spread + 0.4, frozen.nlr, equal_var=False).pvalue < 1e-4
    assert find_shifts(frozen, new.assign(nlr=spread + 0.4)) == ()


def test_the_share_of_a_binary_and_of_a_scanner_is_said() -> None:
    found = find_shifts(people(100, prefix="F"), people(40, prefix="N", men=0, scanners="A"))
    assert [(one.kind, one.name, one.before, one.now) for one in found] == [
        ("scanner share", "A", 0.5, 1.0),
        ("scanner share", "B", 0.5, 0.0),
        ("share", "sex_male", 0.5, 0.0),
    ]
    assert [one.p for one in found] == pytest.approx([stats.fisher_exact([[40, 0], [50, 50]]).pvalue] * 3)


def test_a_scanner_that_no_frozen_patient_had_is_said_at_once() -> None:
    new = people(40, prefix="N").assign(scanner_stratum=["A", "B"] * 19 + ["A", "C"])
    (found,) = find_shifts(people(100, prefix="F"), new)
    assert (found.kind, found.name, found.now, found.p) == ("new scanner", "C", 1 / 40, None)


def test_an_unknown_scanner_is_no_scanner() -> None:
    assert find_shifts(people(100, prefix="F").assign(scanner_stratum=""), people(40, prefix="N")) != ()
    assert find_shifts(people(100, prefix="F"), people(40, prefix="N").assign(scanner_stratum="")) == ()


def test_too_few_patients_are_not_compared() -> None:
    assert find_shifts(people(100, prefix="F"), people(19, prefix="N", age=90.0)) == ()


def test_rows_of_the_frozen_cohort_are_not_new() -> None:
    frozen = people(100, prefix="F")
    assert find_shifts(frozen, frozen.assign(age=90.0)) == ()
