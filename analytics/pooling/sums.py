"""What a site gives of its cohort for the pooled model: sums by scanner, never a row.

The sums of a scanner are about that scanner's own means, which is what a model with a level for each scanner needs:
X'X and X'y about any other point follow from them and the means. Scanners with too few patients to be shown alone
give their sums about their own means added up, without the means.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.correlation import Correlation, spearman
from analytics.methods.linear import Array
from analytics.methods.rows import complete_rows
from analytics.paper.regression import MINIMUM_ROWS_PER_PARAMETER, PREDICTORS
from analytics.paper.strata import UNKNOWN
from analytics.pooling.disclosure import MINIMUM_CELL, small_cells
from analytics.pooling.histogram import EDGES, Histogram, histogram
from analytics.reasons import Reason

OUTCOME = "vbq"
BINARY = ("sex_male", "smoking", "diabetes")
"""Predictors that are 1 or 0."""
CORRELATED = ("age", "nlr", "plr", "bmi")
"""What the paper correlates with VBQ."""
MINIMUM_ROWS = MINIMUM_ROWS_PER_PARAMETER * (len(PREDICTORS) + 1)
"""Fewest patients of a scanner, or of scanners together: ten for each coefficient, its level among them."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums of a scanner's patients, or of several scanners' added up (``strata`` > 1, without ``means``).

    ``xx`` is (7, 7), ``xy`` (7,) and ``yy`` a number: sums of products of the deviations from each scanner's own means,
    in the order of :data:`analytics.paper.regression.PREDICTORS`. ``means`` has the mean of each predictor and of VBQ.
    """

    scanner: str
    strata: int
    n: int
    xx: Array
    xy: Array
    yy: float
    means: dict[str, float] | None = None
    correlations: dict[str, Correlation] | None = None
    vbq: Histogram | None = None


@dataclass(frozen=True, kw_only=True)
class SiteSums:
    """Sums of one site. ``members`` names the rows behind each of ``groups``, in its order: they stay at the site.

    ``doubts`` says which scanners were taken together or left out, and why.
    """

    groups: tuple[Sums, ...]
    members: tuple[tuple[str, ...], ...]
    ratios: dict[str, Histogram]
    n_rows: int
    doubts: tuple[Reason, ...]

    @property
    def n(self) -> int:
        """Patients in the sums."""
        return sum(group.n for group in self.groups)


def site_sums(cohort: pd.DataFrame, *, minimum: int = MINIMUM_CELL) -> SiteSums | Reason:
    """Add up the complete rows of a cohort by scanner, or say why nothing may be given.

    Parameters
    ----------
    cohort
        As for :func:`analytics.paper.regression.fit_vbq_model`, with ``scanner_stratum`` (text, empty where unknown).
        The same rows are left out.
    minimum
        Fewest patients in a cell of the counts that the sums of yes/no columns are.
    """
    rows = complete_rows(cohort, (OUTCOME, *PREDICTORS))
    names = cohort["scanner_stratum"].fillna("").astype(str).str.strip().replace("", UNKNOWN)
    of_id = dict(zip(cohort["id"].astype(str)[::-1], names[::-1], strict=True))
    frames = {str(name): frame for name, frame in rows.frame.groupby(rows.frame["id"].map(of_id), sort=True)}
    alone = {name: frame for name, frame in frames.items() if not [*_against(name, frame, minimum)]}
    apart = {name: frame for name, frame in frames.items() if name not in alone and len(frame) >= MINIMUM_CELL}
    doubts = [reason for name, frame in frames.items() for reason in _against(name, frame, minimum)]
    groups = [_of_scanner(name, frame) for name, frame in alone.items()]
    members = [tuple(frame["id"]) for frame in alone.values()]
    together = sum(map(len, apart.values()))
    if len(apart) > 1 and together >= MINIMUM_ROWS + len(apart):
        groups.append(_together([_of_scanner(name, frame) for name, frame in apart.items()]))
        members.append(tuple(name for frame in apart.values() for name in frame["id"]))
        doubts.append(Reason("pool-scanners-together", {"scanners": tuple(apart), "n": together}))
    if not groups:
        return Reason("pool-nothing-to-give", {"needed": MINIMUM_ROWS, "why": tuple(doubts)})
    used = rows.frame[rows.frame["id"].isin({name for group in members for name in group})]
    ratios = {name: histogram(used[name].to_numpy(), EDGES[name]) for name in ("nlr", "plr")}
    return SiteSums(
        groups=tuple(groups), members=tuple(members), ratios=ratios, n_rows=rows.n_rows, doubts=tuple(doubts)
    )


def _against(scanner: str, frame: pd.DataFrame, minimum: int) -> Iterator[Reason]:
    """Why the sums of a scanner may not be given by themselves."""
    if len(frame) < MINIMUM_ROWS:
        yield Reason("pool-scanner-too-few", {"scanner": scanner, "n": len(frame), "needed": MINIMUM_ROWS})
        return
    binary: dict[str, Any] = {name: frame[name].to_numpy() for name in BINARY}
    for columns in small_cells(binary, minimum=minimum):
        yield Reason("pool-small-cell", {"scanner": scanner, "columns": columns, "minimum": minimum})


def _of_scanner(scanner: str, frame: pd.DataFrame) -> Sums:
    x = frame[list(PREDICTORS)].to_numpy(dtype=np.float64)
    y = frame[OUTCOME].to_numpy(dtype=np.float64)
    means = x.mean(axis=0)
    inner, outcome = x - means, y - y.mean()
    return Sums(
        scanner=scanner,
        strata=1,
        n=len(frame),
        xx=inner.T @ inner,
        xy=inner.T @ outcome,
        yy=float(outcome @ outcome),
        means={**dict(zip(PREDICTORS, means.tolist(), strict=True)), OUTCOME: float(y.mean())},
        correlations={name: spearman(frame[name].to_numpy(), y) for name in CORRELATED},
        vbq=histogram(y, EDGES[OUTCOME]),
    )


def _together(groups: list[Sums]) -> Sums:
    return Sums(
        scanner=f"{len(groups)} scanners",
        strata=len(groups),
        n=sum(group.n for group in groups),
        xx=np.sum([group.xx for group in groups], axis=0),
        xy=np.sum([group.xy for group in groups], axis=0),
        yy=sum(group.yy for group in groups),
    )
