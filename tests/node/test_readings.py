"""Readings: what is taken, what is refused and how it is said."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlite_utils import Database

from analytics.records import Circle
from node.errors import ReadingError
from node.people.readings import add_reading, parse_rois, to_canonical_json
from node.steps.index import catalogue_studies, index_objects
from node.steps.measure import measure_readings
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import NOON, mr_image, receive, settings_for, stack

SERIES = "1.2.826.0.1.3680043.8.498.1.1"
ROIS: dict[str, object] = {
    "slice": 3, "L1": [4, 6, 2], "L2": [11, 6, 2], "L3": [18, 6, 2], "L4": [25, 6, 2], "CSF": [18, 15, 2],
}  # fmt: skip


def text(**changes: object) -> str:
    return json.dumps({**ROIS, **changes})


def test_a_reading_as_readers_write_it():
    reading = parse_rois(text(CSF=[145.5, 217.5, 2.75]))
    assert reading.instance_number == 3
    assert reading.rois["L1"] == Circle(row=4.0, col=6.0, radius_px=2.0)
    assert reading.rois["CSF"] == Circle(row=145.5, col=217.5, radius_px=2.75)


def test_the_same_reading_is_the_same_text_however_written():
    one = parse_rois(text())
    other = parse_rois(json.dumps({key: ROIS[key] for key in reversed(ROIS)}, indent=3).replace("25", "25.0"))
    assert to_canonical_json(one) == to_canonical_json(other)
    assert parse_rois(to_canonical_json(one)) == one


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "not JSON"),
        ("[1, 2]", "a JSON object with the keys slice, L1, L2, L3, L4, CSF"),
        ('{"slice": 3}', "missing: L1, L2, L3, L4, CSF"),
        (text(L5=[1, 2, 3]), "unknown: L5; the keys are slice"),
        (text()[:-1] + ', "L1": [9, 9, 9]}', "given twice: L1"),
        (text(slice="8"), "slice: a whole number is needed"),
        (text(slice=8.5), "slice: a whole number is needed"),
        (text(slice=True), "slice: a whole number is needed"),
        (text(slice=2**31), "slice: a whole number is needed"),
        (text(L2=[10**400, 2, 3]), r"L2: .* finite"),
        (text().replace("11", "1" * 5000), "not JSON"),
        ("[" * 200_000, "not JSON"),
        (text(L2=[1, 2]), r"L2: \[row, col, radius_px\]"),
        (text(L2=[1, 2, "3"]), r"L2: \[row, col, radius_px\]"),
        (text(L2={"row": 1}), r"L2: \[row, col, radius_px\]"),
        (text(L2=[1, True, 3]), r"L2: \[row, col, radius_px\]"),
        (text(L2=[1, None, 3]), r"L2: \[row, col, radius_px\]"),
        (text(L3=[1, float("nan"), 3]), r"L3: .* finite"),
        (text(L3=[1, float("inf"), 3]), r"L3: .* finite"),
        (text(CSF=[1, 2, 0]), "CSF: the radius is 0 pixels"),
        (text(CSF=[1, 2, -2]), "CSF: the radius is -2 pixels"),
    ],
)
def test_what_is_no_reading_is_refused_and_named(wrong: str, message: str):
    with pytest.raises(ReadingError, match=message):
        parse_rois(wrong)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    one = open_database(tmp_path, create=True)
    receive(tmp_path, *stack(6))
    index_objects(one, Archive(tmp_path))
    yield one
    one.close()


def add(db: Database, folder: Path, rois: str, *, series: str = SERIES, reader: str = "A", hours: int = 1):
    return add_reading(
        db, Archive(folder), series_uid=series, reader=reader, rois_text=rois, now=NOON + timedelta(hours=hours)
    )


def test_a_reading_becomes_a_fact_and_the_patient_pending(db: Database, tmp_path: Path):
    catalogue_studies(db, settings_for(tmp_path), now=NOON + timedelta(hours=1))
    db["derived_person"].insert({"person": "HOSPITAL|0012345", "pseudonym": "P1"})
    added = add(db, tmp_path, text())
    assert added.new
    assert added.vbq_mean > 0
    (row,) = db["fact_reading"].rows
    assert row == {
        "reading_id": added.reading_id,
        "series_instance_uid": SERIES,
        "reader": "A",
        "rois": '{"slice":3,"CSF":[18.0,15.0,2.0],"L1":[4.0,6.0,2.0],"L2":[11.0,6.0,2.0],"L3":[18.0,6.0,2.0],'
        '"L4":[25.0,6.0,2.0]}',
        "approves": None,
        "added_at": "2026-03-02T13:00:00.000000+00:00",
    }
    assert list(db["derived_person"].rows) == []


def test_what_was_looked_at_is_kept_and_must_be_what_is_there(db: Database, tmp_path: Path):
    (image,) = [one for one in stack(6) if one.InstanceNumber == 3]
    rows, columns = image.Rows, image.Columns
    pixels = np.frombuffer(image.PixelData, "<u2").reshape(rows, columns).astype("<f8")
    digest = hashlib.sha256(f"({rows}, {columns})".encode() + pixels.tobytes()).hexdigest()
    given = {"series_uid": SERIES, "reader": "A", "rois_text": text(), "now": NOON}
    with pytest.raises(ReadingError, match="look at it again"):
        add_reading(db, Archive(tmp_path), **given, seen="0" * 64)
    assert db["fact_reading"].count == 0
    added = add_reading(db, Archive(tmp_path), **given, seen=digest)
    assert list(db["fact_reading_pixels"].rows) == [{"reading_id": added.reading_id, "pixels_sha256": digest}]


def test_the_same_reading_again_is_not_doubled(db: Database, tmp_path: Path):
    first = add(db, tmp_path, text())
    again = add(db, tmp_path, text(L1=[4.0, 6.0, 2.0]), hours=5)
    assert (again.new, again.reading_id) == (False, first.reading_id)
    assert add(db, tmp_path, text(), reader="B").new
    assert add(db, tmp_path, text(L1=[5, 6, 2])).new
    assert db["fact_reading"].count == 3


def test_a_reader_who_returns_to_an_earlier_reading_puts_it_in_effect_again(db: Database, tmp_path: Path):
    catalogue_studies(db, settings_for(tmp_path), now=NOON + timedelta(hours=1))
    first = add(db, tmp_path, text())
    add(db, tmp_path, text(L1=[5, 6, 2]), hours=2)
    third = add(db, tmp_path, text(), hours=3)
    assert third.new
    measure_readings(db, Archive(tmp_path))
    shown = db.execute("SELECT vbq_mean, in_effect FROM measurements ORDER BY in_effect DESC").fetchall()
    assert shown[0] == (first.vbq_mean, 1)
    assert [in_effect for _, in_effect in shown] == [1, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"series": "1.2.3"}, "no series 1.2.3 is known; the view 'series' lists"),
        ({"rois": text(slice=7)}, "slice 7: the series has no image with this InstanceNumber"),
        ({"rois": text(L4=[31, 6, 2])}, "slice 3: L4: the circle reaches beyond the 32 rows"),
        ({"rois": text(CSF=[18, 23, 2])}, "slice 3: CSF: the circle reaches beyond the 24 columns"),
        ({"rois": text(CSF=[18.5, 15.5, 0.3])}, "slice 3: CSF: the circle holds 0 pixel"),
        ({"reader": "  "}, "reader: a name of 1 to 64"),
        ({"reader": "A\nB"}, "reader: a name of 1 to 64"),
        ({"reader": "A" * 65}, "reader: a name of 1 to 64"),
    ],
)
def test_a_reading_that_does_not_fit_is_refused_and_nothing_is_stored(
    db: Database, tmp_path: Path, change: dict[str, str], message: str
):
    with pytest.raises(ReadingError, match=message):
        add(db, tmp_path, **{"rois": text(), **change})
    assert db["fact_reading"].count == 0


def test_two_images_with_one_number_are_ambiguous(db: Database, tmp_path: Path):
    receive(tmp_path, mr_image(seed=50, SeriesInstanceUID=SERIES, InstanceNumber=3))
    index_objects(db, Archive(tmp_path))
    with pytest.raises(ReadingError, match="slice 3: 2 different images of the series bear this InstanceNumber"):
        add(db, tmp_path, text())
    assert add(db, tmp_path, text(slice=4)).new


def test_pixels_that_are_gone(db: Database, tmp_path: Path):
    for (sha256,) in db.execute("SELECT sha256 FROM fact_object").fetchall():
        Archive(tmp_path).path(sha256).unlink()
    with pytest.raises(ReadingError, match="slice 3: the file is missing from the archive"):
        add(db, tmp_path, text())
