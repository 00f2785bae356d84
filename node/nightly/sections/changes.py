"""Who got a tier tonight, and who got another one."""

from dataclasses import dataclass
from typing import ClassVar

from sqlite_utils import Database

from analytics.paper.regression import OlsFit
from node.nightly.flags import Flag
from node.nightly.sections.section import Findings, Section


@dataclass(frozen=True, kw_only=True)
class Changes(Section):
    """Tonight's changes of the list; those that left it stand in their own section."""

    name: ClassVar[str] = "changes"
    urgency: ClassVar[int] = 90
    changes: tuple[Flag, ...]
    fit_id: str
    n_used: int
    tierable: bool
    """There is a model and there are cut-offs: no change means nothing new."""

    @property
    def eventful(self) -> bool:
        """Whether anybody's tier changed."""
        return bool(self.changes)

    def count(self, change: str) -> int:
        """How many changes there are of one kind."""
        return sum(one.change == change for one in self.changes)

    def subject(self) -> tuple[str, ...]:
        """The number of each kind."""
        return (", ".join(f"{self.count(change)} {change}" for change in ("new", "changed", "resolved")),)


def read(_db: Database, findings: Findings) -> Changes:
    """The changes that the night has stored."""
    return Changes(
        changes=findings.changes,
        fit_id=findings.fit_id,
        n_used=findings.fit.n_used,
        tierable=isinstance(findings.fit, OlsFit) and findings.version is not None,
    )
