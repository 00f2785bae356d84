"""Units that slipped, as laboratories send them: what a careful physician would not sign is held, the rest is used."""

import pytest

from node.hl7.report import interpretation_json
from node.settings import Settings

HEAD = "MSH|^~\\&|LIS|H|||20260110120000||ORU^R01|1|P|2.5.1\rPID|1||P1^^^H^MR\rOBR|1|O1|F1|CBC|||20260110080000"


def count(*rows: str) -> dict[str, object]:
    """Each row is ``name|value|unit|reference range``."""
    lines = []
    for number, row in enumerate(rows, start=1):
        name, value, unit, limits = (*row.split("|"), "", "")[:4]
        lines.append(f"OBX|{number}|NM|{name}||{value}|{unit}|{limits}||||F")
    raw = "\r".join((HEAD, *lines)).encode()
    (message,) = interpretation_json(raw, Settings())
    (found,) = message["cbcs"]  # type: ignore[misc]
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
    words = " ".join(found["notes"])  # type: ignore[arg-type]
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
