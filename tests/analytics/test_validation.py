"""Validation of the model: the leave-one-out error of R, and bootstrap fits against ordinary ones on the same rows."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analytics.methods.linear import fit_linear
from analytics.methods.rows import Refusal
from analytics.paper.validation import Validation, columns_of, fit_counted, paper_engine, validate

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
pytestmark = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")


@pytest.fixture(scope="module")
def found(cohort: pd.DataFrame) -> Validation:
    validation = validate(cohort, seed=7)
    assert isinstance(validation, Validation)
    return validation


def test_leaving_one_out_and_influence_are_those_of_r(found: Validation, cohort: pd.DataFrame) -> None:
    r = json.loads((STATISTICS / "expected" / "ols_cohort200.json").read_text())
    assert found.loo_rmse == pytest.approx(r["loocv_rmse"], rel=1e-9)
    assert found.breusch_pagan_p == pytest.approx(r["breusch_pagan_koenker"]["p"], rel=1e-7)
    assert found.influential[0].cook == pytest.approx(r["max_cook"], rel=1e-9)
    assert found.influential[0].id == cohort["id"][r["which_max_cook"] - 1]
    assert found.robust_terms[-1].se == pytest.approx(r["hc"]["HC3"]["plr"]["se"], rel=1e-7)


def test_every_bootstrap_fit_is_the_ordinary_one_on_the_drawn_rows(cohort: pd.DataFrame) -> None:
    fit, _ = paper_engine(cohort)
    rows = np.random.default_rng(1).integers(0, 200, (20, 200))
    b, flattery = fit_counted(columns_of(fit), np.array([np.bincount(row, minlength=200) for row in rows]))
    for row, mine, gain in zip(rows, b, flattery, strict=True):
        plain = fit_linear(fit.outcome[row], fit.design[row], fit.names)
        np.testing.assert_allclose(mine, plain.b, rtol=1e-8, atol=1e-10)
        away = fit.outcome - fit.outcome.mean()
        on_all = 1 - np.sum((fit.outcome - fit.design @ plain.b) ** 2) / np.sum(away**2)
        assert gain == pytest.approx(plain.r2 - on_all, abs=1e-10)


def test_bootstrap_intervals_are_near_the_robust_ones(found: Validation) -> None:
    """Percentile and HC3 intervals estimate the same; with 2,000 samples they agree to a fifth of their width."""
    for interval, robust in zip(found.intervals, found.robust_terms, strict=True):
        width = robust.ci_high - robust.ci_low
        assert (interval.ci_low, interval.ci_high) == pytest.approx((robust.ci_low, robust.ci_high), abs=width / 5)
    # By theory the optimism of R² is near 2p(1 − R²)/n = 2 · 7 · 0.46/200 = 0.032.
    assert found.optimism == pytest.approx(0.032, abs=0.008)


def test_a_sample_without_a_smoker_has_no_fit_and_is_counted(cohort: pd.DataFrame) -> None:
    fit, _ = paper_engine(cohort)
    counts = np.ones((2, 200), dtype=np.int64)
    counts[1, cohort["smoking"] == 1] = 0
    counts[1, np.flatnonzero(cohort["smoking"] == 0)[0]] += 106
    b, flattery = fit_counted(columns_of(fit), counts)
    assert (len(b), len(flattery)) == (1, 1)
    np.testing.assert_allclose(b[0], fit.b, rtol=1e-9)
    assert flattery[0] == pytest.approx(0, abs=1e-12)


def test_the_seed_decides_and_too_small_a_cohort_is_refused(found: Validation, cohort: pd.DataFrame) -> None:
    assert validate(cohort, seed=7) == found
    assert validate(cohort, seed=8) != found
    assert isinstance(validate(cohort.head(50), seed=7), Refusal)
    assert json.loads(json.dumps(found.to_json_dict(), allow_nan=False))["n"] == 200
