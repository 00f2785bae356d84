"""Patient numbers and merges: any order of arrival leads to the same persons."""

from itertools import permutations
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.hl7.extracts import MergeExtract
from node.steps.identity import resolve_merges, touch
from node.store.database import insert, open_database, writing


def merge(db: Database, retired: str, survivor: str) -> None:
    """Store what an A40 says."""
    number = db.execute("SELECT count(*) FROM fact_frame").fetchone()[0] + 1
    insert(db, "fact_frame", [{"frame_id": number, "sha256": f"{number:064d}", "raw": b""}])
    content = MergeExtract(retired_authority="LOCAL", retired_id=retired).model_dump_json()
    row = {"frame_id": number, "position": 1, "item": 1, "kind": "merge", "authority": "LOCAL"}
    insert(db, "derived_extract", [{**row, "patient_id": survivor, "sent_at": None, "content": content}])


def persons(db: Database) -> dict[str, str]:
    return dict(db.execute("SELECT patient_id, person FROM derived_identifier").fetchall())


@pytest.mark.parametrize("order", list(permutations([("A", "B"), ("B", "C"), ("D", "C")])))
def test_chains_lead_to_the_survivor_in_any_order(tmp_path: Path, order: tuple[tuple[str, str], ...]) -> None:
    db = open_database(tmp_path, create=True)
    for retired, survivor in order:
        with writing(db):
            merge(db, retired, survivor)
            resolve_merges(db)
    assert persons(db) == dict.fromkeys("ABCD", "LOCAL|C")
    db.close()


def test_a_late_message_on_a_retired_number_belongs_to_the_survivor_and_makes_it_pending(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    with writing(db):
        merge(db, "00123", "00456")
        resolve_merges(db)
        insert(db, "derived_person", [{"person": "LOCAL|00456", "pseudonym": "P1"}])
    with writing(db):
        touch(db, "LOCAL", "00123")
    assert db.execute("SELECT count(*) FROM derived_person").fetchone() == (0,)
    db.close()


def test_leading_zeros_and_authorities_make_another_person(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    with writing(db):
        for authority, number in [("LOCAL", "00123"), ("LOCAL", "123"), ("OTHER", "123")]:
            touch(db, authority, number)
    assert {row[0] for row in db.execute("SELECT person FROM derived_identifier")} == {
        "LOCAL|00123", "LOCAL|123", "OTHER|123",
    }  # fmt: skip
    db.close()


def test_merges_that_contradict_each_other_still_give_one_person(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    with writing(db):
        merge(db, "A", "B")
        merge(db, "B", "A")
        resolve_merges(db)
    assert persons(db) == {"A": "LOCAL|A", "B": "LOCAL|A"}
    db.close()


def test_nothing_derived_is_left_under_a_retired_name(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    with writing(db):
        touch(db, "LOCAL", "A")
        row = {"person": "LOCAL|A", "booking": "1/1", "planned_at": "2026-03-02T07:00:00+00:00"}
        insert(db, "derived_operation", [{**row, "date_only": 0, "cancelled": 0}])
    with writing(db):
        merge(db, "A", "B")
        resolve_merges(db)
    assert db.execute("SELECT count(*) FROM derived_operation").fetchone() == (0,), "derived again under B"
    db.close()
