"""An upper layer client with every field in the caller's hand: what peers send that is odd and must be served.

Made with ``struct`` alone (PS3.8, section 9.3; PS3.7, annex E), so that nothing in it is mended on the way.
"""

import struct
from contextlib import suppress

from pydicom.uid import ImplicitVRLittleEndian, MRImageStorage

from node.dicom.contexts import VERIFICATION
from tests.node.raw_sender import RawSender

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
IMPLICIT, MR, ECHO = str(ImplicitVRLittleEndian), str(MRImageStorage), VERIFICATION
RELEASE = struct.pack(">BxL", 5, 4) + bytes(4)
STUDY = "1.2.826.0.1.3680043.8.498.777"
ACCEPTED, NO_SUCH_SYNTAX = 0, 4
"""Results of a presentation context."""


# ---- association ---------------------------------------------------------------------------------------------------
def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def context(number: int, *abstract: str, syntaxes: tuple[str, ...] = (IMPLICIT,)) -> bytes:
    names = [item(0x30, one.encode()) for one in abstract] + [item(0x40, one.encode()) for one in syntaxes]
    return item(0x20, bytes((number, 0, 0, 0)) + b"".join(names))


STANDARD = (context(1, ECHO), context(3, MR))


def user_information(
    *more: bytes, max_pdu: int | None = 16_384, uid: bytes = b"1.2.3.4", version: bytes = b"RAW"
) -> bytes:
    parts = [item(0x51, struct.pack(">L", max_pdu))] if max_pdu is not None else []
    parts += [item(0x52, uid)] if uid else []
    return item(0x50, b"".join([*parts, *more, item(0x55, version) if version else b""]))


def request(
    *items: bytes, user: bytes | None = None, called: bytes = b"VBQNODE", calling: bytes = b"RAWPEER",
    padding: bytes = b" ", application: bytes = APPLICATION_CONTEXT, version: int = 1,
) -> bytes:  # fmt: skip
    """An A-ASSOCIATE-RQ of these items behind the application context; user information comes last unless given."""
    titles = called.ljust(16, padding)[:16] + calling.ljust(16, padding)[:16]
    body = struct.pack(">HH", version, 0) + titles + bytes(32) + item(0x10, application) + b"".join(items)
    body += user_information() if user is None else user
    return struct.pack(">BxL", 1, len(body)) + body


def results(accepted: bytes) -> dict[int, int]:
    """The result of each presentation context of an A-ASSOCIATE-AC."""
    assert accepted[:1] == b"\x02", accepted.hex()
    found, at = {}, 74
    while at < len(accepted):
        kind, length = struct.unpack_from(">BxH", accepted, at)
        if kind == 0x21:
            found[accepted[at + 4]] = accepted[at + 6]
        at += 4 + length
    return found


# ---- messages ------------------------------------------------------------------------------------------------------
def fragment(content: bytes, *, command: bool = False, last: bool = True, number: int = 3, reserved: int = 0) -> bytes:
    """A presentation data value."""
    return struct.pack(">LBB", len(content) + 2, number, command | 2 * last | reserved) + content


def data(*fragments: bytes) -> bytes:
    """A P-DATA-TF of them."""
    body = b"".join(fragments)
    return struct.pack(">BxL", 4, len(body)) + body


def element(group: int, number: int, value: bytes) -> bytes:
    """Implicit VR Little Endian, of even length."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", group, number, len(value)) + value


def command(*, field: int, sop_class: str = MR, uid: str | None = None, data_set: int = 1, more: bytes = b"") -> bytes:
    """A command set with its group length; ``data_set`` is what stands in (0000,0800)."""
    body = element(0, 0x0002, sop_class.encode()) + element(0, 0x0100, struct.pack("<H", field))
    body += element(0, 0x0110, struct.pack("<H", 1)) + element(0, 0x0700, b"\0\0")
    body += element(0, 0x0800, struct.pack("<H", data_set))
    body += element(0, 0x1000, uid.encode()) if uid else b""
    return element(0, 0, struct.pack("<L", len(body + more))) + body + more


def echo() -> bytes:
    return data(fragment(command(field=0x30, sop_class=ECHO, data_set=0x101), command=True, number=1))


def image(uid: str, *, before: bytes = b"", behind: bytes = b"") -> bytes:
    """A data set with what names it."""
    named = ((8, 0x16, MR), (8, 0x18, uid), (8, 0x60, "MR"), (0x10, 0x20, "0001"))
    placed = ((0x20, 0xD, STUDY), (0x20, 0xE, f"{STUDY}.1"))
    return before + b"".join(element(group, number, value.encode()) for group, number, value in named + placed) + behind


class OddPeer(RawSender):
    """A connection on which an association was asked for."""

    def __init__(self, port: int, asked: bytes) -> None:
        super().__init__(port)
        self.accepted = self.say(asked)

    def __enter__(self) -> "OddPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def reply(self) -> tuple[int, int] | bytes:
        """Command field and status of the next response, however it is cut; else the PDU, empty at the end."""
        content = b""
        while True:
            pdu = self.answer()
            if pdu[:1] != b"\x04":
                return pdu
            content += pdu[12:]
            if pdu[11] & 2:
                break
        found = {}
        while content:
            _, number, length = struct.unpack_from("<HHL", content)
            found[number], content = content[8 : 8 + length], content[8 + length :]
        return struct.unpack("<H", found[0x0100])[0], struct.unpack("<H", found[0x0900])[0]

    def release(self) -> bool:
        """Whether a release is confirmed."""
        with suppress(ConnectionError):
            return self.say(RELEASE)[:1] == b"\x06"
        return False
