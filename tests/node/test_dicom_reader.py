"""Headers and pixels of objects as they are found in the wild."""

import logging
from datetime import date
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.dicom.header import header_from_json, header_to_json
from node.dicom.reader import read_header, read_slice
from node.errors import DicomReadError
from tests.node.dicom_samples import SHARED, dcmtk, mr_image, write_file


def raw(*elements: tuple[int, bytes, bytes]) -> bytes:
    """Elements in Explicit VR Little Endian with values as no library would write them."""
    return b"".join(
        (tag >> 16).to_bytes(2, "little")
        + (tag & 0xFFFF).to_bytes(2, "little")
        + vr
        + len(value).to_bytes(2, "little")
        + value
        for tag, vr, value in elements
    )


UIDS = {
    "SOPInstanceUID": (0x00080018, b"1.2.3.4\0"),
    "StudyInstanceUID": (0x0020000D, b"1.2.3.1\0"),
    "SeriesInstanceUID": (0x0020000E, b"1.2.3.12"),
}
META = (0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")


def raw_file(path: Path, *elements: tuple[int, bytes, bytes], **uids: bytes) -> Path:
    named = [(tag, b"UI", uids.get(keyword, value)) for keyword, (tag, value) in UIDS.items()]
    path.write_bytes(b"\0" * 128 + b"DICM" + raw(META) + raw(*sorted([*named, *elements])))
    return path


def test_a_header_as_sent(tmp_path: Path):
    header = read_header(write_file(tmp_path / "one", mr_image()))
    assert (header.patient_id, header.issuer) == ("0012345", "HOSPITAL")
    assert (header.birth_date, header.sex, header.study_date) == (date(1955, 7, 4), "F", date(2026, 3, 2))
    assert header.instance_number == 1
    assert header.image.orientation == (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    assert (header.image.repetition_time_ms, header.image.echo_time_ms) == (620.0, 9.2)
    assert header.image.image_type == ("ORIGINAL", "PRIMARY", "M", "NORM")
    assert header.image.scan_options == ("SAT1",)
    assert header_from_json(header_to_json(header)) == header


@pytest.mark.parametrize(
    ("tag", "vr", "value", "field", "read"),
    [
        (0x00100020, b"LO", b"  007 ", "patient_id", "007"),
        (0x00100020, b"LO", b"    ", "patient_id", None),
        (0x00100020, b"LO", b"", "patient_id", None),
        (0x00100020, b"LO", b"12\0\0", "patient_id", "12"),
        (0x00100030, b"DA", b"1955.07.04", "birth_date", date(1955, 7, 4)),
        (0x00100030, b"DA", b"1955-07-04", "birth_date", date(1955, 7, 4)),
        (0x00100030, b"DA", b"04.07.1955", "birth_date", None),
        (0x00100030, b"DA", b"19550000", "birth_date", None),
        (0x00100030, b"DA", b"unknown ", "birth_date", None),
        (0x00100040, b"CS", b"W ", "sex", None),
        (0x00100040, b"CS", b"m ", "sex", "M"),
        (0x00080020, b"DA", b"", "study_date", None),
        (0x00200013, b"IS", b"7.0 ", "instance_number", 7),
        (0x00200013, b"IS", b"seven ", "instance_number", None),
    ],
)
def test_empty_padded_and_impossible_values_cost_only_themselves(
    tmp_path: Path, tag: int, vr: bytes, value: bytes, field: str, read: object
):
    header = read_header(raw_file(tmp_path / "one", (tag, vr, value)))
    assert getattr(header, field) == read
    assert header.sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize("codec", ["latin-1", "utf-8"])
def test_a_name_in_utf_8_that_was_declared_as_latin_1_is_read(tmp_path: Path, codec: str):
    name = "Müller^Jürgen".encode(codec)
    elements = (0x00080005, b"CS", b"ISO_IR 100"), (0x00100010, b"PN", name + b" " * (len(name) % 2))
    (read,) = read_header(raw_file(tmp_path / "one", *elements)).names
    assert (read.family, read.given) == ("Müller", "Jürgen")


@pytest.mark.parametrize(
    ("tag", "vr", "value", "field", "read"),
    [
        (0x00180081, b"DS", b"9.2 ", "echo_time_ms", 9.2),
        (0x00180081, b"DS", b"nan ", "echo_time_ms", None),
        (0x00180081, b"DS", b"9,2 ", "echo_time_ms", None),
        (0x00180081, b"DS", b"9.2\\18.4", "echo_time_ms", None),
        (0x00180081, b"DS", b"-1", "echo_time_ms", None),
        (0x00180080, b"DS", b"-1", "repetition_time_ms", None),
        (0x00180050, b"DS", b"0 ", "slice_thickness_mm", None),
        (0x00200037, b"DS", b"0\\1\\0\\0\\0 ", "orientation", (0.0, 1.0, 0.0, 0.0, 0.0)),
        (0x00200037, b"DS", b"0\\1\\0\\0\\x\\-1 ", "orientation", None),
        (0x00080008, b"CS", b"ORIGINAL\\\\M ", "image_type", ("ORIGINAL", "M")),
    ],
)
def test_numbers_that_are_none(tmp_path: Path, tag: int, vr: bytes, value: bytes, field: str, read: object):
    assert getattr(read_header(raw_file(tmp_path / "one", (tag, vr, value))).image, field) == read


@pytest.mark.parametrize(
    ("charset", "name", "text"),
    [
        (b"ISO_IR 100", "Wirbelsäule".encode("latin-1"), "Wirbelsäule"),
        (b"ISO_IR 192", "腰椎".encode(), "腰椎"),
        (b"GB18030 ", "腰椎".encode("gb18030"), "腰椎"),
        (b"ISO_IR 999", b"Lumbar", "Lumbar"),
        (b"nonsense", b"Lumbar", "Lumbar"),
    ],
)
def test_character_sets(tmp_path: Path, charset: bytes, name: bytes, text: str):
    padded = [value + b" " * (len(value) % 2) for value in (charset, name)]
    path = raw_file(tmp_path / "one", (0x00080005, b"CS", padded[0]), (0x0008103E, b"LO", padded[1]))
    assert read_header(path).image.series_description == text


def test_bytes_that_are_not_in_their_character_set_do_not_lose_the_image(tmp_path: Path):
    path = raw_file(tmp_path / "one", (0x00080005, b"CS", b"ISO_IR 192"), (0x0008103E, b"LO", b"\xff\xfe\xe9L"))
    assert read_header(path).series_instance_uid == "1.2.3.12"


def test_trailing_padding_and_private_elements(tmp_path: Path):
    image = mr_image()
    image.add_new(0x00291010, "OB", b"\0\xff" * 40)
    image.add_new(0xFFFCFFFC, "OB", b"\0" * 126)
    header = read_header(write_file(tmp_path / "one", image))
    assert header.patient_id == "0012345"


@pytest.mark.parametrize("content", [b"", b"not DICOM", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\x02\0\x10"])
def test_what_is_not_dicom(tmp_path: Path, content: bytes):
    path = tmp_path / "one"
    path.write_bytes(content)
    with pytest.raises(DicomReadError):
        read_header(path)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_what_belongs_nowhere(tmp_path: Path, keyword: str):
    for value in (b"../../etc/passwd", b"1" * 66):
        with pytest.raises(DicomReadError, match=f"{keyword} is not a UID"):
            read_header(raw_file(tmp_path / "one", **{keyword: value}))
    for value in (b"", b"\0\0"):
        with pytest.raises(DicomReadError, match=f"{keyword} is missing"):
            read_header(raw_file(tmp_path / "one", **{keyword: value}))


def test_a_file_that_is_gone(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none")


def test_nothing_of_the_patient_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
):
    secret = b"Mustermann!"
    path = raw_file(
        tmp_path / "one", (0x00100030, b"DA", secret + b" "), (0x00200013, b"IS", secret + b" "),
        (0x00280010, b"US", b"\1\0"), (0x00280011, b"US", b"\1\0"), (0x00280030, b"DS", b"1\\1 "),
    )  # fmt: skip
    with caplog.at_level(logging.DEBUG), pytest.raises(DicomReadError) as caught:
        read_header(path)
        read_slice(path)
    everything = caplog.text + str(caught.value) + "".join(str(one.message) for one in recwarn)
    assert "Mustermann" not in everything


def signal_of(path: Path) -> np.ndarray:
    return read_slice(path).signal


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless],
)
def test_pixels_are_the_same_in_every_lossless_syntax(tmp_path: Path, syntax: str):
    image = mr_image()
    expected = np.frombuffer(image.PixelData, np.uint16).reshape(32, 24)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax in {RLELossless, JPEGLSLossless}:
        image.compress(syntax)
    if syntax == ExplicitVRBigEndian:
        image.PixelData = expected.astype(">u2").tobytes()
    image.file_meta.TransferSyntaxUID = syntax
    dcmwrite(
        tmp_path / "one", image, enforce_file_format=True,
        implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian,
    )  # fmt: skip
    read = read_slice(tmp_path / "one")
    np.testing.assert_array_equal(read.signal, expected)
    assert read.signal.dtype == np.float64
    assert read.spacing_mm == (0.875, 0.875)


def test_jpeg_2000(tmp_path: Path):
    image = mr_image()
    pixels = np.frombuffer(image.PixelData, np.uint16).reshape(32, 24)
    codestream = BytesIO()
    Image.fromarray(pixels).save(codestream, "JPEG2000", irreversible=False, no_jp2=True)
    image.PixelData = encapsulate([codestream.getvalue()])
    image.BitsStored, image.HighBit = 16, 15
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    image["PixelData"].VR = "OB"
    image.save_as(tmp_path / "one", enforce_file_format=True)
    np.testing.assert_array_equal(signal_of(tmp_path / "one"), pixels)


@pytest.mark.parametrize("option", ["+e1", "+el"])
def test_jpeg_lossless_of_dcmtk(tmp_path: Path, option: str):
    image = mr_image()
    plain = write_file(tmp_path / "plain", image)
    dcmtk("dcmcjpeg", option, str(plain), str(tmp_path / "jpeg"))
    np.testing.assert_array_equal(signal_of(tmp_path / "jpeg"), signal_of(plain))


def test_the_modality_rescale_is_applied(tmp_path: Path):
    image = mr_image(RescaleSlope="2.5", RescaleIntercept="-10", RescaleType="US")
    stored = np.frombuffer(image.PixelData, np.uint16).reshape(32, 24)
    np.testing.assert_allclose(signal_of(write_file(tmp_path / "one", image)), stored * 2.5 - 10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"PixelSpacing": ["0.875"]}, "no pixel spacing"),
        ({"PixelData": b"\0\1" * 10}, "cannot be decoded"),
        ({"PixelData": None}, "missing or cut off"),
        ({"Rows": None}, "cannot be decoded"),
        ({"NumberOfFrames": 2, "Rows": 16}, "one slice is needed"),
    ],
)
def test_pixels_that_cannot_be_measured(tmp_path: Path, values: dict[str, object], message: str):
    with pytest.raises(DicomReadError, match=message):
        read_slice(write_file(tmp_path / "one", mr_image(**values)))


def test_truncated_compressed_pixels(tmp_path: Path):
    image = mr_image()
    path = write_file(tmp_path / "one", image)
    image.compress(RLELossless)
    image.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:-400])
    assert read_header(path).patient_id == "0012345"
    with pytest.raises(DicomReadError, match="missing or cut off"):
        read_slice(path)


def test_compressed_pixels_of_another_codec(tmp_path: Path):
    image = mr_image()
    path = write_file(tmp_path / "one", image)
    image.compress(RLELossless)
    image.file_meta.TransferSyntaxUID = JPEGLSLossless
    image.save_as(path, enforce_file_format=True)
    with pytest.raises(DicomReadError, match="cannot be decoded"):
        read_slice(path)


def test_a_truncated_deflated_data_set(tmp_path: Path):
    image = mr_image()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(tmp_path / "one", enforce_file_format=True)
    content = (tmp_path / "one").read_bytes()
    (tmp_path / "one").write_bytes(content[:-600])
    with pytest.raises(DicomReadError, match="cannot be read as DICOM"):
        read_header(tmp_path / "one")


def test_the_real_series_are_read_whole():
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with the real series is not beside this one")
    headers = [read_header(path) for path in sorted((SHARED / "t1-tse-dicom").rglob("*.dcm"))]
    assert len(headers) == 75
    assert {header.patient_id for header in headers} == {None}
    assert {header.study_date for header in headers} == {None}
    assert {header.image.echo_train_length for header in headers} == {3.0}


@pytest.mark.parametrize(
    ("values", "factor", "offset"),
    [
        ({"RescaleSlope": None, "RescaleIntercept": None}, 1, 0),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, 1, 0),
        ({"RescaleSlope": "2", "RescaleIntercept": ""}, 2, 0),
        ({"RescaleSlope": "", "RescaleIntercept": "-500"}, 1, -500),
    ],
)
def test_an_empty_rescale_is_none(tmp_path: Path, values: dict[str, str | None], factor: float, offset: float):
    image = mr_image()
    for name, value in values.items():
        image.add_new(name, "DS", value)
    stored = np.frombuffer(image.PixelData, np.uint16).reshape(32, 24)
    found = read_slice(write_file(tmp_path / "image", image))
    assert np.array_equal(found.signal, stored * float(factor) + offset)


def test_a_slope_of_zero_is_named(tmp_path: Path):
    path = write_file(tmp_path / "image", mr_image(RescaleSlope="0", RescaleIntercept="0"))
    with pytest.raises(DicomReadError, match="rescale slope is 0"):
        read_slice(path)


@pytest.mark.parametrize(("vr", "value"), [("SS", -2000), ("US", 63536)])
@pytest.mark.parametrize("intercept", ["0", "-40"])
def test_padding_at_the_edge_is_left_out_and_within_the_image_is_signal(
    tmp_path: Path, vr: str, value: int, intercept: str
):
    pixels = np.full((32, 24), 300, dtype=np.int16)
    pixels[:3], pixels[:, -2:], pixels[20, 10] = -2000, -2000, -2000
    image = mr_image(
        PixelData=pixels.tobytes(), PixelRepresentation=1, BitsStored=16, HighBit=15,
        RescaleSlope="1", RescaleIntercept=intercept,
    )  # fmt: skip
    image.add_new("PixelPaddingValue", vr, value)
    found = read_slice(write_file(tmp_path / "image", image)).signal
    assert not found[:3].any()
    assert not found[:, -2:].any()
    assert (found[20, 10], found[10, 10]) == (-2000 + float(intercept), 300 + float(intercept))


def test_a_range_of_padding_is_left_out(tmp_path: Path):
    pixels = np.full((32, 24), 300, dtype=np.uint16)
    pixels[0], pixels[1] = 10, 20
    image = mr_image(PixelData=pixels.tobytes())
    image.add_new("PixelPaddingValue", "US", 10)
    image.add_new("PixelPaddingRangeLimit", "US", 20)
    assert not read_slice(write_file(tmp_path / "image", image)).signal[:2].any()


def test_what_tells_of_contrast_beside_the_agent(tmp_path: Path):
    image = mr_image(ContrastBolusAgent="", ContrastBolusVolume="8", ContrastBolusStartTime="101010")
    route = Dataset()
    route.CodeMeaning = "Intravenous route"
    image.ContrastBolusAdministrationRouteSequence = [route]
    header = read_header(write_file(tmp_path / "image", image)).image
    assert header.contrast_agent is None
    assert dict(header.contrast_elements) == {
        "volume": "8", "start time": "101010", "route": "Intravenous route",
    }  # fmt: skip


@pytest.mark.parametrize(("meaning", "read"), [("Gadolinium chelate", "Gadolinium chelate"), (None, "coded")])
def test_an_agent_that_is_a_code_is_read(tmp_path: Path, meaning: str | None, read: str):
    code = Dataset()
    code.CodeValue = "C-B0322"
    if meaning:
        code.CodeMeaning = meaning
    path = write_file(tmp_path / "image", mr_image(ContrastBolusAgentSequence=[code]))
    assert read_header(path).image.contrast_agent == read
