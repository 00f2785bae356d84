"""Least squares with a level for each scanner, from sums alone: equal to the fit on all rows with those levels.

Verification
------------
statsmodels on the rows of three sites with a column for each scanner: coefficients, standard errors, residual SD and
joint tests to 1e-9 relative (tests/analytics/test_pooling.py).

References
----------
Frisch R, Waugh FV. Econometrica 1933;1:387–401: slopes beside the levels of groups are those of the deviations from
the groups' means.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import nan, sqrt

import numpy as np

from analytics.methods.linear import CONFIDENCE, Array, Estimate, JointTest
from analytics.paper.regression import PREDICTORS, Term
from analytics.pooling.sums import OUTCOME, Sums

ALIAS_TOLERANCE = 1e-10
"""A column is aliased when those before it leave less than this share of its sum of squares (what rounding in the sums
allows to be told from 0)."""


@dataclass(frozen=True, kw_only=True)
class WithinFit:
    """Slopes common to all scanners, each scanner with its own level.

    ``names`` are the k estimated predictors, ``aliased`` the others: constant within every scanner, or determined by
    those before them. ``b`` is (k,), ``inverse`` (k, k) that of the sums of squares. ``sd`` and ``outcome_sd`` are
    standard deviations within scanners.
    """

    names: tuple[str, ...]
    aliased: tuple[str, ...]
    b: Array
    inverse: Array
    sd: Array
    outcome_sd: float
    n: int
    strata: int
    sse: float
    total: float

    @property
    def df_resid(self) -> int:
        """Patients less levels and slopes."""
        return self.n - self.strata - len(self.names)

    @property
    def sigma(self) -> float:
        """Residual standard deviation."""
        return sqrt(self.sse / self.df_resid) if self.df_resid > 0 else nan

    @property
    def r2(self) -> float:
        """Share of the variation within scanners that the predictors explain."""
        return 1 - self.sse / self.total

    @property
    def adj_r2(self) -> float:
        """The same adjusted for the number of predictors."""
        return 1 - (1 - self.r2) * (self.n - self.strata) / self.df_resid

    def slope(self, name: str) -> tuple[float, float] | None:
        """A coefficient with its standard error; ``None`` where it is aliased."""
        if name not in self.names:
            return None
        at = self.names.index(name)
        return float(self.b[at]), self.sigma * sqrt(float(self.inverse[at, at]))


@dataclass(frozen=True, kw_only=True)
class Level:
    """One scanner's VBQ for a patient with the mean predictors of all, and its distance from the reference scanner.

    ``offset`` with its standard error and 95 % interval is 0 without them for the reference itself.
    """

    site: str
    scanner: str
    n: int
    vbq_mean: float
    level: float
    offset: float
    se: float | None
    ci_low: float | None
    ci_high: float | None


def fit_within(groups: Sequence[Sums]) -> WithinFit:
    """Fit VBQ on the paper's predictors with a level for each scanner.

    Raises
    ------
    ValueError
        There are fewer patients than coefficients, or VBQ does not vary.
    """
    xx = np.sum([group.xx for group in groups], axis=0)
    xy = np.sum([group.xy for group in groups], axis=0)
    total = float(sum(group.yy for group in groups))
    n, strata = sum(group.n for group in groups), sum(group.strata for group in groups)
    kept = _independent(xx)
    if n - strata <= len(kept) or total <= 0:
        raise ValueError(f"{n} patients of {strata} scanners cannot determine {len(kept)} slopes")
    scale = np.sqrt(np.diag(xx)[kept])
    correlation = xx[np.ix_(kept, kept)] / np.outer(scale, scale)
    inverse = np.linalg.inv(correlation) / np.outer(scale, scale)
    b = np.linalg.solve(correlation, xy[kept] / scale) / scale
    return WithinFit(
        names=tuple(PREDICTORS[i] for i in kept),
        aliased=tuple(name for i, name in enumerate(PREDICTORS) if i not in kept),
        b=b,
        inverse=(inverse + inverse.T) / 2,
        sd=scale / sqrt(n - strata),
        outcome_sd=sqrt(total / (n - strata)),
        n=n,
        strata=strata,
        sse=max(0.0, total - float(b @ xy[kept])),
        total=total,
    )


def _independent(xx: Array) -> list[int]:
    """Indices (0-based) of the columns that those before them do not determine."""
    kept: list[int] = []
    for index in range(len(xx)):
        own = float(xx[index, index])
        if own <= 0:
            continue
        scale = np.sqrt(np.diag(xx)[kept])
        across = xx[kept, index] / scale
        left = own - float(across @ np.linalg.solve(xx[np.ix_(kept, kept)] / np.outer(scale, scale), across))
        if left > ALIAS_TOLERANCE * own:
            kept.append(index)
    return kept


def terms(fit: WithinFit) -> tuple[Term, ...]:
    """The slopes as lines of Table 2; standardised by the standard deviations within scanners."""
    vif = np.diag(fit.inverse) * fit.sd**2 * (fit.n - fit.strata)
    found = []
    for at, one in enumerate(estimates(fit)):
        found.append(
            Term(
                **asdict(one),
                beta_std=float(one.b * fit.sd[at] / fit.outcome_sd),
                vif=float(vif[at]),
                partial_r2=one.t**2 / (one.t**2 + fit.df_resid),
            )
        )
    return tuple(found)


def estimates(fit: WithinFit) -> tuple[Estimate, ...]:
    """Every slope with t test and interval on the residual degrees of freedom."""
    from scipy import stats

    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, fit.df_resid))
    found = []
    for name in fit.names:
        b, se = fit.slope(name) or (nan, nan)
        p = float(2 * stats.t.sf(abs(b / se), fit.df_resid))
        found.append(Estimate(term=name, b=b, se=se, t=b / se, p=p, ci_low=b - half * se, ci_high=b + half * se))
    return tuple(found)


def levels(fit: WithinFit, groups: Sequence[tuple[str, Sums]]) -> tuple[Level, ...]:
    """Each scanner's level, those that gave their means; the one with most patients is the reference.

    Parameters
    ----------
    groups
        Site and sums.
    """
    from scipy import stats

    shown = [(site, group, means) for site, group in groups if (means := _means(fit, group)) is not None]
    if not shown:
        return ()
    weights = np.array([group.n for _, group, _ in shown], dtype=np.float64)
    middle = weights @ np.array([x for _, _, (x, _) in shown]) / weights.sum()
    _, most, (reference, reference_y) = max(shown, key=lambda one: one[1].n)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, fit.df_resid))
    found = []
    for site, group, (x, y) in shown:
        apart = x - reference
        offset = y - reference_y - float(apart @ fit.b)
        is_reference = group is most
        se = fit.sigma * sqrt(1 / group.n + 1 / most.n + float(apart @ fit.inverse @ apart))
        found.append(
            Level(
                site=site,
                scanner=group.scanner,
                n=group.n,
                vbq_mean=y,
                level=y - float((x - middle) @ fit.b),
                offset=0.0 if is_reference else offset,
                se=None if is_reference else se,
                ci_low=None if is_reference else offset - half * se,
                ci_high=None if is_reference else offset + half * se,
            )
        )
    return tuple(found)


def level_test(fit: WithinFit, groups: Sequence[Sums]) -> JointTest | None:
    """F test that all scanners which gave their means have one level; ``None`` for fewer than two."""
    from scipy import stats

    shown = [(group, means) for group in groups if (means := _means(fit, group)) is not None]
    if len(shown) < 2:
        return None
    x, y = np.array([means[0] for _, means in shown]), np.array([means[1] for _, means in shown])
    covariance = np.diag([1 / group.n for group, _ in shown]) + x @ fit.inverse @ x.T
    contrast = np.eye(len(shown))[1:] - np.eye(len(shown))[0]
    apart = contrast @ (y - x @ fit.b)
    df1 = len(apart)
    f = float(apart @ np.linalg.solve(contrast @ covariance @ contrast.T, apart)) / df1 / fit.sigma**2
    return JointTest(f=f, df1=df1, df2=fit.df_resid, p=float(stats.f.sf(f, df1, fit.df_resid)))


def slopes_test(common: WithinFit, apart: Sequence[WithinFit]) -> JointTest | None:
    """F test that all sites have the same slopes (Chow); ``None`` where a site's cannot all be estimated."""
    from scipy import stats

    if len(apart) < 2 or common.aliased or any(one.aliased for one in apart):
        return None
    sse, df2 = sum(one.sse for one in apart), sum(one.df_resid for one in apart)
    df1 = common.df_resid - df2
    f = (common.sse - sse) / df1 / (sse / df2)
    return JointTest(f=f, df1=df1, df2=df2, p=float(stats.f.sf(f, df1, df2)))


def _means(fit: WithinFit, group: Sums) -> tuple[Array, float] | None:
    if group.means is None:
        return None
    return np.array([group.means[name] for name in fit.names]), group.means[OUTCOME]
