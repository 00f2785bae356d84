"""What systemd is told (Type=notify, WatchdogSec): that a role does its work, and that its work goes on.

References
----------
sd_notify(3) and sd_watchdog_enabled(3): datagrams to the socket that ``NOTIFY_SOCKET`` names; a name that begins with
``@`` is abstract.
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

READY, ALIVE, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"
OFTEN_S = 10.0
"""Heartbeats are no closer together than this, nor than a quarter of what systemd waits for them."""


def tell(state: str) -> None:
    """Tell systemd; nothing where it does not want to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.setblocking(False)  # a full queue must not hold up the work
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        connection.sendall(state.encode())


class BeatingEvent(threading.Event):
    """Whether to stop; that the main thread of a role asks is its heartbeat.

    It asks between two rounds of its loop and before each unit of work. A thread of its own would beat on while the
    role hangs.
    """

    def __init__(self) -> None:
        super().__init__()
        watched_s = float(os.environ.get("WATCHDOG_USEC", "0")) / 4e6
        self._every_s = min(OFTEN_S, watched_s) if watched_s else OFTEN_S
        self._beat_at = float("-inf")
        self.on_beat: Callable[[], None] = lambda: None
        """Called with each heartbeat, whether systemd wants to know or not."""

    def is_set(self) -> bool:
        """Whether to stop."""
        self._beat()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until told to stop, or for so long."""
        self._beat()
        return super().wait(timeout)

    def _beat(self) -> None:
        if threading.current_thread() is threading.main_thread() and monotonic() - self._beat_at >= self._every_s:
            self._beat_at = monotonic()
            tell(ALIVE)
            self.on_beat()
