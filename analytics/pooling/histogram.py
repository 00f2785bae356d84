"""Histograms on edges that all sites share, with no small cell; and what several of them say of a quantile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.methods.linear import Array
from analytics.pooling.disclosure import MINIMUM_CELL, rounded

EDGES: Mapping[str, tuple[float, ...]] = {
    "vbq": tuple(round(1.4 + 0.2 * step, 1) for step in range(17)),
    "nlr": (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0),
    "plr": (50.0, 75.0, 100.0, 125.0, 150.0, 175.0, 200.0, 250.0, 300.0, 400.0, 600.0),
}
"""Where cells may meet; both ends are open. The ratios have no unit, VBQ has none."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Patients between neighbouring edges: ``counts`` has one more than ``edges``, both ends open.

    A cell holds its lower edge. Counts are multiples of :data:`MINIMUM_CELL`.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Between:
    """Where a quantile lies: from ``low`` to ``high``, ``None`` for an open end. ``n`` is the sum of rounded counts."""

    share: float
    low: float | None
    high: float | None
    n: int


def histogram(values: Array, edges: Sequence[float], *, minimum: int = MINIMUM_CELL) -> Histogram:
    """Count values, cells joined until each holds ``minimum``; none where there are fewer values than that.

    Parameters
    ----------
    values
        (n,), finite.
    """
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist()
    kept: list[float] = []
    joined: list[int] = []
    open_cell = 0
    for index, count in enumerate(counts):
        open_cell += count
        if open_cell >= minimum and sum(counts[index + 1 :]) >= minimum:
            joined.append(open_cell)
            kept.append(edges[index])
            open_cell = 0
    joined.append(open_cell)
    return Histogram(edges=tuple(kept), counts=tuple(rounded(count, minimum=minimum) or 0 for count in joined))


def between(histograms: Sequence[Histogram], share: float) -> Between:
    """Between which edges that all histograms have the quantile of all their patients lies."""
    common = sorted(set.intersection(*(set(one.edges) for one in histograms)))
    n = sum(sum(one.counts) for one in histograms)
    low: float | None = None
    for edge in common:
        below = sum(sum(one.counts[: one.edges.index(edge) + 1]) for one in histograms)
        if below >= share * n:
            return Between(share=share, low=low, high=edge, n=n)
        low = edge
    return Between(share=share, low=low, high=None, n=n)
