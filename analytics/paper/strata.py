"""The model by scanner: each scanner's own fit, and whether level or slopes differ between scanners.

VBQ divides two signals of one image, but coil, sequence and field strength still shift it. Scanners with too few
patients for a comparison are taken together under one name and said to be so.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.linear import (
    CONFIDENCE,
    Estimate,
    JointTest,
    estimates,
    fit_linear,
    independent_columns,
    joint_test,
)
from analytics.methods.plain import to_plain
from analytics.methods.random_intercept import fit_random_intercept
from analytics.methods.rows import Refusal, complete_rows
from analytics.paper.regression import PREDICTORS, OlsFit, design_matrix, fit_vbq_model
from analytics.reasons import Reason

MINIMUM_PER_SCANNER = 10
"""Complete patients below which a scanner is counted among the others."""

OTHERS = "other scanners"
UNKNOWN = "scanner unknown"
PREFIX = "scanner "
"""Before the name of a scanner among the columns of the model."""
SLOPES = ("nlr", "plr")
"""Predictors whose slope is compared between scanners."""


@dataclass(frozen=True, kw_only=True)
class ScannerStratum:
    """The patients of one scanner with complete data; ``vbq_sd`` is ``None`` for a single one."""

    name: str
    n: int
    vbq_mean: float
    vbq_sd: float | None
    model: OlsFit | Refusal


@dataclass(frozen=True, kw_only=True)
class RandomScanner:
    """The paper's model with a level for each scanner, drawn at random (REML): as if further scanners were to come.

    ``sd_between`` and ``sd_within`` are in VBQ units, ``share`` is how much of the variance that the model leaves is
    between scanners. ``ratios`` are NLR and PLR, with normal tests and intervals. With few ``scanners`` the variance
    between them is hardly known.
    """

    scanners: int
    sd_between: float
    sd_within: float
    share: float
    ratios: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class StrataReport:
    """Scanners side by side.

    ``level`` tests the scanners together beside the paper's predictors, ``slopes`` scanner × NLR and scanner × PLR
    (``None`` where they cannot be estimated); ``ratios`` are NLR and PLR adjusted for the scanner as well, by fixed
    levels, and in ``random`` by levels drawn at random. ``offsets`` are how far each scanner (``term``) reads VBQ above
    ``reference``, the one with most patients, all else equal.
    """

    strata: tuple[ScannerStratum, ...]
    joined: tuple[str, ...]
    level: JointTest
    slopes: JointTest | None
    ratios: tuple[Estimate, ...]
    random: RandomScanner
    reference: str
    offsets: tuple[Estimate, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        return to_plain(self)


def by_scanner(cohort: pd.DataFrame) -> StrataReport | Refusal:
    """Fit the paper's model in each scanner's patients, and test the scanners against each other.

    Parameters
    ----------
    cohort
        As for :func:`analytics.paper.regression.fit_vbq_model`, with ``scanner_stratum`` (text, empty where unknown).
    """
    pooled = fit_vbq_model(cohort)
    if isinstance(pooled, Refusal):
        return pooled
    rows = complete_rows(cohort, ("vbq", *PREDICTORS))
    names = cohort["scanner_stratum"].fillna("").astype(str).str.strip().replace("", UNKNOWN)
    # The first row of an id is the one that counts, here as in the model.
    of_id = dict(zip(cohort["id"].astype(str)[::-1], names[::-1], strict=True))
    scanner = rows.frame["id"].map(of_id)
    counts = scanner.value_counts()
    joined = tuple(sorted(counts.index[counts < MINIMUM_PER_SCANNER]))
    scanner = scanner.where(~scanner.isin(joined), OTHERS)
    levels = sorted(scanner.unique(), key=lambda name: (name == OTHERS, name))
    if len(levels) < 2:
        return rows.refusal(Reason("one-scanner", {"patients": len(scanner), "scanner": levels[0]}))
    reference = max((name for name in levels if name != OTHERS), key=lambda name: int(counts.get(name, 0)))
    dummies = {f"{PREFIX}{name}": (scanner == name).to_numpy(dtype=np.float64) for name in levels if name != reference}
    level, fit = _added(rows.frame, dummies)
    if level is None:
        return rows.refusal(Reason("scanners-not-apart"))
    centred = {name: (rows.frame[name] - rows.frame[name].mean()).to_numpy() for name in SLOPES}
    products = {f"{key} × {name}": column * centred[name] for key, column in dummies.items() for name in SLOPES}
    slopes, _ = _added(rows.frame, products, beside=dummies)
    return StrataReport(
        strata=tuple(_stratum(name, rows.frame[(scanner == name).to_numpy()]) for name in levels),
        joined=joined,
        level=level,
        slopes=slopes,
        ratios=tuple(one for one in fit if one.term in SLOPES),
        random=_random(rows.frame, scanner.to_numpy()),
        reference=reference,
        offsets=tuple(replace(one, term=one.term.removeprefix(PREFIX)) for one in fit if one.term in dummies),
    )


def _random(frame: pd.DataFrame, scanner: np.ndarray) -> RandomScanner:
    from scipy import stats

    columns, names = design_matrix(frame, PREDICTORS)
    kept = independent_columns(columns)
    fit = fit_random_intercept(frame["vbq"].to_numpy(dtype=np.float64), columns[:, kept], scanner)
    half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
    found = {names[place]: (float(b), float(se)) for place, b, se in zip(kept, fit.b, fit.se, strict=True)}
    between, within = fit.sd_between**2, fit.sd_within**2
    return RandomScanner(
        scanners=len(np.unique(scanner)),
        sd_between=fit.sd_between,
        sd_within=fit.sd_within,
        share=between / (between + within),
        ratios=tuple(
            Estimate(
                term=name, b=b, se=se, t=b / se, p=float(2 * stats.norm.sf(abs(b / se))), ci_low=b - half * se,
                ci_high=b + half * se,
            )
            for name, (b, se) in found.items()
            if name in SLOPES
        ),
    )  # fmt: skip


def _stratum(name: str, frame: pd.DataFrame) -> ScannerStratum:
    vbq = frame["vbq"]
    return ScannerStratum(
        name=name,
        n=len(frame),
        vbq_mean=float(vbq.mean()),
        vbq_sd=float(vbq.std(ddof=1)) if len(frame) > 1 else None,
        model=fit_vbq_model(frame),
    )


def _added(
    frame: pd.DataFrame, added: dict[str, np.ndarray], beside: dict[str, np.ndarray] | None = None
) -> tuple[JointTest | None, tuple[Estimate, ...]]:
    """The joint test of columns beside the model's, and the estimates; no test where one cannot be estimated."""
    columns, names = design_matrix(frame, PREDICTORS)
    more = {**(beside or {}), **added}
    fit = fit_linear(
        frame["vbq"].to_numpy(dtype=np.float64), np.column_stack([columns, *more.values()]), (*names, *more)
    )
    if fit.df_resid <= 0 or set(added) & set(fit.aliased):
        return None, estimates(fit) if fit.df_resid > 0 else ()
    return joint_test(fit, list(added)), estimates(fit)
