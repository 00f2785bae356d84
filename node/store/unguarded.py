"""Facts and records may be deleted and changed by two things alone: the erasure of a person, and retention."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlite_utils import Database

from node.store.database import writing

GUARDS = ("_no_update", "_no_delete")
"""Ends of the names of the triggers that :mod:`node.store.migrate` makes."""


@contextmanager
def erasing(db: Database) -> Iterator[Database]:
    """A unit of work without the triggers that guard facts and records; they are there again when it ends, however.

    References are checked at its end. What is deleted is overwritten (``secure_delete``).
    """
    db.execute("PRAGMA secure_delete = ON")
    with writing(db):
        triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        guards = [(name, sql) for name, sql in triggers if name.endswith(GUARDS)]
        for name, _ in guards:
            db.execute(f"DROP TRIGGER {name}")
        db.execute("PRAGMA defer_foreign_keys = ON")
        yield db
        for _, sql in guards:
            db.execute(sql)
