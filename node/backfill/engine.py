"""What measures studies for a back-fill: takes tasks, gives what came of them; where, is its own matter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from analytics.reasons import Reason
from node.measure.task import StudyOutcome, StudyTask


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
