"""Processes of this machine that measure one study each, one after the other.

A process that ends in the midst of a study, or does not come to an end with it, costs that study: it is given to
another process once more, then it is a problem, and the rest is done. A process reads tasks from its standard input,
whose end tells it that nobody waits any more, also by kill -9.
"""

import os
import selectors
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import structlog

from node.backfill.engine import AHEAD, LONGEST_S, START_S, STARTS_IN_A_ROW, TRIES, Done, study_fails
from node.errors import StoreError
from node.measure.task import StudyOutcome, StudyTask

COMMAND = (sys.executable, "-m", "node.backfill.worker")
CHUNK_BYTES = 1 << 16

log = structlog.get_logger()


@dataclass(kw_only=True)
class _Lane:
    """A process with the tasks that it was given, the one at work first."""

    child: "subprocess.Popen[bytes]"
    deadline: float
    ready: bool = False
    tasks: deque[StudyTask] = field(default_factory=deque)
    said: bytearray = field(default_factory=bytearray)


class LocalEngine:
    """Measures in processes of this machine.

    Parameters
    ----------
    processes
        How many; at least one.
    folder
        The data folder, in whose archive the images lie.
    command
        Starts a process; it is told the data folder as the last argument.
    """

    def __init__(
        self, processes: int, folder: Path, *, command: Sequence[str] = COMMAND, longest_s: float = LONGEST_S
    ) -> None:
        self._command = [*command, str(folder)]
        self._longest_s = longest_s
        self._again: deque[StudyTask] = deque()
        self._deaths: Counter[str] = Counter()
        self._failed_starts = 0
        self._selector = selectors.DefaultSelector()
        self._lanes = [self._start() for _ in range(processes)]

    def room(self) -> int:
        """How many more tasks it takes now."""
        return max(0, self._places() - len(self._again))

    def _places(self) -> int:
        """Tasks that the processes take, those to be done again among them."""
        return sum(1 + AHEAD - len(lane.tasks) for lane in self._lanes)

    def submit(self, task: StudyTask) -> None:
        """Take a task."""
        lane = min(self._lanes, key=lambda lane: len(lane.tasks))
        lane.tasks.append(task)
        if lane.ready and len(lane.tasks) == 1:
            self._tell(lane)

    def wait(self, seconds: float) -> Sequence[Done]:
        """What is done, at the latest after so many seconds.

        Raises
        ------
        StoreError
            No process comes up any more, or one says that the machine has no room left.
        """
        done: list[Done] = []
        for key, _ in self._selector.select(seconds):
            lane: _Lane = key.data
            piece = os.read(lane.child.stdout.fileno(), CHUNK_BYTES) if lane.child.stdout else b""
            if piece:
                lane.said += piece
                done += self._answers(lane)
            else:
                done += self._ended(lane, "ended")
        for lane in [lane for lane in self._lanes if monotonic() > lane.deadline and (lane.tasks or not lane.ready)]:
            done += self._ended(lane, "was not done in time")
        while self._again and self._places():
            self.submit(self._again.popleft())
        return done

    def close(self) -> None:
        """End the processes."""
        for lane in self._lanes:
            self._end(lane)
        self._lanes = []
        self._selector.close()

    def _start(self) -> _Lane:
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  # of this software
        lane = _Lane(child=child, deadline=monotonic() + START_S)
        assert child.stdout is not None
        self._selector.register(child.stdout, selectors.EVENT_READ, lane)
        return lane

    def _tell(self, lane: _Lane) -> None:
        """Give a process that waits the first of its tasks, if it has one."""
        if not lane.tasks:
            return
        lane.deadline = monotonic() + self._longest_s
        assert lane.child.stdin is not None
        try:
            lane.child.stdin.write(lane.tasks[0].to_json().encode() + b"\n")
            lane.child.stdin.flush()
        except OSError:
            return  # it has ended, which the end of its answers says

    def _answers(self, lane: _Lane) -> list[Done]:
        *lines, rest = lane.said.split(b"\n")
        lane.said = bytearray(rest)
        done = []
        for line in lines:
            if line.startswith(b"!"):
                raise StoreError(f"a process that measures: {line[1:].decode()}")
            if lane.ready:
                task = lane.tasks.popleft()
                self._deaths.pop(task.study_uid, None)
                done.append(Done(study_uid=task.study_uid, outcome=StudyOutcome.from_json(line.decode())))
            else:
                lane.ready, self._failed_starts = True, 0
            self._tell(lane)
        return done

    def _ended(self, lane: _Lane, how: str) -> list[Done]:
        """Start another process in the place of one that has ended, and see what becomes of its tasks."""
        self._end(lane)
        code = lane.child.returncode
        log.warning("a process that measures has ended", how=how, code=code)
        if not lane.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS_IN_A_ROW:
                raise StoreError(f"the processes that measure end before they are ready (code {code}); see the log")
        self._lanes[self._lanes.index(lane)] = self._start()
        lost, waiting = list(lane.tasks)[: lane.ready], list(lane.tasks)[lane.ready :]
        self._again.extend(waiting)
        for task in lost:
            self._deaths[task.study_uid] += 1
            if self._deaths[task.study_uid] >= TRIES:
                how = _signal(code) if how == "ended" else how
                return [Done(study_uid=task.study_uid, reason=study_fails(how))]
            self._again.append(task)
        return []

    def _end(self, lane: _Lane) -> None:
        answers = lane.child.stdout
        if answers is None or answers.closed:
            return  # it was ended before
        self._selector.unregister(answers)
        lane.child.kill()
        lane.child.wait()
        answers.close()
        if lane.child.stdin is not None:
            with suppress(OSError):  # what was still to be told it has nobody to read
                lane.child.stdin.close()


def _signal(code: int) -> str:
    try:
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    except ValueError:
        return f"ended by signal {-code}"
