"""The tables that say how far the model can be trusted: shape, assumptions, influence, scanners."""

from analytics.methods.linear import Estimate, JointTest
from analytics.methods.rows import Refusal
from analytics.paper.regression import OlsFit
from analytics.paper.shape import ShapeReport
from analytics.paper.strata import ScannerStratum, StrataReport
from analytics.paper.validation import Validation
from node.analysis.cells import LABELS, Table, interval, number, p_value

FEW_SCANNERS = 5
"""Below it the variance between scanners rests on next to nothing."""

CENTRED = {"age_c": "Age", "nlr_c": "NLR", "plr_c": "PLR"}


def interactions(report: ShapeReport) -> Table:
    """The model with age × NLR and age × PLR, each coefficient with ordinary and with HC3 errors."""
    rows = tuple(
        (
            _term(plain.term), number(plain.b, 6), number(plain.se, 6), p_value(plain.p), number(robust.se, 6),
            p_value(robust.p),
        )
        for plain, robust in zip(report.interactions.terms, report.interactions.robust_terms, strict=True)
    )  # fmt: skip
    return Table(
        name="interactions",
        title="Age × ratio interactions",
        columns=("", "b", "SE", "p", "SE (HC3)", "p (HC3)"),
        rows=rows,
        note="Age and the ratios are centred at their means: their own lines are those of a mean patient.",
    )


def _term(name: str) -> str:
    parts = [CENTRED.get(part, LABELS.get(part, part)) for part in name.split(":")]
    return " × ".join(parts) + (" (centred)" if "_c" in name else "")


def diagnostics(valid: Validation) -> Table:
    """The assumptions of the model and its criteria."""
    rows = (
        ("Breusch–Pagan (Koenker)", p_value(valid.breusch_pagan_p), "small: the variance depends on the predictors"),
        ("Breusch–Pagan (classic)", p_value(valid.breusch_pagan_classic_p), "the same, taking the errors as normal"),
        ("RESET, 2nd and 3rd power", p_value(valid.reset_p), "small: something nonlinear is missing"),
        ("Shapiro–Wilk", p_value(valid.shapiro_p), "small: the residuals are not normal; not given above 5,000"),
        ("Durbin–Watson", number(valid.durbin_watson, 2), "near 2: neighbouring rows (by id) are unrelated"),
        ("Condition number", number(valid.condition_number, 2), "above 30: the predictors nearly determine each other"),
        ("AIC", number(valid.aic, 2), "to compare models on the same patients"),
        ("BIC", number(valid.bic, 2), "the same, with a stronger penalty"),
        ("Leave-one-out error", number(valid.loo_rmse, 4), "of predicting a patient from the others, VBQ"),
        ("Optimism of R²", number(valid.optimism, 4), f"{valid.bootstraps} bootstrap samples"),
    )
    return Table(
        name="diagnostics",
        title="Assumptions and validation of the multivariable model",
        columns=("", "p or value", "Reading"),
        rows=rows,
    )


def influence(valid: Validation) -> Table:
    """Who pulls the fit."""
    rows = tuple((one.id, number(one.cook, 4), number(one.leverage, 4)) for one in valid.influential)
    return Table(
        name="influence",
        title="Patients with most influence",
        columns=("", "Cook's distance", "Leverage"),
        rows=rows,
    )


def scanners(report: StrataReport) -> Table:
    """Each scanner's patients and its own model; the tests of one against the other in the note."""
    level, slopes = report.level, report.slopes
    offsets = {one.term: one for one in report.offsets}
    note = f"Level of VBQ between scanners, adjusted: {_f_test(level)}."
    if slopes is None:
        note += " Scanner × ratios cannot be estimated."
    else:
        note += f" Scanner × NLR and × PLR: {_f_test(slopes)}."
    for one in report.ratios:
        limits = interval(one.ci_low, one.ci_high, 4)
        note += f" {LABELS[one.term]} adjusted for the scanner as well: {number(one.b, 4)} ({limits})."
    random = report.random
    note += (
        f" With a level for each of {random.scanners} scanners drawn at random (REML): SD between scanners "
        f"{number(random.sd_between)}, within {number(random.sd_within)} VBQ, {number(100 * random.share, 0)} % of "
        "what the model leaves"
    )
    for one in random.ratios:
        note += f"; {LABELS[one.term]} {number(one.b, 4)} ({interval(one.ci_low, one.ci_high, 4)})"
    note += "." if random.scanners >= FEW_SCANNERS else "; of so few scanners the SD between them is hardly known."
    if report.joined:
        note += f" Too few patients, taken together: {', '.join(report.joined)}."
    return Table(
        name="scanners",
        title="By scanner",
        columns=(
            "",
            "n",
            "VBQ, mean ± SD",
            f"Level against {report.reference} (95 % CI)",
            "NLR: b (95 % CI)",
            "PLR: b (95 % CI)",
            "Adjusted R²",
        ),
        rows=tuple(_scanner(one, offsets.get(one.name)) for one in report.strata),
        note=note,
    )


def _f_test(test: JointTest) -> str:
    return f"F({test.df1}, {test.df2}) = {number(test.f, 2)}, p {p_value(test.p)}"


def _scanner(one: ScannerStratum, offset: Estimate | None) -> tuple[str, ...]:
    spread = f"{number(one.vbq_mean)} ± {number(one.vbq_sd)}"
    apart = "reference" if offset is None else f"{number(offset.b)} ({interval(offset.ci_low, offset.ci_high)})"
    if isinstance(one.model, Refusal):
        return (one.name, str(one.n), spread, apart, f"no model: {one.model.reason}", "–", "–")
    return (
        one.name,
        str(one.n),
        spread,
        apart,
        _slope(one.model, "nlr"),
        _slope(one.model, "plr"),
        number(one.model.adj_r2),
    )


def _slope(model: OlsFit, name: str) -> str:
    found = [term for term in model.terms if term.term == name]
    return f"{number(found[0].b, 4)} ({interval(found[0].ci_low, found[0].ci_high, 4)})" if found else "–"
