"""The tables of an analysis as people read them: text cells, ready for CSV and HTML."""

from collections.abc import Iterator
from typing import Any

from analytics.methods.roc import AucComparison, Roc, Share
from analytics.paper.analysis import Analysis
from analytics.paper.logistic import LogisticFit
from analytics.paper.regression import OlsFit
from analytics.paper.sensitivity import WinsorisedFit
from analytics.paper.shape import ShapeReport
from analytics.paper.strata import StrataReport
from analytics.paper.tables import ContinuousLine, TableOne
from analytics.paper.validation import Validation
from node.analysis.agreement_tables import agreement_tables
from node.analysis.cells import LABELS, TESTS, Table, interval, number, p_value
from node.analysis.effects import WITHHELD, effect
from node.analysis.further_tables import further_tables
from node.analysis.model_tables import diagnostics, influence, interactions, scanners
from node.analysis.paper_tables import beside_table_1, beside_table_2, print_of_the_paper


def tables(analysis: Analysis) -> list[Table]:
    """Every table that the analysis has; a part that was refused has none."""
    return list(_tables(analysis))


def _tables(a: Analysis) -> Iterator[Table]:
    if isinstance(a.table_one, TableOne):
        yield table_1(a.table_one)
    yield _correlations(a)
    if isinstance(a.model, OlsFit):
        yield _model(a.model, a.validation)
        yield _effects(a.model)
    yield from _sensitivity(a)
    if isinstance(a.shape, ShapeReport):
        yield _shape(a.shape)
        yield interactions(a.shape)
    if isinstance(a.validation, Validation):
        yield diagnostics(a.validation)
        yield influence(a.validation)
    if isinstance(a.scanners, StrataReport):
        yield scanners(a.scanners)
    curves = {name: curve for name, curve in a.curves.items() if isinstance(curve, Roc)}
    if curves:
        yield _curves(curves, a.choices.outcome or f"VBQ ≥ {a.cut:g}")
    areas = {name: one for name, one in a.areas.items() if isinstance(one, AucComparison)}
    if areas:
        yield _areas(areas)
    yield from further_tables(a)
    if a.readers is not None:
        yield from agreement_tables(a.readers)
    if isinstance(a.table_one, TableOne):
        yield beside_table_1(a.table_one)
    if isinstance(a.model, OlsFit):
        yield beside_table_2(a.model, a.correlations)
    yield print_of_the_paper()


def table_1(t: TableOne) -> Table:
    """Table 1, each p beside the summary that it tests."""
    rows: list[tuple[str, ...]] = []
    for c in t.continuous:
        rows.append((LABELS[c.variable], *_compared(c), TESTS[c.used], p_value(c.p), str(c.missing)))
    for b in t.binary:
        ratio = "–" if b.odds_ratio_ci is None else f"{number(b.odds_ratio, 2)} ({interval(*b.odds_ratio_ci, 2)})"
        counts = f"{b.high_yes} / {b.high_no}", f"{b.low_yes} / {b.low_no}"
        row = (f"{LABELS[b.variable]}, yes / no", *counts, ratio, number(b.smd, 2), TESTS[b.used], p_value(b.p))
        rows.append((*row, str(b.missing)))
    for k in t.classes:
        highs, lows = (" / ".join(str(pair[i]) for pair in k.counts.values()) for i in (0, 1))
        name = f"{LABELS[k.variable]}, {' / '.join(k.counts)}"
        rows.append((name, highs, lows, "–", "–", TESTS[k.used], p_value(k.p), str(k.missing)))
    rows += [(LABELS[name], *("–",) * 4, f"none: {why}", "–", "–") for name, why in t.left_out.items()]
    return Table(
        name="table1",
        title=f"Table 1. Patients by VBQ: high is VBQ ≥ {t.cut:g}",
        columns=(
            "", f"High VBQ (n = {t.high})", f"Low VBQ (n = {t.low})", "Difference or odds ratio (95 % CI)",
            "Standardised difference", "Test", "p", "Missing",
        ),
        rows=tuple(rows),
        note="Each p stands beside what it tests. Student's and Welch's t: mean ± SD, mean difference with the "
        "interval of that test, standardised by the root of the mean variance. Mann–Whitney: median (quartiles), "
        "Hodges and Lehmann's shift with its interval, Cliff's delta. Counts: odds ratio (Wald). Mann–Whitney where "
        "Shapiro and Wilk's p is below 0.05 in a group, else Student's t, or Welch's where the variances differ; "
        "χ² with Yates' correction for 2 × 2, Fisher's exact test where fewer than 5 are expected. "
        "A group of more than 5,000 counts as normal without that test.",
    )  # fmt: skip


def _compared(line: ContinuousLine) -> tuple[str, str, str, str]:
    """Both groups, their difference and its standardised form, as the test that gave the p sees them."""
    groups = (line.high, line.low)
    if line.used == "mann_whitney":
        high, low = (f"{number(one.median, 2)} ({interval(one.q1, one.q3, 2)})" for one in groups)
        shift = f"{number(line.ranks.shift, 2)} ({interval(*line.ranks.shift_ci, 2)})"
        return high, low, shift, f"{number(line.ranks.delta, 2)} (delta)"
    high, low = (f"{number(one.mean, 2)} ± {number(one.sd, 2)}" for one in groups)
    limits = line.means.welch_ci if line.used == "welch" else line.means.student_ci
    return high, low, f"{number(line.means.difference, 2)} ({interval(*limits, 2)})", number(line.means.smd, 2)


def _correlations(a: Analysis) -> Table:
    rows = tuple(
        (LABELS[name], number(c.rho), interval(c.ci_low, c.ci_high), p_value(c.p), str(c.n))
        for name, c in a.correlations.items()
    )
    columns = ("", "Spearman's ρ with VBQ", "95 % CI", "p", "n")
    return Table(name="correlations", title="Correlation with VBQ", columns=columns, rows=rows)


def _model(model: OlsFit, validation: Any) -> Table:
    valid = validation if isinstance(validation, Validation) else None
    resampled = {one.term: interval(one.ci_low, one.ci_high, 4) for one in valid.intervals} if valid else {}
    rows = tuple(
        (
            LABELS[t.term], *effect(t), number(t.t, 2), p_value(t.p), number(t.vif, 2), number(t.partial_r2),
            "–" if t.withheld else resampled.get(t.term, "–"),
        )
        for t in model.terms
    )  # fmt: skip
    note = f"n = {model.n_used}, R² = {number(model.r2)}, adjusted R² = {number(model.adj_r2)}."
    if any(t.withheld for t in model.terms):
        note += f" {WITHHELD}"
    if valid:
        note += (
            f" R² corrected for optimism {number(valid.r2_corrected)} ({valid.bootstraps} bootstrap samples, "
            f"{valid.unfitted} without a fit, seed {valid.seed}); error of predicting each patient from the others "
            f"{number(valid.loo_rmse)} VBQ."
        )
    return Table(
        name="table2",
        title="Table 2. VBQ by multivariable linear regression",
        columns=("", "b", "95 % CI", "β standardised", "t", "p", "VIF", "Partial R²", "Bootstrap 95 % CI of b"),
        rows=rows,
        note=note,
    )


def _effects(model: OlsFit) -> Table:
    rows = tuple(
        (f"per {e.per:g} {LABELS[e.term]}", number(e.b, 4), interval(e.ci_low, e.ci_high, 4)) for e in model.effects
    )
    return Table(name="effects", title="Change of VBQ", columns=("", "b", "95 % CI"), rows=rows)


def _sensitivity(a: Analysis) -> Iterator[Table]:
    columns = ("", "b", "95 % CI", "t", "p")
    models: list[tuple[str, str, Any]] = []
    if isinstance(a.log_ratios, OlsFit):
        models.append(("log_ratios", "Sensitivity: natural logarithms of the ratios", a.log_ratios))
    if isinstance(a.winsorised, WinsorisedFit):
        share = f"{100 * a.winsorised.share:g} %"
        models.append(("winsorised", f"Sensitivity: ratios clipped at {share} on each side, HC3 errors", a.winsorised))
    for name, title, model in models:
        rows = tuple(
            (LABELS[t.term], number(t.b, 4), interval(t.ci_low, t.ci_high, 4), number(t.t, 2), p_value(t.p))
            for t in model.terms
        )
        note = f"n = {model.n_used}, adjusted R² = {number(model.adj_r2)}."
        yield Table(name=name, title=title, columns=columns, rows=rows, note=note)
    if isinstance(a.logistic, LogisticFit):
        yield _logistic(a.logistic)


def _logistic(fit: LogisticFit) -> Table:
    rows = tuple(
        (
            LABELS[t.term] + (" (per SD)" if t.term in fit.per_sd else ""), number(t.odds_ratio, 2),
            interval(t.wald_low, t.wald_high, 2), interval(t.profile_low, t.profile_high, 2), p_value(t.p),
        )
        for t in fit.terms[1:]
    )  # fmt: skip
    return Table(
        name="logistic",
        title=f"Sensitivity: logistic model of VBQ ≥ {fit.cut:g}",
        columns=("", "Odds ratio", "95 % CI (Wald)", "95 % CI (profile)", "p"),
        rows=rows,
        note=f"By {fit.method}; n = {fit.n_used}, {fit.events} with high VBQ, ROC area {number(fit.auc)} (of the same "
        f"patients), Hosmer–Lemeshow p {p_value(fit.hosmer_lemeshow_p)}.",
    )


def _shape(report: ShapeReport) -> Table:
    words = {
        "quadratic": "age squared", "ns_df3": "natural spline of age, 3 df", "ns_df4": "natural spline of age, 4 df",
        "rcs4": "restricted cubic spline of age, 4 knots", "age_x_nlr": "age × NLR", "age_x_plr": "age × PLR",
        "age_x_both": "age × NLR and age × PLR",
    }  # fmt: skip
    rows = tuple(
        (words[e.name], number(e.test.f, 2), f"{e.test.df1}, {e.test.df2}", p_value(e.test.p), number(e.adj_r2))
        for e in report.extensions
    )
    columns = ("Added to the model", "F", "df", "p", "Adjusted R²")
    return Table(name="shape", title="Curves over age, and interactions", columns=columns, rows=rows)


def _curves(curves: dict[str, Roc], outcome: str) -> Table:
    def shown(share: Share) -> str:
        return f"{number(share.value, 2)} ({interval(share.ci_low, share.ci_high, 2)})"

    rows = []
    for name, c in curves.items():
        at = c.youden
        area = f"{number(c.auc)} ({interval(c.auc_ci_low, c.auc_ci_high)})"
        cut = f"{number(at.cut, 2)} ({interval(c.cut_interval[0], c.cut_interval[2], 2)})"
        shares = (shown(share) for share in (at.sensitivity, at.specificity, at.ppv, at.npv))
        rows.append((LABELS[name], area, cut, *shares, number(at.youden), number(c.youden_corrected)))
    one = next(iter(curves.values()))
    return Table(
        name="roc",
        title=f"ROC and Youden's cut against: {outcome}",
        columns=(
            "", "Area (95 % CI)", "Cut (bootstrap 95 %)", "Sensitivity", "Specificity", "PPV", "NPV", "Youden's J",
            "J corrected for optimism",
        ),
        rows=tuple(rows),
        note=f"n = {one.n}, prevalence {number(one.prevalence, 2)}; {one.bootstraps} bootstrap samples, seed "
        f"{one.seed}." + (f" Circular: {one.circular}." if one.circular else ""),
    )  # fmt: skip


def _areas(areas: dict[str, AucComparison]) -> Table:
    names = {name: " − ".join(LABELS[marker] for marker in name.split(" − ")) for name in areas}
    rows = tuple((names[name], number(one.difference), number(one.z, 2), p_value(one.p)) for name, one in areas.items())
    return Table(
        name="areas",
        title="ROC areas compared (DeLong, paired)",
        columns=("", "Difference of the areas", "z", "p"),
        rows=rows,
    )
