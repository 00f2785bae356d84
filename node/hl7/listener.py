"""The MLLP listener: every frame is stored durably before it is acknowledged.

One thread serves all connections: what has come from any of them is stored in one transaction and then acknowledged, so
a slow or silent peer, or one in the middle of a TLS handshake, costs no other peer anything, and many senders share one
fsync. Only when another writer keeps the database busy does a second thread wait for it.
"""

import asyncio
import socket
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog

from node.crowding import gives_way
from node.errors import ListenError, StoreError
from node.hl7.connection import Connection, Place, Waiting
from node.hl7.refusals import NO_TLS, NOT_ALLOWED, PAUSE_S, TOO_LONG, TOO_MANY, Refusals
from node.hl7.storing import Arrival, FrameStore
from node.settings import Settings
from node.store.database import open_database
from node.tls import server_context

BACKLOG = 512
HANDSHAKE_TIMEOUT_S = 10.0
"""Time allowed for the whole TLS handshake."""
MAX_GROUP_BYTES = 32 * 1024 * 1024
"""The frames of one transaction together; more wait for the next."""
POLL_S = 0.2
STOP_PATIENCE_S = 5.0
"""How long peers may take to take their acknowledgements when the listener ends."""
WHOLE_FRAMES = 8
"""So many frames of the greatest length allowed have room in memory among those that have not ended, of all connections
together, and again among those that wait to be stored."""
KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}
"""A peer that has gone without a word is noticed after two minutes."""

log = structlog.get_logger()


@dataclass
class _Server:
    settings: Settings
    store: FrameStore
    stopping: asyncio.Event
    refusals: Refusals
    places: set[Place] = field(default_factory=set)
    failed: bool = False
    """Storing has met a fault of this software: nothing can be stored any more."""
    _pending_bytes: int = 0
    _waiting: deque[Waiting] = field(default_factory=deque)
    _waiting_bytes: int = 0
    _was_full: bool = False
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
                code, reason = refusal
                log.warning("connection refused", peer=peer, reason=reason)
                self.refusals.note(peer, code, reason)
                connection.close()
                continue
            place = Place(address=peer, socket=connection)
            self.places.add(place)
            loop.create_task(self._connect(place, tls))  # noqa: RUF006  # it ends by itself, see `places`

    def _refusal(self, peer: str) -> tuple[str, str] | None:
        if not self.settings.hl7.allows(peer):
            return NOT_ALLOWED, "not in hl7.allow"
        if len(self.places) < self.settings.hl7.max_connections:
            return None
        given_up = gives_way(self.places, peer)
        if given_up is None:
            return TOO_MANY, "there are hl7.max_connections already"
        self._give_up(given_up, "silent, there are hl7.max_connections and others need one")
        return None

    def _give_up(self, place: Place, reason: str) -> None:
        log.warning("connection closed", peer=place.address, reason=reason)
        self.places.discard(place)
        place.give_up()

    def pending(self, change: int) -> None:
        """Count bytes of frames that have not ended; beyond the limit the longest silent ones are given up."""
        self._pending_bytes += change
        while self._pending_bytes > self._room_bytes and change > 0:
            unfinished = [one for one in self.places if one.connection and one.connection.pending_bytes]
            by_address: Counter[str] = Counter()
            for one in unfinished:
                by_address[one.address] += one.connection.pending_bytes if one.connection else 0
            (address, _), *_ = by_address.most_common(1)
            silent = min(
                (one for one in unfinished if one.address == address),
                key=lambda one: one.connection.heard_at if one.connection else one.opened_at,
            )
            reason = "its frame does not end, and unfinished frames take more memory than there may be"
            self.refusals.note(address, TOO_LONG, reason)
            self._give_up(silent, reason)

    @property
    def _room_bytes(self) -> int:
        return WHOLE_FRAMES * self.settings.hl7.max_frame_bytes

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be stored that nothing more is read."""
        return self._waiting_bytes > self._room_bytes

    async def _connect(self, place: Place, tls: ssl.SSLContext | None) -> None:
        connection = place.socket
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        timeout = HANDSHAKE_TIMEOUT_S if tls else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self, place), connection, ssl=tls, ssl_handshake_timeout=timeout
            )
        except OSError as error:
            # Without a handshake there is no connection that could be lost.
            self.places.discard(place)
            log.warning("no TLS connection", peer=place.address, reason=f"{type(error).__name__}: {error}")
            self.refusals.note(place.address, NO_TLS, "no TLS connection came about; the log says why")

    def hand_in(self, waiting: Waiting) -> None:
        """Store a frame with all others that come before the loop turns to storing."""
        self._waiting.append(waiting)
        self._waiting_bytes += len(waiting.arrival.raw)
        self._was_full |= self.is_full
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
        group: list[Waiting] = []
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

    async def _store_patiently(self, group: list[Waiting], arrivals: list[Arrival]) -> None:
        try:
            failure = await asyncio.to_thread(self.store.store, arrivals)
        except BaseException:
            self.fail()
            raise
        finally:
            self._storing = None
        self._answer(group, failure)

    def _answer(self, group: list[Waiting], failure: str | None) -> None:
        self._waiting_bytes -= sum(len(one.arrival.raw) for one in group)
        for one in group:
            one.connection.answer(one, failure)
        if self._was_full and not self.is_full:
            self._was_full = False
            for place in self.places:
                if place.connection:
                    place.connection.regulate()
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
        for connection in self._connections():
            connection.close()
        until = monotonic() + STOP_PATIENCE_S
        while self._connections() and monotonic() < until:
            await asyncio.sleep(0.01)
        for connection in self._connections():
            connection.abort()

    def _connections(self) -> list[Connection]:
        return [place.connection for place in self.places if place.connection]


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
    refusals = Refusals(settings.storage.folder)
    with closing(open_database(settings.storage.folder, create=True)) as db:
        refusals.load(db)
    hl7 = settings.hl7
    ports: list[tuple[str, str, int, ssl.SSLContext | None]] = [("hl7", hl7.host, hl7.port, None)]
    if hl7.tls:
        ports.append(("hl7.tls", hl7.tls.host, hl7.tls.port, server_context(hl7.tls, "hl7.tls")))
    store = FrameStore(settings.storage.folder)
    server = _Server(settings=settings, store=store, stopping=stopping, refusals=refusals)
    accepting: list[asyncio.Task[None]] = []
    with ExitStack() as listening:
        for name, host, port, tls in ports:
            opened = listening.enter_context(_listen(name, host, port))
            accepting.append(asyncio.ensure_future(server.accept(opened, tls)))
            log.info("listening for HL7", host=host, port=port, tls=tls is not None)
        counting = asyncio.ensure_future(_count(refusals))
        if ready:
            ready()
        await stopping.wait()
        for task in (*accepting, counting):
            task.cancel()
        await asyncio.gather(*accepting, counting, return_exceptions=True)
    await server.finish()
    if refusals.waiting:
        refusals.write()
    server.store.close()
    if server.failed:
        raise StoreError("storing HL7 messages has failed; the listener ends")


async def _count(refusals: Refusals) -> None:
    """Write refusals once a while until cancelled; a write that has begun ends by itself."""
    while True:
        await asyncio.sleep(PAUSE_S)
        if refusals.waiting:
            await asyncio.shield(asyncio.to_thread(refusals.write))


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
