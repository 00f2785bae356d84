"""The checklists of two reporting guidelines, filled in from a run; what only a person can say is left open.

The items are in ``checklists.toml``. To fill another one: name it there and add its function to :data:`FILLED`.

References
----------
von Elm E et al. Lancet 2007; 370: 1453–1457 (STROBE). Collins GS et al. BMJ 2024; 385: e078378 (TRIPOD+AI).
"""

import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from analytics.methods.rows import Refusal
from analytics.paper.analysis import Analysis
from analytics.paper.imputation import ImputedFit
from analytics.paper.regression import PREDICTORS, ROWS_FOR_RESIDUAL_SD, OlsFit
from analytics.paper.risk import RiskReport
from analytics.paper.strata import StrataReport
from analytics.paper.validation import Validation
from analytics.pictures.flow import Flow
from node.analysis.cells import LABELS, Table, interval, number, p_value
from node.analysis.missing import MissingReport

OPEN = "to be written"
"""What stands where only a person can say it."""


class Facts:
    """What the items are filled from."""

    def __init__(
        self, *, analysis: Analysis, cohort: pd.DataFrame, flow: Flow, missing: MissingReport | None, software: str
    ) -> None:
        self.analysis = analysis
        self.cohort = cohort
        self.flow = flow
        self.missing = missing
        self.software = software

    @property
    def model(self) -> OlsFit | None:
        """The paper's model, where there is one."""
        return self.analysis.model if isinstance(self.analysis.model, OlsFit) else None


@cache
def guidelines() -> dict[str, dict[str, Any]]:
    """Title, source and items (number, what is asked, name of what fills it) of each guideline."""
    return tomllib.loads(files("node.analysis").joinpath("checklists.toml").read_text(encoding="utf-8"))


def checklists(facts: Facts) -> Iterator[Table]:
    """A table for each guideline."""
    for name, guideline in guidelines().items():
        rows = tuple((item[0], item[1], _filled(facts, item)) for item in guideline["items"])
        left = sum(row[2] == OPEN for row in rows)
        yield Table(
            name=name,
            title=guideline["title"],
            columns=("Item", "Asked for", "From this run"),
            rows=rows,
            note=f"{guideline['source']}. {left} of {len(rows)} items are left to be written; the others are a "
            "beginning that a person must read against the study.",
        )


def _filled(facts: Facts, item: list[str]) -> str:
    said = FILLED[item[2]](facts) if len(item) > 2 else None
    return said or OPEN


def _dates(facts: Facts) -> str | None:
    found = []
    for column, what in (("mri_date", "MRI"), ("cbc_date", "blood counts"), ("surgery_date", "operations")):
        days = facts.cohort[column].dropna() if column in facts.cohort else pd.Series(dtype="str")
        days = days[days != ""]
        if len(days):
            found.append(f"{what} {days.min()} to {days.max()}")
    return "; ".join(found) + "; the place is to be added" if found else None


def _scanners(facts: Facts) -> str | None:
    if "scanner_stratum" not in facts.cohort:
        return None
    names = facts.cohort["scanner_stratum"].fillna("").replace("", "unknown").value_counts()
    return "Scanners: " + ", ".join(f"{name} ({count})" for name, count in sorted(names.items()))


def _bias(facts: Facts) -> str:
    parts = ["adjusted for " + ", ".join(LABELS[name] for name in PREDICTORS)]
    report = facts.analysis.scanners
    if isinstance(report, StrataReport):
        parts.append(f"scanners tested against each other (p {p_value(report.level.p)})")
    if facts.analysis.readers is not None:
        parts.append("agreement of readers measured")
    return "; ".join(parts)


def _size(facts: Facts) -> str | None:
    if facts.model is None:
        return None
    needed = ROWS_FOR_RESIDUAL_SD + len(facts.model.terms)
    return (
        f"All eligible patients: {facts.model.n_used} in the model of {len(facts.model.terms)} coefficients; Riley's "
        f"criterion for the residual SD asks for {needed}"
    )


def _cuts(facts: Facts) -> str:
    shown = "–" if facts.analysis.cut is None else f"{facts.analysis.cut:g}"
    return (
        f"Continuous in the model; VBQ cut at {shown} for Table 1 and the logistic model; sensitivity with logarithms, "
        f"with ratios clipped at {100 * facts.analysis.choices.clipped:g} %, and with splines of age"
    )


def _methods(facts: Facts) -> str | None:
    if facts.model is None:
        return None
    return (
        "Least squares with the seven predictors of the paper; standardised coefficients, VIF, partial R²; bootstrap "
        "intervals, R² corrected for optimism, leave-one-out error; tests of assumptions in the table of diagnostics"
    )


def _subgroups(facts: Facts) -> str | None:
    said = ["age × NLR and age × PLR"] if not isinstance(facts.analysis.shape, Refusal) else []
    if isinstance(facts.analysis.scanners, StrataReport):
        said.append("models by scanner, scanner × ratios, levels drawn at random")
    return "; ".join(said) or None


def _missing_handled(facts: Facts) -> str:
    imputed = facts.analysis.imputed
    if isinstance(imputed, ImputedFit):
        return (
            f"Complete rows; beside them {imputed.imputations} imputations by chained equations, {imputed.n} patients"
        )
    return "Complete rows only"


def _sensitivity(facts: Facts) -> str:
    parts = {
        "logarithms of the ratios": facts.analysis.log_ratios, "counts apart": facts.analysis.parts,
        "ratios clipped, HC3 errors": facts.analysis.winsorised, "logistic model": facts.analysis.logistic,
        "missing values imputed": facts.analysis.imputed, "splines of age": facts.analysis.shape,
    }  # fmt: skip
    return "; ".join(name for name, part in parts.items() if part is not None and not isinstance(part, Refusal))


def _left_out(facts: Facts) -> str:
    reasons = [f"{count} {reason}" for step in facts.flow.steps for reason, count in step.left.items()]
    return "; ".join(reasons) or "nobody"


def _missing_counted(facts: Facts) -> str | None:
    if facts.missing is None:
        return None
    counted = [
        f"{LABELS.get(one.variable, one.variable)} {one.missing}" for one in facts.missing.variables if one.missing
    ]
    return ", ".join(counted) or "none"


def _outcome(facts: Facts) -> str | None:
    vbq = facts.cohort["vbq"].dropna()
    if len(vbq) < 2:
        return None
    return f"VBQ {number(float(vbq.mean()))} ± {number(float(vbq.std(ddof=1)))}, n = {len(vbq)}"


def _estimates(facts: Facts) -> str | None:
    if facts.model is None:
        return None
    found = [
        f"{LABELS[one.term]} per {one.per:g}: {number(one.b, 4)} ({interval(one.ci_low, one.ci_high, 4)})"
        for one in facts.model.effects
    ]
    return "; ".join(found) + "; unadjusted: Spearman's ρ and Table 1, adjusted: Table 2"


def _absolute(facts: Facts) -> str | None:
    if not isinstance(facts.analysis.risk, RiskReport):
        return None
    return "Share with the outcome by tier, and net benefit"


def _limitations(facts: Facts) -> str | None:
    alerts = facts.analysis.alerts()
    return "; ".join(str(one) for one in alerts) if alerts else None


def _performance(facts: Facts) -> str | None:
    valid = facts.analysis.validation
    if facts.model is None or not isinstance(valid, Validation):
        return None
    return (
        f"R² {number(facts.model.r2)}, corrected for optimism {number(valid.r2_corrected)} ({valid.bootstraps} "
        f"bootstrap samples), leave-one-out error {number(valid.loo_rmse, 4)} VBQ; calibration by tenths in the figure"
    )


def _validation(facts: Facts) -> str | None:
    if not isinstance(facts.analysis.validation, Validation):
        return None
    return "The same patients; evaluated by bootstrap (optimism) and by leaving one out, not on other patients"


def _specification(facts: Facts) -> str | None:
    if facts.model is None:
        return None
    terms = " ".join(f"{number(term.b, 4)} {LABELS[term.term]};" for term in facts.model.terms)
    return f"VBQ = {terms} residual SD {number(facts.model.residual_sd)}"


def _readers(facts: Facts) -> str | None:
    return None if facts.analysis.readers is None else "See the agreement of the readers"


def _imbalance(facts: Facts) -> str | None:
    risk = facts.analysis.risk
    if isinstance(risk, RiskReport):
        return f"{risk.events} of {risk.n_used} have the outcome; nothing was resampled"
    return "The outcome is continuous"


def _output(facts: Facts) -> str:
    return "Expected VBQ; " + (
        "net benefit by threshold" if isinstance(facts.analysis.risk, RiskReport) else "no threshold"
    )


def _constant(words: str) -> Callable[[Facts], str | None]:
    return lambda _facts: words


FILLED: dict[str, Callable[[Facts], str | None]] = {
    "objective": _constant("Whether VBQ goes with age, NLR and PLR, adjusted; the wording is to be added"),
    "design": _constant(
        "One measurement of each patient before the operation; whether looked for or found is to be added"
    ),
    "dates": _dates,
    "eligibility": _constant(
        "Age 50 and above, degenerative lumbar disease, planned operation, MRI within 3 months and blood count within "
        "30 days before it, complete data; exclusions as in the paper"
    ),
    "variables": _constant(
        "Outcome VBQ (mean signal of L1 to L4 over that of the CSF); " + ", ".join(LABELS[name] for name in PREDICTORS)
    ),
    "measurement": _constant(
        "VBQ from T1 mid-sagittal MRI, counts from the laboratory; devices and readers are to be added"
    ),
    "bias": _bias,
    "size": _size,
    "cuts": _cuts,
    "methods": _methods,
    "subgroups": _subgroups,
    "missing_handled": _missing_handled,
    "no_follow_up": _constant("None: one time of measurement"),
    "sensitivity": _sensitivity,
    "numbers": lambda facts: facts.flow.in_words(),
    "left_out": _left_out,
    "flow": _constant("Figure flow"),
    "characteristics": lambda facts: None if isinstance(facts.analysis.table_one, Refusal) else "Table 1",
    "missing_counted": _missing_counted,
    "outcome": _outcome,
    "estimates": _estimates,
    "absolute": _absolute,
    "other": lambda facts: "; ".join(filter(None, (_subgroups(facts), _sensitivity(facts)))),
    "limitations": _limitations,
    "development": _constant("Development with internal validation, no evaluation on other patients"),
    "sources": lambda facts: f"One table of {facts.flow.steps[0].n} rows; its origin is to be added",
    "scanners": _scanners,
    "preparation": _constant(
        "Values outside plausible ranges, columns in another unit and rows pasted again are refused or held, and said; "
        "nothing is guessed"
    ),
    "outcome_defined": lambda facts: (
        f"VBQ{f', and {facts.analysis.choices.outcome}' if facts.analysis.choices.outcome else ''}"
    ),
    "predictors_chosen": _constant("Those of the paper's Table 2, set beforehand; none was selected by the data"),
    "readers": _readers,
    "validation": _validation,
    "measures": _constant(
        "R² and its optimism, leave-one-out error, calibration by tenths; with an outcome net benefit"
    ),
    "no_updating": _constant("None in this run"),
    "predictions": _constant("By the coefficients of the full model"),
    "imbalance": _imbalance,
    "fairness": _constant(
        "Sex is in the model, and VBQ over age is shown for women and men; other groups are to be added"
    ),
    "output": _output,
    "same_data": _constant("Development and evaluation are of the same patients"),
    "code": lambda facts: f"{facts.software}; the table is known by its SHA-256",
    "specification": _specification,
    "performance": _performance,
    "users": _constant("Research use only; a person decides. VBQ in doubt waits for a reader"),
}
"""What the run says, by name; ``None``: nothing, so that it is left open."""
