"""The command line: every command under one name, and errors as one line with an exit code."""

from typing import Annotated

import typer

from node import __version__
from node.commands import (
    audit,
    backfill,
    backup,
    counts,
    decisions,
    erase,
    export,
    facts,
    man,
    measure,
    pacs,
    pool,
    quarantine,
    questions,
    records,
    results,
    roles,
    upgrade,
    upkeep,
    users,
)
from node.commands.shell import out
from node.run.program import run_program
from node.store.schema import newest

app = typer.Typer(
    name="vbq-node",
    help="Vertebral bone quality from routine lumbar MRI, linked to blood counts and planned operations. "
    "Research use only; a person decides.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for part in (
    roles, measure, backfill, facts, pacs, quarantine, questions, records, results, decisions, counts, pool, users,
    upkeep, upgrade, backup, erase, audit, export, man,
):  # fmt: skip
    app.add_typer(part.app)


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION

    out.print(f"vbq-node {__version__}, schema {newest()}, measurement {AUTOMATIC_NAME} {AUTOMATIC_VERSION}")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the versions and exit."),
    ] = False,
) -> None:
    """Vertebral bone quality from routine lumbar MRI, linked to blood counts and planned operations."""


def main() -> None:
    """Run the command line."""
    run_program(app)
