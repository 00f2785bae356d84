"""How much a patient's own ratios vary from one blood count to the next.

Counts of one patient taken days apart differ by biology and analysis, though nothing has happened. The spread of these
differences is robust (median), because in hospital something has happened to many.

References
----------
Bland JM, Altman DG. Measurement error. BMJ 1996; 313: 744 (within-subject SD from pairs: SD of differences / √2).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import log, sqrt
from statistics import median

MAD_TO_SD = 1.4826
LEAST_PERSONS = 20
"""Patients with two counts from which on their spread is believed."""
APART = timedelta(days=30)
"""Two counts further apart are not repeats."""


@dataclass(frozen=True, kw_only=True)
class RatioError:
    """Standard deviations, within a patient, of ln NLR and ln PLR, and the correlation of both errors."""

    persons: int
    sd_ln_nlr: float
    sd_ln_plr: float
    correlation: float


def ratio_error(counts: Iterable[tuple[str, datetime, float, float]]) -> RatioError | None:
    """The error of the ratios from repeats; ``None`` where there are too few.

    Parameters
    ----------
    counts
        Person, time of collection, NLR and PLR, in any order. Of each person the two newest within :data:`APART` count.
    """
    of_person: dict[str, list[tuple[datetime, float, float]]] = {}
    for person, taken_at, nlr, plr in counts:
        of_person.setdefault(person, []).append((taken_at, log(nlr), log(plr)))
    differences = []
    for known in of_person.values():
        ordered = sorted(known)
        pairs = [(one, other) for one, other in pairwise(ordered) if other[0] - one[0] <= APART]
        if pairs:
            one, other = pairs[-1]
            differences.append((other[1] - one[1], other[2] - one[2]))
    if len(differences) < LEAST_PERSONS:
        return None
    nlr, plr = _sd([a for a, _ in differences]), _sd([b for _, b in differences])
    # Var(a + b) − Var(a − b) = 4 Cov(a, b), with robust spreads.
    both, apart = _sd([a + b for a, b in differences]), _sd([a - b for a, b in differences])
    correlation = (both**2 - apart**2) / (4 * nlr * plr) if nlr * plr > 0 else 0.0
    return RatioError(
        persons=len(differences), sd_ln_nlr=nlr, sd_ln_plr=plr, correlation=min(max(correlation, -0.95), 0.95)
    )


def _sd(differences: list[float]) -> float:
    return MAD_TO_SD * median(abs(one) for one in differences) / sqrt(2)
