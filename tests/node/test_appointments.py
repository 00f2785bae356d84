"""Bookings in the shapes in which systems send them: services, states, notes; and what people see of unknown ones."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from node.hl7.report import interpretation_json
from node.settings import Hl7, Settings, Site
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.steps.replay import replay
from node.store.database import open_database
from tests.node.test_hl7_operations import KEY, adt, receive

SETTINGS = Settings(site=Site(time_zone="Europe/Vienna"))


def booking(
    *segments: str,
    kind: str = "SIU^S12",
    status: str = "",
    reason: str = "",
    called: str = "",
    at: str = "20260101120000",
) -> bytes:
    head = [
        f"MSH|^~\\&|OR|H|||{at}||{kind}|{at}|P|2.5",
        f"SCH|9|9|||||{reason}|{called}|60|MIN|^^60^20260201073000" + "|" * 14 + status,
    ]
    body = ["PID|1||P1^^^H^MR||SYN^T||19600101|F", "PV1|1|I", "RGS|1"]
    return "\r".join([*head, *body, *segments, ""]).encode()


def told(raw: bytes, settings: Settings = SETTINGS) -> dict[str, Any]:
    (shown,) = interpretation_json(raw, settings)
    (event,) = [one for one in shown["events"] if one["kind"] == "appointment"]
    return {**event, "problems": shown["problems"]}


LUMBAR = "AIS|1|A|63030^LAMINOTOMY LUMBAR^CPT|20260201073000"
ROOM = "AIS|1|A|OR123^MAIN OR CASE^L|20260201073000"


@pytest.mark.parametrize(
    "status",
    [
        "Cancelled",
        "CANCELED",
        "Dc",
        "Deleted",
        "Noshow",
        "No show",
        "Storniert",
        "已取消",
        "Annulé",
        "^Cancelled",
        "Afgezegd",
        "Anulowano",
        "Anulată",
        "Törölve",
        "Preklicano",
        "Откажана",
        "E anuluar",
        "Ləğv edildi",
        "Bekor qilindi",
        "Anul·lat",
        "გაუქმებულია",
        "تم الإلغاء",
        "ملغى",
        "בוטל",
        "لغو شده",
        "रद्द",
        "Ακυρώθηκε",
        "Dibatalkan",
        "ยกเลิก",
        "Desmarcada",
        "Disdetto",
        "Entfällt",
        "Not performed",
        "Aborted",
        "Void",
        "Suspendida",
        "已撤销",
        "Supprimé",
        "Otkazano",
        "Peruttu",
        "Peruutettu",
        "Strøket",
        "Bumped",
        "Left without being seen",
        "Patient refused",
        "キャンセル済",
        "Аннулировано",
        "Inställd",
        "Ausgefallen",
        "Ματαιώθηκε",
        "已停手术",
        "Patient deceased",
    ],
)
def test_a_state_of_the_booking_cancels_it(status: str) -> None:
    assert told(booking(LUMBAR, kind="SIU^S14", status=status))["event"] == "cancelled"


@pytest.mark.parametrize(
    "status",
    [
        "",
        "Booked",
        "Pending",
        "Started",
        "Complete",
        "Overbook",
        "Confirmed",
        "Verschoben",
        "Reprogramado",
        "改期",
        "Peru",
        "Not cancelled",
        "Waitlist",
        "Avoid Mondays",
    ],
)
def test_other_states_leave_it(status: str) -> None:
    assert told(booking(LUMBAR, kind="SIU^S14", status=status))["event"] == "modified"


@pytest.mark.parametrize(
    ("services", "reason", "event"),
    [
        (["X^CANCELLED - L4/5 fusion^L|20260201"], "", "cancelled"),
        (["X^Spondylodese L4/5 (abgesagt)^L|20260201"], "", "cancelled"),
        (["63030^LAMINOTOMY LUMBAR^CPT|20260201"], "*** CANCELED *** L4-5", "cancelled"),
        (["63030^LAMINOTOMY LUMBAR^CPT|20260201"], "not cancelled", "modified"),
        (["63030^LAMINOTOMY LUMBAR^CPT|20260201"], "takes the slot of a cancelled case, L4/5", "modified"),
        (["X^取消 腰椎融合术^L|20260201"], "", "cancelled"),
        (["X^CANCELLED injection^L|20260201", "63030^LAMINOTOMY LUMBAR^CPT|20260201"], "", "modified"),
    ],
)
def test_what_the_text_calls_off_is_cancelled(services: list[str], reason: str, event: str) -> None:
    raw = booking(*(f"AIS|{n}|U|{one}" for n, one in enumerate(services, 1)), kind="SIU^S14", reason=reason)
    assert told(raw)["event"] == event


@pytest.mark.parametrize("trigger", ["S15", "S16", "S17", "S26"])
def test_events_that_end_the_booking(trigger: str) -> None:
    assert told(booking(LUMBAR, kind=f"SIU^{trigger}"))["event"] == "cancelled"


@pytest.mark.parametrize(
    ("kind", "segments", "event", "operation"),
    [
        (
            "SIU^S14",
            ["AIS|1|U|20610^INJECTION^CPT|20260201", "AIS|2|D|63030^LAMINOTOMY LUMBAR^CPT"],
            "cancelled",
            False,
        ),
        ("SIU^S14", ["AIS|1|D|63030^LAMINOTOMY LUMBAR^CPT|20260201073000"], "cancelled", False),
        ("SIU^S14", ["AIS|1|D|20610^INJECTION^CPT", "AIS|2|U|63030^LAMINOTOMY LUMBAR^CPT|20260201"], "modified", True),
        ("SIU^S14", ["AIS|1|U|63030^LAMINOTOMY LUMBAR^CPT|20260201||||||Cancelled"], "cancelled", False),
        ("SIU^S22", ["AIS|1||63030^LAMINOTOMY LUMBAR^CPT|20260201"], "cancelled", False),
        ("SIU^S20", ["AIS|1||20610^INJECTION^CPT|20260201"], "modified", False),
        ("SIU^S18", ["AIS|1|A|63030^LAMINOTOMY LUMBAR^CPT|20260201"], "modified", True),
    ],
)
def test_services_that_are_taken_back(kind: str, segments: list[str], event: str, operation: bool) -> None:
    found = told(booking(*segments, kind=kind))
    assert (found["event"], found["operation"]) == (event, operation)


@pytest.mark.parametrize(
    "segments",
    [
        [ROOM, "NTE|1|L|L4-L5 laminectomy, left"],
        [ROOM, "OBX|1|TX|PROC^Procedure^L||Lumbar fusion L4-S1"],
        ["PR1|1||X^Case^L|L5S1 microdiscectomy"],
        ["PR1|1|||L5S1 microdiscectomy"],
        [ROOM, "AIS|2|A|X^腰椎后路减压融合内固定术^L"],
        ["AIS|1|A|^^^22612^Arthrodesis lumbar^CPT|20260201073000"],
    ],
)
def test_the_procedure_stands_where_the_system_puts_it(segments: list[str]) -> None:
    assert told(booking(*segments))["operation"]


@pytest.mark.parametrize(
    "segments",
    [
        [ROOM, *(f"NTE|{n}|L|The patient brings letter {n}" for n in range(400))],
        [ROOM, f"NTE|1|L|{'for the operation ' * 20_000}"],
        ["AIS|1|A|X^" + "operation for " * 20_000 + "^L|20260201"],
    ],
    ids=["many notes", "a long note", "a long service"],
)
def test_what_is_long_takes_no_longer_than_what_is_read_of_it(segments: list[str]) -> None:
    """400 notes took half a minute: each was read with all before it."""
    began = time.process_time()
    assert not told(booking(*segments))["operation"]
    assert time.process_time() - began < 5


@pytest.mark.parametrize("reason", ["SURG^L4-L5 laminectomy^L", "^Spondylodese LWK 4/5", "L5S1 fusion"])
def test_the_reason_tells_where_the_service_does_not(reason: str) -> None:
    assert told(booking(ROOM, reason=reason))["operation"]
    assert told(booking(reason=reason))["operation"]


@pytest.mark.parametrize(
    ("services", "understood", "planned"),
    [
        (
            ["PRE^Preop visit^L|20260120", "63047^Laminectomy^CPT|202602030730"],
            "operation",
            "2026-02-03T07:30:00+01:00",
        ),
        (
            ["ADM^Inpatient admission^L|20260202", "X^L4/5 fusion|202602030730"],
            "operation",
            "2026-02-03T07:30:00+01:00",
        ),
        (["X^L4/5 fusion|202602030730", "BED^PACU bed^L|20260204"], "operation", "2026-02-03T07:30:00+01:00"),
        (["FU^Follow-up visit^L|202602010900", "R3^Room 3^L|202602010900"], "other", "2026-02-01T09:00:00+01:00"),
    ],
)
def test_the_operation_among_several_services_has_its_own_time(
    services: list[str], understood: str, planned: str
) -> None:
    found = told(booking(*(f"AIS|{n}|A|{one}" for n, one in enumerate(services, 1)), reason="L4-L5 fusion"))
    assert (found["understood"], found["planned_at"]) == (understood, planned)


@pytest.mark.parametrize(
    ("called", "understood"),
    [
        ("FOLLOWUP^Follow-up visit", "unclear"),
        ("FU^Nachkontrolle", "unclear"),
        ("OFFICE^Clinic visit", "unclear"),
        ("SURG^Surgery", "operation"),
        ("OUTPAT^Outpatient surgery", "operation"),
        ("ELECTIVE^Elective admission", "operation"),
        ("NORMAL^Routine schedule request type^HL70277", "operation"),
    ],
)
@pytest.mark.parametrize("service", [LUMBAR, ROOM, "AIS|1|A|X^L4/5 decompression^L|20260201073000"])
def test_an_appointment_that_is_called_a_visit_is_for_a_person(service: str, called: str, understood: str) -> None:
    assert told(booking(service, reason="L4-L5 laminectomy", called=called))["understood"] == understood


def request(kind: str, *segments: str) -> bytes:
    head = [
        "MSH|^~\\&|OR|H|||20260101120000||" + kind + "|1|P|2.5",
        "ARQ|9|9|||||ROUTINE^Lumbar fusion L4/5^L||||20260201073000",
    ]
    return "\r".join([*head, "PID|1||P1^^^H^MR||SYN^T||19600101|F", "RGS|1", *segments, ""]).encode()


def test_a_request_for_an_appointment() -> None:
    found = told(request("SRM^S01", "AIS|1|A|22612^Lumbar fusion^CPT|20260203073000"))
    assert (found["event"], found["operation"], found["planned_at"]) == ("booked", True, "2026-02-03T07:30:00+01:00")
    assert told(request("SRM^S01"))["planned_at"] == "2026-02-01T07:30:00+01:00"
    assert told(request("SRM^S04"))["event"] == "cancelled"


def test_an_account_tells_of_a_procedure() -> None:
    """German hospital systems send DG1 and PR1 in BAR."""
    segments = ["PID|1||P1^^^H^MR||SYN^T||19600101|F", "PV1|1|I" + "|" * 17 + "V1", "DG1|1||M48.06^Stenose^I10"]
    procedures = ["PR1|1||5-836.41^Spondylodese^OPS||20260201", "PR1|2||5-032.1^Zugang LWS^OPS||20260201"]
    coded = ["PR1|1||22612^Lumbar fusion^CPT||20260201"]
    for kind, told_of in (("BAR^P05", coded), ("BAR^P12", coded)):
        raw = "\r".join([f"MSH|^~\\&|KIS|H|||20260101120000||{kind}|1|P|2.5", *segments, *told_of, ""]).encode()
        assert told(raw)["operation"]
    raw = "\r".join(["MSH|^~\\&|KIS|H|||20260101120000||BAR^P05|1|P|2.5", *segments, *procedures, ""]).encode()
    assert told(raw)["operation"], "the access says at which part of the spine"


# ---- over the database ---------------------------------------------------------------------------------------------
@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key=KEY)
    yield database
    database.close()


def planned(db: Database) -> list[tuple[str, int]]:
    return db.execute("SELECT planned_at, cancelled FROM operations ORDER BY planned_at").fetchall()


def procedure_problems(db: Database) -> list[tuple[str, str, str]]:
    return db.execute(
        "SELECT source, code, detail FROM problems WHERE code LIKE '%-procedure' ORDER BY code"
    ).fetchall()


def test_a_service_that_is_deleted_takes_the_operation_back(db: Database) -> None:
    receive(db, [booking(LUMBAR)])
    assert [cancelled for _, cancelled in planned(db)] == [0]
    deleted = ["AIS|1|U|20610^INJECTION^CPT|20260201073000", "AIS|2|D|63030^LAMINOTOMY LUMBAR^CPT|20260201073000"]
    receive(db, [booking(*deleted, kind="SIU^S14", at="20260102120000")])
    assert [cancelled for _, cancelled in planned(db)] == [1]
    receive(db, [booking(LUMBAR, kind="SIU^S14", at="20260103120000")])
    assert [cancelled for _, cancelled in planned(db)] == [0]


@pytest.mark.parametrize(
    ("services", "event"),
    [
        (["AIS|1|D|63030^LAMINOTOMY LUMBAR^CPT|20260201073000"], "cancelled"),
        (["AIS|1|D|LOCAL1^^L|20260201073000"], "cancelled"),
        ([ROOM, "AIS|2|D|63030^LAMINOTOMY LUMBAR^CPT|20260201073000"], "cancelled"),
        ([LUMBAR, "AIS|2|D|63047^LAMINECTOMY LUMBAR^CPT|20260201073000"], "modified"),
        ([ROOM, "AIS|2|D|LOCAL1^^L|20260201073000"], "modified"),
        ([LUMBAR, "AIS|2|D|20610^INJECTION^CPT|20260201073000"], "modified"),
    ],
)
def test_the_reason_of_a_booking_does_not_keep_a_deleted_service(services: list[str], event: str) -> None:
    shown = told(booking(*services, kind="SIU^S14", reason="LAM^L4-L5 laminectomy^L"))
    assert shown["event"] == event


def test_bookings_of_unknown_procedures_are_one_problem_of_their_sender(db: Database) -> None:
    receive(db, [booking(ROOM, at=f"202601{day:02d}120000") for day in range(1, 5)])
    receive(db, [booking("AIS|1|A|X^Laminectomy^L|20260201073000", at="20260110120000")])
    unclear, unknown = procedure_problems(db)
    assert unclear[:2] == ("sender OR|H", "unclear-procedure")
    assert unknown[:2] == ("sender OR|H", "unknown-procedure")
    assert "1 procedure of 4 bookings" in unknown[2]
    assert "OR123 MAIN OR CASE" in unknown[2]
    assert "conf/procedures.toml" in unknown[2]
    assert planned(db) == []


def test_interpret_says_the_same() -> None:
    (problem,) = told(booking(ROOM))["problems"]
    assert "OR123 MAIN OR CASE" in problem
    assert "conf/procedures.toml" in problem
    assert told(booking(ROOM.replace("OR123^MAIN OR CASE^L", "47562^Cholecystectomy^CPT")))["problems"] == []
    assert told(booking(ROOM, kind="SIU^S15"))["problems"] == []


def test_a_site_that_adds_its_code_has_the_operation_and_no_problem(
    db: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receive(db, [booking(ROOM)])
    assert procedure_problems(db)
    from node.hl7 import surgery

    told_by_site = (Path(surgery.conf_path("procedures.toml"))).read_text(encoding="utf-8")
    edited = tmp_path / "procedures.toml"
    edited.write_text(told_by_site.replace("[local]\n", '[local]\nOR123 = "lumbar"\n', 1), encoding="utf-8")
    monkeypatch.setattr("node.hl7.interpret.load_procedures", lambda: surgery.load_procedures(edited))
    settings = SETTINGS.model_copy(update={"storage": SETTINGS.storage.model_copy(update={"folder": tmp_path})})
    replay(db, settings, [])
    assert procedure_problems(db) == []
    assert len(planned(db)) == 1


REVISION = "AIS|1|A|X^Revision L4/5 fusion^L|20260110073000"


@pytest.mark.parametrize(
    ("service", "excluded"),
    [
        ("AIS|1|A|X^Revision L4/5 fusion^L|20260110073000", True),
        ("AIS|1|A|X^腰椎内固定取出术^L|20260110073000", True),
        ("AIS|1|A|63042^LAMINOTOMY REEXPLORATION LUMBAR^CPT|20260110073000", True),
        ("AIS|1|A|X^Redo lumbar fusion^L|20260201073000", True),  # on the day of the operation itself
        ("AIS|1|A|X^Revision C5/6 fusion^L|20260110073000", False),
        ("AIS|1|A|X^Revision of lumbar fusion^L|20260310073000", False),  # it may be of this very operation
    ],
)
def test_a_revision_stands_for_an_earlier_operation(db: Database, service: str, excluded: bool) -> None:
    other = booking(service, at="20260102120000").replace(b"SCH|9|9|", b"SCH|8|8|")
    receive(db, [booking(LUMBAR), other])
    assert len(planned(db)) == 1, "a revision is no first operation"
    (reasons,) = db.execute("SELECT exclusion_reasons FROM links").fetchone()
    assert ("prior lumbar surgery" in reasons) is excluded


def test_a_revision_that_was_cancelled_stands_for_nothing(db: Database) -> None:
    first, last = (
        booking(REVISION, kind=kind, at=at).replace(b"SCH|9|9|", b"SCH|8|8|")
        for kind, at in (("SIU^S12", "20260102120000"), ("SIU^S15", "20260103120000"))
    )
    receive(db, [booking(LUMBAR), first, last])
    (reasons,) = db.execute("SELECT exclusion_reasons FROM links").fetchone()
    assert "prior lumbar surgery" not in reasons


def test_a_procedure_of_an_admission_is_deleted(db: Database) -> None:
    row = "PR1|1||22612^Lumbar spinal fusion^C4||20260420"
    receive(db, [adt("A05", row, at="20260401080000")])
    assert [cancelled for _, cancelled in planned(db)] == [0]
    receive(db, [adt("A08", row + "|" * 15 + "D", at="20260402080000")])
    assert [cancelled for _, cancelled in planned(db)] == [1]
    interpret_frames(db, SETTINGS)
    link_persons(db, SETTINGS)


STAFF = (
    "AIP|1|A|1^Nark^Ose^^^Dr|ANES^Anaesthetist",
    "AIP|2|A|2^Haus^Berta|SURG^Operateur",
    "PV1||I|||||3^Hein^Carl|||ORTH",
)
"""AIP-3 and PV1-7 are XCN (number, family name, given name); AIP-4 is the role, PV1-10 the service (HL7 v2.5.1)."""


@pytest.mark.parametrize(
    ("segments", "number", "name", "service"),
    [
        (STAFF, "2", "Haus, Berta", "ORTH"),
        (STAFF[2:], "3", "Hein, Carl", "ORTH"),
        ((*STAFF, "ZU1|||||4711^Meyer^Anna|Spine"), "4711", "Meyer, Anna", "Spine"),
        ((*STAFF, "ZU1|||||Meyer|"), "", "Meyer", "ORTH"),
        ((*STAFF, "ZU1|||||", "ZU1|||||4711"), "4711", "", "ORTH"),
        ((*STAFF, "ZU1|||||^|"), "2", "Haus, Berta", "ORTH"),
    ],
)
def test_who_operates_is_read_where_the_setting_says_else_where_the_standard_does(
    segments: tuple[str, ...], number: str, name: str, service: str
) -> None:
    rules = {"surgeon": "ZU1-5", "service": "ZU1-6"}
    settings = SETTINGS.model_copy(update={"hl7": Hl7.model_validate({"senders": {"OR|H": rules}})})
    found = told(booking(LUMBAR, *segments).replace(b"PV1|1|I\r", b""), settings)
    assert (found["surgeon"], found["service"]) == ({"number": number, "name": name}, service)
    if segments[-1].startswith("ZU1"):
        unset = told(booking(LUMBAR, *segments).replace(b"PV1|1|I\r", b""))
        assert (unset["surgeon"], unset["service"]) == ({"number": "2", "name": "Haus, Berta"}, "ORTH")


@pytest.mark.parametrize("field", ["event reason", "type"])
@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("AUF^Stationäre Aufnahme", "unclear"),
        ("ADM^Admission", "unclear"),
        ("^Ricovero", "unclear"),
        ("FOLLOWUP^Follow-up", "unclear"),
        ("^Same day admission", "operation"),
        ("ROUTINE^Routine", "operation"),
        ("OP^Operation", "operation"),
        ("^Aufnahme am OP-Tag", "operation"),
    ],
)
def test_an_appointment_that_is_called_an_admission_is_for_a_person(field: str, text: str, understood: str) -> None:
    """Wherever it is said (SCH-6 or SCH-8): the day of the admission need not be that of the operation."""
    raw = booking(LUMBAR, called=text if field == "type" else "")
    if field == "event reason":
        raw = raw.replace(b"SCH|9|9|||||", f"SCH|9|9||||{text}|".encode())
    assert told(raw)["understood"] == understood
