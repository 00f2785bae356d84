"""What measures studies for a back-fill: takes tasks, gives what came of them; where, is its own matter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from analytics.reasons import Reason
from node.measure.task import StudyOutcome, StudyTask

LONGEST_S = 900.0
"""Time for one study on a busy machine; a usual one takes a second, one of several hundred slices a minute."""
START_S = 120.0
"""Time for the start of a process, which loads the networks."""
TRIES = 2
"""Times that a study is given to a process; then it is a problem."""
STARTS_IN_A_ROW = 3
"""Times that processes may end before they are ready; then something is wrong with the machine."""
AHEAD = 1
"""Tasks that wait for each process, so that it gets the next one at once."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a task: its outcome, or why there is none."""

    study_uid: str
    outcome: StudyOutcome | None = None
    reason: Reason | None = None


class Engine(Protocol):
    """Measures studies; used by one thread. What it has in hand when it is closed was never begun."""

    def room(self) -> int:
        """How many more tasks it takes now without any of its processes being idle for want of them."""

    def submit(self, task: StudyTask) -> None:
        """Take a task."""

    def wait(self, seconds: float) -> Sequence[Done]:
        """What is done, at the latest after so many seconds; possibly nothing.

        Raises
        ------
        NodeError
            Nothing more can be measured.
        """

    def close(self) -> None:
        """End its processes."""


def study_fails(how: str) -> Reason:
    """Why a study is given up that has ended several processes."""
    return Reason("study-ends-process", {"how": how, "times": TRIES})
