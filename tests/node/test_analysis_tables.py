"""The tables of an analysis as people read them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analytics.paper.analysis import Choices, analyse
from analytics.paper.risk import RiskReport
from analytics.paper.tables import TableOne, table_one
from analytics.pictures.base import png
from analytics.pictures.risk import decision_curve, risk_calibration
from analytics.reasons import codes
from node.analysis.cells import LABELS
from node.analysis.tables import table_1, tables

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "cohort" / "data"


needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases/cohort is not here")


def test_what_the_paper_has_not_are_tables_too() -> None:
    """The numbers are those of tests/analytics/test_more_statistics.py and test_imputation.py."""
    cohort = pd.read_csv(Path(__file__).parents[1] / "analytics" / "r" / "cohort300.csv")
    cohort = cohort.assign(diagnosis=None, hypertension=0, calcium=0)
    lacking = cohort[:30].assign(bmi=np.nan)
    analysis = analyse(cohort[30:], Choices(outcome="event"), incomplete=lacking)
    found = {table.name: table for table in tables(analysis)}
    assert analysis.further_refusals() == ()
    assert "add up to 0: they add up to" in found["ratio_parts"].note
    assert [row[0] for row in found["upper_quartile"].rows] == ["50", "60", "70", "80"]
    assert "300 patients with a VBQ, 270 of them complete; missing: BMI (kg/m²) 30." in found["imputed"].note
    assert [row[0] for row in found["risk"].rows[:3]] == ["Tier: flagged", "Tier: intermediate", "Tier: lower"]
    assert [row[0] for row in found["net_benefit"].rows] == [f"{0.05 * step:.2f}" for step in range(1, 11)]
    assert "With a level for each of 6 scanners drawn at random" in found["scanners"].note
    for draw in (risk_calibration, decision_curve):
        assert isinstance(analysis.risk, RiskReport)
        assert len(png(draw(analysis.risk))) > 10_000
    without = analyse(cohort[:100].drop(columns="platelets"), Choices())
    assert (without.parts, without.imputed, without.risk) == (None, None, None)
    assert [one.partition(":")[0] for one in without.further_refusals()] == ["upper quartile by age and sex"]


@needs_cases
def test_each_p_of_table_1_stands_beside_what_it_tests() -> None:
    """One NLR of 120 in the low group makes its mean the larger one; ranks, shift and p say the opposite."""
    cohort = pd.read_csv(CASES / "A_skewed_ties_outlier.csv").dropna(subset=["vbq"])
    cut = 2.5  # the median
    found = table_one(cohort, cut=cut)
    assert isinstance(found, TableOne)
    rows = {row[0]: row for row in table_1(found).rows}
    high, low = (cohort.loc[cohort["vbq"].ge(cut) == side, "nlr"].dropna().to_numpy() for side in (True, False))
    assert high.mean() < low.mean()
    _, of_high, of_low, shift, delta, test, p, _ = rows["NLR"]
    assert test == "Mann–Whitney"
    for cell, group in ((of_high, high), (of_low, low)):
        q1, median, q3 = np.quantile(group, (0.25, 0.5, 0.75))
        assert cell == f"{median:.2f} ({q1:.2f} to {q3:.2f})"
    assert shift.startswith(f"{np.median(np.subtract.outer(high, low)):.2f} (")
    second = stats.mannwhitneyu(high, low, method="asymptotic")
    assert p == f"{second.pvalue:.3f}"
    assert delta == f"{2 * second.statistic / (len(high) * len(low)) - 1:.2f} (delta)"
    low_end, high_end = (float(end.replace("−", "-")) for end in shift.split("(")[1].rstrip(")").split(" to "))
    assert (low_end > 0) == (second.pvalue < 0.05)  # interval and p agree
    assert low_end < high_end


def test_means_stand_beside_t_with_the_interval_of_that_test() -> None:
    """Normal quantiles as data, so that they pass for normal; the variances of BMI are 1 and 25."""
    grid = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    both = np.concatenate([grid, grid])
    cohort = pd.DataFrame(
        {
            "id": [f"T{i}" for i in range(80)], "vbq": [3.2] * 40 + [2.6] * 40, "age": 65 + both,
            "bmi": np.concatenate([25 + grid, 26 + 5 * grid]), "nlr": both, "plr": both, "hypertension": 0,
            "diabetes": 0, "calcium": 0, "sex_male": 0, "smoking": 0, "diagnosis": None,
        }
    )  # fmt: skip
    found = table_one(cohort, cut=2.9)
    assert isinstance(found, TableOne)
    rows = {row[0]: row for row in table_1(found).rows}
    for label, name, test, equal in (
        ("Age (years)", "age", "Student's t", True),
        ("BMI (kg/m²)", "bmi", "Welch's t", False),
    ):
        high, low = cohort[name][:40], cohort[name][40:]
        second = stats.ttest_ind(high, low, equal_var=equal)
        limits = second.confidence_interval(0.95)
        shown = f"{high.mean() - low.mean():.2f} ({limits.low:.2f} to {limits.high:.2f})".replace("-", "−")
        assert rows[label][1:4] == (
            f"{high.mean():.2f} ± {high.std():.2f}",
            f"{low.mean():.2f} ± {low.std():.2f}",
            shown,
        )
        assert rows[label][5:7] == (test, f"{second.pvalue:.3f}")


@needs_cases
def test_alerts_of_an_analysis_name_what_looks_wrong() -> None:
    """BMI made of NLR: a VIF of 8,137 by numpy's inverse of the correlations; age and PLR have 1.1 and 1.7."""
    collinear = analysed("collinear_bmi_nlr.csv")
    assert "effects-withheld" in codes(collinear.alerts())
    (table,) = [table for table in tables(collinear) if table.name == "table2"]
    rows = {row[0]: row for row in table.rows}
    for name in ("bmi", "nlr"):
        assert rows[LABELS[name]][1:4] == ("–", "–", "–")
        assert rows[LABELS[name]][8] == "–"
    assert [one.term for one in collinear.model.effects] == ["plr"]
    assert rows["Age (years)"][1] != "–"


@needs_cases
def test_a_backwards_outcome_and_a_perfect_one_are_asked_about() -> None:
    """The reversed outcome of ../shared has an area of .28 (.19 to .37)."""
    cohort = read("event_reversed.csv")
    said = [one for one in analyse(cohort, Choices(outcome="event")).alerts() if one.code == "roc-backwards"]
    assert "vbq" in {one.values["marker"] for one in said}
    assert "coded 1 = event" in said[0].words()
    perfect = analyse(cohort.assign(event=(cohort["nlr"] > 3).astype(float)), Choices(outcome="event"))
    assert [one.values["marker"] for one in perfect.alerts() if one.code == "roc-without-error"] == ["nlr"]
    assert "roc-backwards" not in codes(perfect.alerts())


@needs_cases
def test_a_model_of_noise_is_said_to_predict_nothing() -> None:
    """VBQ shuffled among 90 patients: R² less its optimism falls below zero."""
    cohort = read("D_vif14347.csv").head(90)
    shuffled = cohort.assign(vbq=np.random.default_rng(2).permutation(cohort["vbq"].to_numpy()))
    found = analyse(shuffled, Choices())
    assert found.validation.r2_corrected < 0
    assert {"model-predicts-nothing", "few-rows-for-residual-sd"} <= set(codes(found.alerts()))


def read(name: str) -> pd.DataFrame:
    return pd.read_csv(CASES / name)


def analysed(name: str):
    return analyse(read(name), Choices())
