"""What a section of the report is, what it is read from, and for whom it is written.

A section is a module beside this one with a class (:class:`Section`), a function that reads it (:data:`Read`) and two
templates of its name, ``.txt.j2`` and ``.html.j2``; :mod:`node.nightly.sections.order` lists them. A template has up
to two blocks: ``top`` (alarms, before everything else, by urgency) and ``body`` (in the order of the list).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, ClassVar

from sqlite_utils import Database

from analytics.methods.rows import Refusal
from analytics.night.calibration import Calibration
from analytics.night.drift import Drift
from analytics.night.shift import Shift
from analytics.paper.imputation import ImputedFit
from analytics.paper.regression import OlsFit
from analytics.records import Tier
from node.nightly.counts import Counts
from node.nightly.drift import Frozen
from node.nightly.flags import Flag, Standing
from node.people.corrections import Corrections
from node.people.thresholds import Version
from node.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture of the report; ``alt_text`` carries what it shows in numbers."""

    name: str
    png: bytes
    alt_text: str

    @property
    def content_id(self) -> str:
        """What the HTML of the mail refers to."""
        return f"{self.name}@vbq-node"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose operation it is, as HL7 has it; empty where nobody is named."""

    surgeon_number: str = ""
    surgeon: str = ""
    service: str = ""

    @property
    def words(self) -> str:
        """For a line of the list."""
        return ", ".join(text for text in (self.surgeon or self.surgeon_number, self.service) if text)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a night has computed and stored before its report is written."""

    settings: Settings
    night: date
    now: datetime
    fit_id: str
    fit: OlsFit | Refusal
    imputed: ImputedFit | Refusal | None
    """The same with missing values imputed; ``None``: nobody is left out for these alone."""
    counts: Counts
    version: Version | None
    """The cut-offs in force."""
    corrections: Corrections
    """What people have VBQ judged by beside them."""
    proposed: Version | None
    proposal: Calibration | Refusal
    drift: Drift | Refusal | None
    """``None`` before the first fit."""
    frozen: Frozen | None
    shifts: tuple[Shift, ...]
    changes: tuple[Flag, ...]
    standing: tuple[Standing, ...]
    figures: tuple[Figure, ...]
    owners: Mapping[str, Owner] = field(default_factory=dict)
    """Of each episode whose booking names somebody."""


@dataclass(frozen=True, kw_only=True)
class Audience:
    """For whom a report is written."""

    tiers: frozenset[Tier] | None = None
    """The tiers whose changes are listed one by one; ``None``: all."""
    numbers: Mapping[str, str] = field(default_factory=dict)
    """The hospital's patient number of each episode; empty: study ids only."""
    statistics: bool = True
    """Whether the model, the counts and what waits for others are told, too."""
    surgeons: frozenset[str] = frozenset()
    """Numbers or family names of those whose operations are told, casefolded; empty with services: of all."""
    services: frozenset[str] = frozenset()

    def named(self, episode: str) -> str:
        """The study id, with the patient's number where this recipient gets it."""
        number = self.numbers.get(episode)
        return f"{episode} [{number}]" if number else episode

    @property
    def only(self) -> str:
        """The tiers whose changes alone are listed, in words; empty: all."""
        return "" if self.tiers is None else " and ".join(tier.value for tier in Tier if tier in self.tiers)

    def concerns(self, owner: Owner) -> bool:
        """Whether an operation is theirs; one of nobody is everybody's."""
        if not (self.surgeons or self.services) or not (owner.surgeon_number or owner.surgeon or owner.service):
            return True
        family = owner.surgeon.partition(",")[0]
        return bool(
            {owner.surgeon_number.casefold(), family.casefold()} & self.surgeons
            or owner.service.casefold() in self.services
        )

    def is_told(self, tier: Tier | None, previous: Tier | None = None) -> bool:
        """Whether this recipient is told of who has, or had, a tier."""
        return self.tiers is None or tier in self.tiers or previous in self.tiers


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report; what it holds is the same for all recipients."""

    name: ClassVar[str]
    """Name of its templates."""
    urgency: ClassVar[int] = 0
    """Words of the subject and alarms at the top stand in this order, the highest first."""
    for_all: ClassVar[bool] = True
    """Also for those who want no statistics."""
    may_move_on: ClassVar[bool] = False
    """What arrives while the night is computed may be left to the next night's report."""

    def top_for(self, audience: Audience) -> bool:
        """Whether its alarms and its words in the subject are for a recipient."""
        return self.for_all or audience.statistics

    @property
    def eventful(self) -> bool:
        """Whether it holds anything that somebody has to know of tonight."""
        return False

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures that its HTML refers to."""
        return ()

    def needs(self, audience: Audience) -> bool:
        """Whether a recipient has to know of tonight's."""
        return self.eventful and audience.statistics

    def subject(self, audience: Audience) -> tuple[str, ...]:
        """Its words in the subject."""
        del audience
        return ()

    def to_json_dict(self) -> dict[str, Any]:
        """What it adds to the counts that are stored with the report."""
        return {}


def in_days(days: int) -> str:
    """How far a day is, for people."""
    return {0: "today", 1: "tomorrow"}.get(days, f"in {days} days")


Read = Callable[[Database, Findings], Section]
"""Reads a section, in the transaction of the night."""
