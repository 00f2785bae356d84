"""Whether the newest patients and their scanners are others than those of a frozen cohort.

The model of VBQ can be as good as before while the patients are not: an older cohort, a laboratory that counts
differently, an MRI that has taken over. Then the frozen cut-offs may not be what the site would choose now.

References
----------
Welch BL. Biometrika 1947; 34: 28–35. Fisher RA. Statistical Methods for Research Workers, 5th ed., 1934.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analytics.methods.exact import fisher_2x2_p
from analytics.methods.linear import Array
from analytics.methods.two_groups import compare_means

WINDOW = 60
"""Newest patients that are compared with the frozen ones."""

FEWEST = 20
"""Patients that each side needs."""

P_LIMIT = 1e-4
"""A difference less probable than this is shown; small, because it is looked for in every variable every night."""

SEASON_SHARE = 0.03
"""Share by which the mean of a ratio has to differ beyond chance. Both move with the seasons: among patients of a year
in which NLR goes up and down by 15 %, it is shown at 3 of 60 sites (7 without the margin); half as much again, as with
exchanged or wrongly counted cells, is shown as early as without it."""

CONTINUOUS = ("age", "bmi", "nlr", "plr")
SEASONAL = ("nlr", "plr")
BINARY = ("sex_male", "smoking", "diabetes")
DATES = ("mri_date", "surgery_date", "id")


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A variable, or the share of a scanner, before and now (means, or shares from 0 to 1), with numbers and p.

    ``kind`` "new scanner" has no p: that no frozen patient was examined there is a fact.
    """

    kind: Literal["mean", "share", "scanner share", "new scanner"]
    name: str
    before: float
    n_before: int
    now: float
    n_now: int
    p: float | None

    def to_json_dict(self) -> dict[str, Any]:
        """Plain strings and numbers."""
        return asdict(self)


def find_shifts(frozen: pd.DataFrame, cohort: pd.DataFrame) -> tuple[Shift, ...]:
    """Compare the newest patients with the frozen ones.

    Parameters
    ----------
    frozen, cohort
        As for :func:`analytics.night.drift.check_drift`. Missing values and unknown scanners are left out of the
        comparison they are missing in.
    """
    known = frozen.assign(id=frozen["id"].astype(str)).drop_duplicates("id")
    new = cohort.assign(id=cohort["id"].astype(str)).drop_duplicates("id")
    new = new[~new["id"].isin(set(known["id"]))].sort_values(list(DATES)).iloc[-WINDOW:]
    return (*_scanners(known["scanner_stratum"], new["scanner_stratum"]), *_variables(known, new))


def _variables(known: pd.DataFrame, new: pd.DataFrame) -> Iterator[Shift]:
    for name in CONTINUOUS:
        before, now = _finite(known[name]), _finite(new[name])
        if min(len(before), len(now)) < FEWEST or max(np.ptp(before), np.ptp(now)) == 0:
            continue
        p = _p_beyond(now, before, share=SEASON_SHARE if name in SEASONAL else 0.0)
        if p < P_LIMIT:
            yield Shift(
                kind="mean", name=name, before=float(before.mean()), n_before=len(before), now=float(now.mean()),
                n_now=len(now), p=p,
            )  # fmt: skip
    for name in BINARY:
        before, now = _finite(known[name]), _finite(new[name])
        yield from _share("share", name, before == 1, now == 1)


def _p_beyond(now: Array, before: Array, *, share: float) -> float:
    """Welch's p of a difference that is larger than a share of the mean before; 1 for a smaller one."""
    margin = share * float(before.mean())
    difference = float(now.mean() - before.mean())
    if abs(difference) <= margin:
        return 1.0
    return compare_means(now - np.copysign(margin, difference), before).welch.p


def _scanners(known: pd.Series, new: pd.Series) -> Iterator[Shift]:
    before, now = (column.astype(str).to_numpy()[column.astype(str).to_numpy() != ""] for column in (known, new))
    for name in sorted(set(now)):
        if name not in before:
            yield Shift(
                kind="new scanner", name=name, before=0.0, n_before=len(before), now=float((now == name).mean()),
                n_now=len(now), p=None,
            )  # fmt: skip
    for name in sorted(set(before)):
        yield from _share("scanner share", name, before == name, now == name)


def _share(kind: Literal["share", "scanner share"], name: str, before: Any, now: Any) -> Iterator[Shift]:
    if min(len(before), len(now)) < FEWEST:
        return
    table = np.array([[now.sum(), (~now).sum()], [before.sum(), (~before).sum()]], dtype=np.float64)
    if table.sum(axis=0).min() == 0:
        return
    p = fisher_2x2_p(table)
    if p < P_LIMIT:
        yield Shift(
            kind=kind, name=name, before=float(before.mean()), n_before=len(before), now=float(now.mean()),
            n_now=len(now), p=p,
        )  # fmt: skip


def _finite(column: pd.Series) -> Array:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    return np.asarray(numbers[np.isfinite(numbers)])
