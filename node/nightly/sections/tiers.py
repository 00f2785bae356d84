"""How many of the upcoming operations have which tier tonight."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlite_utils import Database

from analytics.records import Tier
from node.nightly.flags import Standing
from node.nightly.sections.section import Audience, Findings, Owner, Section
from node.people.corrections import Measured


@dataclass(frozen=True, kw_only=True)
class Tiers(Section):
    """The upcoming operations with a tier."""

    name: ClassVar[str] = "tiers"
    urgency: ClassVar[int] = 100
    published: ClassVar[str] = (
        "The error of a VBQ is of its examination alone; examined again within three months, VBQ varied more in a "
        "published series of 107 patients (ICC 0.749, coefficient of variation 16.9 %)."
    )
    """Normative data and reproducibility for the vertebral bone quality score in serial lumbar spine MRI, 2011–2021."""
    standing: tuple[Standing, ...]
    noise: Measured | None
    """The spread from day to day at this site, where a person has adopted it."""
    owners: Mapping[str, Owner] = field(default_factory=dict)

    @property
    def rescan(self) -> str:
        """How far VBQ varies beyond what one examination tells."""
        if self.noise is None:
            return self.published
        return (
            f"The error of a VBQ is at least that between two days: SD {self.noise.value:.3f} in {self.noise.n} "
            "patients of this site examined twice."
        )

    def theirs(self, audience: Audience) -> list[Standing]:
        """The operations of those whom a recipient follows."""
        return [one for one in self.standing if audience.concerns(self.owners.get(one.episode, Owner()))]

    def tiered(self, tier: Tier, audience: Audience) -> int:
        """How many upcoming operations have this tier tonight."""
        return sum(one.tier is tier for one in self.theirs(audience))

    def near_cut(self, audience: Audience) -> int:
        """How many of the upcoming operations have a VBQ within its own measurement error of the cut."""
        return sum(one.near_cut for one in self.theirs(audience))

    def in_words(self, audience: Audience) -> str:
        """The number of each tier."""
        return ", ".join(f"{self.tiered(tier, audience)} {tier.value}" for tier in Tier)

    def subject(self, audience: Audience) -> tuple[str, ...]:
        """The number of each tier."""
        return (self.in_words(audience),)

    def to_json_dict(self) -> dict[str, Any]:
        """Every operation with its values and cuts."""
        return {"patients": [one.to_json_dict() for one in self.standing]}


def read(_db: Database, findings: Findings) -> Tiers:
    """The operations as they stand tonight."""
    noise = findings.corrections.noise
    return Tiers(standing=findings.standing, noise=None if noise is None else noise.measured, owners=findings.owners)
