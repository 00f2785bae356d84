"""``vbq-node run``: all roles under one supervisor, each in its own process.

A role that cannot start (a port taken, a folder not writable) says why in one line and ends the node. A role that
dies later is started again, after 1, 2, 4 … 60 seconds; what it had not finished is a query away.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import structlog

from node.run.roles import READY_LINE, ROLES

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
LONGEST_PAUSE_S = 60.0

log = structlog.get_logger()


@dataclass
class _Child:
    """A running role and what is needed to start it again."""

    name: str
    process: subprocess.Popen[bytes]
    ready: threading.Event
    started_at: float
    failures: int = 0
    restart_at: float | None = None


def supervise(config: Path | None, *, announce: Callable[[], None]) -> int:
    """Run all roles until SIGTERM or SIGINT; returns the exit code of the node.

    A role that cannot start has said why by itself; its exit code is then that of the node.

    Parameters
    ----------
    config
        The settings file the roles are to read; ``None`` for the default search.
    announce
        Called once, when every role is ready.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    children = [_start(name, config) for name in ROLES]
    try:
        failed = _wait_until_ready(children, stop)
        if failed is not None:
            log.error("role could not start, the node stops", role=failed.name)
            return failed.process.poll() or 1
        if not stop.is_set():
            announce()
        while not stop.wait(0.2):
            for child in children:
                if child.process.poll() is not None:
                    _restart_in_time(child, config)
        return 0
    finally:
        _stop(children)


def _start(name: str, config: Path | None) -> _Child:
    command = [sys.executable, "-m", "node", name, "--supervised"]
    if config is not None:
        command += ["--config", str(config)]
    if name == "nightly":
        command += ["--watch"]
    # A session of its own: Ctrl-C reaches the supervisor only, which then ends the roles in order.
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own arguments
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    child = _Child(name=name, process=process, ready=threading.Event(), started_at=monotonic())
    threading.Thread(target=_listen, args=[child.process, child.ready], daemon=True).start()
    return child


def _listen(process: subprocess.Popen[bytes], ready: threading.Event) -> None:
    for line in process.stdout or ():
        if line.decode(errors="replace").strip() == READY_LINE:
            ready.set()


def _wait_until_ready(children: list[_Child], stop: threading.Event) -> _Child | None:
    """Wait until every role works (or the node is told to stop); returns a role that does not."""
    deadline = monotonic() + START_TIMEOUT_S
    while not stop.wait(0.05):
        for child in children:
            late = monotonic() > deadline and not child.ready.is_set()
            if late or child.process.poll() is not None:
                return child
        if all(child.ready.is_set() for child in children):
            return None
    return None


def _restart_in_time(child: _Child, config: Path | None) -> None:
    if child.restart_at is None:
        child.failures = 0 if monotonic() - child.started_at > LONGEST_PAUSE_S else child.failures + 1
        pause_s = min(LONGEST_PAUSE_S, 2.0 ** (child.failures - 1)) if child.failures else 0.0
        child.restart_at = monotonic() + pause_s
        log.error(
            "role ended, starting it again",
            role=child.name,
            exit_code=child.process.returncode,
            pause_s=pause_s,
        )
    if monotonic() >= child.restart_at:
        fresh = _start(child.name, config)
        child.process, child.ready, child.started_at = fresh.process, fresh.ready, fresh.started_at
        child.restart_at = None


def _stop(children: list[_Child]) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    deadline = monotonic() + STOP_TIMEOUT_S
    for child in children:
        try:
            child.process.wait(max(0.1, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            log.error("role did not stop in time, killing it", role=child.name)
            child.process.kill()
            child.process.wait()
