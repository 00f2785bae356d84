"""DICOM data sets of a phantom's examination, as a 1.5 T scanner of the paper's kind writes them."""

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from node.demo.phantom import PhantomSeries, PhantomStudy, Plane

IMPLEMENTATION_UID = UID("2.25.193845729405861738495061728394056172839")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a series is acquired; times in ms, bandwidth in Hz per pixel."""

    description: str
    tr_ms: float
    te_ms: float
    echo_train: int
    flip_deg: int
    bandwidth_hz: float
    matrix: tuple[int, int, int, int]


PROTOCOLS = {
    "scout": Protocol(
        description="3-PLANE LOC SSFSE",
        tr_ms=1400,
        te_ms=80,
        echo_train=92,
        flip_deg=90,
        bandwidth_hz=488,
        matrix=(0, 256, 128, 0),
    ),
    "t2": Protocol(
        description="SAG T2 FSE",
        tr_ms=2800,
        te_ms=102,
        echo_train=17,
        flip_deg=160,
        bandwidth_hz=217,
        matrix=(0, 320, 224, 0),
    ),
    "t1": Protocol(
        description="SAG T1 FSE",
        tr_ms=350,
        te_ms=13.6,
        echo_train=3,
        flip_deg=160,
        bandwidth_hz=217,
        matrix=(0, 288, 192, 0),
    ),
    "axial": Protocol(
        description="AX T2 FSE",
        tr_ms=3600,
        te_ms=105,
        echo_train=15,
        flip_deg=160,
        bandwidth_hz=195,
        matrix=(0, 256, 192, 0),
    ),
}
"""T1 as in the paper (TR 350, TE 13.6, ETL 3, flip 160°, 288 × 192, 217 Hz/pixel); the others as is usual beside it."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """Whose examination it is, and when.

    ``key`` names it among all of one seed: every UID is made from it. Without a ``patient_id`` the images carry no
    identity at all, as from a scanner on which nobody was registered.
    """

    key: str
    patient_id: str | None
    authority: str
    name: str
    birth_date: date
    sex: str
    begun_at: datetime

    def uid(self, *parts: object) -> UID:
        """A UID under 2.25 that depends on nothing but the examination and the parts."""
        name = "/".join(["vbq-node-demo", self.key, *(str(part) for part in parts)])
        digest = hashlib.sha256(name.encode("utf-8")).digest()[:16]
        return UID(f"2.25.{uuid.UUID(bytes=digest, version=4).int}")

    @property
    def t1_series_uid(self) -> str:
        """The series that is to be measured."""
        return self.uid("t1")


def data_sets(examination: Examination, study: PhantomStudy) -> list[Dataset]:
    """All objects of the examination in the order of acquisition, ready to be sent or written."""
    series: dict[str, tuple[PhantomSeries, ...]] = {
        "scout": study.scout,
        "t2": (study.t2,),
        "t1": (study.t1,),
        "axial": (study.axial,),
    }
    found: list[Dataset] = []
    for number, (name, stacks) in enumerate(series.items(), start=1):
        first = 1
        for stack in stacks:
            found.extend(_stack(examination, name, number, PROTOCOLS[name], stack, first=first))
            first += len(stack.pixels)
    return found


def t1_data_sets(examination: Examination, series: PhantomSeries) -> list[Dataset]:
    """The objects of the sagittal T1 series alone, as :func:`data_sets` makes them."""
    return list(_stack(examination, "t1", [*PROTOCOLS].index("t1") + 1, PROTOCOLS["t1"], series, first=1))


def _stack(
    examination: Examination, name: str, number: int, protocol: Protocol, stack: PhantomSeries, *, first: int
) -> Iterator[Dataset]:
    moment = examination.begun_at + timedelta(minutes=4 * number)
    for index, (pixels, position) in enumerate(zip(stack.pixels, stack.positions_mm, strict=True)):
        instance = first + index
        made = _identity(examination, name, instance)
        _acquisition(made, protocol, stack, number=number, instance=instance, moment=moment)
        _geometry(made, stack, position)
        _pixels(made, pixels)
        yield made


def _identity(examination: Examination, series: str, instance: int) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = MRImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = examination.uid(series, instance)
    made.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = MRImageStorage
    made.SOPInstanceUID = examination.uid(series, instance)
    made.StudyInstanceUID = examination.uid("study")
    made.SeriesInstanceUID = examination.uid(series)
    made.FrameOfReferenceUID = examination.uid("frame")
    registered = examination.patient_id is not None
    made.PatientName = examination.name if registered else ""
    made.PatientID = examination.patient_id or ""
    if registered:
        made.IssuerOfPatientID = examination.authority
    made.PatientBirthDate = f"{examination.birth_date:%Y%m%d}" if registered else ""
    made.PatientSex = examination.sex if registered else ""
    made.AccessionNumber = f"D{examination.uid('accession')[-10:]}" if registered else ""
    made.StudyID = "1"
    made.StudyDate = f"{examination.begun_at:%Y%m%d}"
    made.StudyTime = f"{examination.begun_at:%H%M%S}"
    made.ReferringPhysicianName = ""
    return made


def _acquisition(
    made: Dataset, protocol: Protocol, stack: PhantomSeries, *, number: int, instance: int, moment: datetime
) -> None:
    made.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    made.Modality = "MR"
    made.Manufacturer = "GE MEDICAL SYSTEMS"
    made.ManufacturerModelName = "Signa HDxt"
    made.InstitutionName = "DEMO HOSPITAL"
    made.StationName = "DEMOMR1"
    made.DeviceSerialNumber = "0000DEMO1"
    made.SoftwareVersions = "vbq-node phantom"
    made.StudyDescription = "MRI LUMBAR SPINE"
    made.SeriesDescription = protocol.description
    made.ProtocolName = "L-SPINE ROUTINE"
    made.BodyPartExamined = "LSPINE"
    made.SeriesDate = made.AcquisitionDate = made.ContentDate = f"{moment:%Y%m%d}"
    made.SeriesTime = made.AcquisitionTime = made.ContentTime = f"{moment:%H%M%S}"
    made.ScanningSequence = "SE"
    made.SequenceVariant = "SK"
    made.ScanOptions = ["FAST_GEMS", "NPW", "TRF_GEMS", "SP"]
    made.MRAcquisitionType = "2D"
    made.SliceThickness = stack.matrix.thickness_mm
    made.SpacingBetweenSlices = stack.matrix.step_mm
    made.RepetitionTime = protocol.tr_ms
    made.EchoTime = protocol.te_ms
    made.EchoTrainLength = protocol.echo_train
    made.FlipAngle = protocol.flip_deg
    made.PixelBandwidth = protocol.bandwidth_hz
    made.NumberOfAverages = 1
    made.ImagingFrequency = 63.86
    made.ImagedNucleus = "1H"
    made.EchoNumbers = 1
    made.MagneticFieldStrength = 1.5
    made.PercentPhaseFieldOfView = 100
    made.AcquisitionMatrix = list(protocol.matrix)
    made.InPlanePhaseEncodingDirection = "COL" if stack.plane is Plane.SAGITTAL else "ROW"
    made.ReceiveCoilName = "8CTL456"
    made.PatientPosition = "HFS"
    made.SeriesNumber = number
    made.AcquisitionNumber = 1
    made.InstanceNumber = instance


def _geometry(made: Dataset, stack: PhantomSeries, position: np.ndarray) -> None:
    made.ImagePositionPatient = [round(float(value), 4) for value in position]
    made.ImageOrientationPatient = list(stack.orientation)
    normal = np.cross(stack.orientation[:3], stack.orientation[3:])
    made.SliceLocation = round(float(np.dot(position, normal)), 4)
    made.PixelSpacing = [stack.matrix.spacing_mm, stack.matrix.spacing_mm]
    made.PositionReferenceIndicator = ""


def _pixels(made: Dataset, pixels: np.ndarray) -> None:
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelRepresentation = 0
    made.SmallestImagePixelValue = int(pixels.min())
    made.LargestImagePixelValue = int(pixels.max())
    made.WindowCenter, made.WindowWidth = 350, 700
    made.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
