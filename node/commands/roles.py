"""The node and its roles: ``run``, each role alone, and tonight's work now."""

import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, open_node, out, print_json
from node.errors import InputError, SettingsError
from node.run.program import UP, read_settings
from node.settings import Settings, load_settings
from node.store.database import open_database

EARLIEST_YEAR = 1990
"""Of a night: before MR images of today's kind were made."""

app = typer.Typer()


@app.command()
def run(config: Config = None) -> None:
    """Run the whole node: all roles under one supervisor, until Ctrl-C or SIGTERM."""
    from node.run.supervisor import supervise

    settings = read_settings(config)
    open_database(settings.storage.folder, create=True).close()
    raise typer.Exit(supervise(config, settings.storage.folder, announce=lambda: _announce(settings)))


def _announce(settings: Settings) -> None:
    folder = settings.storage.folder.resolve()
    text = (
        f"{UP}. Data: {folder}\n"
        f"  DICOM    {settings.dicom.host}:{settings.dicom.port}  AE title {settings.dicom.ae_title}\n"
        f"  HL7 MLLP {settings.hl7.host}:{settings.hl7.port}\n"
        f"  pages    {'https' if settings.web.tls else 'http'}://{settings.web.host}:{settings.web.port}/"
        " (accounts: vbq-node users add)\n"
        f"  metrics  http://{settings.metrics.host}:{settings.metrics.port}/metrics\n"
        f"  night    every day at {settings.nightly.at:%H:%M} {settings.site.time_zone}, "
        f"report to {', '.join(settings.mail.recipients) or 'nobody yet (mail.recipients)'}\n"
        "Next: let the PACS route lumbar MR here and the laboratory send its results; `vbq-node status` shows what\n"
        f"arrives, `sqlite3 {folder}/snapshots/node.db` answers questions. conf/node.toml explains every setting."
    )
    # Not by rich, which ends a process whose output nobody reads any more.
    with suppress(OSError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _run_role(name: str, config: Path | None) -> None:
    from node.run.roles import run_role

    settings = read_settings(config)
    open_database(settings.storage.folder, create=True).close()
    run_role(name, settings, supervised=False)


@app.command()
def dicom(config: Config = None) -> None:
    """Run the DICOM receiver alone."""
    _run_role("dicom", config)


@app.command()
def hl7(config: Config = None) -> None:
    """Run the HL7 listener alone."""
    _run_role("hl7", config)


@app.command()
def steps(config: Config = None) -> None:
    """Run the derivation (index, interpret, measure, link), the snapshot and the metrics alone."""
    _run_role("steps", config)


@app.command()
def outgoing(config: Config = None) -> None:
    """Run the outgoing part alone: ask PACS how many images a series has, and send on what goes to others."""
    _run_role("outgoing", config)


@app.command()
def web(config: Config = None) -> None:
    """Run the pages alone: worklist, reading room, the surgeon's list."""
    _run_role("web", config)


@app.command("service-failed")
def service_failed(unit: Annotated[str, typer.Argument(help="The unit that failed.")], config: Config = None) -> None:
    """Mail the administrator that a service has failed and is not started again: what the units call (OnFailure)."""
    from node.outgoing.mail import tell_administrator_now

    wrong: SettingsError | None = None
    try:
        settings = read_settings(config)
    except SettingsError as error:
        # By far the most frequent reason why a service is given up.
        settings, wrong = load_settings(config, only=("mail", "site")), error
    text = (
        f"The service {unit} has failed and is not started again by itself. On the node,\n"
        f"`systemctl status {unit}` and `journalctl -u {unit}` say why, `vbq-node doctor` checks what it can.\n"
    )
    if wrong:
        text += f"\nIts settings are wrong: {wrong}\n"
    sent = tell_administrator_now(settings, subject=f"VBQ {settings.site.name}: {unit} has failed", text=text)
    if wrong and not sent:
        raise wrong
    out.print("sent" if sent else "mail.administrator is not set: nobody is told", highlight=False)


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
) -> None:
    """Run tonight's refit, calibration, flags and report now, and send the mail."""
    if watch:
        _run_role("nightly", config)
        return
    from node.nightly.analysis import publish_analysis
    from node.nightly.night import run_night
    from node.outgoing.mail import deliver
    from node.steps.lock import deriving
    from node.steps.worker import run_pending
    from node.store.database import writing
    from node.store.derivation import finish

    settings = read_settings(config)
    moment = now()
    today = moment.astimezone(settings.site.zone).date()
    day = night.date() if night else today
    if day.year < EARLIEST_YEAR or (day > today + timedelta(days=1) and not dry_run):
        raise InputError(f"the night of {day} is not to be had: it has not come yet, or is before {EARLIEST_YEAR}")
    db, archive = open_node(settings)
    # Nothing is half derived under the lock of those who derive, not even beside a rebuild.
    with deriving(settings.storage.folder, wait=True):
        while not dry_run and run_pending(db, archive, settings, at=now()):
            pass
        if not dry_run:
            with writing(db):
                finish(db)
        outcome = run_night(db, settings, night=day, now=moment, dry_run=dry_run)
    if not dry_run:
        deliver(db, settings, now=now())
    if settings.nightly.analysis and not dry_run:
        publish_analysis(db, settings.storage.folder, now=now())
    if as_json:
        print_json(outcome.to_json_dict())
    else:
        out.print(outcome.summary(), markup=False, highlight=False, soft_wrap=True)
