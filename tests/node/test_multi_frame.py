"""Enhanced and Legacy Converted Enhanced MR: read, chosen and measured as the single-frame images they stand for."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from node.dicom.reader import read_header, read_slice
from node.errors import DicomReadError, ReadingError
from node.people.readings import add_reading
from node.steps.measure import measure_readings
from tests.node.dicom_samples import NOON, SHARED, mr_image, stack, write_file
from tests.node.multi_frame_samples import enhanced, legacy_converted
from tests.node.test_measure import arrive
from tests.node.world import CIRCLES, SERIES, World, painted

LATER = NOON + timedelta(hours=1)
MAKERS = [enhanced, legacy_converted]


def read(world: World, *, series: str = SERIES, rois: dict[str, object], reader: str = "A") -> None:
    add_reading(world.db, world.archive, series_uid=series, reader=reader, rois_text=json.dumps(rois), now=LATER)


@pytest.mark.parametrize("maker", MAKERS)
def test_frames_say_what_the_single_images_said(tmp_path: Path, maker):
    images = stack(7)
    header = read_header(write_file(tmp_path / "one", maker(images)))
    single = [read_header(write_file(tmp_path / "single", image)).image for image in images]
    assert len(header.images) == 7
    for frame, image in zip(header.images, single, strict=True):
        for name in (
            "orientation", "position_mm", "pixel_spacing_mm", "slice_thickness_mm", "repetition_time_ms",
            "echo_time_ms", "echo_train_length", "scanning_sequence", "field_strength_t", "rows", "columns",
            "manufacturer", "series_description", "inversion_time_ms",
        ):  # fmt: skip
            assert getattr(frame, name) == getattr(image, name), name
    assert [frame.position_mm[0] for frame in header.images] == pytest.approx([4.8 * n for n in range(1, 8)])


@pytest.mark.parametrize("maker", MAKERS)
def test_a_multi_frame_series_is_chosen_like_its_single_images(world: World, maker):
    arrive(world, maker(stack(11)))
    row = world.series()[SERIES]
    assert (row["role"], row["chosen"], row["instances"]) == ("t1_sagittal", 1, 1)
    assert "for: 11 slice positions" in json.loads(str(row["reasons"]))
    protocol = json.loads(str(row["protocol"]))
    assert (protocol["repetition_time_ms"], protocol["echo_time_ms"], protocol["slice_step_mm"]) == (620, 9.2, 4.8)
    assert row["scanner_stratum"] == "SIEMENS MAGNETOM_ESSENZA 1.5T"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"SpectrallySelectedSuppression": "FAT"}, "fat-saturated"),
        ({"SpectrallySelectedExcitation": "WATER"}, "fat-saturated"),
        ({"InversionRecovery": "YES"}, "inversion recovery (inversion time 200 ms)"),
        ({"EchoPulseSequence": "GRADIENT"}, "scanning sequence is GR"),
        ({"EchoPlanarPulseSequence": "YES"}, "scanning sequence is EP"),
        ({"ComplexImageComponent": "PHASE"}, "image type says PHASE"),
        ({"FrameType": ["DERIVED", "PRIMARY", "T1", "NONE"]}, "image type says DERIVED"),
        ({"EffectiveEchoTime": 110.0}, "not T1-weighted: TR 620 ms, TE 110 ms"),
    ],
)
def test_what_a_frame_says_against_it_counts(world: World, change: dict[str, object], reason: str):
    arrive(world, enhanced(stack(11), change=change))
    row = world.series()[SERIES]
    assert (row["role"], row["chosen"]) == ("other", 0)
    assert any(text.startswith("against: ") and reason in text for text in json.loads(str(row["reasons"])))


def test_the_anatomic_region_speaks_where_no_text_names_a_part(world: World):
    cervical = enhanced(stack(11, StudyDescription="MRI"), change={"CodeMeaning": "Cervical spine"})
    arrive(world, cervical)
    assert "against: another part of the body is named (cerv)" in json.loads(str(world.series()[SERIES]["reasons"]))


def test_single_and_multi_frame_images_in_one_series_are_not_mixed(world: World):
    images = stack(11)
    arrive(world, enhanced(images), *images)
    row = world.series()[SERIES]
    assert row["role"] == "other"
    assert "against: single-frame and multi-frame images in one series" in json.loads(str(row["reasons"]))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("maker", MAKERS)
def test_each_frame_is_read_with_its_own_rescale(tmp_path: Path, maker, compress: bool):
    images = stack(4)
    one = maker(images) if maker is legacy_converted else enhanced(images, offset=lambda frame: 100 * frame)
    one.BitsStored, one.HighBit = 16, 15
    if compress:
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.compress(RLELossless)
    path = write_file(tmp_path / "one", one)
    for number, image in enumerate(images, start=1):
        read = read_slice(path, frame=number)
        np.testing.assert_array_equal(read.signal, np.frombuffer(image.PixelData, np.uint16).reshape(32, 24))
        assert read.spacing_mm == (0.875, 0.875)
    for frame in (0, 5):
        with pytest.raises(DicomReadError, match=f"no frame {frame}; it has 4"):
            read_slice(path, frame=frame)


def test_frames_that_contradict_their_number_are_not_measured(tmp_path: Path):
    one = enhanced(stack(4))
    one.PerFrameFunctionalGroupsSequence = one.PerFrameFunctionalGroupsSequence[:3]
    with pytest.raises(DicomReadError, match="number of frames contradicts"):
        read_slice(write_file(tmp_path / "one", one), frame=2)


def test_functional_groups_that_are_garbage_are_a_problem_and_stop_nothing(world: World):
    broken = enhanced(stack(4))
    del broken.PerFrameFunctionalGroupsSequence
    broken.add_new(0x52009230, "OB", b"\1\2\3\4")
    world.receive(broken, *stack(6, series="2"))
    assert world.index() == 7
    assert world.rows("SELECT code FROM derived_problem") == [("unreadable",)]
    assert world.rows("SELECT count(*) FROM derived_instance") == [(6,)]


def test_an_image_that_claims_impossibly_many_pixels_is_not_decoded(tmp_path: Path):
    image = mr_image()
    image.compress(RLELossless)
    image.Rows, image.Columns = 65535, 65535
    with pytest.raises(DicomReadError, match="claims more than 67108864 pixels"):
        read_slice(write_file(tmp_path / "one", image))


def test_a_reading_names_the_frame_and_is_measured(world: World):
    # Frame 3 alone shows the painted levels, so that any other frame gives another number.
    others = [mr_image(seed=n, Rows=70, Columns=50, InstanceNumber=n, ImagePositionPatient=[4.8 * n, -10, 10],
                       PixelData=np.full((70, 50), 50, np.uint16).tobytes()) for n in range(1, 7)]  # fmt: skip
    others[2] = painted()[2]
    one = enhanced(others, offset=lambda frame: 40 * frame)
    arrive(world, one)
    with pytest.raises(ReadingError, match='image of 6 frames; "frame" must say which one'):
        read(world, rois={"slice": 1, **CIRCLES})
    with pytest.raises(ReadingError, match=r"no frame 7 \(frames: 6\)"):
        read(world, rois={"slice": 1, "frame": 7, **CIRCLES})
    read(world, rois={"slice": 1, "frame": 3, **CIRCLES})
    assert measure_readings(world.db, world.archive) == 1
    assert world.rows("SELECT status, vbq_mean, instance_number, frame_number, sop_instance_uid FROM measurements") == [
        ("measured", 2.5, 1, 3, one.SOPInstanceUID)
    ]
    assert json.loads(str(world.rows("SELECT rois FROM fact_reading")[0][0]))["frame"] == 3


def test_a_single_frame_image_has_no_frame_to_name(world: World):
    arrive(world, *painted())
    with pytest.raises(ReadingError, match=r"no frame 1 \(frames: none\)"):
        read(world, rois={"slice": 3, "frame": 1, **CIRCLES})
    with pytest.raises(ReadingError, match='frame: a whole number is needed, not "3"'):
        read(world, rois={"slice": 3, "frame": "3", **CIRCLES})


@pytest.mark.parametrize("maker", MAKERS)
def test_a_real_series_as_one_object_gives_the_reader_s_number(world: World, maker):
    """Reader A on patient 1: 3.068 and 3.052, as for the single images (tests/analytics/test_vbq_score.py)."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with the real series is not beside this one")
    paths = (SHARED / "t1-tse-dicom" / "patient1").glob("*.dcm")
    images = sorted((pydicom.dcmread(path) for path in paths), key=lambda image: int(image.InstanceNumber))
    rois = json.loads((SHARED / "readings" / "reader_A" / "patient1.json").read_text())
    frame = [int(image.InstanceNumber) for image in images].index(rois["slice"]) + 1
    arrive(world, maker(images))
    uid = str(images[0].SeriesInstanceUID)
    assert world.series()[uid]["chosen"] == 1
    read(world, series=uid, rois={**rois, "slice": 1, "frame": frame})
    measure_readings(world.db, world.archive)
    ((status, mean, median),) = world.rows("SELECT status, vbq_mean, vbq_median FROM measurements")
    assert status == "measured"
    assert (mean, median) == pytest.approx((3.068, 3.052), abs=6e-4)
