"""The whole analysis of a night's cohort as files, made from the record of its fit alone.

It is beside the report, not part of it: nothing waits for it, a folder that was lost is made again with the same bytes,
and that of any past night can be made as well.
"""

import hashlib
import json
import os
import shutil
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import structlog
from sqlite_utils import Database

from analytics.episodes.cohort import DATE_COLUMNS
from analytics.methods.plain import in_words
from analytics.methods.rows import Refusal
from analytics.night.calibration import Outcome
from analytics.paper.analysis import Choices, analyse
from analytics.paper.regression import OlsFit
from analytics.pictures.flow import Flow, FlowStep
from node.analysis.analyse import Run, write
from node.errors import InputError
from node.nightly.cohort import cohort_frame
from node.nightly.due import unwritten_analysis
from node.nightly.report import figures_of

DRAWN = {"flow": "flow", "age": "scatter_age", "nlr": "scatter_nlr", "plr": "scatter_plr", "age_by_sex": "age_by_sex"}
"""Figures of the report and what the analysis calls them; they show the same of the same cohort."""
SEED = 1
"""Seed of the bootstraps of every night: the same cohort gives the same numbers."""

log = structlog.get_logger()


def publish_analysis(db: Database, folder: Path, *, now: datetime) -> None:
    """Write the newest night's analysis under ``reports/<night>/analysis/`` where it is not there yet.

    A folder that cannot be written is logged; the night itself is not touched.
    """
    unwritten = unwritten_analysis(db, folder, now=now)
    if unwritten is None:
        return
    night, target = unwritten
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        write(past_analysis(db, night), unfinished)
        unfinished.rename(target)
    except OSError as error:
        log.error("the night's analysis could not be written", night=night.isoformat(), error=error.strerror)


def past_analysis(db: Database, night: date) -> Run:
    """Analyse the cohort of a night as it was then.

    Raises
    ------
    InputError
        There is no fit of that night, or nobody was eligible.
    """
    row = db.execute(
        "SELECT f.snapshot, f.snapshot_sha256, f.code_version, f.settings, r.counts, r.html FROM record_fit AS f "
        "JOIN record_report AS r USING (fit_id) WHERE f.night = ?",
        [night.isoformat()],
    ).fetchone()
    if row is None:
        raise InputError(f"there is no fit of the night of {night}; the view fits lists those there are")
    text, sha256, software, settings, counts, html = row
    cohort = cohort_frame(text)
    if cohort.empty:
        raise InputError(f"nobody was eligible on the night of {night}")
    for name in DATE_COLUMNS:
        cohort[name] = cohort[name].where(cohort[name] != "", None)
    excluded: dict[str, int] = json.loads(counts)["excluded_by_reason"]
    analysis = analyse(cohort, Choices(seed=SEED, outcome=_add_outcome(cohort, json.loads(settings))))
    return Run(
        sha256=sha256,
        software=f"vbq-node {software}",
        rows=len(cohort) + sum(excluded.values()),
        refused=0,
        eligible=len(cohort),
        excluded=(),
        problems=(),
        flow=cohort_flow(excluded, analysis.model),
        cohort=cohort,
        readings=None,
        analysis=analysis,
        drawn=_drawn(html) if hashlib.sha256(text.encode()).hexdigest() == sha256 else {},
    )


def _drawn(html: str) -> dict[str, bytes]:
    """The pictures of a report, by what the analysis calls them; those of who has been erased since are none of it."""
    return {DRAWN[name]: picture for name, picture in figures_of(html) if name in DRAWN}


def _add_outcome(cohort: pd.DataFrame, settings: dict[str, Any]) -> str | None:
    """Add the outcome of the night's settings as a column of 1 and 0; returns its name, ``None`` without one."""
    chosen = settings["thresholds"]
    if chosen["outcome"] in (None, "vbq"):
        return None
    outcome = Outcome(column=chosen["outcome"], cut=chosen["outcome_cut"])
    cohort[str(outcome)] = outcome.positive(cohort, vbq_cut=float("nan"))
    return str(outcome)


def cohort_flow(excluded: dict[str, int], fit: OlsFit | Refusal) -> Flow:
    """From the operations and imported rows into the model (STROBE); ``excluded`` counts the rows not eligible."""
    last = "In the model" if isinstance(fit, OlsFit) else "Complete (no model)"
    return Flow(
        steps=(
            FlowStep(label="Operations, imports", n=fit.n_rows + sum(excluded.values()), left=excluded),
            FlowStep(label="Eligible", n=fit.n_rows, left=in_words(fit.omitted)),
            FlowStep(label=last, n=fit.n_used, left={}),
        )
    )
