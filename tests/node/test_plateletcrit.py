"""The plateletcrit as a second measurement of the platelets: what is so is used, what has slipped is held.

By hand: PCT in % = PLT in 10⁹/L × MPV in fL / 10,000, with volumes of 7 to 12 fL in health (Bessman 1981).
"""

import pytest

from analytics.counts.blood import combine
from analytics.counts.norms import NO_COUNTS, unlike_sender
from analytics.counts.results import SpecimenResults
from analytics.records import ResultStatus
from node.hl7.extracts import SpecimenExtract
from node.hl7.interpret import interpret_frame
from node.settings import Settings
from node.steps.senders import _of
from tests.node.test_hl7_slips import HEAD, count

WBC, NEU, LYM = "6690-2^W^LN|7.0|10*9/L", "751-8^N^LN|4.0|10*9/L", "731-0^L^LN|2.0|10*9/L"
PERCENT = "736-9^L^LN|28.6|%"


def verdict(*rows: str) -> str:
    """``used``, or what holds the count: itself, or what is usual of a new sender."""
    told = [f"OBX|{number}|NM|{row.replace('|', '||', 1)}|||||F" for number, row in enumerate(rows, start=1)]
    (message,) = interpret_frame("\r".join((HEAD, *told)).encode(), Settings())
    (extract,) = [one.extract for one in message.items if isinstance(one.extract, SpecimenExtract)]
    said = SpecimenResults(
        specimen=extract.specimen, taken_at=extract.taken_at, date_only=False, results=extract.results, sent_at=None,
        tie_break="",
    )  # fmt: skip
    (found,) = combine([said])
    doubt = unlike_sender(_of(found), NO_COUNTS)
    if found.status is ResultStatus.HELD or doubt is None:
        return "held" if found.status is ResultStatus.HELD else "used"
    return f"{doubt.values['what']} {doubt.values['way']}"


def platelets(value: str, crit: str, unit: str = "10*9/L") -> tuple[str, ...]:
    return WBC, NEU, LYM, PERCENT, f"777-3^P^LN|{value}|{unit}", crit


@pytest.mark.parametrize(
    ("value", "crit"),
    [
        ("20", "51637-7^Plateletcrit^LN|0.024|%"),  # immune thrombocytopenia: 20 × 12 / 10,000
        ("20", "PCT^Plättchenkrit^L|0.02|%"),  # rounded
        ("12", "PCT^血小板比积^L|0.02|%"),  # 12 × 13 / 10,000 = 0.0156
        ("20", "10002^PCT^99MRC|0.24|mL/L"),  # Mindray: 1 mL/L is 0.1 %
        ("20", "PCT^Plaquetócrito^L|0,024|%"),
        ("1600", "PCT^PCT^L|1.28|%"),  # essential thrombocythaemia: 1,600 × 8 / 10,000
        ("20000", "PCT^PCT^L|0.024|%"),  # cells per µL, see below
    ],
)
def test_platelets_that_the_plateletcrit_confirms_are_used(value: str, crit: str) -> None:
    unit = "/uL" if value == "20000" else "10*9/L"
    assert verdict(*platelets(value, crit, unit)) == "used"


@pytest.mark.parametrize(
    ("value", "crit", "expected"),
    [
        # 245 that became 24.5: the analyser made 0.24 % of the 245.
        ("24.5", "PCT^PCT^L|0.24|%", "held"),
        ("48", "PCT^PCT^L|0.46|%", "held"),  # 480; few enough to be believed without the plateletcrit
        ("1100", "PCT^PCT^L|0.12|%", "held"),  # 110, tenfold
        ("24.5", "PCT^PCT^99MRC|2.4|mL/L", "held"),
        # What says nothing leaves it as it is without: procalcitonin, no unit, none that is rounded away, withdrawn.
        ("24", "PCT^Procalcitonin^L|0.24|ng/mL", "plr below"),
        ("24", "PCT^Procalcitonin^L|0.024|%", "plr below"),
        ("24", "PCT^PCT^L|0.024|", "plr below"),
        ("24", "PCT^PCT^L|0.0|%", "plr below"),
        ("24", "777-9^Something^L|0.024|%", "plr below"),
    ],
)
def test_platelets_that_it_does_not_are_held(value: str, crit: str, expected: str) -> None:
    assert verdict(*platelets(value, crit)) == expected


@pytest.mark.parametrize(
    ("value", "crit"),
    [
        ("250", "PCT^PCT^L|2.5|%"),  # mL/L, said to be %
        ("250", "PCT^PCT^L|0.025|%"),
        ("550", "PCT^PCT^L|0.10|%"),  # both usual: nobody knows which is right, and the ratio is none that is rare
        ("60", "PCT^PCT^L|0.12|%"),  # 20 fL: strange, and no slip
        ("250", "PCT^PCT^L|<0.01|%"),
    ],
)
def test_a_plateletcrit_that_is_itself_odd_holds_nothing(value: str, crit: str) -> None:
    found = count(*platelets(value, crit))
    assert (found["status"], found["notes"]) == ("final", [])


def test_a_plateletcrit_does_not_explain_lymphocytes_that_nothing_confirms() -> None:
    """450 / 0.5 = 900: for the lymphocytes, which leukocytes × 7.1 % confirm or nothing does."""
    rows = (WBC, NEU, "731-0^L^LN|0.5|10*9/L", "777-3^P^LN|450|10*9/L", "PCT^PCT^L|0.43|%")
    assert verdict(*rows) == "plr above"
    assert verdict(*rows, "736-9^L^LN|7.1|%") == "used"


def test_two_plateletcrits_say_nothing() -> None:
    assert verdict(*platelets("20", "PCT^PCT^L|0.024|%"), "PCT2^Plateletcrit^L|0.24|%") == "plr below"
