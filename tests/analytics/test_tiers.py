"""The tiers of the paper's discussion, at the cuts and around them."""

import re
from math import nan

import pytest

from analytics.episodes.cuts import Cuts, institutional_cuts
from analytics.episodes.tiers import VBQ_SEM, explain, near_cut, tier
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
