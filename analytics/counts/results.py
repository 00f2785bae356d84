"""Laboratory results of blood counts as they stand once their code, value and unit have been read.

Counts are in 10⁹/L, shares in percent of the leukocytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from analytics.columns import Analyte
from analytics.reasons import Reason

Scale = Literal["absolute", "percent"]
Method = Literal["automated", "manual", "unknown"]
Finality = Literal["final", "corrected", "preliminary", "withdrawn", "held"]

FINALITY: dict[str, Finality] = {
    "F": "final",
    "V": "final",
    "U": "final",
    "C": "corrected",
    "A": "corrected",
    "P": "preliminary",
    "I": "preliminary",
    "R": "preliminary",
    "S": "preliminary",
    "X": "withdrawn",
    "D": "withdrawn",
    "N": "withdrawn",
    "O": "withdrawn",
    "W": "withdrawn",
}
"""What a result status of HL7 table 0085 means here; every other one is held for a person."""

SAME_VALUE_SHARE = 0.02
"""Two values of one quantity within this share of each other are one value, rounded differently."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One laboratory result as it stands after its code, value and unit have been read."""

    analyte: Analyte
    scale: Scale
    value: float | None
    """Value in 10⁹/L when absolute, in % when percent; ``None`` when it cannot be had, see ``reason``."""
    reason: Reason | None = None
    """Why ``value`` is ``None``."""
    doubtful: bool = False
    """A person must look: code, name and unit disagree, or the value cannot be read with certainty."""
    unclear: bool = False
    """Doubtful for its unit or its number alone: another row of the same quantity stands for it."""
    secondary: bool = False
    """A channel of its own or an intermediate result: used only where no other row gives the quantity."""
    status: str
    """The result status as sent (OBX-11), upper case; empty when none was sent."""
    status_at: datetime | None = None
    """When the result got this status; ``None`` where only the message's own time is known."""
    method: Method = "unknown"
    code: str
    """What identifies the result line for its sender, so that a correction finds its original."""
    name: str = ""
    """What the sender calls the row, where that is not its ``code``."""
    order: str = ""
    """The laboratory's (filler) order number."""
    run: str = ""
    """Which of several measurements of the quantity it is (OBX-4); empty when the sender does not say."""
    confirmed: bool = False
    """Another quantity of the same measurement says the same: of platelets the plateletcrit."""

    @property
    def label(self) -> str:
        """The row as a person finds it in the message."""
        return f"{self.code} {self.name}".strip()


@dataclass(frozen=True, kw_only=True)
class SpecimenResults:
    """What one message says about one specimen."""

    specimen: str
    taken_at: datetime | None
    date_only: bool
    results: tuple[Result, ...]
    sent_at: datetime | None
    """When the message was sent: stands in for the status time of results that have none."""
    observed_only: bool = False
    """Nothing says when the specimen was collected: ``taken_at`` is when it was observed (OBX-14)."""
    sender: str = ""
    """Who sent the message."""
    tie_break: str
    """Tells messages of the same time apart independently of their arrival (a hash of their bytes)."""


def finality(status: str) -> Finality:
    """What a result status as sent means here."""
    return FINALITY.get(status, "held")


def usable(result: Result) -> bool:
    """Whether the laboratory stands by the result."""
    return finality(result.status) in ("final", "corrected")


def differ(values: Iterable[float]) -> bool:
    """Whether these are different values of one quantity, and not one value rounded differently."""
    known = list(values)
    return max(known) - min(known) > SAME_VALUE_SHARE * max(known)
