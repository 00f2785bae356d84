"""A whole examination made from one real sagittal T1 series: what a scanner sends beside it, by transforming it.

Pixels of the others are made from those of the T1 (inverted for T2, cut along other planes, smeared by motion); their
headers say what a scanner would say. All identities are synthetic.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

Volume = NDArray[np.float64]
"""(slices, rows, columns)."""


def t1_series(folder: Path) -> list[Dataset]:
    """The series in the order of its slices, without the identity it came with."""
    images = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    for image in images:
        image.PatientID, image.PatientName, image.StudyDate = "0099", "TEST^WHOLE", "20260201"
        image.StudyInstanceUID = uid_of("study")
    return sorted(images, key=lambda image: float(image.ImagePositionPatient[0]))


def uid_of(*names: object) -> str:
    """The same UID for the same names."""
    return str(generate_uid(entropy_srcs=["vbq-node whole study", *map(str, names)]))


def series(images: Sequence[Dataset], name: str, number: int, **header: object) -> list[Dataset]:
    """These images as a series of this name; ``volume`` gives other pixels, ``None`` takes an element away."""
    made = []
    volume = header.pop("volume", None)
    for position, image in enumerate(images, start=1):
        one = copy.deepcopy(image)
        one.SeriesInstanceUID, one.SeriesNumber, one.SeriesDescription = uid_of(name), number, name
        one.ProtocolName = name
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = uid_of(name, position)
        one.InstanceNumber = position
        for keyword, value in header.items():
            if value is None and keyword in one:
                delattr(one, keyword)
            elif value is not None:
                setattr(one, keyword, value)
        if volume is not None:
            plane = np.clip(np.round(np.asarray(volume)[position - 1]), 0, 4095).astype(np.uint16)
            one.Rows, one.Columns = plane.shape
            one.PixelData = plane.tobytes()
        made.append(one)
    return made


def volume_of(images: Sequence[Dataset]) -> Volume:
    """The pixels."""
    return np.stack([image.pixel_array.astype(np.float64) for image in images])


def smeared(volume: Volume) -> Volume:
    """A patient who moved: every line of k-space from one of four places, ghosts and blur over all of the image."""
    places = (0, 9, -13, 21)
    spectra = [np.fft.fft2(np.roll(volume, place, axis=1)) for place in places]
    mixed = np.empty_like(spectra[0])
    lines = np.arange(volume.shape[1])
    for turn, spectrum in enumerate(spectra):
        mixed[:, lines % len(places) == turn] = spectrum[:, lines % len(places) == turn]
    return np.abs(np.fft.ifft2(mixed))


def axial(images: Sequence[Dataset], volume: Volume, number: int, name: str, **header: object) -> list[Dataset]:
    """Every eighth row of the stack as an axial slice, a pixel of the stack's step wide."""
    step = abs(float(images[1].ImagePositionPatient[0]) - float(images[0].ImagePositionPatient[0]))
    down, across = (float(value) for value in images[0].PixelSpacing)
    corner = [float(value) for value in images[0].ImagePositionPatient]
    made = []
    for row in range(40, volume.shape[1] - 40, 8):
        # Rows of the slice run from front to back, its columns from right to left.
        one = series(images[:1], f"{name} {row}", number, volume=volume[None, :, row, :].transpose(0, 2, 1), **header)[
            0
        ]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [corner[0], corner[1], corner[2] - row * down]
        one.PixelSpacing = [across, step]
        one.SeriesInstanceUID, one.SeriesDescription, one.ProtocolName = uid_of(name), name, name
        one.InstanceNumber = len(made) + 1
        made.append(one)
    return made


def whole_study(images: Sequence[Dataset]) -> dict[str, list[Dataset]]:
    """The examination, by the name of each series; ``t1_tse_sag_320`` is the one to be measured."""
    volume = volume_of(images)

    def fluid(signal: Volume) -> Volume:
        return 900.0 - 0.8 * np.minimum(signal, 1000.0)

    middle = len(images) // 2
    gadolinium = {"ContrastBolusAgent": "GADOTERATE"}
    return {
        "localizer": series(
            images[middle - 1 : middle + 2], "localizer", 1, ImageType=["ORIGINAL", "PRIMARY", "M", "NORM"],
            RepetitionTime=7, EchoTime=3, ScanningSequence="GR", volume=volume[middle - 1 : middle + 2],
        ),
        "t2_tse_sag": series(images, "t2_tse_sag", 2, RepetitionTime=3500, EchoTime=110, volume=fluid(volume)),
        "t1_tse_sag moved": series(images, "t1_tse_sag moved", 3, volume=smeared(volume)),
        "t1_tse_sag_320": series(images, "t1_tse_sag_320", 4),
        "t2_tirm_sag": series(
            images, "t2_tirm_sag", 5, RepetitionTime=4000, EchoTime=40, InversionTime=150,
            ScanningSequence=["SE", "IR"], volume=0.5 * fluid(volume),
        ),
        "t2_tse_tra": axial(images, fluid(volume), 6, "t2_tse_tra", RepetitionTime=3800, EchoTime=100),
        "t1_tse_tra": axial(images, volume, 7, "t1_tse_tra"),
        "t1_tse_sag +C": series(images, "t1_tse_sag +C", 8, volume=1.15 * volume, **gadolinium),
        "t1_tse_sag fs +C": series(images, "t1_tse_sag fs +C", 9, ScanOptions="FS", volume=0.4 * volume, **gadolinium),
        # Nobody wrote that the agent is still in it.
        "t1_tse_sag late": series(images, "t1_tse_sag", 10, volume=1.1 * volume),
        "t1_tse_sag_MPR": series(
            images, "t1_tse_sag_MPR", 11, ImageType=["DERIVED", "SECONDARY", "MPR"], volume=volume
        ),
    }  # fmt: skip
