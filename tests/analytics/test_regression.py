"""The paper's model against R 4.2.2 and NIST's certified values (../shared/data/statistics)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.outliers_influence import variance_inflation_factor

from analytics.methods.diagnostics import (
    breusch_pagan,
    breusch_pagan_classic,
    condition_number,
    durbin_watson,
    reset,
    robust_covariance,
    robust_se,
    shapiro,
)
from analytics.methods.linear import (
    INTERCEPT,
    LinearFit,
    cooks_distance,
    estimates,
    externally_studentised,
    fit_linear,
    joint_test,
    press,
)
from analytics.methods.plain import in_words
from analytics.methods.rows import Refusal
from analytics.paper.regression import PREDICTORS, OlsFit, design_matrix, fit_vbq_model
from analytics.reasons import codes, words

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
pytestmark = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")

KEYS = {"b": "b", "se": "se", "t": "t", "p": "p", "ci_low": "lo", "ci_high": "hi"}


def expected(name: str) -> dict:
    return json.loads((STATISTICS / "expected" / f"{name}.json").read_text())


def fitted(outcome) -> OlsFit:
    assert isinstance(outcome, OlsFit), outcome
    return outcome


def engine(frame: pd.DataFrame, predictors=PREDICTORS) -> LinearFit:
    columns, names = design_matrix(frame, predictors)
    return fit_linear(frame["vbq"].to_numpy(), columns, names)


def in_r_terms(lines) -> dict:
    return {line.term: {theirs: getattr(line, ours) for ours, theirs in KEYS.items()} for line in lines}


def table_2(fit: OlsFit) -> dict:
    table = in_r_terms(fit.terms)
    for term in fit.terms[1:]:
        table[term.term] |= {"beta_std": term.beta_std, "vif": term.vif, "partial_r2": term.partial_r2}
    return table


def everything_about(fit: LinearFit, model: OlsFit, frame: pd.DataFrame) -> dict:
    """The layout of expected/ols_cohort200.json."""
    from scipy import stats

    studentised, cook = externally_studentised(fit), cooks_distance(fit)
    outlier = int(np.argmax(np.abs(studentised)))
    standard = frame[["vbq", *fit.names[1:]]].apply(lambda c: (c - c.mean()) / c.std(ddof=1))
    refit = engine(standard, fit.names[1:])
    sd = frame[list(fit.names[1:])].std(ddof=1) / frame["vbq"].std(ddof=1)
    low, high = ({t.term: getattr(t, e) * sd.get(t.term, 0) for t in model.terms} for e in ("ci_low", "ci_high"))
    bp, classic, ramsey, normal = breusch_pagan(fit), breusch_pagan_classic(fit), reset(fit), shapiro(fit)
    overall = joint_test(fit, fit.names[1:])
    return {
        "n": model.n_used, "p": len(model.terms), "df_resid": model.df_resid, "coef": table_2(model),
        "r2": model.r2, "adj_r2": model.adj_r2, "sigma": model.residual_sd, "F": overall.f, "F_p": overall.p,
        "logLik": fit.log_likelihood, "AIC": fit.aic, "BIC": fit.bic, "sse": fit.sse,
        "effectsize_posthoc": {t.term: t.beta_std or 0 for t in model.terms},
        "effectsize_posthoc_lo": low, "effectsize_posthoc_hi": high,
        "press": press(fit), "loocv_rmse": float(np.sqrt(press(fit) / fit.n)),
        "max_hat": float(fit.leverage.max()), "which_max_hat": int(fit.leverage.argmax()) + 1,
        "max_cook": float(cook.max()), "which_max_cook": int(cook.argmax()) + 1,
        "n_hat_gt_2p_n": int((fit.leverage > 2 * len(fit.names) / fit.n).sum()),
        "max_abs_rstudent": float(abs(studentised[outlier])), "which_max_rstudent": outlier + 1,
        "outlier_bonf_p": float(2 * fit.n * stats.t.sf(abs(studentised[outlier]), fit.df_resid - 1)),
        "hat": fit.leverage.tolist(), "cook": cook.tolist(), "rstudent": studentised.tolist(),
        "fitted": fit.fitted.tolist(),
        "breusch_pagan_koenker": {"stat": bp.statistic, "df": bp.df, "p": bp.p},
        "breusch_pagan_classic": {"stat": classic.statistic, "p": classic.p},
        "reset_fitted_2_3": {"F": ramsey.f, "df1": ramsey.df1, "df2": ramsey.df2, "p": ramsey.p},
        "shapiro": {"W": normal.statistic, "p": normal.p},
        "durbin_watson": durbin_watson(fit), "condition_number_scaled": condition_number(fit),
        "hc": {k: in_r_terms(estimates(fit, robust_se(fit, k))) for k in ("HC0", "HC1", "HC2", "HC3", "HC4")},
        "beta_std_refit": dict(zip(refit.names, refit.b.tolist(), strict=True)),
    }  # fmt: skip


def compare(tmp_path: Path, mine: dict, name: str) -> str:
    """Let compare.py walk the expected numbers; what it prints."""
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(mine))
    run = subprocess.run(
        [sys.executable, STATISTICS / "compare.py", path, STATISTICS / "expected" / f"{name}.json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return run.stdout.strip()


def test_every_number_of_the_model_is_that_of_r(cohort: pd.DataFrame, tmp_path: Path) -> None:
    fit, model = engine(cohort), fitted(fit_vbq_model(cohort))
    joint = joint_test(fit, ["nlr", "plr"])
    robust = joint_test(fit, ["nlr", "plr"], cov=robust_covariance(fit, "HC3"))
    effects = {effect.term: effect.b for effect in model.effects}
    mine = everything_about(fit, model, cohort) | {
        "per_unit": {"plr_per_50": effects["plr"], "nlr_per_1": effects["nlr"]},
        "joint_F_nlr_plr": {"F": joint.f, "df1": joint.df1, "df2": joint.df2, "p": joint.p},
        "joint_wald_hc3_nlr_plr": {"F": robust.f, "p": robust.p},
    }
    assert compare(tmp_path, mine, "ols_cohort200").endswith(
        "1184 numbers compared, 0 outside tolerance, 0 absent from candidate"
    )


def test_the_model_with_log_ratios_is_that_of_r(cohort: pd.DataFrame, tmp_path: Path) -> None:
    frame = cohort.assign(ln_nlr=np.log(cohort["nlr"]), ln_plr=np.log(cohort["plr"]))
    predictors = ("age", "sex_male", "smoking", "diabetes", "bmi", "ln_nlr", "ln_plr")
    fit, model = engine(frame, predictors), fitted(fit_vbq_model(frame, predictors=predictors))
    said = compare(tmp_path, everything_about(fit, model, frame), "ols_logratios_cohort200")
    assert said.endswith("0 outside tolerance, 0 absent from candidate")


def test_robust_errors_are_those_of_statsmodels_with_t(cohort: pd.DataFrame) -> None:
    import statsmodels.api as sm

    columns, _ = design_matrix(cohort, PREDICTORS)
    theirs = sm.OLS(cohort["vbq"].to_numpy(), columns).fit().get_robustcov_results("HC3", use_t=True)
    fit = engine(cohort)
    lines = estimates(fit, robust_se(fit, "HC3"))
    np.testing.assert_allclose([line.se for line in lines], theirs.bse, rtol=1e-8)
    np.testing.assert_allclose([line.p for line in lines], theirs.pvalues, rtol=1e-6)


def test_table_2_of_the_paper_comes_out(cohort: pd.DataFrame) -> None:
    """The synthetic cohort reproduces the printed values (expected/paper_targets.json) within their rounding."""
    table = expected("paper_targets")["table2"]
    model = fitted(fit_vbq_model(cohort))
    assert model.adj_r2 == pytest.approx(0.5203, abs=6e-4)
    for term in model.terms[1:]:
        b, beta_std, t, *_, vif, partial_r2 = table[term.term]
        assert term.b == pytest.approx(b, abs=6e-4)
        assert term.beta_std == pytest.approx(beta_std, abs=1.5e-3)
        assert term.t == pytest.approx(t, abs=0.02)
        assert term.vif == pytest.approx(vif, abs=0.01)
        assert term.partial_r2 == pytest.approx(partial_r2, abs=1e-3)


def test_the_spoilt_cohort_is_used_as_far_as_r_uses_it() -> None:
    """175 of 201 rows as in R; the slip S088 (PLR 2210) is in the model and named."""
    model = fitted(fit_vbq_model(pd.read_csv(STATISTICS / "inputs" / "messy201.csv")))
    assert (model.n_rows, model.n_used) == (201, 175)
    assert sum(model.omitted.values()) == 26
    assert in_words(model.omitted)["repeated id"] == 1
    assert in_words(model.omitted)["no finite value of nlr, plr"] == 1
    leverage, outlier, few = words(model.alerts)
    assert leverage.startswith("id S088 has a leverage of 0.94")
    assert outlier.startswith("id S088 does not fit the model")
    assert few.startswith("175 rows are fitted; 241 are needed")
    assert json.loads(json.dumps(model.to_json_dict(), allow_nan=False))["n_used"] == 175


def test_repeats_that_contradict_are_named(cohort: pd.DataFrame) -> None:
    again = cohort.iloc[[4]].assign(vbq=2.0)
    model = fitted(fit_vbq_model(pd.concat([cohort, again])))
    assert words(model.alerts)[:-1] == ["id S005 stands in 2 rows with different values; the first row is used"]
    assert model.terms == fitted(fit_vbq_model(cohort)).terms


def test_rows_that_are_alike_under_other_ids_are_said(cohort: pd.DataFrame) -> None:
    again = cohort.iloc[[4, 7]].assign(id=["X1", "X2"])
    model = fitted(fit_vbq_model(pd.concat([cohort, again])))
    said = [one for one in model.alerts if one.code == "rows-alike"]
    assert [(one.values["rows"], one.values["id"]) for one in said] == [(2, "X1")]
    near = again.assign(plr=again["plr"] + 0.1)
    assert "rows-alike" not in codes(fitted(fit_vbq_model(pd.concat([cohort, near]))).alerts)


def test_an_all_smokers_cohort_keeps_its_intercept(cohort: pd.DataFrame) -> None:
    """edge_cases.json, constant_smoking: add_constant would drop the intercept here without a word."""
    r = expected("edge_cases")["constant_smoking"]
    model = fitted(fit_vbq_model(cohort[cohort["smoking"] == 1]))
    assert (model.n_used, model.df_resid, model.aliased) == (r["n"], r["df_resid"], (r["aliased"],))
    assert {t.term: t.b for t in model.terms} == pytest.approx(r["coef"], rel=1e-9)
    assert model.r2 == pytest.approx(r["r2"], rel=1e-9)


@pytest.mark.parametrize("dup", [lambda c: c["nlr"], lambda c: 3 * c["age"] - 0.1 * c["plr"] + 7])
def test_a_column_determined_by_others_is_left_out_by_name(cohort: pd.DataFrame, dup) -> None:
    r = expected("edge_cases")["collinear_dup"]
    model = fitted(fit_vbq_model(cohort.assign(dup=dup), predictors=(*PREDICTORS, "dup")))
    assert (model.aliased, model.df_resid) == ((r["aliased"],), r["df_resid"])
    for term, plain in zip(model.terms, fitted(fit_vbq_model(cohort)).terms, strict=True):
        assert term.b == pytest.approx(plain.b, rel=1e-9)


@pytest.mark.parametrize("n", [10, 12])
def test_the_smallest_cohorts_that_can_be_fitted_agree_with_r(cohort: pd.DataFrame, n: int) -> None:
    r = expected("edge_cases")[f"first_{n}"]
    few = cohort.head(n)
    model = fitted(fit_vbq_model(few, minimum_rows_per_parameter=1))
    assert (model.df_resid, len(model.terms)) == (r["df_resid"], r["rank"])
    assert (model.r2, model.adj_r2) == pytest.approx((r["r2"], r["adj_r2"]), rel=1e-9)
    assert engine(few).leverage.max() == pytest.approx(r["max_hat"], rel=1e-9)
    assert any("leverage" in alert for alert in words(model.alerts))
    assert isinstance(fit_vbq_model(few), Refusal)


@pytest.mark.parametrize("n", [0, 1, 8, 9])
def test_no_model_below_two_spare_rows(cohort: pd.DataFrame, n: int) -> None:
    refusal = fit_vbq_model(cohort.head(n), minimum_rows_per_parameter=1)
    assert isinstance(refusal, Refusal)
    assert str(refusal.reason) == f"insufficient: {n} complete rows for 8 coefficients"


def test_ten_rows_for_each_coefficient_are_needed(cohort: pd.DataFrame) -> None:
    refusal = fit_vbq_model(cohort.head(79))
    assert isinstance(refusal, Refusal)
    assert str(refusal.reason) == "insufficient: 79 complete rows, 80 are needed (10 for each of 8 coefficients)"
    assert fitted(fit_vbq_model(cohort.head(80))).n_used == 80


def test_what_is_not_a_measurement_is_refused(cohort: pd.DataFrame) -> None:
    constant = fit_vbq_model(cohort.assign(vbq=2.9))
    exact = fit_vbq_model(cohort.assign(vbq=2 + 0.01 * cohort["age"] + 0.001 * cohort["plr"]))
    assert isinstance(constant, Refusal)
    assert isinstance(exact, Refusal)
    assert "same in all 200 rows" in str(constant.reason)
    assert "exact function" in str(exact.reason)


def test_the_unit_of_a_column_does_not_matter(cohort: pd.DataFrame) -> None:
    plain = fitted(fit_vbq_model(cohort)).terms
    scaled = fitted(fit_vbq_model(cohort.assign(plr=cohort["plr"] * 1e9))).terms
    assert [t.t for t in scaled] == pytest.approx([t.t for t in plain], rel=1e-9)
    assert scaled[-1].b * 1e9 == pytest.approx(plain[-1].b, rel=1e-9)


# NIST StRD: correct digits that the engine must reach for coefficients and for standard errors.
DIGITS = {
    "norris": (11, 13), "pontius": (12, 12), "noint1": (14, 14), "noint2": (14, 14), "longley": (10, 12),
    "filip": (7, 7), "wampler1": (9, 9), "wampler2": (12, 14), "wampler3": (9, 13), "wampler4": (7, 13),
    "wampler5": (5, 13),
}  # fmt: skip


def nist(name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    frame = pd.read_csv(STATISTICS / "inputs" / "nist" / f"{name}.csv").astype(float)
    model = expected("nist/certified")[name]["model"]
    y = frame.pop("y").to_numpy()
    if model == "y~0+x":
        return y, frame.to_numpy(), ["x"]
    if model.startswith("poly"):
        power = int(model.removeprefix("poly"))
        return y, np.vander(frame["x"], power + 1, increasing=True), [INTERCEPT, *(f"x^{i + 1}" for i in range(power))]
    return y, np.column_stack([np.ones(len(y)), frame]), [INTERCEPT, *frame.columns]


def correct_digits(found, certified) -> float:
    found, certified = np.asarray(found), np.asarray(certified)
    error = np.abs(found - certified) / np.where(certified == 0, 1, np.abs(certified))
    return float(np.min(-np.log10(np.maximum(error, 1e-15))))


@pytest.mark.parametrize("name", DIGITS)
def test_nist_reference_data(name: str) -> None:
    certified = expected("nist/certified")[name]
    y, columns, names = nist(name)
    fit = fit_linear(y, columns, names, alias_tolerance=1e-9)
    coefficient_digits, error_digits = DIGITS[name]
    assert correct_digits(fit.b, certified["b"]) >= coefficient_digits
    assert correct_digits(fit.se, certified["se"]) >= error_digits
    assert correct_digits(fit.sigma, certified["rsd"]) >= 8
    assert correct_digits(fit.r2, certified["r2"]) >= 8


def test_filip_is_named_as_collinear_at_the_tolerance_in_use() -> None:
    y, columns, names = nist("filip")
    fit = fit_linear(y, columns, names)
    assert fit.aliased == ("x^10",)
    assert fit.df_resid == 72


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        fit_linear(np.ones(3), np.ones((4, 1)), ["a"])
    with pytest.raises(ValueError, match="not finite"):
        fit_linear(np.array([1.0, np.nan]), np.ones((2, 1)), ["a"])
    with pytest.raises(ValueError, match="leverage of 1"):
        robust_se(fit_linear(np.array([1.0, 2.0, 4.0]), np.eye(3)[:, :1], ["a"]), "HC3")


def test_rows_that_the_residual_sd_needs_are_those_of_riley() -> None:
    """Criterion iii for 7 predictors: pmsampsize (R) gives 234 + parameters; here from the χ² interval of an SD."""
    known = [
        df for df in range(100, 400)
        if max(stats.chi2.ppf(0.975, df) / df, df / stats.chi2.ppf(0.025, df)) <= 1.1**2
    ]  # fmt: skip
    assert known[0] + len(PREDICTORS) + 1 == 234 + len(PREDICTORS)
    enough = simulated(known[0] + len(PREDICTORS) + 1, share=0.0)
    assert fitted(fit_vbq_model(enough)).alerts == ()
    assert codes(fitted(fit_vbq_model(enough.head(len(enough) - 1))).alerts) == ["few-rows-for-residual-sd"]


def simulated(n: int, *, share: float) -> pd.DataFrame:
    """A cohort whose PLR is made of NLR, independent of it but for ``share``: VIF of both is about 1/(1 − share²)."""
    rng = np.random.default_rng(8)
    grid = stats.norm.ppf((np.arange(n) + 0.5) / n)
    draw = {name: rng.permutation(grid) for name in ("vbq", "age", "bmi", "nlr", "own")}
    plr = share * draw["nlr"] + np.sqrt(1 - share**2) * draw["own"]
    return pd.DataFrame(
        {
            "id": [f"T{i}" for i in range(n)], "vbq": 3 + 0.3 * draw["vbq"], "age": 65 + 8 * draw["age"],
            "bmi": 24 + 3 * draw["bmi"], "nlr": 6 + draw["nlr"], "plr": 150 + 30 * plr,
            **{name: rng.permutation(n) % 2 for name in ("sex_male", "smoking", "diabetes")},
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("share", "said", "shown"),
    [(0.8, [], {"nlr", "plr"}), (0.93, ["predictors-collinear"], {"nlr", "plr"}), (0.97, ["effects-withheld"], set())],
)
def test_predictors_that_determine_each_other_are_named_and_then_withheld(share, said, shown) -> None:
    """1/(1 − share²) is 2.8, 7.4 and 16.9."""
    cohort = simulated(400, share=share)
    model = fitted(fit_vbq_model(cohort))
    assert codes(model.alerts) == said
    assert {one.term for one in model.effects} == shown
    assert {term.term for term in model.terms if term.withheld} == {"nlr", "plr"} - shown
    columns = sm.add_constant(cohort[list(PREDICTORS)].astype(float))
    for place, name in enumerate(PREDICTORS, start=1):
        second = variance_inflation_factor(columns.to_numpy(), place)
        assert next(term.vif for term in model.terms if term.term == name) == pytest.approx(second, rel=1e-9)
    for alert in model.alerts:
        assert alert.values["terms"] == ("nlr", "plr")
