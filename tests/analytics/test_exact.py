"""Exact tests of counts: by hand, in exact integers, and beside scipy where there are many patients."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analytics.methods.exact import conditional_odds_ratio, fisher_2x2_p, fisher_p


def test_fisher_s_tea_and_a_table_of_classes_by_hand() -> None:
    """Fisher's tea: 34/70 of all tables are no likelier. Classes (3,0), (0,2), (0,1): only 1 of C(6,3) = 20 is so
    extreme in the first class; (0,2)+(0,1) with (3,0) or its mirror (0,3),(2,0),(1,0): 2/20."""
    assert fisher_2x2_p(np.array([[3.0, 1], [1, 3]])) == pytest.approx(34 / 70, rel=1e-12)
    assert fisher_p(np.array([[3.0, 0], [0, 2], [0, 1]])) == pytest.approx(2 / comb(6, 3), rel=1e-12)


def test_a_table_of_classes_in_exact_integers() -> None:
    table = [(1, 2), (3, 3), (10, 10), (6, 7)]
    assert fisher_p(np.array(table, dtype=float)) == pytest.approx(float(in_integers(table)), rel=1e-11)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=4))
def test_every_small_table_is_added_up_right(table: list[tuple[int, int]]) -> None:
    assert fisher_p(np.array(table, dtype=float)) == pytest.approx(float(in_integers(table)), rel=1e-9)


def in_integers(table: list[tuple[int, int]]) -> Fraction:
    """All tables with these margins, one by one."""
    ways = {0: {1: 1}}
    drawn = sum(first for first, _ in table)
    for first, second in table:
        after: dict[int, dict[int, int]] = {}
        for reached, products in ways.items():
            for count in range(first + second + 1):
                into = after.setdefault(reached + count, {})
                for product, times in products.items():
                    made = product * comb(first + second, count)
                    into[made] = into.get(made, 0) + times
        ways = after
    observed = 1
    for first, second in table:
        observed *= comb(first + second, first)
    found = ways[drawn]
    return Fraction(sum(w * n for w, n in found.items() if w <= observed), sum(w * n for w, n in found.items()))


@pytest.mark.parametrize("table", [((14, 986), (29, 971)), ((9000, 91000), (9300, 90700)), ((5, 99995), (0, 100000))])
def test_many_patients_as_in_scipy(table: tuple[tuple[int, int], ...]) -> None:
    assert fisher_2x2_p(np.array(table, dtype=float)) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-8)


def test_three_classes_of_many_patients_are_near_their_large_sample_value() -> None:
    table = np.array([[20100.0, 19900], [19800, 20200], [20100, 19900]])
    assert fisher_p(table) == pytest.approx(stats.chi2_contingency(table).pvalue, rel=2e-3)


def test_too_many_classes_of_many_patients_and_a_probability_beyond_every_number() -> None:
    assert fisher_p(np.array([[400.0, 600]] * 6)) is None
    assert fisher_2x2_p(np.array([[9000.0, 1000], [1000, 9000]])) == 0.0


def test_odds_ratio_and_interval_are_those_of_r() -> None:
    """Fisher's tea (3, 1; 1, 3) in R: 6.408309, 0.2117329 to 621.9337505, whose upper end R finds to 1 % only: tables
    weigh 1, 16, 36, 16, 1, so that 1 − x⁴/(1 + 16x + 36x² + 16x³ + x⁴) is 0.025 at x = 626.24. Convictions of twins
    (2, 15; 10, 3) on R's help page: 0.04693661, 0.003325764 to 0.363182271, p = 0.0005367."""
    ratio, limits = conditional_odds_ratio(np.array([[3.0, 1], [1, 3]])) or (0, (0, 0))
    assert (ratio, limits[0]) == pytest.approx((6.408309, 0.2117329), rel=2e-5)
    assert limits[1] == pytest.approx(626.24, abs=0.01)
    twins = np.array([[2.0, 15], [10, 3]])
    ratio, limits = conditional_odds_ratio(twins) or (0, (0, 0))
    # R's tolerance is absolute, 1.2e-4.
    assert (ratio, *limits) == pytest.approx((0.04693661, 0.003325764, 0.363182271), abs=1e-5)
    assert fisher_2x2_p(twins) == pytest.approx(0.0005367, rel=1e-4)
    assert conditional_odds_ratio(np.array([[0.0, 8], [8, 12]])) is None


def test_the_limits_of_5000_patients_leave_a_fortieth_in_each_tail() -> None:
    """The tails at both limits, added up in exact integers with the limit as a fraction."""
    (a, b), (c, d) = table = ((61, 2439), (97, 2403))
    found = conditional_odds_ratio(np.array(table, dtype=float))
    assert found is not None
    ways = [comb(a + b, x) * comb(c + d, a + c - x) for x in range(a + c + 1)]
    for limit, tail in zip(found[1], (range(a, a + c + 1), range(a + 1)), strict=True):
        odds = Fraction(limit).limit_denominator(10**12)
        weights = [way * odds.numerator**x * odds.denominator ** (a + c - x) for x, way in enumerate(ways)]
        assert float(Fraction(sum(weights[x] for x in tail), sum(weights))) == pytest.approx(0.025, rel=1e-8)
    mean = [way * Fraction(found[0]).limit_denominator(10**12) ** x for x, way in enumerate(ways)]
    assert float(sum(x * weight for x, weight in enumerate(mean)) / sum(mean)) == pytest.approx(a, rel=1e-9)


def test_200_000_patients_have_an_interval_as_wald_s() -> None:
    ratio, limits = conditional_odds_ratio(np.array([[30500.0, 69500], [30000, 70000]])) or (0, (0, 0))
    assert ratio == pytest.approx(30500 * 70000 / (69500 * 30000), rel=1e-5)
    se = (1 / 30500 + 1 / 69500 + 1 / 30000 + 1 / 70000) ** 0.5
    assert limits == pytest.approx((ratio * np.exp(-1.959964 * se), ratio * np.exp(1.959964 * se)), rel=2e-4)
