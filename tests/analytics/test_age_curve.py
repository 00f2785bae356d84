"""Curves over age by sex against statsmodels on patsy's basis of natural splines."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from analytics.methods.rows import Refusal
from analytics.paper.age_curve import AgeCurves, age_curves
from analytics.pictures.age import age_alt_text, age_figure
from analytics.pictures.base import png, svg

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
pytestmark = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")


@pytest.fixture(scope="module")
def found(cohort: pd.DataFrame) -> AgeCurves:
    curves = age_curves(cohort)
    assert isinstance(curves, AgeCurves)
    return curves


def test_curves_bands_and_tests_are_those_of_another_basis(found: AgeCurves, cohort: pd.DataFrame) -> None:
    low, one, two, high = np.quantile(cohort["age"], [0, 1 / 3, 2 / 3, 1])
    assert found.knots == pytest.approx((low, one, two, high), rel=1e-12)
    others = "smoking + diabetes + bmi + nlr + plr"
    spline = f"cr(age, knots=({one!r}, {two!r}), lower_bound={low!r}, upper_bound={high!r}, constraints='center')"
    spline = spline.replace("np.float64", "")
    whole = smf.ols(f"vbq ~ {spline} * sex_male + {others}", cohort).fit()
    average = cohort[["smoking", "diabetes", "bmi", "nlr", "plr"]].mean().to_dict()
    for curve, male in zip(found.curves, (0, 1), strict=True):
        own = cohort["age"][cohort["sex_male"] == male]
        assert (curve.n, curve.age[0], curve.age[-1]) == (len(own), own.min(), own.max())
        at = pd.DataFrame({"age": curve.age, "sex_male": male, **average})
        expected = whole.get_prediction(at).summary_frame(alpha=0.05)
        assert curve.vbq == pytest.approx(expected["mean"].to_numpy(), rel=1e-9)
        assert curve.ci_low == pytest.approx(expected["mean_ci_lower"].to_numpy(), rel=1e-9)
        assert curve.ci_high == pytest.approx(expected["mean_ci_upper"].to_numpy(), rel=1e-9)
    for test, smaller in ((found.bends, "age * sex_male"), (found.differ, f"{spline} + sex_male")):
        table = anova_lm(smf.ols(f"vbq ~ {smaller} + {others}", cohort).fit(), whole)
        assert (test.f, test.p) == pytest.approx((table["F"][1], table["Pr(>F)"][1]), rel=1e-8)
        assert test.df1 == table["df_diff"][1]


def test_the_figure_is_the_same_each_time_and_says_what_it_shows(found: AgeCurves, cohort: pd.DataFrame) -> None:
    assert png(age_figure(cohort, found)) == png(age_figure(cohort, found))
    assert svg(age_figure(cohort, found)).count(b"<use") > 200
    women, men = (int((cohort["sex_male"] == male).sum()) for male in (0, 1))
    words = age_alt_text(found)
    assert f"women (n = {women}) from " in words
    assert f"men (n = {men}) from " in words
    assert f"n = {women + men}." in words


def test_too_few_are_refused_with_the_reason(cohort: pd.DataFrame) -> None:
    few = age_curves(cohort.assign(sex_male=(np.arange(200) < 12).astype(int)))
    assert isinstance(few, Refusal)
    assert str(few.reason) == "insufficient: 12 patients of one sex, 30 are needed for its curve"
    small = age_curves(cohort.head(120))
    assert isinstance(small, Refusal)
    assert str(small.reason) == "insufficient: 120 complete rows, 130 are needed for the curves"
    two = age_curves(cohort.assign(age=np.where(np.arange(200) % 2, 60, 70)))
    assert isinstance(two, Refusal)
    assert str(two.reason) == "too few different ages for a curve"
    json.dumps(few.to_json_dict(), allow_nan=False)
