"""The MLLP listener: every frame is stored durably before it is acknowledged.

One event loop serves all connections, one thread stores (:mod:`node.hl7.storing`), so a slow or silent peer costs no
other peer anything and many senders share one fsync.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from node.clock import now
from node.errors import ListenError, StoreError
from node.hl7.acknowledge import Reception, build_reply, receive, reply_code
from node.hl7.framing import FrameDecoder, frame
from node.hl7.storing import FrameWriter
from node.settings import Settings
from node.store.database import open_database

READ_BYTES = 64 * 1024
BACKLOG = 512
SEND_PATIENCE_S = 30.0
"""A peer that does not take its acknowledgement for so long is disconnected."""
POLL_S = 0.2

log = structlog.get_logger()


@dataclass
class _Server:
    settings: Settings
    writer: FrameWriter
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; it ends with the peer, at a time-out, or with the listener."""
        task = asyncio.current_task()
        if task is not None:
            self.connections.add(task)
        peer = str((writer.get_extra_info("peername") or ("unknown",))[0])
        try:
            if peer != "unknown" and self.settings.hl7.allows(peer):
                await self._serve(reader, writer, peer)
            else:
                log.warning("connection refused", peer=peer, reason="not in hl7.allow")
        except (ConnectionError, TimeoutError) as error:
            log.info("connection ended", peer=peer, reason=type(error).__name__)
        finally:
            if task is not None:
                self.connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        limit = self.settings.hl7.max_frame_bytes
        decoder = FrameDecoder(limit)
        while data := await asyncio.wait_for(reader.read(READ_BYTES), self.settings.hl7.idle_timeout_s):
            await self._answer(decoder.feed(data), writer, peer)
            if decoder.too_long:
                reason = f"the message is longer than the {limit} bytes allowed (hl7.max_frame_bytes)"
                log.warning("connection closed", peer=peer, reason=reason)
                reception = receive(
                    decoder.pending[:READ_BYTES], self.settings.hl7.default_charset, self.settings.hl7.charsets
                )
                await _send(writer, build_reply(reception, "rejected", reason=reason, at=now()).message)
                break
        if decoder.junk_bytes or decoder.cut_frames:
            log.warning("bytes outside frames", peer=peer, junk=decoder.junk_bytes, cut_frames=decoder.cut_frames)

    async def _answer(self, frames: list[bytes], writer: asyncio.StreamWriter, peer: str) -> None:
        """Store the frames of one read together, then acknowledge them in their order."""
        waiting = []
        for raw in frames:
            reception = receive(raw, self.settings.hl7.default_charset, self.settings.hl7.charsets)
            ack = reply_code(reception.header, "rejected" if reception.refusal else "accepted")
            stored = self.writer.store(raw=raw, sha256=reception.sha256, peer_address=peer, ack=ack)
            waiting.append((reception, asyncio.wrap_future(stored)))
        for reception, outcome in waiting:
            await _send(writer, _reply(reception, await outcome))


def _reply(reception: Reception, failure: str | None) -> bytes:
    if failure is not None:
        return build_reply(reception, "error", reason=failure, at=now()).message
    if reception.refusal is not None:
        return build_reply(reception, "rejected", reason=reception.refusal, at=now()).message
    return build_reply(reception, "accepted", reason=None, at=now()).message


async def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    if message:
        writer.write(frame(message))
        await asyncio.wait_for(writer.drain(), SEND_PATIENCE_S)


async def serve(settings: Settings, stop: asyncio.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Listen until told to stop; complete frames received by then are stored, answered or not.

    Parameters
    ----------
    ready
        Called once the port is open.

    Raises
    ------
    StoreError
        The database cannot be used.
    ListenError
        The port cannot be opened.
    """
    open_database(settings.storage.folder, create=True).close()
    host, port = settings.hl7.host, settings.hl7.port
    server = _Server(settings=settings, writer=FrameWriter(settings.storage.folder))
    try:
        listening = await asyncio.start_server(server.connected, host, port, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            f"HL7 port {host}:{port} cannot be opened: {error.strerror or error} (hl7.host, hl7.port)"
        ) from error
    server.writer.start()
    try:
        async with listening:
            log.info("listening for HL7", host=host, port=port)
            if ready:
                ready()
            await _stopped(stop, server.writer)
    finally:
        for connection in list(server.connections):
            connection.cancel()
        await asyncio.gather(*server.connections, return_exceptions=True)
        server.writer.close()


async def _stopped(stop: asyncio.Event, writer: FrameWriter) -> None:
    """Wait for the end; a listener that cannot store any more ends too, so that it is started anew."""
    while not stop.is_set():
        if writer.failed:
            raise StoreError("the thread that stores HL7 messages has failed; the listener ends")
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), POLL_S)


def run_listener(settings: Settings, stop: threading.Event, *, ready: Callable[[], None] | None = None) -> None:
    """Listen until ``stop`` is set, which a signal handler may do.

    Raises
    ------
    StoreError
        The database cannot be used.
    ListenError
        The port cannot be opened.
    """

    async def run() -> None:
        stopped = asyncio.Event()

        async def watch() -> None:
            while not stop.is_set():
                await asyncio.sleep(POLL_S)
            stopped.set()

        watching = asyncio.create_task(watch())
        try:
            await serve(settings, stopped, ready=ready)
        finally:
            watching.cancel()

    asyncio.run(run())
