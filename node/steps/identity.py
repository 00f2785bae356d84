"""Who is who: patient numbers, the persons they lead to, and what is pending about a person.

A patient number is the pair (assigning authority, id) exactly as sent, leading zeros kept. Merges (A40 and the like)
join numbers, A37 takes a merge back; the person is named after the number that survives.
"""

from dataclasses import dataclass

from sqlite_utils import Database

from analytics.reasons import Reason
from node.steps.senders import forget_counts
from node.store.database import writing
from node.store.failures import Unit, barrier, forget_failure
from node.store.pending import person_key, touch_known
from node.store.problems import WHOLE, note_problem

UNIT = ("identity", Unit("number", "merges"))
"""Step and unit of work in which numbers are joined; all at once, because each says something about the others."""
Number = tuple[str, str]
"""Assigning authority and id, as sent."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What one fact says about two different patient numbers; ``first`` survives where they are joined."""

    source: tuple[str, str, int]
    """Kind, key and part of the unit, as of a problem."""
    said: tuple[str, str, int, int]
    """When it was said, then what orders facts of the same time."""
    first: Number
    second: Number
    joined: bool
    by_message: bool = True


def resolve_merges(db: Database) -> None:
    """Point every patient number at the person it leads to through all merges known, in whatever order they came.

    Of all that was said about two numbers the newest holds: a merge (A40) can be taken back (A37) and made again. Of
    several merges that retire the same number the newest holds.
    Numbers joined are one person, named after the number that no merge retires (the smallest name when merges
    contradict each other). Persons whose numbers change are left pending, no others.

    A unit of work within one: where it fails, every number leads to whom it led before, and that is a problem until
    it goes well again.
    """
    with barrier(db, *UNIT):
        _resolve(db)
        forget_failure(db, *UNIT)


def _resolve(db: Database) -> None:
    statements = sorted(_statements(db), key=lambda one: one.said)
    newest = {frozenset((one.first, one.second)): one for one in statements}
    # A number is retired once: who merges it into somebody else corrects the merge before.
    retired = {one.second: one for one in statements if one.joined and one.by_message}
    replaced = [
        one for one in newest.values() if one.joined and one.by_message and one.first != retired[one.second].first
    ]
    joins = [one for one in newest.values() if one.joined and one not in replaced]
    representative = _representatives([(one.second, one.first) for one in joins])
    changed: set[str] = set()
    for authority, patient_id, person in db.execute(
        "SELECT authority, patient_id, person FROM derived_identifier"
    ).fetchall():
        now = representative.get((authority, patient_id), (authority, patient_id))
        if person_key(*now) != person:
            changed |= {person_key(*now), person}
            db.execute(
                "UPDATE derived_identifier SET person = ? WHERE authority = ? AND patient_id = ?",
                [person_key(*now), authority, patient_id],
            )
    for person in changed:
        _forget_person(db, person)
    _replace_problems(db, [one for one in newest.values() if not one.joined], replaced, representative)


def _statements(db: Database) -> list[Statement]:
    """All that messages and people say about two numbers; both numbers are known from here on."""
    found = [
        Statement(
            source=("message", sha256, position),
            said=(sent_at, sha256, position, item),
            first=(authority, patient_id),
            second=(other_authority, other_id),
            joined=kind == "merge",
        )
        for kind, authority, patient_id, other_authority, other_id, sent_at, sha256, position, item in db.execute(
            "SELECT e.kind, e.authority, e.patient_id, "
            "coalesce(e.content ->> '$.retired_authority', e.content ->> '$.other_authority'), "
            "coalesce(e.content ->> '$.retired_id', e.content ->> '$.other_id'), "
            "coalesce(e.sent_at, ''), f.sha256, e.position, e.item "
            "FROM derived_extract AS e JOIN fact_frame AS f USING (frame_id) WHERE e.kind IN ('merge', 'unmerge')"
        ).fetchall()
    ]
    found += [
        Statement(
            source=("decision", str(decision_id), WHOLE),
            said=(decided_at, "", decision_id, 0),
            first=(authority, patient_id),
            second=(authority, other_id),
            joined=decision == "confirmed",
            by_message=False,
        )
        for decision_id, decided_at, authority, patient_id, other_id, decision in db.execute(
            "SELECT decision_id, decided_at, authority, patient_id, other_patient_id, decision "
            "FROM fact_identity_decision"
        ).fetchall()
    ]
    found = [one for one in found if one.first != one.second]
    for one in found:
        for number in (one.first, one.second):
            db.execute(
                "INSERT OR IGNORE INTO derived_identifier (authority, patient_id, person) VALUES (?, ?, ?)",
                [*number, person_key(*number)],
            )
    return found


def apply_decisions(db: Database) -> None:
    """Let what people have decided about numbers and signs take effect, where it has not yet."""
    if waiting := db.execute(
        "SELECT decision_id, authority, patient_id FROM fact_signs_decision "
        "WHERE decision_id NOT IN (SELECT decision_id FROM derived_signs_decision)"
    ).fetchall():
        with writing(db):
            for decision_id, authority, patient_id in waiting:
                touch_known(db, authority, patient_id)
                db.execute("INSERT OR IGNORE INTO derived_signs_decision VALUES (?)", [decision_id])
    if _decisions_wait(db):
        with writing(db):
            resolve_merges(db)
            db.execute("INSERT OR IGNORE INTO derived_identity_decision SELECT decision_id FROM fact_identity_decision")


def _decisions_wait(db: Database) -> bool:
    row = db.execute(
        "SELECT EXISTS (SELECT decision_id FROM fact_identity_decision "
        "EXCEPT SELECT decision_id FROM derived_identity_decision)"
    ).fetchone()
    return bool(row[0])


def forget_unused_numbers(db: Database) -> None:
    """Forget the pending patient numbers that no message and no series names any more, inside a unit of work.

    Call :func:`resolve_merges` after it: a number may still be named by a merge.
    """
    gone = db.execute(
        "DELETE FROM derived_identifier WHERE person NOT IN (SELECT person FROM derived_person) "
        "AND NOT EXISTS (SELECT 1 FROM derived_extract AS e WHERE e.authority = derived_identifier.authority "
        "AND e.patient_id = derived_identifier.patient_id) "
        "AND NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.patient_authority = derived_identifier.authority "
        "AND s.patient_id = derived_identifier.patient_id) RETURNING person"
    ).fetchall()
    for person in {person for (person,) in gone}:
        _forget_person(db, person)


def _forget_person(db: Database, person: str) -> None:
    """Leave the person pending, and nothing of one whom no number leads to."""
    db.execute("DELETE FROM derived_person WHERE person = ?", [person])
    if db.execute("SELECT 1 FROM derived_identifier WHERE person = ? LIMIT 1", [person]).fetchone():
        return
    forget_counts(db, person)
    for table in ("derived_blood_count", "derived_operation", "derived_link", "derived_doubt"):
        db.execute(f"DELETE FROM {table} WHERE person = ?", [person])


def _representatives(retired_to: list[tuple[Number, Number]]) -> dict[Number, Number]:
    group: dict[Number, set[Number]] = {}
    for pair in retired_to:
        parts = [group.get(number, {number}) for number in pair]
        joined, other = sorted(parts, key=len, reverse=True)
        joined |= other
        for number in other | set(pair):
            group[number] = joined
    retired = {old for old, _ in retired_to}
    chosen = {key: min(one - retired or one) for key, one in {id(one): one for one in group.values()}.items()}
    return {number: chosen[id(members)] for number, members in group.items()}


def _replace_problems(
    db: Database, apart: list[Statement], replaced: list[Statement], representative: dict[Number, Number]
) -> None:
    """Say which numbers are one person although a message takes their merge back, and which merges hold no more."""
    db.execute("DELETE FROM derived_problem WHERE step = 'identity'")
    for one in apart:
        if representative.get(one.first, one.first) == representative.get(one.second, one.second):
            kind, key, part = one.source
            note_problem(db, "identity", kind, key, "unmerge", [Reason("still-joined")], part=part)
    for one in replaced:
        if representative.get(one.first, one.first) != representative.get(one.second, one.second):
            kind, key, part = one.source
            note_problem(db, "identity", kind, key, "merge", [Reason("merge-replaced")], part=part)
