"""What bookings are by code systems and words of many countries: ``conf/procedures.toml`` against read examples."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.hl7.surgery import Service, load_procedures, understand
from node.hl7.words import fold

EXAMPLES_FILE = Path(__file__).parent / "data" / "procedures.txt"
PROCEDURES = load_procedures()


def lines() -> Iterator[tuple[str, str]]:
    for line in EXAMPLES_FILE.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            understood, examples = line.split(" ; ", maxsplit=1)
            yield from ((understood.strip(), one.strip()) for one in examples.split(" | "))


EXAMPLES = list(lines())


def understood(example: str, *further: str) -> str:
    components = example.split("^") if "^" in example or re.fullmatch(r"[A-Z0-9.]{5,11}", example) else ["X", example]
    return understand([Service.of(components)], further, PROCEDURES)


@pytest.mark.parametrize(("expected", "example"), EXAMPLES, ids=[f"{one}-{two}" for one, two in EXAMPLES])
def test_a_booking_is_what_the_hospital_means(expected: str, example: str) -> None:
    assert understood(example) == expected


TOGETHER = [
    (["22554^ARTHRODESIS ANTERIOR CERVICAL^CPT", "22585^ARTHRODESIS EACH ADDL INTERSPACE^CPT"], "other"),
    (["22612^^CPT", "22614^^CPT", "22842^^CPT"], "operation"),
    (["5-836.40^^OPS", "5-032.10^^OPS"], "operation"),
    (["5-836.40^^OPS", "5-83w.0^^OPS", "5-030.40^^OPS"], "other"),
    (["5-836.40^^OPS", "5-83w.0^^OPS"], "unclear"),
    (["22558^^CPT", "22551^^CPT"], "operation"),
    (["22612^^CPT", "22852^Removal of pedicle screws^CPT"], "repeat"),
    (["63030^^CPT", "20610^INJECTION^CPT"], "operation"),
    (["V38.1^^OPCS4", "Z66.5^^OPCS4"], "operation"),
    (["81.00^^ICD9CM", "X^L4/5 fusion^L"], "operation"),
    (["OR123^MAIN OR CASE^L", "AN1^Anaesthetist^L"], "unknown"),
    (["5-836.40^^OPS", "5-031.4^^OPS"], "other"),
    (["22630^^CPT", "22632^^CPT"], "operation"),
    (["0SG00AJ^^I10P", "0QH004Z^^I10P"], "operation"),
    (["81.08^^ICD9CM", "81.62^^ICD9CM"], "operation"),
    (["V38.3^^OPCS4", "V55.1^^OPCS4"], "operation"),
]


@pytest.mark.parametrize(("services", "expected"), TOGETHER)
def test_the_services_of_a_booking_together(services: list[str], expected: str) -> None:
    assert understand([Service.of(one.split("^")) for one in services], (), PROCEDURES) == expected


@pytest.mark.parametrize(
    ("service", "further", "expected"),
    [
        ("OR123^MAIN OR CASE^L", ["SURG L4-L5 laminectomy"], "operation"),
        ("OR123^MAIN OR CASE^L", ["SURG", "Surgery", "planned: L4/5 microdiscectomy left"], "operation"),
        ("5-836.40^^OPS", ["Spondylodese L4/5"], "operation"),
        ("80.51^^ICD9CM", ["ernia discale L5-S1"], "operation"),
        ("22612^Lumbar fusion^CPT", ["Redo fusion"], "repeat"),
        ("22551^ACDF^CPT", ["back pain, old L4/5 fusion"], "other"),
        ("47562^Cholecystectomy^CPT", ["had an L4/5 laminectomy"], "other"),
        ("OR123^MAIN OR CASE^L", ["FOLLOWUP"], "other"),
    ],
)
def test_what_stands_beside_the_services_tells_where_they_do_not(
    service: str, further: list[str], expected: str
) -> None:
    assert understand([Service.of(service.split("^"))], further, PROCEDURES) == expected


SENTENCES = {
    "fusion": ("L4/5 {}", "operation"),
    "decompression": ("L4/5 {}", "operation"),
    "disc_replacement": ("L4/5 {}", "operation"),
    "interspinous": ("L4/5 {}", "operation"),
    "lumbar": ("{} laminectomy", "operation"),
    "implied_lumbar": ("{} laminectomy", "operation"),
    "thoracic": ("{} laminectomy", "other"),
    "cervical": ("{} laminectomy", "other"),
    "repeat": ("L4/5 fusion {}", "repeat"),
    "visit": ("L4/5 fusion {}", "other"),
    "injection": ("L4/5 {}", "other"),
    "other_disease": ("L4/5 fusion {}", "other"),
    "elsewhere": ("{} fusion", "other"),
    "admission": ("{} L4/5 fusion", "unclear"),
    "errand": ("{} L4/5 fusion", "other"),
    "purpose": ("Blut {} Dekompression L4/5", "unclear"),
    "operative": ("{} zur Dekompression L4/5", "operation"),
}
"""A text with a word of each table, and what the word has to make of it."""

WORDS = [
    (table, name.replace("*", ""))
    for table in SENTENCES
    for names in getattr(PROCEDURES.words, table).names.values()
    for name in names
]


@pytest.mark.parametrize(("table", "word"), WORDS, ids=[f"{table}-{word}" for table, word in WORDS])
def test_every_word_says_what_its_table_means(table: str, word: str) -> None:
    sentence, expected = SENTENCES[table]
    assert understand([Service(codes=(), text=sentence.format(word))], (), PROCEDURES) == expected


CALLED_OFF = [name.replace("*", "") for names in PROCEDURES.words.called_off.names.values() for name in names]


@pytest.mark.parametrize("word", CALLED_OFF)
def test_every_word_of_what_is_called_off_at_both_ends(word: str) -> None:
    for text in (f"{word} - L4/5 fusion", f"L4/5 fusion ({word})", f"*** {word.upper()} *** L4/5 fusion"):
        assert PROCEDURES.words.is_called_off(fold(text)), text
    assert not PROCEDURES.words.is_called_off(fold(f"L4/5 fusion, room of a {word} case"))
    assert not PROCEDURES.words.is_called_off("l4/5 fusion")


def test_every_group_of_codes_has_an_example() -> None:
    told = [[*one.split("^"), "", ""][::2][:2] for _, one in EXAMPLES]
    told += [[*one.split("^"), "", ""][::2][:2] for services, _ in TOGETHER for one in services]
    seen = {id(group) for code, system in told for group in PROCEDURES.groups(code, system)}
    missing = [
        (system.name, group.codes) for system in PROCEDURES.system for group in system.group if id(group) not in seen
    ]
    assert not missing


def test_a_code_of_the_site(tmp_path: Path) -> None:
    told = Path("conf/procedures.toml")
    told = told if told.is_file() else Path(__file__).parents[2] / told
    edited = told.read_text(encoding="utf-8").replace("[local]\n", '[local]\nOR123 = "lumbar"\n"OR9" = "other"\n', 1)
    path = tmp_path / "procedures.toml"
    path.write_text(edited, encoding="utf-8")
    site = load_procedures(path)
    assert understand([Service.of(["or123", "MAIN OR CASE", "L"])], (), site) == "operation"
    assert understand([Service.of(["OR9", "Saal", "L"])], (), site) == "other"
    assert understand([Service.of(["OR123", "MAIN OR CASE", "L"])], (), PROCEDURES) == "unknown"
