"""The tables of what the paper leaves to others: counts apart, quartiles by age and sex, missing values, risk."""

from collections.abc import Iterator

from analytics.methods.roc import Share
from analytics.methods.rows import Refusal
from analytics.paper.analysis import Analysis
from analytics.paper.imputation import ImputedFit
from analytics.paper.ratio_parts import RatioParts
from analytics.paper.regression import OlsFit
from analytics.paper.risk import RiskReport
from analytics.paper.upper_quartile import UpperQuartile
from node.analysis.cells import LABELS, Table, interval, number, p_value


def further_tables(a: Analysis) -> Iterator[Table]:
    """Every one of them that the analysis has."""
    if isinstance(a.parts, RatioParts):
        yield _parts(a.parts)
    if isinstance(a.upper_quartile, UpperQuartile):
        yield _quartiles(a.upper_quartile)
    if isinstance(a.imputed, ImputedFit):
        yield _imputed(a.imputed, a.model)
    if isinstance(a.risk, RiskReport):
        yield _risk(a.risk)
        yield _benefit(a.risk)


def _parts(parts: RatioParts) -> Table:
    rows = tuple(
        (LABELS[t.term], number(t.b, 4), interval(t.ci_low, t.ci_high, 4), number(t.t, 2), p_value(t.p))
        for t in parts.model.terms
    )
    test = parts.constraint
    return Table(
        name="ratio_parts",
        title="Sensitivity: logarithms of the counts apart",
        columns=("", "b", "95 % CI", "t", "p"),
        rows=rows,
        note=f"n = {parts.model.n_used}. The ratios say as much if the three coefficients add up to 0: they add up to "
        f"{number(parts.total, 4)}, F({test.df1}, {test.df2}) = {number(test.f, 2)}, p {p_value(test.p)}.",
    )


def _quartiles(found: UpperQuartile) -> Table:
    ages = sorted({one.age for one in found.at})
    of = {(one.age, one.male): f"{number(one.vbq, 2)} ({interval(one.ci_low, one.ci_high, 2)})" for one in found.at}
    slope = next(one for one in found.terms if one.term == "age")
    return Table(
        name="upper_quartile",
        title="Upper quartile of VBQ by age and sex (quantile regression)",
        columns=("Age (years)", "Women", "Men"),
        rows=tuple((str(age), of[age, False], of[age, True]) for age in ages),
        note=f"n = {found.n_used}; {number(slope.b, 4)} a year ({interval(slope.ci_low, slope.ci_high, 4)}). It sets "
        "no cut-off: the cut-offs are of the whole cohort.",
    )


def _imputed(fit: ImputedFit, model: OlsFit | Refusal) -> Table:
    complete = {} if isinstance(model, Refusal) else {term.term: term for term in model.terms}
    rows = []
    for term in fit.terms:
        one = complete.get(term.term)
        own = ("–", "–") if one is None else (_coefficient(one.b, one.ci_low, one.ci_high), p_value(one.p))
        shown = (_coefficient(term.b, term.ci_low, term.ci_high), p_value(term.p))
        rows.append((LABELS[term.term], *own, *shown, f"{number(100 * term.fraction_missing, 0)} %"))
    lacking = ", ".join(f"{LABELS[name]} {count}" for name, count in fit.missing.items() if count)
    return Table(
        name="imputed",
        title="Sensitivity: missing values imputed, beside complete rows",
        columns=("", "Complete rows: b (95 % CI)", "p", "Imputed: b (95 % CI)", "p", "Information missing"),
        rows=tuple(rows),
        note=f"{fit.n} patients with a VBQ, {fit.complete} of them complete; missing: {lacking}. {fit.imputations} "
        f"imputations by chained equations (predictive mean matching, {fit.cycles} cycles, seed {fit.seed}), combined "
        "by Rubin's rules.",
    )


def _coefficient(b: float, low: float, high: float) -> str:
    return f"{number(b, 4)} ({interval(low, high, 4)})"


def _risk(report: RiskReport) -> Table:
    rows = [(f"Tier: {name}", _share(one)) for name, one in report.tiers.items()]
    rows += [("Calibration slope, corrected for optimism", number(report.slope, 3))]
    rows += [("Calibration intercept, corrected for optimism", number(report.intercept, 3))]
    cuts = ", ".join(f"{LABELS[name]} {number(cut, 2)}" for name, cut in report.cuts.items())
    return Table(
        name="risk",
        title=f"Outcome {report.outcome}: by tier, and calibration of a risk model of VBQ, NLR and PLR",
        columns=("", "Share with the outcome (95 % CI), or value"),
        rows=tuple(rows),
        note=f"n = {report.n_used}, {report.events} with the outcome; cuts {cuts}. A slope below 1: predictions are "
        f"too extreme for new patients. {report.bootstraps} bootstrap samples, seed {report.seed}.",
    )


def _share(one: Share) -> str:
    return f"{number(one.value, 2)} ({interval(one.ci_low, one.ci_high, 2)}), n = {one.n}"


def _benefit(report: RiskReport) -> Table:
    rows = tuple(
        (
            f"{one.threshold:.2f}", number(one.flagged), number(one.flagged_or_intermediate), number(one.model),
            number(one.everybody), number(0.0),
        )
        for one in report.benefits
    )  # fmt: skip
    return Table(
        name="net_benefit",
        title=f"Net benefit of acting by tier, outcome {report.outcome}",
        columns=("Threshold", "Flagged", "Flagged or intermediate", "Risk model (own patients)", "Everybody", "Nobody"),
        rows=rows,
        note="True positives less false positives × threshold/(1 − threshold), per patient (Vickers and Elkin 2006): "
        "the highest in a line is the best way to decide for who would act from that probability on.",
    )
