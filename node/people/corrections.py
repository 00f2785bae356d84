"""What a person has VBQ judged by beside the cut-offs: offsets of scanners, and how far VBQ varies from day to day.

Both are measured and shown (:mod:`node.nightly.corrections`), and nothing follows from them until a person adopts one,
as it was measured that day. Each decision is a fact, the newest of a scanner holds. An offset moves the VBQ cut of the
scanner's patients; VBQ itself, the model and the cut-offs stay what they were, so that taking it back restores them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlite_utils import Database

from analytics.episodes.cuts import Offset
from node.clock import to_text
from node.errors import InputError
from node.store.database import insert, writing

Source = Literal["rescans", "model"]
"""From patients examined twice, or from the paper's model with a level for each scanner."""

NOISE = "noise"
"""How commands and pages name the spread from day to day; no scanner has this name."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An offset, or with no ``scanner`` the within-subject standard deviation; VBQ units, with its 95 % interval."""

    scanner: str = ""
    reference: str = ""
    source: Source
    n: int
    value: float
    ci_low: float
    ci_high: float

    def __str__(self) -> str:
        if not self.scanner:
            interval = f"95 % CI {self.ci_low:.3f} to {self.ci_high:.3f}"
            return f"VBQ from day to day: SD {self.value:.3f} ({interval}, {self.n} patients examined twice)"
        interval = f"95 % CI {self.ci_low:+.3f} to {self.ci_high:+.3f}"
        how = "patients on both" if self.source == "rescans" else "patients, by the model"
        return f"scanner {self.scanner} above {self.reference}: VBQ {self.value:+.3f} ({interval}, {self.n} {how})"


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """What holds, and who decided it."""

    decision_id: int
    measured: Measured
    day: str
    by: str
    why: str

    @property
    def offset(self) -> Offset:
        """As the cut-offs take it."""
        return Offset(scanner=self.measured.scanner, reference=self.measured.reference, size=self.measured.value)

    def __str__(self) -> str:
        return f"{self.measured}; adopted {self.day} by {self.by}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """What holds: offsets by scanner, and the spread from day to day."""

    offsets: Mapping[str, Adopted] = field(default_factory=dict)
    noise: Adopted | None = None

    def of(self, scanner: str | None) -> Adopted | None:
        """The offset of a scanner."""
        return self.offsets.get(scanner or "")

    def offset(self, scanner: str | None) -> Offset | None:
        """The same as the cut-offs take it."""
        found = self.of(scanner)
        return None if found is None else found.offset

    def error(self, own: float) -> float:
        """The error of a VBQ whose examination alone has ``own``: examined another day it is as far off as patients
        were, and a doubtful one no less than it is by itself."""
        return own if self.noise is None else max(own, self.noise.measured.value)

    @property
    def all(self) -> tuple[Adopted, ...]:
        """Offsets by scanner, then the spread."""
        offsets = (self.offsets[name] for name in sorted(self.offsets))
        return (*offsets, *([self.noise] if self.noise else []))


COLUMNS = "decision_id, scanner, value, evidence, decided_at, decided_by, decided_why"


def in_force(db: Database) -> Corrections:
    """What people have adopted and not taken back."""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM fact_correction_decision AS d WHERE decision = 'adopted' AND decision_id = "
        "(SELECT max(n.decision_id) FROM fact_correction_decision AS n WHERE n.kind = d.kind AND n.scanner = d.scanner)"
    ).fetchall()
    found = [_adopted(row) for row in rows]
    return Corrections(
        offsets={one.measured.scanner: one for one in found if one.measured.scanner},
        noise=next((one for one in found if not one.measured.scanner), None),
    )


def get(db: Database, decision_id: int) -> Adopted:
    """An adoption by its number, whether it still holds or not."""
    sql = f"SELECT {COLUMNS} FROM fact_correction_decision WHERE decision_id = ?"
    return _adopted(db.execute(sql, [decision_id]).fetchone())


def _adopted(row: tuple[Any, ...]) -> Adopted:
    decision_id, scanner, value, evidence, at, by, why = row
    found = json.loads(evidence)
    return Adopted(
        decision_id=decision_id, measured=Measured(scanner=scanner, value=value, **found), day=at[:10], by=by, why=why
    )


def adopt(db: Database, measured: Measured, *, by: str, why: str, now: datetime) -> None:
    """Have the patients of a scanner, or with the spread all, judged by what was measured, from the next night on.

    Raises
    ------
    InputError
        Nobody is named or no reason given; or the offset would be added to another one: its reference has one, or it
        is the reference of one.
    """
    with writing(db):
        held = in_force(db).offsets
        if measured.reference in held:
            raise InputError(
                f"scanner {measured.reference} has an offset itself; take that back first, offsets are not added up"
            )
        above = sorted(one.measured.scanner for one in held.values() if one.measured.reference == measured.scanner)
        if measured.scanner and above:
            raise InputError(
                f"the adopted offset of {' and '.join(above)} is above scanner {measured.scanner}; "
                "take it back first, offsets are not added up"
            )
        evidence = {
            "reference": measured.reference, "source": measured.source, "n": measured.n, "ci_low": measured.ci_low,
            "ci_high": measured.ci_high,
        }  # fmt: skip
        row = {"decision": "adopted", "value": measured.value, "evidence": json.dumps(evidence, ensure_ascii=False)}
        _decide(db, measured.scanner, row, by=by, why=why, now=now)


def withdraw(db: Database, what: str, *, by: str, why: str, now: datetime) -> None:
    """Take an adoption back; from the next night on everybody is judged as if it had never been.

    Parameters
    ----------
    what
        The scanner, or :data:`NOISE`.

    Raises
    ------
    InputError
        It is not adopted, nobody is named, or no reason given.
    """
    with writing(db):
        held = in_force(db)
        if (held.noise if what == NOISE else held.of(what)) is None:
            known = ", ".join([*sorted(held.offsets), *([NOISE] if held.noise else [])])
            raise InputError(f"{what} is not adopted; adopted: {known or 'nothing'}")
        _decide(db, "" if what == NOISE else what, {"decision": "withdrawn"}, by=by, why=why, now=now)


def _decide(db: Database, scanner: str, row: dict[str, Any], *, by: str, why: str, now: datetime) -> None:
    if not by.strip():
        raise InputError("say who decides (--by NAME)")
    if not why.strip():
        raise InputError("say why (--why TEXT)")
    what = {"kind": "offset" if scanner else "day-to-day", "scanner": scanner}
    # One line each, as reports show them in one.
    who = {"decided_at": to_text(now), "decided_by": " ".join(by.split()), "decided_why": " ".join(why.split())}
    insert(db, "fact_correction_decision", [what | row | who])


def decisions(db: Database) -> list[dict[str, Any]]:
    """All decisions, as the view ``corrections`` has them."""
    return list(db.query("SELECT * FROM corrections ORDER BY decision_id"))
