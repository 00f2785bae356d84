"""Which roles run, since when, and how often each has ended without being asked: files in ``run/`` of the data folder.

A role holds a lock for its life, which the system frees however it ends; beside it stands since when it runs and when
it was found to have died. All of it can be read without the database, which may be the reason.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import structlog

from node.clock import from_text, now, to_text
from node.store.whole_file import write_whole

FOLDER = "run"
SUPERVISOR = "node"
"""Stands among the names of the roles for the process that starts them."""
PATIENCE_S = 2.0
"""How long a role tries to note its presence; whoever asks whether it runs holds its lock for a moment."""
KEPT = 50
"""Ends of a role that are remembered."""
WINDOW = timedelta(hours=24)
USUAL_ROUND, LONGEST_ROUNDS = timedelta(minutes=5), {"steps": timedelta(minutes=30)}
"""How long the main loop of a role may take to come round, as the units have it (``WatchdogSec``)."""
WITHOUT_ROUNDS = (SUPERVISOR, "nightly")
"""Whose main thread waits for something else."""
MANY = 3
"""Unasked-for ends within :data:`WINDOW` that need a person."""

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Presence:
    """A role, or the supervisor, as its files say."""

    name: str
    running: bool
    since: datetime | None
    """When it was started last."""
    last_round: datetime | None
    """When its main loop came round last, to some seconds."""
    failures: tuple[datetime, ...]
    """When it was found to have ended without being asked, the oldest first."""

    def recent_failures(self, at: datetime) -> int:
        """How many of them fall into the last day; what a clock that was ahead has noted does not count."""
        return sum(at - WINDOW < moment <= at for moment in self.failures)

    def stalled_for(self, at: datetime) -> timedelta | None:
        """How long its main loop has not come round, where that is too long; ``None``: it goes on, or does not run."""
        if not self.running or self.last_round is None or self.name in WITHOUT_ROUNDS:
            return None
        silent = at - self.last_round
        return silent if silent > LONGEST_ROUNDS.get(self.name, USUAL_ROUND) else None

    def is_unsteady(self, at: datetime) -> bool:
        """Whether it dies so often that a person has to look."""
        return self.recent_failures(at) >= MANY


@contextmanager
def present(folder: Path, name: str) -> Iterator["Present"]:
    """Be seen as running for as long as the block takes; an end by an exception counts as a failure.

    Never fails itself: a role whose presence cannot be noted works all the same.
    """
    place = Present(folder, name)
    place.begin()
    try:
        yield place
    except BaseException:
        place.end(failed=True)
        raise
    else:
        place.end(failed=False)


class Present:
    """The presence of this process."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder / FOLDER, name
        self._lock: int | None = None
        self._since = now()
        self._failures: list[str] = []

    def begin(self) -> None:
        """Take the lock and note the start; one that died without an end has failed."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._folder / f"{self._name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o640)
            if not locked(self._lock, within_s=PATIENCE_S):
                log.warning("another process of this role runs", role=self._name)
                self._close()
                return
        except OSError as error:
            log.warning("the start of the role is not noted", role=self._name, error=error.strerror)
            self._close()
            return
        before = _noted(self._folder, self._name)
        self._failures = list(before.get("failures", []))
        if before.get("running"):
            self._failures.append(to_text(self._since))
        self._note(running=True)
        self.beat()

    def beat(self) -> None:
        """Note that the main loop has come round: the time of the file that is locked."""
        if self._lock is not None:
            with suppress(OSError):
                os.utime(self._lock, (now().timestamp(),) * 2)

    def end(self, *, failed: bool) -> None:
        """Note the end and let go of the lock; later ends change nothing."""
        if self._lock is None:
            return
        if failed:
            self._failures.append(to_text(now()))
        self._note(running=False)
        self._close()

    def _note(self, *, running: bool) -> None:
        content = {"running": running, "since": to_text(self._since), "failures": self._failures[-KEPT:]}
        try:
            write_whole(self._folder / f"{self._name}.json", json.dumps(content).encode())
        except OSError as error:
            log.warning("start or end of the role not noted", role=self._name, error=error.strerror)

    def _close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def presences(folder: Path) -> list[Presence]:
    """Every role that has ever run on this folder, by name; whether one runs is asked of the system, not of a file."""
    return [_presence(folder / FOLDER, path.stem) for path in sorted((folder / FOLDER).glob("*.json"))]


def supervisor_runs(folder: Path) -> bool:
    """Whether ``vbq-node run`` is at work on this folder."""
    return _is_locked(folder / FOLDER / f"{SUPERVISOR}.lock")


def _presence(folder: Path, name: str) -> Presence:
    noted = _noted(folder, name)
    return Presence(
        name=name,
        running=_is_locked(folder / f"{name}.lock"),
        since=from_text(noted["since"]) if noted else None,
        last_round=_changed(folder / f"{name}.lock"),
        failures=tuple(from_text(moment) for moment in noted.get("failures", [])),
    )


def _noted(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _changed(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def locked(descriptor: int, *, within_s: float) -> bool:
    """Take a lock; false: another process holds it on."""
    deadline = monotonic() + within_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= deadline:
                return False
            sleep(0.02)
        else:
            return True
