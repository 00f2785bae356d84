"""Messages of real senders against what a careful person reads from each."""

import csv
from hashlib import sha256
from pathlib import Path

import pytest

from analytics.counts.blood import SpecimenResults, combine
from analytics.records import ResultStatus
from node.hl7.extracts import SpecimenExtract
from node.hl7.interpret import interpret_frame
from node.hl7.report import interpretation_json
from node.settings import Settings, Site

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hl7-samples"
TABLE = SAMPLES / "expected.tsv"
SETTINGS = Settings(site=Site(time_zone="Europe/Zurich"))

needs_samples = pytest.mark.skipif(
    not TABLE.is_file(), reason=f"needs the HL7 samples beside the checkout ({TABLE.name})"
)


def rows() -> list[dict[str, str]]:
    if not TABLE.is_file():
        return []
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def leading_number(text: str) -> float | None:
    """``3.6 (preliminary only)`` is 3.6, ``not computable …`` is nothing."""
    try:
        return float(text.split(" ", maxsplit=1)[0])
    except ValueError:
        return None


def read(name: str) -> list[dict[str, object]]:
    return interpretation_json((SAMPLES / name).read_bytes(), SETTINGS)


def counts(name: str) -> list[dict[str, object]]:
    found = [count for message in read(name) for count in message["cbcs"]]
    return list(found)


@needs_samples
@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_blood_counts(row: dict[str, str]) -> None:
    found = counts(row["file"])
    if row["expected_NLR"] == "no CBC":
        assert found == []
        return
    (count,) = found
    for column, key in (
        ("expected_NEU_10^9/L", "neutrophils_10e9_per_l"),
        ("expected_LYM_10^9/L", "lymphocytes_10e9_per_l"),
        ("expected_PLT_10^9/L", "platelets_10e9_per_l"),
        ("expected_WBC_10^9/L", "leukocytes_10e9_per_l"),
    ):
        if row[column]:
            assert count[key] == pytest.approx(float(row[column]), rel=1e-3), key
    if row["expected_NLR"].startswith("held"):
        assert count["status"] == "held"
        return
    for column, key in (("expected_NLR", "nlr"), ("expected_PLR", "plr")):
        expected = leading_number(row[column])
        if expected is None:
            assert count[key] is None
            assert count["notes"], "a number that is missing has its reason"
        else:
            assert count[key] == pytest.approx(expected, rel=1e-3), key
    expected_basis = row["basis"].split(" ")[0].rstrip(",")
    if expected_basis in ("absolute", "derived") or row["basis"].startswith("percent, status P"):
        assert count["basis"] == expected_basis


@needs_samples
def test_table_is_complete() -> None:
    assert {row["file"] for row in rows()} == {path.name for path in SAMPLES.glob("*.hl7")}


@needs_samples
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("05_ms_lab_oru_1_prelim_bom.hl7", "preliminary"),
        ("06_ms_lab_oru_2_final_bom.hl7", "final"),
        ("54_simhospital_13.hl7", "held"),
        ("77_nhapi_statusZ_dollar_subcomp.hl7", "held"),
    ],
)
def test_status(name: str, status: str) -> None:
    assert [count["status"] for count in counts(name)] == [status]


AGAIN = [
    ("22_elexis_openmedical_standard.hl7", "23_elexis_openmedical_CRLF.hl7"),
    ("25_elexis_rothen_first.hl7", "26_elexis_rothen_update_same_order.hl7"),
    ("31_elexis_uhbs_auto_manual_low_plt.hl7", "32_elexis_uhbs_dup_other_msh10.hl7"),
    ("05_ms_lab_oru_1_prelim_bom.hl7", "06_ms_lab_oru_2_final_bom.hl7"),
]
"""A message and one that tells of the same specimen again; the later one holds."""


@needs_samples
@pytest.mark.parametrize(("first", "again"), AGAIN)
def test_the_same_specimen_keeps_its_name(first: str, again: str) -> None:
    assert [count["specimen"] for count in counts(first)] == [count["specimen"] for count in counts(again)]


def said(name: str) -> list[SpecimenResults]:
    """What a sample says about specimens, in the form that is folded over all messages."""
    raw = (SAMPLES / name).read_bytes()
    return [
        SpecimenResults(
            specimen=item.extract.specimen,
            taken_at=item.extract.taken_at,
            date_only=item.extract.date_only,
            observed_only=item.extract.observed_only,
            results=item.extract.results,
            sent_at=one.sent_at,
            tie_break=sha256(raw).hexdigest(),
        )
        for one in interpret_frame(raw, SETTINGS)
        for item in one.items
        if isinstance(item.extract, SpecimenExtract)
    ]


@needs_samples
@pytest.mark.parametrize(("first", "again"), AGAIN)
def test_told_again_it_is_one_count_and_the_later_message_holds(first: str, again: str) -> None:
    expected = next(row for row in rows() if row["file"] == again)
    for messages in (said(first) + said(again), said(again) + said(first)):
        (count,) = combine(messages)
        assert count.status is ResultStatus.FINAL
        assert count.nlr == pytest.approx(float(expected["expected_NLR"]), rel=1e-3)
        assert count.plr == pytest.approx(float(expected["expected_PLR"]), rel=1e-3)


@needs_samples
def test_merges_and_appointments() -> None:
    (merge,) = read("67_ms_adt_a40.hl7")[0]["events"][1:]
    assert merge["retired"] == {"id": "56789", "authority": "BCBS"}
    assert merge["patient"] == {"id": "12345", "authority": "BCBS"}
    chain = [
        event
        for name in ("68_ms_siu_s12.hl7", "69_ms_siu_s13.hl7", "70_ms_siu_s15_cancel.hl7")
        for event in read(name)[0]["events"]
        if event["kind"] == "appointment"
    ]
    assert [event["event"] for event in chain] == ["booked", "moved", "cancelled"]
    assert {event["booking"] for event in chain} == {"12345/36996"}
    assert {event["planned_at"] for event in chain} == {"2021-09-24T09:30:00+02:15"}
    assert not any(event["operation"] for event in chain)


@needs_samples
def test_batch_with_a_malformed_message_keeps_the_others() -> None:
    assert [one["status"] for one in read("61_cosyte_batch_malformed_mid.hl7")] == ["used", "held", "used"]
    assert len(read("60_cosyte_multi_batch.hl7")) == 3


@needs_samples
def test_number_of_the_hospital_is_chosen_among_several() -> None:
    (patient,) = read("56_simhospital_adt_a01_12.hl7")[0]["events"]
    assert patient["patient"] == {"id": "4104857070", "authority": "SIMULATOR MRN"}
