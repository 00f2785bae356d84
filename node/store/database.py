"""Connections to ``node.db``, units of work, and the migration of the schema.

Facts are written under ``synchronous=FULL`` in WAL mode: when a commit has returned, the row survives power loss.
Every unit of work that writes is a BEGIN IMMEDIATE transaction (:func:`writing`), because a deferred one that reads
first fails at once under another writer, whatever the busy time-out.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.errors import StoreError

DATABASE_NAME = "node.db"
SCHEMA_FILE = Path(__file__).with_name("schema.sql")
VIEWS_FILE = Path(__file__).with_name("views.sql")
BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for another; units of work are short, so reaching it means something is stuck."""

# Written once, never changed. record_* and fact_* tables get triggers that abort UPDATE and DELETE.
IMMUTABLE_PREFIXES = ("fact_", "record_")


def open_database(
    folder: Path, *, create: bool = False, pseudonym_key: str | None = None, any_thread: bool = False
) -> Database:
    """Open the node's database; one connection per thread.

    Parameters
    ----------
    folder
        The data folder that holds ``node.db``.
    create
        Make the folder and the database, and bring the schema up to date. Several processes may do this at once;
        one migrates, the others wait for it.
    pseudonym_key
        The secret from which study ids are made, for a new database only; random unless given (the demo gives it,
        so that its ids repeat).
    any_thread
        The caller sees to it that threads which share the connection use it one after the other.

    Raises
    ------
    StoreError
        The folder cannot be made or written, the database is missing (without ``create``), damaged, or was made by
        a newer version of this software.
    """
    path = folder / DATABASE_NAME
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            raise StoreError(
                f"no database at {path}; name the node's settings file with --config, or make one: vbq-node run"
            )
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=not any_thread
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if create:
            _migrate(connection, pseudonym_key or secrets.token_hex(32))
        _require_current(connection, path)
        opened = path.stat().st_ino
        connection.create_function("in_place", 0, lambda: _inode(path) == opened)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"cannot use the database {path}: {error}; check the folder, its owner and free space"
        ) from error
    return Database(connection)


@contextmanager
def writing(db: Database) -> Iterator[Database]:
    """A unit of work: BEGIN IMMEDIATE, commit at the end, roll back when anything is raised.

    A connection of :func:`open_database`.

    Raises
    ------
    sqlite3.OperationalError
        Also when the file was moved or deleted since it was opened: SQLite would commit to where nobody looks.
    """
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield db
        _require_in_place(db)
        db.conn.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself when the disk was full; a second attempt would hide the first error.
        if db.conn.in_transaction:
            db.conn.execute("ROLLBACK")
        raise


def _require_in_place(db: Database) -> None:
    if not db.conn.execute("SELECT in_place()").fetchone()[0]:
        raise sqlite3.OperationalError("the file of the database was moved or deleted while in use")


def insert(db: Database, table: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Insert rows that all have the same columns.

    In place of sqlite-utils' own ``insert``, which makes a table where a name is misspelt.
    """
    for row in rows:
        columns = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        db.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", dict(row))


def statements(script: str) -> Iterator[str]:
    """Split an SQL script into its statements (``executescript`` would commit the transaction it is called in)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip() and not all(line.startswith("--") for line in statement.strip().splitlines()):
        raise StoreError("an SQL script ends in the middle of a statement")


def _migrations() -> list[str]:
    """The scripts that lead from an empty file to the current schema; append only."""
    return [SCHEMA_FILE.read_text(encoding="utf-8")]


def _migrate(connection: sqlite3.Connection, pseudonym_key: str) -> None:
    migrations = _migrations()
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number, script in enumerate(migrations[version:], start=version + 1):
            for statement in statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        if version < len(migrations):
            _protect(connection)
        _refresh_views(connection)
        connection.executemany(
            "INSERT OR IGNORE INTO fact_site (name, value) VALUES (?, ?)",
            [("pseudonym_key", pseudonym_key), ("made_at", to_text(now()))],
        )
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _protect(connection: sqlite3.Connection) -> None:
    """Let triggers abort every change of a fact or a record."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for name in names:
        if name.startswith(IMMUTABLE_PREFIXES):
            for action in ("UPDATE", "DELETE"):
                connection.execute(
                    f"CREATE TRIGGER IF NOT EXISTS {name}_no_{action.lower()} BEFORE {action} ON {name} "
                    f"BEGIN SELECT RAISE(ABORT, '{name} is never changed'); END"
                )


def _refresh_views(connection: sqlite3.Connection) -> None:
    """Make the views those of this version; they hold no data, so they need no migration."""
    script = VIEWS_FILE.read_text(encoding="utf-8")
    code = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    wanted = {statement.split()[2]: statement.strip().rstrip(";") for statement in statements(code)}
    current = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'view'"))
    if {name: " ".join(sql.split()) for name, sql in current.items()} == {
        name: " ".join(sql.split()) for name, sql in wanted.items()
    }:
        return
    for name in current:
        connection.execute(f"DROP VIEW {name}")
    for statement in wanted.values():
        connection.execute(statement)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _require_current(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    known = len(_migrations())
    if version > known:
        raise StoreError(f"{path} has schema {version}, this version knows {known}; install the newer vbq-node")
    if version < known:
        raise StoreError(f"{path} has schema {version}, this version needs {known}; run vbq-node migrate")
