"""Counts against the sender's past: held with a reason, one problem for many, the same in whatever order they came."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from sqlite_utils import Database

from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.steps.senders import judge_senders, read_norm
from node.store.database import insert, open_database, writing
from tests.node.test_hl7_operations import KEY, SETTINGS, hl7

SENDER = "HIS|H"


def cbc(patient: int, *, lymphocytes: float, platelets: float = 240, percent: str = "", day: int = 10) -> bytes:
    rows = [
        "OBX|1|NM|751-8^N^LN||4.2|10*9/L|||||F",
        f"OBX|2|NM|731-0^L^LN||{lymphocytes:.2f}|10*9/L|||||F",
        f"OBX|3|NM|777-3^P^LN||{platelets:.0f}|10*9/L|||||F",
    ]
    if percent:
        rows += ["OBX|4|NM|6690-2^W^LN||7.0|10*9/L|||||F", f"OBX|5|NM|736-9^L^LN||{percent}|%|||||F"]
    at = f"202604{day:02}100000"
    return hl7("ORU^R01", f"OBR|1||L{patient}-{day}|CBC|||{at}", *rows, at=at, number=f"4{patient:04}7")


def usual(number: int, *, factor: float = 1.0, first: int = 0) -> list[bytes]:
    random = Random(11)
    return [
        cbc(
            first + n,
            lymphocytes=factor * random.lognormvariate(0.59, 0.25),
            platelets=random.lognormvariate(5.48, 0.2),
        )
        for n in range(number)
    ]


def settle(db: Database, frames: Sequence[bytes] = (), *, at_once: bool = True) -> None:
    with writing(db):
        insert(db, "fact_frame", [{"sha256": sha256(raw).hexdigest(), "raw": raw} for raw in frames])
    while interpret_frames(db, SETTINGS) + link_persons(db, SETTINGS) + judge_senders(db):
        pass


def world(folder: Path, frames: Sequence[bytes]) -> Database:
    db = open_database(folder, create=True, pseudonym_key=KEY)
    settle(db, frames)
    return db


def held(db: Database) -> list[tuple[str, list[str]]]:
    rows = db.execute("SELECT patient, reason_codes FROM blood_counts WHERE status = 'held' ORDER BY 1").fetchall()
    return [(patient, json.loads(codes)) for patient, codes in rows]


def problems(db: Database) -> list[tuple[str, str, str]]:
    return db.execute("SELECT source, code, detail FROM problems ORDER BY 1, 2").fetchall()


def test_a_slip_is_held_from_the_first_patient_on_and_a_confirmed_count_is_not(tmp_path: Path) -> None:
    db = world(tmp_path, [cbc(1, lymphocytes=0.18), cbc(2, lymphocytes=0.2, percent="2.9"), cbc(3, lymphocytes=1.8)])
    ((_, codes),) = held(db)
    assert "count-unlike-sender" in codes
    ((source, code, detail),) = problems(db)
    assert source.startswith("patient ")
    assert code == "held-blood-count"
    assert "lymphocytes 0.18: far below" in detail


def test_a_sender_that_slips_is_one_problem_with_the_patients_it_touches(tmp_path: Path) -> None:
    db = world(tmp_path, [*usual(60), *usual(19, factor=0.1, first=500)])
    assert len(held(db)) == 19
    ((source, code, detail),) = problems(db)
    assert (source, code) == (f"sender {SENDER}", "sender-counts-off")
    assert "19 of 79 patients" in detail
    assert "lymphocytes below" in detail
    assert all(patient in detail for patient, _ in held(db))


def test_a_laboratory_that_corrects_ends_it(tmp_path: Path) -> None:
    slipped = usual(5, factor=0.1, first=500)
    db = world(tmp_path, [*usual(40), *slipped])
    assert len(held(db)) == 5
    right = [
        raw.replace(b"|F\r", b"|C\r").replace(b"20260410100000||ORU", b"20260411100000||ORU")
        for raw in usual(5, first=500)
    ]
    settle(db, right)
    assert held(db) == []
    assert problems(db) == []


def test_all_counts_of_a_sender_that_is_off_are_held(tmp_path: Path) -> None:
    db = world(tmp_path, usual(40, factor=0.1))
    assert len(held(db)) == 40
    assert [code for _, code, _ in problems(db)] == ["sender-counts-off"]


def test_what_another_count_of_the_patient_says_again_is_used_while_the_sender_measures_others_as_usual(
    tmp_path: Path,
) -> None:
    """Thrombocytopenia of 18 × 10⁹/L, twice; alone, or among others whose platelets are a tenth, it is held."""
    ill = [cbc(900, lymphocytes=1.8, platelets=platelets, day=day) for platelets, day in ((18, 8), (19, 12))]
    assert len(held(world(tmp_path / "alone", ill))) == 2
    db = world(tmp_path / "usual", [*ill[:1], *usual(40)])
    assert len(held(db)) == 1
    settle(db, ill[1:])
    assert held(db) == []
    odd = [cbc(n, lymphocytes=1.8, platelets=20) for n in range(700, 712)]
    settle(db, odd)
    assert len(held(db)) == 14
    again = world(tmp_path / "rebuilt", [*odd, *ill, *usual(40)])
    assert rows(again) == rows(db)


def test_more_lymphocytes_than_neutrophils_wait_for_the_senders_next_count(tmp_path: Path) -> None:
    """4.2 to 5.4: 0.78, which 1 % of people have, or the first count of a sender whose rows are exchanged."""
    first = cbc(900, lymphocytes=5.4, day=11)
    db = world(tmp_path / "now", [*usual(40), first])

    def state(db: Database) -> list[tuple[str, str]]:
        return db.execute("SELECT status, reason_codes FROM blood_counts WHERE status <> 'final'").fetchall()

    assert state(db) == [("preliminary", '["count-awaits-next"]')]
    assert problems(db) == []
    next_one = cbc(901, lymphocytes=1.8, day=12)
    settle(db, [next_one])
    assert state(db) == []
    assert rows(world(tmp_path / "again", [next_one, first, *usual(40)])) == rows(db)
    ahead = cbc(902, lymphocytes=1.8, day=11).replace(b"|||20260411100000\r", b"|||20991231\r")
    assert state(world(tmp_path / "ahead", [*usual(40), first, ahead])) == [("preliminary", '["count-awaits-next"]')], (
        "what is said to be of 2099 is no later count"
    )
    exchanged = [cbc(n, lymphocytes=8.0, day=11) for n in range(901, 905)]
    told = world(tmp_path / "exchanged", [*usual(40), first, *exchanged])
    assert [(status, json.loads(codes)) for status, codes in state(told)] == [("held", ["sender-exchanged"])] * 5


def rows(db: Database) -> list[tuple[object, ...]]:
    return db.execute("SELECT patient, specimen, status, notes, nlr, plr FROM blood_counts ORDER BY 1, 2").fetchall()


@pytest.mark.parametrize("seed", [1, 2])
def test_neither_the_order_nor_the_portions_matter(tmp_path: Path, seed: int) -> None:
    frames = [*usual(45), *usual(8, factor=0.2, first=500), *usual(4, factor=6, first=700)]
    at_once = world(tmp_path / "a", frames)
    mixed = Random(seed).sample(frames, len(frames))
    portions = open_database(tmp_path / "b", create=True, pseudonym_key=KEY)
    for start in range(0, len(mixed), 7):
        settle(portions, mixed[start : start + 7])
    assert rows(at_once) == rows(portions)
    assert read_norm(at_once, SENDER) == read_norm(portions, SENDER)
    assert held(at_once)


def test_a_norm_that_changes_frees_what_it_no_longer_doubts(tmp_path: Path) -> None:
    """A cancer centre: few lymphocytes are usual there, which only its own patients tell."""
    db = world(tmp_path, [cbc(900, lymphocytes=0.33)])
    assert len(held(db)) == 1
    settle(db, usual(60, factor=0.6))
    assert held(db) == []


def test_nothing_is_left_pending_and_nothing_new_changes_nothing(tmp_path: Path) -> None:
    db = world(tmp_path, usual(10))
    assert db.execute("SELECT count(*) FROM derived_sender WHERE stale = 1").fetchone() == (0,)
    assert link_persons(db, SETTINGS) + judge_senders(db) == 0
