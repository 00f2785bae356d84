"""Character sets, batches, acknowledgements, codes and patients, on messages made for the test."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import SettingsError
from node.hl7.acknowledge import Outcome, build_reply, receive
from node.hl7.catalogue import load_analytes, load_eligibility
from node.hl7.extracts import AppointmentExtract, Diagnosis, PatientExtract, SpecimenExtract
from node.hl7.interpret import interpret_frame
from node.hl7.messages import read_frame
from node.hl7.report import interpretation_json
from node.hl7.segments import Delimiters, unescape
from node.settings import Hl7, Identity, Sender, Settings, Site

SETTINGS = Settings(site=Site(time_zone="Europe/Vienna"), identity=Identity(authorities={"H1": "HOSPITAL"}))
AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def message(
    *segments: str,
    kind: str = "ORU^R01",
    charset: str = "",
    processing: str = "P",
    accept: str = "",
    application: str = "",
    version: str = "2.5",
    control_id: str = "C1",
) -> str:
    msh = f"MSH|^~\\&|LAB|H|NODE|V|20260302090000||{kind}|{control_id}|{processing}|{version}"
    msh += f"|||{accept}|{application}||{charset}"
    return "\r".join([msh, *segments]) + "\r"


PID = "PID|1||0042^^^H1^MR||Doe^Jane||19600229|F"
OBR = "OBR|1|P1|F1|CBC^Blood count|||202603020830"


def obx(code: str, value: str, unit: str = "10*9/L", *, status: str = "F", kind: str = "NM") -> str:
    return f"OBX|1|{kind}|{code}||{value}|{unit}|||||{status}"


def cbc(*extra: str, **more: str) -> str:
    counts = [obx("751-8^Neutrophils^LN", "4.2"), obx("731-0^Lymphocytes^LN", "1.4"), obx("777-3^Platelets^LN", "210")]
    return message(PID, OBR, *counts, *extra, **more)


def read(text: str, codec: str = "utf-8") -> dict[str, object]:
    (shown,) = interpretation_json(text.encode(codec), SETTINGS)
    return shown


def count_of(text: str, codec: str = "utf-8") -> dict[str, object]:
    (found,) = read(text, codec)["cbcs"]
    return dict(found)


def test_promised_shape() -> None:
    shown = read(cbc())
    assert shown["message"] == {"control_id": "C1", "type": "ORU^R01", "version": "2.5"}
    assert (shown["ack"], shown["problems"]) == ("AA", [])
    count = count_of(cbc())
    assert count["patient"] == {"id": "0042", "authority": "HOSPITAL"}
    assert count["specimen_time"] == "2026-03-02T08:30:00+01:00"
    assert (count["nlr"], count["plr"]) == (pytest.approx(3.0), pytest.approx(150.0))
    assert (count["status"], count["basis"], count["notes"]) == ("final", "absolute", [])


# ---- character sets -------------------------------------------------------------------------------------------------
CHINESE = (
    message(
        "PID|1||007^^^H1^MR||王^芳||19600101|F",
        OBR,
        obx("A1^中性粒细胞绝对值^L", "4.2"),
        obx("A2^淋巴细胞绝对值^L", "1.4"),
        obx("A3^血小板^L", "210"),
        charset="GB 18030-2000",
    ),
    "gb18030",
)


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        CHINESE,
        (cbc(charset="8859/1"), "latin-1"),
        (cbc(charset="UNICODE UTF-8"), "utf-8"),
        (cbc(charset="8859/15"), "iso8859-15"),
        (CHINESE[0].replace("GB 18030-2000", "8859/1"), "utf-8"),  # made UTF-8 on the way, but called as before
        (cbc("NTE|1||gr\xfc\xdfe", charset="8859/1"), "latin-1"),
        (cbc("NTE|1||検体", charset="MS932"), "cp932"),
        (cbc("NTE|1||검체", charset="KSC5601"), "cp949"),
        (cbc("NTE|1||ตัวอย่าง", charset="WINDOWS-874"), "cp874"),
        (cbc(), "utf-8-sig"),
    ],
)
def test_declared_character_sets(text: str, codec: str) -> None:
    assert count_of(text, codec)["nlr"] == pytest.approx(3.0)


def test_undeclared_latin_1_and_utf_8() -> None:
    for codec in ("latin-1", "utf-8"):
        text = message(PID, OBR, obx("n^Neutrophile G\xe4ste", "4.2", "x1000/mm\xb3"), obx("l^Lymphozyten", "1.4"))
        assert count_of(text, codec)["neutrophils_10e9_per_l"] == pytest.approx(4.2)


@pytest.mark.parametrize("charset", ["ASCII", "KLINGON"])
def test_bytes_that_cannot_be_decoded_are_held_with_the_header_known(charset: str) -> None:
    shown = read(cbc("NTE|1||gr\xfc\xdfe", charset=charset), "latin-1")
    assert shown["message"] == {"control_id": "C1", "type": "ORU^R01", "version": "2.5"}
    assert (shown["status"], shown["ack"], shown["cbcs"]) == ("held", "AA", [])


# ---- structure ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_line_ends(end: str) -> None:
    assert count_of(cbc().replace("\r", end))["nlr"] == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["OBX", "PID", "OBR", "MSH"])
def test_segments_named_in_small_letters_are_read(name: str) -> None:
    """No segment is lost for it, in one field of the one before."""
    for other in (name.lower(), name.capitalize()):
        assert count_of(cbc().replace(f"{name}|", f"{other}|"))["nlr"] == pytest.approx(3.0)


def test_a_text_over_several_lines_is_not_taken_for_a_segment() -> None:
    raw = cbc().replace("PID|1", "NTE|1|L|first line\robx seen by the clinic\rPID|1")
    assert count_of(raw)["nlr"] == pytest.approx(3.0)


def test_other_delimiters() -> None:
    swapped = cbc().translate(str.maketrans("|^~\\&", "!@*%$")).replace("10*9/L", "K/uL")
    assert count_of(swapped)["plr"] == pytest.approx(150.0)


def test_batch_gives_one_interpretation_a_message() -> None:
    batch = f"FHS|^~\\&|A\rBHS|^~\\&|A\r{cbc(control_id='1')}MSH|^~\r{cbc(control_id='3')}BTS|3\rFTS|1\r"
    assert [one.status for one in interpret_frame(batch.encode(), SETTINGS)] == ["used", "held", "used"]


def test_several_patients_under_one_header() -> None:
    text = cbc("PID|2||0043^^^H1^MR||Doe^John||19500101|M", OBR, obx("NEUT#", "6"), obx("LYM#", "2"))
    found = read(text)["cbcs"]
    assert [(one["patient"]["id"], one["nlr"]) for one in found] == [
        ("0042", pytest.approx(3)),
        ("0043", pytest.approx(3)),
    ]


def test_not_hl7() -> None:
    (one,) = interpret_frame(b"GET / HTTP/1.1\r\n", SETTINGS)
    assert (one.status, one.header) == ("held", None)


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_bytes_end_in_an_interpretation(raw: bytes) -> None:
    for frame in (raw, b"MSH|^~\\&|" + raw, cbc().encode()[: len(raw)] + raw):
        assert interpret_frame(frame, SETTINGS)
        reply = build_reply(receive(frame, "latin-1"), "accepted", reason=None, at=AT)
        assert reply.code in {"AA", "CA", ""}


def test_escapes() -> None:
    delimiters = Delimiters.of("MSH|^~\\&|")
    assert unescape("10\\S\\9\\T\\\\F\\\\E\\\\R\\ \\X41\\\\.br\\b", delimiters) == "10^9&|\\~ A b"


# ---- results --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("lymphocytes", "word"),
    [
        (obx("751-8^LYM#^LN", "1.4"), "disagree"),
        (obx("731-0^Lymphocytes^LN", "30", "%"), "disagree"),
        (obx("LYM#^Lymphocytes", "1.4", ""), "unit"),
        (obx("LYM#^Lymphocytes", "1400", "10*9/L"), "impossible"),
        (obx("LYM#^Lymphocytes", "1,4"), "comma"),
    ],
)
def test_code_name_unit_and_value_have_to_agree(lymphocytes: str, word: str) -> None:
    count = count_of(message(PID, OBR, obx("770-8^Neutrophils^LN", "60", "%"), lymphocytes, obx("PLT", "210")))
    assert (count["status"], count["nlr"], count["plr"]) == ("held", None, None)
    assert any(word in note for note in count["notes"])


@pytest.mark.parametrize("value", ["NM|731-0^Lymphocytes^LN||<0.1", "SN|731-0^Lymphocytes^LN||<^0.1"])
def test_censored_values_give_no_ratio(value: str) -> None:
    count = count_of(message(PID, OBR, obx("NEUT#", "4.2"), f"OBX|2|{value}|10*9/L|||||F", obx("PLT", "210")))
    assert (count["nlr"], count["plr"]) == (None, None)


def test_units_may_differ_within_a_message() -> None:
    text = message(PID, OBR, obx("NEUT#", "4200", "cells/uL"), obx("LYM#", "1.4", "10^9/L"), obx("PLT", "210", "/nl"))
    count = count_of(text)
    assert (count["nlr"], count["plr"]) == (pytest.approx(3.0), pytest.approx(150.0))


def test_a_loinc_used_for_both_is_settled_by_the_unit() -> None:
    both = [obx("26474-7^Lymphocytes^LN", "1.4"), obx("26474-7^Lymphocytes^LN", "20", "%")]
    assert count_of(message(PID, OBR, obx("NEUT#", "4.2"), *both))["nlr"] == pytest.approx(3.0)


def test_urine_and_subsets_are_not_taken() -> None:
    other = [
        "OBR|2|P2|F2|UA^Urinalysis|||202603020830",
        obx("L^Leukocytes", "25", "/uL"),
        obx("CD^CD4 lymphocytes", "0.6"),
    ]
    assert count_of(cbc(*other))["leukocytes_10e9_per_l"] is None


def test_plateletcrit_and_volume_are_not_platelets() -> None:
    count = count_of(cbc(obx("PCT^Plateletcrit", "0.25", "%"), obx("MPV^Mean platelet volume", "10", "fL")))
    assert (count["status"], count["platelets_10e9_per_l"]) == ("final", 210.0)


def test_loinc_long_names() -> None:
    names = [
        obx("751-8^Neutrophils [#/volume] in Blood by Automated count^LN", "4.2"),
        obx("736-9^Lymphocytes/100 leukocytes in Blood by Automated count^LN", "20", "%"),
        obx("6690-2^Leukocytes [#/volume] in Blood by Automated count^LN", "7.0"),
    ]
    assert count_of(message(PID, OBR, *names))["nlr"] == pytest.approx(4.2 / 1.4)


def test_two_specimens_of_one_message_are_not_mixed() -> None:
    second = ["OBR|2|P2|F2|CBC|||202603021630", obx("NEUT#", "9.0"), obx("LYM#", "1.0")]
    found = read(cbc(*second))["cbcs"]
    assert [one["nlr"] for one in found] == [pytest.approx(3.0), pytest.approx(9.0)]


def test_specimen_time_is_that_of_spm_before_obr() -> None:
    assert count_of(cbc("SPM|1|T77||BLD|||||||||||||202603020715+0100"))["specimen_time"] == "2026-03-02T07:15:00+01:00"


def test_same_specimen_under_a_new_control_id_has_the_same_name() -> None:
    assert count_of(cbc())["specimen"] == count_of(cbc(control_id="other"))["specimen"]


# ---- rules for one sender --------------------------------------------------------------------------------------------
def ruled(text: str, rules: Sender, codec: str = "utf-8", sender: str = "LAB|H") -> dict[str, Any]:
    hl7 = Hl7(senders={sender: rules})
    (shown,) = interpretation_json(text.encode(codec), SETTINGS.model_copy(update={"hl7": hl7}))
    return shown


@pytest.mark.parametrize(("sender", "nlr"), [("LAB|H", 3.0), ("LAB|OTHER", None)])
def test_decimal_commas_only_of_the_sender_that_writes_them(sender: str, nlr: float | None) -> None:
    text = message(PID, OBR, obx("NEUT#", "4,2"), obx("LYM#", "1,4"), obx("8302-2^Body height^LN", "1,65", "m"))
    shown = ruled(text, Sender(decimal_comma=True), sender=sender)
    (count,) = shown["cbcs"]
    assert count["nlr"] == (nlr and pytest.approx(nlr))
    heights = [one["value"] for event in shown["events"] for one in event["observations"]]
    assert heights == ([pytest.approx(165)] if nlr else [])


def test_a_point_of_a_sender_that_writes_commas_is_held() -> None:
    text = message(PID, OBR, obx("NEUT#", "4,2"), obx("LYM#", "1.400"))
    (count,) = ruled(text, Sender(decimal_comma=True))["cbcs"]
    assert (count["status"], count["nlr"]) == ("held", None)


def without_unit(code: str, value: str, limits: str) -> str:
    return f"OBX|1|NM|{code}||{value}||{limits}||||F"


@pytest.mark.parametrize(
    ("unit", "limits", "factor"),
    [
        ("10*9/L", ("1.8-7.7", "1.0 - 4.8"), 1.0),
        ("cells/uL", ("1800-7700", "1000-4800"), 0.001),
        ("10*9/L", ("1800-7700", "1000-4800"), None),  # the range is one in cells/µL
        ("10*9/L", ("40-75", "20-45"), None),  # the range is one in percent
        ("10*9/L", ("", ""), None),
        ("%", ("1.8-7.7", "1.0-4.8"), None),
    ],
)
def test_the_unit_of_a_sender_holds_where_the_reference_range_confirms_it(
    unit: str, limits: tuple[str, str], factor: float | None
) -> None:
    neutrophils, lymphocytes = ("4200", "1400") if unit == "cells/uL" else ("4.2", "1.4")
    text = message(
        PID, OBR, without_unit("NEUT#", neutrophils, limits[0]), without_unit("LYM#", lymphocytes, limits[1])
    )
    (count,) = ruled(text, Sender(default_unit=unit))["cbcs"]
    assert count["neutrophils_10e9_per_l"] == (factor and pytest.approx(float(neutrophils) * factor))
    assert count["status"] == ("final" if factor else "held")
    (unruled,) = ruled(text, Sender())["cbcs"]
    assert unruled["status"] == "held", "without the rule nothing is taken"


def test_character_set_and_authority_of_a_sender() -> None:
    text = CHINESE[0].replace("GB 18030-2000", "ASCII").replace("007^^^H1^MR", "007")
    (count,) = ruled(text, Sender(charset="gb18030", authority="LAB"), "gb18030")["cbcs"]
    assert (count["nlr"], count["patient"]) == (pytest.approx(3.0), {"id": "007", "authority": "LAB"})
    assert ruled(text, Sender(authority="LAB"), "gb18030")["status"] == "held"
    renamed = text.replace("|LAB|", "|检验科^1.2^ISO|")
    (count,) = ruled(renamed, Sender(charset="gb18030"), "gb18030", sender="检验科|H")["cbcs"]
    assert count["nlr"] == pytest.approx(3.0)
    assert receive(renamed.encode("gb18030"), "latin-1", {"检验科|H": "gb18030"}).codec == "gb18030"


# ---- patients and context -------------------------------------------------------------------------------------------
def extracts(text: str) -> list[object]:
    (one,) = interpret_frame(text.encode(), SETTINGS)
    return [item.extract for item in one.items]


def test_no_patient_number_is_held() -> None:
    shown = read(message("PID|1|55||66||Doe^Jane", OBR, obx("NEUT#", "4.2"), obx("LYM#", "1.4")))
    assert shown["status"] == "held"
    assert "PID-2 and PID-4" in str(shown["problems"])
    (count,) = shown["cbcs"]
    assert (count["patient"], count["status"], count["nlr"]) == (
        {"id": None, "authority": None},
        "held",
        pytest.approx(3),
    )


@pytest.mark.parametrize(
    ("pid3", "number"),
    [
        ("1^^^X^AN~0042^^^H1^MR", ("HOSPITAL", "0042")),
        ("77^^^NHS^NH~0042^^^H1^PI", ("HOSPITAL", "0042")),
        ("0042", ("LOCAL", "0042")),
        ("0042^^^&1.2.3&ISO^MR", ("1.2.3", "0042")),
    ],
)
def test_patient_number(pid3: str, number: tuple[str, str]) -> None:
    (one,) = interpret_frame(message(f"PID|1||{pid3}||A^B||19600229|F", kind="ADT^A01").encode(), SETTINGS)
    assert [item.patient for item in one.items] == [number]


def test_observations_and_diagnoses() -> None:
    text = message(
        PID,
        "DG1|1||M48.06^Lumbar stenosis^I10||20260110",
        obx("8302-2^Body height^LN", "1.65", "m"),
        obx("29463-7^Body weight^LN", "68", "kg"),
        obx("72166-2^Tobacco smoking status^LN", "449868002^Current smoker^SCT", "", kind="CWE"),
        obx("DIABETES^Diabetes mellitus", "N", "", kind="ST"),
        obx("CA^Calcium", "2.4", "mmol/L"),
        kind="ADT^A08",
    )
    (patient,) = extracts(text)
    assert isinstance(patient, PatientExtract)
    assert (str(patient.birth_date), patient.sex) == ("1960-02-29", "F")
    observed = {one.name: one.value for one in patient.observations}
    assert observed == {"height_cm": pytest.approx(165), "weight_kg": 68.0, "smoking": 1.0, "diabetes": 0.0}
    (diagnosis,) = patient.diagnoses
    assert isinstance(diagnosis, Diagnosis) and diagnosis.code == "M48.06"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (obx("38267-1^DXA Lumbar spine [T-score] Bone density^LN", "-2.7", "{T-score}"), {"t_score": -2.7}),
        (obx("38263-0^DXA Femur [T-score] Bone density^LN", "0.4", ""), {"t_score": 0.4}),
        (obx("TSC^T-Score LWS", "−1.3", "SD"), {"t_score": -1.3}),
        (obx("24966-4^DXA Lumbar spine [Mass/Area] Bone density^LN", "0.812", "g/cm2"), {"bmd_g_per_cm2": 0.812}),
        (obx("VERTEBRAL_HU^L1 attenuation^L", "104", "[hnsf'U]"), {"hu": 104.0}),
        (obx("VBQ_EVENT^Screw loosening^L", "Y", "", kind="ST"), {"event": 1.0}),
        # None of them: another bone, a Z-score, a slip, a count below zero, an impossible unit.
        (obx("38265-5^DXA Radius and Ulna [T-score] Bone density^LN", "-2.7", "{T-score}"), {}),
        (obx("85394-5^DXA Lumbar spine [Z-score] Bone density^LN", "-2.7", "{Z-score}"), {}),
        (obx("38267-1^DXA Lumbar spine [T-score] Bone density^LN", "-27", "{T-score}"), {}),
        (obx("29463-7^Body weight^LN", "-68", "kg"), {}),
        (obx("24966-4^DXA Lumbar spine [Mass/Area] Bone density^LN", "0.812", "g"), {}),
    ],
)
def test_what_cuts_are_judged_against(line: str, expected: dict[str, float]) -> None:
    (patient,) = extracts(message(PID, line, kind="ORU^R01"))
    assert isinstance(patient, PatientExtract)
    assert {one.name: one.value for one in patient.observations} == expected


@pytest.mark.parametrize(
    "other",
    [
        obx("VS^Vitesse sédimentation^HT", "1650", "mm"),
        obx("HT^Hämatokrit^05", "165", "cm"),
        obx("X1^Remark^DIABETES", "Y", "", kind="ST"),
        obx("DM^Differential, manual^L", "Y", "", kind="ST"),
        obx("72166-2^Tobacco smoking status^LN", "266927001^Unknown^SCT", "", kind="CWE"),
        obx("8302-2^Body height^LN", "165", "kg"),
        obx("8302-2^Body height^LN", "16.5", "cm"),
        obx("8302-2^Body height^LN", "165", "cm", status="X"),
    ],
)
def test_what_is_no_certain_fact_about_the_patient_is_not_taken(other: str) -> None:
    (patient,) = extracts(message(PID, other, kind="ADT^A08"))
    assert isinstance(patient, PatientExtract)
    assert patient.observations == ()


SCH = "SCH|PL1|FI1|||||||60|min|^^^20260601090000"


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("22633^Arthrodesis, combined technique^CPT", True),
        ("OP^TLIF L4/5^L", True),
        ("OP^Lumbale Spondylodese^L", True),
        ("OP^腰椎减压融合术^L", True),
        ("OP^Anterior cervical discectomy and fusion^L", False),
        ("CONSULT^Follow-up after lumbar fusion^L", False),
        ("27447^Knee replacement^CPT", False),
        ("2263300012^Knee replacement^SCT", False),
        ("5-831.2^Exzision L4/5^OPS", True),
        ("5-831.2^Exzision^OPS", False),  # OPS says nothing of the level
    ],
)
def test_operations_among_appointments(service: str, operation: bool) -> None:
    booked = extracts(message(SCH, PID, "RGS|1", f"AIS|1|A|{service}", kind="SIU^S12"))[-1]
    assert isinstance(booked, AppointmentExtract)
    assert (booked.operation, booked.booking, booked.event) == (operation, "PL1/FI1", "booked")
    assert booked.planned_at == datetime(2026, 6, 1, 7, 0, tzinfo=UTC)


def test_time_of_the_service_goes_before_that_of_the_schedule() -> None:
    moved = extracts(message(SCH, PID, "AIS|1|U|22633^Fusion^CPT|20260603080000", kind="SIU^S13"))[-1]
    assert isinstance(moved, AppointmentExtract)
    assert (moved.event, moved.planned_at) == ("moved", datetime(2026, 6, 3, 6, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("code", "group", "exclusion"),
    [
        ("M51.26", "LDH", None),
        ("M51.202", "LDH", None),
        ("M4806", "LSS", None),
        ("M48.0", "LSS", None),
        ("M48.02", None, None),
        ("M43.16", "LS", None),
        ("M43.12", None, None),
        ("C79.51", None, "malignancy, past or present"),
        ("S32.010A", None, "spinal trauma"),
        ("M06.9", None, "autoimmune or chronic inflammatory disease"),
        ("D69.6", None, "haematological disorder"),
        ("Z98.1", None, "prior lumbar surgery"),
        ("64766004", None, None),
    ],
)
def test_eligibility_codes(code: str, group: str | None, exclusion: str | None) -> None:
    eligibility = load_eligibility()
    assert (eligibility.diagnosis_group(code), eligibility.exclusion(code)) == (group, exclusion)


def test_comorbidities() -> None:
    eligibility = load_eligibility()
    assert eligibility.is_diabetes("E11.9") and not eligibility.is_diabetes("E66.9")
    assert eligibility.is_hypertension("I10") and not eligibility.is_hypertension("I20.0")


@pytest.mark.parametrize("content", ["nonsense = 1\n", "[diagnosis_groups]\nLDH = ['lumbago']\n", "= 3", None])
def test_faulty_catalogue_is_one_clear_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "eligibility.toml"
    if content is not None:
        path.write_text(content)
    for load in (load_eligibility, load_analytes):
        with pytest.raises(SettingsError, match=r"eligibility\.toml"):
            load(path)


# ---- acknowledgements -----------------------------------------------------------------------------------------------
def reply(text: str, outcome: Outcome = "accepted", codec: str = "utf-8") -> tuple[str, bytes]:
    found = build_reply(receive(text.encode(codec), "latin-1"), outcome, reason="the reason", at=AT)
    return found.code, found.message


@pytest.mark.parametrize(
    ("accept", "application", "accepted", "error"),
    [
        ("", "", "AA", "AE"),
        ("AL", "NE", "CA", "CE"),
        ("AL", "", "CA", "CE"),
        ("ER", "NE", "", "CE"),
        ("SU", "NE", "CA", ""),
        ("NE", "NE", "", ""),
        ("NE", "AL", "AA", "AE"),
    ],
)
def test_modes(accept: str, application: str, accepted: str, error: str) -> None:
    text = cbc(accept=accept, application=application)
    assert (reply(text)[0], reply(text, "error")[0]) == (accepted, error)


def test_acknowledgement_mirrors_the_message() -> None:
    (ack,) = read_frame(reply(cbc(control_id="X^\\S\\ 7", charset="UNICODE UTF-8"))[1], "latin-1")
    assert ack.header is not None
    assert [ack.header.raw(number) for number in (3, 4, 5, 6, 9, 11, 12, 18)] == [
        "NODE", "V", "LAB", "H", "ACK^R01^ACK", "P", "2.5", "UNICODE UTF-8",
    ]  # fmt: skip
    assert ack.lines[0].split("|")[:3] == ["MSA", "AA", "X^\\S\\ 7"]


def test_character_set_of_the_sender() -> None:
    text = CHINESE[0].replace("|LAB|", "|检验科|")
    assert "检验科".encode("gb18030") in reply(text, codec="gb18030")[1]


def test_negative_acknowledgement_says_why() -> None:
    for version, place in (("2.5", 8), ("2.3", 1)):
        (ack,) = read_frame(reply(cbc(version=version), "error")[1], "latin-1")
        msa, err = (line.split("|") for line in ack.lines)
        assert msa[:4] == ["MSA", "AE", "C1", "the reason"]
        assert err[0] == "ERR" and err[place]


@pytest.mark.parametrize("processing", ["T", "D"])
def test_training_and_debugging_are_rejected_and_shown(processing: str) -> None:
    shown = read(cbc(processing=processing))
    assert (shown["ack"], shown["status"]) == ("AR", "refused")
    assert shown["cbcs"]
    assert receive(cbc(processing=processing).encode(), "latin-1").refusal


def test_specimen_extract_survives_json() -> None:
    from node.hl7.extracts import from_json

    specimen = extracts(cbc())[-1]
    assert isinstance(specimen, SpecimenExtract)
    assert from_json(specimen.model_dump_json()) == specimen


def test_framing_without_a_message_is_shown_as_a_problem():
    (shown,) = interpretation_json(b"\x0b", SETTINGS)
    assert shown["problems"] == ["no MSH segment: this is not HL7 v2"]
