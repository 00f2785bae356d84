"""The export: what a researcher gets is what the views have, and leads to nobody."""

import csv
import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest

from node.errors import InputError
from node.operate import export as module
from node.operate.export import Exported, Format, export
from node.settings import Settings
from node.store.archive import Archive
from node.store.database import insert, open_database, writing

AT = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(derived: tuple[Path, Settings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export") / "data"
    shutil.copytree(derived[0], place)
    with closing(open_database(place)) as db, writing(db):
        # As old as hardly anybody is, and an id that a spreadsheet would calculate.
        row = {"id": "=1+2", "site": "s", "import_id": 1, "line": 999, "age": 97, "eligible": 0,
               "exclusion_reasons": "[]", "surgery_date": "2026-01-31"}  # fmt: skip
        insert(db, "derived_import_row", [row])
    return place


def exported(folder: Path, to: Path, *, receiver: str = "A", form: Format = "csv", shift: bool = True) -> Exported:
    with closing(open_database(folder)) as db:
        return export(db, to, receiver=receiver, form=form, shift_dates=shift, now=AT)


def test_an_export_that_is_not_whole_has_no_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What one that was killed has left.
    (tmp_path / ".e.new" / "images").mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_codes", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            exported(folder, tmp_path / "e")
    assert list(tmp_path.iterdir()) == []
    exported(folder, tmp_path / "e")
    assert [path.name for path in tmp_path.iterdir()] == ["e"]
    assert not (tmp_path / "e" / "images").exists()


def test_two_exports_to_one_folder_are_one_and_a_refusal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reached, go_on = module._codes, threading.Event(), threading.Event()

    def wait() -> Iterator[dict[str, str]]:
        reached.set()
        assert go_on.wait(30)
        return real()

    monkeypatch.setattr(module, "_codes", wait)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(exported, folder, tmp_path / "e", receiver="A")
        assert reached.wait(30)
        second = pool.submit(exported, folder, tmp_path / "e", receiver="B")
        with pytest.raises(TimeoutError):
            second.result(0.5)
        go_on.set()
        assert first.result(30).rows
        with pytest.raises(InputError, match="is there already"):
            second.result(30)
    about = json.loads((tmp_path / "e" / "export.json").read_text(encoding="utf-8"))
    assert about["receiver"] == "A"
    for name, digest in about["sha256"].items():
        assert hashlib.sha256((tmp_path / "e" / name).read_bytes()).hexdigest() == digest


def test_images_go_along_under_the_ids_of_the_tables(folder: Path, tmp_path: Path) -> None:
    with closing(open_database(folder)) as db:
        done = export(
            db,
            tmp_path / "e",
            receiver="A",
            form="csv",
            shift_dates=True,
            now=AT,
            archive=Archive(folder),
            images="slice",
        )
        known = db.execute("SELECT DISTINCT sop_instance_uid FROM fact_object").fetchall()
        (patients,) = db.execute("SELECT group_concat(patient_id) FROM derived_identifier").fetchone()
    rows = read(tmp_path / "e" / "images.csv")
    measured = {row["series"]: row for row in read(tmp_path / "e" / "measurements.csv") if row["in_effect"] == "1"}
    assert len(rows) == done.rows["images"] == 2
    for row in rows:
        assert measured[row["series"]]["patient"] == row["patient"]
        given = pydicom.dcmread(tmp_path / "e" / row["file"])
        assert given.PatientID == row["patient"]
        assert date.fromisoformat(given.StudyDate).isoformat() == measured[row["series"]]["study_date"]
        content = (tmp_path / "e" / row["file"]).read_bytes()
        assert [
            one for one in (*patients.split(","), "Test^", *(uid for (uid,) in known)) if one.encode() in content
        ] == []
    about = json.loads((tmp_path / "e" / "export.json").read_text())
    assert set(about["sha256"]) >= {"images.csv", *(row["file"] for row in rows)}


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def days(one: str, other: str) -> int:
    return (date.fromisoformat(one) - date.fromisoformat(other)).days


def test_nothing_in_it_leads_to_a_patient(folder: Path, tmp_path: Path) -> None:
    exported(folder, tmp_path / "e")
    content = "".join(path.read_text() for path in (tmp_path / "e").glob("*") if path.name != "codes.csv")
    with closing(open_database(folder)) as db:
        known = [
            *(one for row in db.execute("SELECT patient_id, person FROM derived_identifier").fetchall() for one in row),
            *(one for (one,) in db.execute("SELECT pseudonym FROM derived_person").fetchall()),
            *(one for (one,) in db.execute("SELECT id FROM cohort").fetchall()),
            *(one for (one,) in db.execute("SELECT series_instance_uid FROM derived_series").fetchall()),
            *(one for (one,) in db.execute("SELECT reader FROM fact_reading").fetchall()),
        ]
    assert len(known) > 110
    values = set(re.findall(r'[^",\s{}\[\]:]+(?:\|[^",\s]+)?', content))
    assert {one for one in known if one in values} == set()
    assert "Test^" not in content


def test_values_are_those_of_the_views_and_intervals_stay(folder: Path, tmp_path: Path) -> None:
    done = exported(folder, tmp_path / "shifted")
    exported(folder, tmp_path / "real", shift=False)
    with closing(open_database(folder)) as db:
        rows = {view: list(db.query(f"SELECT * FROM {view}")) for view in done.rows}
        (of_nobody,) = db.execute(
            "SELECT count(*) FROM measurements AS m WHERE NOT EXISTS (SELECT 1 FROM derived_identifier AS i "
            "WHERE i.authority = m.patient_authority AND i.patient_id = m.patient_id)"
        ).fetchone()
    assert done.rows == {view: len(found) - of_nobody * (view == "measurements") for view, found in rows.items()}
    written = sorted(
        (row["vbq"], row["nlr"], "97.0" if row["age"] == "90" else row["age"])
        for row in read(tmp_path / "shifted" / "cohort.csv")
    )
    known = [
        tuple("" if value is None else str(value) for value in (row["vbq"], row["nlr"], row["age"]))
        for row in rows["cohort"]
    ]
    assert written == sorted(known)
    moved = {row["id"]: row for row in read(tmp_path / "shifted" / "cohort.csv")}
    real = {row["id"]: row for row in read(tmp_path / "real" / "cohort.csv")}
    assert moved.keys() == real.keys()
    shifts = set()
    for name, row in real.items():
        for column in ("mri_date", "cbc_date"):
            if row[column] and row["surgery_date"]:
                assert days(row["surgery_date"], row[column]) == days(
                    moved[name]["surgery_date"], moved[name][column]
                ), column
        if row["surgery_date"]:
            shifts.add(days(row["surgery_date"], moved[name]["surgery_date"]))
        assert row["vbq"] == moved[name]["vbq"]
    assert len(shifts) > 50
    assert min(shifts) >= 1
    assert max(shifts) <= 365


def test_all_of_a_patient_is_shifted_alike_and_has_one_id(folder: Path, tmp_path: Path) -> None:
    exported(folder, tmp_path / "shifted")
    exported(folder, tmp_path / "real", shift=False)
    shift: dict[str, set[int]] = {}
    for table, column in (("cohort", "surgery_date"), ("blood_counts", "taken_at"), ("measurements", "study_date")):
        pairs = zip(read(tmp_path / "real" / f"{table}.csv"), read(tmp_path / "shifted" / f"{table}.csv"), strict=False)
        by_patient = {}
        for row in read(tmp_path / "shifted" / f"{table}.csv"):
            by_patient.setdefault(row["patient"], []).append(row[column][:10])
        for row, _ in pairs:
            if row[column] and len(by_patient[row["patient"]]) == 1:
                shift.setdefault(row["patient"], set()).add(days(row[column][:10], by_patient[row["patient"]][0]))
    assert {len(one) for one in shift.values()} == {1}
    assert len([one for one in read(tmp_path / "real" / "measurements.csv") if one["patient"] in shift]) >= 2


def test_another_receiver_gets_other_ids_and_the_same_one_the_same(folder: Path, tmp_path: Path) -> None:
    for name, receiver in (("a", "A"), ("again", "A"), ("b", "B")):
        exported(folder, tmp_path / name, receiver=receiver)
    ids = {name: {row["id"] for row in read(tmp_path / name / "cohort.csv")} for name in ("a", "again", "b")}
    assert ids["a"] == ids["again"]
    assert ids["a"] & ids["b"] == set()


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_every_form_holds_the_same(folder: Path, tmp_path: Path, form: Format) -> None:
    exported(folder, tmp_path / "csv")
    exported(folder, tmp_path / "other", form=form)
    path = tmp_path / "other" / f"cohort.{form}"
    if form == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        rows = pd.read_parquet(path).astype(object).where(lambda one: one.notna(), None).to_dict("records")
    as_text = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    plain = [{name: value.removesuffix(".0") for name, value in row.items()} for row in as_text]
    expected = [
        {name: value.removesuffix(".0") for name, value in row.items()} for row in read(tmp_path / "csv" / "cohort.csv")
    ]
    assert plain == expected


def test_the_codebook_says_what_every_column_is(folder: Path, tmp_path: Path) -> None:
    exported(folder, tmp_path / "e")
    book = read(tmp_path / "e" / "codebook.csv")
    for table in ("cohort", "blood_counts", "measurements"):
        with (tmp_path / "e" / f"{table}.csv").open() as file:
            assert [row["column"] for row in book if row["table"] == table] == file.readline().strip().split(",")
    assert all(row["meaning"] and row["type"] in ("TEXT", "INTEGER", "REAL") for row in book)
    assert {row["column"] for row in book if row["changed"].startswith("shifted")} == {
        "surgery_date", "mri_date", "cbc_date", "taken_at", "study_date",
    }  # fmt: skip
    about = json.loads((tmp_path / "e" / "export.json").read_text())
    assert about["receiver"] == "A"
    codes = {row["code"] for row in read(tmp_path / "e" / "codes.csv")}
    assert {
        code for row in read(tmp_path / "e" / "cohort.csv") for code in json.loads(row["exclusion_reason_codes"])
    } <= codes


def test_ages_over_89_are_one_group(folder: Path, tmp_path: Path) -> None:
    exported(folder, tmp_path / "e")
    ages = [float(row["age"]) for row in read(tmp_path / "e" / "cohort.csv") if row["age"]]
    assert max(ages) == 90


def test_a_folder_that_is_there_is_left_alone(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        exported(folder, tmp_path)
