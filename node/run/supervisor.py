"""``vbq-node run``: all roles under one supervisor, each in its own process.

A role that cannot start (a port taken, a folder not writable) says why in one line and ends the node. A role that
dies, before all are up or later, is started again, after 1, 2, 4 … 60 seconds; what it had not finished is a query
away.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import structlog

from node.ending import set_when_asked_to_end
from node.errors import StoreError
from node.run.roles import READY_LINE, REFUSED_LINE, ROLES, STOP_PATIENCE_S
from node.run.supervised import command
from node.store.presence import FOLDER, SUPERVISOR, locked, present, supervisor_runs

SLOW_START_S = 60.0
"""A role that is not ready by then is named in the log."""
STOP_TIMEOUT_S = STOP_PATIENCE_S + 8.0
LONGEST_PAUSE_S = 60.0
ROLES_LOCK = "roles.lock"
"""Held by the supervisor and every role that it has started, for their lives."""

log = structlog.get_logger()


@dataclass
class _Child:
    """A running role and what is needed to start it again."""

    name: str
    process: subprocess.Popen[bytes]
    ready: threading.Event = field(default_factory=threading.Event)
    refused: threading.Event = field(default_factory=threading.Event)
    heard: threading.Event = field(default_factory=threading.Event)
    """Its standard output is at its end."""
    started_at: float = field(default_factory=monotonic)
    slow: bool = False
    failures: int = 0
    restart_at: float | None = None


def supervise(config: Path | None, folder: Path, *, announce: Callable[[], None]) -> int:
    """Run all roles until SIGTERM or SIGINT; returns the exit code of the node.

    A role that cannot start has said why by itself; its exit code is then that of the node.

    Parameters
    ----------
    config
        The settings file the roles are to read; ``None`` for the default search.
    folder
        The data folder.
    announce
        Called once, when every role is ready.

    Raises
    ------
    StoreError
        Another node runs on this folder.
    """
    stop = threading.Event()
    with set_when_asked_to_end(stop), _alone(folder) as inherited, present(folder, SUPERVISOR):
        children = [_start(name, config, inherited) for name in ROLES]
        try:
            return _watch(children, config, inherited, stop, announce)
        finally:
            _stop(children)


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the lock of the roles; they inherit it, so that none of an earlier run is still at work on the folder.

    After a kill -9 of a supervisor its roles end by themselves, within some seconds.
    """
    if supervisor_runs(folder):
        raise StoreError(f"another node runs on {folder}; stop it, or set another storage.folder")
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / FOLDER / ROLES_LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
    try:
        if not locked(descriptor, within_s=0.0):
            log.info("waiting for the roles of an earlier run to end")
            if not locked(descriptor, within_s=STOP_TIMEOUT_S):
                raise StoreError(f"roles of an earlier run of the node on {folder} do not end; end them")
        yield descriptor
    finally:
        # To unlock it would unlock it for all; it is free when the last of them has closed it.
        os.close(descriptor)


def _watch(
    children: list[_Child], config: Path | None, inherited: int, stop: threading.Event, announce: Callable[[], None]
) -> int:
    announced = False
    while not stop.wait(0.05 if not announced else 0.2):
        for child in children:
            ended = child.process.poll()
            if ended is None:
                _note_slow(child)
            elif not announced and child.restart_at is None and child.heard.wait(1.0) and child.refused.is_set():
                log.error("role could not start, the node stops", role=child.name)
                return ended or 1
            else:
                _restart_in_time(child, config, inherited)
        if not announced and all(child.ready.is_set() and child.restart_at is None for child in children):
            announce()
            announced = True
    return 0


def _start(name: str, config: Path | None, inherited: int) -> _Child:
    # A session of its own: Ctrl-C reaches the supervisor only, which then ends the roles in order.
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own arguments
        [sys.executable, "-m", "node", *command(name, config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        pass_fds=[inherited],
    )
    child = _Child(name=name, process=process)
    try:
        threading.Thread(target=_listen, args=[child], daemon=True).start()
    except RuntimeError:
        with process:
            process.kill()
        raise
    return child


def _listen(child: _Child) -> None:
    lines = {READY_LINE: child.ready, REFUSED_LINE: child.refused}
    for line in child.process.stdout or ():
        if (said := lines.get(line.decode(errors="replace").strip())) is not None:
            said.set()
    child.heard.set()


def _note_slow(child: _Child) -> None:
    if not child.slow and not child.ready.is_set() and monotonic() - child.started_at > SLOW_START_S:
        child.slow = True
        log.warning("role is not ready yet", role=child.name, after_s=SLOW_START_S)


def _restart_in_time(child: _Child, config: Path | None, inherited: int) -> None:
    if child.restart_at is None:
        child.failures = 0 if monotonic() - child.started_at > LONGEST_PAUSE_S else child.failures + 1
        pause_s = _pause_s(child)
        child.restart_at = monotonic() + pause_s
        log.error(
            "role ended, starting it again",
            role=child.name,
            exit_code=child.process.returncode,
            pause_s=pause_s,
        )
    if monotonic() >= child.restart_at:
        try:
            fresh = _start(child.name, config, inherited)
        except (OSError, RuntimeError) as error:
            # The machine has no process, thread, descriptor or memory left; the other roles go on.
            child.failures += 1
            child.restart_at = monotonic() + _pause_s(child)
            log.error("role cannot be started now, trying again", role=child.name, error=str(error))
            return
        child.process, child.started_at, child.slow = fresh.process, fresh.started_at, False
        child.ready, child.refused, child.heard = fresh.ready, fresh.refused, fresh.heard
        child.restart_at = None


def _pause_s(child: _Child) -> float:
    return min(LONGEST_PAUSE_S, 2.0 ** (child.failures - 1)) if child.failures else 0.0


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
