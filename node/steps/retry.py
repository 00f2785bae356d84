"""Units of work on which another version failed, or that a person asked for, made pending again."""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlite_utils import Database

from node.people.imports import derive_again
from node.settings import Settings
from node.steps.completeness import judge_again
from node.steps.identity import forget_unused_numbers, resolve_merges
from node.steps.interpret import read_anew
from node.store.database import writing
from node.store.failures import barrier, forget_failure, outdated, rested
from node.store.pending import touch
from node.store.public_id import public_id_sql


def retry_failed(db: Database, settings: Settings, *, at: datetime) -> int:
    """Make pending again what is to be tried again, or try it at once; returns how many units.

    A unit of another role is only forgotten: that role asks the database for it by itself.
    """
    again = rested(db, at=at)
    found = outdated(db)
    for step, unit in found:
        with writing(db):
            forget_failure(db, step, unit)
            renew = AGAIN.get(step)
            if renew is not None:
                with barrier(db, step, unit):
                    renew(db, settings, *unit.split(" ", 1))
    return len(found) + again


def _index(db: Database, _: Settings, kind: str, name: str) -> None:
    db.execute(
        f"DELETE FROM derived_problem WHERE step = 'index' AND unit_kind = ? AND {public_id_sql('unit_key')} = ?",
        [kind, name],
    )


def _catalogue(db: Database, _: Settings, kind: str, name: str) -> None:
    """A study that was not judged is pending by itself; with a series its study is judged again."""
    if kind == "series":
        db.execute(
            "UPDATE derived_series SET stale = 1 WHERE study_instance_uid IN "
            "(SELECT study_instance_uid FROM derived_instance WHERE series_instance_uid = ?)",
            [name],
        )


def _measure(db: Database, _: Settings, kind: str, name: str) -> None:
    column = {"series": "series_instance_uid", "reading": "reading_id"}.get(kind)
    if column is not None:
        db.execute(
            f"DELETE FROM derived_measurement WHERE {column} = ? AND (source = 'auto') = (? = 'series')", [name, kind]
        )


def _completeness(db: Database, _: Settings, kind: str, name: str) -> None:
    judge_again(db, name)


def _resent(db: Database, _: Settings, __: str, name: str) -> None:
    db.execute("INSERT OR IGNORE INTO derived_resent VALUES (?)", [name])


def _interpret(db: Database, settings: Settings, kind: str, name: str) -> None:
    for (frame_id,) in db.execute(
        f"SELECT frame_id FROM fact_frame WHERE {public_id_sql('sha256')} = ?", [name.partition(".")[0]]
    ).fetchall():
        read_anew(db, settings, frame_id)
    forget_unused_numbers(db)
    resolve_merges(db)


def _identity(db: Database, _: Settings, __: str, ___: str) -> None:
    resolve_merges(db)


def _link(db: Database, _: Settings, kind: str, name: str) -> None:
    where = "pseudonym = ?" if kind == "patient" else "person = (SELECT person FROM derived_link WHERE episode = ?)"
    named = name.partition(",")[0]
    for (person,) in db.execute(f"SELECT person FROM derived_person WHERE {where}", [named]).fetchall():
        for number in db.execute(
            "SELECT authority, patient_id FROM derived_identifier WHERE person = ?", [person]
        ).fetchall():
            touch(db, *number)


def _import(db: Database, settings: Settings, kind: str, name: str) -> None:
    derive_again(db, site=settings.site.name)


AGAIN: Mapping[str, Callable[[Database, Settings, str, str], None]] = {
    "index": _index,
    "catalogue": _catalogue,
    "measure": _measure,
    "completeness": _completeness,
    "resent": _resent,
    "interpret": _interpret,
    "identity": _identity,
    "link": _link,
    "import": _import,
}
"""What makes one unit of each step pending again, within a unit of work."""
