"""Upkeep: the database, the derivation, the snapshot, and the demo."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from node.clock import now
from node.commands.shell import Config, err, open_node, out
from node.errors import StoreError
from node.run.program import read_settings
from node.store.database import open_database
from node.store.derivation import again_since

app = typer.Typer()


@app.command()
def migrate(
    config: Config = None,
    new: Annotated[
        bool, typer.Option("--new", help="Make a new database even beside images or reports of one that is lost.")
    ] = False,
) -> None:
    """Make the database, or bring it to the schema of this version."""
    settings = read_settings(config)
    db = open_database(settings.storage.folder, create=True, new=new)
    since = again_since(db)
    db.close()
    out.print(f"the database in {settings.storage.folder} is current", markup=False, highlight=False)
    if since is not None:
        out.print(
            "the steps derive everything again from the facts as soon as they run (`vbq-node run`); until then "
            "the snapshot stays as it was, and no night is run",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def rebuild(config: Config = None) -> None:
    """Derive everything again from the facts (files, messages, decisions). Facts and records are not touched."""
    from node.operate.rebuild import rebuild as rebuild_all

    settings = read_settings(config)
    db, archive = open_node(settings)
    with err.status("deriving everything again") as shown:
        rebuild_all(db, archive, settings, progress=lambda left: shown.update(_left(left)))
    out.print("everything derived again", highlight=False)


def _left(pending: Mapping[str, int]) -> str:
    parts = [f"{number} {name}" for name, number in pending.items() if number]
    return f"deriving everything again: {', '.join(parts) or 'nothing left'}"


@app.command()
def snapshot(config: Config = None) -> None:
    """Publish the read-only snapshot for people who query now, and print its path."""
    from node.steps.lock import deriving
    from node.store.snapshot import publish_unless_deriving, share_research

    settings = read_settings(config)
    db, _ = open_node(settings)
    with deriving(settings.storage.folder, wait=True):
        path = publish_unless_deriving(db, settings.storage.folder)
        if why := share_research(settings.storage):
            raise StoreError(why)
    sys.stdout.write(f"{path}\n")


@app.command()
def browse(
    port: Annotated[int, typer.Option("--port", help="Where it listens, on this machine only.")] = 8001,
    config: Config = None,
) -> None:
    """Open the snapshots in Datasette, with units, facets and ready queries, until Ctrl-C (extra `[browse]`)."""
    from node.operate.browse import command

    started = command(read_settings(config).storage.folder, port=port)
    sys.stdout.flush()
    os.execv(started[0], started)  # noqa: S606  # in place of this process, without a shell


@app.command()
def demo(
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Where the demo keeps its data; a temporary folder without it."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws other patients.")] = 1,
    serve: Annotated[
        bool, typer.Option("--serve", help="Play it as of today, and leave the node up with its pages open.")
    ] = False,
) -> None:
    """Play a small hospital against a real node and show the flag report and the queries behind it."""
    from node.demo.hospital import DEFAULT_NIGHT, TIME_ZONE
    from node.demo.play import run_demo

    night = now().astimezone(ZoneInfo(TIME_ZONE)).date() if serve else DEFAULT_NIGHT
    outcome = run_demo(folder=folder, seed=seed, night=night)
    if serve:
        from node.demo.serve import serve as serve_pages

        serve_pages(outcome.config, out.console)
