"""The DICOM upper layer as the receiver needs it: protocol data units (PDU) in bytes, and a connection they come over.

Written for the receiver in place of pynetdicom's provider, which this software uses wherever it calls others: that one
polls in two threads for each association, copies every data set several times and holds it in memory. Here a
connection has one thread that blocks, and a data set passes through in pieces.

References
----------
DICOM PS3.8, section 9.3 (structure of the PDUs) and 9.2 (what may follow on what).
"""

import selectors
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic

from node.errors import ProtocolError

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
"""Types of PDU."""

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
MAX_PDU_BYTES = 131_072
"""What a sender may put into one P-DATA-TF; as much as DCMTK ever sends."""
MAX_REQUEST_BYTES = 1024 * 1024
"""Longest A-ASSOCIATE-RQ: 128 presentation contexts with every syntax there is take a twentieth of it."""
BUFFER_BYTES = 2 * MAX_PDU_BYTES
"""What is read at once at most; each association has one such buffer."""

PERMANENT, TRANSIENT = 1, 2
BY_USER, BY_ACSE, BY_PRESENTATION = 1, 2, 3

ACCEPTED, USER_REJECTION, ABSTRACT_SYNTAX_UNKNOWN, TRANSFER_SYNTAXES_UNKNOWN = 0, 1, 3, 4
"""Results of a presentation context (PS3.8, table 9-18)."""

UNEXPECTED_PDU, UNRECOGNISED_PDU, INVALID_PARAMETER = 2, 1, 6
"""Reasons of an abort by the provider (PS3.8, table 9-26)."""

_HEADER = struct.Struct(">BxL")
_VALUE = struct.Struct(">LBB")
_FIXED_BYTES = 68
"""Length of an A-ASSOCIATE-RQ or -AC before its first item: version, AE titles, reserved bytes."""


@dataclass(frozen=True, kw_only=True)
class Reject:
    """Why an association is refused (PS3.8, table 9-21)."""

    result: int
    source: int
    reason: int


CALLING_AE_UNKNOWN = Reject(result=PERMANENT, source=BY_USER, reason=3)
CALLED_AE_UNKNOWN = Reject(result=PERMANENT, source=BY_USER, reason=7)
APPLICATION_CONTEXT_UNKNOWN = Reject(result=PERMANENT, source=BY_USER, reason=2)
VERSION_UNKNOWN = Reject(result=PERMANENT, source=BY_ACSE, reason=2)
TOO_MANY = Reject(result=TRANSIENT, source=BY_PRESENTATION, reason=2)
"""The local limit is exceeded for the moment."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A presentation context as proposed."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AssociationRequest:
    """What the receiver uses of an A-ASSOCIATE-RQ."""

    protocol_version: int
    called_ae: str
    calling_ae: str
    application_context: str
    proposals: tuple[Proposal, ...]
    max_pdu_bytes: int
    """What the requestor takes in one P-DATA-TF; 0: any length."""
    scp_roles: frozenset[str]
    """SOP classes of which the requestor says that it is their provider."""
    ae_fields: bytes
    """The fields of both AE titles as they came: they are sent back so."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """A presentation context both sides agreed on."""

    abstract_syntax: str
    transfer_syntax: str


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each item or sub-item."""
    position = 0
    while position < len(content):
        if position + 4 > len(content):
            raise ProtocolError("an item is cut off")
        kind, length = struct.unpack_from(">BxH", content, position)
        position += 4
        if position + length > len(content):
            raise ProtocolError("an item is longer than what holds it")
        yield kind, content[position : position + length]
        position += length


def _text(content: bytes) -> str:
    """An AE title or UID; latin-1 never fails, and what is none by its characters is found out by comparing."""
    return content.decode("latin-1").strip(" \0")


def parse_request(body: bytes) -> AssociationRequest:
    """An A-ASSOCIATE-RQ without its header of six bytes.

    Raises
    ------
    ProtocolError
        It is cut off, or its items contradict their lengths.
    """
    if len(body) < _FIXED_BYTES:
        raise ProtocolError("the request for an association is cut off")
    application_context, proposals, max_pdu_bytes, scp_roles = "", [], 0, set()
    for kind, content in _items(body[_FIXED_BYTES:]):
        if kind == 0x10:
            application_context = _text(content)
        elif kind == 0x20:
            proposals.append(_proposal(content))
        elif kind == 0x50:
            for sub_kind, value in _items(content):
                if sub_kind == 0x51 and len(value) == 4:
                    max_pdu_bytes = int.from_bytes(value, "big")
                elif sub_kind == 0x54 and value.endswith(b"\1"):
                    scp_roles.add(_text(value[2:-2]))
    return AssociationRequest(
        protocol_version=int.from_bytes(body[:2], "big"),
        called_ae=_text(body[4:20]),
        calling_ae=_text(body[20:36]),
        application_context=application_context,
        proposals=tuple(proposals),
        max_pdu_bytes=max_pdu_bytes,
        scp_roles=frozenset(scp_roles),
        ae_fields=body[4:36],
    )


def _proposal(content: bytes) -> Proposal:
    if len(content) < 4:
        raise ProtocolError("a presentation context is cut off")
    names = [(kind, _text(value)) for kind, value in _items(content[4:])]
    abstract = [name for kind, name in names if kind == 0x30]
    if len(abstract) != 1:
        raise ProtocolError("a presentation context has not exactly one abstract syntax")
    return Proposal(
        context_id=content[0],
        abstract_syntax=abstract[0],
        transfer_syntaxes=tuple(name for kind, name in names if kind == 0x40),
    )


def negotiate(
    proposals: tuple[Proposal, ...], syntaxes: Callable[[Proposal], tuple[str, ...]]
) -> tuple[dict[int, Context], bytes]:
    """Agree on presentation contexts.

    Parameters
    ----------
    syntaxes
        Of a proposal the transfer syntaxes that are taken of its abstract syntax, the preferred one first; none: it is
        not taken.

    Returns
    -------
    tuple
        The accepted contexts by their number, and the items of the answer.
    """
    accepted, items = {}, []
    for one in proposals:
        ours = syntaxes(one)
        agreed = next((name for name in ours if name in one.transfer_syntaxes), None)
        if agreed is not None:
            accepted[one.context_id] = Context(abstract_syntax=one.abstract_syntax, transfer_syntax=agreed)
        result = ABSTRACT_SYNTAX_UNKNOWN if not ours else TRANSFER_SYNTAXES_UNKNOWN if agreed is None else ACCEPTED
        # A refused context names a transfer syntax as well, which is not to be looked at (PS3.8, table 9-18).
        name = agreed or next(iter(one.transfer_syntaxes), "1.2.840.10008.1.2")
        items.append(
            _item(0x21, bytes((one.context_id, 0, result, 0)) + _item(0x40, name.encode("latin-1", errors="replace")))
        )
    return accepted, b"".join(items)


def accept(
    request: AssociationRequest, contexts: bytes, *, class_uid: str, version_name: str, users_of: Iterable[str] = ()
) -> bytes:
    """An A-ASSOCIATE-AC with the items that :func:`negotiate` made.

    Parameters
    ----------
    users_of
        SOP classes whose provider the requestor may be; to the roles of others nothing is said, which is a no.
    """
    roles = [
        _item(0x54, struct.pack(">H", len(uid)) + uid.encode("ascii") + b"\0\1")
        for uid in users_of
        if uid in request.scp_roles
    ]
    user = (
        _item(0x51, struct.pack(">L", MAX_PDU_BYTES))
        + _item(0x52, class_uid.encode("ascii"))
        + b"".join(roles)
        + _item(0x55, version_name.encode("ascii"))
    )
    body = (
        struct.pack(">HH", 1, 0)
        + request.ae_fields
        + bytes(32)
        + _item(0x10, APPLICATION_CONTEXT.encode("ascii"))
        + contexts
        + _item(0x50, user)
    )
    return _HEADER.pack(ASSOCIATE_AC, len(body)) + body


def reject(why: Reject) -> bytes:
    """An A-ASSOCIATE-RJ."""
    return _HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, why.result, why.source, why.reason))


def release_answer() -> bytes:
    """An A-RELEASE-RP."""
    return _HEADER.pack(RELEASE_RP, 4) + bytes(4)


def abort(reason: int | None = None) -> bytes:
    """An A-ABORT: of the provider for this reason, or of the user without one."""
    return _HEADER.pack(ABORT, 4) + bytes((0, 0, 0 if reason is None else 2, reason or 0))


def data(context_id: int, *, command: bytes, dataset: bytes = b"", max_pdu_bytes: int = 0) -> bytes:
    """A message as P-DATA-TF PDUs, none longer than the other side takes."""
    limit = max(1, (max_pdu_bytes or MAX_PDU_BYTES) - _VALUE.size)
    parts = []
    for content, is_command in ((command, 1), (dataset, 0)):
        for start in range(0, len(content), limit):
            piece = content[start : start + limit]
            last = 2 if start + limit >= len(content) else 0
            parts.append(_HEADER.pack(P_DATA_TF, len(piece) + _VALUE.size))
            parts.append(_VALUE.pack(len(piece) + 2, context_id, is_command | last))
            parts.append(piece)
    return b"".join(parts)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


class Wire:
    """A connection: what comes in is read in large pieces, in time, and handed out as views of one buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._start = self._end = 0
        self._deadline = 0.0

    def header(self, *, within_s: float) -> tuple[int, int]:
        """Type and length of the next PDU; it must begin and end within that time each.

        Raises
        ------
        TimeoutError
            Nothing came for so long, or the PDU before took longer.
        EOFError
            The other side has closed the connection.
        OSError
            The connection is broken.
        """
        # Each setting is a system call, and its threads change places at it.
        if self.connection.gettimeout() != within_s:
            self.connection.settimeout(within_s)
        self._deadline = monotonic() + within_s
        found: tuple[int, int] = _HEADER.unpack(self.exact(_HEADER.size))
        self._deadline = monotonic() + within_s
        return found

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        if self._end > self._start or (isinstance(self.connection, ssl.SSLSocket) and self.connection.pending()):
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            return not selector.select(seconds)

    def value_header(self) -> tuple[int, int, int]:
        """Length of a presentation data value with its own header, context number, and message control header."""
        length, context_id, control = _VALUE.unpack(self.exact(_VALUE.size))
        return length, context_id, control

    def exact(self, count: int) -> memoryview:
        """The next ``count`` bytes, at most the buffer's; valid until the next call."""
        while self._end - self._start < count:
            self._receive(count)
        self._start += count
        return self._buffer[self._start - count : self._start]

    def some(self, limit: int) -> memoryview:
        """What is there of the next ``limit`` bytes, at least one; valid until the next call."""
        if self._start == self._end:
            self._receive(1)
        count = min(limit, self._end - self._start)
        self._start += count
        return self._buffer[self._start - count : self._start]

    def body(self, length: int) -> bytes:
        """The next ``length`` bytes as a copy."""
        parts = []
        while length:
            piece = bytes(self.some(length))
            parts.append(piece)
            length -= len(piece)
        return b"".join(parts)

    def _receive(self, wanted: int) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + wanted > len(self._buffer):
            rest = bytes(self._buffer[self._start : self._end])
            self._buffer[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        count = self.connection.recv_into(self._buffer[self._end :])
        if not count:
            raise EOFError("the other side closed the connection")
        self._end += count
        # Each single wait is bounded by the socket's own time-out; a trickle of bytes is bounded here.
        if monotonic() > self._deadline:
            raise TimeoutError("it takes too long over one message")

    def send(self, content: bytes) -> None:
        """Send all of it.

        Raises
        ------
        OSError
            The connection is broken, or the other side does not read.
        """
        self.connection.sendall(content)
