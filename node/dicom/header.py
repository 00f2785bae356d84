"""What is read of stored objects, as plain records: who only looks at them needs no DICOM library."""

from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from analytics.vbq.header import ImageHeader
from node.dicom.rejection import Rejection
from node.names import PersonName, SignedName

MAX_FRAMES = 1000
"""Most frames of one object that are read, a millisecond each; a stack of the spine has less than two hundred."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header of one stored object: where it belongs, whose it is, and what the image is."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    instance_number: int | None
    patient_id: str | None
    issuer: str | None
    birth_date: date | None
    sex: str | None
    study_date: date | None
    image: ImageHeader
    names: tuple[PersonName, ...] = field(default=(), repr=False, compare=False)
    """Of (0010,0010), (0010,1001) and (0010,1005), from reading until they are hashed; they are never stored."""
    signed_names: tuple[SignedName, ...] = ()
    """The same, hashed."""
    began_at: datetime | None = None
    """When its series began, by (0008,0031), (0008,0030) or (0008,0032); without an offset in the site's zone."""
    frames: tuple[ImageHeader, ...] = ()
    """Headers of a multi-frame image, frame 1 first; ``image`` is then what its top level says."""
    lossy: bool = False
    """Its pixels were compressed with loss: now, by its transfer syntax, or before."""
    rejection: Rejection | None = None
    """It is a note by which a PACS takes images back."""
    accession_number: str | None = None
    """(0008,0050): the hospital's number of the examination."""
    frames_left_out: int = 0
    """How many frames it has, where they are more than :data:`MAX_FRAMES` and none of them is read."""

    @property
    def images(self) -> tuple[ImageHeader, ...]:
        """The slices of the object: its frames, or the one image that it is."""
        return self.frames or (self.image,)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The pixels of one image: ``signal`` of shape (rows, columns) after the modality LUT, spacing in mm."""

    signal: NDArray[np.float64]
    spacing_mm: tuple[float, float]


_HEADER: TypeAdapter[Header] = TypeAdapter(Header)


def header_to_json(header: Header) -> str:
    """As stored in ``derived_instance.headers``; without names."""
    return _HEADER.dump_json(header, exclude={"names"}).decode("utf-8")


def header_from_json(text: str) -> Header:
    """The header stored as ``text``."""
    return _HEADER.validate_json(text)
