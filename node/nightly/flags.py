"""Who gets a tier, who changes tier and who leaves the list, against what the nights before have said.

A row is written only when something changes, always with its causes: the patient's data, the threshold
version, or why the episode left the list. Each names the version and whose VBQ cut it was. Nobody is re-tiered in
silence. An episode about which the steps have still to derive something keeps what was last written: half-derived data
change nobody's tier.
"""

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

from sqlite_utils import Database

from analytics.counts.repeats import RatioError, ratio_error
from analytics.episodes.cuts import Cuts, Offset
from analytics.episodes.tiers import Errors, TierOdds, explain, near_cut, tier, tier_odds
from analytics.night.drift import Drift, Step
from analytics.reasons import Reason, Value, to_dict
from analytics.reasons import words as in_words
from analytics.records import Tier
from node.clock import from_text
from node.people import corrections as decided
from node.people.corrections import Corrections
from node.people.thresholds import Version, get
from node.store.database import insert
from node.store.failures import Unit, barrier
from node.store.reasons import loaded, stored

STEP = "flags"
"""Names this in ``problems``."""
MARKERS = (("VBQ", "vbq"), ("NLR", "nlr"), ("PLR", "plr"))
"""Name and column."""
SURE = 0.8
"""A tier that is less likely than this, given the errors of measurement, is said to be uncertain."""
UNKNOWN = "unknown"
"""Term of a scanner that is not known."""

# Links of persons whose derivation is up to date; the others are pending and are left as they stand.
DERIVED_LINKS = "derived_link AS l JOIN derived_person AS p USING (person)"


@dataclass(frozen=True, kw_only=True)
class Values:
    """What a tier is made from; ``scanner`` chooses the VBQ cut, ``None`` where it is not known."""

    vbq: float
    nlr: float
    plr: float
    scanner: str | None

    def tier(self, cuts: Cuts, offset: Offset | None = None) -> Tier:
        """The tier of these values under the cuts of a version, with the scanner's offset where one is adopted."""
        return tier(vbq=self.vbq, nlr=self.nlr, plr=self.plr, cuts=cuts.at(self.scanner, offset))


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One change of the list; ``explanation`` holds the values against the cuts."""

    episode: str
    change: Literal["new", "changed", "resolved"]
    tier: Tier | None
    previous: Tier | None
    causes: tuple[Reason, ...]
    """Why it changed: the patient's data, the threshold version, or why the episode left the list."""
    surgery_date: str
    vbq: float | None
    nlr: float | None
    plr: float | None
    version: int | None
    explanation: Reason
    scanner: str | None = None
    vbq_cut: float | None = None
    cut_of: Reason | None = None
    """Whose VBQ cut it was: a scanner's own, or that of all and why; with the offset that it holds."""
    offset_decision: int | None = None
    """By which decision the VBQ cut holds an offset."""
    vbq_sd: float | None = None
    near_cut: bool | None = None

    @property
    def cause(self) -> str:
        """The causes in words."""
        return "; ".join(in_words(self.causes))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The cuts that the values of one patient are held against: VBQ is high at its own, a ratio above."""

    vbq: float
    nlr: float
    plr: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An upcoming operation and the tier it has tonight, changed or not."""

    episode: str
    tier: Tier
    surgery_date: str
    values: Values
    version: int
    cuts: Limits
    cut_of: Reason
    explanation: Reason
    vbq_error: float
    """Standard error of measurement of this VBQ, in its units; where a person has adopted the spread from day to day,
    the larger of both."""
    near_cut: bool
    """VBQ lies within that error of the cut."""
    odds: TierOdds
    """How likely each tier is, given the errors of VBQ and, where patients were counted twice, of the ratios."""

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, strings and numbers; the reasons in words, and beside them as they are."""
        said = {"cut_of": self.cut_of, "explanation": self.explanation}
        words = {name: str(reason) for name, reason in said.items()}
        return {**asdict(self), **words, "reasons": {name: to_dict(reason) for name, reason in said.items()}}


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The newest flag of an episode."""

    tier: Tier | None
    """``None`` once it is resolved."""
    surgery_date: str
    values: Values | None
    version: int | None
    offset_decision: int | None


def find_changes(
    db: Database,
    *,
    night: date,
    version: Version | None,
    vbq_sem: float,
    derivation_behind: bool,
    drift: Drift | None = None,
    corrections: Corrections | None = None,
) -> tuple[list[Flag], list[Standing]]:
    """Compare tonight's tiers with those last written; stored is only at which operation that fails.

    Parameters
    ----------
    version
        The threshold version in force; ``None``: nobody has a tier.
    vbq_sem
        Standard error of measurement of a VBQ whose measurement brings none of its own, in its units.
    derivation_behind
        The steps have work left, so an episode that is not there may only not be there yet.
    drift
        Tonight's comparison with the frozen model; an alarm is said at the patients it is about.
    corrections
        Offsets of scanners and the spread from day to day that people have adopted.
    """
    known = _known(db)
    flags: list[Flag] = []
    standing: list[Standing] = []
    listed: set[str] = set()
    if version is not None:
        doubts = Doubts(drift=drift, repeats=_repeats(db), corrections=corrections or Corrections())
        upcoming = _upcoming(db, night)
        listed = {one.episode for one in upcoming}
        _forget_failures(db)
        for one in upcoming:
            with barrier(db, STEP, Unit("episode", one.episode)):
                flag, stands = _tiered(db, one, known.get(one.episode), version, vbq_sem, doubts)
                standing.append(stands)
                flags.extend([flag] if flag else [])
    for episode, before in sorted(known.items()):
        if before.tier is not None and episode not in listed:
            causes = _why_resolved(db, episode, before, night=night, derivation_behind=derivation_behind)
            if causes is None:
                continue
            flags.append(
                Flag(
                    episode=episode,
                    change="resolved",
                    tier=None,
                    previous=before.tier,
                    causes=causes,
                    surgery_date=before.surgery_date,
                    vbq=None,
                    nlr=None,
                    plr=None,
                    version=None,
                    explanation=Reason("tier-resolved", {"why": causes}),
                )
            )
    return flags, standing


def _forget_failures(db: Database) -> None:
    """Of the nights before: each night looks at every operation anew."""
    db.execute("DELETE FROM state_failure WHERE step = ?", [STEP])


def store(db: Database, flags: list[Flag], *, night: date) -> None:
    """Write the changes; inside the night's unit of work."""
    insert(
        db,
        "record_flag",
        [
            {
                "night": night.isoformat(),
                "episode": flag.episode,
                "change": flag.change,
                "tier": flag.tier.value if flag.tier else None,
                "previous_tier": flag.previous.value if flag.previous else None,
                "cause": flag.cause,
                "cause_reasons": stored(flag.causes),
                "surgery_date": flag.surgery_date,
                "vbq": flag.vbq,
                "nlr": flag.nlr,
                "plr": flag.plr,
                "scanner_stratum": flag.scanner,
                "threshold_version": flag.version,
                "vbq_cut": flag.vbq_cut,
                "cut_of": None if flag.cut_of is None else str(flag.cut_of),
                "cut_of_reasons": None if flag.cut_of is None else stored([flag.cut_of]),
                "vbq_sd": flag.vbq_sd,
                "near_cut": None if flag.near_cut is None else int(flag.near_cut),
                "offset_decision": flag.offset_decision,
            }
            for flag in flags
        ],
    )


def _known(db: Database) -> dict[str, _Known]:
    rows = db.execute(
        "SELECT episode, tier, surgery_date, vbq, nlr, plr, scanner_stratum, threshold_version, offset_decision "
        "FROM record_flag "
        "WHERE flag_id IN (SELECT max(flag_id) FROM record_flag GROUP BY episode)"
    )
    return {
        episode: _Known(
            tier=Tier(name) if name else None,
            surgery_date=day,
            values=Values(vbq=vbq, nlr=nlr, plr=plr, scanner=scanner) if name else None,
            version=version,
            offset_decision=offset,
        )
        for episode, name, day, vbq, nlr, plr, scanner, version, offset in rows
    }


@dataclass(frozen=True, kw_only=True)
class _Upcoming:
    """A linked and eligible operation; ``vbq_sd`` is the measurement's own uncertainty where it has one, ``notes`` what
    is to be known of it (a protocol outside the accepted range)."""

    episode: str
    surgery_date: str
    values: Values
    vbq_sd: float | None
    mri_date: str | None = None
    notes: tuple[Reason, ...] = ()


def _upcoming(db: Database, night: date) -> list[_Upcoming]:
    """Every linked and eligible operation of this date or later, in order of dates."""
    rows = db.execute(
        "SELECT l.episode, l.surgery_date, l.vbq, l.nlr, l.plr, l.scanner_stratum, l.vbq_sd, l.mri_date, "
        "(SELECT m.reasons FROM derived_measurement AS m WHERE m.series_instance_uid = l.series_instance_uid "
        f" AND m.current = 1 ORDER BY m.reading_id DESC LIMIT 1) FROM {DERIVED_LINKS} "
        "WHERE l.status = 'linked' AND l.eligible = 1 AND l.surgery_date >= ? ORDER BY l.surgery_date, l.episode",
        [night.isoformat()],
    )
    return [
        _Upcoming(
            episode=episode,
            surgery_date=day,
            values=Values(vbq=vbq, nlr=nlr, plr=plr, scanner=scanner),
            vbq_sd=sd,
            mri_date=mri_date,
            notes=loaded(reasons or "[]"),
        )
        for episode, day, vbq, nlr, plr, scanner, sd, mri_date, reasons in rows
    ]


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """What is known of tonight's errors: an alarm, how the ratios of one patient vary (``None``: not known), and what
    people have adopted of how scanners and days differ."""

    drift: Drift | None
    repeats: RatioError | None
    corrections: Corrections


def _repeats(db: Database) -> RatioError | None:
    """From the counts of patients before their operation; what is held or withdrawn is none."""
    rows = db.execute(
        "SELECT b.person, b.taken_at, b.nlr, b.plr FROM derived_blood_count AS b JOIN derived_link AS l USING (person) "
        "WHERE l.status = 'linked' AND b.status IN ('final', 'corrected') AND b.nlr > 0 AND b.plr > 0 "
        "AND b.taken_at < l.surgery_date ORDER BY b.person, b.taken_at, b.specimen"
    ).fetchall()
    return ratio_error((person, from_text(taken_at), nlr, plr) for person, taken_at, nlr, plr in rows)


def _errors(vbq: float, repeats: RatioError | None) -> Errors:
    if repeats is None:
        return Errors(vbq=vbq)
    return Errors(vbq=vbq, ln_nlr=repeats.sd_ln_nlr, ln_plr=repeats.sd_ln_plr, correlation=repeats.correlation)


def percent(odds: TierOdds) -> dict[str, Value]:
    """Each tier's probability in %."""
    return {one.value: 100 * odds.of(one) for one in Tier}


def _with_doubts(said: Reason, one: _Upcoming, cuts: Cuts, drift: Drift | None) -> Reason:
    """What a surgeon must know of these values against these cuts."""
    if one.notes:
        said = Reason("values-of-doubtful-mri", {"compared": said, "notes": one.notes})
    why = cuts.of.values.get("why")
    if isinstance(why, Reason):
        said = Reason("values-of-scanner-without-cut", {"compared": said, "why": why})
    if drift is not None and drift.alarm and _within(drift.step, one):
        about: dict[str, Value] = {"compared": said, "size": drift.step.size, "since": drift.step.since}
        said = Reason("values-while-drifting", about)
    return said


def _within(step: Step, one: _Upcoming) -> bool:
    """Whether a patient was examined where and when VBQ deviates from the model."""
    return step.scanner in (None, one.values.scanner or "") and (one.mri_date or "") >= step.since


def _tiered(
    db: Database, one: _Upcoming, before: _Known | None, version: Version, vbq_sem: float, doubts: Doubts
) -> tuple[Flag | None, Standing]:
    values, adopted = one.values, doubts.corrections.of(one.values.scanner)
    offset = None if adopted is None else adopted.offset
    cuts, now_tier = version.cuts.at(values.scanner, offset), values.tier(version.cuts, offset)
    error = doubts.corrections.error(one.vbq_sd if one.vbq_sd is not None else vbq_sem)
    said = explain(vbq=values.vbq, nlr=values.nlr, plr=values.plr, cuts=cuts, vbq_sem=error)
    said = _with_doubts(said, one, cuts, doubts.drift)
    near = near_cut(values.vbq, cuts, vbq_sem=error)
    odds = tier_odds(vbq=values.vbq, nlr=values.nlr, plr=values.plr, cuts=cuts, errors=_errors(error, doubts.repeats))
    if odds.of(now_tier) < SURE:
        said = Reason("values-of-uncertain-tier", {"compared": said, **percent(odds)})
    standing = Standing(
        episode=one.episode,
        tier=now_tier,
        surgery_date=one.surgery_date,
        values=values,
        version=version.version,
        cuts=Limits(vbq=cuts.vbq, nlr=cuts.nlr, plr=cuts.plr),
        cut_of=cuts.of,
        explanation=said,
        vbq_error=error,
        near_cut=near,
        odds=odds,
    )
    if before is not None and before.tier == now_tier:
        return None, standing
    flag = Flag(
        episode=one.episode,
        change="changed" if before is not None and before.tier is not None else "new",
        tier=now_tier,
        previous=before.tier if before else None,
        causes=_why_tiered(db, values, before, version, offset),
        surgery_date=one.surgery_date,
        vbq=values.vbq,
        nlr=values.nlr,
        plr=values.plr,
        version=version.version,
        explanation=said,
        scanner=values.scanner,
        vbq_cut=cuts.vbq,
        cut_of=cuts.of,
        offset_decision=None if adopted is None else adopted.decision_id,
        vbq_sd=one.vbq_sd,
        near_cut=near,
    )
    return flag, standing


def _why_tiered(
    db: Database, values: Values, before: _Known | None, version: Version, offset: Offset | None
) -> tuple[Reason, ...]:
    """What made the tier: the data, the threshold version or the scanner's offset; all when none does it alone."""
    if before is None:
        return (Reason("tier-first", {"version": version.version}),)
    if before.values is None or before.version is None:
        return (Reason("tier-again", {"version": version.version}),)
    cuts_before = get(db, before.version).cuts
    held = None if before.offset_decision is None else decided.get(db, before.offset_decision).offset
    data = Reason("tier-by-data", {"changes": _differences(before.values, values)})
    changed = []
    if before.values != values:
        # Another scanner comes with its own offset.
        same = before.values.scanner == values.scanner
        changed.append((data, values.tier(cuts_before, held if same else offset)))
    if before.version != version.version:
        adoption = Reason("tier-by-version", {"before": before.version, "now": version.version})
        changed.append((adoption, before.values.tier(version.cuts, held)))
    if before.values.scanner == values.scanner and held != offset:
        sizes = {"before": held.size if held else 0.0, "now": offset.size if offset else 0.0}
        moved = Reason("tier-by-offset", {"scanner": values.scanner or UNKNOWN, **sizes})
        changed.append((moved, before.values.tier(cuts_before, offset)))
    alone = tuple(why for why, found in changed if found != before.tier)
    return alone or tuple(why for why, _ in changed) or (data,)


def _differences(before: Values, now: Values) -> tuple[Reason, ...]:
    changes = [
        Reason("value-changed", {"marker": name, "before": getattr(before, column), "now": getattr(now, column)})
        for name, column in MARKERS
        if getattr(before, column) != getattr(now, column)
    ]
    if before.scanner != now.scanner:
        values = {"before": before.scanner or UNKNOWN, "now": now.scanner or UNKNOWN}
        changes.append(Reason("scanner-changed", values))
    return tuple(changes)


def _why_resolved(
    db: Database, episode: str, before: _Known, *, night: date, derivation_behind: bool
) -> tuple[Reason, ...] | None:
    """Why an episode left the list; ``None`` while that cannot be known yet."""
    row = db.execute(
        "SELECT l.status, l.surgery_date, l.reasons, l.exclusion_reasons, p.person IS NULL "
        "FROM derived_link AS l LEFT JOIN derived_person AS p USING (person) WHERE l.episode = ?",
        [episode],
    ).fetchone()
    if row is None:
        return None if derivation_behind else (Reason("operation-gone"),)
    status, surgery_date, reasons, exclusions, pending = row
    if pending:
        return None
    if status == "cancelled":
        return (Reason("operation-cancelled"),)
    found: tuple[Reason, ...]
    if surgery_date < night.isoformat():
        found = (Reason("operation-past", {"date": surgery_date}),)
    elif status != "linked":
        found = loaded(reasons) or (Reason("link-not-used", {"status": status}),)
    elif excluded := loaded(exclusions):
        found = (Reason("no-longer-eligible", {"why": excluded}),)
    else:
        return (Reason("no-version-in-force"),)
    if surgery_date == before.surgery_date:
        return found
    return (Reason("operation-moved", {"before": before.surgery_date, "now": surgery_date, "then": found}),)
