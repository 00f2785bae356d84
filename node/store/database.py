"""Connections to ``node.db`` and units of work; :mod:`node.store.migrate` brings its tables up to date.

Facts are written under ``synchronous=FULL`` in WAL mode: when a commit has returned, the row survives power loss.
Every unit of work that writes is a BEGIN IMMEDIATE transaction (:func:`writing`), because a deferred one that reads
first fails at once under another writer, whatever the busy time-out.
"""

import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.errors import StoreError
from node.store import derivation, schema
from node.store.archive import ARCHIVE_FOLDER, FINAL_NAME
from node.store.migrate import migrate, recognise
from node.store.private import make_file, make_folder, require_owner


class StopWorkError(BaseException):
    """Raised in place of beginning a unit of work, in a process that has been told to stop."""


class StoppableDatabase(Database):
    """A connection whose units of work begin only while ``stop`` is not set."""

    stop: threading.Event | None = None


DATABASE_NAME = "node.db"
REPORT_FOLDER = "reports"
"""Each night's report as a page, under its date."""
RESTORING = ".restore"
"""In a data folder to which a backup is being brought back, or was when that was killed."""
DAMAGED = "stop the node, keep the file and its -wal as they are, and bring back a copy"
"""What to do with a database of which a page cannot be read."""
WAL_LIMIT_BYTES = 64 * 1024 * 1024
"""What the write-ahead log keeps on the disk once nobody reads what is in it."""
RECEIVER_CHECKPOINT_PAGES = 16_000
"""Pages of the write-ahead log before a receiver writes it back into the database by itself: 64 MB. Otherwise the steps
do, with their own commits, so that hardly any acknowledgement waits for it."""
BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for another; units of work are short, so reaching it means something is stuck."""


def open_database(
    folder: Path,
    *,
    create: bool = False,
    new: bool = False,
    pseudonym_key: str | None = None,
    any_thread: bool = False,
) -> StoppableDatabase:
    """Open the node's database; one connection per thread.

    Parameters
    ----------
    folder
        The data folder that holds ``node.db``.
    create
        Make the folder and the database, or bring it to the schema of this version. Several processes may do this at
        once; one migrates, the others wait for it.
    new
        Make a new database even beside an archive or reports of an earlier one.
    pseudonym_key
        The secret from which study ids are made, for a new database only; random unless given (the demo gives it,
        so that its ids repeat).
    any_thread
        The caller sees to it that threads which share the connection use it one after the other.

    Raises
    ------
    StoreError
        The folder cannot be made or written, or belongs to another user; the database is missing or of an earlier
        schema (without ``create``), missing beside an archive or reports (without ``new``), damaged, of a newer
        schema, or its tables are not those of the schema that it says it has.
    """
    path = folder / DATABASE_NAME
    if (folder / RESTORING).exists():
        raise StoreError(f"{folder} is being restored, or that was not finished; then do it again: vbq-node restore")
    try:
        if create:
            make_folder(folder)
            require_owner(folder)
        elif not path.is_file():
            raise StoreError(
                f"no database at {path}; name the node's settings file with --config, or make one: vbq-node run"
            )
        else:
            require_owner(folder)
        if create and not new:
            _require_none_lost(path)
        if create:
            make_file(path)
            migrate(path, pseudonym_key=pseudonym_key or secrets.token_hex(32))
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=not any_thread
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        _require_current(connection, path)
        opened = path.stat().st_ino
        connection.create_function("in_place", 0, lambda: _inode(path) == opened)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(_why_not(path, error)) from error
    return StoppableDatabase(connection)


def _why_not(path: Path, error: Exception) -> str:
    """Why a database cannot be opened, and what a person can do about it."""
    if type(error) is sqlite3.DatabaseError:
        # Of its kinds that of a file that is none, or damaged; a log that is of another database does it too.
        return f"the database {path} is damaged ({error}); {DAMAGED}"
    if _is_read_only(path.parent):
        return (
            f"cannot use the database {path}: its file system is mounted read-only, as the system does by itself after "
            "an error of the disk; look for that first (dmesg), then mount it again"
        )
    return f"cannot use the database {path}: {error}; check the folder, its owner and free space"


def _is_read_only(folder: Path) -> bool:
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


@contextmanager
def writing(db: Database) -> Iterator[Database]:
    """A unit of work: BEGIN IMMEDIATE, commit at the end, roll back when anything is raised.

    A connection of :func:`open_database`.

    Raises
    ------
    sqlite3.OperationalError
        Also when the file was moved or deleted since it was opened: SQLite would commit to where nobody looks.
    StopWorkError
        This process has been told to stop.
    """
    if isinstance(db, StoppableDatabase) and db.stop is not None and db.stop.is_set():
        raise StopWorkError
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


def leave_checkpoints(db: Database) -> None:
    """Let others write the write-ahead log back into the database, as long as it is not very long."""
    db.execute(f"PRAGMA wal_autocheckpoint = {RECEIVER_CHECKPOINT_PAGES}")


def bound_wal(db: Database, folder: Path) -> bool:
    """Write a write-ahead log beyond its limit back into the database and cut it; false: others are using it now.

    A reader that stays holds on to the log; whoever commits at this moment goes first. Neither is waited for.
    """
    try:
        if (folder / f"{DATABASE_NAME}-wal").stat().st_size <= WAL_LIMIT_BYTES:
            return True
    except FileNotFoundError:
        return True
    return forget_wal(db)


def forget_wal(db: Database) -> bool:
    """Write the write-ahead log back and cut it, so that it holds nothing; false: others are using it now."""
    db.execute("PRAGMA busy_timeout = 0")
    try:
        busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return not busy


def insert(db: Database, table: str, rows: Iterable[Mapping[str, object]], *, or_ignore: bool = False) -> None:
    """Insert rows that all have the same columns.

    In place of sqlite-utils' own ``insert``, which makes a table where a name is misspelt.
    """
    how = "INSERT OR IGNORE" if or_ignore else "INSERT"
    told = [dict(row) for row in rows]
    # Together where they are many: SQLite parses a statement in the time in which it inserts several rows.
    for names, alike in groupby(told, key=tuple):
        columns, values = ", ".join(names), ", ".join(f":{name}" for name in names)
        db.conn.executemany(f"{how} INTO {table} ({columns}) VALUES ({values})", alike)


def _require_none_lost(path: Path) -> None:
    """Refuse to make a database in place of one that was lost: ids, messages and decisions of its folder were in it."""
    if path.is_file() and path.stat().st_size:
        return
    folder = path.parent
    if any(FINAL_NAME.fullmatch(file.name) for file in folder.glob(f"{ARCHIVE_FOLDER}/*/*.dcm")):
        beside = f"received images ({folder / ARCHIVE_FOLDER})"
    elif any((folder / REPORT_FOLDER).glob("*/*")):
        beside = f"reports ({folder / REPORT_FOLDER})"
    else:
        return
    raise StoreError(
        f"no database at {path}, but {beside} that belong to one; nothing was made. Bring back the file (a backup, a "
        "disk that is not mounted), or make a new one without what was in the old one: vbq-node migrate --new"
    )


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _require_current(connection: sqlite3.Connection, path: Path) -> None:
    found, newest = recognise(connection, path), schema.newest()
    if found.number < newest:
        raise StoreError(f"{path} has schema {found.number}, this version needs {newest}; run vbq-node migrate")
    if not derivation.is_current(connection):
        raise StoreError(f"what {path} derives is not what this version derives; run vbq-node migrate")
