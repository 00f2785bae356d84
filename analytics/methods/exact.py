"""Exact tests of tables of counts: Fisher's test and the conditional odds ratio, at any number of patients.

Given its margins a table of two columns is a draw of patients by lot (hypergeometric). Probabilities are kept as
logarithms, and only tables that can matter are looked at: those beyond, by Hoeffding's bound, are so improbable beside
the observed one that they change no digit of p.

Verification
------------
R 4.2.2 (``fisher.test``) on the synthetic cohort of 200: p to 1e-7, odds ratio and interval to R's own precision; tail
probabilities at the limits of 5,000 patients in exact integers, p of 200,000 against scipy's ``fisher_exact``
(tests/analytics/test_exact.py).

References
----------
Fisher RA, 1935. Freeman GH, Halton JH. Biometrika 1951;38:141–149. Cornfield J. Proc 3rd Berkeley Symp 1956;4:135–148
(the interval). Hoeffding W. J Am Stat Assoc 1963;58:13–30, section 6.
"""

from collections.abc import Callable
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from analytics.methods.linear import CONFIDENCE, Array

MOST_TABLES = 100_000_000
"""Tables above which the exact test of several classes is not computed: some seconds."""

NEGLIGIBLE = 50.0
"""Tables less probable than the observed one by this factor (its logarithm) are left out: all of them together change
no digit of p."""

LEAST = -760.0
"""Logarithm below which a probability is no floating-point number, however many tables share it."""

RELATIVE_TIE = 1e-7
"""Tables whose probabilities differ by less than this share count as equally probable (as in R)."""


def fisher_p(table: Array) -> float | None:
    """Fisher's exact test of a table with two columns: the probability of all tables no likelier than this one.

    ``None`` where more than :data:`MOST_TABLES` tables would have to be looked at: many classes of many patients.
    """
    tables = _Tables(table)
    return tables.p() if tables.at_most() <= MOST_TABLES else None


def fisher_2x2_p(table: Array) -> float:
    """:func:`fisher_p` of a 2 × 2 table, which is never too large."""
    return _Tables(table).p()


class _Tables:
    """All tables with the margins of the observed one; the rows in order of their sizes."""

    def __init__(self, table: Array) -> None:
        rows = sorted(((int(first), int(first + second)) for first, second in table.tolist()), key=lambda row: row[1])
        self.sizes = [size for _, size in rows]
        self.after = [sum(self.sizes[place + 1 :]) for place in range(len(rows))]
        self.drawn = sum(first for first, _ in rows)
        self.all = float(_log_choose(sum(self.sizes), np.array([self.drawn]))[0])
        self.observed = sum(float(_log_choose(size, np.array([first]))[0]) for first, size in rows) - self.all
        self.as_likely = self.observed + RELATIVE_TIE
        self.floor = self.observed - NEGLIGIBLE

    def at_most(self) -> float:
        """No more tables than these are looked at."""
        if self.observed < LEAST:
            return 0.0
        first = len(_likely(self.sizes[0], self.after[0], self.drawn, -self.floor))
        others = [min(size + 1, 2 * sqrt(-self.floor * size / 2) + 4) for size in self.sizes[1:-1]]
        return float(np.prod(np.array([first, *others], dtype=np.float64)))

    def p(self) -> float:
        """Probability of all tables that are no likelier than the observed one."""
        return 0.0 if self.observed < LEAST else min(1.0, self._improbable(0, self.drawn, -self.all))

    def _improbable(self, place: int, left: int, weight: float) -> float:
        """Probability of the tables that are no likelier than the observed one, from the row at ``place`` on.

        ``left`` patients are still to be put into the first column, ``weight`` is the logarithm of what the rows
        before make.
        """
        size, after = self.sizes[place], self.after[place]
        # All that follows together has at most this probability.
        most = weight + float(_log_choose(size + after, np.array([left]))[0])
        counts = _likely(size, after, left, most - self.floor)
        own = weight + _log_choose(size, counts)
        if place == len(self.sizes) - 2:
            whole = own + _log_choose(after, left - counts)
            return float(np.exp(whole[whole <= self.as_likely]).sum())
        there = own + _log_choose(after, left - counts) >= self.floor
        return sum(
            self._improbable(place + 1, left - count, part)
            for count, part in zip(counts[there].tolist(), own[there].tolist(), strict=True)
        )


def _likely(size: int, after: int, left: int, reach: float) -> NDArray[np.int64]:
    """How many of ``left`` may lie in a row of ``size``, of ``size + after`` patients, but for tables less probable
    than exp(−``reach``)."""
    everybody = size + after
    low, high = max(0, left - after), min(size, left)
    if everybody == 0:
        return np.arange(low, high + 1)
    middle = size * left / everybody
    away = sqrt(min(size, after, left, everybody - left) * max(reach, 0.0) / 2) + 1
    return np.arange(max(low, int(middle - away)), min(high, int(middle + away) + 1) + 1)


def conditional_odds_ratio(table: Array) -> tuple[float, tuple[float, float]] | None:
    """Fisher's estimate of a 2 × 2 table's odds ratio with its exact 95 % interval; ``None`` where a cell is empty."""
    if table.min() == 0:
        return None
    (a, b), (c, d) = table.tolist()
    distribution = _Conditional(int(a), row=int(a + b), other=int(c + d), column=int(a + c))
    se = sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    start = log(a * d / (b * c))
    tail = log((1 - CONFIDENCE) / 2)
    estimate = _root(lambda x: distribution.mean(x) - a, start, se)
    low = _root(lambda x: distribution.log_upper(x) - tail, estimate - 2 * se, se)
    high = _root(lambda x: tail - distribution.log_lower(x), estimate + 2 * se, se)
    return exp(estimate), (exp(low), exp(high))


class _Conditional:
    """Fisher's noncentral hypergeometric distribution of a table's first cell, ``a`` observed.

    Parameters
    ----------
    row, other
        Patients in the first and in the second row.
    column
        Patients in the first column.
    """

    def __init__(self, a: int, *, row: int, other: int, column: int) -> None:
        self.counts = np.arange(max(0, column - other), min(row, column) + 1)
        self.weights = _log_choose(row, self.counts) + _log_choose(other, column - self.counts)
        self.above, self.below = self.counts >= a, self.counts <= a

    def mean(self, log_odds: float) -> float:
        """Expected first cell at a log odds ratio."""
        weights = self.weights + self.counts * log_odds
        share = np.exp(weights - weights.max())
        return float(share @ self.counts / share.sum())

    def log_upper(self, log_odds: float) -> float:
        """Logarithm of the probability of the observed count or more."""
        return self._log_share(log_odds, self.above)

    def log_lower(self, log_odds: float) -> float:
        """Logarithm of the probability of the observed count or fewer."""
        return self._log_share(log_odds, self.below)

    def _log_share(self, log_odds: float, part: NDArray[np.bool_]) -> float:
        weights = self.weights + self.counts * log_odds
        return _log_sum(weights[part]) - _log_sum(weights)


def _root(rising: Callable[[float], float], start: float, step: float) -> float:
    """Where a rising function is 0, looked for from ``start`` on in steps that double."""
    from scipy.optimize import brentq

    low, high = start - step, start + step
    while rising(low) > 0:
        low, step = low - 2 * step, 2 * step
    while rising(high) < 0:
        high, step = high + 2 * step, 2 * step
    return float(brentq(rising, low, high, xtol=1e-13, rtol=1e-12))


def _log_sum(logarithms: Array) -> float:
    """Logarithm of the sum of numbers given as logarithms."""
    most = float(logarithms.max())
    return most + log(float(np.exp(logarithms - most).sum()))


def _log_choose(n: int, k: NDArray[np.int64]) -> Array:
    """Logarithm of the number of ways to choose ``k`` of ``n``."""
    from scipy.special import gammaln

    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), dtype=np.float64)
