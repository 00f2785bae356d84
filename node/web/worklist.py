"""The worklist: everything in doubt that a person can settle, and what waits for an engineer, by query.

An item is named by its kind and what it is about; who has taken it is kept under that name.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from sqlite_utils import Database

from analytics.columns import Cell
from analytics.reasons import Reason, from_dict
from node.clock import from_text, to_text
from node.people.identity import candidates, doubts
from node.people.two_readers import Standing, Step, hidden_from, may_settle, standings
from node.settings import Readers
from node.store.database import writing
from node.store.public_id import public_id_of
from node.store.reasons import loaded

SERIES = """
SELECT s.series_instance_uid, s.last_received_at, m.reasons, i.person
FROM derived_series AS s JOIN derived_measurement AS m USING (series_instance_uid)
LEFT JOIN derived_identifier AS i ON (i.authority, i.patient_id) = (s.patient_authority, s.patient_id)
WHERE s.stale = 0 AND s.withdrawn = 0 AND s.role <> 'other' AND m.status IN ('review', 'rejected')
  AND m.rowid = (SELECT n.rowid FROM derived_measurement AS n WHERE n.series_instance_uid = s.series_instance_uid
                 AND n.current = 1 ORDER BY n.reading_id DESC LIMIT 1)
  AND NOT EXISTS (SELECT 1 FROM fact_series_decision AS d
                  WHERE d.series_instance_uid = s.series_instance_uid AND d.instances_sha256 = s.instances_sha256
                    AND d.decision = 'unreadable'
                    AND d.decision_id = (SELECT max(l.decision_id) FROM fact_series_decision AS l
                                         WHERE l.series_instance_uid = s.series_instance_uid))
  -- What somebody has just read is measured within moments.
  AND NOT EXISTS (SELECT 1 FROM fact_reading AS r WHERE r.series_instance_uid = s.series_instance_uid
                  AND r.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal)
                  AND NOT EXISTS (SELECT 1 FROM derived_measurement AS n
                                  WHERE n.series_instance_uid = r.series_instance_uid AND n.reading_id = r.reading_id))
"""
COUNTS = """
SELECT person, specimen, taken_at, notes, neutrophils_10e9_per_l AS neutrophils, lymphocytes_10e9_per_l AS lymphocytes,
       platelets_10e9_per_l AS platelets, leukocytes_10e9_per_l AS leukocytes
FROM derived_blood_count AS b
-- A person without a row is being linked anew, as after an approval.
WHERE status = 'held' AND EXISTS (SELECT 1 FROM derived_person AS p WHERE p.person = b.person)
"""
STUDIES = """
SELECT u.study_instance_uid, count(DISTINCT u.sop_instance_uid) AS images, max(s.last_received_at) AS since,
       max(i.person) AS person
FROM derived_undecided AS u
LEFT JOIN derived_series AS s USING (series_instance_uid)
LEFT JOIN derived_identifier AS i ON (i.authority, i.patient_id) = (s.patient_authority, s.patient_id)
WHERE NOT EXISTS (SELECT 1 FROM fact_study_decision AS d WHERE d.study_instance_uid = u.study_instance_uid
                  AND d.decision_id NOT IN (SELECT decision_id FROM derived_study_decision)
                  AND d.decision_id NOT IN (SELECT decision_id FROM fact_study_withdrawal))
GROUP BY u.study_instance_uid
"""
DECIDED_SIGNS = """
SELECT authority, patient_id, signs FROM fact_signs_decision
WHERE decision_id NOT IN (SELECT decision_id FROM derived_signs_decision)
"""
THRESHOLDS = """
SELECT version, proposed_at, vbq, nlr, plr, n FROM thresholds
WHERE state = 'proposed' AND version = (SELECT max(version) FROM record_threshold)
"""
OPERATIONS = """
SELECT person, min(planned_at) FROM derived_operation WHERE cancelled = 0 AND planned_at >= ? GROUP BY person
"""
APPROVED_CELLS: tuple[Cell, ...] = ("neutrophils", "lymphocytes", "platelets", "leukocytes")
PAIR = ("authority", "patient_id", "other_patient_id")
OWN_KINDS = frozenset({
    "duplicate-uid", "candidate", "held-blood-count", "number-of-several-people", "merge-of-different-people",
    "another-person",
})  # fmt: skip
"""Codes of the view ``problems`` that are items of their own here, as are series that wait for a reader."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose it is: pseudonym, and the day of the next operation that is planned (site's time)."""

    patient: str | None = None
    surgery: date | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """Something in doubt.

    Attributes
    ----------
    kind
        ``series``, ``second`` and ``settle`` (readings of two people), ``count``, ``identity``, ``study``,
        ``threshold`` or ``problem``.
    about
        What names it to those who settle it; never shown in an address.
    reasons, said
        Why: as reasons, or in the words of a view.
    advice
        Reasons that say what is to be done, where the page has no button for it.
    values
        What the page of the kind says beside it.
    since
        When it came.
    """

    kind: str
    about: dict[str, str]
    reasons: tuple[Reason, ...] = ()
    said: str = ""
    advice: tuple[Reason, ...] = ()
    values: Mapping[str, float | None] = field(default_factory=dict)
    owner: Owner = Owner()
    since: datetime | None = None
    taken_by: str | None = None

    @property
    def key(self) -> str:
        """Its name, without anything of a patient in it."""
        return public_id_of(self.kind + json.dumps(self.about, sort_keys=True))


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Who looks at the worklist, and how many people read a series."""

    name: str
    rule: Readers


def items(db: Database, *, now: datetime, asker: Asker) -> list[Item]:
    """All items: those with an operation first, the soonest before; then the oldest.

    Readings that others have to give are not among them, nor is anything that would tell a second reader the score.
    """
    taken = dict(db.execute("SELECT item, name FROM state_worklist").fetchall())
    persons = _Persons(db, now)
    hidden = hidden_from(db, asker.rule, asker.name)
    parts = (
        _series(db, persons, asker),
        *(part(db, persons) for part in (_counts, _identities, _studies, _thresholds)),
        _problems(db, {f"series {uid}" for uid in hidden}),
    )
    return sorted((replace(one, taken_by=taken.get(one.key)) for part in parts for one in part), key=_order)


def readings(db: Database, *, now: datetime, asker: Asker) -> list[Item]:
    """Those of :func:`items` that are series, in the same order."""
    return sorted(_series(db, _Persons(db, now), asker), key=_order)


def _order(one: Item) -> tuple[date, bool, datetime, str]:
    last = datetime.max.replace(tzinfo=UTC)
    return one.owner.surgery or date.max, one.kind == "problem", one.since or last, one.key


def take(db: Database, key: str, name: str, *, now: datetime) -> None:
    """Note who is at an item; the same again lays it back."""
    with writing(db):
        mine = db.execute("DELETE FROM state_worklist WHERE item = ? AND name = ?", [key, name]).rowcount
        if not mine:
            db.execute(
                "INSERT INTO state_worklist (item, name, taken_at) VALUES (?, ?, ?) "
                "ON CONFLICT (item) DO UPDATE SET name = excluded.name, taken_at = excluded.taken_at",
                [key, name, to_text(now)],
            )


class _Persons:
    """Pseudonym and next operation of persons."""

    def __init__(self, db: Database, now: datetime) -> None:
        self._pseudonyms = dict(db.execute("SELECT person, pseudonym FROM derived_person").fetchall())
        self._operations = dict(db.execute(OPERATIONS, [to_text(now)[:10]]).fetchall())

    def of(self, person: str | None) -> Owner:
        """What an item says of its person."""
        planned = self._operations.get(person or "")
        return Owner(
            patient=self._pseudonyms.get(person or ""), surgery=date.fromisoformat(planned[:10]) if planned else None
        )


def _moment(text: str | None) -> datetime | None:
    return from_text(text) if text else None


def _series(db: Database, persons: _Persons, asker: Asker) -> Iterator[Item]:
    standing = standings(db, asker.rule)
    for uid, received, reasons, person in db.execute(SERIES).fetchall():
        of_series = standing.get(uid)
        kind = "series" if of_series is None else _kind(of_series, asker)
        if kind is None:
            continue
        yield Item(
            kind=kind,
            about={"series": uid},
            # Why the first reading is in doubt may tell its score.
            reasons=() if kind == "second" else loaded(reasons),
            owner=persons.of(person),
            since=_moment(received),
        )


def _kind(standing: Standing, asker: Asker) -> str | None:
    """What this one is asked for; ``None``: it is another's turn."""
    if standing.next is Step.SECOND:
        return None if standing.has_read(asker.name) else "second"
    if standing.next is Step.SETTLING:
        return "settle" if may_settle(asker.rule, standing, asker.name) else None
    return "series"


def _counts(db: Database, persons: _Persons) -> Iterator[Item]:
    for row in db.query(COUNTS):
        owner = persons.of(row["person"])
        yield Item(
            kind="count",
            about={"specimen": row["specimen"], "patient": owner.patient or ""},
            reasons=loaded(row["notes"]),
            values={name: row[name] for name in APPROVED_CELLS},
            owner=owner,
            since=_moment(row["taken_at"]),
        )


def _identities(db: Database, persons: _Persons) -> Iterator[Item]:
    decided = set(db.execute(DECIDED_SIGNS).fetchall())
    for row in doubts(db):
        about = {name: str(row[name]) for name in ("authority", "patient_id", "signs")}
        if row["state"] == "open" and tuple(about.values()) not in decided:
            owner = persons.of(f"{row['authority']}|{row['patient_id']}")
            yield Item(kind="identity", about=about, said=str(row["words"]), owner=owner)
    for row in candidates(db):
        if row["state"] == "open":
            yield Item(kind="pair", about={name: str(row[name]) for name in PAIR})


def _studies(db: Database, persons: _Persons) -> Iterator[Item]:
    for uid, images, since, person in db.execute(STUDIES).fetchall():
        yield Item(
            kind="study",
            about={"study": uid},
            values={"images": images},
            owner=persons.of(person),
            since=_moment(since),
        )


def _thresholds(db: Database, persons: _Persons) -> Iterator[Item]:
    for version, proposed, vbq, nlr, plr, n in db.execute(THRESHOLDS).fetchall():
        values = {"n": n, "vbq": vbq, "nlr": nlr, "plr": plr}
        yield Item(kind="threshold", about={"version": str(version)}, values=values, since=_moment(proposed))


def _problems(db: Database, hidden: Collection[str]) -> Iterator[Item]:
    rows = db.execute("SELECT step, source, code, detail, reason_codes FROM problems").fetchall()
    for step, source, code, detail, codes in rows:
        of_a_reader = step == "measure" and code in ("review", "rejected")
        if code not in OWN_KINDS and not of_a_reader and source not in hidden:
            yield Item(
                kind="problem",
                about={"step": step, "source": source, "code": code},
                said=detail,
                advice=tuple(from_dict({"code": one}) for one in json.loads(codes)),
            )
