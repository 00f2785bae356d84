"""The paper's three tiers, and what explains one.

References
----------
Discussion of the paper: higher VBQ and ratios above locally calibrated limits "may be flagged"; "discordant profiles
(high VBQ with normal ratios, or vice versa) can be considered intermediate risk; and both low VBQ and low ratios
indicate lower risk". VBQ is high at its cut (the paper's logistic model: VBQ ≥ 2.90), a ratio above it.
"""

from dataclasses import dataclass
from math import isfinite

from analytics.episodes.cuts import Cuts
from analytics.reasons import Reason, Value
from analytics.records import Tier

VBQ_SEM = 0.075
"""Standard error of measurement of one VBQ: SD √(1 − ICC) with the paper's ICC of 0.864 and the SD of 0.203 that its
Table 2 implies."""

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
