"""``vbq-node analyse``: a cohort table in, the paper's analysis out, as JSON, tables, figures and one HTML page.

The same file and choices give the same bytes: nothing written names a time, a folder or the file.
"""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from analytics.analysis import Analysis, Choices, analyse
from analytics.cohort import COLUMNS
from analytics.figures import png, scatter_alt_text, scatter_figure, svg
from analytics.figures_model import calibration, coefficients, residuals, roc_curves
from analytics.regression import OlsFit
from analytics.roc import Roc
from analytics.validation import paper_engine
from node.analysis_tables import LABELS, tables
from node.cohort_import import CohortRow, read_cohort
from node.errors import CohortError, InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCATTERED = ("age", "nlr", "plr")
"""Figures 2–4 of the paper."""

WRITTEN = (
    "analysis", "report", "table1", "correlations", "table2", "effects", "log_ratios", "winsorised", "logistic",
    "shape", "paper", "roc", "scatter_age", "scatter_nlr", "scatter_plr", "coefficients", "residuals", "calibration",
)  # fmt: skip
"""Names of the files that an analysis may write, with these endings."""
SUFFIXES = (".json", ".csv", ".html", ".png", ".svg")


@dataclass(frozen=True, kw_only=True)
class Excluded:
    """A row that is not analysed, and why."""

    id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """An analysis with what became of the rows: ``rows`` = ``refused`` + excluded + ``eligible``."""

    sha256: str
    software: str
    rows: int
    refused: int
    eligible: int
    excluded: tuple[Excluded, ...]
    problems: tuple[str, ...]
    cohort: pd.DataFrame
    analysis: Analysis

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; every number is finite."""
        rows = {"rows": self.rows, "refused": self.refused, "excluded": len(self.excluded), "analysed": self.eligible}
        left_out = [{"id": one.id, "reasons": list(one.reasons)} for one in self.excluded]
        origin = {"table_sha256": self.sha256, "software": self.software, "flow": rows, "excluded": left_out}
        return {**origin, "problems": list(self.problems), **self.analysis.to_json_dict()}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure with its file name and what it shows in words."""

    name: str
    caption: str
    figure: "Figure"

    @cached_property
    def png(self) -> bytes:
        """The picture."""
        return png(self.figure)

    @property
    def base64(self) -> str:
        """The picture as text, for an HTML page."""
        return base64.b64encode(self.png).decode()


def analyse_file(path: Path, choices: Choices) -> Run:
    """Read a cohort table and analyse its eligible rows.

    Raises
    ------
    CohortError
        The table as a whole cannot be read.
    InputError
        The outcome column is not there, or holds something else than 1, 0 and blanks.
    """
    content, table = read_cohort(path, more_columns=True)
    excluded = {row.id: reasons for row in table.rows if (reasons := _reasons(row))}
    used = sorted((row for row in table.rows if row.id not in excluded), key=lambda row: row.id)
    if not used:
        raise CohortError(f"cohort table {path}: none of its {len(table.rows)} rows is eligible")
    cohort = pd.DataFrame([{name: row.checked.values[name] for name in COLUMNS} for row in used], columns=list(COLUMNS))
    numeric = [name for name in COLUMNS if name not in ("id", "diagnosis")]
    cohort[numeric] = cohort[numeric].astype("float64")
    if choices.outcome is not None:
        cohort[choices.outcome] = [_outcome(row, choices.outcome) for row in used]
    return Run(
        sha256=hashlib.sha256(content).hexdigest(),
        software=f"vbq-node {version('vbq-node')}",
        rows=len(table.rows) + table.refused,
        refused=table.refused,
        eligible=len(used),
        excluded=tuple(Excluded(id=name, reasons=excluded[name]) for name in sorted(excluded)),
        problems=tuple(table.problem_lines()),
        cohort=cohort,
        analysis=analyse(cohort, choices),
    )


def _reasons(row: CohortRow) -> tuple[str, ...]:
    """Why a row is left out; an export of the view ``cohort`` knows more than its values show."""
    if not row.checked.eligible:
        return row.checked.exclusion_reasons
    if row.others.get("eligible") == "0":
        return (f"not eligible by the table itself: {row.others.get('exclusion_reasons', '')}",)
    return ()


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
    for name in WRITTEN:
        for suffix in SUFFIXES:
            # A table that this analysis refuses must not stand there from the last one.
            (folder / f"{name}{suffix}").unlink(missing_ok=True)
    text = json.dumps(run.to_json_dict(), ensure_ascii=False, indent=2, allow_nan=False)
    (folder / "analysis.json").write_text(text + "\n", encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("node"), autoescape=select_autoescape(["html.j2"]), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("analysis.html.j2")
    shown, drawn = tables(run.analysis), list(pictures(run))
    for table in shown:
        cells = io.StringIO(newline="")
        csv.writer(cells).writerows([table.columns, *table.rows])
        (folder / f"{table.name}.csv").write_text(cells.getvalue(), encoding="utf-8", newline="")
        page = template.render(run=run, tables=[table], figures=[])
        (folder / f"{table.name}.html").write_text(page, encoding="utf-8")
    for picture in drawn:
        (folder / f"{picture.name}.png").write_bytes(picture.png)
        (folder / f"{picture.name}.svg").write_bytes(svg(picture.figure))
    report = template.render(run=run, tables=shown, figures=drawn)
    (folder / "report.html").write_text(report, encoding="utf-8")


def pictures(run: Run) -> Iterator[Picture]:
    """Every figure that the analysis has."""
    a, cohort = run.analysis, run.cohort
    for name in SCATTERED:
        figure = scatter_figure(cohort, name, x_label=LABELS[name])
        yield Picture(name=f"scatter_{name}", caption=scatter_alt_text(cohort, name, LABELS[name]), figure=figure)
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
