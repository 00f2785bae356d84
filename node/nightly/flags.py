"""Who gets a tier, who changes tier and who leaves the list, against what the nights before have said.

A row is written only when something changes, always with its cause in words: the patient's data, the threshold
version, or why the episode left the list. Nobody is re-tiered in silence.
"""

import json
from dataclasses import dataclass
from datetime import date
from typing import Literal

from sqlite_utils import Database

from analytics.model import Tier
from analytics.tiers import explain, tier
from node.store.database import insert
from node.thresholds import Version

MARKERS = (("VBQ", "vbq", 3), ("NLR", "nlr", 2), ("PLR", "plr", 0))
"""Name, column and the decimals it is shown with."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One change of the list; ``explanation`` holds the values against the cuts, in words."""

    episode: str
    change: Literal["new", "changed", "resolved"]
    tier: Tier | None
    previous: Tier | None
    cause: str
    surgery_date: str
    vbq: float | None
    nlr: float | None
    plr: float | None
    version: int | None
    explanation: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An upcoming operation and the tier it has tonight, changed or not."""

    episode: str
    tier: Tier
    surgery_date: str
    explanation: str


@dataclass(frozen=True, kw_only=True)
class _Known:
    """The newest flag of an episode."""

    tier: Tier
    surgery_date: str
    vbq: float
    nlr: float
    plr: float
    version: int


@dataclass(frozen=True, kw_only=True)
class _Episode:
    """An upcoming, linked and eligible operation."""

    surgery_date: str
    vbq: float
    nlr: float
    plr: float


def find_changes(db: Database, *, night: date, version: Version | None) -> tuple[list[Flag], list[Standing]]:
    """Compare tonight's tiers with those last written; nothing is stored.

    Parameters
    ----------
    version
        The threshold version in force; ``None``: nobody has a tier.
    """
    known = _known(db)
    flags: list[Flag] = []
    standing: list[Standing] = []
    if version is not None:
        for episode, found in _upcoming(db, night).items():
            flag, stands = _tiered(episode, found, known.get(episode), version)
            standing.append(stands)
            flags.extend([flag] if flag else [])
    listed = {one.episode for one in standing}
    for episode, before in sorted(known.items()):
        if episode not in listed:
            cause = _why_resolved(db, episode, night=night)
            flags.append(
                Flag(
                    episode=episode,
                    change="resolved",
                    tier=None,
                    previous=before.tier,
                    cause=cause,
                    surgery_date=before.surgery_date,
                    vbq=None,
                    nlr=None,
                    plr=None,
                    version=None,
                    explanation=cause,
                )
            )
    return flags, standing


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
                "surgery_date": flag.surgery_date,
                "vbq": flag.vbq,
                "nlr": flag.nlr,
                "plr": flag.plr,
                "threshold_version": flag.version,
            }
            for flag in flags
        ],
    )


def _known(db: Database) -> dict[str, _Known]:
    rows = db.execute(
        "SELECT episode, tier, surgery_date, vbq, nlr, plr, threshold_version FROM record_flag "
        "WHERE flag_id IN (SELECT max(flag_id) FROM record_flag GROUP BY episode) AND tier IS NOT NULL"
    )
    return {
        episode: _Known(tier=Tier(name), surgery_date=day, vbq=vbq, nlr=nlr, plr=plr, version=version)
        for episode, name, day, vbq, nlr, plr, version in rows
    }


def _upcoming(db: Database, night: date) -> dict[str, _Episode]:
    rows = db.execute(
        "SELECT episode, surgery_date, vbq, nlr, plr FROM derived_link "
        "WHERE status = 'linked' AND eligible = 1 AND surgery_date >= ? ORDER BY surgery_date, episode",
        [night.isoformat()],
    )
    return {episode: _Episode(surgery_date=day, vbq=vbq, nlr=nlr, plr=plr) for episode, day, vbq, nlr, plr in rows}


def _tiered(episode: str, found: _Episode, before: _Known | None, version: Version) -> tuple[Flag | None, Standing]:
    now_tier = tier(vbq=found.vbq, nlr=found.nlr, plr=found.plr, cuts=version.cuts)
    words = explain(vbq=found.vbq, nlr=found.nlr, plr=found.plr, cuts=version.cuts)
    standing = Standing(episode=episode, tier=now_tier, surgery_date=found.surgery_date, explanation=words)
    if before is not None and before.tier == now_tier:
        return None, standing
    flag = Flag(
        episode=episode,
        change="new" if before is None else "changed",
        tier=now_tier,
        previous=before.tier if before else None,
        cause=_why_changed(found, before, version),
        surgery_date=found.surgery_date,
        vbq=found.vbq,
        nlr=found.nlr,
        plr=found.plr,
        version=version.version,
        explanation=words,
    )
    return flag, standing


def _why_changed(found: _Episode, before: _Known | None, version: Version) -> str:
    if before is None:
        return "first complete data"
    causes = [
        f"{name} {getattr(before, column):.{decimals}f} → {getattr(found, column):.{decimals}f}"
        for name, column, decimals in MARKERS
        if getattr(before, column) != getattr(found, column)
    ]
    if before.version != version.version:
        causes.append(f"threshold version {before.version} → {version.version}")
    return ", ".join(causes)


def _why_resolved(db: Database, episode: str, *, night: date) -> str:
    row = db.execute(
        "SELECT status, surgery_date, reasons, exclusion_reasons FROM derived_link WHERE episode = ?", [episode]
    ).fetchone()
    if row is None:
        return "the operation is no longer known"
    status, surgery_date, reasons, exclusions = row
    if status == "cancelled":
        return "the operation was cancelled"
    if surgery_date < night.isoformat():
        return f"the operation of {surgery_date} is past"
    if status != "linked":
        return "; ".join(json.loads(reasons))
    return "; ".join(json.loads(exclusions)) or "no threshold version is in force"
