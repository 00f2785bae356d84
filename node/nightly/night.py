"""One night: snapshot → fit → threshold proposal → flags → report → outbox, in one transaction.

The model, the figures and the mails are made before that transaction begins, and what they rest on is verified
unchanged inside it, so that the receivers never wait for statistics or for a page being drawn. The same data, settings
and night give the same bytes.
"""

import json
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pandas as pd
import structlog
from sqlite_utils import Database

from analytics.methods.rows import Refusal
from analytics.night.calibration import Calibration, calibrate
from analytics.night.drift import Drift, check_drift
from analytics.night.shift import Shift, find_shifts
from analytics.paper.age_curve import AgeCurves, age_curves
from analytics.paper.imputation import ImputedFit, imputed_model
from analytics.paper.regression import OlsFit, fit_vbq_model
from analytics.pictures.age import age_alt_text, age_figure
from analytics.pictures.base import png, scatter, scatter_alt_text
from analytics.pictures.flow import flow_figure
from node import __version__
from node.clock import from_text, to_text
from node.errors import NightError
from node.nightly import flags, ledger
from node.nightly.analysis import SEED, cohort_flow
from node.nightly.cohort import Snapshot, cohort_frame, read_lacking, read_snapshot
from node.nightly.counts import read_counts, read_exclusions
from node.nightly.cutoffs import Tonight, decide_thresholds, rule_of
from node.nightly.drift import Frozen, read_frozen
from node.nightly.engineer import tell_engineer
from node.nightly.pictures import slice_pictures
from node.nightly.recipients import mails_for_recipients, operation_owners, patient_numbers
from node.nightly.report import Content, Rendered, publish_report, render
from node.nightly.sections.counts import FLOW
from node.nightly.sections.order import SECTIONS
from node.nightly.sections.section import Figure, Findings
from node.outgoing.mail import notify_administrator, put
from node.people import corrections, thresholds
from node.settings import Settings
from node.store.audit import newest_seal
from node.store.database import insert, writing

FIGURES = (("age", "Age (years)"), ("nlr", "NLR"), ("plr", "PLR"))
"""The paper's Figures 2–4."""

AGE_BY_SEX = "age_by_sex"
"""Name of the figure of the curves over age; a cohort with too few patients of a sex has none."""

ATTEMPTS = 5
"""How often the night is computed beside the receivers before they are made to wait for it."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Basis:
    """All that a night is computed from: tonight's cohort, and the fit that new patients are compared with."""

    snapshot: Snapshot
    lacking: str
    """Who would be in the cohort but for missing values (:func:`node.nightly.cohort.read_lacking`)."""
    frozen: Frozen | None
    excluded: dict[str, int]
    """Rows of the cohort that are not eligible, by reason."""
    data_version: int = field(compare=False)
    """SQLite's count of what other connections have written, from before it was read; this one has written nothing."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a basis leads to; a pure function of it and the settings."""

    basis: Basis
    fit: OlsFit | Refusal
    imputed: ImputedFit | Refusal | None
    """``None``: nobody is left out for missing values alone."""
    proposal: Calibration | Refusal
    drift: Drift | Refusal | None
    """``None`` before the first fit."""
    shifts: tuple[Shift, ...]
    figures: tuple[Figure, ...]

    @property
    def snapshot(self) -> Snapshot:
        """Tonight's cohort."""
        return self.basis.snapshot

    @property
    def tonight(self) -> Tonight:
        """What the cut-offs are decided from."""
        return Tonight(proposal=self.proposal, drift=self.drift, snapshot_sha256=self.snapshot.sha256)

    @property
    def fit_hash(self) -> str:
        """The start of the snapshot's hash, which names the fit."""
        return self.snapshot.sha256[:8]


@dataclass(frozen=True, kw_only=True)
class NightOutcome:
    """How a night went. ``rendered`` is ``None`` when the night had been done before."""

    night: date
    stored: bool
    fit: OlsFit | Refusal | None
    rendered: Rendered | None

    def summary(self) -> str:
        """For a person at a terminal."""
        if self.rendered is None:
            return f"the night of {self.night} is done already; `vbq-node status` and the view reports show it"
        return self.rendered.text if self.stored else f"{self.rendered.text}\n(dry run: nothing was stored or sent)"

    def to_json_dict(self) -> dict[str, Any]:
        """For a script."""
        return {
            "night": self.night.isoformat(),
            "already_done": self.rendered is None,
            "stored": self.stored,
            "fit": self.fit.to_json_dict() if self.fit else None,
            "subject": self.rendered.subject if self.rendered else None,
            "counts": self.rendered.counts if self.rendered else None,
        }


def run_night(db: Database, settings: Settings, *, night: date, now: datetime, dry_run: bool = False) -> NightOutcome:
    """Do a night's work once. Nights that were missed since the last one are done with it, and its report names them.

    Parameters
    ----------
    night
        The date the night belongs to; operations planned on it or later are upcoming.
    now
        The time that the records and the mail carry.
    dry_run
        Compute and render everything, store and send nothing; any date will do.

    Raises
    ------
    NightError
        The night has not come yet, or a later one is done already. Or it failed: then the ledger says so, and a mail
        to the administrator is queued.
    """
    folder = settings.storage.folder
    with ledger.one_at_a_time(folder):
        if dry_run:
            return _rehearse(db, settings, night=night, now=now)
        nights = ledger.nights(db, by=now)
        if nights.get(night) == "done":
            return NightOutcome(night=night, stored=False, fit=None, rendered=None)
        if (made_at := _recorded_at(db, night)) is not None:
            # Entered in the future.
            if made_at <= now + ledger.AHEAD_BY:
                with writing(db):
                    ledger.finish(db, night, now, status="done")
                return NightOutcome(night=night, stored=False, fit=None, rendered=None)
            _record_ahead(db, settings, night=night, now=now)
            return NightOutcome(night=night, stored=False, fit=None, rendered=None)
        ledger.require_turn(nights, night, today=now.astimezone(settings.site.zone).date())
        with writing(db):
            ledger.start(db, night, now)
        try:
            prepared, rendered = _do(db, settings, night=night, now=now)
        except Exception as error:
            # Whatever went wrong, the surgeons' silence must not look like "nothing new".
            _record_failure(db, settings, night=night, now=now, error=error)
            raise NightError(f"the night of {night} failed: {type(error).__name__}; see `vbq-node problems`") from error
        publish_report(db, folder, now=now)
    log.info("night done", night=night.isoformat(), n=prepared.snapshot.n)
    return NightOutcome(night=night, stored=True, fit=prepared.fit, rendered=rendered)


def _recorded_at(db: Database, night: date) -> datetime | None:
    sql = "SELECT made_at FROM record_report WHERE kind = ? AND night = ?"
    row = db.execute(sql, [ledger.KIND, night.isoformat()]).fetchone()
    return from_text(row[0]) if row else None


def read_basis(db: Database, night: date) -> Basis:
    """What a night would be computed from now."""
    version = _data_version(db)
    excluded = dict(sorted(read_exclusions(db).items()))
    return Basis(
        snapshot=read_snapshot(db),
        lacking=read_lacking(db, night),
        frozen=read_frozen(db),
        excluded=excluded,
        data_version=version,
    )


def _data_version(db: Database) -> int:
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def prepare(basis: Basis, settings: Settings) -> Prepared:
    """Fit the model, propose cut-offs, look for drift and draw the figures."""
    cohort = cohort_frame(basis.snapshot.text)
    fit = fit_vbq_model(cohort)
    frozen = cohort_frame(basis.frozen.text) if basis.frozen else None
    return Prepared(
        basis=basis,
        fit=fit,
        imputed=_impute(cohort, basis.lacking),
        proposal=calibrate(cohort, rule_of(settings)),
        drift=None if frozen is None else check_drift(frozen, cohort),
        shifts=() if frozen is None else find_shifts(frozen, cohort),
        figures=(*(_draw(cohort) if isinstance(fit, OlsFit) else ()), _draw_flow(basis, fit)),
    )


def _impute(cohort: pd.DataFrame, lacking: str) -> ImputedFit | Refusal | None:
    """The model with missing values imputed; its work is bounded (:data:`analytics.paper.imputation.CELLS`)."""
    if not lacking:
        return None
    return imputed_model(pd.concat([cohort, cohort_frame(lacking)]), seed=SEED)


def _draw(cohort: pd.DataFrame) -> Iterator[Figure]:
    for column, label in FIGURES:
        picture, words = scatter(cohort, column, x_label=label), scatter_alt_text(cohort, column, label)
        yield Figure(name=column, png=picture, alt_text=words)
    curves = age_curves(cohort)
    if isinstance(curves, AgeCurves):
        yield Figure(name=AGE_BY_SEX, png=png(age_figure(cohort, curves)), alt_text=age_alt_text(curves))


def _draw_flow(basis: Basis, fit: OlsFit | Refusal) -> Figure:
    flow = cohort_flow(basis.excluded, fit)
    return Figure(name=FLOW, png=png(flow_figure(flow)), alt_text=flow.in_words())


def _do(db: Database, settings: Settings, *, night: date, now: datetime) -> tuple[Prepared, Rendered]:
    """Compute and write everything beside the receivers, then store it in one short transaction."""
    for _ in range(ATTEMPTS):
        prepared = prepare(read_basis(db, night), settings)
        try:
            draft = _draft(db, settings, prepared, night=night, now=now)
            report = _write(db, settings, draft, now=now)
            with writing(db):
                _require_basis(db, prepared, night)
                _store_fit(db, settings, prepared, night=night, now=now)
                draft.require_same(_compose(db, settings, prepared, night=night, now=now))
                _store(db, settings, report, now=now)
        except _MovedOnError:
            # What arrived while the night was computed belongs into it: then it is computed again.
            continue
        return prepared, report.rendered
    with writing(db):
        prepared = prepare(read_basis(db, night), settings)
        _store_fit(db, settings, prepared, night=night, now=now)
        report = _write(db, settings, _compose(db, settings, prepared, night=night, now=now), now=now)
        _store(db, settings, report, now=now)
    return prepared, report.rendered


def _rehearse(db: Database, settings: Settings, *, night: date, now: datetime) -> NightOutcome:
    """Do everything but store."""
    for _ in range(ATTEMPTS):
        prepared = prepare(read_basis(db, night), settings)
        try:
            draft = _draft(db, settings, prepared, night=night, now=now)
        except _MovedOnError:
            continue
        return NightOutcome(night=night, stored=False, fit=prepared.fit, rendered=render(draft.content))
    raise NightError("what the night rests on changed all the time; try again when less is arriving")


class _MovedOnError(Exception):
    """What the night rests on is another than when it was computed."""


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """What a report says, and the hospital's patient numbers for who gets them."""

    content: Content
    numbers: dict[str, str]

    def require_same(self, now: "_Draft") -> None:
        """Ignore differences in the arrival counts only; the next report shows them."""
        if (now.content.settled, now.numbers) != (self.content.settled, self.numbers):
            raise _MovedOnError


@dataclass(frozen=True, kw_only=True)
class _Report:
    """A report as it is stored, with every recipient's mail."""

    report_id: str
    content: Content
    rendered: Rendered
    mails: dict[str, EmailMessage]


def _draft(db: Database, settings: Settings, prepared: Prepared, *, night: date, now: datetime) -> _Draft:
    """Compose the report in a transaction that is then rolled back, so that it can be written outside of one."""
    db.execute("BEGIN IMMEDIATE")
    try:
        _require_basis(db, prepared, night)
        return _compose(db, settings, prepared, night=night, now=now)
    finally:
        # SQLite has rolled back by itself when the disk was full; a second attempt would hide the first error.
        if db.conn.in_transaction:
            db.execute("ROLLBACK")


def _require_basis(db: Database, prepared: Prepared, night: date) -> None:
    # Reading a large cohort again takes longer than all that is done inside the transaction.
    if _data_version(db) != prepared.basis.data_version and read_basis(db, night) != prepared.basis:
        raise _MovedOnError


def _write(db: Database, settings: Settings, draft: _Draft, *, now: datetime) -> _Report:
    content = replace(draft.content, pictures=slice_pictures(db, settings, draft.content))
    rendered = render(content)
    report_id = f"{content.night.isoformat()}-nightly"
    mails = mails_for_recipients(settings, content, rendered, draft.numbers, report_id=report_id, now=now)
    return _Report(report_id=report_id, content=content, rendered=rendered, mails=mails)


def _store(db: Database, settings: Settings, report: _Report, *, now: datetime) -> None:
    """Keep the report, queue its mails and finish the night; inside a transaction."""
    night, rendered = report.content.night, report.rendered
    insert(
        db,
        "record_report",
        [
            {
                "report_id": report.report_id,
                "night": night.isoformat(),
                "kind": "nightly",
                "made_at": to_text(now),
                "fit_id": report.content.fit_id,
                "subject": rendered.subject,
                "text": rendered.text,
                "html": rendered.file_html,
                "counts": json.dumps(rendered.counts, ensure_ascii=False, sort_keys=True),
            }
        ],
    )
    for recipient, mail in report.mails.items():
        put(db, mail, recipient=recipient, report_id=report.report_id, now=now)
    for missed in ledger.missed_before(ledger.nights(db, by=now), night):
        ledger.finish(db, missed, now, status="done", detail=f"caught up by {night}")
    ledger.finish(db, night, now, status="done")
    tell_engineer(db, settings, report.content, now=now)


def _compose(db: Database, settings: Settings, prepared: Prepared, *, night: date, now: datetime) -> _Draft:
    """Store thresholds and flags, and put the report together; inside a transaction."""
    fit_id = _fit_id(prepared, night)
    counts = read_counts(db, night=night, fit=prepared.fit)
    proposed = decide_thresholds(db, settings, prepared.tonight, night=night, now=now)
    version, corrected = thresholds.in_force(db), corrections.in_force(db)
    changes, standing = flags.find_changes(
        db,
        night=night,
        version=version,
        vbq_sem=settings.measurement.vbq_sem,
        derivation_behind=bool(counts.to_derive),
        drift=prepared.drift if isinstance(prepared.drift, Drift) else None,
        corrections=corrected,
    )
    flags.store(db, changes, night=night)
    findings = Findings(
        settings=settings,
        night=night,
        now=now,
        fit_id=fit_id,
        fit=prepared.fit,
        imputed=prepared.imputed,
        counts=counts,
        version=version,
        corrections=corrected,
        proposed=proposed,
        proposal=prepared.proposal,
        drift=prepared.drift,
        frozen=prepared.basis.frozen,
        shifts=prepared.shifts,
        changes=tuple(changes),
        standing=tuple(standing),
        figures=prepared.figures,
        owners=operation_owners(db),
    )
    sections = tuple(read(db, findings) for read in SECTIONS)
    content = Content(
        site=settings.site.name,
        protocol=settings.site.protocol,
        banner=settings.site.banner,
        seal=_seal(db),
        night=night,
        fit_id=fit_id,
        sections=sections,
        pages=settings.web.url,
    )
    return _Draft(content=content, numbers=patient_numbers(db, settings))


def _seal(db: Database) -> str:
    rows, sha256 = newest_seal(db)
    return f"{rows}:{sha256}" if rows else ""


def _fit_id(prepared: Prepared, night: date) -> str:
    return f"{night.isoformat()}-{prepared.fit_hash}"


def _store_fit(db: Database, settings: Settings, prepared: Prepared, *, night: date, now: datetime) -> None:
    fit = prepared.fit
    fitted = fit if isinstance(fit, OlsFit) else None
    fit_id = _fit_id(prepared, night)
    insert(
        db,
        "record_fit",
        [
            {
                "fit_id": fit_id,
                "night": night.isoformat(),
                "made_at": to_text(now),
                "status": "fitted" if fitted else "refused",
                "reason": str(fit.reason) if isinstance(fit, Refusal) else None,
                "n_rows": fit.n_rows,
                "n_used": fit.n_used,
                "df_resid": fitted.df_resid if fitted else None,
                "r2": fitted.r2 if fitted else None,
                "adj_r2": fitted.adj_r2 if fitted else None,
                "snapshot_sha256": prepared.snapshot.sha256,
                "snapshot": prepared.snapshot.text,
                "result": json.dumps(fit.to_json_dict(), ensure_ascii=False, sort_keys=True),
                "settings": settings.model_dump_json(include={"measurement", "thresholds"}),
                "code_version": __version__,
            }
        ],
    )
    if fitted:
        keys = ("term", "b", "se", "t", "p", "ci_low", "ci_high", "beta_std", "vif", "partial_r2")
        rows = [{"fit_id": fit_id, **{key: getattr(term, key) for key in keys}} for term in fitted.terms]
        insert(db, "record_fit_term", rows)


def _record_ahead(db: Database, settings: Settings, *, night: date, now: datetime) -> None:
    """Say that a night was done before it came, by a clock that was ahead; its record stays as it was made."""
    log.warning("night was done before it came, by a clock that was ahead", night=night.isoformat())
    text = f"The nightly run of {night}: {ledger.DONE_AHEAD}.\nCheck how the machine sets its clock.\n"
    with writing(db):
        ledger.finish(db, night, now, status="failed", detail=ledger.DONE_AHEAD)
        subject = f"VBQ {settings.site.name} {night}: no report tonight, the clock was ahead"
        notify_administrator(db, settings, kind="ahead", day=night, subject=subject, text=text, now=now)


def _record_failure(db: Database, settings: Settings, *, night: date, now: datetime, error: Exception) -> None:
    """Say in the ledger and to the administrator that the night failed; without patient data."""
    # The message of an arbitrary error may quote data; its type and the lines of code it came through do not.
    frames = traceback.extract_tb(error.__traceback__)
    detail = f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    log.error("night failed", night=night.isoformat(), detail=detail, traceback="".join(traceback.format_list(frames)))
    text = (
        f"The nightly run of {night} failed ({detail}). No report was made; nobody was tiered tonight.\n"
        "On the node, `vbq-node problems` and the log say more. After the cause is removed run\n"
        f"`vbq-node nightly --date {night}`; nothing that arrived is lost.\n"
    )
    with writing(db):
        ledger.finish(db, night, now, status="failed", detail=detail)
        subject = f"VBQ {settings.site.name} {night}: the nightly run FAILED"
        notify_administrator(db, settings, kind="failed", day=night, subject=subject, text=text, now=now)
