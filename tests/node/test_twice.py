"""Elements that stand twice: DCMTK reads the first, pydicom the last, so an object that they change is set aside."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial

from node.dicom.header import Header
from node.dicom.part10 import file_header
from node.dicom.reader import read_header
from node.dicom.twice import MOST, UpToPixels
from node.errors import DicomReadError
from node.people.quarantine import mirror
from tests.node.dicom_samples import dcmtk, encode, mr_image, stack
from tests.node.world import World

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
PIXEL_DATA = struct.pack("<HH", 0x7FE0, 0x0010) + b"OW"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path / "data")
    yield one
    one.db.close()


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    padded = value + b" " * (len(value) % 2)
    return struct.pack("<HH", group, number) + vr + struct.pack("<H", len(padded)) + padded


def with_more(image: Dataset, *elements: bytes) -> bytes:
    """The data set with these in front of the pixels."""
    return encode(image).replace(PIXEL_DATA, b"".join(elements) + PIXEL_DATA)


def written(folder: Path, content: bytes, syntax: str = EXPLICIT) -> Path:
    path = folder / "image.dcm"
    header = file_header(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4", sop_instance_uid="1.2.3", transfer_syntax_uid=syntax
    )
    path.write_bytes(header + content)
    return path


def read(folder: Path, *elements: bytes) -> Header:
    return read_header(written(folder, with_more(mr_image(), *elements)))


PATIENT = element(0x10, 0x20, b"LO", b"999")


@pytest.mark.parametrize(
    ("elements", "names"),
    [
        ([PATIENT], ["PatientID"]),
        ([element(0x10, 0x20, b"LO", b"")], ["PatientID"]),
        ([PATIENT, element(0x10, 0x20, b"LO", b"0012345")], ["PatientID"]),
        ([element(0x10, 0x10, b"PN", b"Another^Name")], ["PatientName"]),
        ([element(0x10, 0x30, b"DA", b"19550705"), PATIENT], ["PatientID", "PatientBirthDate"]),
        ([element(0x20, 0x0D, b"UI", b"1.2.3.4\0")], ["StudyInstanceUID"]),
        ([element(0x28, 0x30, b"DS", b"1\\1")], ["PixelSpacing"]),
        ([element(0x28, 0x103, b"US", b"\1\0")], ["PixelRepresentation"]),
    ],
)
def test_what_changes_what_it_says_is_not_read_and_named(tmp_path: Path, elements: list[bytes], names: list[str]):
    with pytest.raises(DicomReadError) as raised:
        read(tmp_path, *elements)
    assert (raised.value.reason.code, raised.value.reason.values) == ("elements-twice", {"elements": tuple(names)})


@pytest.mark.parametrize(
    "elements",
    [
        [element(0x10, 0x20, b"LO", b"0012345 ")],
        [element(0x10, 0x4000, b"LT", b"one"), element(0x10, 0x4000, b"LT", b"other")],
        [element(0x11, 0x10, b"LO", b"VENDOR"), *(element(0x11, 0x1001, b"LO", b"%d" % n) for n in range(2 * MOST))],
    ],
    ids=["the same value", "nothing that is read", "private"],
)
def test_what_touches_nothing_costs_nothing(tmp_path: Path, elements: list[bytes]):
    assert read(tmp_path, *elements) == read(tmp_path)


def test_other_numbers_of_a_patient_contradict_nothing(tmp_path: Path):
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = "999", "HOSPITAL"
    image = mr_image(OtherPatientIDsSequence=[other])
    assert read_header(written(tmp_path, encode(image))).patient_id == "0012345"


def test_more_than_are_compared_are_not_read(tmp_path: Path):
    more = [element(0x18, 0x9000 + n, b"LO", b"x") for n in range(MOST + 1)]
    with pytest.raises(DicomReadError, match="more than once"):
        read(tmp_path, *more, *more)


@pytest.mark.filterwarnings("ignore:Expected implicit VR")
def test_a_type_that_is_not_of_the_transfer_syntax_is_no_repetition(tmp_path: Path):
    noted = UpToPixels()
    path = written(tmp_path, encode(mr_image()), IMPLICIT)
    with path.open("rb") as file:
        assert read_partial(file, stop_when=noted).PatientID == "0012345"
    assert noted.repeated == {}
    twice = with_more(mr_image(), PATIENT)
    with pytest.raises(DicomReadError, match="PatientID"):
        read_header(written(tmp_path, twice, IMPLICIT))


def test_the_tools_of_a_pacs_read_the_first_where_this_node_would_read_the_last(tmp_path: Path):
    path = written(tmp_path, with_more(mr_image(), PATIENT))
    assert "[0012345]" in dcmtk("dcmdump", "--quiet", "--search", "0010,0020", str(path)).stdout


def test_it_is_set_aside_until_somebody_corrects_it(world: World):
    images = stack(6)
    twice, *_ = world.receive(with_more(images[0], PATIENT), *images[1:])
    world.index()
    world.catalogue()
    mirror(world.db, world.archive, world.folder)
    assert world.rows("SELECT source, code, detail FROM problems WHERE step = 'index'") == [
        (
            f"object {twice[:12]}",
            "unreadable",
            "it has PatientID more than once, with different values, and programs differ in which of them they take",
        )
    ]
    assert [row["instances"] for row in world.series().values()] == [5]
    assert (world.folder / "quarantine" / f"{twice[:12]}.dcm").is_file()
