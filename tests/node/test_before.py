"""Before means before: times, dates and descriptions of series as the headers have them."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlite_utils import Database

from node.dicom.header import header_to_json
from node.dicom.reader import read_header
from node.hl7.times import read_time
from node.settings import Settings, Site, Storage
from node.steps.index import catalogue_studies, index_objects
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import NOON, mr_image, receive, stack, write_file

VIENNA = ZoneInfo("Europe/Vienna")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key="00" * 32)
    yield database
    database.close()


def catalogued(db: Database, folder: Path, **values: object) -> dict[str, object]:
    receive(folder, *stack(6, **values))
    index_objects(db, Archive(folder))
    settings = Settings(site=Site(time_zone="Europe/Vienna"), storage=Storage(folder=folder))
    catalogue_studies(db, settings, now=NOON + timedelta(hours=1))
    (row,) = db.query("SELECT * FROM derived_series")
    return row


@pytest.mark.parametrize(
    ("values", "began_at"),
    [
        ({"StudyTime": "180000"}, "2026-03-02T17:00:00"),
        ({"StudyTime": "070000", "SeriesTime": "073015.25"}, "2026-03-02T06:30:15"),
        ({"StudyTime": "180000", "SeriesTime": "070000"}, "2026-03-02T17:00:00"),
        ({"AcquisitionTime": "0915"}, "2026-03-02T08:15:00"),
        ({"StudyTime": "180000", "TimezoneOffsetFromUTC": "+0900"}, "2026-03-02T09:00:00"),
        ({"StudyTime": "235900", "SeriesDate": "20260303", "SeriesTime": "001000"}, "2026-03-02T23:10:00"),
        ({"StudyTime": "000000"}, None), ({}, None),
        # Dates that stand for none: their time of day is no day's.
        ({"StudyTime": "080000", "SeriesDate": "99991231", "SeriesTime": "235959"}, "2026-03-02T07:00:00"),
        ({"StudyTime": "080000", "SeriesDate": "00010101", "SeriesTime": "090000"}, "2026-03-02T07:00:00"),
        ({"AcquisitionDate": "99991231", "AcquisitionTime": "235959", "TimezoneOffsetFromUTC": "-1200"}, None),
        ({"StudyDate": "00010101", "StudyTime": "000100"}, None),
    ],
)  # fmt: skip
def test_when_a_series_began(db: Database, tmp_path: Path, values: dict[str, object], began_at: str | None) -> None:
    row = catalogued(db, tmp_path, **values)
    assert (str(row["began_at"])[:19] if row["began_at"] else None) == began_at


@pytest.mark.parametrize("day", ["00010101", "99991231"])
def test_the_first_and_the_last_day_of_the_calendar_are_no_study_date(db: Database, tmp_path: Path, day: str) -> None:
    row = catalogued(db, tmp_path, StudyDate=day, StudyTime="235959", PatientBirthDate=day)
    assert (row["study_date"], row["birth_date"], row["chosen"]) == (None, None, 1)


@pytest.mark.parametrize(
    ("day", "modality", "said"),
    [
        ("20260303", "MR", False),  # from another time zone
        ("20260304", "MR", True),
        ("20270302", "MR", True),
        ("20270302", "SR", False),
    ],
)
def test_images_made_after_they_came_are_said(
    db: Database, tmp_path: Path, day: str, modality: str, said: bool
) -> None:
    catalogued(db, tmp_path, StudyDate=day, Modality=modality)
    assert [one for (one,) in db.execute("SELECT source FROM problems WHERE code = 'study-after-receipt'")] == (
        ["study 1.2.826.0.1.3680043.8.498.1"] if said else []
    )


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of the length that is tried
def test_a_text_of_unknown_type_is_none(db: Database, tmp_path: Path) -> None:
    row = catalogued(db, tmp_path, PatientID="7" * 70_000)
    assert (row["patient_id"], row["chosen"]) == (None, 1)


@pytest.mark.parametrize(
    ("description", "postoperative"), [("L-SPINE POSTOP", 1), ("LWS Kontrolle post-op", 1), ("t1 sag post KM", 0)]
)
def test_descriptions_of_a_study_are_read(db: Database, tmp_path: Path, description: str, postoperative: int) -> None:
    assert catalogued(db, tmp_path, StudyDescription=description)["postoperative"] == postoperative


@pytest.mark.parametrize("number", ["UNKNOWN", "0000", "99999999", "?"])
def test_images_under_a_number_of_nobody_are_unidentified(db: Database, tmp_path: Path, number: str) -> None:
    assert catalogued(db, tmp_path, PatientID=number)["patient_id"] is None
    (problem,) = db.query("SELECT detail FROM problems WHERE code = 'unidentified'")
    assert problem["detail"].startswith("the PatientID of the images stands for nobody")


def test_images_of_one_study_that_name_two_people_are_nobodys(db: Database, tmp_path: Path) -> None:
    receive(tmp_path, *stack(6, series="2", PatientName="Other^Person"))
    assert {row["patient_id"] for row in [catalogued_all(db, tmp_path)]} == {None}


def catalogued_all(db: Database, folder: Path) -> dict[str, object]:
    receive(folder, *stack(6, PatientName="Mueller^Anna"))
    index_objects(db, Archive(folder))
    settings = Settings(site=Site(time_zone="Europe/Vienna"), storage=Storage(folder=folder))
    catalogue_studies(db, settings, now=NOON + timedelta(hours=1))
    assert {row["code"] for row in db.query("SELECT code FROM problems")} >= {"contradictory-patient"}
    return next(iter(db.query("SELECT patient_id FROM derived_series")))


def test_no_name_of_an_image_is_stored(db: Database, tmp_path: Path) -> None:
    catalogued(db, tmp_path, PatientName="Hinterhuber^Kunigunde=山田^太郎", SpecificCharacterSet="ISO_IR 192")
    header = read_header(write_file(tmp_path / "x.dcm", mr_image(PatientName="Hinterhuber^Kunigunde")))
    assert [(one.family, one.given) for one in header.names] == [("Hinterhuber", "Kunigunde")]
    tables = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'derived_%'").fetchall()
    told = "".join(repr(db.execute(f"SELECT * FROM {name}").fetchall()) for (name,) in tables) + header_to_json(header)
    assert not [one for one in ("hinterhuber", "kunigunde", "山田", "太郎") if one in told.casefold()]
    (names,) = db.execute("SELECT names FROM derived_series_names").fetchone()
    assert names.count("LATIN") == 1 and names.count("CJK") == 1


def test_a_date_without_a_time_is_that_date_here_whatever_its_offset() -> None:
    moment = read_time("20260301000000+0800", VIENNA)
    assert moment is not None and moment.date_only and moment.at.astimezone(VIENNA).date() == date(2026, 3, 1)
