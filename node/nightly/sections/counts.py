"""What was received and what became of it, with an alarm where the sums do not add up, and the flow of patients."""

from dataclasses import dataclass
from typing import Any, ClassVar

from sqlite_utils import Database

from node.nightly.counts import Counts
from node.nightly.sections.section import Audience, Figure, Findings, Section

FLOW = "flow"
"""Name of the figure that stands by the counts; the others stand by the model."""


@dataclass(frozen=True, kw_only=True)
class Received(Section):
    """The counts of the night."""

    name: ClassVar[str] = "counts"
    for_all: ClassVar[bool] = False
    urgency: ClassVar[int] = 50
    may_move_on: ClassVar[bool] = True
    counts: Counts
    flow: Figure

    @property
    def eventful(self) -> bool:
        """Whether a sum does not add up, or something is left to derive."""
        return bool(self.counts.alarms or self.counts.to_derive)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The flow of patients."""
        return (self.flow,)

    def top_for(self, audience: Audience) -> bool:
        """What is not derived or does not add up is everybody's."""
        return True

    def needs(self, audience: Audience) -> bool:
        """The same."""
        return self.eventful

    def subject(self, _audience: Audience) -> tuple[str, ...]:
        """Whether something is left to derive, and whether a sum does not add up."""
        incomplete = ("INCOMPLETE",) if self.counts.to_derive else ()
        return (*incomplete, "ALARM") if self.counts.alarms else incomplete

    def to_json_dict(self) -> dict[str, Any]:
        """All counts."""
        return self.counts.to_json_dict()


def read(_db: Database, findings: Findings) -> Received:
    """The counts that the night began with."""
    flow = next(figure for figure in findings.figures if figure.name == FLOW)
    return Received(counts=findings.counts, flow=flow)
