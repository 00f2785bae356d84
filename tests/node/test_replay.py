"""Messages shown and read anew after a rule has changed: as if the rule had always been there."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.errors import InputError
from node.operate.messages import show_message
from node.operate.rebuild import rebuild
from node.settings import Hl7, Sender, Settings, Site, Storage
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.steps.replay import replay
from node.store.archive import Archive
from node.store.database import insert, open_database, writing


def hl7(kind: str, *segments: str) -> bytes:
    return "\r".join([f"MSH|^~\\&|LAB|H|NODE|V|20260302090000||{kind}|1|P|2.5", *segments, ""]).encode()


ROWS = [f"OBX|1|NM|{code}||{value}|10*9/L|||||F" for code, value in {"NEUT#": "4,2", "LYM#": "1,4", "PLT": 210}.items()]
COMMAS = hl7("ORU^R01", "PID|1||0042||||19600229|F", "OBR|1||F1|CBC|||202603020830", *ROWS, "NTE|1||für")
UNDATED = hl7("SIU^S15", "SCH|P1|F1", "PID|1||0042||||19600229|F", "AIS|1|D|22633^Fusion^CPT")
MERGE = hl7("ADT^A40", "PID|1||0042||||19600229|F", "MRG|7")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key="00" * 32)
    with writing(database):
        frames = (COMMAS, UNDATED, MERGE)
        insert(database, "fact_frame", [{"sha256": hashlib.sha256(raw).hexdigest(), "raw": raw} for raw in frames])
    interpret_frames(database, settings(tmp_path))
    link_persons(database, settings(tmp_path))
    yield database
    database.close()


def settings(folder: Path, **rules: object) -> Settings:
    hl7_settings = Hl7(senders={"LAB|H": Sender(**rules)} if rules else {})
    return Settings(site=Site(time_zone="Europe/Vienna"), storage=Storage(folder=folder), hl7=hl7_settings)


def derived(db: Database) -> dict[str, list[dict[str, object]]]:
    names = [name for name in db.table_names() if name.startswith("derived_")]
    return {name: sorted(db.query(f"SELECT * FROM {name}"), key=repr) for name in names}


def message_id(raw: bytes) -> str:
    return f"{hashlib.sha256(raw).hexdigest()[:12]}.1"


def test_a_new_rule_reaches_what_was_held(db: Database, tmp_path: Path) -> None:
    assert [row["status"] for row in db.query("SELECT status FROM blood_counts")] == ["held"]
    assert replay(db, settings(tmp_path, decimal_comma=True), [message_id(COMMAS)]) == 1
    (count,) = db.query("SELECT status, nlr FROM blood_counts")
    assert (count["status"], count["nlr"]) == ("final", pytest.approx(3.0))


@pytest.mark.parametrize("rules", [{"decimal_comma": True}, {"authority": "LAB"}, {"charset": "ascii"}])
def test_all_read_anew_is_all_built_anew(db: Database, tmp_path: Path, rules: dict[str, object]) -> None:
    before = derived(db)
    changed = settings(tmp_path, **rules)
    assert replay(db, changed, []) == 3
    replayed = derived(db)
    assert replayed != before
    rebuild(db, Archive(tmp_path), changed)
    assert derived(db) == replayed
    replay(db, settings(tmp_path), [])
    assert derived(db) == before, "and back"


def test_a_message_is_shown_as_it_was_received_and_is_read(db: Database, tmp_path: Path) -> None:
    shown = show_message(db, settings(tmp_path, decimal_comma=True), message_id(COMMAS))
    assert shown["text"][1].startswith("PID|1||0042")
    assert [row["status"] for row in shown["messages"]] == ["used"]
    (today,) = shown["read_today"]
    assert today["cbcs"][0]["nlr"] == pytest.approx(3.0), "what the rules of today would make of it"


def test_an_unknown_message_is_said(db: Database, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no message 000000000000\.1 is known"):
        replay(db, settings(tmp_path), ["000000000000.1"])
