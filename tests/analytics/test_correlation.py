"""Spearman's correlation against R 4.2.2 (../shared/data/statistics/expected/spearman_cohort200.json)."""

import json
from math import nan
from pathlib import Path

import pandas as pd
import pytest

from analytics.methods.correlation import spearman

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"


@pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")
@pytest.mark.parametrize("name", ["age", "nlr", "plr", "bmi"])
def test_rho_p_and_interval_are_those_of_r(name: str) -> None:
    cohort = pd.read_csv(STATISTICS / "inputs" / "cohort200.csv")
    r = json.loads((STATISTICS / "expected" / "spearman_cohort200.json").read_text())["spearman"][name]
    found = spearman(cohort[name].to_numpy(), cohort["vbq"].to_numpy())
    assert found.n == r["n"]
    assert found.rho == pytest.approx(r["rho"], rel=1e-9)
    assert found.p == pytest.approx(r["p_t_approx"], rel=1e-7)
    assert [found.ci_low, found.ci_high] == pytest.approx(r["ci_bonett_wright"], rel=1e-7)


def test_incomplete_pairs_are_left_out() -> None:
    x = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, nan, 12]
    y = [2.0, 1, 4, 3, 6, 5, 8, 7, 10, 9, 99, nan]
    found = spearman(x, y)
    assert found.n == 10
    # 1 − 6 Σd² / (n (n² − 1)) = 1 − 60/990, by hand
    assert found.rho == pytest.approx(1 - 60 / 990)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_order_has_no_infinite_statistic(sign: int) -> None:
    found = spearman(range(1, 21), [sign * value**3 for value in range(1, 21)])
    assert (found.rho, found.p) == (pytest.approx(sign), 0.0)
    assert (found.ci_low, found.ci_high) == (found.rho, found.rho)


@pytest.mark.parametrize(("x", "y"), [([], []), ([1.0] * 9, list(range(9))), ([1.0] * 20, list(range(20)))])
def test_too_few_pairs_or_a_constant_have_no_correlation(x: list, y: list) -> None:
    found = spearman(x, y)
    assert (found.rho, found.p, found.ci_low, found.ci_high) == (None, None, None, None)
    assert found.n == len(x)


def test_what_are_not_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="not pairs"):
        spearman([1.0, 2], [1.0])
