"""Synthetic DICOM objects and a running receiver, for the tests of the receiver and of the steps behind it."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom.association import Association

from node.dicom.listener import run_receiver
from node.dicom.part10 import file_header
from node.dicom.recorder import Receipt, Recorder
from node.settings import Settings
from node.store.archive import Archive
from tests.ports import free_port

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
RECEIVER = """
import sys, threading
from node.dicom.listener import run_receiver
from node.logs import configure_logging
from node.settings import Settings
settings = Settings.model_validate_json(sys.argv[1])
configure_logging(settings.logging)
run_receiver(settings, threading.Event(), ready=lambda: print("ready", flush=True))
"""


def mr_image(*, seed: int = 0, **values: object) -> Dataset:
    """A sagittal lumbar T1 image of 32 × 24 pixels, unless the values say otherwise; each seed gives other pixels."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SpecificCharacterSet = "ISO_IR 100"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = generate_uid(
        entropy_srcs=["vbq-node test", str(seed), str(sorted(map(str, values.items())))]
    )
    image.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    image.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.1.1"
    image.Modality = "MR"
    image.Manufacturer = "SIEMENS"
    image.ManufacturerModelName = "MAGNETOM_ESSENZA"
    image.StudyDescription = "MRI lumbar spine"
    image.SeriesDescription = "t1_tse_sag"
    image.PatientName = "Test^Synthetic"
    image.PatientID = "0012345"
    image.IssuerOfPatientID = "HOSPITAL"
    image.PatientBirthDate = "19550704"
    image.PatientSex = "F"
    image.StudyDate = "20260302"
    image.BodyPartExamined = "LSPINE"
    image.ScanningSequence = "SE"
    image.ScanOptions = "SAT1"
    image.SliceThickness = 4
    image.RepetitionTime = 620
    image.EchoTime = 9.2
    image.EchoTrainLength = 3
    image.MagneticFieldStrength = 1.5
    image.SeriesNumber = 3
    image.InstanceNumber = 1
    image.ImagePositionPatient = [0, -10, 10]
    image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    image.PixelSpacing = [0.875, 0.875]
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = 32, 24
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = np.random.default_rng(seed).integers(1, 4096, (32, 24), dtype=np.uint16).tobytes()
    for name, value in values.items():
        if value is None:
            delattr(image, name)
        else:
            setattr(image, name, value)
    return image


def stack(slices: int = 11, *, series: str = "1", **values: object) -> list[Dataset]:
    """A series of a study; ``series`` ends its UID."""
    uid = f"1.2.826.0.1.3680043.8.498.1.{series}"
    return [
        mr_image(
            seed=number,
            **{
                "SeriesInstanceUID": uid,
                "InstanceNumber": number,
                "ImagePositionPatient": [4.8 * number, -10, 10],
                **values,
            },
        )
        for number in range(1, slices + 1)
    ]


def encode(dataset: Dataset) -> bytes:
    """The data set as a sender puts it on the wire in Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def write_file(path: Path, dataset: Dataset) -> Path:
    """A DICOM Part 10 file of the data set."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path


def receive(folder: Path, *datasets: Dataset | bytes, at: datetime = NOON) -> list[str]:
    """Store and record data sets as the receiver does, received at a given time; returns their SHA-256."""
    archive = Archive(folder)
    archive.prepare()
    found = []
    with Recorder(folder) as recorder:
        for dataset in datasets:
            named = {
                "sop_class_uid": str(MRImageStorage if isinstance(dataset, bytes) else dataset.SOPClassUID),
                "sop_instance_uid": "1.2.3" if isinstance(dataset, bytes) else str(dataset.SOPInstanceUID),
                "transfer_syntax_uid": str(ExplicitVRLittleEndian),
            }
            stored = archive.store(
                header=file_header(**named),
                dataset=dataset if isinstance(dataset, bytes) else encode(dataset),
                transfer_syntax_uid=named["transfer_syntax_uid"],
            )
            recorder.record(
                Receipt(stored=stored, received_at=at, calling_ae="PACS", peer_address="127.0.0.1", **named)
            )
            found.append(stored.sha256)
    return found


def settings_for(folder: Path, **dicom: object) -> Settings:
    """Settings of a receiver on a free port of loopback; in one process, unless they say otherwise."""
    return Settings.model_validate(
        {"storage": {"folder": folder}, "dicom": {"port": free_port(), "processes": 1, **dicom}}
    )


@contextmanager
def receiver(settings: Settings) -> Iterator[None]:
    """A receiver in a thread, taking connections; ended and joined at the end."""
    ready, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=run_receiver, args=[settings, stop], kwargs={"ready": ready.set})
    thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def receiver_process(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A receiver in a process of its own, taking connections; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", RECEIVER, settings.model_dump_json()], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def rejection_of(one: Association) -> tuple[int, int, int]:
    """Result, source and reason of an association that was rejected."""
    assert not one.is_established
    # A pynetdicom that is slow to look finds the connection closed, and leaves the rejection where it is.
    said = one.acceptor.primitive if one.is_rejected else one.dul.receive_pdu(wait=True, timeout=20)
    return said.result, said.result_source, said.diagnostic


def dcmtk(tool: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a tool of DCMTK; skips the test where DCMTK is not installed (in CI that is a failure)."""
    path = shutil.which(tool)
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{tool} of DCMTK is not installed")
    if path is None:
        pytest.skip(f"{tool} of DCMTK is not installed")
    environment = {**os.environ, "TCP_NODELAY": "1"}
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done
