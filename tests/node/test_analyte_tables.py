"""Every entry of ``conf/analytes.toml`` by a name or code as laboratories send it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.hl7.catalogue import code_key, load_analytes
from node.hl7.naming import LOINC, identify
from node.hl7.words import fold, names_pattern

NAMES = Path(__file__).parent / "data" / "analyte_names.txt"
ANALYTES = load_analytes()


def lines() -> Iterator[tuple[str, str, str]]:
    """Quantity, scale and name of every example."""
    for line in NAMES.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            quantity, scale, _, names = (part.strip() for part in line.split(" ; ", maxsplit=3))
            yield from ((quantity, scale, name.strip()) for name in names.split(" | "))


EXAMPLES = list(lines())


def components(name: str) -> list[str]:
    """OBX-3 of an example: as it is where it has components, else once as the code and once as the name."""
    return name.split("^") if "^" in name else ["7", name, "L"]


@pytest.mark.parametrize(("quantity", "scale", "name"), EXAMPLES, ids=[f"{one[0]}-{one[2]}" for one in EXAMPLES])
def test_a_name_is_what_the_laboratory_means(quantity: str, scale: str, name: str) -> None:
    found = identify(components(name), ANALYTES)
    if quantity == "-":
        assert found is None
        return
    assert found is not None
    assert (found.analyte, found.conflict) == (quantity, None)
    if scale == "percent" or (scale == "absolute" and quantity not in ("platelets", "leukocytes")):
        assert found.scale == scale


def test_every_entry_has_an_example() -> None:
    """So that no entry of the tables stands there untried."""
    texts = [fold(part).replace("_", " ") for _, _, name in EXAMPLES for part in name.split("^")]
    keys = {code_key(text) for text in texts}
    for term in ANALYTES.term:
        for code in term.loinc:
            assert any(code in name for _, _, name in EXAMPLES), code
        for code in term.codes:
            assert code_key(code) in keys, code
        for names in term.names.values():
            for name in names:
                pattern = re.compile(names_pattern([name]))
                assert any(pattern.search(text) for text in texts), name


def test_no_code_has_two_meanings() -> None:
    codes = [fold(code) for term in ANALYTES.term for code in (*term.codes, *term.loinc)]
    assert len(codes) == len(set(codes))
    assert not {code for code in ANALYTES.by_loinc if not LOINC.fullmatch(code)}


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Płytki krwi", "plytki krwi"),
        ("Nøytrofile", "noytrofile"),
        ("Hæmoglobin", "haemoglobin"),
        ("LÖKOSİT", "lokosit"),
        ("sayısı", "sayisi"),
        ("Stäbe, weiße", "stabe, weisse"),
        ("Đoạn trung tính", "doan trung tinh"),
        ("ＷＢＣ　ﾘﾝﾊﾟ球", "wbc リンパ球"),
        ("Λευκά", "λευκα"),
        ("нейтрофилы й", "нейтрофилы й"),
        ("Polynucle\u0301aires", "polynucleaires"),
    ],
)
def test_letters_are_folded(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("ratio", "numeration des plaquettes", False),
        ("ratio", "neutrophil ratio", True),
        ("plaquett*", "plaquettes", True),
        ("plaquett*", "microplaquettes", False),
        ("*zytose", "leukozytose", True),
        ("globules blancs", "globules_blancs", True),
        ("globules blancs", "globules tres blancs", False),
        ("wbc", "wbc数", True),
        ("好中球", "白血球好中球数", True),
        ("тромбоцит*", "антитромбоцит", False),
    ],
)
def test_names_are_words(name: str, text: str, found: bool) -> None:
    assert bool(re.search(names_pattern([name]), text)) is found
