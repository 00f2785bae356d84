"""The tables of an analysis as people read them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analytics.paper.tables import TableOne, table_one
from node.analysis.tables import table_1

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "cohort" / "data"


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases/cohort is not here")
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
