"""Patient numbers and merges: any order of arrival leads to the same persons."""

from itertools import permutations
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.hl7.extracts import MergeExtract, UnmergeExtract
from node.steps.identity import resolve_merges
from node.store.database import insert, open_database, writing
from node.store.pending import touch


def tell(db: Database, number: str, extract: MergeExtract | UnmergeExtract, sent_at: str | None) -> None:
    """Store what a message says about a patient number."""
    frame = db.execute("SELECT count(*) FROM fact_frame").fetchone()[0] + 1
    insert(db, "fact_frame", [{"frame_id": frame, "sha256": f"{frame:064d}", "raw": b""}])
    row = {"frame_id": frame, "position": 1, "item": 1, "kind": extract.kind, "authority": "LOCAL"}
    insert(
        db,
        "derived_extract",
        [{**row, "patient_id": number, "sent_at": sent_at, "content": extract.model_dump_json()}],
    )
    touch(db, "LOCAL", number)


def merge(db: Database, retired: str, survivor: str, sent_at: str | None = None) -> None:
    """Store what an A40 says."""
    tell(db, survivor, MergeExtract(retired_authority="LOCAL", retired_id=retired), sent_at)


def part(db: Database, number: str, other: str, sent_at: str) -> None:
    """Store what an A37 says."""
    tell(db, number, UnmergeExtract(other_authority="LOCAL", other_id=other), sent_at)


def derive_all(db: Database) -> None:
    """Stand in for the link step: nobody is pending any more."""
    rows = db.execute("SELECT DISTINCT person FROM derived_identifier").fetchall()
    db.execute("DELETE FROM derived_person")
    insert(db, "derived_person", [{"person": name, "pseudonym": name} for (name,) in rows])


def pending(db: Database) -> set[str]:
    """Persons that the link step has to derive."""
    rows = db.execute("SELECT person FROM derived_identifier EXCEPT SELECT person FROM derived_person").fetchall()
    return {name for (name,) in rows}


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


def test_a_merge_leaves_only_those_pending_whom_it_changes(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    with writing(db):
        merge(db, "A", "B")
        touch(db, "LOCAL", "X")
        resolve_merges(db)
        derive_all(db)
    with writing(db):
        merge(db, "C", "D")
        resolve_merges(db)
        assert pending(db) == {"LOCAL|D"}
        derive_all(db)
    with writing(db):
        merge(db, "D", "B")
        resolve_merges(db)
    assert pending(db) == {"LOCAL|B"}
    db.close()


TOLD = [("merge", "A", "B", "1"), ("part", "B", "A", "2"), ("merge", "B", "C", "3")]


@pytest.mark.parametrize("order", list(permutations(TOLD)))
def test_a_merge_is_taken_back_in_any_order_of_arrival(tmp_path: Path, order: tuple[tuple[str, ...], ...]) -> None:
    db = open_database(tmp_path, create=True)
    for kind, one, other, sent_at in order:
        with writing(db):
            (merge if kind == "merge" else part)(db, one, other, sent_at)
            resolve_merges(db)
            derive_all(db)
    assert persons(db) == {"A": "LOCAL|A", "B": "LOCAL|C", "C": "LOCAL|C"}
    with writing(db):
        merge(db, "A", "B", "4")
        resolve_merges(db)
    assert persons(db) == dict.fromkeys("ABC", "LOCAL|C"), "made again after it was taken back"
    db.close()


def test_numbers_that_another_merge_keeps_together_are_a_problem(tmp_path: Path) -> None:
    db = open_database(tmp_path, create=True)
    with writing(db):
        merge(db, "A", "B", "1")
        merge(db, "B", "C", "2")
        part(db, "A", "C", "3")
        resolve_merges(db)
    (problem,) = db.query("SELECT * FROM problems WHERE step = 'identity'")
    assert (problem["source"], problem["code"]) == ("message 000000000000.1", "unmerge")
    with writing(db):
        part(db, "A", "B", "4")
        resolve_merges(db)
    assert list(db.query("SELECT * FROM problems WHERE step = 'identity'")) == []
    db.close()
