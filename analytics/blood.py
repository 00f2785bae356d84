"""Blood counts: the results of one patient, over all messages, folded into one count per specimen.

Counts are in 10⁹/L, shares in percent of the leukocytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from analytics.model import ResultStatus

Analyte = Literal[
    "neutrophils", "segmented", "bands", "granulocytes", "lymphocytes", "monocytes", "platelets", "leukocytes"
]
Scale = Literal["absolute", "percent"]
Method = Literal["automated", "manual", "unknown"]
Basis = Literal["absolute", "derived", "percent"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One laboratory result as it stands after its code, value and unit have been read."""

    analyte: Analyte
    scale: Scale
    value: float | None
    """In 10⁹/L when absolute, in % when percent; ``None`` when it cannot be had, see ``reason``."""
    reason: str | None = None
    """Why ``value`` is ``None``."""
    doubtful: bool = False
    """For a person: code, name and unit disagree, or the value cannot be read with certainty."""
    status: str
    """The result status as sent (OBX-11), upper case; empty when none was sent."""
    status_at: datetime | None = None
    """When the result got this status; ``None`` where only the message's own time is known."""
    method: Method = "unknown"
    code: str
    """What identifies the result line for its sender, so that a correction finds its original."""
    order: str = ""
    """The laboratory's (filler) order number."""


@dataclass(frozen=True, kw_only=True)
class SpecimenResults:
    """What one message says about one specimen."""

    specimen: str
    taken_at: datetime | None
    date_only: bool
    results: tuple[Result, ...]
    sent_at: datetime | None
    """When the message was sent: stands in for the status time of results that have none."""
    tie_break: str
    """Orders messages of the same time independently of their arrival (a hash of their bytes)."""


@dataclass(frozen=True, kw_only=True)
class CombinedCount:
    """One blood count of one specimen. A number that cannot be had honestly is ``None``, see ``notes``."""

    specimen: str
    taken_at: datetime | None
    date_only: bool
    status: ResultStatus
    basis: Basis | None
    """``absolute``: both cells counted; ``derived``: leukocytes × percent; ``percent``: NLR of percents."""
    neutrophils_10e9_per_l: float | None
    lymphocytes_10e9_per_l: float | None
    platelets_10e9_per_l: float | None
    leukocytes_10e9_per_l: float | None
    nlr: float | None
    plr: float | None
    notes: tuple[str, ...]


def combine(specimens: Sequence[SpecimenResults]) -> list[CombinedCount]:
    """Fold everything known about one patient's blood counts into one count per specimen."""
    raise NotImplementedError
