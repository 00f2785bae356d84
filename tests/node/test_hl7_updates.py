"""Results that change: made final without values, measured again, corrected with another time of collection."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.store.database import open_database
from tests.node.test_hl7_operations import KEY, hl7, receive

Rows = list[tuple[object, ...]]
CODES = ("751-8^N^LN", "731-0^L^LN", "777-3^P^LN")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key=KEY)
    yield database
    database.close()


def cbc(
    *values: object, at: str, status: str = "F", taken: str = "20260110080000", order: str = "F1", runs: str = ""
) -> bytes:
    rows = [
        f"OBX|{number}|NM|{code}|{runs}|{value}|10*9/L|||||{status}"
        for number, (code, value) in enumerate(zip(CODES, values, strict=True), start=1)
    ]
    return hl7("ORU^R01", f"OBR|1|O|{order}|CBC|||{taken}" + "|" * 15 + at, *rows, at=at)


def counts(db: Database) -> Rows:
    return db.execute("SELECT status, taken_at, nlr, plr FROM blood_counts ORDER BY taken_at").fetchall()


def after(tmp_path: Path, frames: list[bytes]) -> Rows:
    """The counts, whatever the order of arrival."""
    found = []
    for number, order in enumerate(permutations(frames)):
        database = open_database(tmp_path / str(number), create=True, pseudonym_key=KEY)
        receive(database, order)
        found.append(counts(database))
        database.close()
    assert all(one == found[0] for one in found)
    return found[0]


def test_status_u_makes_the_values_before_final(tmp_path: Path) -> None:
    preliminary = cbc(4.0, 2.0, 250, at="20260110100000", status="P")
    update = cbc("", "", "", at="20260110130000", status="U")
    (row,) = after(tmp_path, [preliminary, update])
    assert (row[0], row[2], row[3]) == ("final", 2.0, 125.0)


def test_status_u_gives_a_withdrawn_value_no_life(tmp_path: Path) -> None:
    frames = [
        cbc(4.0, 2.0, 250, at="20260110100000", status="P"),
        cbc(4.0, 2.0, 250, at="20260110110000", status="X"),
        cbc("", "", "", at="20260110130000", status="U"),
    ]
    (row,) = after(tmp_path, frames)
    assert row[0] == "withdrawn"


def test_status_u_with_values_is_final(db: Database) -> None:
    receive(db, [cbc(4.0, 2.0, 250, at="20260110100000", status="U")])
    assert [row[0] for row in counts(db)] == ["final"]


def test_the_second_run_of_a_message_stands(db: Database) -> None:
    rows = [
        "OBX|1|NM|751-8^N^LN||4.8|10*9/L|||||F",
        "OBX|2|NM|731-0^L^LN|1|2.0|10*9/L|||||X",
        "OBX|3|NM|731-0^L^LN|2|2.4|10*9/L|||||F",
        "OBX|4|NM|777-3^P^LN||240|10*9/L|||||F",
    ]
    receive(db, [hl7("ORU^R01", "OBR|1|O|F1|CBC|||20260110080000", *rows, at="20260110100000")])
    ((status, _, nlr, plr),) = counts(db)
    assert (status, nlr, plr) == ("final", 2.0, 100.0)


def test_two_runs_that_both_stand_are_for_a_person(db: Database) -> None:
    rows = [
        "OBX|1|NM|751-8^N^LN||4.8|10*9/L|||||F",
        "OBX|2|NM|731-0^L^LN|1|1.2|10*9/L|||||F",
        "OBX|3|NM|731-0^L^LN|2|2.4|10*9/L|||||F",
        "OBX|4|NM|777-3^P^LN||240|10*9/L|||||F",
    ]
    receive(db, [hl7("ORU^R01", "OBR|1|O|F1|CBC|||20260110080000", *rows, at="20260110100000")])
    assert [row[0] for row in counts(db)] == ["held"]


def test_one_run_and_its_withdrawal(tmp_path: Path) -> None:
    frames = [
        cbc(4.0, 2.0, 250, at="20260110100000", runs="1"),
        cbc(4.0, 2.0, 250, at="20260110110000", runs="1", status="X"),
    ]
    assert [row[0] for row in after(tmp_path, frames)] == ["withdrawn"]


def test_the_withdrawal_of_one_run_apart_from_another_is_for_a_person(tmp_path: Path) -> None:
    withdrawal = hl7(
        "ORU^R01",
        "OBR|1|O|F1|CBC|||20260110080000",
        "OBX|1|NM|731-0^L^LN|1|2.0|10*9/L|||||X",
        at="20260110120000",
    )
    frames = [cbc(4.0, 2.4, 250, at="20260110110000", runs="2"), withdrawal]
    assert [row[0] for row in after(tmp_path, frames)] == ["held"]


@pytest.mark.parametrize("partly", [False, True])
def test_a_correction_with_another_time_replaces_what_it_corrects(tmp_path: Path, partly: bool) -> None:
    wrong = cbc(4.0, 0.5, 250, at="20260110100000")
    right = cbc(4.0, 2.0, 250, at="20260110120000", status="C", taken="20260110073000")
    if partly:  # what has not changed is sent again as final
        right = right.replace(b"4.0|10*9/L|||||C", b"4.0|10*9/L|||||F")
    (row,) = after(tmp_path, [wrong, right])
    assert row == ("corrected", "2026-01-10T06:30:00.000000+00:00", 2.0, 125.0)


def test_a_date_without_time_is_corrected_by_one_with_time(tmp_path: Path) -> None:
    wrong = cbc(4.0, 0.5, 250, at="20260110100000", taken="20260110")
    right = cbc(4.0, 2.0, 250, at="20260110120000", status="C", taken="20260109073000")
    (row,) = after(tmp_path, [wrong, right])
    assert (row[0], row[2]) == ("corrected", 2.0)


def test_two_draws_of_one_order_are_two_counts(tmp_path: Path) -> None:
    frames = [
        cbc(4.0, 2.0, 250, at="20260110100000"),
        cbc(5.0, 2.0, 250, at="20260110140000", taken="20260110120000"),
        cbc(6.0, 2.0, 250, at="20260110160000", taken="20260110120000", status="C"),
    ]
    assert [(row[0], row[2]) for row in after(tmp_path, frames)] == [("final", 2.0), ("corrected", 3.0)]


def test_a_correction_of_one_of_two_draws_is_for_a_person(tmp_path: Path) -> None:
    frames = [
        cbc(4.0, 2.0, 250, at="20260110100000"),
        cbc(5.0, 2.0, 250, at="20260110140000", taken="20260110120000"),
        cbc(6.0, 2.0, 250, at="20260110160000", taken="20260110110000", status="C"),
    ]
    assert [row[0] for row in after(tmp_path, frames)] == ["held", "held", "held"]


def test_a_correction_under_another_order_of_the_same_day_is_for_a_person(tmp_path: Path) -> None:
    frames = [
        cbc(4.0, 0.5, 250, at="20260110100000"),
        cbc(4.0, 2.0, 250, at="20260110160000", taken="20260110110000", status="C", order="F2"),
    ]
    assert [row[0] for row in after(tmp_path, frames)] == ["held", "held"]


def test_a_correction_alone_is_used(tmp_path: Path) -> None:
    """Its original came before this node, or never: nothing wrong is in force."""
    frames = [
        cbc(4.0, 2.0, 250, at="20260110160000", status="C"),
        cbc(6.0, 2.0, 250, at="20260103160000", taken="20260103080000", order="F0"),
    ]
    assert [row[0] for row in after(tmp_path, frames)] == ["final", "corrected"]
