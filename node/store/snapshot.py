"""The read-only snapshot for people who query: every promised view as a plain table of the same name.

A reader without write permission cannot open a WAL database when no writer is connected, and must not be able to
hold a writer up. So the node publishes a copy: one file without journal, complete when it appears under its name,
without raw messages and without the key of the study ids.
"""

import os
from pathlib import Path

from sqlite_utils import Database

SNAPSHOT_FOLDER = "snapshots"
SNAPSHOT_NAME = "node.db"


def snapshot_path(folder: Path) -> Path:
    """Where the snapshot of a data folder is published."""
    return folder / SNAPSHOT_FOLDER / SNAPSHOT_NAME


def publish(db: Database, folder: Path) -> Path:
    """Write all views as of one moment to ``snapshots/node.db``, replacing the one before in one rename.

    Readers that have the old file open keep reading it.
    """
    final = snapshot_path(folder)
    final.parent.mkdir(exist_ok=True)
    temporary = final.with_name(f".{SNAPSHOT_NAME}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    views = db.view_names()
    db.conn.execute("ATTACH DATABASE ? AS snapshot", [str(temporary)])
    try:
        db.conn.execute("PRAGMA snapshot.journal_mode = OFF")
        # One deferred transaction: main is only read, as of one moment, and no other writer waits for it.
        db.conn.execute("BEGIN")
        for view in views:
            db.conn.execute(f"CREATE TABLE snapshot.{view} AS SELECT * FROM main.{view}")
        db.conn.execute("COMMIT")
    finally:
        if db.conn.in_transaction:
            db.conn.execute("ROLLBACK")
        db.conn.execute("DETACH DATABASE snapshot")
    temporary.chmod(0o444)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)
    return final
