"""Bring a database to the schema of this version: recognised, copied, migrated in one transaction, or refused in words.

One process migrates under a lock of the data folder, the others wait for it. A kill at any instant leaves the database
as it was. Facts, records and state keep every byte; the derived part is made anew where its definition has changed.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.errors import StoreError
from node.store import derivation, earlier, schema, wording
from node.store.changes import triggers
from node.store.private import make_file, make_folder

LOCK_NAME = "migrate.lock"
BACKUP_FOLDER = "backups"
WAIT_MS = 600_000
"""How long a migration waits for other writers: processes of the version before may still be at work."""

ROOM = 2
"""Free space needed, in sizes of the database: one for the copy, one for the journal of the migration."""

VIEWS_FILE = schema.FOLDER / "views.sql"

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a database is: its own number, and the commit of an unnumbered state or ``None``."""

    number: int
    state: str | None

    @property
    def empty(self) -> bool:
        return self.number == 0


def migrate(path: Path, *, pseudonym_key: str) -> None:
    """Make the database, or bring it to the schema of this version; does nothing when it is.

    Raises
    ------
    StoreError
        Its tables are not what its number says, it was made by a newer version, or the disk has no room.
    OSError, sqlite3.Error
        The files cannot be used.
    """
    with alone(path.parent):
        bring_to_newest(path, pseudonym_key=pseudonym_key)


def bring_to_newest(path: Path, *, pseudonym_key: str, copied: bool = False) -> None:
    """The same, for whoever is :func:`alone`; ``copied``: and has a copy of it already."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=WAIT_MS / 1000)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # SQLite's procedure for a table that is made anew; foreign_key_check takes its place before the commit.
        connection.execute("PRAGMA foreign_keys = OFF")
        found = recognise(connection, path)
        if found.number == schema.newest() and _is_current(connection):
            return
        if not found.empty and found.number < schema.newest():
            _require_room(connection, path, found)
            log.info("database migrates", schema=found.number, to=schema.newest(), state=found.state)
            if not copied:
                log.info("database copied", copy=str(copy_beside(connection, path, found.number)))
        connection.execute("BEGIN IMMEDIATE")
        try:
            broken = _broken_references(connection)
            _migrate(connection, found, pseudonym_key)
            _require_sound(connection, path, broken)
        except BaseException:
            # SQLite has rolled back by itself when the disk was full.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def recognise(connection: sqlite3.Connection, path: Path) -> _Found:
    """Which schema a database has.

    Raises
    ------
    StoreError
        Its tables are not what its number says, or the number is newer than this version.
    """
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    newest = schema.newest()
    if number > newest:
        raise StoreError(
            f"{path} has schema {number}, this version knows {newest}; install the newer vbq-node that made it"
        )
    tables = schema.structure(connection, schema.KEPT)
    state = earlier.state_of(tables)
    if (number == 0 and not tables) or (number == 1 and state) or (number > 1 and tables == schema.expected(number)):
        return _Found(number=number, state=state if number == 1 else None)
    raise StoreError(
        f"{path} says that it has schema {number}, but its tables are {_looks_like(tables)}; nothing was changed. "
        f"Bring back a copy of it ({path.parent / BACKUP_FOLDER}), or start the version that made it"
    )


def _looks_like(tables: schema.Structure) -> str:
    """The schema that tables belong to, or the one that comes nearest and what differs from it."""
    for number in range(schema.newest(), 0, -1):
        if tables == schema.expected(number):
            return f"those of schema {number}"
    state = earlier.state_of(tables)
    if state is not None:
        return f"those of schema 1 as of {state}"

    def distance(number: int) -> int:
        return len(tables.items() ^ schema.expected(number).items())

    nearest = min(range(schema.newest(), 0, -1), key=distance)
    return f"those of no schema; nearest is {nearest} ({schema.difference(tables, schema.expected(nearest))})"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that migrates the database; no role starts meanwhile."""
    with (folder / LOCK_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for the process that migrates the database")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _require_room(connection: sqlite3.Connection, path: Path, found: _Found) -> None:
    needed = ROOM * _size_bytes(connection)
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreError(
            f"{path} has schema {found.number} and this version needs {schema.newest()}; to migrate it takes "
            f"{needed / 1e6:.0f} MB of free space beside it, {free / 1e6:.0f} MB are free; nothing was changed"
        )


def _size_bytes(connection: sqlite3.Connection) -> int:
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages) * int(size)


def copy_beside(connection: sqlite3.Connection, path: Path, number: int) -> Path:
    """Copy the database as it stands to ``backups/``; the file is whole when it appears under its name."""
    folder = path.parent / BACKUP_FOLDER
    make_folder(folder)
    stamp = to_text(now()).replace(":", "").replace("-", "")[:15]
    final = folder / f"node-schema-{number}-{stamp}Z.db"
    temporary = folder / f".{final.name}.new"
    for left in folder.glob(".node-schema-*.new*"):  # of a migration that was killed
        left.unlink()
    make_file(temporary)
    with closing(sqlite3.connect(temporary)) as copy:
        # In one step, as of one moment; writers go on meanwhile.
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    for entry in (temporary, folder):
        if entry is folder:
            temporary.replace(final)
        descriptor = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return final


def _is_current(connection: sqlite3.Connection) -> bool:
    views, guards = _in_place(connection, "view"), _in_place(connection, "trigger")
    in_place = views == _views() and guards.items() >= _guards(connection).items() | triggers().items()
    return in_place and derivation.is_current(connection) and wording.is_current(connection)


def _migrate(connection: sqlite3.Connection, found: _Found, pseudonym_key: str) -> None:
    # SQLite refuses to rename a table while a view names a column that is not there yet.
    _drop_views(connection)
    if found.number < schema.newest():
        if found.number <= 1:
            earlier.bring_to_first(connection)
        for migration in schema.migrations()[max(found.number - 1, 0) :]:
            if not found.empty:
                log.info("database migrates", schema=migration.number, name=migration.name)
            for statement in schema.statements(migration.script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.newest()}")
    if not derivation.is_current(connection):
        derivation.make_anew(connection)
        if not found.empty:
            log.info("everything derived is derived again by the steps; the receivers go on")
    if not wording.is_current(connection):
        wording.write(connection)
    _drop_notes(connection)
    for sql in [*_views().values(), *_guards(connection).values(), *triggers().values()]:
        connection.execute(sql.replace("CREATE TRIGGER ", "CREATE TRIGGER IF NOT EXISTS ", 1))
    # What the snapshots hold is of an earlier version: they are made whole.
    connection.execute("DELETE FROM state_published")
    connection.executemany(
        "INSERT OR IGNORE INTO fact_site (name, value) VALUES (?, ?)",
        [("pseudonym_key", pseudonym_key), ("made_at", to_text(now()))],
    )


def _require_sound(connection: sqlite3.Connection, path: Path, broken: set[tuple[str, int, str]]) -> None:
    """Before the commit: the tables are those wanted, and no reference leads nowhere that led somewhere before."""
    wrong = schema.difference(schema.structure(connection, schema.KEPT), schema.expected(schema.newest()))
    lost = _broken_references(connection) - broken
    if wrong or lost:
        why = wrong or f"{len(lost)} references would lead nowhere"
        raise StoreError(f"{path} cannot be brought to schema {schema.newest()} ({why}); nothing was changed")


def _broken_references(connection: sqlite3.Connection) -> set[tuple[str, int, str]]:
    """Table, row and table referred to, of the kept tables."""
    rows = connection.execute("PRAGMA foreign_key_check")
    return {(table, row, parent) for table, row, parent, _ in rows if table.startswith(schema.KEPT)}


def _guards(connection: sqlite3.Connection) -> dict[str, str]:
    """Triggers that abort every change of a fact or a record, by name."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {
        f"{table}_no_{action.lower()}": f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is never changed'); END"
        for table in tables
        if table.startswith(schema.IMMUTABLE)
        for action in ("UPDATE", "DELETE")
    }


@cache
def _views() -> dict[str, str]:
    """The views of this version, by name."""
    script = VIEWS_FILE.read_text(encoding="utf-8")
    code = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    return {statement.split()[2]: statement.strip().rstrip(";") for statement in schema.statements(code)}


def _in_place(connection: sqlite3.Connection, kind: str) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = ?", [kind]).fetchall())


def _drop_notes(connection: sqlite3.Connection) -> None:
    """Triggers that note changes, also those of an earlier version."""
    for name in _in_place(connection, "trigger"):
        if name.endswith("_noted"):
            connection.execute(f'DROP TRIGGER "{name}"')


def _drop_views(connection: sqlite3.Connection) -> None:
    for name in _in_place(connection, "view"):
        connection.execute(f'DROP VIEW "{name}"')
