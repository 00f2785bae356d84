"""Connections of browsers: whose address is allowed, how many at once, and how long one may be silent."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from node.crowding import gives_way
from node.settings import Web

HEAD_S = 10.0
"""Time allowed until the head of a request is there."""
MAX_CONNECTIONS = 200
"""Most connections at once; of the address with the most the longest silent gives way to further ones."""

log = structlog.get_logger()


def guarded(web: Web) -> Callable[..., H11Protocol]:
    """A protocol for uvicorn that turns away whom the settings do not allow and outlasts whoever is silent."""
    held: set[_Guarded] = set()

    def make(*args: Any, **keywords: Any) -> H11Protocol:
        return _Guarded(web, held, *args, **keywords)

    return make


class _Guarded(H11Protocol):
    """One connection."""

    def __init__(self, web: Web, held: "set[_Guarded]", *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._web = web
        self._held = held
        self._heard_at = monotonic()
        self._deadline: asyncio.TimerHandle | None = None
        self._taken = False
        self.address = ""

    @property
    def silent_since(self) -> float | None:
        """As :class:`node.crowding.Held`: a request that is being answered does not give way."""
        return None if self._answering() else self._heard_at

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take the connection, where its address may connect and there is room."""
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        if not self.address or not self._web.allows(self.address):
            log.info("browser refused", peer=self.address, reason="not in web.allow")
            transport.abort()
            return
        if len(self._held) >= MAX_CONNECTIONS:
            given_up = gives_way(self._held, self.address)
            if given_up is None:
                transport.abort()
                return
            given_up.cut()
        self._taken = True
        self._held.add(self)
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that does not come to its end is not waited for."""
        if not self._taken:
            return
        self._heard_at = monotonic()
        super().data_received(data)
        if self._answering():
            self._stop_waiting()
        elif self._deadline is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        self._held.discard(self)
        # One that was turned away is not known to uvicorn.
        if self._taken:
            super().connection_lost(exc)

    def cut(self) -> None:
        """End it in favour of another."""
        self._held.discard(self)
        self.transport.abort()

    def _answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self._answering():
            self.transport.abort()
