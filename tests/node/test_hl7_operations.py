"""Operations from appointments, orders and admissions, and any order of arrival of everything that messages tell."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from node.hl7.interpret import interpret_frame
from node.settings import Settings, Site
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.store.database import insert, open_database, writing

SETTINGS = Settings(site=Site(time_zone="Europe/Vienna"))
KEY = "00" * 32
PID = "PID|1||{}^^^H^MR||Doe^Jane||19600229|F"
FUSION = "22612^Lumbar spinal fusion^C4"


def hl7(kind: str, *segments: str, at: str, number: str = "0042") -> bytes:
    return "\r".join([f"MSH|^~\\&|HIS|H|NODE|V|{at}||{kind}|{at}|P|2.5", PID.format(number), *segments, ""]).encode()


def siu(event: str, day: str, *, at: str, order: str = "", procedure: str = FUSION, number: str = "0042") -> bytes:
    sch = f"SCH|A1|B1|||||{procedure}||||^^^{day}090000" + "|" * 15 + f"{order}|"
    pid = PID.format(number)
    return "\r".join([f"MSH|^~\\&|HIS|H|NODE|V|{at}||SIU^{event}|{at}|P|2.5", sch, pid, ""]).encode()


def order(
    control: str, day: str, *, at: str, kind: str = "ORM^O01", numbers: str = "P7|F7", procedure: str = FUSION
) -> bytes:
    obr = f"OBR|1|{numbers}|{procedure}" + "|" * 32 + day if procedure else ""
    return hl7(kind, f"ORC|{control}|{numbers}", *([obr] if obr else []), at=at)


def adt(event: str, *segments: str, at: str, visit: str = "V1", number: str = "0042") -> bytes:
    return hl7(f"ADT^{event}", "PV1|1|I" + "|" * 17 + visit, *segments, at=at, number=number)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key=KEY)
    yield database
    database.close()


def receive(db: Database, frames: Iterable[bytes]) -> None:
    for raw in frames:
        with writing(db):
            row = {"sha256": hashlib.sha256(raw).hexdigest(), "raw": raw}
            if not db.execute("SELECT 1 FROM fact_frame WHERE sha256 = :sha256", row).fetchone():
                insert(db, "fact_frame", [row])
        interpret_frames(db, SETTINGS)
        link_persons(db, SETTINGS)


def operations(db: Database) -> list[tuple[str, str, int]]:
    """Booking, local day and whether it was cancelled."""
    rows = db.execute("SELECT booking, planned_at, cancelled FROM operations ORDER BY booking").fetchall()
    return [(booking, planned_at[:10], cancelled) for booking, planned_at, cancelled in rows]


BOOKED = siu("S12", "20260420", at="20260301080000", order="P7")
MOVED = siu("S13", "20260427", at="20260302080000", order="P7")


@pytest.mark.parametrize("event", ["S15", "S17", "S26"])
def test_appointments_are_booked_moved_and_cancelled(db: Database, event: str) -> None:
    receive(db, [BOOKED, MOVED])
    assert operations(db) == [("A1/B1", "2026-04-27", 0)]
    receive(db, [siu(event, "20260427", at="20260303080000", order="P7")])
    assert operations(db) == [("A1/B1", "2026-04-27", 1)]


@pytest.mark.parametrize("kind", ["ORM^O01", "OMG^O19", "OMI^O23"])
def test_an_order_without_an_appointment_is_an_operation(db: Database, kind: str) -> None:
    receive(db, [order("NW", "202604200800", at="20260301", kind=kind)])
    assert operations(db) == [("order:P7/F7", "2026-04-20", 0)]
    receive(db, [order("XO", "202604210800", at="20260302", kind=kind)])
    assert operations(db) == [("order:P7/F7", "2026-04-21", 0)]
    receive(db, [order("CA", "", at="20260303", kind=kind, procedure="")])
    assert operations(db) == [("order:P7/F7", "2026-04-21", 1)]


def test_an_order_is_joined_to_its_appointment(db: Database) -> None:
    """The appointment says when, the order what; the order cancelled is the operation cancelled."""
    room = "OR3^Operating room 3"
    booked = siu("S12", "20260422", at="20260302080000", order="P7", procedure=room)
    receive(db, [order("NW", "202604200800", at="20260301"), booked])
    assert operations(db) == [("A1/B1", "2026-04-22", 0)]
    (text,) = db.execute("SELECT procedure FROM operations").fetchone()
    assert "fusion" in text
    receive(db, [order("CA", "", at="20260303", procedure="")])
    assert operations(db) == [("A1/B1", "2026-04-22", 1)]


def test_an_order_that_stands_does_not_bring_back_a_cancelled_appointment(db: Database) -> None:
    cancelled = siu("S15", "20260420", at="20260302080000", order="P7")
    receive(db, [BOOKED, cancelled, order("SC", "202604200800", at="20260303")])
    assert operations(db) == [("A1/B1", "2026-04-20", 1)]


def test_orders_of_other_things_are_no_operations(db: Database) -> None:
    receive(db, [order("NW", "202604200800", at="20260301", procedure="72148^MRI lumbar spine^C4")])
    assert operations(db) == []


PR1 = "PR1|1||22612^Lumbar spinal fusion^C4||{}"


def test_an_admission_tells_of_an_operation_until_it_is_cancelled(db: Database) -> None:
    receive(db, [adt("A05", PR1.format("20260420"), at="20260401080000")])
    assert operations(db) == [("visit:V1/22612", "2026-04-19", 0)]  # midnight in Vienna, in UTC
    receive(db, [adt("A08", PR1.format("20260422"), at="20260402080000")])
    assert operations(db) == [("visit:V1/22612", "2026-04-21", 0)]
    # Told of once more when it is over: it stays the operation that was planned.
    receive(db, [adt("A03", PR1.format("20260422"), at="20260430080000")])
    assert operations(db) == [("visit:V1/22612", "2026-04-21", 0)]
    receive(db, [adt("A11", PR1.format("20260422"), at="20260501080000")])
    assert operations(db) == [("visit:V1/22612", "2026-04-21", 1)]


@pytest.mark.parametrize(("opened", "event"), [("A05", "A38"), ("A14", "A27"), ("A01", "A11")])
def test_nothing_of_a_visit_that_is_cancelled_will_be(db: Database, opened: str, event: str) -> None:
    receive(db, [adt(opened, PR1.format("20260420"), at="20260401080000"), adt(event, at="20260402080000")])
    assert [cancelled for _, _, cancelled in operations(db)] == [1]
    receive(db, [adt("A04", at="20260403080000", visit="V2")])
    assert [cancelled for _, _, cancelled in operations(db)] == [1]
    receive(db, [adt(opened, PR1.format("20260420"), at="20260404080000")])
    assert [cancelled for _, _, cancelled in operations(db)] == [0]


def test_an_admission_is_no_second_operation_beside_the_appointment(db: Database) -> None:
    receive(db, [adt("A01", PR1.format("20260420"), at="20260401080000"), MOVED])
    assert operations(db) == [("A1/B1", "2026-04-27", 0)]


def test_an_operation_that_was_done_before_excludes(db: Database) -> None:
    receive(db, [adt("A01", PR1.format("20190310"), at="20260401080000"), BOOKED])
    assert operations(db) == [("A1/B1", "2026-04-20", 0)]
    (reasons,) = db.execute("SELECT exclusion_reasons FROM links").fetchone()
    assert "2019-03-10" in reasons


DG1 = "DG1|1||M48.06^Lumbar stenosis^I10||20260110"


@pytest.mark.parametrize(
    ("event", "diagnosis"), [("A11", None), ("A38", None), ("A13", "LSS"), ("A08", "LSS"), ("A31", "LSS")]
)
def test_diagnoses_of_a_visit_that_was_cancelled_do_not_hold(db: Database, event: str, diagnosis: str | None) -> None:
    receive(db, [BOOKED, adt("A01", DG1, at="20260301090000"), adt(event, at="20260301100000")])
    assert db.execute("SELECT diagnosis FROM cohort").fetchone() == (diagnosis,)
    receive(db, [adt("A04", DG1, at="20260301120000", visit="V2")])
    assert db.execute("SELECT diagnosis FROM cohort").fetchone() == ("LSS",)


@pytest.mark.parametrize("event", ["A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A28", "A31"])
def test_admissions_tell_of_the_patient(event: str) -> None:
    (one,) = interpret_frame(adt(event, DG1, at="20260301090000"), SETTINGS)
    assert one.status == "used"
    (item,) = one.items
    assert item.patient == ("H", "0042")


# ---- any order of arrival -----------------------------------------------------------------------------------------
def cbc(neutrophils: float, *, at: str, status: str = "F", number: str = "0042", filler: str = "L1") -> bytes:
    counts = {"NEUT#": neutrophils, "LYM#": 1.4, "PLT": 210}
    rows = [f"OBX|1|NM|{code}||{value}|10*9/L|||||{status}" for code, value in counts.items()]
    return hl7("ORU^R01", f"OBR|1||{filler}|CBC|||20260410", *rows, at=at, number=number)


STORY = [
    cbc(4.0, at="20260410090000", status="P"),
    cbc(4.2, at="20260410100000"),
    cbc(5.6, at="20260411100000", status="C"),
    cbc(3.0, at="20260410110000", number="0007", filler="L2"),
    hl7("ADT^A40", "MRG|0007^^^H^MR", at="20260405080000"),
    hl7("ADT^A40", "MRG|0099^^^H^MR", at="20260406080000"),
    hl7("ADT^A37", "PID|2||0099^^^H^MR", at="20260407080000"),
    cbc(7.0, at="20260410120000", number="0099", filler="L3"),
    siu("S12", "20260420", at="20260301080000", order="P7", procedure="OR3^Room", number="0007"),
    siu("S13", "20260424", at="20260302080000", order="P7", procedure="OR3^Room"),
    siu("S15", "20260424", at="20260303080000", order="P7", procedure="OR3^Room"),
    siu("S13", "20260428", at="20260304080000", order="P7", procedure="OR3^Room"),
    order("NW", "202604200800", at="20260228", numbers="P7|"),
    order("SC", "202604200800", at="20260305", numbers="P7|F7"),
    adt("A01", DG1, PR1.format("20260426"), at="20260406090000"),
    adt("A11", at="20260406100000"),
    adt("A04", DG1.replace("M48.06", "M51.1"), at="20260407090000", visit="V2"),
]
VIEWS = ("operations", "blood_counts", "links", "cohort", "problems")


def content(db: Database) -> dict[str, list[Any]]:
    return {view: sorted(db.execute(f"SELECT * FROM {view}").fetchall(), key=repr) for view in VIEWS}


def told(folder: Path, frames: Sequence[bytes], rounds: Sequence[bool]) -> dict[str, list[Any]]:
    """The views after these frames came in this order, the steps running where ``rounds`` says so, and at the end."""
    db = open_database(folder, create=True, pseudonym_key=KEY)
    try:
        for raw, run in zip(frames, rounds, strict=True):
            with writing(db):
                db.execute(
                    "INSERT OR IGNORE INTO fact_frame (sha256, raw) VALUES (?, ?)",
                    [hashlib.sha256(raw).hexdigest(), raw],
                )
            if run:
                interpret_frames(db, SETTINGS)
                link_persons(db, SETTINGS)
        interpret_frames(db, SETTINGS)
        link_persons(db, SETTINGS)
        return content(db)
    finally:
        db.close()


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return told(tmp_path_factory.mktemp("in_order"), STORY, [False] * len(STORY))


def test_the_story_as_it_was_meant(in_order: dict[str, list[Any]]) -> None:
    (operation,) = in_order["operations"]
    assert operation[3:6] == ("A1/B1", "2026-04-28T07:00:00.000000+00:00", 0)
    ratios = sorted(round(row[10], 3) for row in in_order["blood_counts"])
    assert ratios == [round(3.0 / 1.4, 3), round(5.6 / 1.4, 3), round(7.0 / 1.4, 3)]
    (row,) = in_order["cohort"]
    assert row[8] == "LDH"


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_repetition_and_interleaving_gives_the_same(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, in_order: dict[str, list[Any]]
) -> None:
    frames = data.draw(st.permutations(STORY + data.draw(st.lists(st.sampled_from(STORY), max_size=6))))
    rounds = data.draw(st.lists(st.booleans(), min_size=len(frames), max_size=len(frames)))
    assert told(tmp_path_factory.mktemp("any"), frames, rounds) == in_order
