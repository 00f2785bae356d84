"""Compressed images, received as sent, and measured like the uncompressed ones. Compressed by other software."""

import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from node.clock import now
from node.dicom import part10
from node.dicom.part10 import file_header
from node.dicom.reader import read_header, read_slice
from node.errors import DicomReadError, ReadingError
from node.outgoing.transcode import uncompressed
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


def by_openjph(syntax: str) -> Compress:
    def compress(image: Dataset, _: Path) -> Dataset:
        image.PixelData = encapsulate([HTJ2K.read_bytes()])
        image["PixelData"].VR = "OB"
        image.file_meta.TransferSyntaxUID = syntax
        return image

    return compress


SYNTAXES: dict[str, Compress] = {
    RLELossless: by_dcmtk("dcmcrle"),
    JPEGLossless: by_dcmtk("dcmcjpeg", "+el"),
    JPEGLosslessSV1: by_dcmtk("dcmcjpeg", "+e1"),
    JPEGLSLossless: by_dcmtk("dcmcjpls", "+el"),
    JPEG2000Lossless: by_openjpeg,
    HTJ2KLossless: by_openjph(HTJ2KLossless),
    HTJ2KLosslessRPCL: by_openjph(HTJ2KLosslessRPCL),
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


def deflated(dataset: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(dataset) + deflater.flush()


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
