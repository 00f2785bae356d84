"""Facts and records may be deleted and changed by one thing alone: the erasure of a person."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlite_utils import Database

from node.store.database import writing


@contextmanager
def erasing(db: Database) -> Iterator[Database]:
    """A unit of work without the triggers that guard facts and records; they are there again when it ends, however.

    References are checked at its end. What is deleted is overwritten (``secure_delete``).
    """
    db.execute("PRAGMA secure_delete = ON")
    with writing(db):
        guards = db.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' "
            "AND (name LIKE '%\\_no\\_update' ESCAPE '\\' OR name LIKE '%\\_no\\_delete' ESCAPE '\\')"
        ).fetchall()
        for name, _ in guards:
            db.execute(f"DROP TRIGGER {name}")
        db.execute("PRAGMA defer_foreign_keys = ON")
        yield db
        for _, sql in guards:
            db.execute(sql)
