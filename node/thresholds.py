"""Threshold versions: proposed by the night, adopted and retired by a person, at most one in force.

A version never changes. What people decide about it are facts, the newest decision about a version holds. Adopting
one retires the one that was in force, so that every flag can name the one version it follows.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlite_utils import Database

from analytics.model import Tier
from analytics.thresholds import Cuts, Ratios
from analytics.tiers import tier
from node.clock import to_text
from node.errors import InputError
from node.store.database import insert, writing


@dataclass(frozen=True, kw_only=True)
class Version:
    """A threshold version and its cuts."""

    version: int
    night: str
    cuts: Cuts


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


def _one(db: Database, sql: str) -> Version | None:
    (number,) = db.execute(sql).fetchone()
    return None if number is None else get(db, number)


def get(db: Database, version: int) -> Version:
    """A version by its number.

    Raises
    ------
    InputError
        There is no such version.
    """
    row = db.execute(
        "SELECT night, method, n, vbq, nlr, plr, ratios FROM record_threshold WHERE version = ?", [version]
    ).fetchone()
    if row is None:
        known = [str(number) for (number,) in db.execute("SELECT version FROM record_threshold ORDER BY version")]
        raise InputError(f"there is no threshold version {version}; known: {', '.join(known) or 'none yet'}")
    night, method, n, vbq, nlr, plr, ratios = row
    rule: Ratios = "both" if ratios == "both" else "any"
    return Version(
        version=version,
        night=night,
        cuts=Cuts(method=method, n=n, vbq=vbq, nlr=nlr, plr=plr, ratios=rule),
    )


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
    """Take a version out of force; without an adopted one nobody gets a tier.

    Raises
    ------
    InputError
        There is no such version, it is not in force, or nobody is named.
    """
    with writing(db):
        get(db, version)
        current = in_force(db)
        if current is None or current.version != version:
            raise InputError(f"threshold version {version} is not adopted, so it cannot be retired")
        _decide(db, version, "retired", by=by, now=now)


def record_adoption(db: Database, version: int, *, rule: str, now: datetime) -> None:
    """Adopt by a rule of the settings, in place of the one in force; for the night, inside its unit of work."""
    current = in_force(db)
    if current is not None:
        _decide(db, current.version, "retired", by=f"rule: {rule} (adopted version {version})", now=now)
    _decide(db, version, "adopted", by=f"rule: {rule}", now=now)


def _decide(db: Database, version: int, decision: str, *, by: str, now: datetime) -> None:
    if not by.strip():
        raise InputError("say who decides (--by NAME)")
    row = {"version": version, "decision": decision, "decided_at": to_text(now), "decided_by": by.strip()}
    insert(db, "fact_threshold_decision", [row])


def would_change(db: Database, version: int) -> list[TierChange]:
    """Who gets another tier when this version is adopted, as of the last night; nobody is re-tiered by asking.

    Raises
    ------
    InputError
        There is no such version.
    """
    cuts = get(db, version).cuts
    rows = db.execute(
        "SELECT l.episode, l.vbq, l.nlr, l.plr, "
        "(SELECT f.tier FROM record_flag AS f WHERE f.episode = l.episode ORDER BY f.flag_id DESC LIMIT 1) "
        "FROM derived_link AS l WHERE l.status = 'linked' AND l.eligible = 1 "
        "AND l.surgery_date >= coalesce((SELECT max(night) FROM record_fit), '') ORDER BY l.episode"
    ).fetchall()
    changes = []
    for episode, vbq, nlr, plr, known in rows:
        previous = Tier(known) if known else None
        wanted = tier(vbq=vbq, nlr=nlr, plr=plr, cuts=cuts)
        if wanted != previous:
            changes.append(TierChange(id=episode, previous=previous, tier=wanted))
    return changes
