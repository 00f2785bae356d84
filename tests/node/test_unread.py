"""Nothing that carries results is dropped in silence: one problem for each sender and kind, and no noise beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from node.hl7.report import interpretation_json
from node.settings import Settings
from node.store.database import open_database
from tests.node.test_hl7_operations import KEY, hl7, receive

OBR = "OBR|1||L1|X^Panel|||20260410"
COUNT = [
    f"OBX|{n}|NM|{code}||{value}|10*9/L|||||F"
    for n, (code, value) in enumerate((("NEU#", 4), ("LYM#", 2), ("PLT", 250)))
]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key=KEY)
    yield database
    database.close()


def problems(*rows: str, kind: str = "ORU^R01", obr: str = OBR) -> list[str]:
    (message,) = interpretation_json(hl7(kind, obr, *rows, at="20260410100000"), Settings())
    found: Any = message["problems"]
    return list(found)


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (["OBX|1|NM|1001^Cells A||4.0|10*9/L|||||F", "OBX|2|NM|1002||2.0|10*9/L|||||F"], "1001 Cells A (10*9/L)"),
        (["OBX|1|NM|NPU12345||4.0|10*9/l|||||F"], "NPU12345"),
        (["OBX|1|NM|X1||4|||||F", "OBX|2|NM|X2||2|||||F", "OBX|3|NM|X3||250|||||F"], "X1"),
        (["OBX|1|NM|Q7^Blod||4|E9/L*|||||F"], None),
        (
            ["OBX|1|TX|BB^Blutbild||Neutrophile 4.0 G/l, Lymphozyten 2.0 G/l, Thrombozyten 250 G/l||||||F"],
            "as text in BB",
        ),
        (
            ["OBX|1|TX|1^WBC||Neutrophils   4.0  10*9/L||||||F", "OBX|2|TX|1^WBC||Lymphocytes  2.0||||||F"],
            "as text in 1",
        ),
        (["OBX|1|ED|58410-2^CBC panel^LN||LAB^Application^PDF^Base64^JVBERi0||||||F"], "as a document in 58410-2"),
    ],
)
def test_results_that_nobody_understands(rows: list[str], part: str | None) -> None:
    found = problems(*rows)
    assert any(part in one for one in found) if part else found == [], found


@pytest.mark.parametrize(
    "rows",
    [
        COUNT,
        ["OBX|1|NM|K^Potassium||4.1|mmol/L|||||F", "OBX|2|NM|GLU||5.0|mg/dL|||||F", "OBX|3|NM|TSH||2|mU/L|||||F"],
        ["OBX|1|NM|718-7^Hb^LN||140|g/L|||||F", "OBX|2|NM|789-8^RBC^LN||4.5|10*12/L|||||F"],
        ["OBX|1|NM|8302-2^Height^LN||170|cm|||||F"],
        ["OBX|1|NM|PCO2||40|mmHg|||||F", "OBX|2|NM|SO2||98|%|||||F"],
        ["OBX|1|TX|R^MRI lumbar||Degenerative changes L4/5 and L5/S1. No compression of 3 roots.||||||F"],
        ["OBX|1|NM|CD4^CD4 cells||500|/uL|||||F"],
        ["OBX|1|NM|BAK^Bakterien im Urin||120|/uL|||||F"],
        ["OBX|1|NM|1||4|||||F"],
        ["OBX|1|ED|PDF^Radiology report||LAB^Application^PDF^Base64^JVBERi0||||||F"],
        [*COUNT, "OBX|9|ED|PDF^CBC report||LAB^Application^PDF^Base64^JVBERi0||||||F"],
        ["OBX|1|TX|N||Neutrophils seen||||||F", "OBX|2|TX|N||Lymphocytes 2.0||||||F"],
    ],
)
def test_what_is_surely_something_else_is_left_alone(rows: list[str]) -> None:
    assert problems(*rows) == []


@pytest.mark.parametrize("kind", ["OPU^R25", "OML^O21", "MDM^T02", "BAR^P05", "ORM^O01", "ADT^A08", "ZZZ^Z01"])
def test_counts_in_messages_of_other_types(kind: str) -> None:
    (found,) = problems(*COUNT, kind=kind)
    assert "NEU#" in found
    assert kind in found
    assert problems("OBX|1|NM|8302-2^Height^LN||170|cm|||||F", kind=kind) == []
    assert problems("OBX|1|TX|D^Letter||Dear colleague, 3 weeks ago||||||F", kind=kind) == []


def test_a_count_as_text_in_a_document_of_another_type() -> None:
    (found,) = problems(
        "TXA|1|LR", "OBX|1|TX|L^Befund||Lymphozyten 2.0 G/l, Thrombozyten 250 G/l||||||F", kind="MDM^T02"
    )
    assert "as text in L Befund" in found


def listed(db: Database) -> list[tuple[str, str, str]]:
    return db.execute("SELECT source, code, detail FROM problems ORDER BY 2").fetchall()


def of_patient(number: int, *rows: str) -> bytes:
    obr = OBR.replace("L1", f"L{number}")
    return hl7("ORU^R01", obr, *rows, at=f"202604101000{number:02}", number=f"71{number:02}")


def test_one_problem_for_each_sender_and_kind(db: Database) -> None:
    unknown = "OBX|1|NM|1001^Cells A||4.0|10*9/L|||||F"
    frames = [of_patient(n, unknown) for n in range(5)]
    frames += [hl7("OPU^R25", OBR, *COUNT, at="20260410110000")]
    receive(db, frames)
    (first, second) = listed(db)
    assert first[:2] == ("sender HIS|H", "results-not-understood")
    assert first[2].startswith("5 messages, for example: ")
    assert "1001 Cells A" in first[2]
    assert "conf/analytes.toml" in first[2]
    assert second[:2] == ("sender HIS|H", "results-of-type-not-read")
    assert "Doe" not in str(listed(db))


def test_documents_beside_counts_that_are_read_are_no_loss(db: Database) -> None:
    document = "OBX|1|ED|CBC^CBC report||LAB^Application^PDF^Base64^JVBERi0||||||F"
    receive(db, [of_patient(1, document)])
    assert [code for _, code, _ in listed(db)] == ["count-as-document"]
    receive(db, [of_patient(2, *COUNT)])
    assert listed(db) == []


def test_a_sender_whose_results_never_make_a_count(db: Database) -> None:
    rows = COUNT[:2]  # never platelets
    receive(db, [of_patient(n, *rows) for n in range(2)])
    assert listed(db) == [], "two patients are no sender"
    receive(db, [of_patient(n, *rows) for n in range(2, 6)])
    ((source, code, detail),) = listed(db)
    assert (source, code) == ("sender HIS|H", "sender-without-counts")
    assert "of 6 patients" in detail
    assert "platelets" in detail
    receive(db, [of_patient(50, *COUNT)])
    assert listed(db) == [], "one that makes a count ends it"


def test_a_row_of_an_unknown_code_is_one_problem_of_its_sender(db: Database) -> None:
    for number in range(3):
        rows = [*COUNT, "OBX|8|NM|XNEUTX^PMNs||4.2|10*9/L|||||F", "OBX|9|NM|XSEGX^Segs||4.0|10*9/L|||||F"]
        receive(db, [hl7("ORU^R01", OBR.replace("L1", f"L{number}"), *rows, at=f"2026041010000{number}")])
    found = db.execute("SELECT source, detail FROM problems WHERE code = 'unknown-code' ORDER BY detail").fetchall()
    assert [source for source, _ in found] == ["sender HIS|H"] * len(found)
    named = [detail for _, detail in found if "XNEUTX" in detail]
    assert len(named) == 1
    assert named[0].startswith("3 messages, for example: XNEUTX PMNs")


def test_counts_of_numbers_of_which_nothing_else_is_known_are_said_while_they_are_few_and_new(db: Database) -> None:
    def said() -> list[str]:
        return [detail for _, code, detail in listed(db) if code == "counts-of-nobody"]

    counted = [of_patient(n, *COUNT) for n in range(6)]
    stays = [hl7("ADT^A01", at="20260401080000", number=f"71{n:02}") for n in range(6)]
    receive(db, [*counted[:5], *stays[:5]])
    assert said() == []
    receive(db, [counted[5]])
    (line,) = said()
    assert line.startswith("1 patient numbers have blood counts of the last 30 days")
    # A night later something else is known of it; of others it is not, and they are old a month later.
    receive(db, [stays[5]])
    assert said() == []
    receive(db, [of_patient(6, *COUNT)])
    assert len(said()) == 1
    receive(db, [hl7("ADT^A01", at="20260511080000", number="7100")])
    assert said() == []
    # Where a laboratory sends the counts of everybody, that nothing else is known of most is as it is.
    receive(db, [hl7("ADT^A01", at="20260412080000", number="7100")])
    assert len(said()) == 1
    receive(db, [of_patient(n, *COUNT) for n in range(7, 9)])
    assert said() == []
