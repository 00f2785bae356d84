"""DIMSE commands as bytes: the command sets that the receiver hears and says.

References
----------
DICOM PS3.7, section 6.3 (Implicit VR Little Endian, ascending tags, group length first) and annex E (tags, values).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from node.errors import ProtocolError

C_STORE_RQ, C_ECHO_RQ, C_CANCEL_RQ = 0x0001, 0x0030, 0x0FFF
N_EVENT_REPORT_RQ, N_ACTION_RQ = 0x0100, 0x0130
RESPONSE = 0x8000
"""This bit makes the command field of a response from that of its request."""
NO_DATASET = 0x0101

AFFECTED_CLASS, REQUESTED_CLASS, COMMAND_FIELD, MESSAGE_ID, MESSAGE_ID_ANSWERED = 0x0002, 0x0003, 0x0100, 0x0110, 0x0120
DATASET_TYPE, STATUS, ERROR_COMMENT, AFFECTED_INSTANCE, REQUESTED_INSTANCE = 0x0800, 0x0900, 0x0902, 0x1000, 0x1001
EVENT_TYPE, ACTION_TYPE = 0x1002, 0x1008
"""Elements of group 0000."""

MAX_COMMENT_CHARS = 64

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT = 0x0115
UNRECOGNISED_OPERATION = 0x0211
NO_SUCH_ACTION = 0x0123
RESOURCE_LIMITATION = 0x0213
OUT_OF_RESOURCES = 0xA700
"""Status of C-STORE: the sender may try again later (PS3.4, table B.2-1)."""
CANNOT_UNDERSTAND = 0xC000
"""Status of C-STORE: a request without an object, or that names it by something that is no UID."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command set: the bytes of each element of group 0000, as they came."""

    elements: Mapping[int, bytes] = field(default_factory=dict)

    def number(self, element: int) -> int | None:
        """A value of VR US, or ``None``: absent or not of its length."""
        value = self.elements.get(element, b"")
        return int.from_bytes(value, "little") if len(value) == 2 else None

    def text(self, element: int) -> str:
        """A UID without its padding; empty when absent."""
        return self.elements.get(element, b"").rstrip(b" \0").decode("latin-1")

    @property
    def field(self) -> int:
        """Which command it is; 0 when it does not say."""
        return self.number(COMMAND_FIELD) or 0

    @property
    def has_dataset(self) -> bool:
        """Whether a data set follows."""
        return self.number(DATASET_TYPE) != NO_DATASET


def parse(content: bytes) -> Command:
    """Read a command set.

    Raises
    ------
    ProtocolError
        It is cut off, holds elements of another group, or no command.
    """
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(content):
        if position + 8 > len(content):
            raise ProtocolError("a command is cut off")
        group, element, length = struct.unpack_from("<HHL", content, position)
        position += 8
        if group != 0 or position + length > len(content):
            raise ProtocolError("a command holds what is no element of one")
        elements[element] = content[position : position + length]
        position += length
    command = Command(elements=elements)
    if not command.field:
        raise ProtocolError("a command does not say which it is")
    return command


def encode(elements: Mapping[int, int | bytes | str]) -> bytes:
    """A command set of these elements: numbers as US, texts as UI, bytes as they are."""
    body = b"".join(_element(number, value) for number, value in sorted(elements.items()))
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _element(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        content = struct.pack("<H", value)
    else:
        content = value.encode("ascii") if isinstance(value, str) else value
        content += b"\0" * (len(content) % 2)
    return struct.pack("<HHL", 0, number, len(content)) + content


def response(request: Command, status: int, *, comment: str = "", has_dataset: bool = False) -> bytes:
    """The answer to a request; what it names is named back as it came.

    Parameters
    ----------
    comment
        Why it failed, for whoever reads the log of the other side; cut to what the element holds.
    """
    elements: dict[int, int | bytes | str] = {
        COMMAND_FIELD: request.field | RESPONSE,
        MESSAGE_ID_ANSWERED: request.number(MESSAGE_ID) or 0,
        DATASET_TYPE: 1 if has_dataset else NO_DATASET,
        STATUS: status,
    }
    same = (AFFECTED_CLASS, AFFECTED_INSTANCE, ACTION_TYPE, EVENT_TYPE)
    named_back = {REQUESTED_CLASS: AFFECTED_CLASS, REQUESTED_INSTANCE: AFFECTED_INSTANCE}
    for asked, affected in ({one: one for one in same} | named_back).items():
        if asked in request.elements:
            elements[affected] = request.elements[asked]
    if comment:
        short = comment.encode("ascii", errors="replace")[:MAX_COMMENT_CHARS]
        elements[ERROR_COMMENT] = short + b" " * (len(short) % 2)
    return encode(elements)
