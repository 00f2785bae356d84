"""Logistic models against R 4.2.2 (``glm``, ``MASS``, ``logistf``) and against odds ratios computed by hand."""

import json
from math import exp, log, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analytics.methods.plain import in_words
from analytics.methods.rows import Refusal
from analytics.paper.logistic import Likelihood, LogisticFit, logistic_model, separated, split_by
from analytics.paper.regression import PREDICTORS
from analytics.paper.sensitivity import LOG_PREDICTORS

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
needs_statistics = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")

MODELS = {
    "ln_ratios_per_sd": (LOG_PREDICTORS, ("ln_nlr", "ln_plr")),
    "raw_ratios_per_sd": (PREDICTORS, ("nlr", "plr")),
    "raw_unscaled": (PREDICTORS, ()),
}

MEASURES = {
    "log_likelihood": "logLik", "null_log_likelihood": "null_logLik", "aic": "AIC", "mcfadden_r2": "mcfadden",
    "nagelkerke_r2": "nagelkerke", "auc": "auc", "brier": "brier",
}  # fmt: skip

ENDOMETRIAL = """
0 13 1.64 0|0 16 2.26 0|0 8 3.14 0|0 34 2.68 0|0 20 1.28 0|0 5 2.31 0|0 17 1.80 0|0 10 1.68 0|0 26 1.56 0|
0 17 2.31 0|0 8 2.01 0|0 7 1.89 0|0 20 3.15 0|0 10 1.23 0|0 18 1.27 0|0 16 1.76 0|0 18 2.00 0|0 8 2.64 1|
0 29 0.88 1|0 12 1.27 1|0 20 1.37 1|1 38 0.97 1|1 22 1.14 1|1 7 0.88 1|1 25 0.91 1|1 15 0.58 1|0 7 0.97 1|
0 28 1.50 0|0 11 1.33 0|0 19 2.37 0|0 10 1.82 0|0 10 3.13 0|0 18 1.31 0|0 14 1.92 0|0 21 1.64 0|0 11 2.01 0|
0 17 1.88 0|0 25 1.93 0|0 16 2.11 0|0 19 1.29 0|0 15 1.72 0|0 33 0.75 0|0 24 1.92 0|0 48 1.84 1|0 12 1.11 1|
0 19 1.61 1|0 2 1.18 1|1 22 1.44 1|1 40 1.18 1|1 5 0.93 1|1 0 1.17 1|0 21 1.19 1|0 15 1.06 1|0 29 2.02 0|
0 15 2.29 0|0 12 2.33 0|0 3 2.90 0|0 20 1.70 0|0 23 1.41 0|0 12 2.25 0|0 22 1.54 0|0 42 1.97 0|0 15 1.75 0|
0 13 2.16 0|0 14 2.57 0|0 19 1.37 0|0 12 3.61 0|0 13 2.04 0|0 10 2.17 0|0 12 1.69 1|1 49 0.27 1|0 6 1.84 1|
0 5 1.30 1|0 17 0.96 1|1 11 1.01 1|1 21 0.98 1|0 5 0.35 1|1 19 1.02 1|0 33 0.85 1
"""
"""Heinze and Schemper 2002: neovasculation, pulsatility index, endometrium height, high grade. All 13 patients with
neovasculation have a high grade, so that maximum likelihood has no estimate for it."""

LOGISTF = {
    "intercept": (3.77455951, 1.0825371, 7.20928050),
    "neovasculation": (2.92927330, 0.6097244, 7.85463171),
    "pulsatility": (-0.03475175, -0.1244587, 0.04045547),
    "height": (-2.60416387, -4.3651832, -1.23272106),
}
"""R's logistf on it: coefficient and profile penalised likelihood interval."""


def fitted(cohort: pd.DataFrame, **settings) -> LogisticFit:
    fit = logistic_model(cohort, **{"cut": 2.90, **settings})
    assert isinstance(fit, LogisticFit), fit
    return fit


def by_cells(high_with: int, low_with: int, high_without: int, low_without: int) -> pd.DataFrame:
    """A cohort with one binary predictor, ``sex_male``, and these counts of VBQ at or above 3 and below."""
    vbq = [3.5] * high_with + [2.5] * low_with + [3.5] * high_without + [2.5] * low_without
    male = [1] * (high_with + low_with) + [0] * (high_without + low_without)
    return pd.DataFrame({"id": range(len(vbq)), "vbq": vbq, "sex_male": male, "nlr": 2.0, "plr": 150.0, "age": 60.0})


@needs_statistics
@pytest.mark.parametrize("name", MODELS)
def test_coefficients_are_those_of_r(cohort: pd.DataFrame, name: str) -> None:
    r = json.loads((STATISTICS / "expected" / "logit_cohort200.json").read_text())[name]
    predictors, per_sd = MODELS[name]
    fit = fitted(cohort, predictors=predictors, per_sd=per_sd)
    assert (fit.method, fit.n_used, fit.events, fit.aliased) == ("maximum likelihood", r["n"], r["events"], ())
    assert set(fit.per_sd) == set(r["scaled_by_sd_ddof1"])
    mine = (
        fit.log_likelihood,
        fit.null_log_likelihood,
        fit.aic,
        fit.mcfadden_r2,
        fit.nagelkerke_r2,
        fit.auc,
        fit.brier,
    )
    theirs = tuple(r[k] for k in ("logLik", "null_logLik", "AIC", "mcfadden", "nagelkerke", "auc", "brier"))
    assert mine == pytest.approx(theirs, rel=1e-7)
    test = r["hosmer_lemeshow_g10"]
    assert fit.hosmer_lemeshow_df == test["df"]
    assert (fit.hosmer_lemeshow_chi2, fit.hosmer_lemeshow_p) == pytest.approx((test["chi2"], test["p"]), rel=1e-7)
    assert [term.term for term in fit.terms] == list(r["coef"])
    for term in fit.terms:
        line = r["coef"][term.term]
        assert (term.b, term.p, term.odds_ratio) == pytest.approx((line["b"], line["p"], line["OR"]), rel=1e-7)
        assert (term.se, term.z) == pytest.approx((line["se"], line["z"]), rel=1e-6)
        wald = (line["OR_wald_lo"], line["OR_wald_hi"])
        assert (term.wald_low, term.wald_high) == pytest.approx(wald, rel=1e-6)
        # R interpolates its profile between ten points; the intercept's, which spans 18 on the log scale, the worst.
        profile = (line["OR_profile_lo"], line["OR_profile_hi"])
        tolerance = 1e-4 if term.term != "(Intercept)" else 5e-4
        assert (term.profile_low, term.profile_high) == pytest.approx(profile, rel=tolerance)


def test_firth_is_that_of_logistf() -> None:
    table = np.array([row.split() for row in ENDOMETRIAL.replace("\n", "").split("|")], dtype=float)
    assert table.shape == (79, 4)
    columns, high = np.column_stack([np.ones(79), table[:, :3]]), table[:, 3]
    assert separated(columns, high)
    likelihood = Likelihood(columns, high, firth=True)
    peak = likelihood.maximise()
    assert peak.converged
    for index, (name, expected) in enumerate(LOGISTF.items()):
        term = likelihood.term(peak, index, name)
        assert (term.b, log(term.profile_low), log(term.profile_high)) == pytest.approx(expected, rel=2e-5)
        assert (term.z, term.wald_low, term.wald_high) == (None, None, None)


def test_one_binary_predictor_gives_the_odds_ratio_of_the_table() -> None:
    """By hand: OR = (30·25)/(20·15) = 2.5, SE of its logarithm √(1/30 + 1/20 + 1/15 + 1/25) = 0.43589."""
    fit = fitted(by_cells(30, 20, 15, 25), cut=3.0, predictors=["sex_male"], per_sd=())
    male = fit.terms[1]
    assert fit.method == "maximum likelihood"
    assert (male.odds_ratio, male.se) == pytest.approx((2.5, 0.4358899), rel=1e-6)
    assert fit.terms[0].odds_ratio == pytest.approx(15 / 25, rel=1e-9)


def test_firth_on_a_table_adds_a_half_to_each_cell() -> None:
    """By hand: Jeffreys' penalty on a saturated table is half a patient in each cell: (30.5·15.5)/(0.5·25.5)."""
    fit = fitted(by_cells(30, 0, 25, 15), cut=3.0, predictors=["sex_male"], per_sd=(), minimum_events_per_parameter=5)
    male = fit.terms[1]
    assert fit.method == "Firth"
    assert male.odds_ratio == pytest.approx(30.5 * 15.5 / (0.5 * 25.5), rel=1e-8)
    assert 1 < male.profile_low < male.odds_ratio < male.profile_high
    assert 0 < male.p < 0.001
    assert (fit.log_likelihood, fit.aic, fit.mcfadden_r2, fit.hosmer_lemeshow_p) == (None, None, None, None)


def test_complete_separation_is_no_odds_ratio_of_billions() -> None:
    """VBQ is high in all above 65 and in nobody below; R's glm gives OR 7.8e19 with SE 80,644 for such data."""
    age = np.linspace(50, 80, 61)
    cohort = pd.DataFrame({"id": range(61), "age": age, "vbq": np.where(age > 65, 3.2, 2.6), "nlr": 2.0, "plr": 150.0})
    fit = fitted(cohort, cut=2.9, predictors=["age"], per_sd=())
    assert fit.method == "Firth"
    assert 1 < fit.terms[1].odds_ratio < 10
    assert fit.terms[1].se < 2
    assert fit.auc == 1.0


def test_what_separates_is_named(cohort: pd.DataFrame) -> None:
    """Nobody below the median has diabetes, a third of the others: quasi-complete separation by it alone."""
    cut = float(cohort["vbq"].median())
    high = (cohort["vbq"] >= cut).to_numpy()
    third = np.arange(len(cohort)) % 3 == 0
    fit = fitted(cohort.assign(diabetes=(high & third).astype(float)), cut=cut, minimum_events_per_parameter=5)
    assert (fit.method, fit.separated_by) == ("Firth", ("diabetes",))
    assert fitted(cohort, cut=cut, minimum_events_per_parameter=5).separated_by == ()
    assert split_by(cohort.assign(diabetes=(high & third).astype(float)), cut=cut) == ()
    assert split_by(cohort.assign(diabetes=high.astype(float), bmi=30 - 3.0 * high), cut=cut) == ("diabetes", "bmi")
    assert split_by(cohort, cut=cut) == ()
    assert split_by(cohort.assign(bmi=cohort["vbq"]).head(12), cut=float(cohort["vbq"].head(12).median())) == ()


def test_overlap_is_not_separation() -> None:
    x = np.array([1.0, 2, 3, 4, 5, 6])
    columns = np.column_stack([np.ones(6), x])
    assert separated(columns, np.array([0.0, 0, 0, 1, 1, 1]))
    assert separated(columns[[0, 1, 2, 2, 4, 5]], np.array([0.0, 0, 0, 1, 1, 1]))  # ties at 3: quasi-complete
    assert not separated(columns, np.array([0.0, 0, 1, 0, 1, 1]))


@needs_statistics
def test_what_cannot_be_fitted_is_refused_or_named(cohort: pd.DataFrame) -> None:
    few = logistic_model(cohort.head(60), cut=2.90)
    assert isinstance(few, Refusal)
    assert "in the smaller of the groups at VBQ 2.9, 80 are needed (10 for each of 8 coefficients)" in str(few.reason)
    nobody = logistic_model(cohort, cut=9.0)
    assert isinstance(nobody, Refusal)
    assert str(nobody.reason) == "insufficient: 0 patients in the smaller of the groups at VBQ 9"
    constant = fitted(cohort.assign(smoking=1))
    assert constant.aliased == ("smoking",)
    assert "smoking" not in [term.term for term in constant.terms]
    lacking = fitted(cohort.assign(bmi=cohort["bmi"].where(cohort["id"] != "S005")))
    assert (lacking.n_used, in_words(lacking.omitted)) == (199, {"no finite value of bmi": 1})
    with pytest.raises(ValueError, match="no group at or above nan"):
        logistic_model(cohort, cut=nan)


@needs_statistics
def test_scaling_a_predictor_by_ten_changes_its_odds_ratio_by_that_power(cohort: pd.DataFrame) -> None:
    one = fitted(cohort, predictors=PREDICTORS, per_sd=())
    ten = fitted(cohort.assign(age=cohort["age"] * 10), predictors=PREDICTORS, per_sd=())
    assert one.terms[1].odds_ratio == pytest.approx(exp(10 * log(ten.terms[1].odds_ratio)), rel=1e-8)
    assert one.terms[1].profile_low == pytest.approx(exp(10 * log(ten.terms[1].profile_low)), rel=1e-6)


@pytest.mark.parametrize("zero", [200.0, 5000.0])
def test_a_predictor_counted_from_a_far_zero_has_the_same_odds_ratio(zero: float) -> None:
    """5,000 SD away the information has too few digits for Cholesky's factor; QR has enough."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=300)
    high = (rng.random(300) < 1 / (1 + np.exp(-0.8 * x))).astype(float)
    near, far = (Likelihood(np.column_stack([np.ones(300), one]), high, firth=False) for one in (x, x + zero))
    one, other = (likelihood.term(likelihood.maximise(), 1, "x") for likelihood in (near, far))
    for name in ("b", "se", "p", "profile_low", "profile_high"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-6)


@needs_statistics
def test_an_odds_ratio_beyond_every_number_is_refused(cohort: pd.DataFrame) -> None:
    """Age in millions of years: the odds ratio per unit would be e to the power of some 100,000."""
    found = logistic_model(cohort.assign(age=cohort["age"] / 1e6), cut=2.90)
    assert isinstance(found, Refusal)
    assert str(found.reason).startswith("an odds ratio per unit is beyond every number")
