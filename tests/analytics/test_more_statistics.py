"""Counts apart, the upper quartile, scanners at random and risk against R (quantreg, lme4; r/more_statistics.R)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analytics.episodes.cuts import institutional_cuts
from analytics.methods import quantiles
from analytics.methods.quantiles import fit_quantile
from analytics.methods.random_intercept import fit_random_intercept
from analytics.methods.rows import Refusal
from analytics.paper.logistic import Likelihood
from analytics.paper.ratio_parts import RatioParts, ratio_parts
from analytics.paper.regression import PREDICTORS, design_matrix
from analytics.paper.risk import RiskReport, calibrate_on, net_benefit, risk_report
from analytics.paper.strata import StrataReport, by_scanner
from analytics.paper.upper_quartile import UpperQuartile, upper_quartile

FOLDER = Path(__file__).with_name("r")


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "cohort300.csv")


@pytest.fixture(scope="module")
def r() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "more_statistics.json").read_text())
    return found


# ---- the counts apart ----------------------------------------------------------------------------------------------
def test_the_counts_apart_and_the_ratios_restriction_are_those_of_r(people: pd.DataFrame, r: dict[str, Any]) -> None:
    parts = ratio_parts(people)
    assert isinstance(parts, RatioParts)
    names = {"ln_neutrophils": "ln_n", "ln_lymphocytes": "ln_l", "ln_platelets": "ln_p"}
    for term in parts.model.terms:
        theirs = r["parts"]["terms"][names.get(term.term, term.term)]
        assert (term.b, term.se, term.t, term.p) == pytest.approx(theirs, rel=1e-7, abs=1e-12)
    test = parts.constraint
    assert (test.f, test.df2, test.p) == pytest.approx((r["parts"]["f"], r["parts"]["df"], r["parts"]["p"]), rel=1e-7)
    b = {term.term: term.b for term in parts.model.terms}
    assert parts.total == pytest.approx(sum(b[name] for name in names))


def test_a_table_without_counts_has_no_parts(people: pd.DataFrame) -> None:
    assert isinstance(ratio_parts(people.assign(platelets=np.nan)), Refusal)


# ---- the upper quartile --------------------------------------------------------------------------------------------
def test_the_upper_quartile_is_that_of_r(people: pd.DataFrame, r: dict[str, Any]) -> None:
    found = upper_quartile(people)
    assert isinstance(found, UpperQuartile)
    for term in found.terms:
        theirs = r["upper"][term.term]
        assert term.b == pytest.approx(theirs[0], rel=1e-9)
        assert (term.se, term.t, term.p) == pytest.approx(theirs[1:], rel=1e-5)
    b = {term.term: term.b for term in found.terms}
    man = next(one for one in found.at if one.age == 70 and one.male)
    assert man.vbq == pytest.approx(b["(Intercept)"] + 70 * b["age"] + b["sex_male"])


def test_thinning_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    columns = np.column_stack([np.ones(3000), random.integers(50, 90, 3000), random.integers(0, 2, 3000)]).astype(float)
    outcome = columns @ [1.8, 0.011, 0.02] + random.normal(0, 0.14, 3000)

    def loss(b: np.ndarray) -> float:
        """Of which the quantile is the least; several planes may have it."""
        left = outcome - columns @ b
        return float(np.where(left > 0, 0.75 * left, -0.25 * left).sum())

    whole = fit_quantile(outcome, columns, 0.75)
    monkeypatch.setattr(quantiles, "MOST_AT_ONCE", 300)
    assert loss(fit_quantile(outcome, columns, 0.75).b) == pytest.approx(loss(whole.b), rel=1e-12)


def test_few_patients_have_no_quartile_by_age_and_sex(people: pd.DataFrame) -> None:
    assert isinstance(upper_quartile(people[:119]), Refusal)
    assert isinstance(upper_quartile(people.assign(sex_male=1.0)), Refusal)


# ---- scanners at random --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mixed", "flat"])
def test_levels_at_random_are_those_of_lme4(people: pd.DataFrame, r: dict[str, Any], name: str) -> None:
    columns, names = design_matrix(people, PREDICTORS)
    groups = people["scanner_stratum"].to_numpy() if name == "mixed" else np.arange(1, 301) % 5
    fit = fit_random_intercept(people["vbq"].to_numpy(), columns, groups)
    theirs = r[name]
    for place, term in enumerate(names):
        assert (fit.b[place], fit.se[place]) == pytest.approx(theirs["terms"][term], rel=1e-5, abs=1e-7)
    assert fit.sd_between == pytest.approx(theirs["between"], rel=1e-3)
    assert fit.sd_within == pytest.approx(theirs["within"], rel=1e-5)


def test_groups_that_do_not_differ_have_no_variance_between_them(people: pd.DataFrame) -> None:
    """Every group is the same patients: between them there is less than chance."""
    columns, names = design_matrix(people, PREDICTORS)
    fit = fit_random_intercept(np.tile(people["vbq"], 3), np.tile(columns, (3, 1)), np.repeat([1, 2, 3], 300))
    assert fit.sd_between == 0
    assert len(fit.b) == len(names)


def test_the_report_by_scanner_has_levels_at_random(people: pd.DataFrame, r: dict[str, Any]) -> None:
    report = by_scanner(people)
    assert isinstance(report, StrataReport)
    random, theirs = report.random, r["mixed"]
    assert random.scanners == 6
    assert random.share == pytest.approx(
        theirs["between"] ** 2 / (theirs["between"] ** 2 + theirs["within"] ** 2), rel=1e-3
    )
    assert [one.term for one in random.ratios] == ["nlr", "plr"]
    assert random.ratios[0].b == pytest.approx(theirs["terms"]["nlr"][0], rel=1e-5)


# ---- risk ----------------------------------------------------------------------------------------------------------
def test_calibration_on_other_patients_is_that_of_r(people: pd.DataFrame, r: dict[str, Any]) -> None:
    one, other = people[:150], people[150:]
    columns, _ = design_matrix(one, ("vbq", "nlr", "plr"))
    b = Likelihood(columns, one["event"].to_numpy(float), firth=False).maximise().b
    assert b == pytest.approx(r["risk"]["coefficients"], rel=1e-7)
    log_odds = design_matrix(other, ("vbq", "nlr", "plr"))[0] @ b
    assert calibrate_on(log_odds, other["event"].to_numpy(float)) == pytest.approx(r["risk"]["calibration"], rel=1e-7)


def test_net_benefit_is_that_of_the_formula(people: pd.DataFrame, r: dict[str, Any]) -> None:
    cuts = institutional_cuts(*r["benefit"]["cuts"])
    report = risk_report(people, outcome="event", cuts=cuts, seed=1)
    assert isinstance(report, RiskReport)
    at = next(one for one in report.benefits if one.threshold == 0.2)
    found = (at.flagged, at.flagged_or_intermediate, at.everybody)
    assert found == pytest.approx([r["benefit"][name] for name in ("flagged", "some", "everybody")], rel=1e-9)
    # By hand: 3 of 4 found and 2 of 6 troubled at 0.25 are (3 − 2/3)/10 per patient.
    positive = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=float)
    acted = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=bool)
    assert net_benefit(acted, positive, 0.25) == pytest.approx((3 - 2 / 3) / 10)


def test_slope_and_deciles_of_a_risk_model(people: pd.DataFrame, r: dict[str, Any]) -> None:
    cuts = institutional_cuts(*r["benefit"]["cuts"])
    report = risk_report(people, outcome="event", cuts=cuts, seed=1)
    assert report == risk_report(people, outcome="event", cuts=cuts, seed=1)
    assert isinstance(report, RiskReport)
    assert 0.7 < report.slope < 1, "a model flatters itself on its own patients"
    assert sum(one.observed.n for one in report.deciles) == 300
    mean = sum(one.predicted * one.observed.n for one in report.deciles) / 300
    assert mean == pytest.approx(people.event.mean()), "maximum likelihood predicts as many as there are"
    assert sum(one.n for one in report.tiers.values()) == 300


def test_what_makes_no_risk_model_is_refused(people: pd.DataFrame) -> None:
    cuts = institutional_cuts(2.8, 3, 200)
    few = people.assign(event=(people.index < 39).astype(float))
    apart = people.assign(event=(people.vbq > people.vbq.median()).astype(float))
    for table in (few, apart, people.assign(plr=200.0)):
        assert isinstance(risk_report(table, outcome="event", cuts=cuts, seed=1), Refusal)


def test_a_quartile_of_equal_values_is_refused_and_nothing_else() -> None:
    """VBQ rounded to whole numbers: R's quantreg 5.94 fails there too (``summary.rq``: singular matrix)."""
    random = np.random.default_rng(1)
    age, male = random.integers(5, 9, 200) * 10.0, random.integers(0, 2, 200)
    frame = pd.DataFrame({"id": range(200), "vbq": random.integers(2, 5, 200) * 1.0, "age": age, "sex_male": male})
    found = upper_quartile(frame)
    assert isinstance(found, Refusal)
    assert found.reason.code == "quartile-of-equal-values"
