"""Numbers that differ in leading zeros only: a person decides, and may be mistaken."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.errors import InputError
from node.operate.rebuild import rebuild
from node.people.identity import candidates, decide
from node.settings import Settings, Site, Storage
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.store.archive import Archive
from node.store.database import insert, open_database, writing

AT = datetime(2026, 3, 5, 12, tzinfo=UTC)
PAIR = ("H", "0042", "42")


def settings_of(folder: Path) -> Settings:
    return Settings(site=Site(time_zone="Europe/Vienna"), storage=Storage(folder=folder))


def receive(db: Database, kind: str, *segments: str, at: str = "20260302090000") -> None:
    raw = "\r".join([f"MSH|^~\\&|LAB|H|NODE|V|{at}||{kind}|1|P|2.5", *segments, ""]).encode()
    with writing(db):
        insert(db, "fact_frame", [{"sha256": hashlib.sha256(raw).hexdigest(), "raw": raw}])
    interpret_frames(db, Settings(site=Site(time_zone="Europe/Vienna")))


def blood_count(db: Database, number: str, born: str = "19600229", sex: str = "F") -> None:
    counts = {"NEUT#": 4.2, "LYM#": 1.4, "PLT": 210}
    rows = [f"OBX|1|NM|{code}||{value}|10*9/L|||||F" for code, value in counts.items()]
    pid = f"PID|1||{number}^^^H^MR||||{born}|{sex}"
    receive(db, "ORU^R01", pid, "OBR|1||F1|CBC|||202603020830", *rows)


def operation(db: Database, number: str) -> None:
    pid = f"PID|1||{number}^^^H^MR||||19600229|F"
    service = "AIS|1|A|22633^Fusion^CPT|20260310080000"
    receive(db, "SIU^S12", "SCH|P1|F1", pid, service)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key="00" * 32)
    yield database
    database.close()


def linked(db: Database, folder: Path) -> list[tuple[str, str, str | None]]:
    link_persons(db, settings_of(folder))
    return db.execute("SELECT person, status, specimen FROM derived_link ORDER BY person").fetchall()


def test_a_confirmed_candidate_is_one_patient_until_it_is_rejected(db: Database, tmp_path: Path) -> None:
    blood_count(db, "42")
    operation(db, "0042")
    assert linked(db, tmp_path) == [("H|0042", "incomplete", None)]
    (problem,) = db.query("SELECT detail FROM problems WHERE code = 'candidate'")
    assert "vbq-node identity confirm" in problem["detail"]
    assert [one["state"] for one in candidates(db)] == ["open"]

    decide(db, numbers=("H", "42", "0042"), confirmed=True, by="A", now=AT)
    ((person, _, specimen),) = linked(db, tmp_path)
    assert (person, specimen is not None) == ("H|0042", True)
    assert list(db.query("SELECT * FROM problems WHERE code = 'candidate'")) == []

    decide(db, numbers=PAIR, confirmed=False, by="B", now=AT)
    assert linked(db, tmp_path) == [("H|0042", "incomplete", None)]
    assert list(db.query("SELECT * FROM problems WHERE code = 'candidate'")) == [], "decided, so not open"
    assert [(one["state"], one["decided_by"]) for one in candidates(db)] == [("rejected", "B")]


def test_a_decision_survives_a_rebuild_and_is_never_changed(db: Database, tmp_path: Path) -> None:
    blood_count(db, "42")
    operation(db, "0042")
    link_persons(db, settings_of(tmp_path))
    decide(db, numbers=PAIR, confirmed=True, by="A", now=AT)
    before = linked(db, tmp_path)
    rebuild(db, Archive(tmp_path), settings_of(tmp_path))
    assert linked(db, tmp_path) == before
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        db.execute("UPDATE fact_identity_decision SET decision = 'rejected'")


@pytest.mark.parametrize(
    ("born", "sex", "what"), [("19610229", "F", None), ("19610228", "F", "birth date"), ("19600229", "M", "sex")]
)
def test_who_contradicts_in_birth_date_or_sex_is_held_whatever_is_confirmed(
    db: Database, tmp_path: Path, born: str, sex: str, what: str | None
) -> None:
    blood_count(db, "42", born, sex)
    operation(db, "0042")
    link_persons(db, settings_of(tmp_path))
    decide(db, numbers=PAIR, confirmed=True, by="A", now=AT)
    ((_, status, _),) = linked(db, tmp_path)
    # 1961-02-29 is no date: nothing is known that contradicts.
    assert status == ("held" if what else "incomplete")
    details = [row["detail"] for row in db.query("SELECT detail FROM problems WHERE code = 'held'")]
    assert all(detail.startswith(what or "") for detail in details) and bool(details) == bool(what)


def test_a_later_message_overrules_a_decision(db: Database, tmp_path: Path) -> None:
    blood_count(db, "42")
    operation(db, "0042")
    link_persons(db, settings_of(tmp_path))
    decide(db, numbers=PAIR, confirmed=False, by="A", now=AT)
    receive(db, "ADT^A40", "PID|1||0042^^^H^MR", "MRG|42^^^H^MR", at="20260306090000")
    ((person, _, specimen),) = linked(db, tmp_path)
    assert (person, specimen is not None) == ("H|0042", True)


@pytest.mark.parametrize("numbers", [("H", "42", "43"), ("X", "0042", "42"), ("H", "42", "42")])
def test_only_candidates_can_be_decided(db: Database, tmp_path: Path, numbers: tuple[str, str, str]) -> None:
    blood_count(db, "42")
    operation(db, "0042")
    link_persons(db, settings_of(tmp_path))
    with pytest.raises(InputError, match="no candidate"):
        decide(db, numbers=numbers, confirmed=True, by="A", now=AT)
    with pytest.raises(InputError, match="who decides"):
        decide(db, numbers=PAIR, confirmed=True, by=" ", now=AT)
    assert db.execute("SELECT count(*) FROM fact_identity_decision").fetchone() == (0,)
