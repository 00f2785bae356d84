"""A de-identified image: nothing leaves but what is named, and the profile of PS3.15 is kept."""

import csv
import shutil
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import SecondaryCaptureImageStorage

from node.operate.deidentify import DATES, EMPTY, KEPT, UIDS, Cover, KeptHereError, deidentified, new_uid
from tests.node.dicom_samples import mr_image, write_file
from tests.node.results_world import errors_of

TABLE = Path(__file__).parent / "data" / "ps3.15_table_e.1-1.csv"
"""Table E.1-1 of PS3.15 2026c, column Basic Profile, as dicom-anonymizer 2.1.0 (BSD) has read it from the standard."""
WORD = "Vanderbilt"
"""Stands in every element of the sample that can hold a text."""
COVER = Cover(patient="XABC", uid=lambda uid: uid.encode()[-16:].rjust(16), days_back=timedelta(days=40), shifted=True)


def image(**values: object) -> Dataset:
    """A slice that dciodvfy finds no fault with, named through and through."""
    whole = mr_image(
        PatientName=f"{WORD}^Anna",
        PatientID="0012346",
        PatientBirthDate="19500131",
        PatientSex="F",
        StudyDate="20260301",
        SeriesDate="20260301",
        StudyTime="101500",
        ImageType=["ORIGINAL", "PRIMARY", "M"],
        SequenceVariant="SK",
        MRAcquisitionType="2D",
        FrameOfReferenceUID="1.2.3.4.5",
        PatientPosition="HFS",
    )
    for keyword, value in {"ScanningSequence": "SE", "ScanOptions": "", "EchoTrainLength": "3", "SeriesNumber": "1",
                           "PositionReferenceIndicator": "", "ReferringPhysicianName": f"{WORD}^Otto",
                           "AccessionNumber": WORD, "StudyID": WORD, "Manufacturer": "ACME"}.items():  # fmt: skip
        if keyword not in whole or value:
            setattr(whole, keyword, value)
    for keyword, value in values.items():
        setattr(whole, keyword, value)
    return whole


def made(tmp_path: Path, dataset: Dataset) -> Dataset:
    return deidentified(write_file(tmp_path / "image.dcm", dataset), COVER)


def table() -> dict[int, str]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {int(row["tag"], 16): row["basic_profile"] for row in csv.DictReader(file)}


def test_what_is_kept_is_not_in_the_table_of_the_standard_and_the_rest_is_done_as_it_says() -> None:
    basic = table()
    assert len(basic) > 600
    assert [keyword for keyword in KEPT if tag_for_keyword(keyword) in basic] == []
    assert {basic[int(tag_for_keyword(keyword) or 0)] for keyword in UIDS} == {"U"}
    for keyword in EMPTY:
        assert basic.get(int(tag_for_keyword(keyword) or 0), "Z").startswith("Z"), keyword
    for keyword in DATES:
        assert int(tag_for_keyword(keyword) or 0) in basic


def test_no_word_of_the_person_is_in_the_file_wherever_it_stood(tmp_path: Path) -> None:
    whole = image()
    for tag in table():
        keyword = keyword_for_tag(tag)
        if keyword and keyword not in whole and dictionary_VR(tag) in {"LO", "SH", "PN", "LT", "ST", "UT", "UC"}:
            setattr(whole, keyword, WORD)
    whole.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(1, "LO", WORD)
    whole.add_new(Tag(0x6000, 0x4000), "LT", WORD)
    whole.ProtocolName = whole.SeriesDescription = WORD
    assert str(whole).count(WORD) > 150
    path = tmp_path / "out.dcm"
    made(tmp_path, whole).save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    assert [
        one for one in (WORD, "Anna", "0012346", "19500131", "20260301", "1.2.3.4.5") if one.encode() in content
    ] == []
    read = pydicom.dcmread(path)
    assert {keyword_for_tag(element.tag) for element in read} <= {
        *KEPT, *UIDS, *DATES, *EMPTY, "PatientName", "PatientID", "PatientIdentityRemoved", "DeidentificationMethod",
        "DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified", "PixelData",
    }  # fmt: skip


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dicom3tools")
def test_dciodvfy_finds_no_more_than_in_what_was_given(tmp_path: Path) -> None:
    whole = image()
    given = errors_of(write_file(tmp_path / "given.dcm", whole))
    path = tmp_path / "out.dcm"
    made(tmp_path, whole).save_as(path, enforce_file_format=True)
    assert given == []
    assert errors_of(path) == []


def test_it_says_by_what_it_was_made_and_keeps_pixels_and_intervals(tmp_path: Path) -> None:
    whole = image(AcquisitionDate="20260229")
    found = made(tmp_path, whole)
    assert (found.PatientIdentityRemoved, found.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert [code.CodeValue for code in found.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert (found.PatientName, found.PatientID, found.PatientSex) == ("XABC", "XABC", "")
    # 1 March less 40 days; the 29th of February 2026 is none.
    assert (found.StudyDate, found.SeriesDate, found.get("AcquisitionDate")) == ("20260120", "20260120", None)
    assert found.PixelData == whole.PixelData
    assert found.EchoTime == whole.EchoTime
    assert {found[name].value for name in UIDS} & {whole[name].value for name in UIDS} == set()


def test_bits_beside_the_pixels_and_bytes_behind_them_go(tmp_path: Path) -> None:
    whole = image()
    plain = whole.PixelData
    assert whole.BitsStored == 12
    drawn = bytearray(plain)
    drawn[1::2] = bytes(one | 0xF0 for one in drawn[1::2])
    whole.PixelData = bytes(drawn) + WORD.encode()
    assert made(tmp_path, whole).PixelData == plain


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"BurnedInAnnotation": "YES"}, "burnt in"),
        ({"RecognizableVisualFeatures": "YES"}, "recognisable"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, "is derived"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "no single MR slice"),
        ({"NumberOfFrames": 2}, "no single MR slice"),
        ({"HighBit": 15}, "not laid out plainly"),
        ({"ManufacturerModelName": f"Unit of {WORD}"}, "names its patient"),
        ({"BodyPartExamined": "0012346"}, "names its patient"),
    ],
)
def test_what_may_show_the_person_stays_here(tmp_path: Path, values: dict[str, object], why: str) -> None:
    with pytest.raises(KeptHereError, match=why):
        made(tmp_path, image(**values))


def test_a_derived_image_leaves_only_when_it_says_that_nothing_is_burnt_in(tmp_path: Path) -> None:
    found = made(tmp_path, image(ImageType=["DERIVED", "PRIMARY"], BurnedInAnnotation="NO"))
    assert found.BurnedInAnnotation == "NO"


def test_new_uids_are_those_of_uuids_of_version_8() -> None:
    # RFC 9562, 5.8: version in bits 48 to 51, variant 10 in bits 64 and 65; PS3.5, B.2: 2.25 and the number in decimal.
    assert new_uid(b"\0" * 16) == f"2.25.{(8 << 76) + (2 << 62)}"
    assert len(new_uid(b"\xff" * 16)) <= 64
