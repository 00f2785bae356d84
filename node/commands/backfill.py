"""The back-fill: measures an archive, with as many processes as there are, or on a cluster."""

import os
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from node.clock import now
from node.commands.shell import AsJson, Config, err, open_node, out, print_json
from node.ending import set_when_asked_to_end
from node.errors import InputError
from node.run.program import read_settings

if TYPE_CHECKING:
    from sqlite_utils import Database

    from node.backfill.cluster import ClusterEngine
    from node.backfill.folders import Folders
    from node.backfill.run import Progress as Done
    from node.settings import ClientTls, Settings
    from node.store.archive import Archive

app = typer.Typer()

FAILED = "failed"
STATES = ("measured", "review", "rejected", FAILED)
SAID_EVERY_S = 30.0
"""How often a run without a terminal says how far it is."""


@app.command()
def backfill(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders whose MR images are taken into the archive first; without one, what is there."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="How many measure at once; as the machine has processors.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", help="Measure on the workers of this Dask cluster: tls://host:port, or tcp:// on loopback."
        ),
    ] = None,
    seen_at: Annotated[
        Path | None,
        typer.Option(
            "--seen-at", help="Where the workers see the data folder, if elsewhere; else they get the images."
        ),
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", help="The authority of the cluster's certificates.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="A certificate by it for this command.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="The key of that certificate.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Measure all studies that have no measurement of this version, on all processors; a node may run beside it.

    It can be ended at any time, also by kill -9: the next run goes on. Exit code 3 when studies failed (`problems`
    has them), or files of the folders end before their images do.
    """
    from node.backfill.folders import CUT_OFF, Folders
    from node.backfill.local import LocalEngine
    from node.backfill.run import Backfill

    if scheduler and processes:
        raise InputError("how many measure at once is the cluster's matter: give --processes or --scheduler")
    tls = _tls(tls_ca, tls_certificate, tls_key)
    settings = read_settings(config)
    db, archive = open_node(settings, create=True)
    stop = threading.Event()
    with set_when_asked_to_end(stop):
        taking = Folders(settings, folders, stop) if folders else None
        cluster = _cluster(scheduler, settings.storage.folder, seen_at, tls) if scheduler else None
        engine = cluster or LocalEngine(processes or len(os.sched_getaffinity(0)), settings.storage.folder)
        shown = _Shown(taking)
        try:
            if taking:
                taking.start()
            done = Backfill(db, settings, engine, show=shown.show, taking=taking, stop=stop).run()
        finally:
            ended = stop.is_set()
            stop.set()
            engine.close()
            shown.close()
    if not ended:
        _derive_the_rest(db, archive, settings)
    result = {**{name: done.by_status[name] for name in STATES}, "left": done.left, "elsewhere": done.elsewhere}
    taken = dict(taking.counts) if taking else {}
    if as_json:
        workers = {"workers": {"counted": sorted(cluster.counted), "refused": cluster.refused}} if cluster else {}
        print_json({**result, "files": taken, **workers})
    else:
        for line in (_in_words(result), *([_in_words(taken)] if taken else [])):
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if done.by_status[FAILED] or taken.get(CUT_OFF):
        raise typer.Exit(3)


def _tls(ca: Path | None, certificate: Path | None, key: Path | None) -> "ClientTls | None":
    from node.settings import ClientTls

    given = (ca, certificate, key)
    if not any(given):
        return None
    if ca is None or certificate is None or key is None:
        raise InputError("give --tls-ca, --tls-certificate and --tls-key, or none of them")
    for path in given:
        if not os.access(str(path), os.R_OK):
            raise InputError(f"{path} cannot be read")
    try:
        return ClientTls(ca=ca, certificate=certificate, key=key)
    except ValueError as error:
        raise InputError(f"{key}: it must not be readable for others than its owner and its group") from error


def _cluster(scheduler: str, folder: Path, seen_at: Path | None, tls: "ClientTls | None") -> "ClusterEngine":
    try:
        from node.backfill.cluster import ClusterEngine
    except ImportError as error:
        raise InputError("a cluster needs Dask: pip install 'vbq-node[cluster]'") from error
    from node.demo.worker_reference import reference_study

    return ClusterEngine(scheduler, folder, reference_study(), seen_at=seen_at, tls=tls)


def _derive_the_rest(db: "Database", archive: "Archive", settings: "Settings") -> None:
    """Link what was measured, unless a running node does."""
    from node.steps.lock import deriving
    from node.steps.worker import run_pending

    with deriving(settings.storage.folder) as mine:
        while mine and run_pending(db, archive, settings, at=now()):
            continue


def _in_words(counts: "Mapping[str, int]") -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())


class _Shown:
    """How far it is: a bar on a terminal, else a line now and then on standard error."""

    def __init__(self, taking: "Folders | None") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._taking = taking
        self._said_at = monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
        )
        self._bar = Progress(*columns, console=err.console, disable=not err.is_terminal)
        self._task = self._bar.add_task("studies", total=None, words="")
        self._bar.start()

    def show(self, done: "Done") -> None:
        """Show it as it stands."""
        left_s = done.left_s
        time_left = "" if left_s is None else f", {timedelta(seconds=round(left_s))} left"
        parts = {name: done.by_status[name] for name in STATES if done.by_status[name]}
        files = f"; files: {_in_words(self._taking.counts)}" if self._taking else ""
        words = f"{_in_words(parts)}; {done.per_minute:.0f} a minute{time_left}{files}"
        self._bar.update(self._task, completed=done.done, total=done.done + done.left, words=words)
        if not err.is_terminal and monotonic() - self._said_at >= SAID_EVERY_S:
            self._said_at = monotonic()
            err.print(f"{done.done} of {done.done + done.left} studies: {words}", markup=False, highlight=False)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
