"""Acceptor processes: this process takes the connections and hands each to the process with the fewest.

The parent alone listens, so a port that is taken is found out at once, connections that come while a process is
started anew are not lost, and the limits of associations hold over all of them. What the two say to each other are
messages over a socket between them; its end tells each that the other is gone, even by kill -9.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from time import monotonic
from types import TracebackType
from typing import Any, Self

import structlog

from node.dicom.acceptor import CLOSING_S, Acceptor
from node.dicom.recorder import Recorder
from node.dicom.refusals import Refusals
from node.dicom.slots import Entry, Limits
from node.errors import StoreError
from node.logs import configure_logging, withhold_values
from node.settings import Settings
from node.store.archive import Archive

STOP_TIMEOUT_S = CLOSING_S + 8.0
LONGEST_PAUSE_S = 60.0
"""Longest back-off before a worker that keeps dying is restarted; the first restart is immediate."""
MAX_MESSAGE_BYTES = 64 * 1024

log = structlog.get_logger()


def _send(channel: socket.socket, *message: object, handing: socket.socket | None = None, flags: int = 0) -> None:
    """One message, and with it a connection handed over."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handing.fileno().to_bytes(4, sys.byteorder))] if handing else []
    channel.sendmsg([json.dumps(message).encode()], rights, flags)


def _received(channel: socket.socket) -> Iterator[tuple[list[Any], list[int]]]:
    """Messages as they come, and the descriptors handed over with them, until the other side is gone."""
    while True:
        try:
            content, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, 1)
        except OSError:
            return
        if not content:
            return
        yield json.loads(content), list(descriptors)


class _Worker:
    """A running process, as its parent sees it."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        self._limits = limits
        self._entered: Counter[tuple[str | None, str]] = Counter()
        self.ready = threading.Event()
        self.ended = threading.Event()
        self.connections = 0
        self.started_at = monotonic()
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own arguments
                [sys.executable, "-m", "node.dicom.acceptor_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        _send(self.channel, settings.model_dump_json(include={"site", "dicom", "storage", "logging"}))
        self._thread = threading.Thread(target=self._listen, name="acceptor-process", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for (kind, *values), _ in _received(self.channel):
            if kind == "enter":
                entry = self._limits.enter(*values)
                self._entered[values[0], values[1]] += entry is Entry.TAKEN
                if not self.say("slot", entry):
                    # It would wait for that for ever, and every later association behind it.
                    self.process.kill()
            elif kind == "leave":
                self._entered[values[0], values[1]] -= 1
                self._limits.leave(*values)
            elif kind == "done":
                self.connections -= 1
            elif kind == "ready":
                self.ready.set()
        for place, count in self._entered.items():
            for _ in range(count):
                self._limits.leave(*place)
        self.ended.set()
        # Whoever waits for it to get ready need not wait any longer.
        self.ready.set()

    def say(self, *message: object, handing: socket.socket | None = None) -> bool:
        """Send a message; false: it is gone or does not listen."""
        try:
            _send(self.channel, *message, handing=handing, flags=socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """After the process has ended."""
        self._thread.join()
        self.channel.close()


class Pool:
    """The processes that serve the connections; a context in which they run.

    Raises
    ------
    StoreError
        On entry: one of them could not start.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = Limits(settings.dicom, self._make_room)
        self._workers: list[_Worker] = []
        self._failures = 0
        self._restart_at = 0.0

    def __enter__(self) -> Self:
        """Start them."""
        self._workers = [self._start() for _ in range(self._settings.dicom.processes)]
        for worker in self._workers:
            # However long a busy machine takes: one that lives will be ready, and the supervisor says who is not yet.
            worker.ready.wait()
            if worker.ended.is_set():
                self._stop()
                raise StoreError("a process of the DICOM receiver could not start; its error is in the log")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def take(self, connection: socket.socket, address: str, *, secured: bool) -> None:
        """Hand a connection to the process that has the fewest."""
        for worker in sorted(self._workers, key=lambda one: one.connections):
            worker.connections += 1
            if not worker.ended.is_set() and worker.say("take", address, secured, handing=connection):
                break
            worker.connections -= 1
        else:
            log.error("connection refused", peer=address, reason="no process of the receiver is there to serve it")
        connection.close()

    def turn_away(self, address: str) -> None:
        """Have one of the processes count that this address may not connect."""
        any(worker.say("refused", address) for worker in self._workers if not worker.ended.is_set())

    def _make_room(self, address: str) -> None:
        for worker in self._workers:
            worker.say("make-room", address)

    def tend(self) -> None:
        """Start anew what has ended."""
        for position, worker in enumerate(self._workers):
            if worker.ended.is_set() and monotonic() >= self._restart_at:
                worker.close()
                exit_code = worker.process.wait()
                lived_s = monotonic() - worker.started_at
                self._failures = 0 if lived_s > LONGEST_PAUSE_S else self._failures + 1
                pause_s = min(LONGEST_PAUSE_S, 2.0 ** (self._failures - 1)) if self._failures > 1 else 0.0
                self._restart_at = monotonic() + pause_s
                log.error("a process of the receiver ended, starting another", exit_code=exit_code)
                try:
                    self._workers[position] = self._start()
                except (OSError, RuntimeError) as error:
                    # The machine has no process, thread, descriptor or memory left; the other processes go on.
                    log.error("a process of the receiver cannot be started now, trying again", error=str(error))

    def _start(self) -> _Worker:
        return _Worker(self._settings, self._limits)

    def _stop(self) -> None:
        for worker in self._workers:
            worker.say("stop")
        deadline = monotonic() + STOP_TIMEOUT_S
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                log.error("a process of the receiver did not stop in time, killing it")
                worker.process.kill()
                worker.process.wait()
            worker.close()


class _Parent:
    """The other end: what an acceptor process hears from its parent, and the slots it asks of it."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._asking = threading.Lock()
        self._answered = threading.Event()
        self._entry = Entry.FULL
        self.stop = threading.Event()

    def enter(self, peer: str | None, address: str) -> Entry:
        """Ask for a slot."""
        with self._asking:
            self._answered.clear()
            _send(self._channel, "enter", peer, address)
            self._answered.wait()
            return self._entry

    def leave(self, peer: str | None, address: str) -> None:
        """Give a slot back."""
        self._say("leave", peer, address)

    def done(self) -> None:
        """Say that a connection has ended."""
        self._say("done")

    def _say(self, *message: object) -> None:
        try:
            _send(self._channel, *message)
        except OSError as error:
            # A slot that is not given back is taken for ever, unless its process ends.
            log.error("a process of the receiver cannot be heard and ends", error=error.strerror)
            os._exit(1)

    def listen(self, acceptor: Acceptor) -> None:
        """Take what is handed over; without a parent, and deaf, this process must not go on for a moment."""
        try:
            self._listen(acceptor)
        except Exception:
            log.exception("a process of the receiver ends")
        finally:
            os._exit(1)

    def _listen(self, acceptor: Acceptor) -> None:
        for (kind, *values), descriptors in _received(self._channel):
            if kind == "take":
                if not descriptors:
                    # The system has closed the connection in its place.
                    log.error("connection refused", peer=values[0], reason="this process has no descriptor left")
                    self.done()
                    continue
                connection = socket.socket(fileno=descriptors[0])
                acceptor.take(connection, values[0], secured=values[1], done=self.done)
            elif kind == "slot":
                self._entry = Entry(values[0])
                self._answered.set()
            elif kind == "make-room":
                acceptor.make_room(values[0])
            elif kind == "refused":
                acceptor.turn_away(values[0])
            elif kind == "stop":
                self.stop.set()


def main(channel: socket.socket) -> int:
    """An acceptor process, until its parent says stop or is gone; returns its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # The parent hears these, too, and ends its processes in order.
        signal.signal(number, signal.SIG_IGN)
    (values, _) = next(_received(channel))
    settings = Settings.model_validate_json(values[0])
    configure_logging(settings.logging)
    withhold_values()
    parent = _Parent(channel)
    try:
        with Recorder(settings.storage.folder) as recorder, Refusals(recorder) as refusals:
            archive = Archive(settings.storage.folder)
            acceptor = Acceptor(settings, archive, recorder, refusals, lambda _: parent)
            threading.Thread(target=parent.listen, args=[acceptor], daemon=True).start()
            # What was imported stays: it need not be looked through again and again among what every image makes.
            gc.freeze()
            _send(channel, "ready")
            while not parent.stop.wait(1.0):
                recorder.require_alive()
            acceptor.end()
    except StoreError as error:
        log.error("a process of the receiver ends", reason=str(error))
        return 1
    return 0
