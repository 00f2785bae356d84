"""Who was not let in at a port and what was not taken there: rows of ``state_refusal``, within bounds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlite_utils import Database

from node.clock import to_text

MAX_PENDING = 200
"""Rows gathered between two times of writing; what goes beyond is counted under :data:`OTHERS`."""
MAX_ROWS_OF_ADDRESS = 20
"""Most rows of one address; what else it calls itself and asks for is counted together under :data:`OTHERS`."""
MAX_ROWS = 500
"""Most rows in all; the oldest go first."""
KEPT_FOR = timedelta(days=30)
"""How long a row is kept after it was last seen."""
OTHERS = "(others)"
Counted = TypeVar("Counted")

UPSERT = """
INSERT INTO state_refusal (peer_address, calling_ae, called_ae, reason, code, times, first_at, last_at)
VALUES (:address, :calling, :called, :reason, :code, :times, :first, :last)
ON CONFLICT DO UPDATE SET times = times + excluded.times, last_at = excluded.last_at, settled_at = NULL
"""
IS_NEW_OF_MANY = """
SELECT (SELECT count(*) FROM state_refusal WHERE peer_address = :address) >= :most
   AND NOT EXISTS (SELECT 1 FROM state_refusal WHERE peer_address = :address AND calling_ae = :calling
                   AND called_ae = :called AND reason = :reason)
"""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Who was refused, and why; the AE titles are empty where it came to none."""

    address: str
    calling_ae: str = ""
    called_ae: str = ""
    code: str
    reason: str


@dataclass(kw_only=True)
class Count:
    """How often, and when first and last."""

    times: int
    first_at: datetime
    last_at: datetime


def gather(counts: dict[Refusal, Count], refusal: Refusal, moment: datetime) -> None:
    """Count a refusal among those to be written."""
    if refusal not in counts and len(counts) >= MAX_PENDING:
        refusal = Refusal(address=OTHERS, code=refusal.code, reason=refusal.reason)
    count = counts.setdefault(refusal, Count(times=0, first_at=moment, last_at=moment))
    count.times += 1
    count.last_at = moment


def add_counts(counts: dict[Counted, Count], later: Mapping[Counted, Count]) -> None:
    """Add what was counted after it."""
    for one, count in later.items():
        known = counts.setdefault(one, count)
        if known is not count:
            known.times += count.times
            known.last_at = count.last_at


def store_counts(db: Database, counts: Mapping[Refusal, Count], *, at: datetime) -> None:
    """Forget what is old and write what was counted, inside a unit of work."""
    if counts:
        db.execute("DELETE FROM state_refusal WHERE last_at < ?", [to_text(at - KEPT_FOR)])
    for refusal, count in counts.items():
        row = {
            "address": refusal.address,
            "calling": printable(refusal.calling_ae),
            "called": printable(refusal.called_ae),
            "reason": refusal.reason,
            "code": refusal.code,
            "times": count.times,
            "first": to_text(count.first_at),
            "last": to_text(count.last_at),
        }
        if db.execute(IS_NEW_OF_MANY, row | {"most": MAX_ROWS_OF_ADDRESS}).fetchone()[0]:
            row |= {"calling": OTHERS, "called": OTHERS}
        db.execute(UPSERT, row)
    if counts:
        db.execute(
            "DELETE FROM state_refusal WHERE rowid IN "
            "(SELECT rowid FROM state_refusal ORDER BY last_at DESC LIMIT -1 OFFSET ?)",
            [MAX_ROWS],
        )


def settle(db: Database, codes: Collection[str], *, address: str, calling_ae: str, at: datetime) -> None:
    """Whoever is let in later has been helped; inside a unit of work."""
    marks = ", ".join("?" * len(codes))
    db.execute(
        f"UPDATE state_refusal SET settled_at = ? WHERE settled_at IS NULL AND code IN ({marks}) "
        "AND peer_address = ? AND calling_ae = ? AND last_at <= ?",
        [to_text(at), *codes, address, printable(calling_ae), to_text(at)],
    )


def printable(text: str) -> str:
    """An AE title as sent by a stranger, for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
