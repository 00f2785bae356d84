"""The interpretation step: frames become messages and extracts, once, whatever happens in between."""

import hashlib
import json
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from node.settings import Settings, Site
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.store.database import insert, open_database, writing
from node.store.reasons import loaded

SETTINGS = Settings(site=Site(time_zone="Europe/Vienna"))
KEY = "00" * 32


def hl7(kind: str, *segments: str, at: str = "20260302090000", processing: str = "P") -> bytes:
    return "\r".join([f"MSH|^~\\&|LAB|H|NODE|V|{at}||{kind}|1|{processing}|2.5", *segments, ""]).encode()


def cbc(number: str, neutrophils: float, *, status: str = "F", at: str = "20260302090000", extra: str = "") -> bytes:
    counts = {"NEUT#": neutrophils, "LYM#": 1.4, "PLT": 210}
    rows = [f"OBX|1|NM|{code}||{value}|10*9/L|||||{status}" for code, value in counts.items()]
    return hl7("ORU^R01", f"PID|1||{number}^^^H^MR||||19600229|F", f"OBR|1||F1{extra}|CBC|||202603020830", *rows, at=at)


FINAL = cbc("0042", 4.2)
CORRECTED = cbc("0042", 5.6, status="C", at="20260302110000")
LATE_ON_RETIRED = cbc("0007", 2.8, extra="9", at="20260302120000").replace(b"202603020830", b"202603050830")
MERGE = hl7("ADT^A40", "PID|1||0042^^^H^MR||||19600229|F", "MRG|0007^^^H^MR")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key=KEY)
    yield database
    database.close()


def receive(db: Database, *frames: bytes) -> None:
    with writing(db):
        insert(db, "fact_frame", [{"sha256": hashlib.sha256(raw).hexdigest(), "raw": raw} for raw in frames])


def messages(db: Database) -> list[tuple[str | None, str, str | None]]:
    rows = db.execute("SELECT type, status, reasons FROM derived_message ORDER BY frame_id, position").fetchall()
    return [(kind, status, "; ".join(map(str, loaded(reasons))) or None) for kind, status, reasons in rows]


def counts(db: Database) -> list[tuple[object, ...]]:
    return db.execute(
        "SELECT person, specimen, taken_at, status, basis, nlr, plr FROM derived_blood_count ORDER BY person, taken_at"
    ).fetchall()


def test_frames_become_messages_and_extracts_once(db: Database) -> None:
    receive(db, FINAL)
    assert interpret_frames(db, SETTINGS) == 1
    assert interpret_frames(db, SETTINGS) == 0
    assert messages(db) == [("ORU^R01", "used", None)]
    extracts = db.execute("SELECT kind, authority, patient_id, sent_at, content FROM derived_extract").fetchall()
    assert [row[:3] for row in extracts] == [("patient", "H", "0042"), ("specimen", "H", "0042")]
    assert extracts[0][3] == "2026-03-02T08:00:00.000000+00:00"
    assert json.loads(extracts[1][4])["taken_at"] == "2026-03-02T08:30:00+01:00"


@pytest.mark.parametrize(
    ("raw", "status", "word"),
    [
        (b"not HL7", "held", "no MSH"),
        (cbc("", 4.2), "held", "PID-3"),
        (hl7("ORU^R01", "PID|1||42^^^H^MR", processing="T"), "refused", "processing id T"),
        (hl7("ORU^R01", "PID|1||42^^^H^MR", processing=""), "held", "no processing id"),
        (hl7("DFT^P03", "PID|1||42^^^H^MR||||19600229|F"), "ignored", "DFT^P03"),
        (hl7("ADT^A40", "PID|1||42^^^H^MR"), "held", "MRG"),
        (hl7("SIU^S12", "SCH|1|2", "PID|1||42^^^H^MR"), "held", "no time"),
    ],
)
def test_every_frame_ends_as_a_message_with_its_reason(db: Database, raw: bytes, status: str, word: str) -> None:
    receive(db, raw)
    interpret_frames(db, SETTINGS)
    ((_, found, reason),) = messages(db)
    assert found == status and word in str(reason)
    assert db.execute("SELECT count(*) FROM derived_extract").fetchone() == (0,)
    listed = db.execute("SELECT count(*) FROM problems").fetchone()[0]
    assert listed == (0 if status == "ignored" else 1)


def test_problem_in_a_message_that_is_used_is_listed(db: Database) -> None:
    receive(db, hl7("SIU^S12", "SCH|1|2", "PID|1||42^^^H^MR||||19600229|F"))
    interpret_frames(db, SETTINGS)
    assert messages(db)[0][1] == "used"
    ((code, detail),) = db.execute("SELECT code, detail FROM problems").fetchall()
    assert code == "appointment" and "no time" in detail


def test_batch_with_a_malformed_message(db: Database) -> None:
    receive(db, FINAL + b"MSH|^~\r" + cbc("0043", 6.0))
    interpret_frames(db, SETTINGS)
    assert [status for _, status, _ in messages(db)] == ["used", "held", "used"]


@pytest.mark.parametrize("order", list(permutations([FINAL, CORRECTED, LATE_ON_RETIRED, MERGE])))
def test_any_order_of_arrival_gives_the_same_counts(db: Database, order: tuple[bytes, ...]) -> None:
    for raw in order:
        receive(db, raw)
        interpret_frames(db, SETTINGS)
        link_persons(db, SETTINGS)
    found = counts(db)
    assert [row[0] for row in found] == ["H|0042", "H|0042"]
    assert [(row[3], row[5]) for row in found] == [
        ("corrected", pytest.approx(4.0)),
        ("final", pytest.approx(2.0)),
    ]


def test_same_specimen_under_another_control_id_is_one_count(db: Database) -> None:
    receive(db, FINAL, FINAL.replace(b"ORU^R01|1|", b"ORU^R01|2|"))
    interpret_frames(db, SETTINGS)
    link_persons(db, SETTINGS)
    assert len(counts(db)) == 1


def test_same_control_id_for_another_patient_is_another_message(db: Database) -> None:
    receive(db, FINAL, cbc("0099", 4.2))
    interpret_frames(db, SETTINGS)
    link_persons(db, SETTINGS)
    assert [row[0] for row in counts(db)] == ["H|0042", "H|0099"]


def test_an_interrupted_frame_is_done_again_as_a_whole(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(db, FINAL)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("node.steps.interpret.touch", fail)
        interpret_frames(db, SETTINGS)
    assert db.execute("SELECT count(*) FROM derived_message").fetchone() == (0,)
    assert interpret_frames(db, SETTINGS) == 1
    assert db.execute("SELECT count(*) FROM derived_extract").fetchone() == (2,)


def test_a_message_nobody_foresaw_is_held_and_the_next_is_read(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from node.hl7 import interpret

    read_specimens = interpret.read_specimens

    def fail(lines: list[str], *more: Any) -> Any:
        if any("NEUT#||13" in line for line in lines):
            raise TypeError("a fault in this software")
        return read_specimens(lines, *more)

    monkeypatch.setattr(interpret, "read_specimens", fail)
    receive(db, cbc("0042", 13), cbc("0043", 4.2))
    assert interpret_frames(db, SETTINGS) == 2
    assert [(status, reason) for _, status, reason in messages(db)] == [
        (
            "held",
            "this version cannot read the message (TypeError); a newer one reads it again, "
            "and so does `vbq-node messages replay`",
        ),
        ("used", None),
    ]


def test_large_frames_are_stored_a_few_at_a_time(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.steps.interpret.BATCH_BYTES", 1)
    receive(db, *(cbc(f"{number:04}", 4.2) for number in range(5)))
    commits: list[int] = []

    def counted(database: Database) -> Any:
        commits.append(database.execute("SELECT count(*) FROM derived_message").fetchone()[0])
        return writing(database)

    monkeypatch.setattr("node.steps.interpret.writing", counted)
    assert interpret_frames(db, SETTINGS) == 5
    assert commits == [0, 1, 2, 3, 4]


def test_news_about_a_person_leaves_the_person_pending(db: Database) -> None:
    receive(db, FINAL, MERGE)
    interpret_frames(db, SETTINGS)
    link_persons(db, SETTINGS)
    assert db.execute("SELECT person FROM derived_person").fetchall() == [("H|0042",)]
    receive(db, LATE_ON_RETIRED)
    interpret_frames(db, SETTINGS)
    assert db.execute("SELECT person FROM derived_person").fetchall() == []
