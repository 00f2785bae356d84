"""Compressed images, received as sent, and measured like the uncompressed ones. Compressed by other software."""

import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    JPEG2000MC,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000MCLossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SegmentationStorage,
)

from analytics.reasons import Reason
from node.clock import now
from node.dicom import part10
from node.dicom.contexts import (
    DECODED,
    DEFLATED_FRAMES,
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
    LOSSLESS,
    LOSSY,
)
from node.dicom.part10 import file_header
from node.dicom.reader import read_header, read_slice, read_slices
from node.dicom.stack import StoredImage, read_stacks
from node.errors import DicomReadError, ReadingError
from node.outgoing.transcode import CONVERTIBLE, uncompressed
from node.people.readings import add_reading
from node.settings import Settings
from node.steps.index import catalogue_studies, index_objects
from node.steps.measure import measure_readings
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import dcmtk, encode, mr_image, receiver, settings_for, write_file
from tests.node.receiver_world import association, files, rows
from tests.node.world import CIRCLES, painted

HTJ2K = Path(__file__).parent / "data" / "painted.htj2k"
"""The pixels of ``painted()`` by ``ojph_compress -reversible true -num_decomps 2`` of OpenJPH 0.9.0 (Debian)."""
JPEG_XL = Path(__file__).parent / "data" / "painted.jxl"
"""The same by ``cjxl -d 0`` of libjxl 0.7.0 (Debian), from a PGM of 16 bits."""

Compress = Callable[[Dataset, Path], Dataset]


def by_dcmtk(tool: str, *options: str) -> Compress:
    def compress(image: Dataset, folder: Path) -> Dataset:
        plain = write_file(folder / "plain.dcm", image)
        dcmtk(tool, *options, str(plain), str(folder / "compressed.dcm"))
        return pydicom.dcmread(folder / "compressed.dcm")

    return compress


def by_openjpeg(image: Dataset, _: Path) -> Dataset:
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    return image


def encapsulated(syntax: str, code: Callable[[bytes], bytes]) -> Compress:
    """One fragment, made by ``code`` of the native pixels."""

    def compress(image: Dataset, _: Path) -> Dataset:
        image.PixelData = encapsulate([code(image.PixelData)])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = syntax
        return image

    return compress


def by_openjph(syntax: str) -> Compress:
    return encapsulated(syntax, lambda _: HTJ2K.read_bytes())


def deflated(content: bytes) -> bytes:
    """As RFC 1951 says, without the wrapping of zlib."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


SYNTAXES: dict[str, Compress] = {
    RLELossless: by_dcmtk("dcmcrle"),
    JPEGLossless: by_dcmtk("dcmcjpeg", "+el"),
    JPEGLosslessSV1: by_dcmtk("dcmcjpeg", "+e1"),
    JPEGLSLossless: by_dcmtk("dcmcjpls", "+el"),
    JPEG2000Lossless: by_openjpeg,
    HTJ2KLossless: by_openjph(HTJ2KLossless),
    HTJ2KLosslessRPCL: by_openjph(HTJ2KLosslessRPCL),
    JPEG_XL_LOSSLESS: encapsulated(JPEG_XL_LOSSLESS, lambda _: JPEG_XL.read_bytes()),
    DEFLATED_FRAMES: encapsulated(DEFLATED_FRAMES, deflated),
    ENCAPSULATED_UNCOMPRESSED: encapsulated(ENCAPSULATED_UNCOMPRESSED, bytes),
    DeflatedExplicitVRLittleEndian: by_dcmtk("dcmconv", "+td"),
    ExplicitVRBigEndian: by_dcmtk("dcmconv", "+tb"),
    ImplicitVRLittleEndian: by_dcmtk("dcmconv", "+ti"),
}


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    yield settings_for(tmp_path / "data", quiet_s=0)


def derive(settings: Settings, *series_uids: str) -> None:
    """Index, choose, read and measure what was received."""
    db, archive = open_database(settings.storage.folder), Archive(settings.storage.folder)
    later = now() + timedelta(seconds=1)
    try:
        index_objects(db, archive)
        catalogue_studies(db, settings, now=later)
        rois = json.dumps({"slice": 3, **CIRCLES})
        for uid in series_uids:
            add_reading(db, archive, series_uid=uid, reader="A", rois_text=rois, now=later)
        measure_readings(db, archive)
    finally:
        db.close()


def pixels(image: Dataset) -> bytes:
    """The pixels as they are encoded, without the wrapping of compressed ones."""
    return (
        get_frame(image.PixelData, 0, number_of_frames=1)
        if image["PixelData"].is_undefined_length
        else (image.PixelData)
    )


def test_received_as_sent_and_measured_like_the_uncompressed_image(settings: Settings, tmp_path: Path):
    sent = {}
    for number, (syntax, compress) in enumerate(SYNTAXES.items(), start=1):
        study = f"1.2.826.0.1.3680043.8.498.7.{number}"
        (tmp_path / study).mkdir()
        image = painted(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1")[2]
        sent[syntax] = compress(image, tmp_path / study)
        assert sent[syntax].file_meta.TransferSyntaxUID == syntax
    with receiver(settings):
        for syntax, image in sent.items():
            with association(settings, MRImageStorage, syntax=syntax) as sender:
                assert sender.send_c_store(image).Status == 0
    kept = {str(one.file_meta.TransferSyntaxUID): one for one in map(pydicom.dcmread, files(settings))}
    assert kept.keys() == sent.keys()
    for syntax, image in sent.items():
        assert pixels(kept[syntax]) == pixels(image), syntax
    derive(settings, *(str(image.SeriesInstanceUID) for image in sent.values()))
    found = rows(
        settings,
        "SELECT o.transfer_syntax_uid, m.status, m.vbq_mean, m.vbq_median, m.rois FROM derived_measurement AS m "
        "JOIN derived_instance AS i USING (series_instance_uid) JOIN fact_object AS o USING (object_id)",
    )
    assert {row[0] for row in found} == SYNTAXES.keys()
    for syntax, status, mean, median, rois in found:
        # 1000 / 4 / 100, and 250 / 100.
        assert (status, mean, median) == ("measured", 2.5, 2.5), syntax
        assert [json.loads(str(rois))[name]["mean"] for name in CIRCLES] == [300, 260, 240, 200, 100], syntax


def test_an_image_that_no_codec_can_read_is_received_and_fails_its_own_series_alone(settings: Settings, tmp_path: Path):
    image = painted()[2]
    broken = by_dcmtk("dcmcjpeg", "+e1")(image, tmp_path)
    broken.PixelData = encapsulate([pixels(broken)[:40] + b"\0" * 40])
    other = painted(SeriesInstanceUID="1.2.826.0.1.3680043.8.498.1.2")[2]
    with receiver(settings):
        with association(settings, MRImageStorage, syntax=JPEGLosslessSV1) as sender:
            assert sender.send_c_store(broken).Status == 0
        with association(settings) as sender:
            assert sender.send_c_store(other).Status == 0
    with pytest.raises(ReadingError, match="the pixels cannot be decoded"):
        derive(settings, str(image.SeriesInstanceUID))
    derive(settings, str(other.SeriesInstanceUID))
    assert rows(settings, "SELECT series_instance_uid, vbq_mean FROM derived_measurement") == [
        (other.SeriesInstanceUID, 2.5)
    ]


def test_a_deflated_bomb_is_refused_without_being_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    limit = 1_000_000
    monkeypatch.setattr(part10, "MAX_INFLATED_BYTES", limit)
    header = file_header(
        sop_class_uid=MRImageStorage, sop_instance_uid="1.2.3",
        transfer_syntax_uid=DeflatedExplicitVRLittleEndian,
    )  # fmt: skip
    path = tmp_path / "one"
    path.write_bytes(header + deflated(encode(mr_image())))
    assert read_header(path).patient_id == "0012345"
    size = 20_000_000
    image = mr_image()
    image.PixelData = np.zeros(size, np.uint8).tobytes()
    bomb = header + deflated(encode(image))
    path.write_bytes(bomb)
    assert len(bomb) < size / 400
    tracemalloc.start()
    try:
        with pytest.raises(DicomReadError, match="inflated it would be larger than 1000000 bytes"):
            read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 3 * limit
    finally:
        tracemalloc.stop()


def signed(folder: Path, *, extended: bool) -> tuple[Path, np.ndarray]:
    """An image of signed 12-bit pixels in 16 bits; the bits above are the sign, or zero (PS3.5, 8.1.1 lets both be)."""
    stored = np.random.default_rng(1).integers(-2048, 2048, (64, 64)).astype(np.int16)
    image = mr_image(PixelRepresentation=1, Rows=64, Columns=64)
    image.PixelData = (stored if extended else stored.astype(np.uint16) & 0x0FFF).tobytes()
    return write_file(folder / "plain.dcm", image), stored


def as_unsigned_stream(plain: Path, to: Path) -> None:
    """JPEG 2000 whose stream says that its samples are unsigned, though the header says that they are signed."""
    image = pydicom.dcmread(plain)
    image.PixelRepresentation = 0
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    image.PixelRepresentation = 1
    image.save_as(to)


def by_pydicom(syntax: str) -> Callable[[Path, Path], None]:
    def compress(plain: Path, to: Path) -> None:
        image = pydicom.dcmread(plain)
        image.compress(syntax, generate_instance_uid=False)
        image.save_as(to)

    return compress


def with_tool(tool: str, *options: str) -> Callable[[Path, Path], None]:
    return lambda plain, to: dcmtk(tool, *options, str(plain), str(to)) and None


@pytest.mark.parametrize("extended", [True, False])
@pytest.mark.parametrize(
    "compress",
    [
        with_tool("dcmcjpls", "+el"),
        with_tool("dcmcjpeg", "+e1"),
        with_tool("dcmcjpeg", "+el"),
        with_tool("dcmcrle"),
        by_pydicom(JPEGLSLossless),
        by_pydicom(RLELossless),
        as_unsigned_stream,
    ],
)
def test_signs_are_those_of_bits_stored_when_read_and_when_sent_on(
    tmp_path: Path, compress: Callable[[Path, Path], None], extended: bool
):
    if compress is as_unsigned_stream:
        extended = False  # such a stream cannot hold bits above those stored
    plain, stored = signed(tmp_path, extended=extended)
    compress(plain, tmp_path / "compressed.dcm")
    for path in (plain, tmp_path / "compressed.dcm"):
        assert np.array_equal(read_slice(path).signal, stored)
    sent = uncompressed(tmp_path / "compressed.dcm")
    assert np.array_equal(np.frombuffer(sent.PixelData, np.int16).reshape(64, 64), stored)
    assert (sent.BitsStored, sent.HighBit, sent.PixelRepresentation) == (12, 11, 1)


@pytest.mark.parametrize(
    ("characters", "number"),
    [
        (["", "ISO 2022 IR 58"], b"\x1b$)A0012345"),
        (["", "ISO 2022 IR 149"], b"\x1b$)C0012345"),
        (["", "ISO 2022 IR 87"], b"0012345"),
        (["ISO 2022 IR 6", "ISO 2022 IR 13"], b"\x1b(J0012345\x1b(B"),
        ("GB18030", b"0012345"),
    ],
)
def test_a_patient_number_is_without_the_escapes_of_its_character_set(
    tmp_path: Path, characters: str | list[str], number: bytes
):
    image = mr_image(PatientID="X" * (len(number) + len(number) % 2))
    path = write_file(tmp_path / "image.dcm", image)
    image.SpecificCharacterSet = characters
    content = write_file(path, image).read_bytes()
    path.write_bytes(
        content.replace(b"X" * (len(number) + len(number) % 2), number.ljust(len(number) + len(number) % 2))
    )
    assert read_header(path).patient_id == "0012345"


# ---- what pydicom does not decode ------------------------------------------------------------------------------------
def test_every_lossless_syntax_is_among_those_tried_here():
    assert set(LOSSLESS) <= SYNTAXES.keys()
    assert not set(LOSSLESS) & set(LOSSY)
    assert not DECODED & {JPEG2000MCLossless, JPEG2000MC}


def test_twelve_bits_of_jpeg_xl_are_not_spread_over_sixteen(tmp_path: Path):
    """A decoder may scale a stream of fewer bits to the whole range of its samples, which would be another signal."""
    stored = np.random.default_rng(1).integers(0, 4096, (64, 64)).astype(np.uint16)
    code = imagecodecs.jpegxl_encode(stored, lossless=True, bitspersample=12)
    image = mr_image(Rows=64, Columns=64, PixelData=stored.tobytes())
    path = write_file(tmp_path / "one.dcm", encapsulated(JPEG_XL_LOSSLESS, lambda _: code)(image, tmp_path))
    assert np.array_equal(read_slice(path).signal, stored)
    assert uncompressed(path).PixelData == stored.tobytes()


def test_a_recompressed_jpeg_is_read_and_stays_lossy(tmp_path: Path):
    image = mr_image(Rows=64, Columns=64, BitsAllocated=8, BitsStored=8, HighBit=7)
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    image.PixelData = smooth.tobytes()
    code = imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(smooth, level=95))
    path = write_file(tmp_path / "one.dcm", encapsulated(JPEG_XL_RECOMPRESSION, lambda _: code)(image, tmp_path))
    assert np.abs(read_slice(path).signal - smooth).max() <= 3
    assert read_header(path).lossy
    assert JPEG_XL_RECOMPRESSION not in CONVERTIBLE


@pytest.mark.parametrize("syntax", [DEFLATED_FRAMES, ENCAPSULATED_UNCOMPRESSED])
def test_frames_of_single_bits_lie_close_together_once_they_are_native(tmp_path: Path, syntax: str):
    """A segmentation: 3 × 5 bits are two bytes each in a fragment, and follow each other without a gap natively."""
    bits = np.random.default_rng(2).integers(0, 2, (3, 15)).astype(np.uint8)
    image = mr_image(
        Rows=3, Columns=5, BitsAllocated=1, BitsStored=1, HighBit=0, NumberOfFrames=3, SOPClassUID=SegmentationStorage
    )
    frames = [np.packbits(frame, bitorder="little").tobytes() for frame in bits]
    image.PixelData = encapsulate([deflated(one) if syntax == DEFLATED_FRAMES else one for one in frames])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    image.file_meta.TransferSyntaxUID = syntax
    sent = uncompressed(write_file(tmp_path / "one.dcm", image))
    native = np.unpackbits(np.frombuffer(sent.PixelData, np.uint8), bitorder="little")
    assert np.array_equal(native[:45], bits.ravel())
    assert len(sent.PixelData) == 6
    assert not sent["PixelData"].is_undefined_length


@pytest.mark.parametrize(
    "compress",
    [
        encapsulated(JPEG_XL_LOSSLESS, lambda _: JPEG_XL.read_bytes()[:40]),
        encapsulated(DEFLATED_FRAMES, lambda pixels: deflated(pixels)[:40]),
        encapsulated(DEFLATED_FRAMES, lambda pixels: deflated(pixels[:5000])),
        encapsulated(ENCAPSULATED_UNCOMPRESSED, lambda pixels: pixels[:5000]),
        encapsulated(JPEG_XL_LOSSLESS, lambda _: imagecodecs.jpegxl_encode(np.zeros((9, 9), np.uint16))),
        encapsulated(JPEG_XL_LOSSLESS, lambda _: b"none"),
    ],
)
def test_what_is_cut_off_or_of_another_size_is_no_image(tmp_path: Path, compress: Compress):
    path = write_file(tmp_path / "one.dcm", compress(painted()[2], tmp_path))
    with pytest.raises(DicomReadError):
        read_slice(path)
    with pytest.raises(DicomReadError):
        uncompressed(path)


def test_no_more_is_inflated_than_the_header_says(tmp_path: Path):
    compress = encapsulated(DEFLATED_FRAMES, lambda pixels: deflated(pixels + bytes(50_000_000)))
    path = write_file(tmp_path / "one.dcm", compress(painted()[2], tmp_path))
    tracemalloc.start()
    try:
        assert read_slice(path).signal.shape == (70, 50)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_syntax_that_nothing_decodes_is_named(tmp_path: Path):
    compress = encapsulated(JPEG2000MCLossless, lambda _: b"\xff\x4f\xff\x51")
    path = write_file(tmp_path / "one.dcm", compress(painted()[2], tmp_path))
    with pytest.raises(DicomReadError) as raised:
        read_slice(path)
    assert raised.value.reason == Reason(
        "syntax-not-decoded", {"syntax": "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)"}
    )


def test_a_jpeg_ls_image_that_is_cut_off_costs_itself_and_is_not_decoded(tmp_path: Path):
    """CharLS takes seconds to find that out, and a series of them would stand in the way of all others."""
    images = painted()
    whole = [by_dcmtk("dcmcjpls", "+el")(image, tmp_path) for image in images]
    whole[2].PixelData = encapsulate([pixels(whole[2])[:200]])
    paths = [write_file(tmp_path / f"{number}.dcm", image) for number, image in enumerate(whole)]
    with pytest.raises(DicomReadError) as raised:
        read_slice(paths[2])
    # A decoder's own word would be "pixels-not-decodable".
    assert raised.value.reason == Reason("pixels-missing")
    stored = [StoredImage(path=path, content=str(path), header=read_header(path)) for path in paths]
    (stack,) = read_stacks(stored, read_slices)
    assert len(stack.images) == 5
    assert [doubt.code for doubt in stack.doubts] == ["images-unreadable"]
