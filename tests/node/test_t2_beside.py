"""The T2 beside a T1: which series and slice says where fluid is, and what comes of one that is late or taken back."""

import json
from datetime import timedelta

import pytest
from pydicom.dataset import Dataset

from analytics.reasons import Reason
from node.dicom.rejection import PATIENT_SAFETY, QUALITY
from node.errors import DecodingError
from node.measure.task import looked_at
from node.steps.measure_automatic import measure_automatically, task_of
from tests.node.dicom_samples import NOON, stack
from tests.node.known_circles import KnownCircles
from tests.node.test_measure import LATER
from tests.node.test_rejections import note
from tests.node.world import CIRCLES, SERIES, World, painted

FRAME = "1.2.826.0.1.3680043.8.498.7"
T2 = "1.2.826.0.1.3680043.8.498.1.2"


def t1(**values: object) -> list[Dataset]:
    return painted(**{"FrameOfReferenceUID": FRAME, **values})


def t2(slices: int = 6, *, series: str = "2", **values: object) -> list[Dataset]:
    """Of other pixels than the T1, at its place."""
    about = {"FrameOfReferenceUID": FRAME, "RepetitionTime": 3500, "EchoTime": 100, "SeriesDescription": "t2_tse_sag"}
    return stack(slices, series=series, **{**about, "PixelSpacing": [0.6, 0.6], "SeriesNumber": 2, **values})


def arrive(world: World, *datasets: Dataset, hours: int = 0) -> None:
    world.receive(*datasets, at=NOON + timedelta(hours=hours))
    world.index()
    world.catalogue(now=LATER + timedelta(hours=hours))


def measured(world: World) -> KnownCircles:
    double = KnownCircles(CIRCLES)
    measure_automatically(world.db, world.archive, world.settings, double)
    return double


def used(world: World) -> list[tuple[str | None, int]]:
    """The T2 series that each measurement of the T1 looked at, and whether the measurement is current."""
    rows = world.rows(
        "SELECT json_extract(beside, '$.t2.series_instance_uid'), current FROM derived_measurement "
        "WHERE series_instance_uid = ? ORDER BY current, 1",
        SERIES,
    )
    return [(None if uid is None else str(uid), int(str(current))) for uid, current in rows]


def test_the_slice_of_the_t2_in_the_place_of_the_measured_one_is_looked_at_and_kept(world: World):
    images = t2()
    arrive(world, *t1(), *images)
    # The double measures the fourth of six slices, 4.8 mm apart, from left to right.
    assert measured(world).t2 == [(pytest.approx(14.4), -10.0, 10.0)]
    ((beside,),) = world.rows("SELECT beside FROM derived_measurement WHERE series_instance_uid = ?", SERIES)
    assert json.loads(str(beside))["t2"] == {
        "series_instance_uid": T2,
        "sop_instance_uid": images[2].SOPInstanceUID,
        "frame_number": None,
        "fluid": [0.812, 1.0],
    }


@pytest.mark.parametrize(
    "about",
    [
        pytest.param({"FrameOfReferenceUID": f"{FRAME}.1"}, id="another Frame of Reference"),
        pytest.param({"FrameOfReferenceUID": ""}, id="none that is said"),
        pytest.param({"StudyInstanceUID": "1.2.826.0.1.3680043.8.498.9"}, id="another study"),
        pytest.param({"InversionTime": 160}, id="STIR"),
        pytest.param({"ScanOptions": "FS"}, id="fat saturation"),
        pytest.param({"EchoTime": 45}, id="proton density"),
        pytest.param({"ScanningSequence": "GR"}, id="a gradient echo"),
        pytest.param({"SeriesDescription": "t2 sag c-spine"}, id="another part of the body"),
        pytest.param({"DerivationDescription": "contrast enhanced, CLAHE"}, id="signals that were changed"),
        pytest.param({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, id="axial slices"),
        pytest.param({"ContrastBolusAgent": "Gadovist", "SeriesNumber": 9}, id="a contrast agent"),
        pytest.param({"LossyImageCompression": "01", "LossyImageCompressionRatio": "20"}, id="compressed with loss"),
    ],
)
def test_a_series_that_does_not_show_fluid_there_is_none(world: World, about: dict[str, object]):
    plain = t1()
    arrive(world, *plain, *t2(**about))
    assert measured(world).t2 == [None]
    ((inputs,),) = world.rows("SELECT inputs_sha256 FROM derived_series WHERE series_instance_uid = ?", SERIES)
    alone = World(world.folder / "alone")
    arrive(alone, *plain)
    assert alone.rows("SELECT inputs_sha256 FROM derived_series") == [(inputs,)], "the T1 is as it is without"
    alone.db.close()


@pytest.mark.parametrize(("moved_mm", "given"), [(1.9, True), (2.1, False)])
def test_a_slice_counts_within_half_the_thickness_of_the_t1(world: World, moved_mm: float, given: bool):
    images = t2(1, ImagePositionPatient=[4.8 * 3 + moved_mm, -10, 10])
    arrive(world, *t1(), *images)
    assert (measured(world).t2 != [None]) is given


def test_of_two_series_the_one_with_more_slices_is_looked_at_unless_it_has_none_there(world: World):
    few, many = t2(3, series="2"), t2(8, series="3", SeriesNumber=5)
    for number, image in enumerate(few):
        image.ImagePositionPatient = [4.8 * (2 + number), -10, 10]
    arrive(world, *t1(), *few, *many)
    measured(world)
    assert used(world) == [(T2.replace(".1.2", ".1.3"), 1)]


def test_a_t2_that_comes_late_measures_again_and_the_earlier_state_is_kept(world: World):
    arrive(world, *t1())
    measured(world)
    arrive(world, *t2(), hours=3)
    measured(world)
    assert used(world) == [(None, 0), (T2, 1)]
    world.db.execute("DELETE FROM derived_measurement")
    measured(world)
    assert used(world) == [(None, 0), (T2, 1)], "derived again it is the same"


@pytest.mark.parametrize("code", [PATIENT_SAFETY, QUALITY])
def test_a_t2_that_is_taken_back_speaks_for_nothing(world: World, code: str):
    images = t2()
    arrive(world, *t1(), *images)
    measured(world)
    arrive(world, note(images, code), hours=3)
    assert measured(world).t2 == [None]
    assert (None, 1) in used(world)


def test_its_images_are_among_those_whose_pixels_are_needed(world: World):
    shown, other = t2(), t2(series="3", ScanOptions="FS")
    arrive(world, *t1(), *shown, *other)
    task = task_of(world.db, world.settings, shown[0].StudyInstanceUID)
    of_t2 = {sha for (sha,) in world.rows(
        "SELECT sha256 FROM fact_object JOIN derived_instance USING (object_id) WHERE series_instance_uid = ?", T2
    )}  # fmt: skip
    assert of_t2 <= looked_at(task)
    assert len(looked_at(task)) == 12


@pytest.mark.parametrize("fault", [DecodingError(Reason("decoder-fails", {"how": "ended", "times": 3})), None])
def test_a_slice_that_cannot_be_read_is_none(world: World, fault: Exception | None, monkeypatch: pytest.MonkeyPatch):
    images = t2()
    if fault is None:
        for image in images:
            image.PixelData = image.PixelData[:100]
    else:

        def failing(*_: object) -> None:
            raise fault

        monkeypatch.setattr("node.measure.t2.read_slices", failing)
    arrive(world, *t1(), *images)
    assert measured(world).t2 == [None]
    assert used(world) == [(None, 1)]
    assert world.rows("SELECT status FROM derived_measurement") == [("measured",)]
