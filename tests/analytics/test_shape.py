"""Age squared, splines and interactions against R 4.2.2 (splines, rms; ../shared/data/statistics)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analytics.methods.rows import Refusal
from analytics.paper.shape import ShapeReport, natural_spline, shape_report

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
pytestmark = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")

# The patient for whom R's curves were predicted.
REFERENCE = {"sex_male": 0, "smoking": 0, "diabetes": 0, "bmi": 20.5, "nlr": 3, "plr": 228}
KEYS = {"b": "b", "se": "se", "t": "t", "p": "p", "ci_low": "lo", "ci_high": "hi"}


@pytest.fixture(scope="module")
def r() -> dict:
    return json.loads((STATISTICS / "expected" / "spline_cohort200.json").read_text())


@pytest.fixture(scope="module")
def report(cohort: pd.DataFrame) -> ShapeReport:
    found = shape_report(cohort, reference=REFERENCE)
    assert isinstance(found, ShapeReport)
    return found


@pytest.mark.parametrize("name", ["quadratic", "ns_df3", "ns_df4", "rcs4", "age_x_nlr", "age_x_plr", "age_x_both"])
def test_every_extension_is_that_of_r(report: ShapeReport, r: dict, name: str) -> None:
    found = next(extension for extension in report.extensions if extension.name == name)
    theirs = r[name]
    assert (found.test.df1, found.test.df2) == (theirs["df1"], theirs["df2"])
    assert (found.test.f, found.test.p) == pytest.approx((theirs["F"], theirs["p"]), rel=1e-7)
    assert (found.r2, found.adj_r2) == pytest.approx((theirs["r2"], theirs["adj_r2"]), rel=1e-7)
    assert (found.aic, found.sse) == pytest.approx((theirs["AIC"], theirs["sse"]), rel=1e-7)
    if "knots" in theirs:
        low, high = theirs.get("boundary", [None, None])
        knots = [k for k in (low, *theirs["knots"], high) if k is not None]
        assert found.knots == pytest.approx(knots)
    if "pred" in theirs:
        assert [vbq for _, vbq in found.curve] == pytest.approx(theirs["pred"], rel=1e-7)
        assert [age for age, _ in found.curve] == [50, 55, 60, 65, 70, 75, 80, 85, 90]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("terms", "centred_interactions"), ("robust_terms", "centred_interactions_hc3")]
)
def test_the_centred_interactions_are_those_of_r(report: ShapeReport, r: dict, ours: str, theirs: str) -> None:
    lines = getattr(report.interactions, ours)
    assert [line.term for line in lines] == list(r[theirs])
    for line in lines:
        assert {k: getattr(line, k) for k in KEYS} == pytest.approx(
            {k: r[theirs][line.term][name] for k, name in KEYS.items()}, rel=1e-7
        )


def test_a_natural_spline_is_straight_beyond_its_knots() -> None:
    bends = natural_spline(np.array([0.0, 5, 10, 80, 90, 100]), [20, 40, 60, 70])
    assert bends.shape == (6, 2)
    assert np.all(bends[:3] == 0)
    np.testing.assert_allclose(bends[5] - bends[4], bends[4] - bends[3], rtol=1e-12)


def test_without_a_reference_the_curve_is_that_of_the_average_patient(cohort: pd.DataFrame) -> None:
    means = {name: float(cohort[name].mean()) for name in REFERENCE}
    assert shape_report(cohort) == shape_report(cohort, reference=means)


def test_what_cannot_be_estimated_is_refused(cohort: pd.DataFrame) -> None:
    for frame, reason in [
        (cohort.head(50), "insufficient"),
        (cohort[cohort["smoking"] == 1], "no estimate for smoking"),
        (cohort.assign(age=cohort["age"].clip(60, 62).round()), "too few different ages"),
    ]:
        found = shape_report(frame)
        assert isinstance(found, Refusal)
        assert reason in str(found.reason)


def test_the_report_is_plain_json(report: ShapeReport) -> None:
    assert json.loads(json.dumps(report.to_json_dict(), allow_nan=False))["n_used"] == 200


def test_a_row_that_determines_itself_has_no_robust_errors(cohort: pd.DataFrame) -> None:
    found = shape_report(cohort.assign(smoking=(cohort.index == 7).astype(int)))
    assert isinstance(found, Refusal)
    assert str(found.reason) == "HC3 errors do not exist: a row determines its own fitted value"
