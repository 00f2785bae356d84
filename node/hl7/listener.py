"""The MLLP listener: every frame is stored durably before it is acknowledged.

One thread serves all connections: what has come from any of them is stored in one transaction and then acknowledged, so
a slow or silent peer, or one in the middle of a TLS handshake, costs no other peer anything, and many senders share one
fsync. Only when another writer keeps the database busy does a second thread wait for it.
"""

import asyncio
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import structlog

from node.clock import now
from node.errors import ListenError, StoreError
from node.hl7.acknowledge import Reception, build_reply, receive, reply_code
from node.hl7.framing import FrameDecoder, frame
from node.hl7.storing import Arrival, FrameStore
from node.settings import Settings
from node.store.database import open_database
from node.tls import server_context

READ_BYTES = 64 * 1024
BACKLOG = 512
HANDSHAKE_TIMEOUT_S = 10.0
"""For the whole TLS handshake."""
END_PATIENCE_S = 0.25
"""How long the CR after EB may take to arrive before the frame counts as complete without it."""
SEND_PATIENCE_S = 30.0
"""A peer that does not take its acknowledgements for so long is disconnected."""
MAX_GROUP_BYTES = 32 * 1024 * 1024
"""The frames of one transaction together; more wait for the next."""
POLL_S = 0.2
STOP_PATIENCE_S = 5.0
"""How long peers may take to take their acknowledgements when the listener ends."""
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}
"""A peer that has gone without a word is noticed after two minutes."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """A frame between its arrival and its acknowledgement."""

    connection: "_Connection"
    reception: Reception
    arrival: Arrival


class _Connection(asyncio.Protocol):
    """One connection; it ends with the peer, at a time-out, or with the listener."""

    def __init__(self, server: "_Server", peer: str) -> None:
        self._server = server
        self._peer = peer
        self._hl7 = server.settings.hl7
        self._decoder = FrameDecoder(self._hl7.max_frame_bytes)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._heard_at = 0.0
        self._idle: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None
        self._unanswered_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(self)
        self._heard_at = self._loop.time()
        self._idle = self._loop.call_later(self._hl7.idle_timeout_s, self._check_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; what it has sent completely is stored all the same."""
        self._server.connections.discard(self)
        self._server.open -= 1
        self._transport = None
        for timer in (self._idle, self._end, self._unsent):
            if timer:
                timer.cancel()
        if exc:
            log.info("connection ended", peer=self._peer, reason=f"{type(exc).__name__}: {exc}")
        if self._decoder.junk_bytes or self._decoder.cut_frames:
            junk, cut = self._decoder.junk_bytes, self._decoder.cut_frames
            log.warning("bytes outside frames", peer=self._peer, junk=junk, cut_frames=cut)

    def data_received(self, data: bytes) -> None:
        """Hand in the frames that these bytes complete."""
        self._heard_at = self._loop.time()
        if self._end:
            self._end.cancel()
            self._end = None
        self._hand_in(self._decoder.feed(data))
        if self._decoder.ended:
            self._end = self._loop.call_later(END_PATIENCE_S, self._paused)
        if self._decoder.too_long:
            self._close_too_long()

    def _paused(self) -> None:
        self._end = None
        self._hand_in(self._decoder.pause())

    def _hand_in(self, frames: list[bytes]) -> None:
        for raw in frames:
            reception = receive(raw, self._hl7.default_charset, self._hl7.charsets)
            ack = reply_code(reception.header, "rejected" if reception.refusal else "accepted")
            arrival = Arrival(raw=raw, sha256=reception.sha256, peer_address=self._peer, ack=ack)
            self._unanswered_bytes += len(raw)
            self._server.hand_in(_Waiting(connection=self, reception=reception, arrival=arrival))
        if self._transport and self._unanswered_bytes > self._hl7.max_frame_bytes:
            self._transport.pause_reading()

    def answer(self, waiting: _Waiting, failure: str | None) -> None:
        """Acknowledge a frame, when the peer is still there."""
        over = self._unanswered_bytes > self._hl7.max_frame_bytes
        self._unanswered_bytes -= len(waiting.arrival.raw)
        if self._transport is None:
            return
        reception = waiting.reception
        if failure is not None:
            reply = build_reply(reception, "error", reason=failure, at=now())
        elif reception.refusal is not None:
            reply = build_reply(reception, "rejected", reason=reception.refusal, at=now())
        else:
            reply = build_reply(reception, "accepted", reason=None, at=now())
        if reply.message:
            self._transport.write(frame(reply.message))
        if over and self._unanswered_bytes <= self._hl7.max_frame_bytes and not self._decoder.too_long:
            self._transport.resume_reading()

    def _close_too_long(self) -> None:
        """Answer what came before, then refuse the message that is too long: its end cannot be found."""
        reason = f"the message is longer than the {self._hl7.max_frame_bytes} bytes allowed (hl7.max_frame_bytes)"
        log.warning("connection closed", peer=self._peer, reason=reason)
        reception = receive(self._decoder.pending[:READ_BYTES], self._hl7.default_charset, self._hl7.charsets)
        if self._transport:
            self._transport.pause_reading()
        self._server.when_answered(lambda: self._refuse(reception, reason))

    def _refuse(self, reception: Reception, reason: str) -> None:
        if self._transport:
            reply = build_reply(reception, "rejected", reason=reason, at=now())
            if reply.message:
                self._transport.write(frame(reply.message))
            self._transport.close()

    def _check_idle(self) -> None:
        if self._transport is None:
            return
        left_s = self._heard_at + self._hl7.idle_timeout_s - self._loop.time()
        if left_s > 0:
            self._idle = self._loop.call_later(left_s, self._check_idle)
            return
        log.info("connection ended", peer=self._peer, reason="silent for hl7.idle_timeout_s")
        self._transport.abort()

    def pause_writing(self) -> None:
        """The peer takes no acknowledgements: read no more, and give it up after a while."""
        if self._transport:
            self._transport.pause_reading()
            self._unsent = self._loop.call_later(SEND_PATIENCE_S, self._transport.abort)

    def resume_writing(self) -> None:
        """The peer has taken its acknowledgements."""
        if self._unsent:
            self._unsent.cancel()
            self._unsent = None
        if self._transport:
            self._transport.resume_reading()

    def close(self) -> None:
        """End the connection once what was written is on its way."""
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport:
            self._transport.abort()


@dataclass
class _Server:
    settings: Settings
    store: FrameStore
    stopping: asyncio.Event
    connections: set[_Connection] = field(default_factory=set)
    open: int = 0
    """Connections that are served or shake hands."""
    failed: bool = False
    """Storing has met a fault of this software: nothing can be stored any more."""
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _after: list[Callable[[], None]] = field(default_factory=list)
    _scheduled: bool = False
    _storing: "asyncio.Future[None] | None" = None

    async def accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as error:
                # Gone again already, or no file descriptors left: later there may be some.
                log.warning("connection not accepted", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(POLL_S)
                continue
            peer = str(address[0])
            refusal = self._refusal(peer)
            if refusal:
                log.warning("connection refused", peer=peer, reason=refusal)
                connection.close()
                continue
            self.open += 1
            loop.create_task(self._connect(connection, peer, tls))  # noqa: RUF006  # it ends by itself, see `open`

    def _refusal(self, peer: str) -> str | None:
        if not self.settings.hl7.allows(peer):
            return "not in hl7.allow"
        return "there are hl7.max_connections already" if self.open >= self.settings.hl7.max_connections else None

    async def _connect(self, connection: socket.socket, peer: str, tls: ssl.SSLContext | None) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        timeout = HANDSHAKE_TIMEOUT_S if tls else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Connection(self, peer), connection, ssl=tls, ssl_handshake_timeout=timeout
            )
        except OSError as error:
            # Without a handshake there is no connection that could be lost.
            self.open -= 1
            log.warning("no TLS connection", peer=peer, reason=f"{type(error).__name__}: {error}")

    def hand_in(self, waiting: _Waiting) -> None:
        """Store a frame with all others that come before the loop turns to storing."""
        self._waiting.append(waiting)
        self._schedule()

    def when_answered(self, action: Callable[[], None]) -> None:
        """Do something once all frames handed in so far are answered."""
        self._after.append(action)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and self._storing is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        self._scheduled = False
        if self._storing is not None:
            return
        group: list[_Waiting] = []
        size = 0
        while self._waiting and size < MAX_GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += len(group[-1].arrival.raw)
        arrivals = [one.arrival for one in group]
        try:
            stored = not group or self.store.store_promptly(arrivals)
        except BaseException:
            self.fail()
            raise
        if stored:
            self._answer(group, None)
        else:
            self._storing = asyncio.ensure_future(self._store_patiently(group, arrivals))

    def fail(self) -> None:
        """End the listener: storing has met a fault of this software, and nothing may seem to be stored."""
        self.failed = True
        self.stopping.set()

    async def _store_patiently(self, group: list[_Waiting], arrivals: list[Arrival]) -> None:
        try:
            failure = await asyncio.to_thread(self.store.store, arrivals)
        except BaseException:
            self.fail()
            raise
        finally:
            self._storing = None
        self._answer(group, failure)

    def _answer(self, group: list[_Waiting], failure: str | None) -> None:
        for one in group:
            one.connection.answer(one, failure)
        if self._waiting:
            self._schedule()
        else:
            actions, self._after = self._after, []
            for action in actions:
                action()

    async def finish(self) -> None:
        """Store what was received, answer it, and end all connections."""
        while (self._waiting or self._storing or self._scheduled) and not self.failed:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.close()
        until = asyncio.get_running_loop().time() + STOP_PATIENCE_S
        while self.connections and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.abort()


def _listen(name: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            f"HL7 port {host}:{port} cannot be opened: {error.strerror or error} ({name}.host, {name}.port)"
        ) from error
    listening.setblocking(False)
    return listening


async def serve(settings: Settings, stopping: asyncio.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Listen until told to stop; complete frames received by then are stored, answered or not.

    Parameters
    ----------
    ready
        Called once the ports are open.

    Raises
    ------
    StoreError
        The database cannot be used.
    ListenError
        A port cannot be opened, or the files for TLS cannot be used.
    """
    open_database(settings.storage.folder, create=True).close()
    hl7 = settings.hl7
    ports: list[tuple[str, str, int, ssl.SSLContext | None]] = [("hl7", hl7.host, hl7.port, None)]
    if hl7.tls:
        ports.append(("hl7.tls", hl7.tls.host, hl7.tls.port, server_context(hl7.tls, "hl7.tls")))
    server = _Server(settings=settings, store=FrameStore(settings.storage.folder), stopping=stopping)
    accepting: list[asyncio.Task[None]] = []
    with ExitStack() as listening:
        for name, host, port, tls in ports:
            opened = listening.enter_context(_listen(name, host, port))
            accepting.append(asyncio.ensure_future(server.accept(opened, tls)))
            log.info("listening for HL7", host=host, port=port, tls=tls is not None)
        if ready:
            ready()
        await stopping.wait()
        for task in accepting:
            task.cancel()
        await asyncio.gather(*accepting, return_exceptions=True)
    await server.finish()
    server.store.close()
    if server.failed:
        raise StoreError("storing HL7 messages has failed; the listener ends")


def run_listener(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Listen until ``stop`` is set, which a signal handler may do.

    Raises
    ------
    StoreError
        The database cannot be used.
    ListenError
        A port cannot be opened, or the files for TLS cannot be used.
    """

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(_log_fault)
        stopping = asyncio.Event()

        async def watch() -> None:
            while not stop.is_set():
                await asyncio.sleep(POLL_S)
            stopping.set()

        watching = asyncio.create_task(watch())
        try:
            await serve(settings, stopping, ready=ready)
        finally:
            watching.cancel()

    asyncio.run(run())


def _log_fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    log.error("fault in the listener", where=context["message"], error=f"{type(error).__name__}: {error}")
