"""The paper's three tiers, and what explains one.

References
----------
Discussion of the paper: higher VBQ and ratios above locally calibrated limits "may be flagged"; "discordant profiles
(high VBQ with normal ratios, or vice versa) can be considered intermediate risk; and both low VBQ and low ratios
indicate lower risk". VBQ is high at its cut (the paper's logistic model: VBQ ≥ 2.90), a ratio above it.
"""

from dataclasses import dataclass
from math import inf, isfinite, log, sqrt
from statistics import NormalDist

from analytics.episodes.cuts import Cuts
from analytics.reasons import Reason, Value
from analytics.records import Tier

VBQ_SEM = 0.075
"""Standard error of measurement of one VBQ: SD √(1 − ICC) with the paper's ICC of 0.864 and the SD of 0.203 that its
Table 2 implies."""

TAIL = 8.0
"""Standard deviations beyond which a normal value does not lie."""

MOST_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The three values of an episode against the cuts: the one place where they are compared."""

    vbq: float
    nlr: float
    plr: float
    cuts: Cuts

    def __post_init__(self) -> None:
        for name in ("vbq", "nlr", "plr"):
            if not isfinite(value := getattr(self, name)):
                raise ValueError(f"{name} is {value}; an episode without all three values has no tier")

    @property
    def high_vbq(self) -> bool:
        """At its cut or above."""
        return self.vbq >= self.cuts.vbq

    @property
    def high_nlr(self) -> bool:
        """Above its cut."""
        return self.nlr > self.cuts.nlr

    @property
    def high_plr(self) -> bool:
        """Above its cut."""
        return self.plr > self.cuts.plr

    @property
    def high_ratio(self) -> bool:
        """One high ratio, or both where the cuts ask for both."""
        ratios = (self.high_nlr, self.high_plr)
        return all(ratios) if self.cuts.ratios == "both" else any(ratios)

    @property
    def tier(self) -> Tier:
        """Both high: flagged; one of the two: intermediate; neither: lower."""
        if self.high_vbq and self.high_ratio:
            return Tier.FLAGGED
        return Tier.INTERMEDIATE if self.high_vbq or self.high_ratio else Tier.LOWER


def tier(*, vbq: float, nlr: float, plr: float, cuts: Cuts) -> Tier:
    """The tier of one episode.

    Raises
    ------
    ValueError
        A value is not finite; an episode without all three has no tier.
    """
    return Judged(vbq=vbq, nlr=nlr, plr=plr, cuts=cuts).tier


def near_cut(vbq: float, cuts: Cuts, *, vbq_sem: float = VBQ_SEM) -> bool:
    """Whether a VBQ lies within its own measurement error of the cut: another reading may fall on its other side."""
    return abs(vbq - cuts.vbq) < vbq_sem


@dataclass(frozen=True, kw_only=True)
class TierOdds:
    """The probability of each tier if what was measured were measured again without error; they add up to 1."""

    flagged: float
    intermediate: float
    lower: float

    def of(self, tier: Tier) -> float:
        """That of one tier."""
        return {Tier.FLAGGED: self.flagged, Tier.INTERMEDIATE: self.intermediate, Tier.LOWER: self.lower}[tier]


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Standard errors of measurement: of VBQ in its units, of ln NLR and ln PLR, and the correlation of these two.

    With 0 a value is taken as exact.
    """

    vbq: float
    ln_nlr: float = 0.0
    ln_plr: float = 0.0
    correlation: float = 0.0


def tier_odds(*, vbq: float, nlr: float, plr: float, cuts: Cuts, errors: Errors) -> TierOdds:
    """How likely each tier is, given the errors of measurement.

    Around each value the true one is normal (of the ratios their logarithm), with nothing known of it beforehand. Image
    and blood err apart; the two ratios share the lymphocytes and err together.

    Examples
    --------
    >>> cuts = Cuts(method="institutional", n=0, vbq=3.0, nlr=4.0, plr=250, ratios="any")
    >>> odds = tier_odds(vbq=3.0, nlr=9.0, plr=100, cuts=cuts, errors=Errors(vbq=0.1))
    >>> odds.flagged, odds.intermediate, odds.lower
    (0.5, 0.5, 0.0)
    """
    high_vbq = 1 - _below(cuts.vbq - vbq, errors.vbq, at_cut=False)
    under_nlr, under_plr = _under(nlr, cuts.nlr), _under(plr, cuts.plr)
    low_nlr = _below(under_nlr, errors.ln_nlr, at_cut=True)
    low_plr = _below(under_plr, errors.ln_plr, at_cut=True)
    if errors.correlation and errors.ln_nlr > 0 and errors.ln_plr > 0:
        both_low = _both_below(under_nlr / errors.ln_nlr, under_plr / errors.ln_plr, errors.correlation)
    else:
        both_low = low_nlr * low_plr
    high_ratio = 1 - low_nlr - low_plr + both_low if cuts.ratios == "both" else 1 - both_low
    return TierOdds(
        flagged=high_vbq * high_ratio,
        intermediate=high_vbq * (1 - high_ratio) + (1 - high_vbq) * high_ratio,
        lower=(1 - high_vbq) * (1 - high_ratio),
    )


def _under(ratio: float, cut: float) -> float:
    """How far a ratio lies below its cut on the logarithmic scale; of no cells, without end."""
    return log(cut / ratio) if ratio > 0 else inf


def _below(distance: float, error: float, *, at_cut: bool) -> float:
    """The probability that the true value lies below a cut that is so far above the measured one."""
    if error > 0:
        return NormalDist().cdf(distance / error)
    return 1.0 if distance > 0 or (at_cut and distance == 0) else 0.0


def _both_below(one: float, other: float, correlation: float) -> float:
    """The bivariate normal distribution function, as an integral over the first of the two."""
    from scipy.integrate import quad

    rest, normal = sqrt(1 - correlation**2), NormalDist()
    if one <= -TAIL:
        return 0.0
    found, _ = quad(
        lambda z: normal.pdf(z) * normal.cdf((other - correlation * z) / rest), -TAIL, min(one, TAIL), epsabs=1e-10
    )
    return float(found)


def explain(*, vbq: float, nlr: float, plr: float, cuts: Cuts, vbq_sem: float = VBQ_SEM) -> Reason:
    """Each value against its cut, and whether VBQ is nearer to its cut than it can be measured.

    Values close to their cut are written with as many decimals as it takes to tell them apart.

    Parameters
    ----------
    vbq_sem
        Standard error of measurement of one VBQ, in its units.

    Raises
    ------
    ValueError
        A value is not finite.

    Examples
    --------
    >>> cuts = Cuts(method="institutional", n=0, vbq=3.02, nlr=3.77, plr=247, ratios="any")
    >>> str(explain(vbq=3.21, nlr=4.1, plr=201, cuts=cuts))
    'VBQ 3.21 is high (cut 3.02), NLR 4.10 is high (cut 3.77), PLR 201 is not high (cut 247)'
    """
    judged = Judged(vbq=vbq, nlr=nlr, plr=plr, cuts=cuts)
    compared = (
        _compared("VBQ", vbq, cuts.vbq, decimals=2, high=judged.high_vbq, error=vbq_sem),
        _compared("NLR", nlr, cuts.nlr, decimals=2, high=judged.high_nlr),
        _compared("PLR", plr, cuts.plr, decimals=0, high=judged.high_plr),
    )
    return Reason("values-against-cuts", {"compared": compared})


def _compared(name: str, value: float, cut: float, *, decimals: int, high: bool, error: float = 0.0) -> Reason:
    if value != cut:
        while decimals < MOST_DECIMALS and f"{value:.{decimals}f}" == f"{cut:.{decimals}f}":
            decimals += 1
    said: dict[str, Value] = {"marker": name, "value": value, "cut": cut, "decimals": decimals}
    if abs(value - cut) < error:
        said["error"] = error
        return Reason("value-high-near-cut", said) if high else Reason("value-not-high-near-cut", said)
    return Reason("value-high", said) if high else Reason("value-not-high", said)
