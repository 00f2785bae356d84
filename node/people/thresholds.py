"""Threshold versions: proposed by the night, adopted and retired by a person, at most one in force.

A version never changes. What people decide about it are facts, the newest decision about a version holds. Adopting
one retires the one that was in force, so that every flag can name the one version it follows. Where the settings let
a rule adopt a version, it is announced with who would change, and adopted a night later unless somebody retires it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from sqlite_utils import Database

from analytics.episodes.cuts import Cuts, Ratios, StratumCut
from analytics.episodes.tiers import tier
from analytics.reasons import Reason, from_dict, to_dict, words
from analytics.records import Tier
from node.clock import to_text
from node.errors import InputError
from node.people import corrections
from node.people.corrections import Corrections
from node.store.database import insert, writing
from node.store.reasons import stored

if TYPE_CHECKING:
    from analytics.night.calibration import Calibration  # with pandas

NEWEST_STATE = "SELECT version, state FROM thresholds ORDER BY version DESC LIMIT 1"

AdoptionRule = Literal["first", "left-behind"]
"""By which rule of the settings a version is adopted: nobody had a tier, or its cuts have left the old ones behind."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A threshold version and its cuts.

    ``evidence`` is what they rest on (:meth:`analytics.night.calibration.Calibration.to_json_dict`), ``announced``
    why the rule will adopt it with the next night, if it will.
    """

    version: int
    night: str
    cuts: Cuts
    evidence: Mapping[str, Any]
    announced: str | None


@dataclass(frozen=True, kw_only=True)
class TierChange:
    """Whose tier would change, from the one last reported to the one under another version."""

    id: str
    previous: Tier | None
    tier: Tier

    def __str__(self) -> str:
        return f"{self.id}: {self.previous or 'no tier'} → {self.tier}"


def list_versions(db: Database) -> list[dict[str, Any]]:
    """All versions with their state (proposed, adopted, retired), as the view ``thresholds`` has them."""
    return list(db.query("SELECT * FROM thresholds ORDER BY version"))


def newest(db: Database) -> Version | None:
    """The version proposed last."""
    return _one(db, "SELECT max(version) FROM record_threshold")


def in_force(db: Database) -> Version | None:
    """The adopted version; ``None`` while the site has none."""
    return _one(db, "SELECT max(version) FROM thresholds WHERE state = 'adopted'")


def undecided(db: Database) -> Version | None:
    """The newest version, if it is proposed and nobody has decided about it; older proposals are overtaken."""
    return _one(db, f"SELECT version FROM ({NEWEST_STATE}) WHERE state = 'proposed'")


def _one(db: Database, sql: str) -> Version | None:
    row = db.execute(sql).fetchone()
    return None if row is None or row[0] is None else get(db, row[0])


def get(db: Database, version: int) -> Version:
    """A version by its number.

    Raises
    ------
    InputError
        There is no such version.
    """
    row = db.execute(
        "SELECT night, method, n, vbq, nlr, plr, ratios, strata, evidence, announced FROM record_threshold "
        "WHERE version = ?",
        [version],
    ).fetchone()
    if row is None:
        known = [str(number) for (number,) in db.execute("SELECT version FROM record_threshold ORDER BY version")]
        raise InputError(f"there is no threshold version {version}; known: {', '.join(known) or 'none yet'}")
    night, method, n, vbq, nlr, plr, ratios, strata, evidence, announced = row
    rule: Ratios = "both" if ratios == "both" else "any"
    return Version(
        version=version,
        night=night,
        cuts=Cuts(
            method=method,
            n=n,
            vbq=vbq,
            nlr=nlr,
            plr=plr,
            ratios=rule,
            strata=tuple(_stratum(one) for one in json.loads(strata)),
        ),
        evidence=json.loads(evidence),
        announced=announced,
    )


def stratum_json(cut: StratumCut) -> dict[str, Any]:
    """A scanner's cut as plain values: why it has none of its own in words, and beside them as it is."""
    words = {"pooled": None if cut.pooled is None else str(cut.pooled)}
    return {**asdict(cut), **words, "pooled_reason": None if cut.pooled is None else to_dict(cut.pooled)}


def _stratum(stored_cut: Mapping[str, Any]) -> StratumCut:
    """A scanner's cut of a record; those of before have the words alone."""
    words, reason = stored_cut["pooled"], stored_cut.get("pooled_reason")
    pooled = None if words is None else Reason("said-before", {"words": words})
    return StratumCut(
        stratum=stored_cut["stratum"],
        n=stored_cut["n"],
        vbq=stored_cut["vbq"],
        pooled=from_dict(reason) if reason else pooled,
    )


def propose(
    db: Database,
    found: "Calibration",
    *,
    night: date,
    snapshot_sha256: str,
    announced: Sequence[Reason],
    now: datetime,
) -> Version:
    """Record tonight's cuts as a new version; inside the night's unit of work."""
    last = newest(db)
    number = last.version + 1 if last else 1
    cuts = found.cuts
    row = {
        "version": number,
        "night": night.isoformat(),
        "method": cuts.method,
        "n": cuts.n,
        "vbq": cuts.vbq,
        "nlr": cuts.nlr,
        "plr": cuts.plr,
        "ratios": cuts.ratios,
        "strata": json.dumps([stratum_json(one) for one in cuts.strata], ensure_ascii=False),
        "evidence": json.dumps(found.to_json_dict(), ensure_ascii=False, sort_keys=True, allow_nan=False),
        "announced": "; ".join(words(announced)) or None,
        "announced_reasons": stored(announced) if announced else None,
        "snapshot_sha256": snapshot_sha256,
        "proposed_at": to_text(now),
    }
    insert(db, "record_threshold", [row])
    return get(db, number)


def announced_before(db: Database, night: date) -> Version | None:
    """The version that the night before this one announced, if nobody has decided about it."""
    row = db.execute(
        "SELECT max(version) FROM thresholds WHERE announced IS NOT NULL AND state = 'proposed' "
        "AND night = (SELECT max(night) FROM record_fit WHERE night < ?)",
        [night.isoformat()],
    ).fetchone()
    return None if row[0] is None else get(db, row[0])


def night_accepted(db: Database) -> str | None:
    """The night that proposed the version adopted last by a person, or first of all; ``None`` without either.

    While no version is in force, there is none.
    """
    if in_force(db) is None:
        return None
    row = db.execute(
        "SELECT t.night FROM fact_threshold_decision AS d JOIN record_threshold AS t USING (version) "
        "LEFT JOIN fact_threshold_rule AS r USING (decision_id) "
        "WHERE d.decision = 'adopted' AND (r.rule IS NULL OR r.rule = 'first') "
        "ORDER BY d.decision_id DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def declined(db: Database, current: Version) -> bool:
    """Whether a person has retired a newer version than the one in force: then no rule adopts further ones."""
    row = db.execute(
        "SELECT EXISTS (SELECT 1 FROM thresholds WHERE version > ? AND state = 'retired')", [current.version]
    ).fetchone()
    return bool(row[0])


def adopt(db: Database, version: int, *, by: str, now: datetime) -> None:
    """Put a version in force from the next night on; the one in force until now is retired.

    Raises
    ------
    InputError
        There is no such version, it is in force already, or nobody is named.
    """
    with writing(db):
        get(db, version)
        current = in_force(db)
        if current is not None and current.version == version:
            raise InputError(f"threshold version {version} is adopted already")
        if current is not None:
            _decide(db, current.version, "retired", by=f"{by} (adopted version {version})", now=now)
        _decide(db, version, "adopted", by=by, now=now)


def retire(db: Database, version: int, *, by: str, now: datetime) -> None:
    """Take a version out of force, or keep a proposed one from being adopted; without one in force nobody has a tier.

    Raises
    ------
    InputError
        There is no such version, it is retired already, or nobody is named.
    """
    with writing(db):
        get(db, version)
        (state,) = db.execute("SELECT state FROM thresholds WHERE version = ?", [version]).fetchone()
        if state == "retired":
            raise InputError(f"threshold version {version} is retired already")
        _decide(db, version, "retired", by=by, now=now)


def record_adoption(db: Database, version: int, *, rule: AdoptionRule, why: str, now: datetime) -> None:
    """Adopt by a rule of the settings, in place of the one in force; for the night, inside its unit of work.

    Parameters
    ----------
    why
        The rule in words, for people who ask who decided.
    """
    current = in_force(db)
    if current is not None:
        by = f"rule: {why} (adopted version {version})"
        _decide(db, current.version, "retired", by=by, now=now, rule=rule)
    _decide(db, version, "adopted", by=f"rule: {why}", now=now, rule=rule)


def _decide(
    db: Database, version: int, decision: str, *, by: str, now: datetime, rule: AdoptionRule | None = None
) -> None:
    if not by.strip():
        raise InputError("say who decides (--by NAME)")
    row = {"version": version, "decision": decision, "decided_at": to_text(now), "decided_by": by.strip()}
    insert(db, "fact_threshold_decision", [row])
    if rule is not None:
        (decision_id,) = db.execute("SELECT last_insert_rowid()").fetchone()
        insert(db, "fact_threshold_rule", [{"decision_id": decision_id, "rule": rule}])


def would_change(db: Database, version: int, *, night: date | None = None) -> list[TierChange]:
    """Who gets another tier when this version is adopted; nobody is re-tiered by asking.

    Parameters
    ----------
    night
        Operations of this date and later count; without it, as of the last night.

    Raises
    ------
    InputError
        There is no such version.
    """
    return _changes(db, get(db, version).cuts, corrections.in_force(db), night)


def would_change_with(db: Database, corrected: Corrections) -> list[TierChange]:
    """Who gets another tier under the version in force when other offsets of scanners hold; nobody without one."""
    version = in_force(db)
    return [] if version is None else _changes(db, version.cuts, corrected, None)


def _changes(db: Database, cuts: Cuts, corrected: Corrections, night: date | None) -> list[TierChange]:
    (since,) = db.execute("SELECT coalesce(?, max(night), '') FROM record_fit", [night and str(night)]).fetchone()
    rows = db.execute(
        "SELECT l.episode, l.vbq, l.nlr, l.plr, l.scanner_stratum, "
        "(SELECT f.tier FROM record_flag AS f WHERE f.episode = l.episode ORDER BY f.flag_id DESC LIMIT 1) "
        "FROM derived_link AS l WHERE l.status = 'linked' AND l.eligible = 1 AND l.surgery_date >= ? "
        "ORDER BY l.episode",
        [since],
    ).fetchall()
    changes = []
    for episode, vbq, nlr, plr, scanner, known in rows:
        previous = Tier(known) if known else None
        wanted = tier(vbq=vbq, nlr=nlr, plr=plr, cuts=cuts.at(scanner, corrected.offset(scanner)))
        if wanted != previous:
            changes.append(TierChange(id=episode, previous=previous, tier=wanted))
    return changes


def show(db: Database, version: int) -> dict[str, Any]:
    """A version with its evidence, every decision about it, and who would change; plain values.

    Raises
    ------
    InputError
        There is no such version.
    """
    found = get(db, version)
    (row,) = db.query("SELECT * FROM thresholds WHERE version = ?", [version])
    decisions = db.query(
        "SELECT decision, decided_at, decided_by FROM fact_threshold_decision WHERE version = ? ORDER BY decision_id",
        [version],
    )
    return {
        **row,
        "strata": [stratum_json(one) for one in found.cuts.strata],
        "evidence": dict(found.evidence),
        "rests_on": describe(found),
        "decisions": list(decisions),
        "would_change": [asdict(one) for one in would_change(db, version)],
    }


def as_lines(shown: Mapping[str, Any]) -> list[str]:
    """What :func:`show` gives, for a person at a terminal."""
    which = "one high ratio suffices" if shown["ratios"] == "any" else "both ratios must be high"
    changes = [f"  {TierChange(**one)}" for one in shown["would_change"]]
    return [
        f"version {shown['version']} of {shown['night']}: {shown['state']} ({shown['method']}, n = {shown['n']})",
        f"VBQ ≥ {shown['vbq']:.4g}, NLR > {shown['nlr']:.4g}, PLR > {shown['plr']:.4g}; {which}",
        *(f"  {line}" for line in shown["rests_on"]),
        *([f"announced for the next night: {shown['announced']}"] if shown["announced"] else []),
        *(f"{one['decision']} {one['decided_at']} by {one['decided_by']}" for one in shown["decisions"]),
        f"tiers that would change: {len(changes)}",
        *changes,
    ]


def describe(version: Version) -> list[str]:
    """What the cuts of a version rest on, a sentence each: markers with intervals and worth, then scanners."""
    lines = [_marker(one) for one in version.evidence["markers"]]
    lines += [f"scanner {one.stratum}: VBQ cut of its own" for one in version.cuts.strata if one.pooled is None]
    lines += [f"{one.pooled}: VBQ cut of all scanners" for one in version.cuts.strata if one.pooled is not None]
    omitted = version.evidence["omitted"]
    lines += [f"rows left out: {number}, {reason}" for reason, number in omitted.items()]
    return lines


def _marker(one: Mapping[str, Any]) -> str:
    name = one["marker"].upper() + (f" at scanner {one['stratum']}" if one["stratum"] else "")
    digits = {"vbq": 3, "nlr": 2, "plr": 1}[one["marker"]]
    words = f"{name} {one['cut']:.{digits}f} ({one['how']}"
    if one["interval"]:
        low, high = (f"{end:.{digits}f}" for end in one["interval"])
        words += f", n = {one['n']}, bootstrap 95 % interval {low} to {high}"
    words += ")"
    if one["instead"]:
        words += f"; {one['instead']}"
    if one["worth"]:
        words += f"; {_worth(one['worth'])}"
    if one["no_worth"]:
        words += f"; its worth is not known: {one['no_worth']}"
    return words


def _worth(worth: Mapping[str, Any]) -> str:
    at_cut = worth["at_cut"]
    names = (("sensitivity", "sensitivity"), ("specificity", "specificity"), ("PPV", "ppv"), ("NPV", "npv"))
    shares = ", ".join(f"{name} {_share(at_cut[key])}" for name, key in names)
    youden = f"J {at_cut['youden']:.2f}"
    if worth["youden_corrected"] is not None:
        youden += f" apparent, {worth['youden_corrected']:.2f} corrected for optimism"
    words = (
        f"against {worth['outcome']} (n = {worth['n']}, prevalence {worth['prevalence']:.0%}): ROC area "
        f"{worth['auc']:.2f} ({worth['auc_ci'][0]:.2f} to {worth['auc_ci'][1]:.2f}), {shares}, {youden}"
    )
    return f"{words}; {worth['circular']}" if worth["circular"] else words


def _share(share: Mapping[str, Any]) -> str:
    if share["value"] is None:
        return "unknown"
    return f"{share['value']:.2f} ({share['ci_low']:.2f} to {share['ci_high']:.2f})"
