"""What two MRIs of one patient tell: how far VBQ varies from day to day, and how far two scanners lie apart.

Verification
------------
Within-subject SD and its interval, and the paired offset: worked by hand in the test; ICC(1,1) is that of
:mod:`analytics.methods.agreement` (tests/analytics/test_rescans.py).

References
----------
Bland JM, Altman DG. BMJ 1996;312:1654 (within-subject SD), 313:106 (coefficient of variation). Published for VBQ: ICC
0.749, CV 0.169 between two MRIs within three months (107 patients).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from analytics.methods.agreement import Icc, NoAgreement, agreement
from analytics.methods.linear import CONFIDENCE
from analytics.methods.plain import to_plain
from analytics.reasons import Reason

MINIMUM_PATIENTS = 10
"""Fewest patients with two MRIs for which a spread or an offset is given."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two MRIs of one patient, the earlier first: VBQ, scanner, and how many days lie between."""

    vbq: tuple[float, float]
    scanners: tuple[str, str]
    days: int


@dataclass(frozen=True, kw_only=True)
class DayToDay:
    """How far VBQ varies between two MRIs of one patient on one scanner.

    ``sd`` is the within-subject standard deviation in VBQ with its 95 % interval, ``cv`` its share of the mean,
    ``icc`` ICC(1,1). ``change`` is the mean of later less earlier, which has no reason to differ from 0, and
    ``days`` the median between the two.
    """

    n: int
    days: float
    mean: float
    sd: float
    sd_ci_low: float
    sd_ci_high: float
    cv: float
    icc: Icc
    change: float
    change_ci_low: float
    change_ci_high: float


@dataclass(frozen=True, kw_only=True)
class PairedOffset:
    """How far a scanner reads VBQ above another one (``reference``), from patients measured on both; VBQ, 95 %."""

    scanner: str
    reference: str
    n: int
    offset: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True)
class Rescans:
    """Both, or why not. ``few`` counts the pairs of scanners with too few patients for an offset."""

    pairs: int
    day_to_day: DayToDay | Reason
    offsets: tuple[PairedOffset, ...]
    few: int

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        reason = self.day_to_day if isinstance(self.day_to_day, Reason) else None
        content = to_plain(self)
        if reason is not None:
            content["day_to_day"] = {"reason": str(reason), "reason_code": reason.code}
        return content


def rescans(pairs: Sequence[Pair]) -> Rescans:
    """Judge the pairs, one of each patient."""
    same = [one for one in pairs if one.scanners[0] == one.scanners[1]]
    by_scanners: dict[tuple[str, str], list[float]] = {}
    for one in pairs:
        low, high = sorted(one.scanners)
        if low != high:
            difference = one.vbq[1] - one.vbq[0]
            by_scanners.setdefault((low, high), []).append(difference if one.scanners[1] == high else -difference)
    enough = {names: found for names, found in by_scanners.items() if len(found) >= MINIMUM_PATIENTS}
    return Rescans(
        pairs=len(pairs),
        day_to_day=_day_to_day(same),
        offsets=tuple(_offset(*names, found) for names, found in sorted(enough.items())),
        few=len(by_scanners) - len(enough),
    )


def _day_to_day(pairs: Sequence[Pair]) -> DayToDay | Reason:
    from scipy import stats

    n = len(pairs)
    if n < MINIMUM_PATIENTS:
        return Reason("few-rescans", {"patients": n, "needed": MINIMUM_PATIENTS})
    values = np.array([one.vbq for one in pairs], dtype=np.float64)
    found = agreement(values)
    if isinstance(found, NoAgreement):
        return found.reason
    sd, mean = sqrt(found.ms_within), float(values.mean())
    tail = (1 - CONFIDENCE) / 2
    change, low, high = _mean_with_interval(values[:, 1] - values[:, 0])
    return DayToDay(
        n=n,
        days=float(np.median([one.days for one in pairs])),
        mean=mean,
        sd=sd,
        sd_ci_low=sd * sqrt(n / float(stats.chi2.ppf(1 - tail, n))),
        sd_ci_high=sd * sqrt(n / float(stats.chi2.ppf(tail, n))),
        cv=sd / mean,
        icc=found.one_way,
        change=change,
        change_ci_low=low,
        change_ci_high=high,
    )


def _offset(reference: str, scanner: str, differences: Sequence[float]) -> PairedOffset:
    offset, low, high = _mean_with_interval(np.array(differences))
    return PairedOffset(
        scanner=scanner, reference=reference, n=len(differences), offset=offset, ci_low=low, ci_high=high
    )


def _mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    from scipy import stats

    n, mean = len(values), float(values.mean())
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * float(values.std(ddof=1)) / sqrt(n)
    return mean, mean - half, mean + half
