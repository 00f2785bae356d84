"""``vbq-node measure`` without its command: what is found in folders, which series is measured, what each line says."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from analytics.records import MeasurementStatus
from analytics.vbq.version import AUTOMATIC_VERSION
from node.errors import InputError
from node.measure.files import find, measure_all, needs_a_person, picture, to_json_dict
from tests.node.dicom_samples import stack, write_file
from tests.node.known_circles import KnownCircles
from tests.node.multi_frame_samples import enhanced
from tests.node.world import CIRCLES, painted

STUDY = "1.2.826.0.1.3680043.8.498.1"
FIELDS = [
    "series_instance_uid", "sop_instance_uid", "instance_number", "status", "reasons", "reason_codes", "vbq_mean",
    "vbq_median",     "rois", "uncertainty", "levels_confidence", "protocol", "algorithm", "beside_the_score",
]  # fmt: skip
"""As promised, in this order, and what stands beside the score."""


def write(folder: Path, *images: Dataset) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        write_file(folder / f"IM{len(list(folder.iterdir())):05}", image)


def measured(*paths: Path, double: KnownCircles | None = None) -> dict[str, dict[str, object]]:
    found = find(list(paths))
    lines = [
        json.dumps(to_json_dict(series, result), allow_nan=False)
        for series, result in measure_all(found, double or KnownCircles(CIRCLES))
    ]
    rows = [json.loads(line) for line in lines]
    assert all(list(row) == FIELDS for row in rows)
    assert all(len(row["reason_codes"]) == len(row["reasons"]) for row in rows)
    return {row["series_instance_uid"].removeprefix(f"{STUDY}."): row for row in rows}


def whole_study() -> list[Dataset]:
    """What stands beside the T1 in a lumbar examination."""
    return [
        *stack(3, series="2", SeriesDescription="localizer", ScanningSequence="GR", RepetitionTime=8, EchoTime=4),
        *painted(series="3", SeriesDescription="t2_tse_sag", RepetitionTime=3500, EchoTime=110),
        *painted(series="4", SeriesDescription="t2_tirm_sag", ScanningSequence=["SE", "IR"], InversionTime=150),
        *stack(series="5", SeriesDescription="t1_tse_tra", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        *painted(series="6", SeriesDescription="t1_tse_sag KM", ContrastBolusAgent="Gadovist"),
        *painted(series="7", SeriesDescription="t1_tse_sag fs", ScanOptions="FS"),
        *painted(series="8", SeriesDescription="t1_tse_sag", SeriesNumber=9),
        *painted(series="1"),
    ]


def test_a_whole_study_has_one_measured_series_and_a_reason_for_every_other(tmp_path: Path):
    write(tmp_path / "A" / "B", *whole_study())
    rows = measured(tmp_path)
    assert {uid: row["status"] for uid, row in rows.items()} == {
        "1": "measured", "2": "rejected", "3": "rejected", "4": "rejected", "5": "rejected", "6": "rejected",
        "7": "rejected", "8": "rejected",
    }  # fmt: skip
    why = {uid: " ".join(row["reasons"]) for uid, row in rows.items()}
    for uid, words in {
        "2": "localiser", "3": "not T1-weighted: TR 3500 ms, TE 110 ms", "4": "inversion recovery",
        "5": "not sagittal", "6": "a contrast agent was given", "7": "fat-saturated",
        "8": f"not chosen: series {STUDY}.1 of the study is better suited",
    }.items():  # fmt: skip
        assert words in why[uid]
    assert {row["vbq_mean"] for uid, row in rows.items() if uid != "1"} == {None}


def test_one_line_holds_what_is_promised(tmp_path: Path):
    images = painted(MagneticFieldStrength=1.494)
    write(tmp_path, *images)
    row = measured(tmp_path)["1"]
    assert (row["sop_instance_uid"], row["instance_number"]) == (images[2].SOPInstanceUID, 3)
    assert (row["status"], row["reasons"], row["vbq_mean"], row["vbq_median"]) == ("measured", [], 2.5, 2.5)
    assert row["rois"]["L1"] == {
        "row": 10.0, "col": 12.0, "radius_px": 3.0, "radius_mm": 2.625, "mean": 300.0, "sd": 0.0, "pixels": 29,
    }  # fmt: skip
    assert list(row["rois"]) == ["L1", "L2", "L3", "L4", "CSF"]
    assert (row["uncertainty"], row["levels_confidence"]) == ({"vbq_sd": 0.061}, 0.97)
    assert row["algorithm"] == {"name": "vbq-auto", "version": AUTOMATIC_VERSION}
    assert row["beside_the_score"] == {
        "validated": False, "segmental_vbq": {"L1": 3.0, "L2": 2.6, "L3": 2.4, "L4": 2.0},
        "s1_vbq": 2.75, "ebq": {"L4/L5": 2.25},
        "s1": {"row": 60.0, "col": 12.0, "radius_px": 3.0, "radius_mm": 2.6, "mean": 330.0, "pixels": 29},
    }  # fmt: skip
    protocol = row["protocol"]
    assert isinstance(protocol, dict)
    assert (protocol["repetition_time_ms"], protocol["field_strength_t"]) == (620.0, 1.5)
    assert (protocol["contrast"], protocol["prescan_normalisation"]) == (False, ["NORM"])


def test_a_frame_of_a_multi_frame_image_is_named(tmp_path: Path):
    write(tmp_path, enhanced(painted()))
    row = measured(tmp_path)["1"]
    assert (row["status"], row["instance_number"]) == ("measured", 1)
    assert row["protocol"]["frame_number"] == 3


def test_a_value_outside_the_accepted_range_is_measured_and_said(tmp_path: Path):
    write(tmp_path, *painted(EchoTime=25))
    row = measured(tmp_path)["1"]
    assert row["status"] == "measured"
    assert str(row["reasons"]).startswith("['echo time 25 ms is outside 8–20 ms")


def test_a_folder_as_people_have_them(tmp_path: Path):
    """Two studies without identity in one folder, one image in another, things that are no DICOM images beside them."""
    anonymous = {"PatientID": "", "PatientName": "", "StudyDate": "", "AccessionNumber": ""}
    other = painted(series="9", StudyInstanceUID="1.2.826.0.1.3680043.8.498.2", **anonymous)
    mine = painted(**anonymous)
    write(tmp_path / "mixed", *mine[:5], *other)
    write(tmp_path / "one more", mine[5], mine[0])
    (tmp_path / "mixed" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x02\x00UI\x04\x001.2\0")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    double = KnownCircles(CIRCLES)
    rows = measured(tmp_path, double=double)
    assert {uid: row["status"] for uid, row in rows.items()} == {"1": "measured", "9": "measured"}
    assert [asked[0] for asked in double.asked] == [6, 6], "the same image twice is one slice"
    found = find([tmp_path])
    assert {path.name for path in found.unread} == {"DICOMDIR", "report.pdf", "empty", "pipe"}
    assert found.named == frozenset()


def test_files_by_name_and_what_is_not_there(tmp_path: Path):
    write(tmp_path, *painted())
    files = sorted(tmp_path.iterdir())
    assert measured(*files)["1"]["status"] == "measured"
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    found = find([text, files[0]])
    assert (found.unread[text], text in found.named, found.series) == ("not a DICOM Part 10 file", True, 1)
    with pytest.raises(InputError, match=r"nothing-here: there is no such file or folder"):
        find([tmp_path / "nothing-here"])


SILENT = {"RepetitionTime": None, "EchoTime": None, "SeriesDescription": None, "StudyDescription": None}


@pytest.mark.parametrize("slices", [1, 4, 6])
def test_where_the_headers_are_silent_the_image_decides(tmp_path: Path, slices: int):
    write(tmp_path, *painted(**SILENT)[:slices])
    double = KnownCircles(CIRCLES)
    row = measured(tmp_path, double=double)["1"]
    # Who names files has picked the slices: that they are few is said and makes no doubt.
    few = [f"fewer than 5 slices ({slices}): the midline may lie beside them"] if slices < 5 else []
    assert (row["status"], [one for one in row["reasons"] if "fewer" in one]) == ("measured", few)
    assert double.asked == [(slices, False)]


def test_of_two_silent_series_the_one_whose_image_is_accepted(tmp_path: Path):
    bright = np.frombuffer(painted()[0].PixelData, np.uint16) * np.uint16(3)
    write(tmp_path, *painted(**SILENT, PixelData=bright.tobytes()), *painted(series="2", **SILENT))
    double = KnownCircles(CIRCLES, rejects={round(float(bright.mean()), 1): "fluid is brighter than marrow: T2"})
    rows = measured(tmp_path, double=double)
    assert (rows["1"]["status"], rows["1"]["reasons"]) == (
        "rejected",
        ["fluid is brighter than marrow: T2", "the headers do not say the repetition time, echo time"],
    )
    assert rows["2"]["status"] == "measured"


def test_a_series_of_several_studies_is_rejected_once(tmp_path: Path):
    images = painted()
    images[1].StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    write(tmp_path, *images)
    row = measured(tmp_path)["1"]
    assert (row["status"], row["reasons"]) == ("rejected", ["its images name different studies"])


def test_inverted_grey_values_are_refused_with_the_reason(tmp_path: Path):
    write(tmp_path, *painted(PhotometricInterpretation="MONOCHROME1"))
    row = measured(tmp_path)["1"]
    assert row["status"] == "rejected"
    assert "greater values do not mean more signal (not MONOCHROME2)" in row["reasons"]


def test_the_picture_bears_the_uid_of_its_slice(tmp_path: Path):
    images = painted()
    write(tmp_path, *images)
    ((_, result),) = measure_all(find([tmp_path]), KnownCircles(CIRCLES))
    drawn = picture(result)
    assert drawn is not None
    name, content = drawn
    assert name == f"{images[2].SOPInstanceUID}.png"
    assert content.startswith(b"\x89PNG")
    assert b"Synthetic" not in content


def test_the_exit_code_asks_for_a_person_where_a_study_has_no_score():
    measured, review, rejected = MeasurementStatus
    assert not needs_a_person([("A", measured), ("A", rejected), ("B", rejected), ("B", measured)])
    assert needs_a_person([("A", measured), ("B", review)])
    assert needs_a_person([("A", rejected)])


def test_an_empty_folder_has_nothing(tmp_path: Path):
    found = find([tmp_path])
    assert (found.series, found.unread) == (0, {})


def test_two_patients_in_one_folder_are_two_studies_and_in_one_study_a_doubt(tmp_path: Path):
    second = painted(series="2", StudyInstanceUID="1.2.826.0.1.3680043.8.498.2", PatientID="77")
    write(tmp_path / "apart", *painted(), *second)
    assert [row["status"] for row in measured(tmp_path / "apart").values()] == ["measured", "measured"]
    write(tmp_path / "mixed", *painted(), *painted(series="2", PatientID="77"))
    rows = measured(tmp_path / "mixed")
    assert [row["status"] for row in rows.values()] == ["review", "rejected"]
    assert all(row["reasons"][0] == "the images of its study carry different patient numbers" for row in rows.values())


def test_series_come_in_the_order_of_the_scanner(tmp_path: Path):
    write(tmp_path, *stack(series="9", SeriesNumber=2, EchoTime=100), *painted(series="3", SeriesNumber=11), *painted())
    assert list(measured(tmp_path)) == ["9", "1", "3"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", b"PK\x03\x04rest", "an archive: unpack it and give the folder"),
        ("a.tar.gz", b"\x1f\x8brest", "an archive: unpack it and give the folder"),
        (
            "a.nii.gz",
            b"\x1f\x8brest",
            "NIfTI, which does not hold how the images were made: the DICOM images are needed",
        ),
        (
            "a",
            bytes(344) + b"n+1\0",
            "NIfTI, which does not hold how the images were made: the DICOM images are needed",
        ),
        ("IM1", b"", "an empty file"),
        ("IM2", b"\x08\x00\x05\x00rest", "DICOM without the header of a file (Part 10), which DCMTK's `dcmconv"),
        ("DICOMDIR", bytes(128) + b"DICM  1.2.840.10008.1.3.10", "the list of contents of a medium (DICOMDIR): give"),
        ("notes", b"hello", "not a DICOM Part 10 file"),
    ],
)
def test_what_is_no_image_is_said_in_words(tmp_path: Path, name: str, content: bytes, words: str):
    (tmp_path / name).write_bytes(content)
    found = find([tmp_path / name])
    assert not found.studies
    assert found.unread[tmp_path / name].startswith(words)


def test_an_image_that_is_cut_off_says_why_it_cannot_be_measured(tmp_path: Path):
    write(tmp_path, painted()[0])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-400])
    reasons = measured(tmp_path)["1"]["reasons"]
    assert reasons == [
        "none of its images can be read and placed in the patient",
        "1 image could not be read: the pixels cannot be decoded (ValueError)",
    ]


def test_missing_slices_are_said_as_the_node_says_them(tmp_path: Path):
    images = painted()
    write(tmp_path, *images[:3], *images[4:])
    row = measured(tmp_path)["1"]
    assert (row["status"], row["vbq_mean"]) == ("review", 2.5)
    assert row["reason_codes"][:2] == ["images-missing", "gaps-between-slices"]


@pytest.mark.parametrize(
    ("values", "status", "code"),
    [
        ({"ContrastBolusAgent": "ANONYMIZED"}, "review", "contrast-unknown"),
        ({"ContrastBolusAgent": "", "ContrastBolusVolume": "8"}, "rejected", "contrast-agent-given"),
        ({"ContrastBolusAgent": "ohne KM", "ContrastBolusVolume": "0"}, "measured", None),
    ],
)
def test_what_the_contrast_elements_say_decides(
    tmp_path: Path, values: dict[str, object], status: str, code: str | None
):
    write(tmp_path, *painted(**values))
    row = measured(tmp_path)["1"]
    assert row["status"] == status
    assert code is None or code in row["reason_codes"]


@pytest.mark.parametrize(
    "change", [{"ImageOrientationPatient": None}, {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, {"EchoTime": 90}]
)
def test_one_foreign_image_costs_the_series_a_look_and_not_its_score(tmp_path: Path, change: dict[str, object]):
    (other,) = stack(1, SOPInstanceUID="1.2.3.4", InstanceNumber=99, **change)
    write(tmp_path, *painted(), other)
    row = measured(tmp_path)["1"]
    assert (row["status"], row["vbq_mean"], row["reason_codes"]) == ("review", 2.5, ["images-foreign"])
