"""The command line: every command under one name, and errors as one line with an exit code."""

import os
import sys
from typing import Annotated

import typer
from sqlite_utils.utils import sqlite3

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
from node.commands.shell import err, out
from node.errors import NodeError, StoreError
from node.logs import configure_logging, without_values
from node.settings import Logging
from node.store.private import UMASK
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
    """Run the command line; an error a person can act on is one line on standard error and an exit code."""
    # A command that reads no settings logs by the defaults; none prints the values of a patient.
    configure_logging(Logging())
    os.umask(os.umask(UMASK) | UMASK)
    try:
        app()
    except NodeError as error:
        _fail(str(error), error.exit_code)
    except sqlite3.OperationalError as error:
        # Locked for longer than the time-out, full disk, folder gone: not a fault of this software.
        _fail(f"the database cannot be used now: {error}; `vbq-node doctor` checks it", StoreError.exit_code)
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            # Of its kinds that of SQL which is wrong: a fault of this software.
            raise
        _fail(f"the database is damaged: {error}; `vbq-node doctor` says where and what to do", StoreError.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'the data folder'}: {error.strerror or error}", StoreError.exit_code)
    except Exception as error:  # noqa: BLE001  # the end of the program; Python's own report quotes values
        _fail(f"a fault of this software; please report it\n{without_values(error)}", NodeError.exit_code)


def _fail(message: str, exit_code: int) -> None:
    err.print(f"vbq-node: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(exit_code)
