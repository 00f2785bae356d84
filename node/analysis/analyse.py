"""``vbq-node analyse``: a cohort table in, the paper's analysis out, as JSON, tables, figures and one HTML page.

The same file and choices give the same bytes: nothing written names a time, a folder or the file.
"""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analytics.episodes.cohort import COLUMNS, DATE_COLUMNS
from analytics.methods.agreement import BlandAltman
from analytics.methods.plain import in_words
from analytics.methods.roc import Roc
from analytics.methods.rows import Refusal
from analytics.paper.age_curve import AgeCurves
from analytics.paper.analysis import Analysis, Choices, analyse
from analytics.paper.readers import AUTOMATIC, usable_readings
from analytics.paper.regression import OlsFit
from analytics.paper.risk import RiskReport
from analytics.paper.strata import UNKNOWN
from analytics.paper.validation import paper_engine
from analytics.pictures.age import age_alt_text, age_figure
from analytics.pictures.base import scatter_alt_text, scatter_figure
from analytics.pictures.cohort import bland_altman_figure, over_time
from analytics.pictures.flow import Flow, FlowStep, flow_figure
from analytics.pictures.model import calibration, coefficients, residuals, roc_curves
from analytics.pictures.risk import decision_curve, risk_calibration
from analytics.reasons import Reason, codes, words
from node.analysis.agreement import read_readings
from node.analysis.cells import LABELS, guarded
from node.analysis.checklists import Facts, checklists
from node.analysis.missing import MissingReport, missing_report
from node.analysis.pages import Picture, clear, page_template, write_pages
from node.analysis.tables import tables
from node.errors import InputError
from node.people.cohort_rows import CohortRow, CohortTable, by_reason, detail_rows, exclusions_by_reason
from node.people.imports import of_table, read_cohort

SCATTERED = ("age", "nlr", "plr")
"""Figures 2–4 of the paper."""

SCANNER = "scanner_stratum"
"""The column that names the scanner, if the table has it."""

WRITTEN = (
    "analysis", "report", "table1", "correlations", "table2", "effects", "log_ratios", "winsorised", "logistic",
    "shape", "interactions", "diagnostics", "influence", "scanners", "paper", "paper_table1", "paper_inconsistencies",
    "roc", "areas", "agreement", "limits", "left_out", "missing", "flow", "scatter_age", "scatter_nlr", "scatter_plr",
    "ratio_parts", "upper_quartile", "imputed", "risk", "net_benefit", "strobe", "tripod_ai", "risk_calibration",
    "decision_curve",
    "age_by_sex", "coefficients", "residuals", "calibration", "over_time", "bland_altman", "bland_altman_automatic",
)  # fmt: skip
"""Names of the files that an analysis may write, with these endings."""
INCOMPLETE = {"incomplete-data"}
"""Codes of the reasons of a row that is left out for what it lacks alone."""
LEFT_OUT = ("line", "id", "what", "code", "reason")
"""Columns of left_out.csv."""


@dataclass(frozen=True, kw_only=True)
class Excluded:
    """A row that is not analysed, and why."""

    id: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """An analysis with what became of the rows: ``rows`` = ``refused`` + ``not_eligible`` + ``eligible``.

    ``excluded`` names those that are not eligible where they are known one by one.
    """

    sha256: str
    software: str
    rows: int
    refused: int
    eligible: int
    excluded: tuple[Excluded, ...]
    problems: tuple[str, ...]
    flow: Flow
    cohort: pd.DataFrame
    readings: pd.DataFrame | None
    analysis: Analysis
    problems_by_reason: tuple[dict[str, Any], ...] = ()
    excluded_by_reason: tuple[dict[str, Any], ...] = ()
    """Counts with a code and one example each, of a table."""
    missing: MissingReport | None = None
    """Missing values, and who is left out, of a table."""
    details: tuple[tuple[str, ...], ...] = ()
    """Line, id, what, code and words of every problem and every reason that leaves a row of a table out."""
    drawn: Mapping[str, bytes] = field(default_factory=dict)
    """Pictures of this cohort that were drawn before, by name."""

    @property
    def not_eligible(self) -> int:
        """Rows left out for a stated reason."""
        return self.rows - self.refused - self.eligible

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; every number is finite."""
        rows: dict[str, Any] = {
            "rows": self.rows, "refused": self.refused, "excluded": self.not_eligible, "analysed": self.eligible,
            **self.flow.to_json_dict(),
        }  # fmt: skip
        left_out = [
            {"id": one.id, "reasons": words(one.reasons), "reason_codes": codes(one.reasons)} for one in self.excluded
        ]
        origin = {"table_sha256": self.sha256, "software": self.software, "flow": rows, "excluded": left_out}
        counted = {
            "problems_by_reason": list(self.problems_by_reason), "excluded_by_reason": list(self.excluded_by_reason),
            "missing": None if self.missing is None else self.missing.to_json_dict(),
        }  # fmt: skip
        return {**origin, "problems": list(self.problems), **counted, **self.analysis.to_json_dict()}


def analyse_file(path: Path, choices: Choices, *, readings: Path | None = None, mapping: str = "") -> Run:
    """Read a cohort table and analyse its eligible rows; ``readings`` is a table of several readers' VBQ.

    ``mapping`` is what a person says about the columns of the table (TOML).

    Raises
    ------
    CohortError
        The table as a whole cannot be read.
    InputError
        The outcome column is not there, or holds something else than 1, 0 and blanks; or the readings are no table.
    """
    readers = None if readings is None else read_readings(readings)
    content, table = read_cohort(path, mapping=mapping)
    excluded = {row.id: row.checked.exclusion_reasons for row in table.rows if not row.checked.eligible}
    used = sorted((row for row in table.rows if row.id not in excluded), key=lambda row: row.id)
    if not used:
        raise of_table(path, Reason("file-nobody-eligible", {"rows": len(table.rows), "why": _why_nobody(table)}))
    cohort = _frame(used)
    lacking = [row for row in table.rows if row.id in excluded and {one.code for one in excluded[row.id]} == INCOMPLETE]
    if choices.outcome is not None:
        cohort[choices.outcome] = [_outcome(row, choices.outcome) for row in used]
    if any(SCANNER in row.others for row in used):
        cohort[SCANNER] = [row.others.get(SCANNER, "") for row in used]
    analysis = analyse(cohort, choices, readings=readers, incomplete=_frame(lacking) if lacking else None)
    return Run(
        sha256=hashlib.sha256(content).hexdigest(),
        software=f"vbq-node {version('vbq-node')}",
        rows=len(table.rows) + table.refused,
        refused=table.refused,
        eligible=len(used),
        excluded=tuple(Excluded(id=name, reasons=excluded[name]) for name in sorted(excluded)),
        problems=tuple(table.problem_lines()),
        flow=_flow(table.refused, list(excluded.values()), analysis.model),
        cohort=cohort,
        readings=readers,
        analysis=analysis,
        problems_by_reason=tuple(by_reason(table.problems)),
        excluded_by_reason=tuple(exclusions_by_reason(table.rows)),
        missing=missing_report([row.checked for row in table.rows]),
        details=tuple(detail_rows(table)),
    )


def _why_nobody(table: CohortTable) -> str:
    """Columns without a value, and the reasons by which rows are left out with an example each."""
    told = [str(one.reason) for one in table.problems if one.reason.code == "column-empty"]
    told += [f"{one['n']} × {one['reason']} ({one['example']})" for one in exclusions_by_reason(table.rows)]
    return "; ".join(told)


def _frame(rows: list[CohortRow]) -> pd.DataFrame:
    """Rows of a table with the columns of a cohort."""
    columns = [*COLUMNS, *DATE_COLUMNS]
    frame = pd.DataFrame([{name: row.checked.values[name] for name in columns} for row in rows], columns=columns)
    numeric = [name for name in COLUMNS if name not in ("id", "diagnosis")]
    return frame.astype(dict.fromkeys(numeric, "float64"))


def _flow(refused: int, excluded: list[tuple[Reason, ...]], model: OlsFit | Refusal) -> Flow:
    """Every row of the table on its way into the model."""
    given = len(excluded) + model.n_rows
    return Flow(
        steps=(
            FlowStep(
                label="Rows of the table",
                n=given + refused,
                left={"malformed, without an id, or repeated": refused} if refused else {},
            ),
            FlowStep(label="Patients", n=given, left=_by_first_reason(excluded)),
            FlowStep(label="Eligible", n=model.n_rows, left=in_words(model.omitted)),
            FlowStep(label="In the multivariable model", n=model.n_used, left={}),
        )
    )


def _by_first_reason(excluded: list[tuple[Reason, ...]]) -> dict[str, int]:
    """How many rows are left out for what; of incomplete ones also what they lack."""
    counted: dict[str, list[Reason]] = {}
    for reasons in excluded:
        counted.setdefault(reasons[0].short(), []).append(reasons[0])
    return {_lacking(label, first): len(first) for label, first in counted.items()}


def _lacking(label: str, reasons: list[Reason]) -> str:
    lacking: Counter[str] = Counter()
    for reason in reasons:
        columns = reason.values.get("columns")
        if reason.code in INCOMPLETE and isinstance(columns, tuple):
            lacking.update(str(column) for column in columns)
    return label + (f" ({', '.join(f'{name} {n}' for name, n in lacking.most_common())})" if lacking else "")


def _outcome(row: CohortRow, name: str) -> float:
    if name not in row.others:
        raise InputError(f"the table has no outcome column {name!r} beside those of every cohort table")
    text = row.others[name]
    if text not in ("", "0", "1"):
        raise InputError(f"line {row.line}: outcome {name} is {text!r}, neither 1, 0 nor blank")
    return float(text) if text else np.nan


def write(run: Run, folder: Path) -> None:
    """Write everything into a folder, which is made; what an earlier analysis wrote there goes."""
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder, WRITTEN)
    text = json.dumps(run.to_json_dict(), ensure_ascii=False, indent=2, allow_nan=False)
    (folder / "analysis.json").write_text(text + "\n", encoding="utf-8")
    with (folder / "left_out.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([guarded(cell) for cell in row] for row in (LEFT_OUT, *run.details))
    shown = tables(run.analysis)
    if run.missing is not None:
        shown.insert(0, run.missing.table())
    facts = Facts(analysis=run.analysis, cohort=run.cohort, flow=run.flow, missing=run.missing, software=run.software)
    shown.extend(checklists(facts))
    write_pages(folder, page_template("analysis.html.j2"), run=run, tables=shown, pictures=list(pictures(run)))


def pictures(run: Run) -> Iterator[Picture]:
    """Every figure that the analysis has; none is drawn twice."""
    return (replace(one, drawn=run.drawn.get(one.name)) for one in _pictures(run))


def _pictures(run: Run) -> Iterator[Picture]:
    a, cohort = run.analysis, run.cohort
    yield Picture(name="flow", caption=run.flow.in_words(), figure=flow_figure(run.flow))
    for name in SCATTERED:
        figure = scatter_figure(cohort, name, x_label=LABELS[name])
        yield Picture(name=f"scatter_{name}", caption=scatter_alt_text(cohort, name, LABELS[name]), figure=figure)
    if isinstance(a.age_curves, AgeCurves):
        figure = age_figure(cohort, a.age_curves)
        yield Picture(name="age_by_sex", caption=age_alt_text(a.age_curves), figure=figure)
    if isinstance(a.model, OlsFit):
        fit, ids = paper_engine(cohort)
        words = "Standardised coefficients of the multivariable model with 95 % intervals."
        yield Picture(name="coefficients", caption=words, figure=coefficients(a.model, LABELS))
        words = "Residuals against fitted values, and studentised residuals against leverage; the largest are named."
        yield Picture(name="residuals", caption=words, figure=residuals(fit, ids))
        words = "Observed against predicted VBQ by tenths of the prediction; on the line both are the same."
        yield Picture(name="calibration", caption=words, figure=calibration(fit))
    curves = {name: curve for name, curve in a.curves.items() if isinstance(curve, Roc)}
    if curves:
        positive = cohort[a.choices.outcome] if a.choices.outcome else (cohort["vbq"] >= a.cut).astype("float64")
        words = f"ROC curves against {a.choices.outcome or f'VBQ ≥ {a.cut:g}'}; the dot is Youden's cut."
        yield Picture(name="roc", caption=words, figure=roc_curves(cohort, positive, curves, LABELS))
    if isinstance(a.risk, RiskReport):
        words = (
            f"Share with the outcome {a.risk.outcome} by tenths of the predicted risk; on the line both are the same."
        )
        yield Picture(name="risk_calibration", caption=words, figure=risk_calibration(a.risk))
        words = "Decision curve: net benefit of acting by tier, by the risk model, on everybody and on nobody."
        yield Picture(name="decision_curve", caption=words, figure=decision_curve(a.risk))
    yield from _over_time(cohort)
    yield from _bland_altman(run)


def _over_time(cohort: pd.DataFrame) -> Iterator[Picture]:
    dated = cohort[cohort["vbq"].notna()]
    days = dated["mri_date"].where(dated["mri_date"].notna(), dated["surgery_date"])
    dated, days = dated[days.notna()], days[days.notna()]
    if dated.empty:
        return
    scanners = dated[SCANNER].tolist() if SCANNER in dated else [UNKNOWN] * len(dated)
    figure = over_time(
        [date.fromisoformat(day) for day in days], dated["vbq"].to_numpy(float), [name or UNKNOWN for name in scanners]
    )
    words = (
        f"VBQ of {len(dated)} patients by the day of the MRI (of the operation where that is missing), with each "
        f"scanner's running mean, and how many patients each scanner has had; {len(cohort) - len(dated)} have no date."
    )
    yield Picture(name="over_time", caption=words, figure=figure)


def _bland_altman(run: Run) -> Iterator[Picture]:
    """Of the first pair of readers, and of the first pair with the automatic measurement."""
    if run.analysis.readers is None or run.readings is None:
        return
    readings, _ = usable_readings(run.readings)
    pairs = [pair for pair in run.analysis.readers.pairs if isinstance(pair.limits, BlandAltman)]
    of_people = [pair for pair in pairs if pair.first != AUTOMATIC][:1]
    of_machine = [pair for pair in pairs if pair.first == AUTOMATIC][:1]
    for name, pair in (
        *(("bland_altman", pair) for pair in of_people),
        *(("bland_altman_automatic", pair) for pair in of_machine),
    ):
        one, other = (readings[column].to_numpy(float) for column in (pair.first, pair.second))
        limits = pair.limits
        assert isinstance(limits, BlandAltman)
        figure = bland_altman_figure(one, other, limits, names=(pair.first, pair.second))
        words = (
            f"Bland–Altman plot of {pair.first} less {pair.second}: bias {limits.bias:+.3f}, 95 % limits of agreement "
            f"{limits.lower_limit:+.3f} to {limits.upper_limit:+.3f}, n = {limits.n}.".replace("-", "−")
        )
        yield Picture(name=name, caption=words, figure=figure)
