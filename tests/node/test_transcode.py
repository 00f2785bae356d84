"""Sending on to a destination that takes uncompressed images only: DCMTK's storescp."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from node.clock import now
from node.dicom.part10 import file_header, read_identity
from node.dicom.recorder import Receipt, Recorder
from node.errors import DicomReadError
from node.outgoing import transcode
from node.outgoing.delivery import send_due
from node.outgoing.forward import FORWARD
from node.outgoing.queue import register
from node.outgoing.transcode import uncompressed
from node.settings import Settings
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import dcmtk, mr_image, write_file
from tests.node.receiver_world import rows
from tests.node.test_syntaxes import SYNTAXES
from tests.node.world import painted
from tests.ports import free_port

READY_S = 20.0


@contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[None]:
    folder.mkdir()
    with subprocess.Popen(["storescp", *options, "-od", str(folder), str(port)]) as process:
        try:
            deadline = time.monotonic() + READY_S
            while dcmtk("echoscu", "127.0.0.1", str(port), check=False).returncode:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    forward = {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": free_port()}
    found = Settings.model_validate(
        {"storage": {"folder": tmp_path / "data"}, "dicom": {"peers": {"archive": {"forward": forward}}}}
    )
    db = open_database(found.storage.folder, create=True)
    register(db, FORWARD, found)
    db.close()
    return found


def keep(settings: Settings, path: Path, *, sop_class_uid: str | None = None) -> None:
    """Store and record a file as the receiver does."""
    archive, identity = Archive(settings.storage.folder), read_identity(path)
    named = {
        "sop_class_uid": sop_class_uid or identity.sop_class_uid,
        "sop_instance_uid": identity.sop_instance_uid,
        "transfer_syntax_uid": identity.transfer_syntax_uid,
    }
    archive.prepare()
    stored = archive.store(
        header=file_header(**named),
        dataset=path.read_bytes()[identity.dataset_offset :],
        transfer_syntax_uid=identity.transfer_syntax_uid,
    )
    with Recorder(settings.storage.folder) as recorder:
        recorder.record(Receipt(stored=stored, received_at=now(), calling_ae="X", peer_address="127.0.0.1", **named))


def send(settings: Settings) -> int:
    db = open_database(settings.storage.folder)
    try:
        return send_due(FORWARD, db, settings, "archive", threading.Event()).done
    finally:
        db.close()


def errors(settings: Settings) -> set[str]:
    return {str(error) for (error,) in rows(settings, "SELECT last_error FROM state_outgoing WHERE status <> 'done'")}


def port(settings: Settings) -> int:
    remote = settings.dicom.peers["archive"].forward
    assert remote is not None
    return remote.port


@pytest.mark.parametrize("option", ["+xi", "+x="])
def test_every_lossless_syntax_arrives_uncompressed_with_its_pixels_and_uid(
    settings: Settings, tmp_path: Path, option: str
):
    expected = {}
    for number, (syntax, compress) in enumerate(SYNTAXES.items()):
        (tmp_path / str(number)).mkdir()
        image = painted(StudyInstanceUID=f"1.2.826.0.1.3680043.8.498.7.{number}")[2]
        expected[str(image.SOPInstanceUID)] = syntax, np.frombuffer(image.PixelData, np.uint16)
        keep(settings, write_file(tmp_path / str(number) / "one.dcm", compress(image, tmp_path / str(number))))
    with storescp(tmp_path / "archive", port(settings), option):
        assert send(settings) == len(SYNTAXES) - (option == "+xi")
    arrived = [pydicom.dcmread(path) for path in (tmp_path / "archive").iterdir()]
    for one in arrived:
        syntax, values = expected.pop(str(one.SOPInstanceUID))
        was_sent_so = option == "+x=" and syntax in {ImplicitVRLittleEndian, ExplicitVRBigEndian}
        assert one.file_meta.TransferSyntaxUID == (syntax if was_sent_so else arrived_as(option, syntax)), syntax
        order = ">u2" if one.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<u2"
        np.testing.assert_array_equal(np.frombuffer(one.PixelData, order), values, err_msg=syntax)
        assert one.PhotometricInterpretation == "MONOCHROME2"
    # What is retired and cannot be converted is said, with what to do.
    assert [syntax for syntax, _ in expected.values()] == ([ExplicitVRBigEndian] if option == "+xi" else [])
    if option == "+xi":
        assert errors(settings) == {
            "it takes no MR Image Storage in Explicit VR Big Endian, which cannot be converted without a change: "
            "allow that syntax there"
        }


def arrived_as(option: str, syntax: str) -> str:
    return ImplicitVRLittleEndian if option == "+xi" else pydicom.uid.ExplicitVRLittleEndian


def test_a_lossy_image_is_not_converted_and_an_unknown_class_is_named(settings: Settings, tmp_path: Path):
    plain = write_file(
        tmp_path / "plain",
        mr_image(
            SOPClassUID=SecondaryCaptureImageStorage, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(32 * 24)
        ),
    )
    dcmtk("dcmcjpeg", "+eb", str(plain), str(tmp_path / "lossy"))
    assert read_identity(tmp_path / "lossy").transfer_syntax_uid == JPEGBaseline8Bit
    keep(settings, tmp_path / "lossy")
    keep(settings, write_file(tmp_path / "unknown", mr_image(SOPClassUID="1.2.3.4")))
    with storescp(tmp_path / "archive", port(settings)):
        assert send(settings) == 0
    assert errors(settings) == {
        "it takes no Secondary Capture Image Storage in JPEG Baseline (Process 1), which cannot be converted without "
        "a change: allow that syntax there",
        "it takes no 1.2.3.4: allow that SOP class there",
    }


def coloured() -> Dataset:
    image = mr_image(SOPClassUID=SecondaryCaptureImageStorage, SamplesPerPixel=3, PhotometricInterpretation="RGB",
                     PlanarConfiguration=0, BitsAllocated=8, BitsStored=8, HighBit=7)  # fmt: skip
    image.PixelData = np.random.default_rng(1).integers(0, 256, (32, 24, 3), dtype=np.uint8).tobytes()
    return image


def test_colours_are_converted_only_where_they_stay(tmp_path: Path):
    image = coloured()
    plain = image.pixel_array
    image.compress(RLELossless, generate_instance_uid=False)
    path = write_file(tmp_path / "rgb", image)
    np.testing.assert_array_equal(uncompressed(path).pixel_array, plain)
    image.PhotometricInterpretation = "YBR_FULL"
    with pytest.raises(DicomReadError, match=r"its colours \(YBR_FULL\) cannot be made uncompressed without a change"):
        uncompressed(write_file(tmp_path / "ybr", image))


def test_what_is_broken_or_too_large_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = mr_image()
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    path = write_file(tmp_path / "whole", image)
    with monkeypatch.context() as smaller:
        smaller.setattr(transcode, "MAX_DECODED_BYTES", 100)
        with pytest.raises(DicomReadError, match="uncompressed it would have more than 100 bytes"):
            uncompressed(path)
    broken = pydicom.dcmread(path)
    broken.PixelData = broken.PixelData[:60] + bytes(len(broken.PixelData) - 60)
    with pytest.raises(DicomReadError, match="the pixels are missing or cut off"):
        uncompressed(write_file(tmp_path / "broken", broken))
    dcmtk("dcmconv", "+td", str(write_file(tmp_path / "plain", mr_image())), str(tmp_path / "deflated"))
    cut = tmp_path / "cut"
    cut.write_bytes((tmp_path / "deflated").read_bytes()[:-400])
    with pytest.raises(DicomReadError, match="it cannot be made uncompressed"):
        uncompressed(cut)
    assert pydicom.dcmread(tmp_path / "deflated").file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
