"""Series of which a reader says that they cannot be read: a fact about the images as they are."""

from datetime import datetime

from sqlite_utils import Database

from node.clock import to_text
from node.errors import ReadingError
from node.store.database import insert, writing

WHY_LENGTH = 500


def set_unreadable(db: Database, series_uid: str, *, reader: str, why: str, now: datetime) -> None:
    """Keep that a series cannot be read: nobody is asked again until other images of it come.

    Raises
    ------
    ReadingError
        The series is not known, or nobody says why.
    """
    reason = why.strip()
    if not reason or len(reason) > WHY_LENGTH or not reason.isprintable():
        raise ReadingError(f"why: 1 to {WHY_LENGTH} printable characters are needed")
    _decide(db, series_uid, "unreadable", reader=reader, why=reason, now=now)


def withdraw_unreadable(db: Database, series_uid: str, *, reader: str, now: datetime) -> None:
    """Take that back: the series waits for a reader again.

    Raises
    ------
    ReadingError
        The series is not known.
    """
    _decide(db, series_uid, "withdrawn", reader=reader, why="", now=now)


def _decide(db: Database, series_uid: str, decision: str, *, reader: str, why: str, now: datetime) -> None:
    with writing(db):
        row = db.execute(
            "SELECT instances_sha256 FROM derived_series WHERE series_instance_uid = ?", [series_uid]
        ).fetchone()
        if row is None:
            raise ReadingError(f"no series {series_uid} is known; the view 'series' lists what has arrived")
        fact = {
            "series_instance_uid": series_uid,
            "decision": decision,
            "why": why,
            "instances_sha256": row[0],
            "decided_at": to_text(now),
            "decided_by": reader,
        }
        insert(db, "fact_series_decision", [fact])
