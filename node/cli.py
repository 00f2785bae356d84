"""The command line. Commands parse, call one function of the node, and show; nothing is decided here."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.archive import Archive
from node.clock import now
from node.errors import InputError, NodeError, StoreError
from node.logs import configure_logging
from node.settings import Settings, load_settings
from node.store.database import open_database

app = typer.Typer(
    name="vbq-node",
    help="Vertebral bone quality from routine lumbar MRI, linked to blood counts and planned operations. "
    "Research use only; a person decides.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
reading_app = typer.Typer(help="Readings: the circles that a person placed on a series.", no_args_is_help=True)
thresholds_app = typer.Typer(
    help="The site's cut-offs: proposed by the night, adopted by a person.", no_args_is_help=True
)
app.add_typer(reading_app, name="reading")
app.add_typer(thresholds_app, name="thresholds")
report_app = typer.Typer(help="Past reports, exactly as they were.", no_args_is_help=True)
app.add_typer(report_app, name="report")
messages_app = typer.Typer(help="Stored HL7 messages: what was received, and how it is read.", no_args_is_help=True)
identity_app = typer.Typer(
    help="Patient numbers that differ in leading zeros only: a person says whether they are one patient.",
    no_args_is_help=True,
)
app.add_typer(messages_app, name="messages")
app.add_typer(identity_app, name="identity")

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The settings file; without it node.toml of this folder, else the defaults."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for a script.")]
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]

out = Console()
err = Console(stderr=True)


def main() -> None:
    """Run the command line; an error a person can act on is one line on standard error and an exit code."""
    try:
        app()
    except NodeError as error:
        _fail(str(error), error.exit_code)
    except sqlite3.OperationalError as error:
        # Locked for longer than the time-out, full disk, folder gone: not a fault of this software.
        _fail(f"the database cannot be used now: {error}; `vbq-node doctor` checks it", StoreError.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'the data folder'}: {error.strerror or error}", StoreError.exit_code)


def _fail(message: str, exit_code: int) -> None:
    err.print(f"vbq-node: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(exit_code)


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logging(settings.logging)
    return settings


def _open(settings: Settings, *, create: bool = False) -> tuple[Database, Archive]:
    # A question asked in the wrong folder must not be answered from a new, empty database.
    return open_database(settings.storage.folder, create=create), Archive(settings.storage.folder)


def _print_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(*columns, title=Text(title) if title else None)
    for row in rows:
        # As text: what a sender wrote may look like rich's markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    out.print(table)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


# ---- roles ---------------------------------------------------------------------------------------------------------
@app.command()
def run(config: Config = None) -> None:
    """Run the whole node: all roles under one supervisor, until Ctrl-C or SIGTERM."""
    from node.supervisor import supervise

    settings = _settings(config)
    open_database(settings.storage.folder, create=True).close()
    raise typer.Exit(supervise(config, announce=lambda: _announce(settings)))


def _announce(settings: Settings) -> None:
    folder = settings.storage.folder.resolve()
    out.print(
        f"vbq-node is up. Data: {folder}\n"
        f"  DICOM    {settings.dicom.host}:{settings.dicom.port}  AE title {settings.dicom.ae_title}\n"
        f"  HL7 MLLP {settings.hl7.host}:{settings.hl7.port}\n"
        f"  metrics  http://{settings.metrics.host}:{settings.metrics.port}/metrics\n"
        f"  night    every day at {settings.nightly.at:%H:%M} {settings.site.time_zone}, "
        f"report to {', '.join(settings.mail.recipients) or 'nobody yet (mail.recipients)'}\n"
        "Next: let the PACS route lumbar MR here and the laboratory send its results; `vbq-node status` shows what\n"
        f"arrives, `sqlite3 {folder}/snapshots/node.db` answers questions. conf/node.toml explains every setting.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _run_role(name: str, config: Path | None, supervised: bool) -> None:
    from node.roles import run_role

    settings = _settings(config)
    # The supervisor has made the database: a role started again must not make another when the folder is gone.
    open_database(settings.storage.folder, create=not supervised).close()
    run_role(name, settings, supervised=supervised)


@app.command()
def dicom(config: Config = None, supervised: Supervised = False) -> None:
    """Run the DICOM receiver alone."""
    _run_role("dicom", config, supervised)


@app.command()
def hl7(config: Config = None, supervised: Supervised = False) -> None:
    """Run the HL7 listener alone."""
    _run_role("hl7", config, supervised)


@app.command()
def steps(config: Config = None, supervised: Supervised = False) -> None:
    """Run the derivation (index, interpret, measure, link), the snapshot and the metrics alone."""
    _run_role("steps", config, supervised)


@app.command()
def nightly(
    config: Config = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and run every night at the set time.")] = False,
    night: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="The night's date; today without it."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compute and show; store and send nothing.")] = False,
    as_json: AsJson = False,
    supervised: Supervised = False,
) -> None:
    """Run tonight's refit, calibration, flags and report now, and send the mail."""
    if watch:
        _run_role("nightly", config, supervised)
        return
    from node.nightly.night import run_night
    from node.nightly.outbox import deliver
    from node.steps.worker import deriving, run_pending

    settings = _settings(config)
    db, archive = _open(settings)
    moment = now()
    day = night.date() if night else moment.astimezone(settings.site.zone).date()
    # Nothing is half derived under the lock of those who derive, not even beside a rebuild.
    with deriving(settings.storage.folder, wait=True):
        while not dry_run and run_pending(db, archive, settings, at=now()):
            pass
        outcome = run_night(db, settings, night=day, now=moment, dry_run=dry_run)
    if not dry_run:
        deliver(db, settings, now=now())
    if as_json:
        _print_json(outcome.to_json_dict())
    else:
        out.print(outcome.summary(), markup=False, highlight=False, soft_wrap=True)


# ---- facts given by people -----------------------------------------------------------------------------------------
@app.command("import")
def import_(
    cohort: Annotated[Path, typer.Argument(help="CSV with the promised columns; dates where there are any.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take a site's retrospective cohort. The same file twice changes nothing; every refused row is listed.

    Exit code 0 when every row was taken, 3 when some rows have problems (they are listed, and kept in `problems`).
    """
    from node.cohort_import import import_cohort

    settings = _settings(config)
    db, _ = _open(settings, create=True)
    summary = import_cohort(db, cohort, site=settings.site.name, now=now())
    if as_json:
        _print_json(summary.to_json_dict())
    else:
        out.print(
            f"{summary.rows} rows: {summary.new} new, {summary.changed} changed, {summary.unchanged} unchanged, "
            f"{summary.refused} refused; {summary.eligible} eligible for the model, {summary.excluded} excluded"
            + (" (this file had been imported before)" if summary.already_imported else ""),
            highlight=False,
            soft_wrap=True,
        )
        for problem in summary.problems:
            out.print(f"  {problem}", markup=False, highlight=False, soft_wrap=True)
    if summary.problems:
        raise typer.Exit(3)


@reading_app.command("add")
def reading_add(
    series_uid: Annotated[str, typer.Argument(help="The SeriesInstanceUID the reading is for.")],
    rois: Annotated[
        Path, typer.Option("--rois", help='JSON: {"slice": n, "L1": [row, col, radius_px], … "CSF": […]}.')
    ],
    reader: Annotated[str, typer.Option("--reader", help="Who read it.")],
    config: Config = None,
) -> None:
    """Store a person's reading of a series; the steps compute VBQ from it.

    `slice` is the InstanceNumber (1-based), with `frame` (1-based) beside it for a multi-frame image; rows, columns
    and radii are native pixels, 0-based.
    """
    from node.readings import add_reading

    settings = _settings(config)
    db, archive = _open(settings)
    try:
        text = rois.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {rois}: {error}") from error
    added = add_reading(db, archive, series_uid=series_uid, reader=reader, rois_text=text, now=now())
    out.print("reading stored" if added.new else "this reading is in effect already", highlight=False)


# ---- questions -----------------------------------------------------------------------------------------------------
@app.command()
def interpret(
    files: Annotated[list[Path], typer.Argument(help="Files with HL7 v2 messages, as received.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show what the listener would make of HL7 files; nothing is stored. One JSON object a message, a line each."""
    from node.hl7.report import interpretation_json

    settings = _settings(config)
    for file in files:
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror}") from error
        for message in interpretation_json(raw, settings):
            if as_json:
                sys.stdout.write(json.dumps(message, ensure_ascii=False) + "\n")
            else:
                out.print_json(data=message)


@app.command()
def status(config: Config = None, as_json: AsJson = False) -> None:
    """Show what arrived, what is pending and what needs a person."""
    from node.status import status as node_status

    settings = _settings(config)
    db, _ = _open(settings)
    found = node_status(db, now=now())
    if as_json:
        _print_json(found)
        return
    rows: list[tuple[str, object]] = []
    for group in ("counts", "pending"):
        values = found[group]
        if isinstance(values, dict):
            rows += [(name if group == "counts" else f"pending: {name}", number) for name, number in values.items()]
    for name in ("last_object_received_at", "last_message_received_at", "threshold_version"):
        rows.append((name.replace("_", " "), found[name] or "–"))
    night = found["last_night"]
    rows.append(("last night", f"{night['night']} {night['status']}" if isinstance(night, dict) else "–"))
    _print_table(f"vbq-node, {settings.site.name}", ("what", "number"), rows)


@app.command()
def problems(config: Config = None, as_json: AsJson = False) -> None:
    """List everything that needs a person: what was refused, held, doubtful or undeliverable, and why."""
    settings = _settings(config)
    db, _ = _open(settings)
    rows = list(db.query("SELECT step, source, code, detail FROM problems ORDER BY step, source, code, detail"))
    if as_json:
        _print_json(rows)
        return
    _print_table(f"{len(rows)} problems", ("step", "what", "problem", "why"), [tuple(row.values()) for row in rows])


@app.command()
def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check settings, folder, disk, ports, mail and time zone. Exit code 1 when something is wrong."""
    from node.doctor import examine

    findings = examine(_settings(config))
    if as_json:
        _print_json([{"check": f.check, "ok": f.ok, "detail": f.detail} for f in findings])
    else:
        for finding in findings:
            out.print(
                f"{'ok   ' if finding.ok else 'WRONG'} {finding.check}: {finding.detail}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@messages_app.command("show")
def messages_show(
    message_id: Annotated[str, typer.Argument(help="The id of the message, as the view `messages` has it.")],
    config: Config = None,
) -> None:
    """Show one message as JSON: when it came, what was made of it, how it is read today, and its text."""
    from node.messages import show_message

    settings = _settings(config)
    db, _ = _open(settings)
    _print_json(show_message(db, settings, message_id))


@messages_app.command("replay")
def messages_replay(
    message_ids: Annotated[list[str] | None, typer.Argument(help="Ids of messages; all without one.")] = None,
    config: Config = None,
) -> None:
    """Read messages anew after a rule has changed, and derive again all that depends on them."""
    from node.steps.replay import replay

    settings = _settings(config)
    db, _ = _open(settings)
    done = replay(db, settings, message_ids or [])
    out.print(f"{done} frames read anew", highlight=False)


@identity_app.command("list")
def identity_list(config: Config = None, as_json: AsJson = False) -> None:
    """List the candidates, open and decided."""
    from node.candidates import candidates

    settings = _settings(config)
    db, _ = _open(settings)
    rows = candidates(db)
    if as_json:
        _print_json(rows)
        return
    columns = ("authority", "patient_id", "other_patient_id", "state", "decided_by")
    cells = [[row[name] or "" for name in columns] for row in rows]
    _print_table(None, ["authority", "number", "other number", "state", "by"], cells)


Authority = Annotated[str, typer.Argument(help="The authority of both numbers, as `identity list` shows it.")]
OneNumber = Annotated[str, typer.Argument(help="One of the two numbers, with its leading zeros.")]
OtherNumber = Annotated[str, typer.Argument(help="The other number.")]
DecidedBy = Annotated[str, typer.Option("--by", help="Who decides.")]


@identity_app.command("confirm")
def identity_confirm(
    authority: Authority, number: OneNumber, other: OtherNumber, by: DecidedBy, config: Config = None
) -> None:
    """Say that two numbers are one patient: they are joined like by a merge. `reject` takes it back."""
    from node.candidates import decide

    db, _ = _open(_settings(config))
    decide(db, numbers=(authority, number, other), confirmed=True, by=by, now=now())
    out.print("confirmed; the steps join the two numbers", highlight=False)


@identity_app.command("reject")
def identity_reject(
    authority: Authority, number: OneNumber, other: OtherNumber, by: DecidedBy, config: Config = None
) -> None:
    """Say that two numbers are two patients. `confirm` takes it back."""
    from node.candidates import decide

    db, _ = _open(_settings(config))
    decide(db, numbers=(authority, number, other), confirmed=False, by=by, now=now())
    out.print("rejected; the two numbers stay apart", highlight=False)


@app.command()
def analyse(
    cohort: Annotated[Path, typer.Argument(help="CSV with the promised columns; more columns may be there.")],
    folder: Annotated[Path, typer.Option("--out", help="Where the results go; the folder is made.")],
    cut: Annotated[
        float | None, typer.Option("--cut", help="VBQ at or above it is high; the cohort's median without it.")
    ] = None,
    clipped: Annotated[
        float, typer.Option("--clipped", min=0.001, max=0.25, help="Share of each ratio clipped on each side.")
    ] = 0.01,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", help="Column of 1 and 0 that VBQ and the ratios are judged against (ROC, Youden)."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstraps.")] = 1,
) -> None:
    """Run the paper's whole analysis on a cohort table: JSON, tables, figures and one report.html; nothing is stored.

    Exit code 0 when every part could be computed, 3 when some could not (they are listed with the reason).
    """
    from analytics.analysis import Choices
    from node.analyse import analyse_file, write

    if cut is not None and not isfinite(cut):
        raise InputError(f"VBQ has no group at or above {cut}")
    done = analyse_file(cohort, Choices(seed=seed, cut=cut, clipped=clipped, outcome=outcome))
    write(done, folder)
    refusals, alerts = done.analysis.refusals(), done.analysis.alerts()
    lines = [
        f"{done.rows} rows: {done.refused} refused, {len(done.excluded)} excluded, {done.eligible} analysed",
        *(f"  not given: {text}" for text in refusals),
        *(f"  look at: {text}" for text in alerts),
        *(f"  left out: id {one.id}: {'; '.join(one.reasons)}" for one in done.excluded),
        f"written to {folder / 'report.html'} and beside it",
    ]
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if refusals:
        raise typer.Exit(3)


# ---- upkeep --------------------------------------------------------------------------------------------------------
@app.command()
def migrate(config: Config = None) -> None:
    """Make the database, or bring it to the schema of this version."""
    settings = _settings(config)
    open_database(settings.storage.folder, create=True).close()
    out.print(f"the database in {settings.storage.folder} is current", markup=False, highlight=False)


@app.command()
def rebuild(config: Config = None) -> None:
    """Derive everything again from the facts (files, messages, decisions). Facts and records are not touched."""
    from node.rebuild import rebuild as rebuild_all

    settings = _settings(config)
    db, archive = _open(settings)
    with err.status("deriving everything again"):
        rebuild_all(db, archive, settings)
    out.print("everything derived again", highlight=False)


@app.command()
def snapshot(config: Config = None) -> None:
    """Publish the read-only snapshot for people who query now, and print its path."""
    from node.steps.worker import deriving
    from node.store.snapshot import publish

    settings = _settings(config)
    db, _ = _open(settings)
    with deriving(settings.storage.folder, wait=True):
        path = publish(db, settings.storage.folder)
    sys.stdout.write(f"{path}\n")


@thresholds_app.command("list")
def thresholds_list(config: Config = None, as_json: AsJson = False) -> None:
    """List all threshold versions, proposed, adopted and retired."""
    settings = _settings(config)
    db, _ = _open(settings)
    rows = list(db.query("SELECT * FROM thresholds ORDER BY version"))
    if as_json:
        _print_json(rows)
        return
    _print_table(
        None,
        ("version", "night", "method", "n", "VBQ ≥", "NLR >", "PLR >", "state", "by"),
        [
            (
                *(row[name] for name in ("version", "night", "method", "n")),
                *(f"{row[name]:.3f}" for name in ("vbq", "nlr", "plr")),
                row["state"],
                row["decided_by"] or "",
            )
            for row in rows
        ],
    )


@thresholds_app.command("adopt")
def thresholds_adopt(
    version: Annotated[int, typer.Argument(help="The version, as `thresholds list` shows it.")],
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
    config: Config = None,
) -> None:
    """Adopt a version; from the next night on tiers follow it. Shows whose tier will change."""
    from node import thresholds

    settings = _settings(config)
    db, _ = _open(settings)
    changes = thresholds.would_change(db, version)
    thresholds.adopt(db, version, by=by, now=now())
    out.print(f"version {version} adopted; {len(changes)} tiers will change with the next night", highlight=False)
    for change in changes:
        out.print(f"  {change}", markup=False, highlight=False)


@thresholds_app.command("retire")
def thresholds_retire(
    version: Annotated[int, typer.Argument(help="The version, as `thresholds list` shows it.")],
    by: Annotated[str, typer.Option("--by", help="Who decides.")],
    config: Config = None,
) -> None:
    """Retire a version; without an adopted one nobody gets a tier."""
    from node import thresholds

    settings = _settings(config)
    db, _ = _open(settings)
    thresholds.retire(db, version, by=by, now=now())
    out.print(f"version {version} retired", highlight=False)


Night = Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="The night's date.")]


@report_app.command("list")
def report_list(config: Config = None, as_json: AsJson = False) -> None:
    """List all reports and notices, and how many of their mails were sent."""
    from node.nightly.reports import list_reports

    db, _ = _open(_settings(config))
    rows = list_reports(db)
    if as_json:
        _print_json(rows)
        return
    names = ("night", "kind", "made_at", "subject", "mails", "mails_sent")
    _print_table(None, names, [[row[name] for name in names] for row in rows])


@report_app.command("show")
def report_show(
    night: Night,
    html: Annotated[bool, typer.Option("--html", help="The HTML with its figures, in place of the text.")] = False,
    config: Config = None,
) -> None:
    """Print the report of a night exactly as it was made."""
    from node.nightly.reports import stored_report

    db, _ = _open(_settings(config))
    sys.stdout.write(stored_report(db, night.date(), "html" if html else "text"))


@report_app.command("resend")
def report_resend(night: Night, config: Config = None) -> None:
    """Queue the stored mails of a night once more; the nightly role sends them."""
    from node.nightly.reports import resend

    db, _ = _open(_settings(config))
    recipients = resend(db, night.date(), now=now())
    out.print(f"queued again for {', '.join(recipients)}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Where the demo keeps its data; a temporary folder without it."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws other patients.")] = 1,
) -> None:
    """Play a small hospital against a real node and show the flag report and the queries behind it."""
    from node.demo.play import run_demo

    run_demo(folder=folder, seed=seed)
