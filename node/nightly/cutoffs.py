"""What a night does about the cut-offs: adopt what was announced, propose tonight's where the old are left behind."""

from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlite_utils import Database

from analytics.episodes.cuts import ALL_SCANNERS, Cuts
from analytics.methods.rows import Refusal
from analytics.night.calibration import Calibration, Outcome, Rule, left_behind
from analytics.night.drift import Drift
from analytics.reasons import Reason
from node.people import thresholds
from node.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Tonight:
    """What the cut-offs are decided from."""

    proposal: Calibration | Refusal
    drift: Drift | Refusal | None
    snapshot_sha256: str


def rule_of(settings: Settings) -> Rule:
    """How the settings want the cut-offs."""
    wanted = settings.thresholds
    given = [one for one in (wanted.vbq, wanted.nlr, wanted.plr) if one is not None]
    return Rule(
        method=wanted.method,
        quantile=wanted.quantile,
        limits=(given[0], given[1], given[2]) if wanted.method == "institutional" else None,
        minimum_n=wanted.minimum_cohort,
        minimum_per_scanner=wanted.minimum_per_scanner,
        ratios=wanted.ratios,
        outcome=Outcome(column=wanted.outcome, cut=wanted.outcome_cut) if wanted.outcome else None,
    )


def decide_thresholds(
    db: Database, settings: Settings, tonight: Tonight, *, night: date, now: datetime
) -> thresholds.Version | None:
    """Adopt what an earlier night announced, then propose tonight's cuts where they are worth it; returns the new
    version."""
    _adopt_announced(db, settings, tonight, night=night, now=now)
    found, newest, current = tonight.proposal, thresholds.newest(db), thresholds.in_force(db)
    announced = _rule_of_adoption(db, settings, tonight, current)
    if isinstance(found, Refusal) or not (announced or _worth_proposing(newest, current, tonight, found)):
        return None
    version = thresholds.propose(
        db, found, night=night, snapshot_sha256=tonight.snapshot_sha256, announced=announced, now=now
    )
    if newest is None and settings.thresholds.adopt != "manual":
        # Nobody has a tier yet, so nobody changes.
        thresholds.record_adoption(db, version.version, rule="first", why="first", now=now)
    return version


def _worth_proposing(
    newest: thresholds.Version | None, current: thresholds.Version | None, tonight: Tonight, found: Calibration
) -> bool:
    """Whether a person should be asked: tonight's cuts leave behind those in force and the last that were proposed.

    Each new patient moves the cuts a little, and proposals of every night would bury the one that matters. During a
    drift there is one in any case, because adopting it is how a person says that the new patients are the cohort now.
    """
    if newest is None:
        return True
    drifting = isinstance(tonight.drift, Drift) and tonight.drift.alarm
    if newest == current and drifting:
        return not _same_cuts(newest.cuts, found.cuts)
    return _other_than(newest, found) and (current is None or _other_than(current, found))


def _other_than(version: thresholds.Version, found: Calibration) -> bool:
    """Whether tonight's cuts are others than a version's by more than chance, or of another kind."""
    cuts = found.cuts
    if _same_cuts(version.cuts, cuts):
        return False
    if cuts.method != version.cuts.method or cuts.ratios != version.cuts.ratios or not _found_alike(version, found):
        return True
    known = {(one["marker"], one["stratum"]) for one in version.evidence["markers"]}
    # Given limits have no interval; a scanner that has got a cut of its own had none to leave behind.
    chosen = any(
        one.kept_within is None or (one.stratum is not None and (one.marker, one.stratum) not in known)
        for one in found.markers
    )
    return chosen or bool(left_behind(version.cuts, found))


def _adopt_announced(db: Database, settings: Settings, tonight: Tonight, *, night: date, now: datetime) -> None:
    announced, current = thresholds.announced_before(db, night), thresholds.in_force(db)
    # Tonight's cohort has to say so as well: one night's rows may be withdrawn by the next.
    if announced is not None and current is not None and _rule_of_adoption(db, settings, tonight, current):
        why = str(announced.announced)
        thresholds.record_adoption(db, announced.version, rule="left-behind", why=why, now=now)


def _rule_of_adoption(
    db: Database, settings: Settings, tonight: Tonight, current: thresholds.Version | None
) -> tuple[Reason, ...]:
    """Why tonight's cuts may replace those in force without a person; none: they may not."""
    found = tonight.proposal
    # Other limits than before are a decision of a person, and after a drift the cohort may not be what it was.
    drifting = isinstance(tonight.drift, Drift) and tonight.drift.alarm
    if settings.thresholds.adopt != "rule" or isinstance(found, Refusal) or current is None or drifting:
        return ()
    if (current.cuts.method, current.cuts.ratios) != (found.cuts.method, found.cuts.ratios):
        return ()
    if thresholds.declined(db, current) or not _found_alike(current, found):
        return ()
    return left_behind(current.cuts, found)


def _found_alike(current: thresholds.Version, found: Calibration) -> bool:
    """Whether every cut is found as that in force was; a marker that has come to tell the outcome apart, or no longer
    does, has a cut of another kind, which moves many at once."""
    before = {(one["marker"], one["stratum"]): one["how"] for one in current.evidence["markers"]}
    return all(before.get((one.marker, one.stratum), one.how) == one.how for one in found.markers)


def would_change(
    db: Database, proposed: thresholds.Version | None, version: thresholds.Version | None, night: date
) -> tuple[thresholds.TierChange, ...]:
    if proposed is None or proposed == version:
        return ()
    return tuple(thresholds.would_change(db, proposed.version, night=night))


def _same_cuts(one: Cuts, other: Cuts) -> bool:
    def bare(cuts: Cuts) -> Cuts:
        # Why a scanner has no cut of its own may change from night to night; that it has none may not.
        strata = (replace(one, n=0, pooled=None if one.pooled is None else ALL_SCANNERS) for one in cuts.strata)
        return replace(cuts, n=0, strata=tuple(strata))

    return bare(one) == bare(other)
