"""Limits on what a laboratory's line may say, each at its edge and just beyond, read from whole messages."""

import pytest

from node.settings import Sender
from tests.node.test_hl7_messages import OBR, PID, count_of, message, obx, ruled, without_unit

NEUTROPHILS, LYMPHOCYTES, PLATELETS, LEUKOCYTES = (
    ("751-8^Neutrophils^LN", "neutrophils_10e9_per_l"),
    ("731-0^Lymphocytes^LN", "lymphocytes_10e9_per_l"),
    ("777-3^Platelets^LN", "platelets_10e9_per_l"),
    ("6690-2^Leukocytes^LN", "leukocytes_10e9_per_l"),
)


@pytest.mark.parametrize(
    ("analyte", "value", "taken"),
    [
        (PLATELETS, "0.5", True), (PLATELETS, "0.49", False), (PLATELETS, "5000", True), (PLATELETS, "5001", False),
        (LEUKOCYTES, "0.01", True), (LEUKOCYTES, "0.009", False), (LEUKOCYTES, "1000", True),
        (LEUKOCYTES, "1001", False), (NEUTROPHILS, "0.0005", True), (NEUTROPHILS, "0.0004", False),
        (NEUTROPHILS, "1000", True), (NEUTROPHILS, "1001", False), (LYMPHOCYTES, "0.0005", True),
        (LYMPHOCYTES, "0.0004", False), (LYMPHOCYTES, "1000", True), (LYMPHOCYTES, "1001", False),
        (PLATELETS, "0", True), (LEUKOCYTES, "0", True), (LYMPHOCYTES, "0", True),
    ],
)  # fmt: skip
def test_a_count_no_patient_has_is_a_slip_of_the_unit(analyte: tuple[str, str], value: str, taken: bool) -> None:
    code, column = analyte
    count = count_of(message(PID, OBR, obx(code, value), obx("PLT" if code != PLATELETS[0] else "WBC", "210")))
    assert count[column] == (float(value) if taken else None)
    assert any("is impossible" in note for note in count["notes"]) is not taken
    # What can be by itself is held all the same where its ratio cannot.
    assert taken or count["status"] == "held"


@pytest.mark.parametrize(("value", "taken"), [("100", True), ("100.5", False)])
def test_a_share_is_100_percent_at_most(value: str, taken: bool) -> None:
    lines = obx("770-8^Neutrophils/100 leukocytes^LN", value, "%"), obx("LYM%", "0.5", "%")
    count = count_of(message(PID, OBR, *lines))
    assert (count["nlr"], count["status"]) == ((200.0, "final") if taken else (None, "held"))


@pytest.mark.parametrize(("value", "taken"), [("1", False), ("1.5", True), ("100", True), ("100.5", False)])
def test_a_share_without_its_sign_is_one_where_it_cannot_be_a_fraction(value: str, taken: bool) -> None:
    """1 may be all of them as a fraction of one; what is more is not."""
    count = count_of(message(PID, OBR, obx("770-8^Neutrophils/100 leukocytes^LN", value, ""), obx("LYM%", "0.5", "%")))
    assert (count["nlr"] is not None) is taken


@pytest.mark.parametrize(
    ("code", "limits", "confirmed"),
    [
        # 2.5 times, and a 2.5th of, 7.5, 4.5, 400 and 11: the usual upper limits.
        ("NEUT#", "2-18.75", True), ("NEUT#", "2-18.8", False), ("NEUT#", "1-3", True), ("NEUT#", "1-2.99", False),
        ("LYM#", "1-11.25", True), ("LYM#", "1-11.3", False), ("LYM#", "1-1.8", True), ("LYM#", "1-1.79", False),
        ("PLT", "150-1000", True), ("PLT", "150-1001", False), ("PLT", "50-160", True), ("PLT", "50-159", False),
        ("WBC", "4-27.5", True), ("WBC", "4-27.6", False), ("WBC", "4-4.4", True), ("WBC", "4-4.3", False),
    ],
)  # fmt: skip
def test_a_reference_range_confirms_the_senders_unit_within_a_factor_of_two_and_a_half(
    code: str, limits: str, confirmed: bool
) -> None:
    other = obx("PLT" if code != "PLT" else "LYM#", "210" if code != "PLT" else "1.4")
    text = message(PID, OBR, without_unit(code, "2.0" if code != "PLT" else "200", limits), other)
    (count,) = ruled(text, Sender(default_unit="10*9/L"))["cbcs"]
    assert (count["status"] == "final") is confirmed
