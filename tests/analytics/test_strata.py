"""The model by scanner, against statsmodels' formulas and analysis of variance."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from analytics.methods.rows import Refusal
from analytics.paper.regression import OlsFit
from analytics.paper.strata import OTHERS, UNKNOWN, StrataReport, by_scanner

MODEL = "vbq ~ age + sex_male + smoking + diabetes + bmi + nlr + plr"


def cohort(n: int = 260) -> pd.DataFrame:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "id": [f"S{i:03d}" for i in range(n)],
            "age": random.integers(50, 88, n).astype(float),
            "sex_male": random.integers(0, 2, n).astype(float),
            "smoking": random.integers(0, 2, n).astype(float),
            "diabetes": random.integers(0, 2, n).astype(float),
            "bmi": random.normal(24, 3, n),
            "nlr": random.gamma(4, 0.8, n),
            "plr": random.normal(230, 40, n),
            "scanner_stratum": random.choice(["A", "B", ""], n, p=[0.5, 0.4, 0.1]),
        }
    )
    shift = frame["scanner_stratum"].map({"A": 0.0, "B": 0.06, "": 0.0})
    frame["vbq"] = 1.8 + 0.012 * frame["age"] + 0.02 * frame["nlr"] + shift + random.normal(0, 0.15, n)
    return frame


def test_level_and_slopes_are_the_analysis_of_variance_of_nested_models() -> None:
    frame = cohort()
    report = by_scanner(frame)
    assert isinstance(report, StrataReport)
    named = frame.assign(scanner=frame["scanner_stratum"].replace("", UNKNOWN))
    plain = smf.ols(MODEL, named).fit()
    level = smf.ols(f"{MODEL} + C(scanner)", named).fit()
    slopes = smf.ols(f"{MODEL} + C(scanner) + C(scanner):nlr + C(scanner):plr", named).fit()
    first, second = anova_lm(plain, level), anova_lm(level, slopes)
    assert report.level.f == pytest.approx(first["F"].iloc[1], rel=1e-9)
    assert report.level.p == pytest.approx(first["Pr(>F)"].iloc[1], rel=1e-9)
    assert report.slopes is not None
    assert report.slopes.f == pytest.approx(second["F"].iloc[1], rel=1e-8)
    assert [one.term for one in report.ratios] == ["nlr", "plr"]
    assert report.ratios[0].b == pytest.approx(level.params["nlr"], rel=1e-9)
    assert [one.name for one in report.strata] == ["A", "B", UNKNOWN]
    own = report.strata[0].model
    assert isinstance(own, OlsFit)
    alone = smf.ols(MODEL, named[named["scanner"] == "A"]).fit()
    assert own.terms[-2].b == pytest.approx(alone.params["nlr"], rel=1e-9)
    assert isinstance(report.strata[2].model, Refusal)


def test_small_scanners_are_taken_together_and_named() -> None:
    frame = cohort()
    frame.loc[:4, "scanner_stratum"] = "C"
    frame.loc[5:12, "scanner_stratum"] = "D"
    report = by_scanner(frame)
    assert isinstance(report, StrataReport)
    assert report.joined == ("C", "D")
    assert (report.strata[-1].name, report.strata[-1].n) == (OTHERS, 13)


def test_one_scanner_has_nobody_to_be_compared_with() -> None:
    refused = by_scanner(cohort().assign(scanner_stratum="A"))
    assert isinstance(refused, Refusal)
    assert "of one scanner (A)" in str(refused.reason)


def test_offsets_are_those_of_a_model_with_the_scanner() -> None:
    frame = cohort()
    report = by_scanner(frame)
    assert isinstance(report, StrataReport)
    named = frame.assign(scanner=frame["scanner_stratum"].replace("", UNKNOWN))
    fit = smf.ols(f"{MODEL} + C(scanner, Treatment('A'))", named).fit()
    assert report.reference == "A"
    for one in report.offsets:
        name = f"C(scanner, Treatment('A'))[T.{one.term}]"
        assert (one.b, one.se) == pytest.approx((fit.params[name], fit.bse[name]), rel=1e-9)
    assert {one.term for one in report.offsets} == {"B", UNKNOWN}
