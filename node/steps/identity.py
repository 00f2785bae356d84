"""Who is who: patient numbers, the persons they lead to, and what is pending about a person.

A patient number is the pair (assigning authority, id) exactly as sent, leading zeros kept. Merges (A40 and the like)
join numbers; the person is named after the number that survives.
"""

from sqlite_utils import Database

from node.hl7.extracts import MergeExtract, from_json


def person_key(authority: str, patient_id: str) -> str:
    """The name of the person a patient number stands for, before merges."""
    return f"{authority}|{patient_id}"


def touch(db: Database, authority: str, patient_id: str) -> None:
    """Say that something about this patient number is new, so that the link step derives the person again.

    Call it inside the unit of work that stores the news.
    """
    db.execute(
        "INSERT OR IGNORE INTO derived_identifier (authority, patient_id, person) VALUES (?, ?, ?)",
        [authority, patient_id, person_key(authority, patient_id)],
    )
    db.execute(
        "DELETE FROM derived_person WHERE person = "
        "(SELECT person FROM derived_identifier WHERE authority = ? AND patient_id = ?)",
        [authority, patient_id],
    )


def resolve_merges(db: Database) -> None:
    """Point every patient number at the person it leads to through all merges known, in whatever order they came.

    Numbers joined by merges are one person, named after the number that no merge retires (the smallest name when
    merges contradict each other). Persons whose numbers change are left pending.
    """
    merges = db.execute("SELECT authority, patient_id, content FROM derived_extract WHERE kind = 'merge'").fetchall()
    retired_to: list[tuple[str, str]] = []
    for authority, patient_id, content in merges:
        extract = from_json(content)
        if isinstance(extract, MergeExtract):
            retired = (extract.retired_authority, extract.retired_id)
            for number in (retired, (authority, patient_id)):
                touch(db, *number)
            retired_to.append((person_key(*retired), person_key(authority, patient_id)))
    representative = _representatives(retired_to)
    for authority, patient_id, person in db.execute(
        "SELECT authority, patient_id, person FROM derived_identifier"
    ).fetchall():
        own = person_key(authority, patient_id)
        now = representative.get(own, own)
        if now != person:
            for name in (now, person):
                db.execute("DELETE FROM derived_person WHERE person = ?", [name])
            db.execute(
                "UPDATE derived_identifier SET person = ? WHERE authority = ? AND patient_id = ?",
                [now, authority, patient_id],
            )
    for table in ("derived_blood_count", "derived_operation", "derived_link"):
        db.execute(f"DELETE FROM {table} WHERE person NOT IN (SELECT person FROM derived_identifier)")


def _representatives(retired_to: list[tuple[str, str]]) -> dict[str, str]:
    group: dict[str, set[str]] = {}
    for pair in retired_to:
        joined = set(pair).union(*(group.get(name, ()) for name in pair))
        for name in joined:
            group[name] = joined
    retired = {old for old, new in retired_to if old != new}
    return {name: min(members - retired or members) for name, members in group.items()}
