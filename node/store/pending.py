"""Marks in the database that make a step derive something again."""

from sqlite_utils import Database

UNDERIVED_IMPORTS = """
    SELECT count(*) FROM fact_import AS f
    WHERE f.import_id = (SELECT max(import_id) FROM fact_import)
      AND NOT EXISTS (SELECT 1 FROM derived_import_row AS r WHERE r.import_id = f.import_id)
      AND NOT EXISTS (SELECT 1 FROM derived_problem AS p
                      WHERE p.step = 'import' AND p.unit_kind = 'import' AND p.unit_key = CAST(f.import_id AS TEXT)
                        AND p.unit_part = 0)"""
"""1 while imported files are to be derived, else 0."""


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
    touch_known(db, authority, patient_id)


def touch_specimen(db: Database, specimen: str, taken_at: str | None) -> None:
    """Say that something about this specimen is new, to everybody under whose number it came."""
    db.execute(
        "DELETE FROM derived_person WHERE person IN (SELECT i.person FROM derived_extract AS e "
        "JOIN derived_identifier AS i ON i.authority = e.authority AND i.patient_id = e.patient_id "
        "WHERE e.kind = 'specimen' AND e.content ->> '$.specimen' = ? AND e.content ->> '$.taken_at' IS ?)",
        [specimen, taken_at],
    )


def touch_known(db: Database, authority: str, patient_id: str) -> None:
    """The same of a number that need not be a patient's yet: should one come by it, that one is derived anyway."""
    db.execute(
        "DELETE FROM derived_person WHERE person = "
        "(SELECT person FROM derived_identifier WHERE authority = ? AND patient_id = ?)",
        [authority, patient_id],
    )


def touch_person(db: Database, person: str) -> None:
    """Have a person derived again, inside a unit of work."""
    db.execute("DELETE FROM derived_person WHERE person = ?", [person])
