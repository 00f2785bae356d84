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
from analytics.paper.regression import OlsFit
from analytics.records import Tier
from node.nightly.counts import Counts
from node.nightly.drift import Frozen
from node.nightly.flags import Flag, Standing
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
class Findings:
    """What a night has computed and stored before its report is written."""

    settings: Settings
    night: date
    now: datetime
    fit_id: str
    fit: OlsFit | Refusal
    counts: Counts
    version: Version | None
    """The cut-offs in force."""
    proposed: Version | None
    proposal: Calibration | Refusal
    drift: Drift | Refusal | None
    """``None`` before the first fit."""
    frozen: Frozen | None
    shifts: tuple[Shift, ...]
    changes: tuple[Flag, ...]
    standing: tuple[Standing, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, kw_only=True)
class Audience:
    """For whom a report is written."""

    tiers: frozenset[Tier] | None = None
    """The tiers whose changes are listed one by one; ``None``: all."""
    numbers: Mapping[str, str] = field(default_factory=dict)
    """The hospital's patient number of each episode; empty: study ids only."""

    def named(self, episode: str) -> str:
        """The study id, with the patient's number where this recipient gets it."""
        number = self.numbers.get(episode)
        return f"{episode} [{number}]" if number else episode

    @property
    def only(self) -> str:
        """The tiers whose changes alone are listed, in words; empty: all."""
        return "" if self.tiers is None else " and ".join(tier.value for tier in Tier if tier in self.tiers)

    def of(self, change: str, flags: tuple[Flag, ...]) -> list[Flag]:
        """The changes of one kind that this recipient is told of; flagged ones first."""
        order = [*Tier, None]
        told = (one for one in flags if one.change == change and self._is_told(one))
        return sorted(told, key=lambda one: order.index(one.tier))

    def _is_told(self, flag: Flag) -> bool:
        return self.tiers is None or flag.tier in self.tiers or flag.previous in self.tiers


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report; what it holds is the same for all recipients."""

    name: ClassVar[str]
    """Name of its templates."""
    urgency: ClassVar[int] = 0
    """Words of the subject and alarms at the top stand in this order, the highest first."""
    may_move_on: ClassVar[bool] = False
    """What arrives while the night is computed may be left to the next night's report."""

    @property
    def eventful(self) -> bool:
        """Whether it holds anything that somebody has to know of tonight."""
        return False

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures that its HTML refers to."""
        return ()

    def subject(self) -> tuple[str, ...]:
        """Its words in the subject."""
        return ()

    def to_json_dict(self) -> dict[str, Any]:
        """What it adds to the counts that are stored with the report."""
        return {}


Read = Callable[[Database, Findings], Section]
"""Reads a section, in the transaction of the night."""
