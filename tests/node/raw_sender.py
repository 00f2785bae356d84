"""A sender on a plain socket, whose bytes are pynetdicom's: it can stop, cut or abort anywhere, and never hangs."""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from tests.node.dicom_samples import encode

CONTEXT = 1
MAX_PDU = 16_382
ABORT = bytes.fromhex("07 00 00000004 00000000")
RELEASE = bytes.fromhex("05 00 00000004 00000000")
STATUS = re.compile(rb"\x00\x00\x00\x09\x02\x00\x00\x00(..)", re.DOTALL)
"""Element (0000,0900) of a command set, Implicit VR Little Endian."""


def association_request(
    *, calling: str = "SENDER", sop_class: str = MRImageStorage, syntax: str = ExplicitVRLittleEndian
) -> bytes:
    """An A-ASSOCIATE-RQ with one presentation context."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, "VBQNODE"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = MAX_PDU
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.8.498.9"
    request.user_information = [length, implementation]
    context = build_context(sop_class, syntax)
    context.context_id = CONTEXT
    request.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return bytes(pdu.encode())


def store_request(image: Dataset | bytes, *, uid: str | None = None, sop_class: str = MRImageStorage) -> bytes:
    """A C-STORE as P-DATA-TF PDUs."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = uid or (image.SOPInstanceUID if isinstance(image, Dataset) else "1.2.3")
    request.DataSet = BytesIO(image if isinstance(image, bytes) else encode(image))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    parts = []
    for primitive in message.encode_msg(CONTEXT, MAX_PDU):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        parts.append(bytes(pdu.encode()))
    return b"".join(parts)


def whole_pdus(content: bytes, stop: int) -> bytes:
    """The P-DATA-TF PDUs that begin before ``stop``, without the last of them."""
    return content[: content.rfind(b"\x04\x00\x00\x00", 0, stop)]


class RawSender:
    """A connection to a receiver."""

    def __init__(self, port: int, *, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self) -> bytes:
        """The next PDU with its header; empty when the other side has closed the connection."""
        header = self._read(6)
        return header + self._read(struct.unpack(">L", header[2:])[0]) if header else b""

    def _read(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            piece = self.socket.recv(count - len(content))
            if not piece:
                return b""
            content += piece
        return content

    def say(self, content: bytes) -> bytes:
        """Send bytes and return the PDU that is answered."""
        self.socket.sendall(content)
        return self.answer()

    def reset(self) -> None:
        """Have the connection end with RST once it is closed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def store(self, image: Dataset | bytes, *, uid: str | None = None) -> int | None:
        """C-STORE; the status, or ``None`` when there was no answer."""
        found = STATUS.search(self.say(store_request(image, uid=uid)))
        return int.from_bytes(found[1], "little") if found else None


@contextmanager
def raw_association(port: int, **request: str) -> Iterator[RawSender]:
    """A sender whose association is accepted; the connection is closed at the end, whatever state it is in."""
    sender = RawSender(port)
    with sender.socket:
        accepted = sender.say(association_request(**request))
        if accepted[:1] != b"\x02":
            raise ConnectionRefusedError(f"no association: {accepted.hex()}")
        yield sender
