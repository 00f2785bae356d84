"""Table 1 against R 4.2.2 (../shared/data/statistics), the paper's printed table, and counts worked by hand."""

import json
from math import comb, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analytics.methods.plain import in_words
from analytics.methods.rows import Refusal
from analytics.methods.two_groups import chi_squared, compare_ranks, odds_ratio, summary
from analytics.paper.tables import BinaryLine, ContinuousLine, TableOne, median_cut, table_one

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
needs_statistics = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")

PAPER_P = {
    "hypertension": 0.570, "diabetes": 0.005, "calcium": 0.907, "sex_male": 0.006, "smoking": 0.004,
}  # fmt: skip
"""As printed; the paper's χ² with Yates' correction."""

PAPER_MEANS = {
    "age": (68.63, 7.95, 59.69, 6.25), "bmi": (20.42, 0.82, 20.51, 0.91),
    "nlr": (3.64, 1.55, 2.31, 1.30), "plr": (244.28, 37.52, 212.44, 39.67),
}  # fmt: skip


@pytest.fixture(scope="module")
def expected() -> dict:
    return json.loads((STATISTICS / "expected" / "table1_cohort200.json").read_text())


def compared(cohort: pd.DataFrame, cut: float = 2.90) -> TableOne:
    found = table_one(cohort, cut=cut)
    assert isinstance(found, TableOne), found
    return found


def continuous(cohort: pd.DataFrame, name: str) -> ContinuousLine:
    return next(line for line in compared(cohort).continuous if line.variable == name)


def binary(cohort: pd.DataFrame, name: str) -> BinaryLine:
    return next(line for line in compared(cohort).binary if line.variable == name)


@needs_statistics
@pytest.mark.parametrize("name", ["age", "bmi", "nlr", "plr"])
def test_continuous_lines_are_those_of_r(cohort: pd.DataFrame, expected: dict, name: str) -> None:
    r, line = expected["continuous"][name], continuous(cohort, name)
    for mine, theirs in ((line.high, r["hi"]), (line.low, r["lo"])):
        for key in ("n", "mean", "sd", "median", "q1", "q3"):
            assert getattr(mine, key) == pytest.approx(theirs[key], rel=1e-9)
        assert mine.shapiro_p == pytest.approx(theirs["shapiro_p"], rel=1e-5)
    means = line.means
    assert (means.difference, means.smd, means.cohen_d) == pytest.approx((r["diff"], r["smd"], r["cohen_d"]), rel=1e-9)
    for mine, ci, theirs in ((means.student, means.student_ci, r["t"]), (means.welch, means.welch_ci, r["welch"])):
        assert (mine.statistic, mine.df, mine.p) == pytest.approx((theirs["t"], theirs["df"], theirs["p"]), rel=1e-7)
        assert ci == pytest.approx(theirs["ci"], rel=1e-7)
    assert means.welch_ci_normal == pytest.approx(r["welch"]["ci_z"], rel=1e-7)


@needs_statistics
@pytest.mark.parametrize("name", ["age", "bmi", "nlr", "plr"])
def test_ranks_and_variances_are_those_of_r(cohort: pd.DataFrame, expected: dict, name: str) -> None:
    r, line = expected["continuous"][name], continuous(cohort, name)
    ranks, theirs = line.ranks, r["mwu"]
    assert ranks.w == theirs["W"]
    assert (ranks.p, ranks.p_uncorrected) == pytest.approx((theirs["p_corrected"], theirs["p_uncorrected"]), rel=1e-7)
    # R finds the shift by bisection to 1e-4.
    assert ranks.shift == pytest.approx(theirs["hodges_lehmann"], abs=1e-4)
    assert ranks.shift_ci == pytest.approx(theirs["hl_ci"], abs=1e-4)
    for mine, test in ((line.levene, r["levene_mean"]), (line.brown_forsythe, r["brown_forsythe"])):
        assert mine is not None
        assert (mine.statistic, mine.p) == pytest.approx((test["F"], test["p"]), rel=1e-7)


@needs_statistics
@pytest.mark.parametrize("name", PAPER_P)
def test_binary_lines_are_those_of_r(cohort: pd.DataFrame, expected: dict, name: str) -> None:
    r, line = expected["categorical"][name], binary(cohort, name)
    counts = {"hi_yes": line.high_yes, "hi_no": line.high_no, "lo_yes": line.low_yes, "lo_no": line.low_no}
    assert counts == r["table"]
    assert line.smallest_expected == pytest.approx(r["min_expected"], rel=1e-12)
    assert (line.chi2.statistic, line.chi2.p) == pytest.approx((r["chi2"], r["p"]), rel=1e-7)
    assert (line.chi2_yates.statistic, line.chi2_yates.p) == pytest.approx((r["chi2_yates"], r["p_yates"]), rel=1e-7)
    assert line.fisher_p == pytest.approx(r["fisher_p"], rel=1e-7)
    assert line.odds_ratio == pytest.approx(r["OR"], rel=1e-9)
    assert line.odds_ratio_ci == pytest.approx(r["OR_wald"], rel=1e-7)
    assert line.conditional_odds_ratio == pytest.approx(r["fisher_or_cmle"], rel=2e-4)
    assert line.conditional_odds_ratio_ci == pytest.approx(r["fisher_ci"], rel=2e-4)


@needs_statistics
def test_the_classes_are_those_of_r(cohort: pd.DataFrame, expected: dict) -> None:
    r = expected["diagnosis"]
    (line,) = compared(cohort).classes
    assert line.counts == {"LDH": (41, 44), "LS": (18, 27), "LSS": (40, 30)}
    assert (line.chi2.statistic, line.chi2.df, line.chi2.p) == pytest.approx((r["chi2"], r["df"], r["p"]), rel=1e-7)
    assert line.fisher_p == pytest.approx(r["fisher_p"], abs=1e-4)
    assert (line.used, line.p) == ("chi2", line.chi2.p)


@needs_statistics
def test_the_paper_s_table_is_met_to_its_digits(cohort: pd.DataFrame) -> None:
    cut = median_cut(cohort)
    assert cut == 2.90
    found = compared(cohort)
    assert (found.high, found.low, found.left_out, found.omitted) == (99, 101, {}, {})
    for line in found.binary:
        assert line.used == "chi2_yates"
        assert round(line.p, 3) == PAPER_P[line.variable]
    for line in found.continuous:
        # The synthetic cohort meets the means of PLR to 0.02 only.
        printed = (line.high.mean, line.high.sd, line.low.mean, line.low.sd)
        assert printed == pytest.approx(PAPER_MEANS[line.variable], abs=0.025)
    used = {line.variable: line.used for line in found.continuous}
    # By Shapiro–Wilk the low group's ages and both groups' NLR are not normal (p < 0.005).
    assert used == {"age": "mann_whitney", "bmi": "student", "nlr": "mann_whitney", "plr": "student"}
    diabetes = next(line for line in found.binary if line.variable == "diabetes")
    assert diabetes.odds_ratio_ci is not None
    assert (round(diabetes.odds_ratio or 0, 2), *(round(end, 2) for end in diabetes.odds_ratio_ci)) == (
        2.35,
        1.33,
        4.14,
    )


def test_small_counts_are_left_to_fisher() -> None:
    """7 of 8 smoke against 3 of 12: with these margins (8, 12; 10, 10) the first count can be 0 to 8."""
    weights = {a: comb(8, a) * comb(12, 10 - a) for a in range(9)}
    p = sum(w for w in weights.values() if w <= weights[7]) / sum(weights.values())
    frame = groups(20, smoking=[1] * 7 + [0] + [1] * 3 + [0] * 9, high=8)
    line = binary(frame, "smoking")
    assert (line.used, line.smallest_expected) == ("fisher", 4.0)
    assert line.p == pytest.approx(p, rel=1e-12)


def test_yates_takes_no_more_than_the_difference() -> None:
    """By hand: a table equal to its expectation has χ² 0, not 4 · 0.5²/10."""
    even = np.array([[10.0, 10], [10, 10]])
    assert chi_squared(even, yates=True).statistic == 0
    assert chi_squared(even, yates=True).p == 1
    # 12/8 against 8/12: expected 10, |2| − 0.5 = 1.5, χ² = 4 · 1.5²/10 = 0.9; uncorrected 4 · 4/10 = 1.6.
    table = np.array([[12.0, 8], [8, 12]])
    assert chi_squared(table, yates=True).statistic == pytest.approx(0.9)
    assert chi_squared(table).statistic == pytest.approx(1.6)
    # ln 2.25 = 0.810930, SE √(2/12 + 2/8) = 0.645497, times 1.959964 is 1.265151.
    assert odds_ratio(table) == (pytest.approx(2.25), pytest.approx((0.63494, 7.97316), rel=1e-5))
    assert odds_ratio(np.array([[0.0, 8], [8, 12]])) is None


def test_the_shift_is_the_median_of_all_differences() -> None:
    """1, 4, 9 less 2, 3: −2, −1, 1, 2, 6, 7: the median is 1.5."""
    assert compare_ranks(np.array([1.0, 4, 9]), np.array([2.0, 3])).shift == pytest.approx(1.5, abs=1e-12)
    rng = np.random.default_rng(3)
    first, second = rng.normal(1, 1, 57), rng.normal(0, 2, 40)
    everything = np.subtract.outer(first, second)
    # Cliff's delta by its definition: shares of pairs in which the first is larger, less smaller.
    assert compare_ranks(first, second).delta == pytest.approx(float(np.sign(everything).mean()), abs=1e-12)
    assert compare_ranks(first, second).shift == pytest.approx(float(np.median(everything)), abs=1e-12)


def test_quartiles_are_of_type_7() -> None:
    """R: quantile(c(1, 2, 4, 8), c(.25, .75)) is 1.75 and 5."""
    one = summary(np.array([8.0, 1, 4, 2]))
    assert (one.q1, one.median, one.q3) == (1.75, 3.0, 5.0)


def groups(n: int, *, high: int, smoking: list[int]) -> pd.DataFrame:
    """A small cohort, its first ``high`` patients above 2.90, in which only smoking is of interest."""
    steps = np.arange(n, dtype=float)
    return pd.DataFrame(
        {
            "id": [f"T{i}" for i in range(n)], "vbq": [3.2] * high + [2.6] * (n - high), "age": 60 + steps % 7,
            "bmi": 20 + steps % 5, "nlr": 2 + steps % 3, "plr": 200 + steps, "hypertension": steps % 2,
            "diabetes": 0, "calcium": np.where(steps % 4 == 0, nan, steps % 2), "sex_male": steps % 2,
            "smoking": smoking, "diagnosis": None,
        }
    )  # fmt: skip


def test_what_cannot_be_compared_is_named() -> None:
    frame = groups(20, high=8, smoking=[1] * 8 + [0] * 12)
    found = compared(frame)
    assert found.left_out == {
        "diabetes": "it is the same in all patients", "diagnosis": "too few patients of a group have it",
    }  # fmt: skip
    assert {line.variable: line.missing for line in found.binary}["calcium"] == 5
    smoking = binary(frame, "smoking")
    assert (smoking.odds_ratio, smoking.odds_ratio_ci, smoking.smd) == (None, None, None)
    few = table_one(frame, cut=9.0)
    assert isinstance(few, Refusal)
    assert str(few.reason) == "insufficient: 0 patients at or above VBQ 9 and 20 below"
    with pytest.raises(ValueError, match="at or above inf"):
        table_one(frame, cut=float("inf"))


def test_a_continuous_variable_without_spread_in_either_group_has_no_line() -> None:
    frame = groups(20, high=8, smoking=[0] * 20).assign(bmi=[0.0] * 8 + [1.0] * 12, nlr=3.0)
    left_out = compared(frame).left_out
    assert (left_out["bmi"], left_out["nlr"]) == ("it is the same within each group", "it is the same in all patients")


@needs_statistics
def test_rows_without_a_score_and_repeated_ids_are_in_neither_group(cohort: pd.DataFrame) -> None:
    spoilt = pd.concat([cohort, cohort.head(1).assign(vbq=9.9)], ignore_index=True)
    spoilt.loc[5, "vbq"] = nan
    found = compared(spoilt)
    assert (found.n_rows, found.high + found.low) == (201, 199)
    assert in_words(found.omitted) == {"no finite value of vbq": 1, "repeated id": 1}


def test_a_large_cohort_has_the_exact_tests_but_not_shapiro_s() -> None:
    rng = np.random.default_rng(5)
    frame = groups(12000, high=6000, smoking=rng.integers(0, 2, 12000).tolist())
    line = binary(frame, "smoking")
    table = np.array([[line.high_yes, line.high_no], [line.low_yes, line.low_no]])
    assert line.fisher_p == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9)
    # At 12,000 the exact interval and Wald's are nearly the same.
    assert line.conditional_odds_ratio_ci == pytest.approx(line.odds_ratio_ci, rel=5e-3)
    assert line.used == "chi2_yates"
    ages = continuous(frame, "age")
    assert (ages.high.shapiro_p, ages.low.shapiro_p) == (None, None)
    assert ages.used in ("student", "welch")


@needs_statistics
def test_everything_can_be_stored(cohort: pd.DataFrame) -> None:
    assert json.loads(json.dumps(compared(cohort).to_json_dict(), allow_nan=False))["high"] == 99
