"""Which results belong to one specimen, and whose it is; what no mutilated message may do."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.hl7.framing import frame
from node.hl7.report import interpretation_json
from node.settings import Settings, Site

SETTINGS = Settings(site=Site(time_zone="Europe/Vienna"))
MSH = "MSH|^~\\&|LAB|H|NODE|V|20260302120000||ORU^R01|C1|P|2.5.1"
PID = "PID|1||0042^^^H^MR||Doe^Jane||19600229|F"


def obx(code: str, value: float, observed: str = "") -> str:
    return f"OBX|1|NM|{code}||{value}|10*9/L|||||F|||{observed}"


def message(*segments: str, pid: str = PID) -> bytes:
    return "\r".join([MSH, pid, *segments, ""]).encode()


def cbcs(raw: bytes) -> list[dict[str, object]]:
    (shown,) = interpretation_json(raw, SETTINGS)
    found = shown["cbcs"]
    assert isinstance(found, list)
    return found


def ratios(raw: bytes) -> list[tuple[object, object]]:
    return [(one["nlr"], one["plr"]) for one in cbcs(raw)]


@pytest.mark.parametrize(("collected", "told"), [("20991231", 1), ("20260303130000", 1), ("20260303100000", 0)])
def test_a_specimen_of_after_its_message_is_said(collected: str, told: int) -> None:
    """The message is of 2 March 2026, 12:00; up to a day is what clocks and zones differ."""
    rows = [obx("NEUT#", 4.2), obx("LYMPH#", 2.1), obx("PLT", 240)]
    (shown,) = interpretation_json(message(f"OBR|1||F1|CBC|||{collected}", *rows), SETTINGS)
    assert shown["problem_codes"] == ["specimen-after-message"] * told


def test_one_order_with_two_days_of_observation_is_two_specimens() -> None:
    raw = message(
        "OBR|1||F1|CBC",
        obx("NEUT#", 4.2, "20260301080000"),
        obx("LYM#", 1.4, "20260301080000"),
        "OBR|2||F1|PLT",
        obx("PLT", 210, "20260302160000"),
    )
    assert ratios(raw) == [(pytest.approx(3.0), None), (None, None)]


def test_one_order_per_analyte_observed_minutes_apart_is_one_specimen() -> None:
    raw = message(
        "OBR|1||F1|NEU",
        obx("NEUT#", 4.2, "20260301080000"),
        "OBR|2||F1|LYM",
        obx("LYM#", 1.4, "20260301080300"),
        "OBR|3||F1|PLT",
        obx("PLT", 210, "20260301081000"),
    )
    assert ratios(raw) == [(pytest.approx(3.0), pytest.approx(150.0))]
    assert cbcs(raw)[0]["specimen_time"] == "2026-03-01T08:00:00+01:00"


@pytest.mark.parametrize("number", ["F1", ""])
def test_offset_of_the_same_instant_does_not_change_the_name(number: str) -> None:
    def named(taken: str) -> object:
        return cbcs(message(f"OBR|1||{number}|CBC|||{taken}", obx("NEUT#", 4.2), obx("LYM#", 1.4)))[0]["specimen"]

    assert named("202603010830") == named("202603010730+0000")
    assert named("202603010830") != named("202603010831")


def test_without_number_and_time_the_results_name_the_specimen() -> None:
    first = message(obx("NEUT#", 4.2), obx("LYM#", 1.4), obx("PLT", 210), "OBX|4|NM|PLT||see note|10*9/L|||||F")
    again = first.replace(b"|C1|", b"|C2|")
    assert cbcs(first)[0]["specimen"] == cbcs(again)[0]["specimen"]
    assert cbcs(first)[0]["specimen"] != cbcs(first.replace(b"4.2", b"4.3"))[0]["specimen"]


@pytest.mark.parametrize(
    "order",
    [
        "OBR|1||S-77|CBC|||202603010830",
        "OBR|1|S-77||CBC|||202603010830",
        "ORC|RE||S-77\rOBR|1||F1|CBC|||202603010830",
        "OBR|1||F1|CBC|||202603010830\rSPM|1|S-77",
    ],
)
def test_number_of_the_order_or_specimen_names_no_patient(order: str) -> None:
    raw = message(order, obx("NEUT#", 4.2), obx("LYM#", 1.4), pid="PID|1||S-77||Doe^Jane")
    (shown,) = interpretation_json(raw, SETTINGS)
    assert shown["status"] == "held"
    assert "PID-3 is that of the order" in str(shown["problems"])
    assert [one["patient"] for one in cbcs(raw)] == [{"id": None, "authority": None}]


PERCENT = ["OBX|1|NM|NEUT%||60|%|||||F", "OBX|2|NM|LYM%||30|%|||||F", "OBX|3|NM|WBC||7|10*9/L|||||F"]


@pytest.mark.parametrize(
    ("material", "blood"),
    [
        ("PLR^^HL70487", False), ("MAR", False), ("SNV^^HL70487", False), ("BPU", False), ("FLD", False),
        ("119359002^^SCT", False), ("X1^Bone marrow^L", False), ("X1^^L^BMAR", False),
        ("BLD", True), ("BLDV^^HL70487", True), ("119297000^^SCT", True), ("EDTA", True), ("0^血液^JC10", True),
        ("", True),
    ],
)  # fmt: skip
def test_the_specimen_says_what_was_examined_whatever_the_order_is_called(material: str, blood: bool) -> None:
    raw = message("OBR|1||F1|CBC^CBC|||202603010830", *PERCENT, f"SPM|1|S1||{material}")
    assert bool(cbcs(raw)) is blood
    code = material.partition("^")[0]
    older = message(f"OBR|1||F1|DIFF|||202603010830||||||||{code}&&HL70070^^^ARM", *PERCENT)
    assert bool(cbcs(older)) is (blood or material.startswith("X1"))


@pytest.mark.parametrize(
    ("of_order", "row", "status"),
    [
        ("F", "", "final"), ("C", "", "corrected"), ("P", "", "preliminary"), ("P", "F", "final"),
        ("", "", "held"), ("A", "", "held"), ("X", "F", "held"), ("X", "X", "withdrawn"), ("F", "D", "withdrawn"),
    ],
)  # fmt: skip
def test_the_status_of_the_order_stands_for_rows_without_one_and_its_cancellation_for_all(
    of_order: str, row: str, status: str
) -> None:
    """Tables 0085 and 0123; "A" of an order is "some, but not all results available"."""
    rows = [one.removesuffix("F") + row for one in (*PERCENT, "OBX|4|NM|PLT||250|10*9/L|||||F")]
    (count,) = cbcs(message("OBR|1||F1|CBC|||202603010830" + "|" * 18 + of_order, *rows))
    assert count["status"] == status


@pytest.mark.parametrize(
    ("orc", "status"),
    [
        ("RE|P1|F1", "final"), ("SC|P1|F1||CM", "final"), ("NW|P1|F1", "final"), ("DC|P1|F1", "final"),
        ("CA|P1|F1", "held"), ("OC|P1|F1", "held"), ("CR|P1|F1", "held"), ("SC|P1|F1||CA", "held"),
    ],
)  # fmt: skip
def test_final_results_of_an_order_that_is_cancelled_are_for_a_person(orc: str, status: str) -> None:
    """Tables 0119 and 0038; one that is discontinued (DC) keeps the results it has."""
    rows = (*PERCENT, "OBX|4|NM|PLT||250|10*9/L|||||F")
    (count,) = cbcs(message(f"ORC|{orc}", "OBR|1|P1|F1|CBC|||202603010830", *rows))
    assert count["status"] == status
    # An order of the same message that stands is not touched by it.
    other = message("ORC|CA|P2|F2", "OBR|1|P2|F2|FERR|||202603010830", f"ORC|{orc}", "OBR|2|P1|F1|CBC|||202603010830")
    (count,) = cbcs(other + "\r".join([*rows, ""]).encode())
    assert count["status"] == status


def test_recording_of_several_frames() -> None:
    raw = message("OBR|1||F1|CBC|||202603010830", obx("NEUT#", 4.2), obx("LYM#", 1.4))
    recorded = b"\r\n" + frame(raw) + frame(raw.replace(b"|C1|", b"|C2|")) + b"\x0b" + raw.replace(b"|C1|", b"|C3|")
    shown = [one["message"] for one in interpretation_json(recorded, SETTINGS)]
    assert [one["control_id"] for one in shown] == ["C1", "C2", "C3"]


WHOLE = message(
    "ORC|RE|P1|F1",
    "OBR|1|P1|F1|CBC^Blood count^L|||202603010830",
    obx("751-8^Neutrophils^LN", 4.2, "20260301083000"),
    obx("731-0^Lymphocytes^LN", 1.4),
    obx("777-3^Platelets^LN", 210),
    "OBX|4|SN|6690-2^Leukocytes^LN||>^8.0|10\\S\\9/L|||||F",
    "OBX|5|NM|736-9^Lymphocytes/100 leukocytes^LN||17.5|%|||||C",
    "SPM|1|S1||BLD|||||||||||||202603010830",
    "DG1|1||M48.06^Lumbar stenosis^I10||20260110",
    "NTE|1||a remark",
)
CUTS = st.tuples(
    st.integers(0, len(WHOLE) - 1),
    st.integers(0, 25),
    st.sampled_from(
        [b"", b"|", b"^", b"~", b"\\", b"&", b"\r", b'""', b"<", b"9", b"\x00", b"\xff", b"-", b"PID|", b"|||"]
    ),
)


@settings(max_examples=150)
@given(st.lists(CUTS, min_size=1, max_size=6))
def test_no_mutilated_message_is_beyond_this_version(cuts: list[tuple[int, int, bytes]]) -> None:
    raw = bytearray(WHOLE)
    for place, length, inserted in cuts:
        raw[place : place + length] = inserted
    for shown in interpretation_json(bytes(raw), SETTINGS):
        assert "this version cannot read" not in str(shown["problems"])
        json.dumps(shown, allow_nan=False)
