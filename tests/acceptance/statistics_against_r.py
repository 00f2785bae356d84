"""Every expected number against what this software computes; a line for each file.

``python tests/acceptance/statistics_against_r.py --inputs DIR --expected DIR``: the inputs are cohort tables, reader
tables and NIST's sets, the expected numbers R's (JSON by the analysis and the table's name: ``ols_cohort200.json``),
compared by the ``tolerances.json`` beside the expected folder as its ``compare.py`` does. Exit code 1 when a number
is missing or outside its tolerance.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from math import atanh, isfinite, sqrt, tanh
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analytics.methods.agreement import Agreement, BlandAltman, agreement, bland_altman
from analytics.methods.correlation import spearman
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
from analytics.methods.roc import Characteristics, Roc, compare_areas, roc
from analytics.methods.rows import complete_rows
from analytics.methods.two_groups import Result, chi_squared
from analytics.paper.logistic import Likelihood, LogisticFit, logistic_model
from analytics.paper.regression import PREDICTORS, OlsFit, design_matrix, fit_vbq_model
from analytics.paper.sensitivity import CONTINUOUS, LOG_PREDICTORS, RATIOS, winsorised_model, with_log_ratios
from analytics.paper.shape import ShapeReport, shape_report
from analytics.paper.tables import TableOne, median_cut, table_one
from analytics.pictures.base import trend

SEED = 20240506
PAPERS_CUT = 2.90
PRINTED_DIAGNOSES = np.array([[41.0, 44], [40, 30], [18, 27]])
"""High and low by diagnosis as the paper prints them, and its p value below."""
PRINTED_DIAGNOSIS_P = 0.434
REFERENCE = {"sex_male": 0.0, "smoking": 0.0, "diabetes": 0.0, "bmi": 20.5, "nlr": 3.0, "plr": 228.0}
"""The patient for whom the expected curves over age were computed."""
NIST_DIGITS = 5
"""Correct digits asked of every NIST set; Wampler5, made to be hard, leaves no more in double precision."""
NOT_COMPARED = {
    r"^logit.*/iter$": "how often R iterated",
    r"^edge_cases/(quasi|perfect_sep)/": "R prints where it gave up on separated groups; here Firth's method is used",
    r"^edge_cases/first_\d+/hc3_finite$": "a gate refuses such cohorts",
    r"^edge_cases/first_8/": "a model without degrees of freedom is refused",
    r"^edge_cases/first_9/": "a model with one degree of freedom is refused",
    r"^roc.*/youden_optimism/\w+/se$": "the simulation error of R's own random numbers",
}  # fmt: skip

COARSER = {r"^/\w+/coef/\(Intercept\)/OR_profile_(lo|hi)$": 5e-4}
"""Relative tolerance where R itself is coarser: it interpolates the intercept's profile, which spans 18 on the log
scale, between ten points."""

Json = dict[str, Any]
CI = ("ci_low", "ci_high")


def lines(terms: Any) -> Json:
    keys = {"b": "b", "se": "se", "t": "t", "p": "p", "lo": "ci_low", "hi": "ci_high"}
    return {term.term: {theirs: getattr(term, ours) for theirs, ours in keys.items()} for term in terms}


def engine(frame: pd.DataFrame, predictors: tuple[str, ...]) -> LinearFit:
    used = complete_rows(frame, ("vbq", *predictors)).frame
    columns, names = design_matrix(used, predictors)
    return fit_linear(used["vbq"].to_numpy(dtype=np.float64), columns, names)


def ols(cohort: pd.DataFrame, expected: Json, predictors: tuple[str, ...] = PREDICTORS) -> Json:
    fit, model = engine(cohort, predictors), fit_vbq_model(cohort, predictors=predictors)
    assert isinstance(model, OlsFit), model
    table = lines(model.terms)
    for term in model.terms[1:]:
        table[term.term] |= {"beta_std": term.beta_std, "vif": term.vif, "partial_r2": term.partial_r2}
    overall, ratios = joint_test(fit, fit.names[1:]), fit.names[-2:]
    joint, robust = joint_test(fit, ratios), joint_test(fit, ratios, cov=robust_covariance(fit, "HC3"))
    return {
        "n": model.n_used, "p": len(model.terms), "df_resid": model.df_resid, "coef": table, "r2": model.r2,
        "adj_r2": model.adj_r2, "sigma": model.residual_sd, "F": overall.f, "F_p": overall.p,
        "logLik": fit.log_likelihood, "AIC": fit.aic, "BIC": fit.bic, "sse": fit.sse,
        "per_unit": {f"{effect.term}_per_{effect.per:g}": effect.b for effect in model.effects},
        "joint_F_nlr_plr": {"F": joint.f, "df1": joint.df1, "df2": joint.df2, "p": joint.p},
        "joint_wald_hc3_nlr_plr": {"F": robust.f, "p": robust.p},
        "hc": {k: lines(estimates(fit, robust_se(fit, k))) for k in ("HC0", "HC1", "HC2", "HC3", "HC4")},
    } | standardised(fit, model) | influence(fit) | assumptions(fit)  # fmt: skip


def standardised(fit: LinearFit, model: OlsFit) -> Json:
    outcome_sd = fit.outcome.std(ddof=1)
    scale = {name: fit.design[:, i].std(ddof=1) / outcome_sd for i, name in enumerate(fit.names)}
    columns = np.column_stack([(column - column.mean()) / column.std(ddof=1) for column in fit.design.T[1:]])
    outcome = (fit.outcome - fit.outcome.mean()) / outcome_sd
    refit = fit_linear(outcome, np.column_stack([np.ones(fit.n), columns]), fit.names)
    return {
        "effectsize_posthoc": {term.term: term.beta_std or 0.0 for term in model.terms},
        "effectsize_posthoc_lo": {term.term: term.ci_low * scale[term.term] for term in model.terms},
        "effectsize_posthoc_hi": {term.term: term.ci_high * scale[term.term] for term in model.terms},
        "beta_std_refit": dict(zip(refit.names, refit.b.tolist(), strict=True)),
    }


def influence(fit: LinearFit) -> Json:
    studentised, cook = externally_studentised(fit), cooks_distance(fit)
    outlier = int(np.argmax(np.abs(studentised)))
    return {
        "press": press(fit), "loocv_rmse": sqrt(press(fit) / fit.n), "max_hat": float(fit.leverage.max()),
        "which_max_hat": int(fit.leverage.argmax()) + 1, "max_cook": float(cook.max()),
        "which_max_cook": int(cook.argmax()) + 1, "max_abs_rstudent": float(abs(studentised[outlier])),
        "n_hat_gt_2p_n": int((fit.leverage > 2 * len(fit.names) / fit.n).sum()), "which_max_rstudent": outlier + 1,
        "outlier_bonf_p": min(1.0, float(2 * fit.n * stats.t.sf(abs(studentised[outlier]), fit.df_resid - 1))),
        "hat": fit.leverage.tolist(), "cook": cook.tolist(), "rstudent": studentised.tolist(),
        "fitted": fit.fitted.tolist(),
    }  # fmt: skip


def assumptions(fit: LinearFit) -> Json:
    bp, classic, ramsey, normal = breusch_pagan(fit), breusch_pagan_classic(fit), reset(fit), shapiro(fit)
    return {
        "breusch_pagan_koenker": {"stat": bp.statistic, "df": bp.df, "p": bp.p},
        "breusch_pagan_classic": {"stat": classic.statistic, "p": classic.p},
        "reset_fitted_2_3": {"F": ramsey.f, "df1": ramsey.df1, "df2": ramsey.df2, "p": ramsey.p},
        "shapiro": {"W": normal.statistic, "p": normal.p},
        "durbin_watson": durbin_watson(fit), "condition_number_scaled": condition_number(fit),
    }  # fmt: skip


def ols_logratios(cohort: pd.DataFrame, expected: Json) -> Json:
    return ols(with_log_ratios(cohort), expected, LOG_PREDICTORS)


def winsor_hc3(cohort: pd.DataFrame, expected: Json) -> Json:
    fits: Json = {}
    for name in expected["fits"]:
        share, which = re.fullmatch(r"p(\d+)_(\w+)", name).groups()
        columns = RATIOS if which == "ratios" else CONTINUOUS
        fit: Any = winsorised_model(cohort, share=int(share) / 100, columns=columns)
        limits = {column: list(pair) for column, pair in fit.limits.items()}
        fits[name] = {
            "limits": limits, "classic": lines(fit.classic_terms), "HC3": lines(fit.terms), "r2": fit.r2,
            "adj_r2": fit.adj_r2,
        }  # fmt: skip
    return {"fits": fits}


def cut_with(cohort: pd.DataFrame, high: int) -> float:
    """The cut of the expected numbers, which do not name it: the paper's or the cohort's median."""
    median = median_cut(cohort)
    assert isinstance(median, float)
    return next(cut for cut in (PAPERS_CUT, median) if int((cohort["vbq"] >= cut).sum()) == high)


def logit(cohort: pd.DataFrame, expected: Json) -> Json:
    found: Json = {}
    for name, theirs in expected.items():
        if name.startswith("_"):
            continue
        predictors = LOG_PREDICTORS if name.startswith("ln") else PREDICTORS
        cut = cut_with(cohort, theirs["events"])
        fit = logistic_model(cohort, cut=cut, predictors=predictors, per_sd=theirs["scaled_by_sd_ddof1"])
        assert isinstance(fit, LogisticFit), fit
        found[name] = logit_numbers(fit, calibration_slope(cohort, fit, predictors))
    return found


def logit_numbers(fit: LogisticFit, slope: float) -> Json:
    keys = {
        "b": "b", "se": "se", "z": "z", "p": "p", "OR": "odds_ratio", "OR_wald_lo": "wald_low",
        "OR_wald_hi": "wald_high", "OR_profile_lo": "profile_low", "OR_profile_hi": "profile_high",
    }  # fmt: skip
    return {
        "n": fit.n_used, "events": fit.events, "scaled_by_sd_ddof1": list(fit.per_sd), "logLik": fit.log_likelihood,
        "null_logLik": fit.null_log_likelihood, "AIC": fit.aic, "mcfadden": fit.mcfadden_r2,
        "nagelkerke": fit.nagelkerke_r2, "auc": fit.auc, "brier": fit.brier, "calib_slope_insample": slope,
        "hosmer_lemeshow_g10": {
            "chi2": fit.hosmer_lemeshow_chi2, "df": fit.hosmer_lemeshow_df, "p": fit.hosmer_lemeshow_p,
        },
        "coef": {term.term: {k: getattr(term, ours) for k, ours in keys.items()} for term in fit.terms},
    }  # fmt: skip


def calibration_slope(cohort: pd.DataFrame, fit: LogisticFit, predictors: tuple[str, ...]) -> float:
    frame = complete_rows(with_log_ratios(cohort), ("vbq", *predictors)).frame
    for name, sd in fit.per_sd.items():
        frame[name] = (frame[name] - frame[name].mean()) / sd
    columns, _ = design_matrix(frame, predictors)
    log_odds = columns @ np.array([term.b for term in fit.terms])
    high = (frame["vbq"].to_numpy() >= fit.cut).astype(np.float64)
    again = Likelihood(np.column_stack([np.ones(len(high)), log_odds]), high, firth=False).maximise()
    return float(again.b[1])


def roc_(cohort: pd.DataFrame, expected: Json) -> Json:
    high = cohort["vbq"] >= cut_with(cohort, expected["nlr"]["pos"])
    curves = {name: roc(cohort[name], high, seed=SEED) for name in ("nlr", "plr", "age")}
    compared: Any = compare_areas(cohort["nlr"], cohort["plr"], high)
    found = {name: roc_numbers(curve) for name, curve in curves.items() if isinstance(curve, Roc)}
    optimism = {
        name: {
            "J_apparent": curve.youden.youden, "optimism": curve.optimism, "se": curve.optimism_se,
            "J_corrected": curve.youden_corrected,
        }
        for name, curve in curves.items() if isinstance(curve, Roc)
    }  # fmt: skip
    quartiles = {name: float(np.quantile(cohort[name], 0.75)) for name in ("vbq", "nlr", "plr")}
    delong = {"z": compared.z, "p": compared.p}
    return found | {"nlr_vs_plr_delong": delong, "youden_optimism": optimism, "upper_quartile_type7": quartiles}


def roc_numbers(curve: Roc) -> Json:
    best, corner = at_cut(curve.youden), at_cut(curve.closest_topleft)
    return {
        "n": curve.n, "pos": curve.positive, "auc": curve.auc, "auc_var_delong": curve.auc_variance,
        "auc_delong_ci": [curve.auc_ci_low, curve.auc_ci_high], "auc_boot_ci": list(curve.auc_bootstrap),
        "youden": best, "n_best": curve.n_best, "closest_topleft": corner,
        "boot": {
            "B": curve.bootstraps, "threshold": list(curve.cut_interval), "cols": ["2.5%", "50%", "97.5%"],
            "sensitivity": list(curve.sensitivity_interval), "specificity": list(curve.specificity_interval),
        },
    }  # fmt: skip


def at_cut(one: Characteristics) -> Json:
    shares = {name: getattr(one, name).value for name in ("sensitivity", "specificity", "ppv", "npv")}
    counts = {"tp": one.true_positive, "fp": one.false_positive, "tn": one.true_negative, "fn": one.false_negative}
    # pROC does not subtract the 1 from the sum.
    return {"threshold": one.cut, **shares, "youden": one.youden + 1, **counts}


def table1(cohort: pd.DataFrame, expected: Json) -> Json:
    found = table_one(cohort, cut=cut_with(cohort, expected["continuous"]["age"]["hi"]["n"]))
    assert isinstance(found, TableOne), found
    (diagnosis,) = found.classes
    printed = chi_squared(PRINTED_DIAGNOSES)
    return {
        "continuous": {line.variable: continuous_line(line) for line in found.continuous},
        "categorical": {line.variable: binary_line(line) for line in found.binary},
        "diagnosis": {
            "chi2": diagnosis.chi2.statistic, "df": diagnosis.chi2.df, "p": diagnosis.chi2.p,
            "fisher_p": diagnosis.fisher_p,
        },
        "paper_diagnosis_check": {"chi2": printed.statistic, "p": printed.p, "printed": PRINTED_DIAGNOSIS_P},
    }  # fmt: skip


def continuous_line(line: Any) -> Json:
    groups = {
        key: {name: getattr(group, name) for name in ("n", "mean", "sd", "median", "q1", "q3", "shapiro_p")}
        for key, group in (("hi", line.high), ("lo", line.low))
    }
    means, ranks = line.means, line.ranks

    def t_test(test: Result, ci: tuple[float, float]) -> Json:
        return {"t": test.statistic, "df": test.df, "p": test.p, "ci": list(ci)}

    return groups | {
        "diff": means.difference, "t": t_test(means.student, means.student_ci), "cohen_d": means.cohen_d,
        "welch": t_test(means.welch, means.welch_ci) | {"ci_z": list(means.welch_ci_normal)}, "smd": means.smd,
        "mwu": {
            "W": ranks.w, "p_corrected": ranks.p, "p_uncorrected": ranks.p_uncorrected,
            "hodges_lehmann": ranks.shift, "hl_ci": list(ranks.shift_ci),
        },
        "levene_mean": {"F": line.levene.statistic, "p": line.levene.p},
        "brown_forsythe": {"F": line.brown_forsythe.statistic, "p": line.brown_forsythe.p},
    }  # fmt: skip


def binary_line(line: Any) -> Json:
    return {
        "table": {
            "hi_yes": line.high_yes, "hi_no": line.high_no, "lo_yes": line.low_yes, "lo_no": line.low_no,
        },
        "min_expected": line.smallest_expected, "chi2_yates": line.chi2_yates.statistic,
        "p_yates": line.chi2_yates.p, "chi2": line.chi2.statistic, "p": line.chi2.p, "fisher_p": line.fisher_p,
        "fisher_or_cmle": line.conditional_odds_ratio, "fisher_ci": list(line.conditional_odds_ratio_ci),
        "OR": line.odds_ratio, "OR_wald": list(line.odds_ratio_ci),
    }  # fmt: skip


def spearman_(cohort: pd.DataFrame, expected: Json) -> Json:
    vbq = cohort["vbq"].to_numpy(dtype=np.float64)
    bands = {}
    for name, band in expected["ols_band"].items():
        bands[name] = line_and_bands(cohort[name].to_numpy(dtype=np.float64), vbq, np.array(band["x"], dtype=float))
    found = {name: rank_correlation(cohort[name].to_numpy(dtype=np.float64), vbq) for name in expected["spearman"]}
    return {"spearman": found, "ols_band": bands}


def rank_correlation(x: Any, vbq: Any) -> Json:
    found: Any = spearman(x, vbq)
    rho, n, z = found.rho, found.n, stats.norm.ppf(0.975)
    pearson = stats.pearsonr(x, vbq)

    def interval(variance: float) -> list[float]:
        return [tanh(atanh(rho) + sign * z * sqrt(variance)) for sign in (-1, 1)]

    return {
        "rho": rho, "S": (n**3 - n) * (1 - rho) / 6, "p_t_approx": found.p, "n": n,
        "t": rho * sqrt((n - 2) / (1 - rho**2)), "ci_fisher": interval(1 / (n - 3)),
        "ci_fieller_1.06": interval(1.06 / (n - 3)), "ci_bonett_wright": [found.ci_low, found.ci_high],
        "pearson": float(pearson.statistic), "pearson_p": float(pearson.pvalue),
        "pearson_ci": [float(end) for end in pearson.confidence_interval()],
    }  # fmt: skip


def line_and_bands(x: Any, vbq: Any, grid: Any) -> Json:
    fitted, low, high = trend(x, vbq, grid)
    fit = fit_linear(vbq, np.column_stack([np.ones(len(x)), x]), (INTERCEPT, "x"))
    t = float(stats.t.ppf(0.975, fit.df_resid))
    reach = t * np.sqrt(((high - fitted) / t) ** 2 + fit.sigma**2)
    return {
        "x": grid.tolist(), "fit": fitted.tolist(), "lo": low.tolist(), "hi": high.tolist(),
        "pred_lo": (fitted - reach).tolist(), "pred_hi": (fitted + reach).tolist(),
        "intercept": float(fit.b[0]), "slope": float(fit.b[1]),
    }  # fmt: skip


def spline(cohort: pd.DataFrame, expected: Json) -> Json:
    report = shape_report(cohort, reference=REFERENCE)
    assert isinstance(report, ShapeReport), report
    found: Json = {
        "centred_interactions": lines(report.interactions.terms),
        "centred_interactions_hc3": lines(report.interactions.robust_terms),
    }
    for one in report.extensions:
        test = {"F": one.test.f, "df1": one.test.df1, "df2": one.test.df2, "p": one.test.p}
        natural = one.name.startswith("ns")
        found[one.name] = test | {
            "r2": one.r2, "adj_r2": one.adj_r2, "AIC": one.aic, "sse": one.sse,
            "knots": list(one.knots[1:-1] if natural else one.knots),
            "boundary": [one.knots[0], one.knots[-1]] if natural else [],
            "grid": [age for age, _ in one.curve], "pred": [vbq for _, vbq in one.curve],
        }  # fmt: skip
    return found


def icc(inputs: Path, expected: Json) -> Json:
    found: Json = {}
    forms = {
        "ICC1": "one_way", "ICC2": "single_agreement", "ICC3": "single_consistency", "ICC1k": "average_one_way",
        "ICC2k": "average_agreement", "ICC3k": "average_consistency",
    }  # fmt: skip
    keys = {"icc": "icc", "F": "f", "df1": "df1", "df2": "df2", "p": "p", "lo": "ci_low", "hi": "ci_high"}
    for name in (name for name in expected if not name.startswith("_")):
        (file,) = inputs.glob(f"{name}*.csv")
        table = pd.read_csv(file).iloc[:, 1:].to_numpy(dtype=np.float64)
        one = agreement(table)
        assert isinstance(one, Agreement), one
        found[name] = {
            "psych": {f: {k: getattr(getattr(one, ours), v) for k, v in keys.items()} for f, ours in forms.items()},
            "published": {f: getattr(one, ours).icc for f, ours in forms.items()},
            "ms": {
                "n": one.n, "k": one.k, "MSR": one.ms_subjects, "MSC": one.ms_raters, "MSE": one.ms_error,
                "MSW": one.ms_within, "sem_agreement": one.sem_agreement, "sem_consistency": one.sem_consistency,
                "mdc95_consistency": one.mdc95_consistency,
            },
        }  # fmt: skip
        pairs = bland_altman(table[:, 0], table[:, 1])
        if isinstance(pairs, BlandAltman):
            limits = [pairs.lower_limit, pairs.upper_limit]
            found[name]["bland_altman"] = {"bias": pairs.bias, "sd": pairs.sd, "loa": limits}
    return found


def edge_cases(inputs: Path, expected: Json) -> Json:
    (file,) = inputs.glob("cohort*.csv")
    cohort = pd.read_csv(file)
    smokers: Any = fit_vbq_model(cohort[cohort["smoking"] == 1])
    copied: Any = fit_vbq_model(cohort.assign(dup=cohort["nlr"]), predictors=(*PREDICTORS, "dup"))
    found: Json = {
        "constant_smoking": {
            "n": smokers.n_used, "aliased": smokers.aliased[0], "df_resid": smokers.df_resid, "r2": smokers.r2,
            "coef": {term.term: term.b for term in smokers.terms},
        },
        "collinear_dup": {"aliased": copied.aliased[0], "df_resid": copied.df_resid},
    }  # fmt: skip
    for name in (name for name in expected if name.startswith("first_")):
        few = cohort.head(expected[name]["n"])
        model = fit_vbq_model(few, minimum_rows_per_parameter=1)
        if isinstance(model, OlsFit):
            found[name] = {
                "n": model.n_used, "rank": len(model.terms), "df_resid": model.df_resid,
                "aliased": list(model.aliased), "r2": model.r2, "adj_r2": model.adj_r2,
                "max_hat": float(engine(few, PREDICTORS).leverage.max()),
            }  # fmt: skip
    return found


COHORT_FILES: dict[str, Callable[[pd.DataFrame, Json], Json]] = {
    "logit": logit, "ols": ols, "ols_logratios": ols_logratios, "roc": roc_, "spearman": spearman_,
    "spline": spline, "table1": table1, "winsor_hc3": winsor_hc3,
}  # fmt: skip
OTHER_FILES: dict[str, Callable[[Path, Json], Json]] = {"edge_cases": edge_cases, "icc": icc}


def computed(file: Path, inputs: Path) -> Json | None:
    """The layout of an expected file with this software's numbers; ``None`` for a file of another kind."""
    expected = json.loads(file.read_text())
    if file.stem in OTHER_FILES:
        return OTHER_FILES[file.stem](inputs, expected)
    kind, _, table = file.stem.rpartition("_")
    if kind not in COHORT_FILES:
        return None
    return COHORT_FILES[kind](pd.read_csv(inputs / f"{table}.csv"), expected)


def leaves(value: Any, path: str = "", skip: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each number, text or truth of an expected file with its path, as ``compare.py`` walks it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not key.startswith("_") and key not in skip:
                yield from leaves(inner, f"{path}/{key}", skip)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}/{index}", skip)
    else:
        yield path, value


def agrees(path: str, expected: Any, mine: Any, tolerances: Json) -> bool:
    """Whether a number is within its tolerance; ``path`` is within the file, what is no number must be equal."""
    if isinstance(expected, bool) or not isinstance(expected, int | float):
        return bool(expected == mine)
    if not isinstance(mine, int | float) or not isfinite(mine):
        return False
    limits = ((rule[1], rule[2]) for rule in tolerances["rules"] if re.search(rule[0], path))
    relative, absolute = next(limits, tuple(tolerances["default"]))
    return abs(expected - mine) <= max(absolute, relative * abs(expected))


def check_file(file: Path, inputs: Path, tolerances: Json) -> bool:
    """Print how many of a file's numbers are met, and those that are not; whether all are."""
    mine = computed(file, inputs)
    if mine is None:
        print(f"{file.name}: not numbers of R, not compared")
        return True
    found, passed, wrong, left = dict(leaves(mine)), 0, [], set()
    for path, value in leaves(json.loads(file.read_text()), skip=tuple(tolerances["skip"])):
        reason = next((why for what, why in NOT_COMPARED.items() if re.search(what, file.stem + path)), None)
        if reason is not None:
            left.add(reason)
        elif path in found and agrees(path, value, found[path], tolerances):
            passed += 1
        else:
            wrong.append(f"  {path}: expected {value}, found {found.get(path, 'nothing')}")
    print(f"{file.name}: passed {passed} of {passed + len(wrong)}")
    for line in (*(f"  not compared: {why}" for why in sorted(left)), *wrong):
        print(line)
    return not wrong


def check_nist(certified: Json, inputs: Path) -> bool:
    """Print the correct digits of each NIST set's coefficients and errors; whether all have enough."""
    enough = True
    for name, values in certified.items():
        if name.startswith("_"):
            continue
        frame = pd.read_csv(inputs / "nist" / f"{name}.csv").astype(float)
        y, model = frame.pop("y").to_numpy(), values["model"]
        columns = frame.to_numpy()
        if model.startswith("poly"):
            columns = np.vander(frame["x"], int(model.removeprefix("poly")) + 1, increasing=True)
        elif model != "y~0+x":
            columns = np.column_stack([np.ones(len(y)), columns])
        names = (INTERCEPT, *(f"x{i}" for i in range(1, columns.shape[1]))) if model != "y~0+x" else ("x",)
        fit = fit_linear(y, columns, names, alias_tolerance=1e-9)
        digits = [correct_digits(one, values[key]) for key, one in (("b", fit.b), ("se", fit.se))]
        enough = enough and min(digits) >= NIST_DIGITS
        print(f"nist {name}: correct digits of coefficients {digits[0]:.1f}, of standard errors {digits[1]:.1f}")
    return enough


def correct_digits(found: Any, certified: Any) -> float:
    exact = np.asarray(certified, dtype=np.float64)
    error = np.abs(np.asarray(found) - exact) / np.where(exact == 0, 1, np.abs(exact))
    return float(np.min(-np.log10(np.maximum(error, 1e-15))))


def main(arguments: list[str] | None = None) -> int:
    """Check every file of the expected folder; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--expected", type=Path, required=True)
    given = parser.parse_args(arguments)
    tolerances = json.loads((given.expected.parent / "tolerances.json").read_text())
    tolerances["rules"] = [[rule, relative, 0] for rule, relative in COARSER.items()] + tolerances["rules"]
    results = [check_file(file, given.inputs, tolerances) for file in sorted(given.expected.glob("*.json"))]
    nist = given.expected / "nist" / "certified.json"
    if nist.exists():
        results.append(check_nist(json.loads(nist.read_text()), given.inputs))
    print("all met" if results and all(results) else "NOT all met")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
