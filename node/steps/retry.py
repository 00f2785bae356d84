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
from node.store.failures import Unit, barrier, forget_failure, outdated, rested
from node.store.pending import touch
from node.store.problems import forget_problems


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
                    renew(db, settings, unit)
    return len(found) + again


def _index(db: Database, _: Settings, unit: Unit) -> None:
    forget_problems(db, "index", unit.kind, unit.key)


def _catalogue(db: Database, _: Settings, unit: Unit) -> None:
    """A study that was not judged is pending by itself; with a series its study is judged again."""
    if unit.kind == "series":
        db.execute(
            "UPDATE derived_series SET stale = 1 WHERE study_instance_uid IN "
            "(SELECT study_instance_uid FROM derived_instance WHERE series_instance_uid = ?)",
            [unit.key],
        )


def _measure(db: Database, _: Settings, unit: Unit) -> None:
    column = {"series": "series_instance_uid", "reading": "reading_id"}.get(unit.kind)
    if column is not None:
        db.execute(
            f"DELETE FROM derived_measurement WHERE {column} = ? AND (reading_id IS NULL) = ?",
            [unit.key, unit.kind == "series"],
        )


def _completeness(db: Database, _: Settings, unit: Unit) -> None:
    judge_again(db, unit.key)


def _resent(db: Database, _: Settings, unit: Unit) -> None:
    db.execute("INSERT OR IGNORE INTO derived_resent VALUES (?)", [unit.key])


def _interpret(db: Database, settings: Settings, unit: Unit) -> None:
    for (frame_id,) in db.execute("SELECT frame_id FROM fact_frame WHERE sha256 = ?", [unit.key]).fetchall():
        read_anew(db, settings, frame_id)
    forget_unused_numbers(db)
    resolve_merges(db)


def _identity(db: Database, _: Settings, __: Unit) -> None:
    resolve_merges(db)


def _link(db: Database, _: Settings, unit: Unit) -> None:
    of_episode = "person = (SELECT person FROM derived_link WHERE episode = ?)"
    where = "pseudonym = ?" if unit.kind == "patient" else of_episode
    for (person,) in db.execute(f"SELECT person FROM derived_person WHERE {where}", [unit.key]).fetchall():
        for number in db.execute(
            "SELECT authority, patient_id FROM derived_identifier WHERE person = ?", [person]
        ).fetchall():
            touch(db, *number)


def _import(db: Database, settings: Settings, _: Unit) -> None:
    derive_again(db, site=settings.site.name)


AGAIN: Mapping[str, Callable[[Database, Settings, Unit], None]] = {
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
