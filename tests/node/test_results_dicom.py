"""Results as DICOM objects: valid by other people's validators, and read back by code that shares nothing with ours."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from node.people.results import send, withdraw
from node.results.content import Region
from node.results.dicom.circles import graphic, inside
from node.results.dicom.objects import RENDERS, SOP_CLASSES
from node.results.dicom.scheme import PRIVATE
from node.results.scheme import SCHEME_UID
from tests.node.dicom_samples import NOON, SHARED
from tests.node.multi_frame_samples import enhanced
from tests.node.results_world import (
    PACS,
    PROTOCOL,
    ReadRegion,
    approved,
    by_dcmtk,
    due,
    errors_of,
    loaded,
    measured,
    regions_of,
    rendered,
    score_by_pixels,
    score_of,
)
from tests.node.world import CIRCLES, SERIES, World, painted

OF_FRAME = {"FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.1.99"}

pytestmark = pytest.mark.skipif(
    not (shutil.which("dciodvfy") and shutil.which("dsrdump")), reason="needs dicom3tools and dcmtk"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """Files of the results of a series: measured, then approved, then withdrawn."""
    folder = tmp_path_factory.mktemp("results")
    world = measured(World(folder / "node"), *sent())
    due(world)
    approved(world)
    due(world)
    withdraw(world.db, 1, by="Dr. B", why="of another patient", at=NOON)
    due(world)
    found = {}
    for (kind, version), content in rendered(world).items():
        found[kind, version] = folder / f"{kind}{version}.dcm"
        found[kind, version].write_bytes(content)
    world.db.close()
    return found


def noisy(**values: object) -> list[Dataset]:
    """The painted series with noise, so that a pixel more or less in a circle changes its mean."""
    images = painted(**values)
    for number, image in enumerate(images):
        pixels = np.frombuffer(image.PixelData, np.uint16)
        noise = np.random.default_rng(number).integers(0, 60, pixels.size, dtype=np.uint16)
        image.PixelData = (pixels + noise).tobytes()
    return images


def sent() -> list[Dataset]:
    return noisy(AccessionNumber="A77", StudyID="S1", **OF_FRAME)


def test_there_is_one_object_of_each_kind_and_a_withdrawn_one_where_it_can_say_so(made: dict[tuple[str, int], Path]):
    assert sorted(made) == [
        ("gsps", 1), ("gsps", 2), ("ko", 1), ("ko", 2), ("sc", 1), ("sc", 2), ("sc", 3), ("seg", 1), ("seg", 2),
        ("sr", 1), ("sr", 2), ("sr", 3),
    ]  # fmt: skip


def test_they_are_of_the_classes_and_syntaxes_that_are_stated(made: dict[tuple[str, int], Path]):
    for (kind, _), path in made.items():
        one = pydicom.dcmread(path)
        assert (one.SOPClassUID, one.file_meta.TransferSyntaxUID) == SOP_CLASSES[kind]


def test_dciodvfy_finds_no_error(made: dict[tuple[str, int], Path]):
    assert {name: errors_of(path) for name, path in made.items() if errors_of(path)} == {}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_dcmtk_reads_and_shows_the_report(made: dict[tuple[str, int], Path], version: int):
    path = str(made["sr", version])
    for command in (["dsrdump", path], ["dsr2html", path]):
        said = subprocess.run(command, capture_output=True, check=False)
        assert (said.returncode, said.stderr) == (0, b"")


def test_the_report_leads_to_the_pixels_and_they_to_the_score(made: dict[tuple[str, int], Path]):
    image = sent()[2]
    pixels = np.frombuffer(image.PixelData, np.uint16).reshape(70, 50).astype(float)
    for version in (1, 2):
        report = pydicom.dcmread(made["sr", version])
        regions = regions_of(report)
        assert {region.image for region in regions.values()} == {image.SOPInstanceUID}
        assert score_by_pixels(regions, pixels) == pytest.approx(score_of(report), abs=1e-6)
        half_off = {name: replaced(region, 0.5) for name, region in regions.items()}
        assert score_by_pixels(half_off, pixels) != pytest.approx(score_of(report), abs=1e-6), "half a pixel matters"


def replaced(region: ReadRegion, by: float) -> ReadRegion:
    return replace(
        region,
        centre=(region.centre[0] - by, region.centre[1] - by),
        rim=(region.rim[0] - by, region.rim[1] - by),
    )


def test_a_second_reader_has_the_same_numbers(made: dict[tuple[str, int], Path]):
    report = pydicom.dcmread(made["sr", 1])
    found = by_dcmtk(made["sr", 1])
    assert float(found["Vertebral bone quality score"]) == pytest.approx(score_of(report), abs=1e-12)
    assert float(found["T1 Weighted MR Signal Intensity"]) == pytest.approx(regions_of(report)["L1"].mean, abs=1e-9)
    # 1.96 × 0.061, the standard deviation of the measurement.
    assert float(found["+, range of upper measurement uncertainty"]) == pytest.approx(0.11956, abs=1e-9)


def test_the_masks_hold_the_very_pixels(made: dict[tuple[str, int], Path]):
    seg = pydicom.dcmread(made["seg", 1])
    masks = seg.pixel_array.astype(bool)
    pixels = np.frombuffer(sent()[2].PixelData, np.uint16).reshape(70, 50).astype(float)
    regions = regions_of(pydicom.dcmread(made["sr", 1]))
    labels = [item.SegmentLabel.removeprefix("VBQ ") for item in seg.SegmentSequence]
    assert labels == list(CIRCLES)
    for name, mask in zip(labels, masks, strict=True):
        row, col, radius = CIRCLES[name]
        # Lattice points within a circle around one of them, counted here by hand: 29 of radius 3, 13 of radius 2.
        assert mask.sum() == {3: 29, 2: 13}[int(radius)]
        assert mask[int(row), int(col)]
        assert pixels[mask].mean() == pytest.approx(regions[name].mean, abs=1e-9)


def test_the_presentation_state_draws_the_same_circles(made: dict[tuple[str, int], Path]):
    state = pydicom.dcmread(made["gsps", 1])
    (annotation,) = state.GraphicAnnotationSequence
    drawn = [list(one.GraphicData) for one in annotation.GraphicObjectSequence]
    regions = regions_of(pydicom.dcmread(made["sr", 1]))
    assert drawn == [[*region.centre, *region.rim] for region in regions.values()]
    assert state.DisplayedAreaSelectionSequence[0].DisplayedAreaTopLeftHandCorner == [1, 1]
    assert any(PROTOCOL in one.UnformattedTextValue for one in annotation.TextObjectSequence)


def test_the_picture_is_lossless_and_names_nobody(made: dict[tuple[str, int], Path]):
    for version in (1, 3):
        picture = pydicom.dcmread(made["sc", version])
        assert picture.file_meta.TransferSyntaxUID.name == "RLE Lossless"
        assert picture.pixel_array.shape == (960, 1500, 3)
        assert (picture.BurnedInAnnotation, picture.ImageComments) == ("NO", f"Research use only. Protocol: {PROTOCOL}")


def test_all_objects_have_patient_and_study_as_in_the_images(made: dict[tuple[str, int], Path]):
    for path in made.values():
        one = pydicom.dcmread(path)
        who = (str(one.PatientName), one.PatientID, one.IssuerOfPatientID, one.PatientBirthDate, one.PatientSex)
        assert who == ("Test^Synthetic", "0012345", "HOSPITAL", "19550704", "F")
        assert (one.AccessionNumber, one.StudyID, one.StudyDate) == ("A77", "S1", "20260302")
        assert one.StudyInstanceUID == sent()[0].StudyInstanceUID
        assert one.SeriesDescription == "VBQ, research use only"
        assert one.SeriesInstanceUID != SERIES


def test_what_is_verified_is_named_and_what_is_replaced_is_referred_to(made: dict[tuple[str, int], Path]):
    first, second, third = (pydicom.dcmread(made["sr", version]) for version in (1, 2, 3))
    flags = [(one.PreliminaryFlag, one.VerificationFlag, one.CompletionFlag) for one in (first, second, third)]
    assert flags == [
        ("PRELIMINARY", "UNVERIFIED", "COMPLETE"),
        ("FINAL", "VERIFIED", "COMPLETE"),
        ("PRELIMINARY", "UNVERIFIED", "COMPLETE"),
    ]
    assert str(second.VerifyingObserverSequence[0].VerifyingObserverName) == "Dr. A^"
    for earlier, later in ((first, second), (second, third)):
        item = later.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert item.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
        assert later.SeriesInstanceUID == earlier.SeriesInstanceUID
    assert len({one.SOPInstanceUID for one in (first, second, third)}) == 3
    assert regions_of(third) == {}, "a withdrawn report has no number"


def test_the_private_codes_are_declared_under_one_uid_for_ever(made: dict[tuple[str, int], Path]):
    (scheme,) = pydicom.dcmread(made["sr", 1]).CodingSchemeIdentificationSequence
    assert (scheme.CodingSchemeDesignator, scheme.CodingSchemeUID) == ("99VBQNODE", SCHEME_UID)
    assert SCHEME_UID == "2.25.219957296002100684162745109781940625025"
    codes = [(code.value, code.meaning) for code in PRIVATE]
    assert len(dict(codes)) == len(codes)
    assert all(len(value) <= 16 and len(meaning) <= 64 for value, meaning in codes)


def test_the_note_names_what_no_longer_holds(made: dict[tuple[str, int], Path]):
    notes = [pydicom.dcmread(made["ko", version]) for version in (1, 2)]
    titles = [one.ConceptNameCodeSequence[0].CodeValue for one in notes]
    assert titles == ["113001", "113037"], "replaced: quality; withdrawn: patient safety"
    named = [
        {
            item.ReferencedSOPInstanceUID
            for series in one.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        for one in notes
    ]
    uids = [{pydicom.dcmread(made[kind, n]).SOPInstanceUID for kind in ("sr", "sc", "seg", "gsps")} for n in (1, 2)]
    assert named == uids


def test_what_a_note_took_back_is_sent_anew_when_it_holds_again(world: World):
    masks = replace(PACS, renders={"seg": RENDERS["seg"]})
    measured(world, *noisy(**OF_FRAME))
    due(world, masks)
    withdraw(world.db, 1, by="Dr. B", why="a mistake", at=NOON)
    assert due(world, masks) == 1, "the note alone: masks cannot say it"
    assert due(world, masks) == 0
    send(world.db, SERIES, by="Dr. B", at=NOON)
    assert due(world, masks) == 1
    assert world.rows("SELECT kind, version FROM results ORDER BY result_id") == [("seg", 1), ("ko", 1), ("seg", 2)]
    assert due(world, masks) == 0


def test_letters_that_the_images_have_not_are_kept(world: World):
    measured(world, *painted(PatientName="Müller^Ärmel", **OF_FRAME), protocol="Ethikvotum Köln 1")
    due(world)
    approved(world, reader="Dr. Żak")
    due(world)
    made = {name: loaded(content) for name, content in rendered(world).items()}
    report = made["sr", 2]
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert str(report.PatientName) == "Müller^Ärmel"
    assert str(report.VerifyingObserverSequence[0].VerifyingObserverName) == "Dr. Żak^"
    assert report.ContentSequence[-1].TextValue == "Research use only. Protocol: Ethikvotum Köln 1"


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Ärmel"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_the_name_is_written_as_in_the_images(world: World, charset: object, name: str):
    images = painted(SpecificCharacterSet=charset, PatientName=name)
    measured(world, *images)
    due(world)
    report = loaded(rendered(world)["sr", 1])
    assert report.SpecificCharacterSet == charset
    assert str(report.PatientName) == name


def test_a_frame_of_an_enhanced_image_is_referred_to(world: World, tmp_path: Path):
    images = noisy(**OF_FRAME)
    for number, image in enumerate(images, start=1):
        # With no more digits than a decimal string may have.
        image.ImagePositionPatient = [round(4.8 * number, 1), -10, 10]
    measured(world, enhanced(images))
    due(world)
    made = rendered(world)
    report = loaded(made["sr", 1])
    (text,) = {
        str(item.ContentSequence[0].ReferencedSOPSequence[0].get("ReferencedFrameNumber"))
        for group in report.ContentSequence
        if "ContentSequence" in group
        for inner in group.ContentSequence
        for item in inner.get("ContentSequence") or ()
        if item.ValueType == "SCOORD"
    }
    assert text == "3"
    seg = loaded(made["seg", 1])
    assert seg.NumberOfFrames == 5
    assert world.rows("SELECT reason_codes FROM problems WHERE step = 'results'") == [('["result-rescaled-by-frame"]',)]
    for kind in ("sr", "sc", "seg"):
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(made[kind, 1])
        assert errors_of(path) == []


def test_a_score_of_other_pixels_is_not_rendered(world: World):
    measured(world, *noisy(**OF_FRAME))
    rois = json.loads(world.db.execute("SELECT rois FROM derived_measurement").fetchone()[0])
    rois["L2"]["mean"] += 1
    world.db.execute("UPDATE derived_measurement SET rois = ?", [json.dumps(rois)])
    assert due(world) == 0
    details = [str(detail) for (detail,) in world.rows("SELECT detail FROM problems WHERE step = 'results'")]
    assert len(details) == 4
    assert all("do not give what was measured in L2" in detail for detail in details)


def test_a_circle_keeps_its_pixels_in_32_bits():
    """A rim that passes a pixel's centre by less than a 32-bit number can tell."""
    region = Region(row=1000.0, col=1000.0, radius_px=3.0 - 1e-9, mean=0, sd=0, pixels=0)
    shape = (2048, 2048)
    wanted = inside(region, shape)
    (across, down), (rim, _) = np.float32(graphic(region, shape)).astype(float)
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    found = np.hypot(rows - down, columns - across) <= rim - across
    assert np.array_equal(found, wanted)
    assert wanted.sum() == 25, "29 lattice points, but four that lie beyond the rim"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_a_real_series_leads_to_its_score(world: World):
    """Real pixels with the node's own measurement; a reader's arithmetic."""
    from analytics.vbq.measure import measure_stack

    images = [pydicom.dcmread(path) for path in sorted((SHARED / "t1-tse-dicom" / "patient1").iterdir())]
    for image in images:
        image.PatientID, image.PatientName = "P1", "TEST^ONE"
    measured(world, *images, double=measure_stack)
    due(world)
    made = rendered(world)
    report = loaded(made["sr", 1])
    regions = regions_of(report)
    image = next(one for one in images if one.SOPInstanceUID == regions["L1"].image)
    pixels = image.pixel_array.astype(float)
    ((vbq,),) = world.rows("SELECT vbq_mean FROM measurements WHERE in_effect = 1")
    assert score_of(report) == pytest.approx(vbq, abs=1e-12)
    assert score_by_pixels(regions, pixels) == pytest.approx(vbq, abs=1e-6)
    masks = loaded(made["seg", 1]).pixel_array.astype(bool)
    assert [pixels[mask].mean() for mask in masks] == [region.mean for region in regions.values()]
