"""One MLLP connection, and the place it takes among those that the listener serves."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import structlog

from node.clock import now
from node.hl7.acknowledge import Outcome, Reception, build_reply, receive, reply_code
from node.hl7.framing import FrameDecoder, frame
from node.hl7.refusals import BROKEN_OFF, NOT_FRAMED, TOO_LONG, Refusals
from node.hl7.storing import Arrival
from node.settings import Settings

READ_BYTES = 64 * 1024
END_PATIENCE_S = 0.25
"""How long the CR after EB may take to arrive before the frame counts as complete without it."""
SEND_PATIENCE_S = 30.0
"""A peer that does not take its acknowledgements for so long is disconnected."""
SILENT_S = 10.0
"""A connection that has delivered a message gives way to others once it has been silent for so long; one that never
has, at once."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A frame between its arrival and its acknowledgement."""

    connection: "Connection"
    reception: Reception
    arrival: Arrival


@dataclass(kw_only=True, eq=False)
class Place:
    """A connection that is served or shakes hands."""

    address: str
    socket: socket.socket
    opened_at: float = field(default_factory=monotonic)
    connection: "Connection | None" = None

    @property
    def silent_since(self) -> float | None:
        """Since when it keeps its place in silence."""
        return self.connection.silent_since if self.connection else self.opened_at

    def give_up(self) -> None:
        """Close it."""
        if self.connection:
            self.connection.abort()
        with suppress(OSError):
            # In the middle of a handshake there is nothing but the socket.
            self.socket.shutdown(socket.SHUT_RDWR)


class Server(Protocol):
    """What a connection needs of the listener."""

    settings: Settings
    places: set[Place]
    refusals: Refusals

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be stored that nothing more is read."""

    def pending(self, change: int) -> None:
        """Count bytes of frames that have not ended."""

    def hand_in(self, waiting: Waiting) -> None:
        """Store a frame and have it answered."""

    def when_answered(self, action: Callable[[], None]) -> None:
        """Do something once all frames handed in so far are answered."""


class Connection(asyncio.Protocol):
    """One connection; it ends with the peer, at a time-out, or with the listener."""

    def __init__(self, server: Server, place: Place) -> None:
        self._server = server
        self._place = place
        self._peer = place.address
        self._hl7 = server.settings.hl7
        self._decoder = FrameDecoder(self._hl7.max_frame_bytes)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._heard_at = place.opened_at
        self._has_delivered = False
        self._takes_answers = True
        self._pending_bytes = 0
        self._idle: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._unsent: asyncio.TimerHandle | None = None
        self._unanswered_bytes = 0

    @property
    def silent_since(self) -> float | None:
        """When it was last heard; ``None`` while it is at work, or was a moment ago."""
        at_work = self._unanswered_bytes or (self._has_delivered and monotonic() - self._heard_at < SILENT_S)
        return None if at_work else self._heard_at

    @property
    def heard_at(self) -> float:
        """When it was last heard, by the monotonic clock."""
        return self._heard_at

    @property
    def pending_bytes(self) -> int:
        """What its unfinished frame takes of the memory."""
        return self._pending_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._place.connection = self
        if self._place not in self._server.places:
            # It has given way in the last moment.
            transport.abort()
        self._idle = self._loop.call_later(self._hl7.idle_timeout_s, self._check_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; what it has sent completely is stored all the same."""
        self._hand_in(self._decoder.pause())
        self._server.places.discard(self._place)
        self._count_pending(0)
        self._transport = None
        for timer in (self._idle, self._end, self._unsent):
            if timer:
                timer.cancel()
        if exc:
            log.info("connection ended", peer=self._peer, reason=f"{type(exc).__name__}: {exc}")
        unfinished = bool(self._decoder.pending_bytes) and not self._decoder.too_long
        junk, cut = self._decoder.junk_bytes, self._decoder.cut_frames + unfinished
        if junk or cut:
            log.warning("bytes outside frames", peer=self._peer, junk=junk, cut_frames=cut)
            if cut:
                self._server.refusals.note(self._peer, BROKEN_OFF, "a message broke off before its end")
            elif not self._has_delivered:
                reason = "what it sends is no MLLP: no block begins (0x0B)"
                self._server.refusals.note(self._peer, NOT_FRAMED, reason)

    def data_received(self, data: bytes) -> None:
        """Hand in the frames that these bytes complete."""
        self._heard_at = monotonic()
        if self._end:
            self._end.cancel()
            self._end = None
        self._hand_in(self._decoder.feed(data))
        if self._decoder.ended:
            self._end = self._loop.call_later(END_PATIENCE_S, self._paused)
        if self._decoder.too_long:
            self._close_too_long()
        self._count_pending(self._decoder.pending_bytes)

    def eof_received(self) -> bool:
        """The peer sends no more; it may wait for its answers (a TLS connection ends at once)."""
        self._hand_in(self._decoder.pause())
        if self._transport is None or self._transport.get_extra_info("sslcontext") is not None:
            return False
        self._server.when_answered(self.close)
        return True

    def _count_pending(self, pending_bytes: int) -> None:
        change, self._pending_bytes = pending_bytes - self._pending_bytes, pending_bytes
        self._server.pending(change)

    def _paused(self) -> None:
        self._end = None
        self._hand_in(self._decoder.pause())

    def _hand_in(self, frames: list[bytes]) -> None:
        for raw in frames:
            reception = receive(raw, self._hl7.default_charset, self._hl7.charsets)
            outcome: Outcome = "rejected" if reception.refusal else "accepted"
            ack = reply_code(reception.header, outcome, answers=reception.answers)
            arrival = Arrival(raw=raw, sha256=reception.sha256, peer_address=self._peer, ack=ack)
            self._unanswered_bytes += len(raw)
            self._has_delivered = True
            self._server.refusals.delivered(self._peer)
            self._server.hand_in(Waiting(connection=self, reception=reception, arrival=arrival))
        self.regulate()

    def regulate(self) -> None:
        """Read on, or let the peer wait: while it or all together have much to be stored, or takes no answers."""
        if self._transport is None or self._transport.is_closing():
            return
        over = self._unanswered_bytes > self._hl7.max_frame_bytes or self._server.is_full
        if over or not self._takes_answers or self._decoder.too_long:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def answer(self, waiting: Waiting, failure: str | None) -> None:
        """Acknowledge a frame, when the peer is still there."""
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
        self.regulate()

    def _close_too_long(self) -> None:
        """Answer what came before, then refuse the message that is too long: its end cannot be found."""
        reason = f"the message is longer than the {self._hl7.max_frame_bytes} bytes allowed (hl7.max_frame_bytes)"
        log.warning("connection closed", peer=self._peer, reason=reason)
        self._server.refusals.note(self._peer, TOO_LONG, reason)
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
        left_s = self._heard_at + self._hl7.idle_timeout_s - monotonic()
        if left_s > 0:
            self._idle = self._loop.call_later(left_s, self._check_idle)
            return
        log.info("connection ended", peer=self._peer, reason="silent for hl7.idle_timeout_s")
        self._transport.abort()

    def pause_writing(self) -> None:
        """The peer takes no acknowledgements: read no more, and give it up after a while."""
        self._takes_answers = False
        if self._transport:
            self._transport.pause_reading()
            self._unsent = self._loop.call_later(SEND_PATIENCE_S, self._transport.abort)

    def resume_writing(self) -> None:
        """The peer has taken its acknowledgements."""
        if self._unsent:
            self._unsent.cancel()
            self._unsent = None
        self._takes_answers = True
        self.regulate()

    def close(self) -> None:
        """End the connection once what was written is on its way."""
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now, and free what it has sent of an unfinished frame."""
        self._count_pending(0)
        if self._transport:
            self._transport.abort()
