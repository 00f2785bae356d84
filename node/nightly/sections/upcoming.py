"""The worklist of the mail: every upcoming operation that is flagged or intermediate, the soonest first, every night.

What changed since the last report is marked in it, and what a reading changed. Clauses that several patients share
stand once, below.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar

from sqlite_utils import Database

from analytics.paper.regression import OlsFit
from analytics.reasons import Reason
from analytics.records import Tier
from node.nightly.flags import SURE, Flag, Standing, percent
from node.nightly.sections.section import Audience, Findings, Owner, Section

TWO_SIDED_95 = 1.96
LISTED = (Tier.FLAGGED, Tier.INTERMEDIATE)
SOON_DAYS = 2
"""A flagged operation this near is told of once more, also to who wants no quiet nights."""

LAST_REPORT = "SELECT max(made_at) FROM record_report WHERE kind = 'nightly' AND night < ?"
READINGS = """
SELECT l.episode, r.reader, r.added_at, r.approved_algorithm, r.previous_source, r.previous_vbq_mean, r.vbq_mean
FROM derived_link AS l JOIN readings AS r USING (series_instance_uid)
WHERE r.in_effect = 1 AND r.added_at > coalesce(?, '') AND l.surgery_date >= ?
"""


@dataclass(frozen=True, kw_only=True)
class Read:
    """What a person's reading changed since the last report; ``source`` is whose score it was before."""

    reader: str
    day: str
    approved: bool
    source: str
    before: float | None
    after: float | None


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An operation of the list, and what changed of it tonight."""

    standing: Standing
    days: int
    owner: Owner
    flag: Flag | None
    read: Read | None

    @property
    def change(self) -> str:
        """``new``, ``changed``, or empty."""
        return self.flag.change if self.flag else ""

    @property
    def interval(self) -> float:
        """Half of the 95 % interval of this VBQ, in its units."""
        return TWO_SIDED_95 * self.standing.vbq_error

    @property
    def compared(self) -> Reason:
        """The values against the cuts, without what is shared."""
        return _unwrapped(self.standing.explanation)[0]

    @property
    def uncertain(self) -> Reason | None:
        """How likely each tier is, where this one is not sure."""
        odds = self.standing.odds
        return Reason("tier-uncertain", percent(odds)) if odds.of(self.standing.tier) < SURE else None

    @property
    def notes(self) -> tuple[Reason, ...]:
        """What is to be known beside: of the MRI, its scanner and its day, and whose cut it is."""
        _, notes = _unwrapped(self.standing.explanation)
        return (*notes, Reason("vbq-cut-of", {"whose": self.standing.cut_of}))


@dataclass(frozen=True, kw_only=True)
class Upcoming(Section):
    """The operations as they stand tonight."""

    name: ClassVar[str] = "upcoming"
    urgency: ClassVar[int] = 90
    changes: tuple[Flag, ...]
    rows: tuple[Listed, ...]
    ratios: str | None
    """How ratios count: ``any`` or ``both``; ``None``: there are no cut-offs."""
    fit_id: str
    n_used: int
    tierable: bool
    """There is a model and there are cut-offs: no change means nothing new."""
    owners: Mapping[str, Owner] = field(default_factory=dict)

    def theirs(self, audience: Audience) -> list[Listed]:
        """What a recipient is told of: flagged and intermediate, and whoever became something else tonight."""
        return [
            one
            for one in self.rows
            if audience.concerns(one.owner)
            and audience.is_told(one.standing.tier, one.flag.previous if one.flag else None)
            and (one.standing.tier in LISTED or one.flag is not None)
        ]

    def marks(self, rows: list[Listed]) -> dict[Reason, str]:
        """A letter for each clause of the list, in the order in which they come."""
        notes = list(dict.fromkeys(note for one in rows for note in one.notes))
        return {note: _letter(number) for number, note in enumerate(notes)}

    def changed(self, audience: Audience) -> list[Flag]:
        """Tonight's changes that concern a recipient."""
        return [
            one
            for one in self.changes
            if audience.concerns(self.owners.get(one.episode, Owner())) and audience.is_told(one.tier, one.previous)
        ]

    def needs(self, audience: Audience) -> bool:
        """Whether anything changed for them, or a flagged operation is near."""
        rows = self.theirs(audience)
        near = any(one.standing.tier is Tier.FLAGGED and one.days <= SOON_DAYS for one in rows)
        return bool(self.changed(audience)) or near or any(one.read for one in rows)

    def subject(self, audience: Audience) -> tuple[str, ...]:
        """The number of each kind of change."""
        kinds = [one.change for one in self.changed(audience)]
        return (", ".join(f"{kinds.count(change)} {change}" for change in ("new", "changed", "resolved")),)

    def to_json_dict(self) -> dict[str, Any]:
        """What readings changed; the operations themselves are those of the tiers."""
        read = {one.standing.episode: one.read for one in self.rows if one.read}
        return {"read": {episode: vars(one) for episode, one in read.items()}}


def read(db: Database, findings: Findings) -> Upcoming:
    """The operations of the night with the changes that it has stored, and the readings since the last report."""
    night = findings.night.isoformat()
    (since,) = db.execute(LAST_REPORT, [night]).fetchone()
    readings = {
        episode: Read(
            reader=reader, day=at[:10], approved=approved is not None, source=source.removeprefix("reading:"),
            before=before, after=after,
        )
        for episode, reader, at, approved, source, before, after in db.execute(READINGS, [since, night])
    }  # fmt: skip
    flags = {flag.episode: flag for flag in findings.changes if flag.change != "resolved"}
    return Upcoming(
        changes=findings.changes,
        rows=tuple(
            Listed(
                standing=one,
                days=(date.fromisoformat(one.surgery_date[:10]) - findings.night).days,
                owner=findings.owners.get(one.episode, Owner()),
                flag=flags.get(one.episode),
                read=readings.get(one.episode),
            )
            for one in sorted(findings.standing, key=_soonest)
        ),
        ratios=findings.version.cuts.ratios if findings.version else None,
        fit_id=findings.fit_id,
        n_used=findings.fit.n_used,
        tierable=isinstance(findings.fit, OlsFit) and findings.version is not None,
        owners=findings.owners,
    )


def _unwrapped(said: Reason) -> tuple[Reason, tuple[Reason, ...]]:
    """The values against the cuts, and what is said beside them."""
    notes: list[Reason] = []
    while isinstance(inner := said.values.get("compared"), Reason):
        beside = said.values.get("notes")
        if isinstance(beside, tuple):
            notes += [one for one in beside if isinstance(one, Reason)]
        values = {name: value for name, value in said.values.items() if name != "compared"}
        if said.code == "values-of-scanner-without-cut":
            notes.append(Reason("mri-of-scanner-without-cut", values))
        elif said.code == "values-while-drifting":
            notes.append(Reason("mri-during-drift", values))
        said = inner
    return said, tuple(notes)


def _soonest(one: Standing) -> tuple[str, int, str]:
    """Of one day who is flagged comes first."""
    return one.surgery_date, [*Tier].index(one.tier), one.episode


def _letter(number: int) -> str:
    """a … z, aa, ab …"""
    letters = ""
    while number >= 0:
        letters = chr(ord("a") + number % 26) + letters
        number = number // 26 - 1
    return letters
