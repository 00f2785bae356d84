"""The cut-offs of a site from its own cohort: an upper quantile, Youden's cut against an outcome, or given limits.

What a cut is worth against an outcome (bone density, Hounsfield units, an event) is reported wherever the cohort has
one, however the cut was found. Nothing is fitted in silence: a marker whose Youden cut would mean nothing gets its
quantile, and a scanner with few patients the cut of all, each with the reason in words.

References
----------
Discussion of the paper: "upper cohort quantiles" for VBQ; "institutional upper reference, cohort upper quartile, or a
site-specific ROC/Youden cut-point" for the ratios; "local calibration with reported operating characteristics".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from analytics.episodes.cuts import MARKERS, SEED, Cuts, Ratios, StratumCut, institutional_cuts, quantile_interval
from analytics.methods.linear import CONFIDENCE, Array
from analytics.methods.plain import to_plain
from analytics.methods.roc import Characteristics, Roc, characteristics, roc
from analytics.methods.rows import CompleteRows, Refusal, complete_rows
from analytics.reasons import Reason, Value

Method = Literal["quantile", "institutional", "youden"]

OUTCOMES = ("t_score", "bmd_g_per_cm2", "hu", "event", "vbq")
"""Columns that cuts can be judged against: DXA T-score, areal bone density, CT Hounsfield units, an event (1 or 0), and
VBQ itself, which is circular."""

HYSTERESIS_SD = 0.1
"""Standard deviations of the marker by which an old cut must differ from the new one before it is left behind."""

CIRCULAR = (
    "circular: the outcome is VBQ itself, so these numbers say how the ratio goes with VBQ, not how well it finds "
    "weak bone, and a tier that needs both counts the same thing twice"
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Who counts as positive: ``column`` at or below ``cut`` (an event: 1; VBQ: at or above its own cut)."""

    column: str
    cut: float | None = None

    def __str__(self) -> str:
        if self.column == "vbq":
            return "VBQ at or above its cut"
        return "event" if self.cut is None else f"{self.column} ≤ {self.cut:g}"

    def positive(self, frame: pd.DataFrame, *, vbq_cut: float) -> Array:
        """1, 0 or NaN (unknown) for each row."""
        if self.column == "vbq":
            return np.asarray(frame["vbq"].to_numpy() >= vbq_cut, dtype=np.float64)
        values = pd.to_numeric(frame[self.column], errors="coerce").to_numpy(dtype=np.float64)
        known = np.isfinite(values)
        if self.cut is None:
            return np.where(known & np.isin(values, (0.0, 1.0)), values, np.nan)
        return np.where(known, values <= self.cut, np.nan)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a site wants its cut-offs. ``limits``: VBQ, NLR and PLR, with the method "institutional" only."""

    method: Method = "quantile"
    quantile: float = 0.75
    limits: tuple[float, float, float] | None = None
    minimum_n: int
    minimum_per_scanner: int
    ratios: Ratios = "any"
    outcome: Outcome | None = None


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What a cut is worth against an outcome.

    ``at_cut`` has sensitivity, specificity and predictive values with their intervals and the apparent Youden index;
    ``youden_corrected`` is that index without the optimism of a cut chosen on the same patients, ``None`` where the
    outcome did not choose the cut, so that there is none.
    """

    outcome: str
    n: int
    positive: int
    prevalence: float
    auc: float
    auc_ci: tuple[float, float]
    at_cut: Characteristics
    youden_corrected: float | None
    circular: str | None


@dataclass(frozen=True, kw_only=True)
class MarkerCut:
    """One cut: how it was found (``how``), on how many rows, and its bootstrap intervals.

    ``interval`` is its 95 %, ``kept_within`` its 80 % bootstrap interval, ``sd`` the marker's standard deviation; all
    are ``None`` for given limits. ``instead`` says why the cut was not found as the rule asks. ``stratum`` is the
    scanner, ``None`` for all.
    """

    marker: str
    stratum: str | None
    cut: float
    how: str
    n: int
    interval: tuple[float, float] | None
    kept_within: tuple[float, float] | None
    sd: float | None
    instead: Reason | None
    worth: Worth | None
    no_worth: Reason | None
    """Why nothing is said of its worth although there is an outcome."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Cut-offs and what they rest on; ``omitted`` counts the rows left out by reason."""

    cuts: Cuts
    markers: tuple[MarkerCut, ...]
    n_rows: int
    omitted: dict[Reason, int]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers."""
        content = to_plain(self)
        return {name: content[name] for name in ("markers", "n_rows", "omitted", "omitted_codes")}


def calibrate(cohort: pd.DataFrame, rule: Rule) -> Calibration | Refusal:
    """Find the cut-offs of a cohort, or say why there are none.

    Parameters
    ----------
    cohort
        One row per episode with ``id``, ``vbq``, ``nlr``, ``plr``, ``scanner_stratum`` (empty: unknown) and the
        outcome's column. Only rows complete in the three markers count, so that the cuts describe the same patients.

    Raises
    ------
    ValueError
        The quantile is not between 0 and 1, or a given limit is not a positive number.
    """
    if not 0 < rule.quantile < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {rule.quantile}")
    rows = complete_rows(cohort, MARKERS)
    others = cohort.assign(id=cohort["id"].astype(str)).drop_duplicates("id")
    frame = rows.frame.merge(others.drop(columns=list(MARKERS)), on="id", validate="one_to_one")
    if rule.method == "institutional":
        return _institutional(frame, rule, rows)
    refusal = _too_few(frame, rule, rows)
    if refusal is not None:
        return refusal
    vbq = _find(frame, "vbq", rule, vbq_cut=None)
    if isinstance(vbq, Refusal):
        return rows.refusal(Reason("no-vbq-cut", {"why": vbq.reason}))
    ratios = [_find(frame, name, rule, vbq_cut=vbq.cut) for name in ("nlr", "plr")]
    markers = [vbq, *(one for one in ratios if isinstance(one, MarkerCut))]
    if len(markers) < len(MARKERS):
        return rows.refusal(
            Reason("no-ratio-cut", {"why": tuple(one.reason for one in ratios if isinstance(one, Refusal))})
        )
    own = list(_scanners(frame, rule, pooled=vbq))
    nlr, plr = (one.cut for one in markers[1:])
    strata = tuple(stratum for stratum, _ in own)
    cuts = Cuts(method=_method(rule), n=len(frame), vbq=vbq.cut, nlr=nlr, plr=plr, ratios=rule.ratios, strata=strata)
    found = (*markers, *(one for _, one in own if one is not None))
    return Calibration(cuts=cuts, markers=found, n_rows=rows.n_rows, omitted=rows.omitted)


def left_behind(old: Cuts, new: Calibration) -> tuple[Reason, ...]:
    """Which old cuts the new ones leave behind; none: the old ones still do.

    A cut is left behind when it lies outside the 80 % bootstrap interval of the new one and further from it than
    :data:`HYSTERESIS_SD` standard deviations: either rule alone lets tiers flap in a large or in a small cohort.
    """
    found = []
    for one in new.markers:
        if one.kept_within is None or one.sd is None:
            continue
        cut = getattr(old.at(one.stratum), one.marker)
        low, high = one.kept_within
        if low <= cut <= high or abs(cut - one.cut) <= HYSTERESIS_SD * one.sd:
            continue
        values = {"marker": one.marker.upper(), "cut": cut, "low": low, "high": high}
        if one.stratum:
            found.append(Reason("scanner-cut-left-behind", {**values, "scanner": one.stratum}))
        else:
            found.append(Reason("cut-left-behind", values))
    return tuple(found)


def _method(rule: Rule) -> str:
    name = f"quantile {rule.quantile:g}"
    return name if rule.method == "quantile" else f"Youden against {rule.outcome}"


def _institutional(frame: pd.DataFrame, rule: Rule, rows: CompleteRows) -> Calibration:
    limits = rule.limits or (np.nan, np.nan, np.nan)
    cuts = institutional_cuts(*limits, rule.ratios)
    markers = []
    for name, cut in zip(MARKERS, limits, strict=True):
        worth = _worth(frame, name, cut, rule, vbq_cut=cuts.vbq)
        markers.append(_given(name, cut, worth))
    return Calibration(cuts=cuts, markers=tuple(markers), n_rows=rows.n_rows, omitted=rows.omitted)


def _given(name: str, cut: float, worth: Worth | Reason | None) -> MarkerCut:
    return MarkerCut(
        marker=name, stratum=None, cut=cut, how="institutional", n=0, interval=None, kept_within=None, sd=None,
        instead=None, **_judged(worth),
    )  # fmt: skip


def _judged(worth: Worth | Reason | None) -> dict[str, Any]:
    return {
        "worth": worth if isinstance(worth, Worth) else None,
        "no_worth": worth if isinstance(worth, Reason) else None,
    }


def _too_few(frame: pd.DataFrame, rule: Rule, rows: CompleteRows) -> Refusal | None:
    if len(frame) < rule.minimum_n:
        return rows.refusal(Reason("not-calibrated-yet", {"rows": len(frame), "needed": rule.minimum_n}))
    for name in MARKERS:
        if np.ptp(frame[name].to_numpy()) == 0:
            return rows.refusal(Reason("calibrated-marker-constant", {"marker": name.upper(), "rows": len(frame)}))
    if rule.method == "youden" and rule.outcome is not None:
        known = int(np.isfinite(rule.outcome.positive(frame, vbq_cut=0.0)).sum())
        if known < rule.minimum_n:
            return rows.refusal(
                Reason(
                    "not-calibrated-yet-by-outcome",
                    {"rows": known, "outcome": rule.outcome.column, "needed": rule.minimum_n},
                )
            )
    return None


def _find(
    frame: pd.DataFrame, marker: str, rule: Rule, *, vbq_cut: float | None, stratum: str | None = None
) -> MarkerCut | Refusal:
    """The cut of one marker by the rule; ``vbq_cut`` is that of VBQ, which a circular outcome needs."""
    circular = rule.outcome is not None and rule.outcome.column == "vbq"
    if rule.method != "youden" or rule.outcome is None or (marker == "vbq" and circular):
        return _quantile(frame, marker, rule, vbq_cut=vbq_cut, stratum=stratum)
    values = frame[marker].to_numpy()
    curve = roc(values, rule.outcome.positive(frame, vbq_cut=vbq_cut or np.nan), seed=SEED)
    if isinstance(curve, Refusal):
        return curve
    if curve.auc_ci_low <= 0.5:
        about: dict[str, Value] = {
            "marker": marker.upper(),
            "outcome": str(rule.outcome),
            "area": float(curve.auc),
            "low": float(curve.auc_ci_low),
            "high": float(curve.auc_ci_high),
        }
        backwards = curve.auc_ci_high < 0.5
        instead = Reason("youden-cut-backwards", about) if backwards else Reason("no-youden-cut", about)
        return _quantile(frame, marker, rule, vbq_cut=vbq_cut, stratum=stratum, instead=instead)
    return MarkerCut(
        marker=marker,
        stratum=stratum,
        cut=curve.youden.cut,
        how="youden",
        n=curve.n,
        interval=(curve.cut_interval[0], curve.cut_interval[2]),
        kept_within=curve.cut_interval_80,
        sd=float(values.std(ddof=1)),
        instead=None,
        worth=_from_curve(curve, curve.youden, rule.outcome, corrected=curve.youden_corrected),
        no_worth=None,
    )


def _quantile(
    frame: pd.DataFrame,
    marker: str,
    rule: Rule,
    *,
    vbq_cut: float | None,
    stratum: str | None,
    instead: Reason | None = None,
) -> MarkerCut:
    """Type 7: linear interpolation, as R and numpy do by default."""
    values = frame[marker].to_numpy(dtype=np.float64)
    cut = float(np.quantile(values, rule.quantile, method="linear"))
    return MarkerCut(
        marker=marker,
        stratum=stratum,
        cut=cut,
        how=f"quantile {rule.quantile:g}",
        n=len(values),
        interval=quantile_interval(values, rule.quantile, level=CONFIDENCE),
        kept_within=quantile_interval(values, rule.quantile),
        sd=float(values.std(ddof=1)),
        instead=instead,
        **_judged(_worth(frame, marker, cut, rule, vbq_cut=vbq_cut if vbq_cut is not None else cut)),
    )


def _worth(frame: pd.DataFrame, marker: str, cut: float, rule: Rule, *, vbq_cut: float) -> Worth | Reason | None:
    """What a cut that the outcome did not choose is worth against it, or why that cannot be said."""
    if rule.outcome is None or (marker == "vbq" and rule.outcome.column == "vbq"):
        return None
    positive = rule.outcome.positive(frame, vbq_cut=vbq_cut)
    values = frame[marker].to_numpy(dtype=np.float64)
    curve = roc(values, positive, seed=SEED, bootstraps=2)
    if isinstance(curve, Refusal):
        return curve.reason
    return _from_curve(curve, characteristics(values, positive, cut), rule.outcome, corrected=None)


def _from_curve(curve: Roc, at_cut: Characteristics, outcome: Outcome, *, corrected: float | None) -> Worth:
    return Worth(
        outcome=str(outcome),
        n=curve.n,
        positive=curve.positive,
        prevalence=curve.prevalence,
        auc=curve.auc,
        auc_ci=(curve.auc_ci_low, curve.auc_ci_high),
        at_cut=at_cut,
        youden_corrected=corrected,
        circular=CIRCULAR if outcome.column == "vbq" else None,
    )


def _scanners(frame: pd.DataFrame, rule: Rule, *, pooled: MarkerCut) -> Iterator[tuple[StratumCut, MarkerCut | None]]:
    """The VBQ cut of every known scanner: its own where enough of its patients are there, else the pooled one."""
    names = frame["scanner_stratum"].astype(str)
    known: Sequence[str] = sorted(set(names) - {""})
    if set(names) == set(known) and len(known) == 1:
        # All patients are at one scanner: the cut of all is its own, and nobody's of another one.
        yield StratumCut(stratum=known[0], n=len(frame), vbq=pooled.cut, pooled=None), None
        return
    for name in known:
        part = frame[(names == name).to_numpy()]
        found, why = _of_scanner(part, rule, name)
        if found is None:
            own = Reason("scanner-without-cut", {"scanner": name, "why": why})
            yield StratumCut(stratum=name, n=len(part), vbq=pooled.cut, pooled=own), None
        else:
            yield StratumCut(stratum=name, n=len(part), vbq=found.cut, pooled=None), found


def _of_scanner(part: pd.DataFrame, rule: Rule, name: str) -> tuple[MarkerCut | None, Reason | None]:
    if len(part) < rule.minimum_per_scanner:
        return None, Reason("too-few-of-scanner", {"patients": len(part), "needed": rule.minimum_per_scanner})
    if np.ptp(part["vbq"].to_numpy()) == 0:
        return None, Reason("scanner-constant", {"patients": len(part)})
    found = _find(part, "vbq", rule, vbq_cut=None, stratum=name)
    if isinstance(found, Refusal):
        return None, found.reason
    return (found, None) if found.instead is None else (None, found.instead)
