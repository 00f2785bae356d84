"""Held blood counts that a person approves, as they are or with correct values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from math import prod

from analytics.columns import CELLS, INDICES, Cell
from analytics.counts.blood import CombinedCount
from analytics.reasons import Reason, load_catalogue
from analytics.records import ResultStatus


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A person's word on one count as it stood."""

    specimen: str
    fingerprint: str
    cells: Mapping[Cell, float]
    """Correct values in 10⁹/L, of the cells whose value was wrong or missing."""
    by: str


def fingerprint(count: CombinedCount) -> str:
    """The same as long as the count has the same values and is held for the same kinds of reasons.

    An approval is of what a person has seen: where the laboratory sends other values, or another doubt arises, it no
    longer holds.
    """
    catalogue = load_catalogue()
    holding = {one.code for one in count.notes if (entry := catalogue.get(one.code)) and entry.does == "holds"}
    seen = {
        "taken_at": count.taken_at.astimezone(UTC).isoformat() if count.taken_at else None,
        "cells": {name: count.cells.get(name) for name in CELLS},
        "indices": {one.name: count.indices.get(one.name) for one in INDICES},
        "holding": sorted(holding),
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def settled(counts: Sequence[CombinedCount], approvals: Sequence[Approval]) -> list[CombinedCount]:
    """The counts with what people decided about the held ones; a count that is not held needs nobody.

    Parameters
    ----------
    counts
        The counts of one patient.
    approvals
        Those in force, at most one for a specimen.
    """
    by_specimen = {one.specimen: one for one in approvals}
    return [
        _settled(count, by_specimen[count.specimen])
        if count.status is ResultStatus.HELD and count.specimen in by_specimen
        else count
        for count in counts
    ]


def _settled(count: CombinedCount, approval: Approval) -> CombinedCount:
    if approval.fingerprint != fingerprint(count):
        return replace(count, notes=(*count.notes, Reason("approval-outdated", {"by": approval.by})))
    if not approval.cells:
        return replace(
            count, status=ResultStatus.FINAL, notes=(*count.notes, Reason("count-approved", {"by": approval.by}))
        )
    return replace(
        corrected(count, approval.cells),
        status=ResultStatus.CORRECTED,
        notes=(*count.notes, Reason("count-corrected", {"by": approval.by, "cells": tuple(sorted(approval.cells))})),
    )


def corrected(count: CombinedCount, cells: Mapping[Cell, float]) -> CombinedCount:
    """A count with other values of cells, and the indices that follow from them."""
    together: dict[Cell, float | None] = {**count.cells, **cells}
    indices = dict(count.indices)
    for index in INDICES:
        if not any(name in cells for name in (*index.upper, *index.lower)):
            continue
        upper = [together[name] for name in index.upper]
        lower = [together[name] for name in index.lower]
        known = [value for value in (*upper, *lower) if value is not None]
        whole = len(known) == len(upper) + len(lower) and prod(known[len(upper) :]) > 0
        indices[index.name] = prod(known[: len(upper)]) / prod(known[len(upper) :]) if whole else None
    return replace(count, cells=together, indices=indices, basis=count.basis or "absolute")
