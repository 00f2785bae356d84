"""Units that slipped, as laboratories send them: what a careful physician would not sign is held, the rest is used."""

import re

import pytest

from node.hl7.report import interpretation_json
from node.settings import Hl7, Sender, Settings

HEAD = "MSH|^~\\&|LIS|H|||20260110120000||ORU^R01|1|P|2.5.1\rPID|1||P1^^^H^MR\rOBR|1|O1|F1|CBC|||20260110080000"


def count(*rows: str, settings: Settings | None = None) -> dict[str, object]:
    """Each row is ``name|value|unit|reference range|flag``."""
    lines = []
    for number, row in enumerate(rows, start=1):
        name, value, unit, limits, flag = (*row.split("|"), "", "", "")[:5]
        lines.append(f"OBX|{number}|NM|{name}||{value}|{unit}|{limits}|{flag}|||F")
    raw = "\r".join((HEAD, *lines)).encode()
    (message,) = interpretation_json(raw, settings or Settings())
    (found,) = message["cbcs"]
    return found


WBC, NEU, PLT = "6690-2^W^LN|7.0|10*9/L", "751-8^N^LN|4.0|10*9/L", "777-3^P^LN|250|10*9/L"


@pytest.mark.parametrize(
    "lymphocytes",
    [
        "731-0^L^LN|2.0|10*9/L|1.0-4.0",
        "731-0^L^LN|2000|/uL|1000-4000",
        "731-0^L^LN|1995|/mm3",
        "731-0^L^LN|1995.5|/uL",  # leukocytes × % as a laboratory system multiplies it
        "731-0^L^LN|2.0|10*9/L|1000-4000",  # the range is still one in cells/µL; it is not of the order of the value
        "731-0^L^LN|0.2|10*9/L|1.0-4.0",  # lymphopenia
        "731-0^L^LN|2.0|10*9/L|20-45",
    ],
)
def test_a_right_count_is_used(lymphocytes: str) -> None:
    found = count(WBC, NEU, lymphocytes, PLT)
    assert (found["status"], found["notes"]) == ("final", [])
    assert found["nlr"] is not None


@pytest.mark.parametrize(
    ("lymphocytes", "code"),
    [
        ("731-0^L^LN|1.995|/mm3", "cells-not-whole"),
        ("731-0^L^LN|2.0|cells/uL|1.0-4.0", "reference-range-of-other-unit"),
        ("731-0^L^LN|2.5|cells/uL", "cells-not-whole"),
        ("731-0^L^LN|120.125|/uL", "cells-not-whole"),
        ("731-0^L^LN|20|10*9/L|10-40", "reference-range-of-other-unit"),
        ("731-0^L^LN|2|cells/uL", "ratio-not-plausible"),
    ],
)
def test_a_slip_is_held_and_says_why(lymphocytes: str, code: str) -> None:
    found = count(NEU, lymphocytes, PLT)
    assert found["status"] == "held"
    words = " ".join(found["notes"])
    expected = {"cells-not-whole": "no whole number", "reference-range-of-other-unit": "reference range ends at",
                "ratio-not-plausible": "not plausible"}[code]  # fmt: skip
    assert expected in words


@pytest.mark.parametrize(
    ("platelets", "held"),
    [("250.000|/mm3", True), ("250000|/mm3", False), ("250|mil/mm3", False), ("2500|10*9/L|1500-4000", True)],
)
def test_platelets_with_a_thousands_sign(platelets: str, held: bool) -> None:
    found = count(NEU, "731-0^L^LN|2.0|10*9/L", f"777-3^P^LN|{platelets}")
    assert (found["status"] == "held") is held


BRAZIL = (
    "LEU^Leucócitos|7.030|/mm3|4.000-10.000",
    "NEU^Neutrófilos|4.020|/mm3|1.800-7.500",
    "LIN^Linfócitos|2.010|/mm3|1.000-4.000",
    "PLA^Plaquetas|251.000|/mm3|150.000-400.000",
)


@pytest.mark.parametrize("between", [" a ", " até ", " - "])
def test_thousands_of_a_panel_whatever_stands_between_its_limits(between: str) -> None:
    segmented = BRAZIL[1].replace(BRAZIL[1].partition("|")[0], "SEG^Segmentados")
    rows = [row.replace("-", between) for row in (BRAZIL[0], segmented, *BRAZIL[2:])]
    found = count(*rows, "BAST^Bastonetes|0|/mm3|0 a 500")
    assert (found["status"], found["nlr"]) == ("final", 2.0)


def test_points_of_thousands_that_the_reference_range_has_as_well_are_read() -> None:
    """As hospitals of Brazil, Italy and Spain write cells per mm³."""
    found = count(*BRAZIL, "LINP^Linfócitos %|28,6|%|20,0-45,0")
    assert (found["status"], found["nlr"], found["plr"]) == ("final", 2.0, pytest.approx(124.88, abs=0.01))


QUEST = ("WBC^WBC|7.0|Thousand/uL", "N^ABSOLUTE NEUTROPHILS|4,020|cells/uL|1500-7800",
         "L^ABSOLUTE LYMPHOCYTES|2,010|cells/uL|850-3900", "PLT^PLATELET COUNT|251|Thousand/uL")  # fmt: skip


def test_commas_of_thousands_are_read_where_the_range_is_one_in_whole_cells() -> None:
    assert count(*QUEST)["nlr"] == 2.0
    assert count(*(row.replace("1500-7800", "1.5-7.8").replace("850-3900", "0.8-3.9") for row in QUEST))["nlr"] is None


def test_one_range_shows_how_the_whole_panel_is_written() -> None:
    found = count(*BRAZIL, "MONO^Monócitos|1.017|/mm3|200-900")
    assert (found["status"], found["nlr"]) == ("final", 2.0)


def test_points_of_thousands_that_the_reference_range_has_not_are_for_a_person() -> None:
    without = [row.rsplit("|", maxsplit=1)[0] for row in BRAZIL]
    assert count(*without)["nlr"] is None
    other = [re.sub(r"(\d)\.\d{3}-(\d+)\.\d{3}$", r"\1.0-\2.0", row) for row in BRAZIL]
    assert count(*other)["nlr"] is None, "a range in another unit does not say what the point is"


def test_of_a_sender_of_decimal_commas_a_point_among_whole_cells_is_one_of_thousands() -> None:
    rules = Settings(hl7=Hl7(senders={"LIS|H": Sender(decimal_comma=True)}))
    without = [row.rsplit("|", maxsplit=1)[0] for row in BRAZIL]
    assert count(*without, settings=rules)["nlr"] == 2.0
    assert count(*(row.replace("/mm3", "10*9/L") for row in without), settings=rules)["nlr"] is None


@pytest.mark.parametrize(("value", "read"), [("28,5", True), ("5,25", True), ("28,5,1", False)])
def test_a_percentage_has_no_thousands(value: str, read: bool) -> None:
    found = count("6690-2^W^LN|7.0|10*9/L", "770-8^N^LN|57|%", f"736-9^L^LN|{value}|%", PLT)
    assert (found["nlr"] is not None) is read


@pytest.mark.parametrize(
    ("lymphocytes", "held"),
    [
        ("736-9^L^LN|6.5|%|20.0-45.0|N", True),  # changed behind the flag
        ("736-9^L^LN|6.5|%|20.0-45.0|L", False),
        ("736-9^L^LN|6.5|%|20.0-45.0", False),
        ("736-9^L^LN|6,5|%|20,0-45,0|N", True),
        ("736-9^L^LN|17.0|%|20.0-45.0|N", False),  # of a limit that the laboratory rounds
        ("736-9^L^LN|17.0|%|20.0-45.0|H", True),
        ("736-9^L^LN|48.0|%|20.0-45.0|L", True),
        ("736-9^L^LN|30.0|%|20.0-45.0|A", False),
        ("736-9^L^LN|30.0|%|0.2-0.45|N", False),  # a range of fractions says nothing of a percentage
    ],
)
def test_a_flag_that_was_made_of_another_value(lymphocytes: str, held: bool) -> None:
    """As of a laboratory that sends percentages only, so that no count tells."""
    found = count(WBC, "770-8^N^LN|57|%", lymphocytes, PLT)
    assert (found["status"] == "held") is held
    assert ("the flag was made of another value" in str(found["notes"])) is held


@pytest.mark.parametrize(
    ("neutrophils", "lymphocytes", "held"),
    [
        ("770-8^N^LN|42|%|20.0-45.0", "736-9^L^LN|50|%|40.0-75.0", True),  # rows exchanged with their ranges
        ("770-8^N^LN|42|%|40.0-75.0", "736-9^L^LN|50|%|20.0-45.0", False),
        ("770-8^N^LN|42|%|40.0-60.0", "736-9^L^LN|50|%|20.0-50.0", False),  # narrow ranges
        ("770-8^N^LN|42|%|20,0-45,0", "736-9^L^LN|50|%|40,0-75,0", True),
        ("751-8^N^LN|2.6|10*9/L|1.0-4.0", "731-0^L^LN|3.4|10*9/L|1.8-7.5", True),
        ("751-8^N^LN|2.6|10*9/L|1.8-7.5", "731-0^L^LN|3.4|10*9/L|1.0-4.8", False),
        ("751-8^N^LN|2.6|10*9/L|1.8-7.5", "731-0^L^LN|3400|/uL|1000-4800", False),  # of another unit
        ("751-8^N^LN|2.6|10*9/L|", "731-0^L^LN|3.4|10*9/L|1.8-7.5", False),
    ],
)
def test_rows_with_each_others_reference_range(neutrophils: str, lymphocytes: str, held: bool) -> None:
    """Adults: neutrophils to 75 % and 7.5 × 10⁹/L, lymphocytes to 45 % and 4.5 × 10⁹/L (Oxford Handbook)."""
    found = count(WBC, neutrophils, lymphocytes, PLT)
    assert (found["status"] == "held") is held
    assert ("each other's reference range" in str(found["notes"])) is held


@pytest.mark.parametrize(("lymphocytes", "held"), [("9.6", True), ("28.0", False)])
def test_monocytes_with_the_flag_of_another_value_judge_the_lymphocytes(lymphocytes: str, held: bool) -> None:
    monocytes = "5905-5^M^LN|26.9|%|3.0-10.0|N"
    found = count(WBC, "770-8^N^LN|57|%", f"736-9^L^LN|{lymphocytes}|%|20.0-45.0|N", monocytes, PLT)
    assert (found["status"] == "held") is held
    assert found["lmr"] is None


def test_flags_of_whole_cells_are_compared_with_limits_that_part_thousands() -> None:
    flagged = [f"{row}|N" for row in BRAZIL]
    assert count(*flagged)["status"] == "final"
    few = [row.replace("|2.010|", "|850|") + ("|L" if "LIN" in row else "|N") for row in BRAZIL]
    assert count(*few)["status"] == "final"
    slipped = [row.replace("|251.000|", "|25.100|") + "|N" for row in BRAZIL]
    assert count(*slipped)["status"] == "held"


def flagged(*pair: str, more: tuple[str, ...] = ()) -> str:
    """Status of percentages alone: neutrophils and lymphocytes as ``value flag``, with the usual ranges of adults."""
    told = [
        f"{name}|{value}|%|{limits}|{flag}"
        for name, limits, (value, flag) in zip(
            ("770-8^N^LN", "736-9^L^LN"), ("40-75", "20-45"), (one.split() for one in pair), strict=True
        )
    ]
    return str(count(WBC, *told, PLT, *more)["status"])


@pytest.mark.parametrize(
    ("pair", "status"),
    [
        (("35 N", "55 N"), "held"),  # 55 and 35 that stand in each other's row, whose flags did not move
        (("22 N", "68 N"), "held"),
        (("18 H", "78 L"), "held"),  # 78 high, 18 low
        (("18 L", "78 H"), "final"),  # lymphocytosis, flagged so: nothing in the message tells
        (("35 L", "55 H"), "final"),
        (("39 N", "46 N"), "final"),  # at the limit of both ranges, rounded
        (("35 L", "55 N"), "final"),  # one flag alone may follow another limit
        (("55 N", "35 N"), "final"),
    ],
)
def test_flags_of_each_others_values_tell_that_neutrophils_and_lymphocytes_are_exchanged(
    pair: tuple[str, str], status: str
) -> None:
    assert flagged(*pair) == status


def test_flags_that_contradict_other_values_as_well_tell_nothing() -> None:
    """Of a system that writes N beside everything."""
    assert flagged("35 N", "55 N", more=("5905-5^M^LN|20|%|3-10|N",)) == "final"
