"""Who left the list, and why."""

from dataclasses import dataclass
from typing import ClassVar

from sqlite_utils import Database

from node.nightly.flags import Flag
from node.nightly.sections.section import Findings, Section


@dataclass(frozen=True, kw_only=True)
class Resolved(Section):
    """Tonight's changes; only those that left the list are shown here."""

    name: ClassVar[str] = "resolved"
    changes: tuple[Flag, ...]


def read(_db: Database, findings: Findings) -> Resolved:
    """The changes that the night has stored."""
    return Resolved(changes=findings.changes)
