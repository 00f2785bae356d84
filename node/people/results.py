"""What people ask for about results that leave the node: send, withdraw, or send the same again. Each is a fact."""

from datetime import datetime
from typing import Literal

from sqlite_utils import Database

from node.clock import to_text
from node.errors import InputError
from node.store.database import insert, writing

NAME_LENGTH = 64
WHY_LENGTH = 200

NEWER = """
SELECT EXISTS (SELECT 1 FROM record_result AS r JOIN record_result AS n USING (kind, destination, subject)
               WHERE r.result_id = ? AND n.version > r.version)
"""


def send(db: Database, series_uid: str, *, by: str, at: datetime) -> None:
    """Have the results of a series sent: of one from before a destination was set up, or that a person has withdrawn.

    Raises
    ------
    InputError
        The series is not known, or the name is none.
    """
    if not db.execute("SELECT 1 FROM derived_series WHERE series_instance_uid = ?", [series_uid]).fetchone():
        raise InputError(f"no series {series_uid} is known; the view 'series' lists what has arrived")
    _keep(db, "send", series_uid, by=by, at=at)


def withdraw(db: Database, result_id: int, *, by: str, why: str, at: datetime) -> str:
    """Have all results of the series of a result withdrawn, until somebody wants them sent; returns its UID.

    Raises
    ------
    InputError
        There is no such result, or nobody says who or why.
    """
    series_uid = _series(db, result_id)
    _keep(db, "withdraw", series_uid, by=by, at=at, why=_text(why, "--why", WHY_LENGTH))
    return series_uid


def resend(db: Database, result_id: int, *, by: str, at: datetime) -> None:
    """Have one result sent once more, the same bytes.

    Raises
    ------
    InputError
        There is no such result, a newer one has replaced it, or the name is none.
    """
    series_uid = _series(db, result_id)
    if db.execute(NEWER, [result_id]).fetchone()[0]:
        raise InputError(f"result {result_id} is replaced by a newer one, which is what may be sent again")
    _keep(db, "resend", series_uid, by=by, at=at, result_id=result_id)


def _series(db: Database, result_id: int) -> str:
    row = db.execute("SELECT subject FROM record_result WHERE result_id = ?", [result_id]).fetchone()
    if row is None:
        raise InputError(f"there is no result {result_id}; `vbq-node results list` shows them")
    return str(row[0])


def _keep(
    db: Database,
    request: Literal["send", "withdraw", "resend"],
    series_uid: str,
    *,
    by: str,
    at: datetime,
    why: str = "",
    result_id: int | None = None,
) -> None:
    fact = {
        "request": request,
        "series_instance_uid": series_uid,
        "result_id": result_id,
        "why": why,
        "requested_at": to_text(at),
        "requested_by": _text(by, "--by", NAME_LENGTH),
    }
    with writing(db):
        insert(db, "fact_result_request", [fact])


def _text(text: str, option: str, length: int) -> str:
    text = text.strip()
    if not text or len(text) > length or not text.isprintable():
        raise InputError(f"{option}: 1 to {length} printable characters are needed")
    return text
