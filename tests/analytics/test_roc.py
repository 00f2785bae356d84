"""ROC curves against R 4.2.2 ``pROC`` (../shared/data/statistics) and against tables counted by hand."""

import json
from math import inf, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analytics.methods.plain import in_words
from analytics.methods.roc import (
    MULTINOMIAL_FROM,
    Roc,
    _Curve,
    _drawn,
    area_under_curve,
    characteristics,
    compare_areas,
    roc,
    share,
)
from analytics.methods.rows import Refusal

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
needs_statistics = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")

HAND_MARKER = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
HAND_OUTCOME = [0] * 10 + [1] * 10
"""Negatives 1…10, positives 6…15. Pairs won by the positive: 5+6+7+8+9 + 5·10 = 85, ties 5: AUC 0.875. Youden is 0.5
at every cut from 5.5 (sensitivity 1, specificity 0.5) to 10.5 (0.5, 1)."""


@pytest.fixture(scope="module")
def expected() -> dict:
    return json.loads((STATISTICS / "expected" / "roc_cohort200.json").read_text())


def judged(*args, **settings) -> Roc:
    found = roc(*args, **{"seed": 20240506, **settings})
    assert isinstance(found, Roc), found
    return found


@needs_statistics
@pytest.mark.parametrize("name", ["nlr", "plr", "age"])
def test_the_curve_is_that_of_r(cohort: pd.DataFrame, expected: dict, name: str) -> None:
    r = expected[name]
    found = judged(cohort[name], cohort["vbq"] >= 2.90)
    assert (found.n, found.positive, found.n_best) == (r["n"], r["pos"], r["n_best"])
    assert (found.auc, found.auc_variance) == pytest.approx((r["auc"], r["auc_var_delong"]), rel=1e-9)
    assert (found.auc_ci_low, found.auc_ci_high) == pytest.approx(r["auc_delong_ci"], rel=1e-9)
    best, cut = r["youden"], found.youden
    assert cut.cut == pytest.approx(best["threshold"], rel=1e-12)
    counts = (cut.true_positive, cut.false_positive, cut.true_negative, cut.false_negative)
    assert counts == (best["tp"], best["fp"], best["tn"], best["fn"])
    for share_name in ("sensitivity", "specificity", "ppv", "npv"):
        assert getattr(cut, share_name).value == pytest.approx(best[share_name], rel=1e-12)
    assert cut.youden == pytest.approx(best["youden"] - 1, rel=1e-12)  # pROC does not subtract 1
    corner = r["closest_topleft"]
    assert found.closest_topleft.cut == pytest.approx(corner["threshold"], rel=1e-12)
    assert found.closest_topleft.sensitivity.value == pytest.approx(corner["sensitivity"], rel=1e-12)


@needs_statistics
@pytest.mark.parametrize("name", ["nlr", "plr", "age"])
def test_bootstrap_intervals_are_those_of_r_within_simulation_error(
    cohort: pd.DataFrame, expected: dict, name: str
) -> None:
    r = expected[name]
    found = judged(cohort[name], cohort["vbq"] >= 2.90)
    assert found.auc_bootstrap == pytest.approx(r["auc_boot_ci"], abs=0.01)
    assert found.cut_interval == pytest.approx(r["boot"]["threshold"], rel=0.04)
    assert found.sensitivity_interval == pytest.approx(r["boot"]["sensitivity"], abs=0.035)
    assert found.specificity_interval == pytest.approx(r["boot"]["specificity"], abs=0.035)


@needs_statistics
@pytest.mark.parametrize("name", ["nlr", "plr"])
def test_optimism_is_that_of_r_within_simulation_error(cohort: pd.DataFrame, expected: dict, name: str) -> None:
    r = expected["youden_optimism"][name]
    found = judged(cohort[name], cohort["vbq"] >= 2.90, bootstraps=20000)
    # R: 2,000 samples, standard error 0.0014.
    assert found.optimism == pytest.approx(r["optimism"], abs=3 * r["se"])
    assert found.youden_corrected == pytest.approx(r["J_corrected"], abs=3 * r["se"])
    assert found.optimism_se == pytest.approx(r["se"] / 10**0.5, rel=0.1)


@needs_statistics
def test_two_markers_are_compared_as_in_r(cohort: pd.DataFrame, expected: dict) -> None:
    found = compare_areas(cohort["nlr"], cohort["plr"], cohort["vbq"] >= 2.90)
    assert not isinstance(found, Refusal)
    r = expected["nlr_vs_plr_delong"]
    assert (found.z, found.p) == pytest.approx((r["z"], r["p"]), rel=1e-9)
    same = compare_areas(cohort["nlr"], cohort["nlr"] * 2, cohort["vbq"] >= 2.90)
    assert not isinstance(same, Refusal)
    assert (same.difference, same.z, same.p) == (0.0, None, None)


def test_a_curve_counted_by_hand() -> None:
    found = judged(HAND_MARKER, HAND_OUTCOME)
    assert (found.auc, found.prevalence) == (0.875, 0.5)
    assert (found.youden.cut, found.youden.youden, found.n_best) == (5.5, 0.5, 6)
    assert (found.youden.sensitivity.value, found.youden.specificity.value) == (1.0, 0.5)
    assert (found.youden.ppv.value, found.youden.ppv.n) == (pytest.approx(10 / 15), 15)
    # Distance to the corner: 0.5² at both ends, (k/10)² + ((5−k)/10)² between; least at k = 2 and 3 (0.13), the lower.
    assert found.closest_topleft.cut == 7.5
    assert found.circular is None


def test_a_given_cut_counts_who_is_at_it() -> None:
    at = characteristics(HAND_MARKER, HAND_OUTCOME, 8)
    assert (at.true_positive, at.false_positive, at.true_negative, at.false_negative) == (8, 3, 7, 2)
    assert at.youden == pytest.approx(0.8 + 0.7 - 1)
    nobody = characteristics(HAND_MARKER, HAND_OUTCOME, 99)
    assert (nobody.ppv.value, nobody.ppv.ci_low, nobody.npv.value) == (None, None, 0.5)


def test_wilson_intervals_are_those_of_the_textbook() -> None:
    """Newcombe 1998, Stat Med 17:857, table I: 81/263 and 15/148 and 0/20 and 1/29, method 3."""
    for part, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611),
                               (1, 29, 0.0061, 0.1718)):  # fmt: skip
        found = share(part, n)
        assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=5e-5)


def test_the_same_seed_gives_the_same_numbers_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    marker, outcome = rng.normal(size=300), rng.integers(0, 2, 300)
    shuffled = rng.permutation(300)
    assert judged(marker, outcome) == judged(marker[shuffled], outcome[shuffled])
    assert judged(marker, outcome).cut_interval != judged(marker, outcome, seed=2).cut_interval


def test_a_marker_without_worth_has_an_optimistic_index() -> None:
    rng = np.random.default_rng(7)
    found = judged(rng.normal(size=200), np.arange(200) % 2)
    assert 0.4 < found.auc < 0.6
    assert found.youden.youden > 0.05
    assert found.youden_corrected < found.youden.youden / 2


def test_perfect_separation_has_no_spread() -> None:
    found = judged([*range(10), *range(20, 30)], [0] * 10 + [1] * 10)
    assert (found.auc, found.auc_ci_low, found.auc_ci_high, found.youden.cut) == (1.0, 1.0, 1.0, 14.5)
    assert found.optimism >= 0


def test_incomplete_pairs_are_left_out_and_small_groups_refused() -> None:
    found = judged([*HAND_MARKER, nan, 4, inf], [*HAND_OUTCOME, 1, nan, 0], circular="the outcome is VBQ itself")
    assert (found.n, found.auc, found.circular) == (20, 0.875, "the outcome is VBQ itself")
    few = roc([*HAND_MARKER[:19], nan], HAND_OUTCOME, seed=1)
    assert isinstance(few, Refusal)
    assert str(few.reason) == "insufficient: 9 with and 10 without the outcome, 10 of each are needed"
    assert in_words(few.omitted) == {"no finite pair of marker and outcome": 1}
    flat = roc([1.0] * 20, HAND_OUTCOME, seed=1)
    assert isinstance(flat, Refusal)
    assert str(flat.reason) == "the marker is the same in all patients"
    with pytest.raises(ValueError, match="not pairs"):
        roc([1, 2], [1], seed=1)
    with pytest.raises(ValueError, match="not pairs"):
        compare_areas([1, 2], [1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="1 \\(positive\\) or 0"):
        roc([1, 2], [1, 2], seed=1)


@pytest.mark.parametrize("decimals", [1, 3])
def test_every_bootstrap_sample_is_judged_as_its_own_patients_are(decimals: int) -> None:
    """The plain way: the patients of a sample one by one, and every cut between two of their values tried."""
    rng = np.random.default_rng(11)
    marker = rng.normal(2, 0.4, 120).round(decimals)
    positive = marker + rng.normal(0, 0.5, 120) > 2
    curve = _Curve(marker, positive)
    counts = [_drawn(rng, held, 60) for held in (curve.with_outcome, curve.without)]
    assert [set(one.sum(axis=1)) for one in counts] == [{int(positive.sum())}, {int((~positive).sum())}]
    found = curve._chosen(*counts)
    for sample in range(60):
        yes, no = (np.repeat(curve.values, one[sample]) for one in counts)
        values = np.unique(np.concatenate([yes, no]))
        cuts = (values[:-1] + values[1:]) / 2
        index = [np.mean(yes >= cut) + np.mean(no < cut) - 1 for cut in cuts]
        best = float(cuts[next(i for i, one in enumerate(index) if one > max(index) - 1e-12)])
        worth = np.mean(marker[positive] >= best) + np.mean(marker[~positive] < best) - 1
        mine = {name: float(values[sample]) for name, values in found.items()}
        assert mine == pytest.approx(
            {
                "area": stats.mannwhitneyu(yes, no).statistic / (len(yes) * len(no)), "cut": best,
                "sensitivity": np.mean(yes >= best), "specificity": np.mean(no < best), "own_youden": max(index),
                "original_youden": worth,
            },
            abs=1e-12,
        )  # fmt: skip


@pytest.mark.parametrize("values", [30, 3])
def test_samples_are_drawn_with_the_right_chances(values: int) -> None:
    """Both ways of drawing, few values for the patients and many: mean and variance of each count over 20,000 samples
    against those of the multinomial distribution, within five standard errors."""
    held = np.arange(1, values + 1)
    drawn = _drawn(np.random.default_rng(2), held, 20_000)
    share, people = held / held.sum(), int(held.sum())
    assert (people > MULTINOMIAL_FROM * values) == (values == 30)
    variance = people * share * (1 - share)
    assert np.all(np.abs(drawn.mean(axis=0) - people * share) < 5 * np.sqrt(variance / 20_000))
    assert drawn.var(axis=0) == pytest.approx(variance, rel=0.1)


def test_ties_count_half() -> None:
    """Positives 2 and 3, negatives 1 and 2: three pairs won, one tied, of four."""
    assert area_under_curve(np.array([1.0, 2, 2, 3]), np.array([False, True, False, True])) == 3.5 / 4
