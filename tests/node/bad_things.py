"""What arrives at a node and is wrong, each of another kind: objects and messages that it acknowledges and keeps.

Made here, with synthetic identities. Nothing in it ends or stalls a library: for that the tests use stand-ins.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    SegmentationStorage,
)

from node.hl7.framing import frame
from tests.node.dicom_samples import encode, mr_image, stack
from tests.node.hl7_world import Peer
from tests.node.multi_frame_samples import enhanced
from tests.node.raw_sender import raw_association, store_request

ROOT = "1.2.826.0.1.3680043.8.498.666"
PRIVATE = "1.3.46.670589.11.0.0.12.2"
FRAMES = 2_000
"""Of one object; twice what is read."""
REPETITIONS = 100_000
SEGMENTS = 60_000


@dataclass(frozen=True, kw_only=True)
class BadObject:
    """A data set in Explicit VR Little Endian as it goes over the wire, and what the request calls it."""

    name: str
    content: bytes
    uid: str
    sop_class: str = MRImageStorage


def _uid(number: int) -> dict[str, str]:
    return {"StudyInstanceUID": f"{ROOT}.{number}", "SeriesInstanceUID": f"{ROOT}.{number}.1"}


def _sequence(group: int, element: int) -> bytes:
    """A sequence of undefined length that ends after its first item."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    return struct.pack("<HH2sHL", group, element, b"SQ", 0, 0xFFFFFFFF) + item


def _integer_of_three_bytes(image: Dataset, element: int) -> bytes:
    content = encode(image)
    at = content.index(struct.pack("<HH", 0x28, element) + b"US")
    return content[: at + 6] + struct.pack("<H", 3) + b"\x10\0\0" + content[at + 10 :]


def _of(name: str, image: Dataset, content: bytes | None = None) -> BadObject:
    return BadObject(
        name=name,
        content=encode(image) if content is None else content,
        uid=str(image.SOPInstanceUID),
        sop_class=str(image.SOPClassUID),
    )


def _without_pixels(number: int, sop_class: str, modality: str) -> Dataset:
    made = mr_image(seed=number, **_uid(number), SOPClassUID=sop_class, Modality=modality)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(made, name)
    return made


def bad_objects(run: int = 0) -> Iterator[BadObject]:
    """One of each kind; another ``run`` gives other objects."""
    base = 1000 * run

    def image(number: int, **values: object) -> Dataset:
        own = {**_uid(base + number), "PatientID": f"BAD{base + number}"}
        return mr_image(seed=base + number, **{**own, **values})

    head = Dataset()
    head.SOPClassUID, head.SOPInstanceUID, head.Modality = MRImageStorage, f"{ROOT}.{base + 1}.1.1", "MR"
    yield _of("cut-off sequence", head, encode(head) + _sequence(0x0008, 0x1140))
    for number, element in ((2, 0x10), (3, 0x100)):
        yield _of(f"integer of three bytes {element:x}", (one := image(number)), _integer_of_three_bytes(one, element))
    for number, one in enumerate(stack(11, **_uid(base + 4), PatientID=f"BAD{base + 4}", StudyID=str(base))):
        tail = _sequence(0xFFFA, 0xFFFA) if number == 7 else b""
        yield _of("series with a slice that is cut off behind its pixels", one, encode(one) + tail)
    many = enhanced(
        stack(
            2, **_uid(base + 5), Rows=4, Columns=4, PixelData=bytes(32), PatientID=f"BAD{base + 5}", StudyID=str(base)
        )
    )
    many.PerFrameFunctionalGroupsSequence = [many.PerFrameFunctionalGroupsSequence[0]] * FRAMES
    many.NumberOfFrames, many.PixelData = FRAMES, bytes(32) * FRAMES
    assert many.SOPClassUID == EnhancedMRImageStorage
    yield _of("too many frames", many)
    yield _of("half of its pixels", image(6, PixelData=np.arange(384, dtype=np.uint16).tobytes()))
    yield _of("another name in the request", one := image(7))
    yield BadObject(name="a second object under that name", content=encode(image(8)), uid=str(one.SOPInstanceUID))
    nameless = image(9, StudyInstanceUID="", SeriesInstanceUID="")
    yield _of("no study", nameless)
    yield _of("two patients in a study", image(10))
    yield _of("two patients in a study", image(10, PatientSex="M", InstanceNumber=2))
    for number, (sop_class, modality) in enumerate(
        ((SegmentationStorage, "SEG"), (ComprehensiveSRStorage, "SR"), (PRIVATE, "MR")), start=11
    ):
        yield _of(f"no image ({modality})", _without_pixels(base + number, sop_class, modality))


def bad_messages(run: int = 0) -> Iterator[bytes]:
    """One of each kind; another ``run`` gives other messages."""
    msh = "MSH|^~\\&|LAB|H|NODE|V|20260302090000||{}|BAD{}-{}|{}|2.5"

    def hl7(number: int, kind: str, *segments: str, processing: str = "P") -> bytes:
        return "\r".join([msh.format(kind, run, number, processing), *segments, ""]).encode()

    pid = f"PID|1||BAD{run}^^^H^MR||Doe^Jane||19600229|F"
    obr = f"OBR|1||BAD{run}|58410-2^CBC^LN|||20260301080000"
    yield hl7(1, "ADT^A08", "PID|1||" + "~".join(["1^^^H^MR"] * REPETITIONS))
    yield hl7(2, "ADT^A08", pid, *["NTE|1||x"] * SEGMENTS)
    yield hl7(3, "ADT^A08", *[pid] * 600)
    yield hl7(4, "", pid, obr)
    yield hl7(5, "ORU^R01", pid, obr, "OBX|1|NM|777-3^Platelets^LN||250|bananas|||||F")
    yield hl7(6, "ORU^R01", pid, obr, "OBX|1|NM|777-3^Platelets^LN||many|10*9/L|||||F")
    yield hl7(7, "ORU^R01", pid, "OBR|1||X|58410-2^CBC^LN|||99999999", "OBX|1|NM|777-3||250|10*9/L|||||F")
    yield hl7(8, "SIU^S12", f"SCH|{run}B|{run}F", pid, "AIS|1||X^Something nobody knows|20261332250000")
    yield hl7(9, "ADT^A40", pid)
    yield hl7(10, "ADT^A08", pid, processing="T")
    yield hl7(11, "ZZZ^Z99", "ZZZ|1")
    yield f"no message at all, {run}".encode()
    yield b"MSH|^~\\&|LAB|H|NODE|V|20260302090000||ADT^A08|" + f"{run}".encode() + b"|P|2.5\rPID|1||\xff\xfe\x80\r"


def send_bad_objects(port: int, run: int = 0) -> list[tuple[BadObject, int | None]]:
    """Send each over an association of its own; what was answered."""
    found: list[tuple[BadObject, int | None]] = []
    for one in bad_objects(run):
        with raw_association(port, sop_class=one.sop_class, calling="BADPACS") as association:
            answer = association.say(store_request(one.content, uid=one.uid, sop_class=one.sop_class))
            at = answer.find(b"\x00\x00\x00\x09\x02\x00\x00\x00")
            found.append((one, int.from_bytes(answer[at + 8 : at + 10], "little") if at >= 0 else None))
    return found


def send_bad_messages(port: int, run: int = 0) -> list[tuple[bytes, bytes]]:
    """Send each over one connection; with the acknowledgements."""
    found = []
    with Peer(port) as peer:
        for message in bad_messages(run):
            peer.send(frame(message))
            found.append((message, peer.reply()))
    return found
