"""The index step interrupted, forgotten in the middle, and fed what no database takes."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.steps import index
from node.steps.index import BATCH, catalogue_studies, index_objects
from node.store.archive import Archive
from node.store.database import open_database
from node.store.problems import forget_problems
from tests.node.dicom_samples import NOON, encode, mr_image, receive, settings_for, stack

LATER = NOON + timedelta(hours=1)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    one = open_database(tmp_path, create=True)
    yield one
    one.close()


def indexed(db: Database) -> int:
    return int(db.execute("SELECT count(*) FROM derived_instance").fetchone()[0])


def catalogue(db: Database, folder: Path) -> list[dict[str, object]]:
    """The series of all studies, judged anew."""
    index_objects(db, Archive(folder))
    catalogue_studies(db, settings_for(folder, quiet_s=60.0), now=LATER)
    return list(db.query("SELECT * FROM derived_series ORDER BY series_instance_uid"))


def test_an_interrupted_index_goes_on_where_it_was(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    receive(tmp_path, *stack(BATCH + 20))
    calls = 0
    real = index.read_header

    def die_in_the_second_batch(path: Path) -> object:
        nonlocal calls
        calls += 1
        if calls == BATCH + 10:
            raise KeyboardInterrupt
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(index, "read_header", die_in_the_second_batch)
        with pytest.raises(KeyboardInterrupt):
            index_objects(db, Archive(tmp_path))
    assert indexed(db) == BATCH
    assert index_objects(db, Archive(tmp_path)) == 20
    assert indexed(db) == BATCH + 20


def test_everything_is_found_again_when_it_is_forgotten_in_the_middle(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # As `vbq-node rebuild` does beside a running steps role.
    receive(tmp_path, *stack(20))
    index_objects(db, Archive(tmp_path))
    receive(tmp_path, mr_image(seed=99))
    real = index.read_header

    def forget_then_read(path: Path) -> object:
        other = open_database(tmp_path)
        other.execute("DELETE FROM derived_instance")
        other.close()
        monkeypatch.setattr(index, "read_header", real)
        return real(path)

    monkeypatch.setattr(index, "read_header", forget_then_read)
    index_objects(db, Archive(tmp_path))
    assert indexed(db) == 21


def test_a_problem_that_is_forgotten_is_tried_again(db: Database, tmp_path: Path):
    (missing, *_) = receive(tmp_path, *stack(3))
    archive = Archive(tmp_path)
    aside = archive.path(missing).rename(tmp_path / "aside")
    assert index_objects(db, archive) == 3
    assert index_objects(db, archive) == 0
    assert indexed(db) == 2
    aside.rename(archive.path(missing))
    forget_problems(db, "index", "object", missing)
    assert index_objects(db, archive) == 1
    assert indexed(db) == 3


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"PatientID": "1"}, {"PatientID": ""}, "patient numbers"),
        ({"IssuerOfPatientID": "A"}, {"IssuerOfPatientID": "B"}, "issuers of them"),
        ({"PatientBirthDate": "19550704"}, {"PatientBirthDate": "19560704"}, "birth dates"),
        ({"PatientSex": "F"}, {"PatientSex": "M"}, "sexes"),
    ],
)
def test_a_study_of_two_patients_is_nobodys(
    db: Database, tmp_path: Path, first: dict[str, str], second: dict[str, str], said: str
):
    receive(tmp_path, *stack(5, series="1", **first), *stack(5, series="2", **second))
    assert [row["patient_id"] for row in catalogue(db, tmp_path)] == [None, None]
    (problem,) = db.query("SELECT * FROM problems")
    assert problem["code"] == "contradictory-patient"
    assert problem["detail"].startswith(f"its images carry different {said};")
    assert list(db.query("SELECT * FROM derived_identifier")) == []


@pytest.mark.parametrize("first", range(3))
def test_two_names_contradict_each_other_whatever_stands_before_them(db: Database, tmp_path: Path, first: int):
    """The order of the images is that of their hashes; a name in another script can be compared with neither."""
    names = ["Yamada^Taro", "Suzuki^Hanako", "山田^太郎"]
    for number, name in enumerate(names[first:] + names[:first]):
        receive(tmp_path, *stack(5, series=str(number), PatientName=name, SpecificCharacterSet="ISO_IR 192"))
    assert {row["patient_id"] for row in catalogue(db, tmp_path)} == {None}
    (problem,) = db.query("SELECT detail FROM problems WHERE code = 'contradictory-patient'")
    assert problem["detail"].startswith("its images carry different names;")


def test_one_name_in_two_scripts_contradicts_nothing(db: Database, tmp_path: Path):
    for number, name in enumerate(["Yamada^Taro", "山田^太郎", "Yamada^Taro=山田^太郎"]):
        receive(tmp_path, *stack(5, series=str(number), PatientName=name, SpecificCharacterSet="ISO_IR 192"))
    assert {row["patient_id"] for row in catalogue(db, tmp_path)} == {"0012345"}


def test_what_the_images_do_not_say_contradicts_nothing(db: Database, tmp_path: Path):
    receive(tmp_path, *stack(5, PatientBirthDate="", PatientSex=""), *stack(5, series="2"))
    rows = catalogue(db, tmp_path)
    assert [(row["patient_id"], row["birth_date"], row["sex"]) for row in rows] == [("0012345", "1955-07-04", "F")] * 2
    assert list(db.query("SELECT * FROM derived_problem")) == []


@pytest.mark.parametrize("birth", ["19000101", "00010101", "20260303", "20990704"])
def test_a_birth_date_that_stands_for_none_contradicts_nothing(db: Database, tmp_path: Path, birth: str):
    receive(tmp_path, *stack(5, PatientBirthDate=birth))
    assert [row["birth_date"] for row in catalogue(db, tmp_path)] == [None]
    receive(tmp_path, *stack(5, series="2"))
    assert [(row["patient_id"], row["birth_date"]) for row in catalogue(db, tmp_path)] == [
        ("0012345", "1955-07-04")
    ] * 2


def test_the_same_uid_with_other_bytes_counts_once_and_changes_the_content(db: Database, tmp_path: Path):
    images = stack(5)
    receive(tmp_path, *images)
    (before,) = catalogue(db, tmp_path)
    images[0].PixelData = bytes(len(images[0].PixelData))
    receive(tmp_path, images[0])
    (after,) = catalogue(db, tmp_path)
    assert after["instances"] == before["instances"] == 5
    assert after["instances_sha256"] != before["instances_sha256"]


def test_numbers_and_texts_that_no_database_takes(db: Database, tmp_path: Path):
    huge = encode(mr_image(InstanceNumber=12345678))
    assert huge.count(b"12345678") == 1
    # Bytes that are no UTF-8, in a data set that says it is UTF-8: whose number it is cannot be told.
    illegible = encode(mr_image(SpecificCharacterSet="ISO_IR 192", PatientID="ABCDEFGH"))
    receive(tmp_path, huge.replace(b"12345678", b"9e+30   "), illegible.replace(b"ABCDEFGH", b"ABC\xff\xfeFGH"))
    assert index_objects(db, Archive(tmp_path)) == 2
    rows = list(db.query("SELECT instance_number, headers FROM derived_instance ORDER BY object_id"))
    assert [row["instance_number"] for row in rows] == [None, 1]
    assert [json.loads(row["headers"])["patient_id"] for row in rows] == ["0012345", None]
