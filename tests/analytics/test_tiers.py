"""The tiers of the paper's discussion, at the cuts and around them."""

import re
from dataclasses import replace
from math import log, nan

import pytest
from scipy import stats

from analytics.episodes.cuts import Cuts, institutional_cuts
from analytics.episodes.tiers import VBQ_SEM, Errors, explain, near_cut, tier, tier_odds
from analytics.records import Tier

ANY = institutional_cuts(3.02, 3.77, 247.0, "any")
BOTH = institutional_cuts(3.02, 3.77, 247.0, "both")


@pytest.mark.parametrize(
    ("vbq", "nlr", "plr", "with_any", "with_both"),
    [
        (3.21, 4.10, 300, Tier.FLAGGED, Tier.FLAGGED),
        (3.21, 4.10, 201, Tier.FLAGGED, Tier.INTERMEDIATE),
        (3.21, 2.00, 300, Tier.FLAGGED, Tier.INTERMEDIATE),
        (3.21, 2.00, 201, Tier.INTERMEDIATE, Tier.INTERMEDIATE),
        (2.80, 4.10, 300, Tier.INTERMEDIATE, Tier.INTERMEDIATE),
        (2.80, 4.10, 201, Tier.INTERMEDIATE, Tier.LOWER),
        (2.80, 2.00, 201, Tier.LOWER, Tier.LOWER),
        (3.02, 3.77, 247, Tier.INTERMEDIATE, Tier.INTERMEDIATE),
        (3.02, 3.7701, 247, Tier.FLAGGED, Tier.INTERMEDIATE),
        (3.0199999, 3.77, 247, Tier.LOWER, Tier.LOWER),
    ],
)
def test_tiers(vbq: float, nlr: float, plr: float, with_any: Tier, with_both: Tier) -> None:
    assert tier(vbq=vbq, nlr=nlr, plr=plr, cuts=ANY) is with_any
    assert tier(vbq=vbq, nlr=nlr, plr=plr, cuts=BOTH) is with_both


@pytest.mark.parametrize("missing", ["vbq", "nlr", "plr"])
def test_without_a_value_there_is_no_tier(missing: str) -> None:
    values = {"vbq": 3.21, "nlr": 4.1, "plr": 300.0} | {missing: nan}
    for judge in (tier, explain):
        with pytest.raises(ValueError, match=missing):
            judge(**values, cuts=ANY)


def test_the_words_name_values_and_cuts() -> None:
    assert str(explain(vbq=3.21, nlr=4.1, plr=201, cuts=ANY)) == (
        "VBQ 3.21 is high (cut 3.02), NLR 4.10 is high (cut 3.77), PLR 201 is not high (cut 247)"
    )


def test_values_close_to_the_cut_are_told_apart() -> None:
    cuts = Cuts(method="quantile 0.75", n=200, vbq=2.99374, nlr=3.8924, plr=253.05, ratios="any")
    assert str(explain(vbq=2.9936, nlr=3.893, plr=253.05, cuts=cuts)) == (
        "VBQ 2.9936 is not high, but within its measurement error ±0.075 of the cut (cut 2.9937), "
        "NLR 3.893 is high (cut 3.892), PLR 253 is not high (cut 253)"
    )


def test_the_measurement_error_is_that_of_the_paper() -> None:
    """SD 0.203 × √(1 − 0.864) = 0.203 × 0.3688 = 0.0749, by hand."""
    assert pytest.approx(0.0749, abs=0.0002) == VBQ_SEM


@pytest.mark.parametrize(
    ("vbq", "vbq_sem", "near"),
    [(3.02, 0.075, True), (3.09, 0.075, True), (2.95, 0.075, True), (3.10, 0.075, False), (2.94, 0.075, False),
     (3.10, 0.09, True), (3.02, 0.0, False)],
)  # fmt: skip
def test_a_value_within_its_own_error_of_the_cut_is_said_to_be_so(vbq: float, vbq_sem: float, near: bool) -> None:
    assert near_cut(vbq, ANY, vbq_sem=vbq_sem) is near
    words = str(explain(vbq=vbq, nlr=4.1, plr=201, cuts=ANY, vbq_sem=vbq_sem))
    assert (f"within its measurement error ±{vbq_sem:g} of the cut" in words) is near


@pytest.mark.parametrize(
    ("vbq", "nlr", "plr", "words"),
    [
        (3.02, 3.77, 247, "VBQ 3.02 is high, NLR 3.77 is not high, PLR 247 is not high"),
        (3.01, 3.78, 248, "VBQ 3.01 is not high, NLR 3.78 is high, PLR 248 is high"),
    ],
)
def test_the_words_judge_at_the_cuts_as_the_tier_does(vbq: float, nlr: float, plr: float, words: str) -> None:
    """The paper's logistic model counts VBQ ≥ its cut as high; a ratio must exceed its own."""
    explained = str(explain(vbq=vbq, nlr=nlr, plr=plr, cuts=ANY, vbq_sem=0.0))
    assert re.sub(r" \(cut [^)]*\)", "", explained) == words


def test_the_odds_of_a_tier_are_those_of_the_normal_distribution() -> None:
    """scipy's bivariate normal; both ratios err together."""
    cuts = Cuts(method="institutional", n=0, vbq=3.0, nlr=4.0, plr=250.0, ratios="any")
    errors = Errors(vbq=0.1, ln_nlr=0.2, ln_plr=0.15, correlation=0.5)
    odds = tier_odds(vbq=3.05, nlr=3.6, plr=260.0, cuts=cuts, errors=errors)
    limits = [log(4.0 / 3.6) / 0.2, log(250.0 / 260.0) / 0.15]
    low = stats.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]]).cdf(limits)
    high_vbq = stats.norm.cdf(0.5)
    assert odds.flagged == pytest.approx(high_vbq * (1 - low), abs=1e-6)
    assert odds.lower == pytest.approx((1 - high_vbq) * low, abs=1e-6)
    assert odds.flagged + odds.intermediate + odds.lower == pytest.approx(1)
    both = tier_odds(vbq=3.05, nlr=3.6, plr=260.0, cuts=replace(cuts, ratios="both"), errors=errors)
    at_least_one_low = 1 - sum(stats.norm.cdf(one) for one in limits) + low
    assert both.flagged == pytest.approx(high_vbq * at_least_one_low, abs=1e-6)


@pytest.mark.parametrize("errors", [Errors(vbq=0.1), Errors(vbq=0.1, ln_nlr=0.2, ln_plr=0.15, correlation=0.5)])
def test_a_ratio_of_no_cells_lies_below_every_cut(errors: Errors) -> None:
    cuts = Cuts(method="institutional", n=0, vbq=3.0, nlr=4.0, plr=250.0, ratios="any")
    odds = tier_odds(vbq=3.0, nlr=0.0, plr=0.0, cuts=cuts, errors=errors)
    assert (odds.flagged, odds.intermediate, odds.lower) == pytest.approx((0, 0.5, 0.5), abs=1e-9)


@pytest.mark.parametrize(("vbq", "nlr", "plr"), [(3.0, 4.0, 250.0), (2.99, 4.01, 100.0), (3.2, 1.0, 251.0)])
def test_without_error_the_odds_are_the_tier(vbq: float, nlr: float, plr: float) -> None:
    cuts = Cuts(method="institutional", n=0, vbq=3.0, nlr=4.0, plr=250.0, ratios="any")
    odds = tier_odds(vbq=vbq, nlr=nlr, plr=plr, cuts=cuts, errors=Errors(vbq=0.0))
    assert odds.of(tier(vbq=vbq, nlr=nlr, plr=plr, cuts=cuts)) == 1


# By a table of the normal distribution: Φ(ln(247/260)/0.2) = 0.398795, Φ(ln(3.77/3.6)/0.2) = 0.591228 and
# Φ(ln(0.8/0.9)/0.2) = 0.277959. The error of VBQ is 0, so that a high one is flagged as often as a ratio is high.
@pytest.mark.parametrize(
    ("errors", "flagged"),
    [
        ({"ln_plr": 0.2, "correlation": 0.5}, 1 - 0.3987953332),
        ({"ln_plr": 0.2}, 1 - 0.3987953332),
        ({"ln_nlr": 0.2, "ln_plr": 0.2}, 1 - 0.5912283086 * 0.3987953332),
    ],
)
def test_the_error_of_a_ratio_may_be_known_for_one_alone(errors: dict[str, float], flagged: float) -> None:
    odds = tier_odds(vbq=3.05, nlr=3.6, plr=260.0, cuts=ANY, errors=Errors(vbq=0.0, **errors))
    assert odds.flagged == pytest.approx(flagged, abs=1e-9)


def test_the_error_of_nlr_alone_tells_where_both_ratios_have_to_be_high() -> None:
    errors = Errors(vbq=0.0, ln_nlr=0.2, correlation=0.5)
    odds = tier_odds(vbq=3.05, nlr=3.6, plr=260.0, cuts=BOTH, errors=errors)
    assert odds.flagged == pytest.approx(1 - 0.5912283086, abs=1e-9)


def test_a_ratio_below_one_is_a_ratio_like_others() -> None:
    cuts = institutional_cuts(3.02, 0.8, 247.0, "any")
    odds = tier_odds(vbq=3.05, nlr=0.9, plr=100.0, cuts=cuts, errors=Errors(vbq=0.0, ln_nlr=0.2))
    assert odds.flagged == pytest.approx(1 - 0.2779590876, abs=1e-9)


@pytest.mark.parametrize(("correlation", "low"), [(0.5, 1 / 3), (-0.5, 1 / 6), (0.99, 0.47747329317779397)])
def test_ratios_at_their_cuts_are_both_low_as_often_as_a_quadrant_says(correlation: float, low: float) -> None:
    """Sheppard's formula: 1/4 + arcsin(ρ) / 2π."""
    errors = Errors(vbq=0.0, ln_nlr=0.2, ln_plr=0.15, correlation=correlation)
    odds = tier_odds(vbq=3.05, nlr=3.77, plr=247.0, cuts=ANY, errors=errors)
    assert odds.flagged == pytest.approx(1 - low, abs=1e-9)


def test_a_ratio_far_above_its_cut_is_never_low() -> None:
    """ln(90 / 3.77) is 16 standard errors of 0.2."""
    errors = Errors(vbq=0.0, ln_nlr=0.2, ln_plr=0.15, correlation=0.5)
    assert tier_odds(vbq=3.05, nlr=90.0, plr=100.0, cuts=ANY, errors=errors).flagged == pytest.approx(1, abs=1e-9)
