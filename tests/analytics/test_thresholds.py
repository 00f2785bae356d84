"""Cut-offs: the institution's limits, and the bootstrap interval of a quantile."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from analytics.episodes.cuts import Offset, StratumCut, institutional_cuts, quantile_interval
from analytics.reasons import Reason

FEW = Reason("few patients")
"""A code that no catalogue knows."""


def test_the_institution_gives_all_three() -> None:
    cuts = institutional_cuts(3.0, 3.5, 200.0, "both")
    assert (cuts.method, cuts.n, cuts.vbq, cuts.nlr, cuts.plr, cuts.ratios) == ("institutional", 0, 3, 3.5, 200, "both")
    with pytest.raises(ValueError, match="PLR limit nan"):
        institutional_cuts(3.0, 3.5, float("nan"), "any")


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    """scipy's percentile bootstrap of the same quantile; Monte Carlo error of 2,000 and 20,000 samples is allowed."""
    values = np.random.default_rng(4).normal(3.0, 0.2, 120)
    plain = stats.bootstrap(
        (values,), lambda x, axis: np.quantile(x, 0.75, axis=axis), confidence_level=0.8, n_resamples=20_000,
        method="percentile", rng=np.random.default_rng(5), batch=1000,
    ).confidence_interval  # fmt: skip
    assert quantile_interval(values, 0.75) == pytest.approx(plain, abs=0.01 * 0.2 * 2)


@pytest.mark.parametrize("wrong", [0.0, -0.0, -3.0, float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_limit_that_is_no_positive_number_is_refused(place: int, wrong: float) -> None:
    limits = [3.0, 3.5, 200.0]
    limits[place] = wrong
    with pytest.raises(ValueError, match=f"{('VBQ', 'NLR', 'PLR')[place]} limit"):
        institutional_cuts(*limits)


def test_a_small_positive_limit_is_one() -> None:
    cuts = institutional_cuts(0.5, 1.0, 1e-9)
    assert (cuts.vbq, cuts.nlr, cuts.plr, cuts.ratios) == (0.5, 1.0, 1e-9, "any")


@pytest.mark.parametrize(
    ("scanner", "vbq", "of"),
    [
        ("A", 3.25, Reason("cut-of-scanner", {"scanner": "A"})),
        ("B", 3.0, Reason("cut-of-all-because", {"why": FEW})),
        ("C", 3.0, Reason("cut-of-all-because", {"why": Reason("scanner-not-of-cuts", {"scanner": "C"})})),
        (None, 3.0, Reason("cut-of-all-because", {"why": Reason("scanner-unknown")})),
    ],
)
def test_a_scanner_has_its_own_cut_or_that_of_all_and_why(scanner: str | None, vbq: float, of: Reason) -> None:
    strata = (StratumCut(stratum="A", n=90, vbq=3.25, pooled=None), StratumCut(stratum="B", n=3, vbq=2.5, pooled=FEW))
    cuts = replace(institutional_cuts(3.0, 3.5, 200.0), strata=strata).at(scanner)
    assert (cuts.vbq, cuts.of, cuts.strata) == (vbq, of, ())


def test_without_scanners_the_cuts_are_the_same_for_all() -> None:
    cuts = institutional_cuts(3.0, 3.5, 200.0)
    assert cuts.at("A") == cuts.at(None) == cuts


@pytest.mark.parametrize(
    ("n", "quantile", "level"),
    [(2, 0.5, 0.4), (2, 0.5, 0.6), (3, 0.5, 0.4), (3, 0.5, 0.6), (3, 0.75, 0.4), (3, 0.75, 0.8), (4, 0.75, 0.7),
     (5, 0.75, 0.4), (3, 1.0, 0.8), (3, 0.0, 0.8)],
)  # fmt: skip
def test_the_interval_of_few_values_is_that_of_all_samples(n: int, quantile: float, level: float) -> None:
    """All n to the n samples with replacement, counted; the levels lie far from a step of their distribution."""
    values = np.arange(n, dtype=float)
    cuts = [np.quantile(sample, quantile) for sample in product(values, repeat=n)]
    tails = ((1 - level) / 2, (1 + level) / 2)
    steps = np.cumsum(np.unique(np.round(cuts, 9), return_counts=True)[1]) / n**n
    assert np.abs(np.subtract.outer(tails, steps)).min() > 0.02
    expected = np.quantile(cuts, tails, method="inverted_cdf")
    assert quantile_interval(values, quantile, level=level) == pytest.approx(tuple(expected), abs=1e-12)


def test_the_level_at_which_an_old_cut_is_kept_is_eighty_per_cent() -> None:
    """The 3,001st smallest of 4,001 values drawn is beta distributed: its 10 % and 90 % points by scipy."""
    values = np.arange(4001, dtype=float)
    expected = 4001 * stats.beta.ppf((0.1, 0.9), 3001, 1001)
    # Of 2,000 samples a 10 % point has a standard error of 1.05 places; 8 % more or less of the level are 5 places.
    assert quantile_interval(values, 0.75) == pytest.approx(tuple(expected), abs=3)


@pytest.mark.parametrize(("scanner", "vbq"), [("B", 3.25 + 0.125), ("A", 3.25), ("C", 3.0), (None, 3.0)])
def test_an_offset_is_added_to_the_cut_of_the_reference_at_its_scanner_alone(scanner: str | None, vbq: float) -> None:
    strata = (StratumCut(stratum="A", n=90, vbq=3.25, pooled=None), StratumCut(stratum="B", n=90, vbq=9.0, pooled=None))
    cuts = replace(institutional_cuts(3.0, 3.5, 200.0), strata=strata)
    found = cuts.at(scanner, Offset(scanner="B", reference="A", size=0.125))
    assert (found.vbq, found.nlr, found.plr) == (vbq, 3.5, 200.0)
    assert (found.of.code == "cut-with-offset") is (scanner == "B")
