"""New patients against the frozen model, and who the newest patients are."""

from dataclasses import dataclass
from typing import Any, ClassVar

from sqlite_utils import Database

from analytics.methods.rows import Refusal
from analytics.night.drift import Drift
from analytics.night.shift import Shift
from node.nightly.drift import Frozen, explain_drift, explain_season, explain_shift, what_to_look_at
from node.nightly.sections.section import Audience, Findings, Section


@dataclass(frozen=True, kw_only=True)
class DriftWatch(Section):
    """The comparison, with an alarm at the top or a line in the body."""

    name: ClassVar[str] = "drift"
    for_all: ClassVar[bool] = False
    urgency: ClassVar[int] = 40
    drift: Drift | Refusal | None
    frozen: Frozen | None
    shifts: tuple[Shift, ...]

    @property
    def alarm(self) -> bool:
        """Whether new patients deviate from the frozen model."""
        return isinstance(self.drift, Drift) and self.drift.alarm

    @property
    def compared(self) -> bool:
        """Whether there are patients to compare."""
        return isinstance(self.drift, Drift)

    @property
    def eventful(self) -> bool:
        """Whether it is an alarm."""
        return self.alarm

    @property
    def in_words(self) -> str:
        """How new patients compare with the frozen model."""
        if self.drift is None or self.frozen is None:
            return "not compared yet: no model was fitted before tonight"
        if isinstance(self.drift, Refusal):
            return f"not compared yet: {self.drift.reason}"
        return explain_drift(self.drift, self.frozen)

    @property
    def season_words(self) -> str:
        """What a season may explain; empty where there is nothing or more than that."""
        return explain_season(self.drift) if isinstance(self.drift, Drift) and self.drift.perhaps_season else ""

    @property
    def hints(self) -> tuple[str, ...]:
        """What to look at; empty without an alarm."""
        return what_to_look_at(self.drift) if isinstance(self.drift, Drift) and self.alarm else ()

    @property
    def shift_words(self) -> tuple[str, ...]:
        """How the newest patients and their scanners differ from the frozen ones."""
        return tuple(explain_shift(one) for one in self.shifts)

    def subject(self, _audience: Audience) -> tuple[str, ...]:
        """Whether it is an alarm."""
        return ("DRIFT",) if self.alarm else ()

    def to_json_dict(self) -> dict[str, Any]:
        """The comparison and the shifts in numbers."""
        return {
            "drift": self.drift.to_json_dict() if self.drift else None,
            "shifts": [one.to_json_dict() for one in self.shifts],
        }


def read(_db: Database, findings: Findings) -> DriftWatch:
    """What the night has compared."""
    return DriftWatch(drift=findings.drift, frozen=findings.frozen, shifts=findings.shifts)
