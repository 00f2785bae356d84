"""The read-only snapshot for people who query: every promised view as a plain table of the same name.

A reader without write permission cannot open a WAL database when no writer is connected, and must not be able to
hold a writer up. So the node publishes a copy: one file without journal, complete when it appears under its name,
without raw messages and without the key of the study ids.
"""

import os
from pathlib import Path

from sqlite_utils import Database

from node.errors import StoreError
from node.store.derivation import again_since

SNAPSHOT_FOLDER = "snapshots"
SNAPSHOT_NAME = "node.db"


def snapshot_path(folder: Path) -> Path:
    """Where the snapshot of a data folder is published."""
    return folder / SNAPSHOT_FOLDER / SNAPSHOT_NAME


def publish(db: Database, folder: Path) -> Path:
    """Write all views as of one moment to ``snapshots/node.db``, replacing the one before in one rename.

    Readers that have the old file open keep reading it. Call it with the lock of those who derive
    (:func:`node.steps.lock.deriving`), so that nobody is shown what is only half derived again.
    """
    final = snapshot_path(folder)
    final.parent.mkdir(exist_ok=True)
    temporary = final.with_name(f".{SNAPSHOT_NAME}.new")
    temporary.unlink(missing_ok=True)
    views = db.view_names()
    db.conn.execute("ATTACH DATABASE ? AS snapshot", [str(temporary)])
    try:
        db.conn.execute("PRAGMA snapshot.journal_mode = OFF")
        # One deferred transaction: main is only read, as of one moment, and no other writer waits for it.
        db.conn.execute("BEGIN")
        for view in views:
            columns = ", ".join(f"{name} {kind}" for name, kind in _columns(db, view))
            db.conn.execute(f"CREATE TABLE snapshot.{view} ({columns})")
            db.conn.execute(f"INSERT INTO snapshot.{view} SELECT * FROM main.{view}")
        db.conn.execute("COMMIT")
    finally:
        if db.conn.in_transaction:
            db.conn.execute("ROLLBACK")
        db.conn.execute("DETACH DATABASE snapshot")
    temporary.chmod(0o440)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)
    return final


def publish_unless_deriving(db: Database, folder: Path) -> Path:
    """:func:`publish`, except after an upgrade or a rebuild that is not finished.

    Raises
    ------
    StoreError
        Everything is still being derived again; the snapshot stays as it was.
    """
    since = again_since(db)
    if since is not None:
        raise StoreError(
            f"everything is being derived again since {since}; `vbq-node status` shows what is left, and the steps (or "
            "`vbq-node rebuild`) do it; the snapshot stays as it was"
        )
    return publish(db, folder)


def _columns(db: Database, view: str) -> list[tuple[str, str]]:
    """Name and type of each column; a computed column of a view has no type of its own and gets that of its values.

    Without a type a column compares as neither number nor text, and a filter ``latest = 1`` of Datasette finds nothing.
    """
    declared = {name: kind for _, name, kind, *_ in db.conn.execute(f"PRAGMA main.table_info({view})").fetchall()}
    # SQLite says BLOB of a column that one part of a UNION computes; no view has one of bytes.
    declared = {name: "" if kind == "BLOB" else kind for name, kind in declared.items()}
    computed = [name for name, kind in declared.items() if not kind]
    if not computed:
        return list(declared.items())
    # All in one pass: on a large database each pass over a view takes seconds.
    types = ", ".join(f"typeof({name})" for name in computed)
    found = db.conn.execute(f"SELECT DISTINCT {types} FROM main.{view}").fetchall()
    kinds = {name: _kind({row[place] for row in found}) for place, name in enumerate(computed)}
    return [(name, kind or kinds[name]) for name, kind in declared.items()]


def _kind(types: set[str]) -> str:
    types = types - {"null"}
    if types == {"integer"}:
        return "INTEGER"
    return "REAL" if types and types <= {"integer", "real"} else "TEXT"
