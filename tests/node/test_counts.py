"""A held blood count: a person approves it, corrects it, takes that back; the laboratory's later word goes first."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from typer.testing import CliRunner

from node.cli import app
from node.errors import InputError
from node.people.counts import approve, listed, withdraw
from node.steps.link import link_persons
from node.steps.replay import replay
from node.store.database import open_database
from tests.node.test_hl7_operations import KEY, SETTINGS, hl7, receive

NOW = datetime(2026, 4, 12, 9, 0, tzinfo=UTC)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key=KEY)
    yield database
    database.close()


def cbc(*, at: str, lymphocytes: str = "1.4|10*9/L", number: str = "0042", status: str = "F", more: str = "") -> bytes:
    """A count that a LOINC by position holds (751-8 on the eosinophils)."""
    rows = [
        f"OBX|1|NM|NEU#||4.2|10*9/L|||||{status}",
        f"OBX|2|NM|LYM#||{lymphocytes}|||||{status}",
        f"OBX|3|NM|PLT||210|10*9/L|||||{status}",
        f"OBX|4|NM|751-8^Eosinophils^LN||0.2|10*9/L|||||{status}",
    ]
    rows += [more] if more else []
    return hl7("ORU^R01", "OBR|1||L1|CBC|||20260410", *rows, at=at, number=number)


def the_count(db: Database) -> dict[str, Any]:
    (row,) = db.query("SELECT * FROM blood_counts")
    return {**row, "notes": json.loads(row["notes"]), "reason_codes": json.loads(row["reason_codes"])}


def problems(db: Database) -> list[str]:
    return [detail for (detail,) in db.execute("SELECT detail FROM problems WHERE code = 'held-blood-count'")]


def test_a_held_count_is_approved_as_it_is(db: Database) -> None:
    receive(db, [cbc(at="20260410100000")])
    held = the_count(db)
    assert (held["status"], held["nlr"]) == ("held", pytest.approx(3))
    (problem,) = problems(db)
    assert "751-8 Eosinophils" in problem, "it says which row"
    assert f'counts approve "{held["specimen"]}"' in problem, "and what to do"
    approve(db, held["specimen"], by="Dr Lab", now=NOW)
    link_persons(db, SETTINGS)
    found = the_count(db)
    assert (found["status"], found["nlr"], found["plr"]) == ("final", pytest.approx(3), pytest.approx(150))
    assert "approved by Dr Lab" in found["notes"]
    assert problems(db) == []


def test_it_is_corrected(db: Database) -> None:
    receive(db, [cbc(at="20260410100000", lymphocytes="1,4|10*9/L")])
    held = the_count(db)
    assert (held["status"], held["nlr"], held["plr"]) == ("held", None, None)
    with pytest.raises(InputError, match="neither NLR nor PLR"):
        approve(db, held["specimen"], by="Dr Lab", now=NOW)
    with pytest.raises(InputError, match="not plausible"):
        approve(db, held["specimen"], by="Dr Lab", now=NOW, cells={"lymphocytes": 1400.0})
    approve(db, held["specimen"], by="Dr Lab", now=NOW, cells={"lymphocytes": 1.4})
    link_persons(db, SETTINGS)
    found = the_count(db)
    assert (found["status"], found["lymphocytes_10e9_per_l"]) == ("corrected", 1.4)
    assert (found["nlr"], found["plr"]) == (pytest.approx(3), pytest.approx(150))
    assert found["reason_codes"][-1] == "count-corrected"


def test_it_is_taken_back_and_given_again(db: Database) -> None:
    receive(db, [cbc(at="20260410100000")])
    specimen = the_count(db)["specimen"]
    for _ in range(2):
        approve(db, specimen, by="Dr Lab", now=NOW)
        link_persons(db, SETTINGS)
        assert the_count(db)["status"] == "final"
        withdraw(db, specimen, by="Dr Lab", now=NOW)
        link_persons(db, SETTINGS)
        assert the_count(db)["status"] == "held"
    with pytest.raises(InputError, match="no approved blood count"):
        withdraw(db, specimen, by="Dr Lab", now=NOW)


def test_the_laboratory_that_sends_other_values_ends_the_approval(db: Database) -> None:
    receive(db, [cbc(at="20260410100000")])
    approve(db, the_count(db)["specimen"], by="Dr Lab", now=NOW)
    receive(db, [cbc(at="20260410120000", lymphocytes="2.1|10*9/L", status="C")])
    found = the_count(db)
    assert (found["status"], found["reason_codes"][-1]) == ("held", "approval-outdated")
    assert any("Dr Lab" in problem for problem in problems(db))


def test_another_doubt_is_not_approved_with_the_first(db: Database) -> None:
    receive(db, [cbc(at="20260410100000")])
    approve(db, the_count(db)["specimen"], by="Dr Lab", now=NOW)
    receive(db, [cbc(at="20260410120000", more="OBX|9|NM|MON#||0.3|10*9/L|||||Q")])
    assert the_count(db)["status"] == "held"


def test_the_same_results_again_keep_it(db: Database) -> None:
    receive(db, [cbc(at="20260410100000")])
    approve(db, the_count(db)["specimen"], by="Dr Lab", now=NOW)
    receive(db, [cbc(at="20260410120000")])
    assert the_count(db)["status"] == "final"


def test_it_outlives_a_merge_and_a_derivation_anew(db: Database, tmp_path: Path) -> None:
    receive(db, [cbc(at="20260410100000")])
    approve(db, the_count(db)["specimen"], by="Dr Lab", now=NOW, cells={"platelets": 280.0})
    receive(db, [hl7("ADT^A40", "MRG|0042^^^H^MR", at="20260411080000", number="0077")])
    before = the_count(db)
    assert (before["status"], before["plr"]) == ("corrected", pytest.approx(200))
    settings = SETTINGS.model_copy(update={"storage": SETTINGS.storage.model_copy(update={"folder": tmp_path})})
    replay(db, settings, [])
    assert the_count(db) == before


def test_a_final_count_needs_nobody_and_an_unknown_one_is_refused(db: Database) -> None:
    clean = cbc(at="20260410100000").replace(b"751-8^Eosinophils^LN", b"EOS#")
    receive(db, [clean])
    specimen = the_count(db)["specimen"]
    for name in (specimen, "order:none@"):
        with pytest.raises(InputError, match="no held blood count"):
            approve(db, name, by="Dr Lab", now=NOW)


def test_two_patients_with_one_specimen_are_told_apart(db: Database) -> None:
    receive(db, [cbc(at="20260410100000"), cbc(at="20260410100001", number="0099")])
    rows = listed(db)
    assert len(rows) == 2
    with pytest.raises(InputError, match="--patient"):
        approve(db, str(rows[0]["specimen"]), by="Dr Lab", now=NOW)
    approve(db, str(rows[0]["specimen"]), by="Dr Lab", now=NOW, patient=str(rows[0]["patient"]))
    link_persons(db, SETTINGS)
    states = {row["patient"]: row["status"] for row in listed(db)}
    assert states == {rows[0]["patient"]: "final", rows[1]["patient"]: "held"}


def test_nobody_decides_nothing(db: Database) -> None:
    receive(db, [cbc(at="20260410100000")])
    with pytest.raises(InputError, match="who decides"):
        approve(db, the_count(db)["specimen"], by=" ", now=NOW)
    assert db.execute("SELECT count(*) FROM fact_count_decision").fetchone() == (0,)


def test_the_commands(tmp_path: Path) -> None:
    database = open_database(tmp_path, create=True, pseudonym_key=KEY)
    receive(database, [cbc(at="20260410100000")])
    specimen = the_count(database)["specimen"]
    config = tmp_path / "node.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path}"\n', encoding="utf-8")
    run = CliRunner()
    shown = run.invoke(app, ["counts", "list", "--json", "--config", str(config)])
    assert shown.exit_code == 0
    assert specimen in shown.stdout
    words = ["counts", "approve", specimen, "--by", "Dr Lab", "--lymphocytes", "2.1", "--config", str(config)]
    assert run.invoke(app, words).exit_code == 0
    link_persons(database, SETTINGS)
    assert the_count(database)["nlr"] == pytest.approx(2)
    assert run.invoke(app, ["counts", "withdraw", specimen, "--by", "Dr Lab", "--config", str(config)]).exit_code == 0
    link_persons(database, SETTINGS)
    assert the_count(database)["status"] == "held"
    assert run.invoke(app, ["counts", "approve", "none", "--by", "x", "--config", str(config)]).exit_code != 0
    database.close()
