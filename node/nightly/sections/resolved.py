"""Who left the list, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from sqlite_utils import Database

from analytics.records import Tier
from node.nightly.flags import Flag
from node.nightly.sections.section import Audience, Findings, Owner, Section


@dataclass(frozen=True, kw_only=True)
class Resolved(Section):
    """Tonight's changes; only those that left the list are shown here."""

    name: ClassVar[str] = "resolved"
    changes: tuple[Flag, ...]
    owners: Mapping[str, Owner] = field(default_factory=dict)

    def theirs(self, audience: Audience) -> list[Flag]:
        """Those that a recipient is told of; who was flagged first."""
        told = (
            one
            for one in self.changes
            if one.change == "resolved"
            and audience.is_told(one.tier, one.previous)
            and audience.concerns(self.owners.get(one.episode, Owner()))
        )
        order = [*Tier, None]
        return sorted(told, key=lambda one: order.index(one.previous))


def read(_db: Database, findings: Findings) -> Resolved:
    """The changes that the night has stored."""
    return Resolved(changes=findings.changes, owners=findings.owners)
