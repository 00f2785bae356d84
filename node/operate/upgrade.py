"""``vbq-node upgrade``: the database copied, migrated and checked; where a check fails, it is as it was.

Nothing else of the data folder is touched by an upgrade. While it lasts no role starts: each waits for the lock that a
migration holds. Both ways are one transaction of SQLite, so a kill leaves the database as it was or migrated; a file
beside it says that the checks are still to be made, and the next ``upgrade`` makes them.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node import __version__
from node.clock import from_text, to_text
from node.errors import StoreError
from node.store import schema
from node.store.archive import files_alone
from node.store.database import DATABASE_NAME, open_database
from node.store.migrate import BACKUP_FOLDER, WAIT_MS, alone, bring_to_newest, copy_beside
from node.store.presence import presences
from node.store.private import require_owner
from node.store.whole_file import write_whole

UNFINISHED = "upgrade.json"
"""In the data folder while an upgrade is at work, or when one has been killed."""
ROWS = 1000
"""Of each view that are read."""
KEPT = ("fact_", "record_")
"""Tables of which an upgrade loses no row."""
AT_WORK = ("fact_object_receipt", "fact_frame_receipt", "record_audit")
"""Tables of which one has new rows where a role, or a command that changes something, has been at work."""

Check = Callable[[], str | None]
"""What is wrong, in a sentence; ``None``: nothing."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """What was done; ``copy`` is the database as it was."""

    copy: Path
    before: int
    after: int
    facts: int
    views: int


def upgrade(folder: Path, *, check: Check, at: datetime) -> Upgraded:
    """Copy the database, bring it to the schema of this version, and check it.

    Parameters
    ----------
    folder
        The data folder of a node that does not run.
    check
        One more check, beside those of the database.

    Raises
    ------
    StoreError
        The node runs, there is no database, or it is damaged: nothing was changed. Or it could not be migrated, or a
        check has failed: it is as it was.
    """
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise StoreError(f"no database at {path}; name the node's settings file with --config")
    require_owner(folder)
    if running := [one.name for one in presences(folder) if one.running]:
        raise StoreError(f"the node runs ({', '.join(running)}); stop it first, so that nothing new comes meanwhile")
    with files_alone(folder) as mine, alone(folder):
        if not mine:
            raise StoreError(
                "a backup, an erasure or retention is at work; try again when it is done. Nothing was changed"
            )
        copy, before = _left(folder) or _copied(path)
        rows = _kept_rows(copy)
        _note(folder, {"began_at": to_text(at), "to": __version__, "copy": copy.name, "schema": before})
        try:
            bring_to_newest(path, pseudonym_key="", copied=True)  # it has a key
            views = _require_fine(folder, rows, check)
        except BaseException as error:
            _bring_back(copy, path)
            (folder / UNFINISHED).unlink()
            if isinstance(error, StoreError):
                raise StoreError(
                    f"{error}. The database is as it was, schema {before}: start the version before"
                ) from None
            raise
        (folder / UNFINISHED).unlink()
    return Upgraded(copy=copy, before=before, after=schema.newest(), facts=sum(rows.values()), views=views)


def unfinished(folder: Path) -> str | None:
    """That an upgrade has been killed, in a sentence; ``None``: none has, or one is at work."""
    noted = _noted(folder)
    if noted is None:
        return None
    return (
        f"an upgrade to {noted['to']} that began at {noted['began_at']} was not finished: `vbq-node upgrade` makes its "
        f"checks; the database of before, schema {noted['schema']}, is backups/{noted['copy']}"
    )


def _left(folder: Path) -> tuple[Path, int] | None:
    """The copy and its schema of an upgrade that was killed: what is checked now is brought back to that.

    ``None`` where none was, or where the node has been at work since, which would be lost with it.
    """
    noted = _noted(folder)
    if noted is None:
        return None
    copy, began_at = folder / BACKUP_FOLDER / str(noted["copy"]), from_text(noted["began_at"])
    if not copy.is_file() or any(one.since and one.since > began_at for one in presences(folder)):
        return None
    before, now = _kept_rows(copy), _kept_rows(folder / DATABASE_NAME)
    if any(now.get(name, 0) > before.get(name, 0) for name in AT_WORK):
        return None
    return copy, int(noted["schema"])


def _noted(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / UNFINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() >= {"began_at", "to", "copy", "schema"} else None


def _copied(path: Path) -> tuple[Path, int]:
    """A copy that has been read as a whole, and its schema."""
    with closing(sqlite3.connect(path, timeout=WAIT_MS / 1000)) as connection:
        _require_whole(connection, path)
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        return copy_beside(connection, path, number), number


def _require_whole(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if answer != "ok":
        raise StoreError(f"{path} is damaged; `vbq-node doctor` says where and what to do. Nothing was changed")


def _require_fine(folder: Path, rows: dict[str, int], check: Check) -> int:
    """Check the migrated database; returns how many views have answered."""
    with closing(open_database(folder)) as db:
        _require_whole(db.conn, folder / DATABASE_NAME)
        views = list(_answering(db))
    after = _kept_rows(folder / DATABASE_NAME)
    if lost := [name for name, number in rows.items() if after.get(name, 0) < number]:
        raise StoreError(f"rows are gone from {', '.join(lost)}")
    if (wrong := check()) is not None:
        raise StoreError(wrong)
    return len(views)


def _answering(db: Database) -> Iterator[str]:
    for view in db.view_names():
        try:
            db.execute(f"SELECT * FROM {view} LIMIT {ROWS}").fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the view {view} does not answer: {error}") from error
        yield view


def _kept_rows(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            name: int(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])
            for name in names
            if name.startswith(KEPT)
        }


def _note(folder: Path, noted: dict[str, object]) -> None:
    write_whole(folder / UNFINISHED, json.dumps(noted).encode(), durable=True)


def _bring_back(copy: Path, path: Path) -> None:
    """Put the content of the copy in the place of that of the database, in one transaction."""
    with (
        closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as before,
        closing(sqlite3.connect(path, timeout=WAIT_MS / 1000)) as connection,
    ):
        before.backup(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    log.warning("database brought back", copy=copy.name)
