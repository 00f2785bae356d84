"""What all commands share: their common options, opening the node's data, and showing rows and JSON."""

import getpass
import json
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlite_utils import Database

from node.clock import now
from node.settings import Settings
from node.store import audit
from node.store.archive import Archive
from node.store.database import open_database
from node.store.public_id import public_id

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The settings file; without it node.toml of this folder, else the defaults."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for a script.")]
MappingFile = Annotated[
    Path | None,
    typer.Option("--mapping", help="TOML: what the columns of the file mean (`import --dry-run --propose`)."),
]

LARGEST = 2**63 - 1
"""Number of a row that a database can have."""


def some_words(text: str | None) -> str | None:
    """An option that stays with what was done (who, why, for whom): a line of words, never nothing."""
    if text is not None and (not text.strip() or not text.isprintable()):
        raise typer.BadParameter("a line of printable characters is needed, not an empty one")
    return text


def row_number(number: int) -> int:
    """An argument that numbers something."""
    if not 0 <= number <= LARGEST:
        raise typer.BadParameter(f"{number} is the number of nothing")
    return number


COMMAND_LINE = "command line"
"""Stands in the audit for the address of whoever works on this machine."""
UNBOUNDED = 100_000
"""Characters in a line that nobody looks at on a terminal: a table is as wide as its content there."""


class Terminal:
    """Where a command writes for people; rich is loaded with the first word, of which the roles of a node say none."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> "Console":
        """The console of rich."""
        from rich.console import Console

        return Console(stderr=self._stderr)

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it, not a file or a pipe."""
        return self.console.is_terminal

    def print(self, *objects: object, **options: Any) -> None:
        """As the console does."""
        self.console.print(*objects, **options)

    def status(self, status: str) -> "Status":
        """As the console does."""
        return self.console.status(status)


out = Terminal()
err = Terminal(stderr=True)


def open_node(
    settings: Settings, *, create: bool = False, action: str = "", subject: str = ""
) -> tuple[Database, Archive]:
    """The database and the archive of the data folder.

    Parameters
    ----------
    action, subject
        What is done or looked at by the command, for the audit; nothing is noted without it. A subject is a number or a
        public id, never one of a patient.
    """
    # A question asked in the wrong folder must not be answered from a new, empty database.
    db = open_database(settings.storage.folder, create=create)
    if action:
        note(db, action, subject)
    return db, Archive(settings.storage.folder)


def note(db: Database, action: str, subject: str = "") -> None:
    """Note in the audit what is done or looked at; a subject that was typed, once it is found to be one."""
    audit.note(db, name=_user(), address=COMMAND_LINE, action=action, subject=subject, at=now())


def opaque(uid: str | None) -> str:
    """A UID as it stands in the audit and in addresses of the pages."""
    return "" if uid is None else public_id(sha256(uid.encode()).hexdigest())


def _user() -> str:
    """Who runs the command: who became the user of the node by sudo, else that user; by number where it has no name."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # of a container, say; which of the two depends on the version of Python
        return f"user {os.getuid()}"


def print_table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show rows as a table; every word whole, and a row on one line where the output goes to a file or a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # As text: what a sender wrote may look like rich's markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    console = out.console if out.is_terminal else Console(file=out.console.file, width=UNBOUNDED)
    console.print(table)


def print_json(value: object) -> None:
    """Show a value as JSON for a script."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
