"""The measure step: readings become scores, the doubtful and the impossible are told apart from the measured."""

import json
from datetime import timedelta

import pydicom
import pytest
from pydicom.dataset import Dataset

from analytics.records import MeasurementStatus
from node.people.readings import add_reading, withdraw
from node.steps.measure import measure_readings
from node.steps.pending import pending
from node.steps.retry import retry_failed
from node.store.database import writing
from node.store.failures import ask_again
from tests.node.dicom_samples import NOON, SHARED, mr_image
from tests.node.reason_words import with_words
from tests.node.world import CIRCLES, SERIES, World, painted

LATER = NOON + timedelta(hours=1)
CHECKS = (
    "circle-small", "circles-overlap", "circles-out-of-order", "csf-not-at-l3", "score-not-plausible",
    "slice-off-midline",
)  # fmt: skip
"""Codes with which the readers here confirm what their circles fail."""
# Mean and median form of five real series, as in tests/analytics/test_vbq_score.py.
READERS = {
    "A": [(3.068, 3.052), (2.586, 2.593), (2.706, 2.782), (2.936, 2.949), (2.547, 2.519)],
    "B": [(2.998, 2.993), (2.530, 2.540), (2.607, 2.691), (2.923, 2.939), (2.435, 2.446)],
}


def arrive(world: World, *datasets: Dataset) -> None:
    world.receive(*datasets)
    world.index()
    world.catalogue(now=LATER)


def read(world: World, *, series: str = SERIES, reader: str = "A", number: int = 3, **circles: list[float]) -> None:
    text = json.dumps({"slice": number, **CIRCLES, **circles})
    add_reading(world.db, world.archive, series_uid=series, reader=reader, rois_text=text, now=LATER, confirmed=CHECKS)


def measure(world: World) -> int:
    return measure_readings(world.db, world.archive)


def only(world: World) -> dict[str, object]:
    (row,) = map(with_words, world.db["derived_measurement"].rows)
    return row


def test_a_reading_is_measured_once(world: World):
    images = painted()
    arrive(world, *images)
    read(world)
    world.db["derived_person"].insert({"person": "HOSPITAL|0012345", "pseudonym": "P1"})
    assert measure(world) == 1
    assert measure(world) == 0
    row = only(world)
    assert (row["status"], row["reasons"], row["source"]) == ("measured", "[]", "reading:A")
    assert (row["vbq_mean"], row["vbq_median"]) == (2.5, 2.5)
    assert (row["instance_number"], row["sop_instance_uid"]) == (3, images[2].SOPInstanceUID)
    assert (row["algorithm_name"], row["algorithm_version"]) == ("vbq-roi", "1")
    assert json.loads(str(row["rois"]))["L1"] == {
        "row": 10.0, "col": 12.0, "radius_px": 3.0, "radius_mm": 3 * 0.875, "mean": 300.0, "sd": 0.0, "pixels": 29,
    }  # fmt: skip
    assert list(world.db["derived_person"].rows) == []
    assert world.rows("SELECT l1_signal, csf_signal, patient_id FROM measurements") == [(300.0, 100.0, "0012345")]
    assert world.rows("SELECT state FROM series") == [("measured",)]


def test_a_late_image_measures_again(world: World):
    arrive(world, *painted())
    read(world)
    measure(world)
    before = only(world)
    world.receive(mr_image(seed=70, InstanceNumber=70, ImagePositionPatient=[40, -10, 10]), at=LATER)
    world.index()
    assert measure(world) == 0
    assert only(world) == before, "the score holds until the study is quiet again"
    world.catalogue(now=LATER + timedelta(hours=1))
    assert measure(world) == 1
    after = only(world)
    assert after["vbq_mean"] == before["vbq_mean"]
    assert after["instances_sha256"] != before["instances_sha256"]


def test_an_image_that_makes_the_slice_ambiguous_rejects_the_measurement(world: World):
    arrive(world, *painted())
    read(world)
    measure(world)
    world.receive(mr_image(seed=70, InstanceNumber=3), at=LATER)
    world.index()
    world.catalogue(now=LATER + timedelta(hours=1))
    measure(world)
    row = only(world)
    assert (row["status"], row["vbq_mean"], row["vbq_median"]) == ("rejected", None, None)
    assert "2 different images" in str(row["reasons"])
    assert json.loads(str(row["rois"]))["L1"] == {"row": 10.0, "col": 12.0, "radius_px": 3.0}


@pytest.mark.parametrize("measured", [True, False])
def test_nothing_is_left_to_do_once_a_reading_is_withdrawn(world: World, measured: bool):
    arrive(world, *painted())
    read(world)
    measure(world)
    read(world, reader="B", L1=[11.0, 12.0, 3.0])
    if measured:
        measure(world)
    withdraw(world.db, reading_id=2, reader="B", why="another slice", now=LATER)
    measure(world)
    assert pending(world.db)["readings to measure"] == 0
    world.receive(mr_image(seed=77, SeriesInstanceUID=SERIES, InstanceNumber=99))
    world.index()
    world.catalogue(now=LATER + timedelta(hours=2))
    measure(world)
    assert pending(world.db)["readings to measure"] == 0


def test_another_version_of_the_algorithm_measures_again(world: World, monkeypatch: pytest.MonkeyPatch):
    arrive(world, *painted())
    read(world)
    measure(world)
    monkeypatch.setattr("node.steps.pending.ROI_ALGORITHM", ("vbq-roi", "2"))
    assert pending(world.db)["readings to measure"] == 1
    assert measure(world) == 1
    assert only(world)["algorithm_version"] == "2"


@pytest.mark.parametrize(
    ("circles", "reason"),
    [
        ({"L1": [10.0, 12.0, 1.5]}, "L1: the circle holds 9 pixels, fewer than 10"),
        ({"CSF": [41.5, 32.5, 1.0]}, "CSF: the circle holds 4 pixels, fewer than 5"),
        ({"L2": [37.0, 12.0, 3.0]}, "L2 and L3: the circles overlap"),
        ({"L1": [25.0, 12.0, 3.0], "L2": [10.0, 12.0, 3.0]}, "L1 lies below L2 in the image"),
        ({"CSF": [12.0, 32.0, 2.0]}, "the CSF circle is not at the level of L3"),
    ],
)
def test_doubtful_circles_wait_for_a_person(world: World, circles: dict[str, list[float]], reason: str):
    arrive(
        world,
        *painted(),
    )
    read(world, **circles)
    measure(world)
    row = only(world)
    assert row["status"] == "review"
    assert reason in json.loads(str(row["reasons"]))
    assert row["vbq_mean"] is not None
    assert world.rows("SELECT step, code FROM problems") == [("measure", "review")]
    read(world)
    measure(world)
    assert world.rows("SELECT step, code FROM problems") == []


def test_a_reading_on_a_series_that_is_no_t1_waits_for_a_person(world: World):
    arrive(world, *painted(RepetitionTime=3500, EchoTime=110))
    read(world)
    measure(world)
    row = only(world)
    assert row["status"] == MeasurementStatus.REVIEW.value
    reason, *warnings = json.loads(str(row["reasons"]))
    assert [one.split(" 3500")[0].split(" 110")[0] for one in warnings] == ["repetition time", "echo time"]
    assert reason.startswith("the series is no sagittal lumbar T1 without fat saturation or contrast: not T1-weighted")


def test_a_protocol_outside_the_accepted_range_only_warns(world: World):
    arrive(world, *painted(RepetitionTime=1000, MagneticFieldStrength=3))
    read(world)
    measure(world)
    assert only(world)["status"] == "measured"
    (protocol,) = world.rows("SELECT protocol FROM series")[0]
    warnings = json.loads(str(protocol))["warnings"]
    assert [warning.split(" is ")[0].split(":")[0] for warning in warnings] == [
        "repetition time 1000 ms", "field strength 3 T",
    ]  # fmt: skip
    assert json.loads(str(only(world)["reasons"])) == warnings


def test_pixels_that_are_lost_reject_the_measurement_and_stop_nothing(world: World):
    arrive(world, *painted())
    read(world)
    read(world, number=4, reader="B")
    image = world.rows(
        "SELECT sha256 FROM fact_object JOIN derived_instance USING (object_id) WHERE instance_number = 3"
    )
    world.archive.path(str(image[0][0])).unlink()
    assert measure(world) == 2
    found = world.rows("SELECT source, status, reasons FROM measurements ORDER BY source")
    assert found == [
        ("reading:A", "rejected", '["the file is missing from the archive"]'),
        ("reading:B", "measured", "[]"),
    ]


def test_a_reading_stored_before_its_series_is_complete_waits_for_it(world: World):
    world.receive(*painted())
    world.index()
    read(world)
    assert measure(world) == 0
    world.catalogue(now=LATER)
    assert measure(world) == 1


def test_nothing_is_left_open_when_storing_fails(world: World):
    arrive(world, *painted())
    read(world)
    world.db.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON main.derived_measurement BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    assert measure(world) == 1
    assert world.rows("SELECT unit_kind, unit_key FROM state_failure") == [("reading", "1")]
    world.db.execute("DROP TRIGGER temp.full")
    with writing(world.db):
        pass
    assert measure(world) == 0
    assert ask_again(world.db) == 1
    assert retry_failed(world.db, world.settings, at=LATER) == 1
    assert measure(world) == 1
    assert world.rows("SELECT step FROM state_failure") == []


def test_both_readers_of_the_real_series(world: World):
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with the real series is not beside this one")
    series = {}
    for patient in range(1, 6):
        images = [pydicom.dcmread(path) for path in (SHARED / "t1-tse-dicom" / f"patient{patient}").glob("*.dcm")]
        world.receive(*images)
        series[patient] = str(images[0].SeriesInstanceUID)
    world.index()
    world.catalogue(now=LATER)
    for reader in READERS:
        for patient, uid in series.items():
            path = SHARED / "readings" / f"reader_{reader}" / f"patient{patient}.json"
            add_reading(world.db, world.archive, series_uid=uid, reader=reader, rois_text=path.read_text(), now=LATER)
    assert measure(world) == 10
    for reader, expected in READERS.items():
        for (patient, uid), forms in zip(series.items(), expected, strict=True):
            ((status, mean, median),) = world.rows(
                "SELECT status, vbq_mean, vbq_median FROM measurements WHERE series_instance_uid = ? AND source = ?",
                uid,
                f"reading:{reader}",
            )
            assert status == "measured", patient
            assert (mean, median) == pytest.approx(forms, abs=6e-4), patient
