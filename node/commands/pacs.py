"""Other DICOM nodes: what is brought from them, and what is sent on to them."""

from dataclasses import asdict
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, err, opaque, open_node, out, print_json, print_table
from node.errors import InputError
from node.run.program import read_settings

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from sqlite_utils import Database

    from node.pacs.fetch import Brought
    from node.pacs.plan import Plan
    from node.settings import Settings
    from node.store.archive import Archive

app = typer.Typer()
forward_app = typer.Typer(help="What is sent on to the peers with a `forward` address.", no_args_is_help=True)
app.add_typer(forward_app, name="forward")


@app.command()
def fetch(
    peer: Annotated[str, typer.Option("--peer", help="The PACS, as dicom.peers names it; it needs a `query` address.")],
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="The first study date.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last study date, included.")
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="One StudyInstanceUID, in place of --from and --to.")
    ] = None,
    unnamed: Annotated[
        bool, typer.Option("--unnamed", help="Also studies that name no part of the body anywhere.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be brought; bring nothing.")] = False,
    images_per_minute: Annotated[
        int | None, typer.Option("--images-per-minute", min=1, help="No more than these; else as the settings say.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Find lumbar MR studies in a PACS and bring what is not here yet; run it again to go on where it was stopped.

    Exit code 0 when everything found is here, 3 when some series could not be brought (they are listed, and stay in
    `problems` until a later fetch brings them), 1 when the PACS cannot be used.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    settings = read_settings(config)
    db, archive = open_node(settings, create=True, action="fetch", subject=opaque(study))
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=err.console, disable=not err.is_terminal,
    ) as progress:  # fmt: skip
        plan = _plan(db, settings, peer, (first, last), study, unnamed, progress)
        brought = None if dry_run else _bring(db, archive, settings, peer, plan, images_per_minute, progress)
    if as_json:
        print_json(_fetch_json(peer, plan, brought))
    else:
        for line in _fetch_lines(plan, brought):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if brought and brought.failures:
        raise typer.Exit(3)


def _plan(
    db: "Database",
    settings: "Settings",
    peer: str,
    period: tuple[datetime | None, datetime | None],
    study: str | None,
    unnamed: bool,
    progress: "Progress",
) -> "Plan":
    from node.pacs.fetch import find, find_study
    from node.pacs.plan import days

    first, last = period
    if study is not None and first is None and last is None:
        return find_study(db, settings, peer, study)
    if study is not None or first is None or last is None:
        raise InputError("give --from and --to, or --study")
    if last < first:
        raise InputError("--to is before --from")
    dates = (first.date(), last.date())
    task = progress.add_task("looking, day by day", total=len(days(*dates)))
    return find(db, settings, peer, period=dates, unnamed=unnamed, progress=lambda: progress.advance(task))


def _bring(
    db: "Database",
    archive: "Archive",
    settings: "Settings",
    peer: str,
    plan: "Plan",
    images_per_minute: int | None,
    progress: "Progress",
) -> "Brought":
    from node.pacs.fetch import Fetch

    task = progress.add_task("images", total=plan.images)
    done = 0
    with Fetch(db, archive, settings, peer, images_per_minute=images_per_minute) as bringing:
        for study in plan.wanted:
            bringing.study(study, partial(_show, progress, task, done))
            done += sum(series.instances for series in study.series)
            progress.update(task, completed=done)
        return bringing.brought


def _show(progress: "Progress", task: "TaskID", before: int, images: int) -> None:
    progress.update(task, completed=before + images)


def _fetch_json(peer: str, plan: "Plan", brought: "Brought | None") -> dict[str, object]:
    return {
        "peer": peer,
        "studies": plan.studies,
        "skipped": [
            {"study_instance_uid": one.uid, "study_date": _text(one.study_date), "reason": one.reason}
            for one in plan.skipped
        ],
        "wanted": [
            {
                "study_instance_uid": one.uid,
                "study_date": _text(one.study_date),
                "series": {series.uid: series.instances for series in one.series},
            }
            for one in plan.wanted
        ],
        "series_here": plan.series_here,
        "dry_run": brought is None,
        "series_brought": brought.series if brought else 0,
        "images_brought": brought.images if brought else 0,
        "failures": [asdict(failure) for failure in brought.failures.values()] if brought else [],
    }


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _fetch_lines(plan: "Plan", brought: "Brought | None") -> list[str]:
    series = sum(len(study.series) for study in plan.wanted)
    lines = [
        f"{plan.studies} MR studies found, {len(plan.skipped)} of them not to be brought; of the others "
        f"{plan.series_here} MR series are here, {series} are not, or not all of them ({plan.images} images)"
    ]
    lines += [f"  not brought: study {one.uid} of {one.study_date}: {one.reason}" for one in plan.skipped]
    if brought is None:
        lines += [
            f"  to bring: study {one.uid} of {one.study_date}: {len(one.series)} series, "
            f"{sum(series.instances for series in one.series)} images"
            for one in plan.wanted
        ]
        return lines
    lines.append(f"{brought.images} images came, {brought.series} series are here now, {len(brought.failures)} are not")
    lines += [f"  failed: series {one.series_uid}: {one.error}" for one in brought.failures.values()]
    return lines


@forward_app.command("list")
def forward_list(config: Config = None, as_json: AsJson = False) -> None:
    """List the destinations: how much waits for each, was sent, was given up, and since when one is unreachable."""
    from node.outgoing.forward import FORWARD
    from node.outgoing.queue import overview

    db, _ = open_node(read_settings(config), action="forward list")
    rows = overview(db, FORWARD)
    if as_json:
        print_json(rows)
        return
    names = ("peer", "waiting", "sent", "given_up", "failing_since", "last_error")
    titles = ("peer", "waiting", "sent", "given up", "unreachable since", "last error")
    print_table(None, titles, [[row[name] if row[name] is not None else "" for name in names] for row in rows])


@forward_app.command("retry")
def forward_retry(
    peer: Annotated[str, typer.Argument(help="The peer, as dicom.peers names it.")], config: Config = None
) -> None:
    """Try everything that waits for a peer, or was given up, again now."""
    from node.outgoing.forward import retry

    db, _ = open_node(read_settings(config), action="forward retry", subject=peer)
    out.print(f"{retry(db, peer, at=now())} objects are tried again", highlight=False)
