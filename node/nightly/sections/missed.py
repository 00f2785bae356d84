"""Nights without a run before this one, which are done with it."""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from sqlite_utils import Database

from node.nightly import ledger
from node.nightly.sections.section import Findings, Section


@dataclass(frozen=True, kw_only=True)
class Missed(Section):
    """The nights that are caught up."""

    name: ClassVar[str] = "missed"
    for_all: ClassVar[bool] = False
    urgency: ClassVar[int] = 10
    nights: tuple[date, ...]

    @property
    def eventful(self) -> bool:
        """Whether there are any."""
        return bool(self.nights)


def read(db: Database, findings: Findings) -> Missed:
    """The nights that the ledger misses."""
    return Missed(nights=ledger.missed_before(ledger.nights(db, by=findings.now), findings.night))
