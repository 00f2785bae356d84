"""Serves connections, each in a thread of its own."""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Protocol

import structlog
from sqlite_utils.utils import sqlite3

from node.crowding import gives_way, longest_silent
from node.dicom import dimse
from node.dicom.association import Association
from node.dicom.commitment import Report, RequestSink, heard_now, report_now
from node.dicom.cut_off import CutOff
from node.dicom.intake import MAX_NAME_CHARS, Intake, Peer, Sink
from node.dicom.kept import EventSink
from node.dicom.recorder import Recorder
from node.dicom.refusals import NO_ASSOCIATION, REJECTED, TOO_MANY, Refusals
from node.dicom.refused_contexts import RefusedContext, Sender, classes_of, refused_contexts
from node.dicom.slots import Entry
from node.dicom.upper_layer import Context, Proposal
from node.errors import StoreError
from node.settings import Settings
from node.store.archive import Archive
from node.store.refusals import Refusal
from node.tls import secure, server_context

MAX_WAITING = 256
"""Connections of one process that have not been let in yet, at most; of the address with the most the longest silent
gives way to further ones."""
MAX_WAITING_OF_ADDRESS = 64
"""Most of them from one address."""
SILENT_S = 5.0
"""An association that has said nothing for so long gives way when another address finds no slot."""
ROOM_PATIENCE_S = 2.0
"""How long a peer waits for the slot of such an association before it is rejected."""
CLOSING_S = 2.0
"""How long associations may go on when the receiver is told to stop, before they are cut."""

log = structlog.get_logger()


class SlotSource(Protocol):
    """Who counts the associations, over all processes."""

    def enter(self, peer: str | None, address: str) -> Entry:
        """Take a slot for this peer of the settings, at this address."""

    def leave(self, peer: str | None, address: str) -> None:
        """Give it back."""


@dataclass(kw_only=True)
class _Connection:
    """A connection that is served, let in or not."""

    socket: socket.socket
    address: str
    opened_at: float = field(default_factory=monotonic)
    association: Association | None = None
    let_in: bool = False
    cut: bool = False

    @property
    def silent_since(self) -> float | None:
        """Since when it keeps its place in silence; one that has been cut gives way no second time."""
        if self.cut:
            return None
        return self.association.silent_since if self.let_in and self.association else self.opened_at


class Acceptor:
    """All connections of one process.

    Parameters
    ----------
    slots
        Makes who counts the associations from what has an address end its longest silent one (:meth:`make_room`).

    Raises
    ------
    ListenError
        The certificates of the settings cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        recorder: Recorder,
        refusals: Refusals,
        slots: Callable[[Callable[[str], None]], SlotSource],
    ) -> None:
        self._settings = settings.dicom
        self._tls = server_context(settings.dicom.tls) if settings.dicom.tls else None
        self._folder = settings.storage.folder
        self._archive = archive
        self._recorder = recorder
        self._refusals = refusals
        self._intake = Intake(settings, archive, recorder)
        self._slots = slots(self.make_room)
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, _Connection] = {}

    def take(
        self, connection: socket.socket, address: str, *, secured: bool, done: Callable[[], None] | None = None
    ) -> None:
        """Serve a connection in a thread of its own.

        Parameters
        ----------
        secured
            It came to the port of TLS.
        done
            Called at its end, from that thread.
        """
        thread = threading.Thread(target=self._run, args=[connection, address, secured, done], name="association")
        # A connection that hangs does not hold up the end of the process.
        thread.daemon = True
        with self._lock:
            room, given_up = self._room_for(address)
            if room:
                self._open[thread] = _Connection(socket=connection, address=address)
            if given_up:
                given_up.cut = True
                _cut(given_up.socket)
        if given_up:
            self._turn_away(given_up.address, code=TOO_MANY, reason="its silent connection gave way to another one")
        if not room:
            self._turn_away(address, code=TOO_MANY, reason="too many connections wait to be let in")
        elif self._started(thread):
            return
        else:
            self._turn_away(address, code=TOO_MANY, reason="the machine has no thread left to serve it")
        connection.close()
        if done:
            done()

    def _started(self, thread: threading.Thread) -> bool:
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                del self._open[thread]
            return False
        return True

    def _room_for(self, address: str) -> tuple[bool, _Connection | None]:
        """Whether there is room for a connection from this address, and which other one has to be closed for it."""
        waiting = [one for one in self._open.values() if not one.let_in]
        own = [one for one in waiting if one.address == address]
        if len(own) >= MAX_WAITING_OF_ADDRESS:
            given_up = longest_silent(own)
        elif len(self._open) >= MAX_WAITING + self._settings.max_associations:
            given_up = gives_way(waiting, address)
        else:
            return True, None
        return given_up is not None, given_up

    def turn_away(self, address: str) -> None:
        """Count that a connection from this address was closed at once."""
        self._turn_away(address, code=REJECTED, reason="its address is not in dicom.allow or dicom.peers")

    def enter(self, peer: str | None, address: str) -> bool:
        """Take a slot for an association; where a silent one of another address makes room, a moment later."""
        deadline = monotonic() + ROOM_PATIENCE_S
        while (entry := self._slots.enter(peer, address)) is Entry.SOON and monotonic() < deadline:
            sleep(0.1)
        with self._lock:
            self._open[threading.current_thread()].let_in = entry is Entry.TAKEN
        return entry is Entry.TAKEN

    def leave(self, peer: str | None, address: str) -> None:
        """Give the slot back."""
        self._slots.leave(peer, address)

    def make_room(self, address: str) -> None:
        """End the longest silent association of an address that holds more than its share, where it has one."""
        with self._lock:
            found = longest_silent(one for one in self._open.values() if one.let_in and one.address == address)
            if found is None or found.silent_since is None or monotonic() - found.silent_since < SILENT_S:
                return
            found.cut = True
            _cut(found.socket)
        self._turn_away(address, code=TOO_MANY, reason="its silent association gave way to one of another address")

    def end(self) -> None:
        """Give the associations a moment to end by themselves, then cut them."""
        deadline = monotonic() + CLOSING_S
        with self._lock:
            running = list(self._open)
        for thread in running:
            thread.join(max(0.0, deadline - monotonic()))
        with self._lock:
            left = dict(self._open)
        for connection in left.values():
            _cut(connection.socket)
        for thread in left:
            thread.join()

    def store(self, request: dimse.Command, context: Context, peer: Peer) -> Sink:
        """Begin with the object of a C-STORE."""
        return self._intake.begin(request, context, peer)

    def commit(self, request: dimse.Command, context: Context, peer: Peer, stored: Callable[[int], None]) -> Sink:
        """Begin with a request for Storage Commitment."""
        return RequestSink(self._recorder, request, context.transfer_syntax, peer, stored)

    def told(self, event: dimse.Command, context: Context, peer: Peer) -> Sink:
        """Begin with the answer to a request of this node itself."""
        return EventSink(self._recorder, context.transfer_syntax, peer)

    def report(self, request_id: int) -> Report | None:
        """The answer to such a request, made now from what is on the disk."""
        try:
            return report_now(self._folder, self._archive, request_id)
        except (StoreError, sqlite3.Error) as error:
            log.error("storage commitment not answered for now", error=str(error))
            return None

    def heard(self, report: Report) -> None:
        """The other side has confirmed the answer."""
        try:
            heard_now(self._folder, report)
        except (StoreError, sqlite3.Error) as error:
            # It stays pending and is answered once more.
            log.error("storage commitment answered, but not noted", error=str(error))

    def refused(self, peer: Peer, *, code: str, reason: str) -> None:
        """It was not let in, or something of it was not taken."""
        self._refusals.note(
            Refusal(
                address=peer.address, calling_ae=peer.calling_ae, called_ae=peer.called_ae, code=code, reason=reason
            )
        )

    def let_in(self, peer: Peer) -> None:
        """It was."""
        self._refusals.let_in(address=peer.address, calling_ae=peer.calling_ae)

    def negotiated(
        self, peer: Peer, proposals: tuple[Proposal, ...], accepted: Mapping[int, Context]
    ) -> tuple[RefusedContext, ...]:
        """Count the presentation contexts that were not accepted; returns them."""
        sender = Sender(address=peer.address, calling_ae=peer.calling_ae)
        refused = refused_contexts(sender, proposals, accepted)
        if refused:
            log.warning(
                "presentation contexts refused",
                peer=peer.address,
                calling_ae=peer.calling_ae,
                refused=len(refused),
                of_mr_images=sum(one.needed for one in refused),
            )
        self._refusals.negotiated(sender, refused, classes_of(accepted.values()))
        return refused

    def ended(self, peer: Peer, refused: tuple[RefusedContext, ...], *, aborted: bool) -> None:
        """An association with these refused contexts has ended, in order or by the sender's abort."""
        self._refusals.ended(Sender(address=peer.address, calling_ae=peer.calling_ae), refused, aborted=aborted)

    def cut_off(self, peer: Peer, request: dimse.Command) -> None:
        """Of the object of a C-STORE no more will come."""
        log.warning("an object came in part only", peer=peer.address, calling_ae=peer.calling_ae)
        self._refusals.cut_off(
            CutOff(
                sender=Sender(address=peer.address, calling_ae=peer.calling_ae),
                sop_class_uid=request.text(dimse.AFFECTED_CLASS)[:MAX_NAME_CHARS],
                sop_instance_uid=request.text(dimse.AFFECTED_INSTANCE)[:MAX_NAME_CHARS],
            )
        )

    def _turn_away(self, address: str, *, code: str, reason: str) -> None:
        log.warning("connection refused", peer=address, reason=reason)
        self._refusals.note(Refusal(address=address, code=code, reason=reason))

    def _run(self, connection: socket.socket, address: str, secured: bool, done: Callable[[], None] | None) -> None:
        try:
            self._serve(connection, address, self._tls if secured else None)
        finally:
            with self._lock:
                del self._open[threading.current_thread()]
            if done:
                done()

    def _serve(self, connection: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        # Answers are small; without this each could wait for the peer's delayed acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            if tls is None:
                self._associate(connection, address)
            else:
                try:
                    secured = secure(tls, connection, wrapped=self._wrapped)
                except OSError as error:
                    self._turn_away(
                        address, code=NO_ASSOCIATION, reason=f"the TLS handshake failed: {_in_words(error)}"
                    )
                    return
                if secured is None:
                    return
                with secured:
                    self._associate(secured, address)

    def _wrapped(self, secured: ssl.SSLSocket) -> None:
        with self._lock:
            held = self._open[threading.current_thread()]
            held.socket = secured
            if held.cut:
                _cut(secured)

    def _associate(self, connection: socket.socket, address: str) -> None:
        association = Association(connection, address, settings=self._settings, slots=self, services=self)
        with self._lock:
            self._open[threading.current_thread()].association = association
        association.serve()


def _in_words(error: OSError) -> str:
    """Few different ones: they are counted."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error)


def _cut(connection: socket.socket) -> None:
    try:
        # Of the socket itself: one of TLS is in use by another thread.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        log.debug("a connection ended by itself in the last moment")
