"""Messages that this node sends: over MLLP, each of them confirmed before the next.

References
----------
HL7 v2.5.1, 2.9.2 (original and enhanced acknowledgement); table 0008 (acknowledgement codes).
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Literal

from node.errors import MessageError, NodeError, UnreachableError
from node.hl7.framing import FrameDecoder, frame
from node.hl7.messages import read_header
from node.hl7.segments import part
from node.settings import Hl7Receiver
from node.tls import client_context

CONNECT_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
CODES: dict[str, Literal["accepted", "error", "rejected"]] = {
    "AA": "accepted", "CA": "accepted", "AE": "error", "CE": "error", "AR": "rejected", "CR": "rejected",
}  # fmt: skip
"""MSA-1 in original and in enhanced mode. CA is enough: its sender has the message and answers for it."""


class UnconfirmedError(NodeError):
    """The connection ended, or went silent, before there was an answer; the message may have arrived or not."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a receiver says of a message."""

    code: str
    """MSA-1; empty where there is none that is known."""
    control_id: str
    """MSA-2: of the message that it answers. What MSA-3 and ERR say is not kept: they may quote the message."""

    @property
    def outcome(self) -> Literal["accepted", "error", "rejected", "unknown"]:
        """What the code means."""
        return CODES.get(self.code, "unknown")


class MllpClient:
    """A connection to a receiver; :func:`connected` makes it."""

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._decoder = FrameDecoder(MAX_ANSWER_BYTES)
        self._frames: list[bytes] = []
        self._confirmed: set[str] = set()

    def send(self, message: bytes, control_id: str) -> Answer:
        """Send a message and wait for what answers it.

        A second answer to an earlier message of this connection (in enhanced mode that of the application) is passed
        over.

        Raises
        ------
        UnconfirmedError
            There is no answer.
        """
        deadline = monotonic() + self._timeout_s
        try:
            self._connection.settimeout(self._timeout_s)
            self._connection.sendall(frame(message))
            while True:
                answer = read_answer(self._next(deadline))
                if answer.control_id not in self._confirmed or answer.control_id == control_id:
                    break
        except TimeoutError as error:
            raise UnconfirmedError(f"it gave no answer within {self._timeout_s:g} s") from error
        except OSError as error:
            raise UnconfirmedError(f"the connection was lost: {error.strerror or type(error).__name__}") from error
        if answer.control_id == control_id:
            self._confirmed.add(control_id)
        return answer

    def _next(self, deadline: float) -> bytes:
        while not self._frames:
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError
            self._connection.settimeout(left)
            data = self._connection.recv(4096)
            if not data:
                # What an EB without a CR has ended is complete.
                self._frames = self._decoder.pause()
                if not self._frames:
                    raise UnconfirmedError("it closed the connection without an answer")
                break
            # A receiver that leaves the CR out has said all when it pauses.
            self._frames = self._decoder.feed(data) or self._decoder.pause()
            if self._decoder.too_long:
                raise UnconfirmedError(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        return self._frames.pop(0)


@contextmanager
def connected(receiver: Hl7Receiver) -> Iterator[MllpClient]:
    """A connection, closed at the end.

    Raises
    ------
    UnreachableError
        There is none.
    """
    place = f"{receiver.host}:{receiver.port}"
    try:
        plain = socket.create_connection((receiver.host, receiver.port), timeout=CONNECT_TIMEOUT_S)
    except OSError as error:
        raise UnreachableError(f"{place} cannot be reached: {error.strerror or error}") from error
    with plain:
        if receiver.tls is None:
            yield MllpClient(plain, receiver.timeout_s)
            return
        context = client_context(receiver.tls)
        try:
            secured = context.wrap_socket(plain, server_hostname=receiver.host)
        except (OSError, ssl.SSLError) as error:
            raise UnreachableError(f"{place} cannot be reached over TLS: {error}") from error
        with secured:
            yield MllpClient(secured, receiver.timeout_s)


def read_answer(raw: bytes) -> Answer:
    """Read an acknowledgement, whatever its delimiters; one that is none answers nothing."""
    lines = raw[max(0, raw.find(b"MSH")) :].decode("latin-1").replace("\n", "\r").split("\r")
    try:
        delimiters = read_header(lines[0]).delimiters
    except MessageError:
        return Answer(code="", control_id="")
    fields = next((line.split(delimiters.field) for line in lines if line.startswith(f"MSA{delimiters.field}")), [])
    _, code, control_id, *_ = (part(one, delimiters) for one in [*fields, "", "", ""])
    return Answer(code=code.upper(), control_id=control_id)
