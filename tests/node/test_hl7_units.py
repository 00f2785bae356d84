"""Units and numbers as laboratories write them. Factors to 10⁹/L follow from the definitions of the units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.hl7.catalogue import load_analytes
from node.hl7.units import Count, Percent, read_number, read_unit

UNITS = load_analytes().units


@pytest.mark.parametrize(
    "spelling",
    [
        "10*9/L",
        "10^9/L",
        "xE9/l",
        "х10⁹/л",  # a Cyrillic х
        "χ10³/μL",  # a Greek χ
        "10⁹ L⁻¹",
        "[10*3/uL]",
        "ezer/µL",
        "nghìn/µL",
        "тис/мкл",
        "10E9/l",
        "x10S9/l",
        "X10 9/L",
        "G/l",
        "G/L",
        "Giga/l",
        "giga.l-1",
        "/nl",
        "10*3/uL",
        "10^3/μL",
        "x10E3/uL",
        "K/uL",
        "k/ul",
        "THOU/uL",
        "Thousand/uL",
        "x1000/mm³",
        "10⁹/L",
        "x10*9/L",
        "×10⁹/l",
        "10e9/l",
        "10x3/uL",
        "10*3/mm3",
        "10**9/L",
        "Gpt/l",
        "10*6/mL",
        "K/mcL",
        "K/cumm",
        "E9/L",
        "*10^9/L",
        "x10(3)/mcL",
        "10 exp 9/L",
        "1e9/L",
        "10’9/L",
        "x10^9 per litre",
        "10^9 L-1",
        "tys/µl",
        "Tsd./µl",
        "Mrd/l",
        "10^9/л",
        "migl/mmc",
        "Thou/cu mm",
        "K/?L",
        "Г/л",
        "miles/mm3",
        "mila/mmc",
        "bin/µL",
        "ribu/mm3",
        "Tausend/µl",
        "{10*9}/L",
        "10[9]/L",
        "(10^9)/L",
        "10^9个/L",
        "10^3个/uL",
        "10^3 cells/uL",
        "10^9/litro",
        "K/MICROLITER",
    ],
)
def test_units_that_are_10e9_per_l(spelling: str) -> None:
    assert read_unit([spelling], UNITS) == Count(factor=1.0)


@pytest.mark.parametrize(
    "spelling",
    [
        "cells/uL",
        "{cells}/uL",
        "/mm3",
        "/cumm",
        "/uL",
        "/µl",
        "cells/mm3",
        "per uL",
        "/mmc",
        "uL-1",
        "个/uL",
        "個/μL",
        "개/㎕",
        "кл/мкл",
        "células/mm3",
        "cellules/mm3",
        "celle/µL",
    ],
)
def test_units_that_are_a_thousandth(spelling: str) -> None:
    unit = read_unit([spelling], UNITS)
    assert isinstance(unit, Count)
    assert unit.factor == pytest.approx(0.001)


@pytest.mark.parametrize("spelling", ["%", "PERCENT", "percent", " % "])
def test_percentages(spelling: str) -> None:
    assert read_unit([spelling], UNITS) == Percent()


@pytest.mark.parametrize(
    "spelling", ["g/l", "T/l", "10*12/L", "mmol/l", "fl", "", "/hpf", "M/uL", "10^9", "mg/dL", "10*5/L", "U/l"]
)
def test_other_units_are_not_understood(spelling: str) -> None:
    assert read_unit([spelling], UNITS) is None


@pytest.mark.parametrize(
    ("spelling", "factor"), [("x10^4/μL", 10), ("万/μL", 10), ("lakhs/cumm", 100), ("x10²/μL", 0.1)]
)
def test_other_powers(spelling: str, factor: float) -> None:
    unit = read_unit([spelling], UNITS)
    assert isinstance(unit, Count)
    assert unit.factor == pytest.approx(factor)


@pytest.mark.parametrize(("text", "value"), [("٤٫٢", 4.2), ("２．０", 2.0), ("２５０", 250.0), ("＋２", 2.0)])
def test_numbers_in_full_width(text: str, value: float) -> None:
    assert read_number(text).value == value
    assert read_number("＜０．１").value is None


def test_contradicting_spellings_are_not_understood() -> None:
    assert read_unit(["K/uL", "cells/uL"], UNITS) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<0.1", "censored"),
        (">1000", "censored"),
        ("DNR", "text"),
        ("**.*", "text"),
        ("", "no value"),
        ("8.2*", "text"),
    ],
)
def test_values_without_a_number(text: str, word: str) -> None:
    reading = read_number(text)
    assert reading.value is None and not reading.doubtful
    assert word in str(reading.reason)


@pytest.mark.parametrize("text", ["210 000", "2,10,000", "210'000", "210\u00a0000", "210\u202f000", "210’000"])
def test_thousands_that_no_decimal_point_can_be_mistaken_for_are_read(text: str) -> None:
    assert read_number(text).value == 210_000
    assert read_number(text.replace("000", "00")).value is None


@pytest.mark.parametrize("text", ["4,5", "1,234", "-3"])
def test_values_for_a_person(text: str) -> None:
    reading = read_number(text)
    assert reading.value is None and reading.doubtful


@given(st.decimals(min_value=0, max_value=10_000, places=3, allow_nan=False, allow_infinity=False))
def test_plain_decimals_are_read_exactly(number: object) -> None:
    assert read_number(f" {number} ").value == float(str(number))
