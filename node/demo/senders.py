"""What the node speaks with in the demo: a PACS, an interface engine, and a mail server and a record that receive.

Both senders do what theirs in a hospital do: what was not acknowledged is sent again, on a new connection if need
be, until it is, so that a node that dies and comes back misses nothing.
"""

import hashlib
import mailbox
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from threading import Condition, Thread
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE

from node.errors import NodeError
from node.store.whole_file import write_whole

RETRY_AFTER_S = 0.5
"""Pause after a connection that failed."""

SUCCESS = 0x0000
START_BLOCK, END_BLOCK = b"\x0b", b"\x1c\r"

ENDING_TIMEOUT_S = 10.0


class NotAcknowledgedError(NodeError):
    """The node has not acknowledged what was sent within the time allowed."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Where something is sent to."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """A message that the node has acknowledged: MSH-10, and the SHA-256 of its bytes."""

    control_id: str
    sha256: str


def send_study(
    objects: Sequence[Dataset],
    peer: Peer,
    *,
    called_ae: str,
    calling_ae: str = "DEMOPACS",
    timeout_s: float = 120.0,
    on_stored: Callable[[Dataset], None] = lambda _: None,
) -> tuple[str, ...]:
    """Send objects as a PACS does: each one again until it is stored.

    Parameters
    ----------
    on_stored
        Called with each object once its Success has arrived.

    Returns
    -------
    tuple of str
        The SOP Instance UIDs acknowledged, in that order.

    Raises
    ------
    NotAcknowledgedError
        Some are not acknowledged within ``timeout_s``.
    """
    waiting = list(objects)
    stored: list[str] = []
    deadline = monotonic() + timeout_s
    while waiting:
        done = _send_over_one_association(waiting, peer, called_ae=called_ae, calling_ae=calling_ae)
        for sent in waiting[:done]:
            stored.append(str(sent.SOPInstanceUID))
            on_stored(sent)
        waiting = waiting[done:]
        if waiting:
            if monotonic() > deadline:
                raise NotAcknowledgedError(f"{len(waiting)} images were not acknowledged within {timeout_s:g} s")
            sleep(RETRY_AFTER_S)
    return tuple(stored)


def _send_over_one_association(objects: Sequence[Dataset], peer: Peer, *, called_ae: str, calling_ae: str) -> int:
    """Send in order until one is not acknowledged; returns how many were."""
    try:
        # Asked first, for pynetdicom leaves its socket open when nobody listens.
        socket.create_connection((peer.host, peer.port), timeout=20).close()
    except OSError:
        return 0
    ae: Any = AE(ae_title=calling_ae)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    ae.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = ae.associate(peer.host, peer.port, ae_title=called_ae)
    if not association.is_established:
        _end(association)
        return 0
    done = 0
    try:
        for one in objects:
            if not association.is_established:
                break
            try:
                status = association.send_c_store(one)
            except (RuntimeError, OSError):  # the association ended between the check and the sending
                break
            if "Status" not in status or status.Status != SUCCESS:
                break
            done += 1
    finally:
        if association.is_established:
            association.release()
        _end(association)
    return done


def _end(association: Any) -> None:
    """Close the socket of an association that has ended; pynetdicom leaves it open when the other side was gone."""
    association.kill()
    for thread in (association, association.dul):
        if thread.is_alive():
            thread.join(ENDING_TIMEOUT_S)
    wrapped = association.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.close()


class MllpSender:
    """An interface engine's queue: one message at a time, the next one only after an acknowledgement.

    Parameters
    ----------
    timeout_s
        How long one message is tried.
    """

    def __init__(self, peer: Peer, *, timeout_s: float = 120.0) -> None:
        self._peer, self._timeout_s = peer, timeout_s
        self._connection: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(
        self, messages: Iterable[bytes], *, on_stored: Callable[[bytes], None] = lambda _: None
    ) -> tuple[Acknowledged, ...]:
        """Send messages in their order; returns them once each is acknowledged with AA or CA.

        Raises
        ------
        NotAcknowledgedError
            One is not acknowledged in time, or is refused for what it is (AR).
        """
        stored = []
        for message in messages:
            self._send_until_stored(message)
            stored.append(
                Acknowledged(control_id=_field(message, "MSH", 10), sha256=hashlib.sha256(message).hexdigest())
            )
            on_stored(message)
        return tuple(stored)

    def _send_until_stored(self, message: bytes) -> None:
        deadline = monotonic() + self._timeout_s
        while True:
            try:
                answer = self._exchange(message)
            except OSError:
                answer = b""
                self.close()
            code, control_id = _acknowledgement(answer)
            if code in ("AA", "CA") and control_id == _field(message, "MSH", 10):
                return
            if code in ("AR", "CR"):
                raise NotAcknowledgedError(f"message {_field(message, 'MSH', 10)} was refused with {code}")
            if monotonic() > deadline:
                raise NotAcknowledgedError(
                    f"message {_field(message, 'MSH', 10)} was not acknowledged within {self._timeout_s:g} s"
                )
            sleep(RETRY_AFTER_S)

    def _exchange(self, message: bytes) -> bytes:
        if self._connection is None:
            self._connection = socket.create_connection((self._peer.host, self._peer.port), timeout=20)
        self._connection.sendall(START_BLOCK + message + END_BLOCK)
        answer = b""
        while not answer.endswith(END_BLOCK):
            more = self._connection.recv(65536)
            if not more:
                raise ConnectionResetError("the node closed the connection before it answered")
            answer += more
        return answer.removeprefix(START_BLOCK).removesuffix(END_BLOCK)


def _acknowledgement(answer: bytes) -> tuple[str, str]:
    return _field(answer, "MSA", 1), _field(answer, "MSA", 2)


def _field(message: bytes, segment: str, number: int) -> str:
    for line in message.decode("utf-8").split("\r"):
        fields = line.split("|")
        if fields[0] == segment:
            index = number - 1 if segment == "MSH" else number
            return fields[index] if index < len(fields) else ""
    return ""


class _AnyPort(Controller):
    """Asks the system for a free port and learns which one it is before it tries it."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd has no types here


class Record:
    """The patient record: takes HL7 results on loopback, acknowledges each, and keeps it as a file.

    On a free port, unless one is given; what the folder has from before stays.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self._messages: list[bytes] = []
        self._before = len(list(folder.glob("*.hl7")))
        self._listening = socket.create_server(("127.0.0.1", port))
        self._thread = Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(ENDING_TIMEOUT_S)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getsockname()[1])

    @property
    def messages(self) -> tuple[bytes, ...]:
        """Every message that was acknowledged, in that order."""
        return tuple(self._messages)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with suppress(OSError), connection:
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        received = b""
        while data := connection.recv(4096):
            received += data
            while END_BLOCK in received:
                framed, _, received = received.partition(END_BLOCK)
                message = framed.removeprefix(START_BLOCK)
                self._keep(message)
                control_id = message.split(b"|", 10)[9]
                answer = b"MSH|^~\\&|RECORD|DEMO|||||ACK|1|P|2.5.1\rMSA|AA|" + control_id + b"\r"
                connection.sendall(START_BLOCK + answer + END_BLOCK)

    def _keep(self, message: bytes) -> None:
        name = f"{self._before + len(self._messages) + 1:03}.hl7"
        write_whole(self.folder / name, message)
        self._messages.append(message)


class MailServer:
    """An SMTP server on a free port of loopback that keeps every mail in memory and in a maildir folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mails: list[EmailMessage] = []
        self._arrived = Condition()
        self._controller: Any = _AnyPort(self, hostname="127.0.0.1", port=0)

    def __enter__(self) -> Self:
        mailbox.Maildir(self.folder, create=True).close()
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._controller.port)

    @property
    def mails(self) -> tuple[EmailMessage, ...]:
        """Every mail received, in that order."""
        with self._arrived:
            return tuple(self._mails)

    def wait_for(self, number: int, *, timeout_s: float) -> tuple[EmailMessage, ...]:
        """Wait until so many mails have come, or the time is over; returns those that have."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._mails) >= number, timeout_s)
            return tuple(self._mails)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        """Keep one mail (called by aiosmtpd in its own thread)."""
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode("utf-8")
        box = mailbox.Maildir(self.folder)
        box.add(raw)
        box.close()
        mail = message_from_bytes(raw, policy=policy.default)
        with self._arrived:
            self._mails.append(mail)
            self._arrived.notify_all()
        return "250 kept"
