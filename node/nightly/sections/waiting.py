"""What waits for a person: operations that cannot be tiered yet, series nobody has read, and other problems."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

from sqlite_utils import Database

from analytics.reasons import actions, words
from node.clock import to_text
from node.nightly.sections.section import Audience, Findings, Owner, Section, in_days
from node.store.reasons import loaded

SHOWN_ELSEWHERE = ("unidentified", "review", "held")
"""Codes of problems that the counts or the lines about series and operations show already."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Something that waits for a person: an operation by its study id, a series or a kind, never a patient."""

    what: str
    why: str
    episode: str | None = None
    """The study id of the operation, of which ``what`` says the rest."""
    ask: str = ""
    """What is to be done about it."""
    owner: Owner = field(default_factory=Owner)


@dataclass(frozen=True, kw_only=True)
class WaitingForAPerson(Section):
    """Everything that waits."""

    name: ClassVar[str] = "waiting"
    may_move_on: ClassVar[bool] = True
    most: ClassVar[int] = 25
    """Lines shown; a longer list is for the database."""
    waiting: tuple[Waiting, ...]

    def needs(self, audience: Audience) -> bool:
        """Nobody is told for this alone: in a hospital something always waits."""
        return False

    def theirs(self, audience: Audience) -> list[Waiting]:
        """Operations of a recipient; the rest is for who wants everything."""
        return [one for one in self.waiting if (audience.concerns(one.owner) if one.episode else audience.statistics)]

    @property
    def for_the_engineer(self) -> list[Waiting]:
        """What is no operation."""
        return [one for one in self.waiting if one.episode is None]


def read(db: Database, findings: Findings) -> WaitingForAPerson:
    """Upcoming operations without a tier and why, series unread for more than some days, other problems by kind."""
    night, settings = findings.night, findings.settings
    series = _series(db, night, settings.site.zone, settings.nightly.remind_after_days)
    operations = [replace(one, owner=findings.owners.get(one.episode or "", Owner())) for one in _operations(db, night)]
    return WaitingForAPerson(waiting=(*operations, *series, *_problems(db)))


def _operations(db: Database, night: date) -> list[Waiting]:
    rows = db.execute(
        "SELECT episode, surgery_date, status, reasons, exclusion_reasons FROM derived_link "
        "WHERE status IN ('linked', 'incomplete', 'held') AND eligible = 0 AND surgery_date >= ? "
        "ORDER BY surgery_date, episode",
        [night.isoformat()],
    )
    found = []
    for episode, day, status, reasons_json, exclusions_json in rows:
        reasons, exclusions = loaded(reasons_json), loaded(exclusions_json)
        # Who is excluded for what no further data can remove waits for nobody.
        completable = all(reason in reasons or reason.transient for reason in exclusions)
        if status == "held" or completable:
            # In this order and once each: a held episode repeats its reasons among the exclusions.
            said = list(dict.fromkeys([*reasons, *exclusions]))
            days = (date.fromisoformat(day[:10]) - night).days
            found.append(
                Waiting(
                    what=f"operation {day} ({in_days(days)})",
                    why="; ".join(words(said)),
                    episode=episode,
                    ask=" ".join(actions(said)),
                )
            )
    return found


def _series(db: Database, night: date, zone: ZoneInfo, remind_after_days: int) -> list[Waiting]:
    before = datetime.combine(night - timedelta(days=remind_after_days), time(), zone)
    rows = db.execute(
        "SELECT s.series_instance_uid, s.state FROM series AS s "
        "WHERE s.state IN ('waiting for a measurement', 'review') AND "
        # By the first receipt: a later one may say an earlier time (clock that was ahead).
        "(SELECT r.received_at FROM derived_instance AS i JOIN fact_object_receipt AS r USING (object_id) "
        " WHERE i.series_instance_uid = s.series_instance_uid ORDER BY r.receipt_id LIMIT 1) < ? "
        "ORDER BY s.series_instance_uid",
        [to_text(before)],
    )
    return [Waiting(what=f"series {uid}", why=f"{state} for more than {remind_after_days} days") for uid, state in rows]


def _problems(db: Database) -> list[Waiting]:
    """By kind only: the details may quote a sender and stay on the node."""
    rows = db.execute("SELECT step, code, count(*) FROM problems GROUP BY step, code ORDER BY step, code")
    return [
        Waiting(what=f"{number} × {step}: {code}", why="`vbq-node problems` shows which and why")
        for step, code, number in rows
        if code not in SHOWN_ELSEWHERE
    ]
