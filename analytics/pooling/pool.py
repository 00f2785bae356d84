"""The paper's model over all sites: exact with a level for each scanner, and its ratios with random effects.

There is no pool over scanners without a level for each: a site whose scanner reads VBQ lower would pull the slopes.

References
----------
Bonett DG, Wright TA. Psychometrika 2000;65:23–28 (variance of a transformed rank correlation: (1 + ρ²/2)/(n − 3)).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import atanh, sqrt, tanh
from typing import Any

from analytics.methods.linear import Estimate, JointTest
from analytics.methods.random_effects import RandomEffects, random_effects
from analytics.paper.regression import EFFECT_UNITS, Effect, Term, collinear, few_rows, ratio_effects
from analytics.paper.strata import UNKNOWN
from analytics.plausible import TYPICAL_MEDIANS
from analytics.pooling.histogram import Between, between
from analytics.pooling.sums import CORRELATED, SiteSums, Sums
from analytics.pooling.within import Level, WithinFit, estimates, fit_within, level_test, levels, slopes_test, terms
from analytics.reasons import Reason, codes, to_dict, words

SHARES = (0.25, 0.5, 0.75)
"""Quantiles of the ratios that are bounded."""
MOST_CERTAIN = 1 - 1e-12
"""Fisher's z is infinite at 1."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site's name and sums."""

    name: str
    sums: SiteSums


@dataclass(frozen=True, kw_only=True)
class SiteFit:
    """A site's own model, its scanners with a level each."""

    site: str
    n: int
    strata: int
    df_resid: int
    residual_sd: float
    r2_within: float
    terms: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class WithoutSite:
    """The pool without one site: both ratios with common slopes, and with random effects."""

    site: str
    n: int
    common: tuple[Estimate, ...]
    random: dict[str, RandomEffects | Reason]


@dataclass(frozen=True, kw_only=True)
class PooledCorrelation:
    """Spearman's ρ with VBQ within scanners, combined over Fisher's z; ``effects`` is on the scale of z."""

    strata: tuple[tuple[str, str, float, int], ...]
    """Site, scanner, ρ and patients."""
    rho: float
    ci_low: float
    ci_high: float
    prediction_low: float | None
    prediction_high: float | None
    effects: RandomEffects


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Everything that the sums of all sites tell.

    ``terms`` are common to all sites, each scanner with its own level; ``r2_within`` is of the variation within
    scanners. ``random`` are NLR and PLR as they vary between sites, ``levels`` the scanners side by side.
    """

    n: int
    strata: int
    df_resid: int
    r2_within: float
    adj_r2_within: float
    residual_sd: float
    terms: tuple[Term, ...]
    effects: tuple[Effect, ...]
    aliased: tuple[str, ...]
    sites: tuple[SiteFit, ...]
    random: dict[str, RandomEffects | Reason]
    without: tuple[WithoutSite, ...]
    correlations: dict[str, PooledCorrelation | Reason]
    levels: tuple[Level, ...]
    level_test: JointTest | None
    slopes_test: JointTest | None
    quantiles: dict[str, tuple[Between, ...]]
    alerts: tuple[Reason, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        without = [{**asdict(one), "random": _plain(one.random)} for one in self.without]
        parts = {"random": _plain(self.random), "correlations": _plain(self.correlations), "without": without}
        return {**asdict(self), **parts, "alerts": words(self.alerts), "alert_codes": codes(self.alerts)}


def _plain(parts: Mapping[str, RandomEffects | PooledCorrelation | Reason]) -> dict[str, Any]:
    return {
        name: {**to_dict(one), "reason": str(one)} if isinstance(one, Reason) else asdict(one)
        for name, one in parts.items()
    }


def pool(sites: Sequence[Site]) -> Pool:
    """Combine the sums of sites, each named once.

    Raises
    ------
    ValueError
        The sums cannot be of patients.
    """
    groups = [(site.name, group) for site in sites for group in site.sums.groups]
    fit = fit_within([group for _, group in groups])
    own = {site.name: fit_within(site.sums.groups) for site in sites}
    found = terms(fit)
    return Pool(
        n=fit.n,
        strata=fit.strata,
        df_resid=fit.df_resid,
        r2_within=fit.r2,
        adj_r2_within=fit.adj_r2,
        residual_sd=fit.sigma,
        terms=found,
        effects=ratio_effects(found),
        aliased=fit.aliased,
        sites=tuple(_site_fit(name, one) for name, one in own.items()),
        random=_random(own),
        without=tuple(_without(sites, own, site) for site in sites) if len(sites) > 1 else (),
        correlations={name: _correlation(groups, name) for name in CORRELATED},
        levels=levels(fit, groups),
        level_test=level_test(fit, [group for _, group in groups]),
        slopes_test=slopes_test(fit, list(own.values())),
        quantiles={
            name: tuple(between([site.sums.ratios[name] for site in sites], share) for share in SHARES)
            for name in EFFECT_UNITS
        },
        alerts=(
            *collinear(found),
            *few_rows(fit.n, fit.strata + len(fit.names)),
            *_unknown(groups),
            *_unusual(groups),
            *_aliased(fit),
        ),
    )


def _site_fit(site: str, fit: WithinFit) -> SiteFit:
    return SiteFit(
        site=site,
        n=fit.n,
        strata=fit.strata,
        df_resid=fit.df_resid,
        residual_sd=fit.sigma,
        r2_within=fit.r2,
        terms=estimates(fit),
    )


def _random(own: dict[str, WithinFit]) -> dict[str, RandomEffects | Reason]:
    found: dict[str, RandomEffects | Reason] = {}
    for name in EFFECT_UNITS:
        slopes = [slope for fit in own.values() if (slope := fit.slope(name)) is not None]
        found[name] = random_effects([b for b, _ in slopes], [se for _, se in slopes])
    return found


def _without(sites: Sequence[Site], own: dict[str, WithinFit], site: Site) -> WithoutSite:
    fit = fit_within([group for other in sites if other is not site for group in other.sums.groups])
    return WithoutSite(
        site=site.name,
        n=fit.n,
        common=tuple(one for one in estimates(fit) if one.term in EFFECT_UNITS),
        random=_random({name: one for name, one in own.items() if name != site.name}),
    )


def _correlation(groups: Sequence[tuple[str, Sums]], name: str) -> PooledCorrelation | Reason:
    found = [
        (site, group.scanner, one.rho, one.n)
        for site, group in groups
        if group.correlations is not None and (one := group.correlations[name]).rho is not None
    ]
    limited = [max(-MOST_CERTAIN, min(MOST_CERTAIN, rho)) for _, _, rho, _ in found]
    errors = [sqrt((1 + rho**2 / 2) / (n - 3)) for _, _, rho, n in found]
    effects = random_effects([atanh(rho) for rho in limited], errors)
    if isinstance(effects, Reason):
        return effects
    return PooledCorrelation(
        strata=tuple(found),
        rho=tanh(effects.b),
        ci_low=tanh(effects.ci_low),
        ci_high=tanh(effects.ci_high),
        prediction_low=None if effects.prediction_low is None else tanh(effects.prediction_low),
        prediction_high=None if effects.prediction_high is None else tanh(effects.prediction_high),
        effects=effects,
    )


def _unknown(groups: Sequence[tuple[str, Sums]]) -> Iterator[Reason]:
    for site, group in groups:
        if group.scanner == UNKNOWN:
            yield Reason("pool-scanner-unknown", {"site": site, "n": group.n})


def _unusual(groups: Sequence[tuple[str, Sums]]) -> Iterator[Reason]:
    """Means that no cohort's median has: perhaps another unit, or columns that were swapped."""
    for site, group in groups:
        for name, (low, high) in TYPICAL_MEDIANS.items():
            mean = (group.means or {}).get(name)
            if mean is not None and not low <= mean <= high:
                yield Reason(
                    "pool-mean-unusual",
                    {"site": site, "scanner": group.scanner, "column": name, "mean": mean, "low": low, "high": high},
                )


def _aliased(fit: WithinFit) -> Iterator[Reason]:
    for name in fit.aliased:
        yield Reason("term-not-estimated", {"term": name})
