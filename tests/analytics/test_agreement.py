"""Agreement against Shrout and Fleiss 1979, R 4.2.2 ``psych`` (../shared/data/statistics) and hand calculation."""

import json
from math import nan, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.integrate import quad

from analytics.methods.agreement import Agreement, BlandAltman, NoAgreement, agreement, bland_altman

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
needs_statistics = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")

FORMS = {
    "ICC1": "one_way", "ICC2": "single_agreement", "ICC3": "single_consistency", "ICC1k": "average_one_way",
    "ICC2k": "average_agreement", "ICC3k": "average_consistency",
}  # fmt: skip
KEYS = {"icc": "icc", "f": "F", "df1": "df1", "df2": "df2", "p": "p", "ci_low": "lo", "ci_high": "hi"}
TABLES = {"shrout_fleiss": "shrout_fleiss_1979.csv", "readers60": "readers60.csv"}


def ratings(name: str) -> np.ndarray:
    return pd.read_csv(STATISTICS / "inputs" / TABLES[name]).iloc[:, 1:].to_numpy(float)


def expected(name: str) -> dict:
    return json.loads((STATISTICS / "expected" / "icc.json").read_text())[name]


def agreed(table) -> Agreement:
    found = agreement(table)
    assert isinstance(found, Agreement), found
    return found


@needs_statistics
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_that_of_r(name: str, form: str) -> None:
    icc = getattr(agreed(ratings(name)), FORMS[form])
    r = expected(name)["psych"][form]
    assert {k: getattr(icc, k) for k in KEYS} == pytest.approx({k: r[theirs] for k, theirs in KEYS.items()}, rel=1e-7)


@needs_statistics
def test_the_printed_table_of_shrout_and_fleiss() -> None:
    found = agreed(ratings("shrout_fleiss"))
    for form, printed in expected("shrout_fleiss")["published"].items():
        assert round(getattr(found, FORMS[form]).icc, 2) == printed


@needs_statistics
@pytest.mark.parametrize("name", TABLES)
def test_mean_squares_and_errors_of_measurement(name: str) -> None:
    found, r = agreed(ratings(name)), expected(name)["ms"]
    assert (found.n, found.k) == (r["n"], r["k"])
    mine = [found.ms_subjects, found.ms_raters, found.ms_error, found.ms_within]
    assert mine == pytest.approx([r["MSR"], r["MSC"], r["MSE"], r["MSW"]], rel=1e-9)
    assert found.sem_consistency == pytest.approx(r["sem_consistency"], rel=1e-9)
    assert found.mdc95_consistency == pytest.approx(r["mdc95_consistency"], rel=1e-7)
    assert found.sem_agreement == pytest.approx(r["sem_agreement"], rel=1e-9)


@needs_statistics
def test_bland_altman_is_that_of_r() -> None:
    table, r = ratings("readers60"), expected("readers60")["bland_altman"]
    found = bland_altman(table[:, 0], table[:, 1])
    assert isinstance(found, BlandAltman)
    assert (found.bias, found.sd) == pytest.approx((r["bias"], r["sd"]), rel=1e-9)
    assert [found.lower_limit, found.upper_limit] == pytest.approx(r["loa"], rel=1e-7)


def test_bland_altman_by_hand() -> None:
    """Differences 1, 2, 3, 2, 2: mean 2, SD √(2/4); t(4) at 0.975 is 2.776445."""
    found = bland_altman([2.0, 4, 6, 6, 7, nan], [1.0, 2, 3, 4, 5, 9])
    assert isinstance(found, BlandAltman)
    assert (found.n, found.bias, found.sd) == (5, 2, pytest.approx(sqrt(0.5)))
    assert found.bias_ci_low == pytest.approx(2 - 2.776445 * sqrt(0.5 / 5), rel=1e-6)
    assert found.upper_limit == pytest.approx(2 + 1.959964 * sqrt(0.5), rel=1e-6)


@pytest.mark.parametrize("n", [5, 12, 60, 800])
def test_limits_of_agreement_have_exact_intervals(n: int) -> None:
    """A limit lies below bias + f·SD with 95 %/2 each: P(Z < √n (f·√(χ²/(n−1)) − 1.96)), integrated over χ²."""
    difference = np.random.default_rng(n).normal(0.2, 0.3, n)
    found = bland_altman(difference + 3, np.full(n, 3.0))
    assert isinstance(found, BlandAltman)

    def below(end: float) -> float:
        factor = (end - found.bias) / found.sd
        chi2 = stats.chi2(n - 1)

        def density(x: float) -> float:
            return chi2.pdf(x) * stats.norm.cdf(sqrt(n) * (factor * sqrt(x / (n - 1)) - stats.norm.ppf(0.975)))

        return quad(density, *chi2.ppf([1e-13, 1 - 1e-13]), epsabs=1e-11, limit=500, points=[n - 1.0])[0]

    assert below(found.upper_limit_ci_low) == pytest.approx(0.025, abs=1e-7)
    assert below(found.upper_limit_ci_high) == pytest.approx(0.975, abs=1e-7)
    # Differences the other way round have the limits the other way round.
    mirrored = bland_altman(np.full(n, 3.0), difference + 3)
    assert isinstance(mirrored, BlandAltman)
    assert mirrored.lower_limit_ci_low == pytest.approx(-found.upper_limit_ci_high)
    assert mirrored.lower_limit_ci_high == pytest.approx(-found.upper_limit_ci_low)


def test_the_exact_interval_nears_that_of_bland_and_altman_1999() -> None:
    """Of 2,000 pairs their SE of a limit, s·√(1/n + 1.96²/(2(n − 1))), times 1.96 is the half width."""
    difference = np.random.default_rng(3).normal(0, 0.2, 2000)
    found = bland_altman(difference + 3, np.full(2000, 3.0))
    assert isinstance(found, BlandAltman)
    half = 1.96 * found.sd * sqrt(1 / 2000 + 1.96**2 / (2 * 1999))
    assert (found.lower_limit_ci_high - found.lower_limit_ci_low) / 2 == pytest.approx(half, rel=5e-3)


def test_readers_apart_by_a_constant_have_no_p_from_rounding() -> None:
    first = np.round(np.random.default_rng(1).normal(3, 0.4, 40), 2)
    second = np.round(first + 0.1, 2)
    assert np.ptp(first - second) > 0  # differences of decimals are not equal in binary
    found = bland_altman(first, second)
    assert isinstance(found, BlandAltman)
    assert (found.sd, found.slope_p) == (0, None)
    assert (found.bias, found.lower_limit, found.upper_limit_ci_high) == pytest.approx((-0.1, -0.1, -0.1))
    # The least difference that two decimals can show is no rounding.
    second[0] += 0.01
    varied = bland_altman(first, second)
    assert isinstance(varied, BlandAltman)
    assert varied.sd > 0
    assert varied.slope_p is not None


def test_a_constant_shift_costs_agreement_but_not_consistency() -> None:
    noise = np.random.default_rng(5).normal(0, 0.05, (40, 2))
    truth = np.linspace(2, 4, 40)[:, None]
    plain = agreed(truth + noise)
    shifted = agreed(truth + noise + [0, 0.5])
    assert shifted.single_consistency.icc == pytest.approx(plain.single_consistency.icc, rel=1e-9)
    assert shifted.single_agreement.icc < plain.single_agreement.icc - 0.05


def test_incomplete_subjects_are_left_out_and_counted() -> None:
    table = np.array([[1.0, 1.2], [2, 2.1], [3, 3.3], [4, 3.9], [5, 5.2], [6, 6.1]])
    found = agreed(np.vstack([table, [[7, nan], [np.inf, 7]]]))
    assert (found.n, found.omitted) == (6, 2)
    assert found.single_agreement == agreed(table).single_agreement


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ([[1, 2], [2, 1], [3, 4], [4, 3]], "insufficient: 4 subjects"),
        ([[1, 2], [2, 1]] * 4, "same mean rating"),
        ([[i, i] for i in range(8)], "copies, not readings"),
        ([[i, i + 1] for i in range(8)], "copies, not readings"),
    ],
)
def test_what_has_no_agreement_says_why(table: list, reason: str) -> None:
    found = agreement(table)
    assert isinstance(found, NoAgreement)
    assert reason in str(found.reason)


def test_what_is_not_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="two raters"):
        agreement([1.0, 2, 3])
    with pytest.raises(ValueError, match="not pairs"):
        bland_altman([1.0, 2], [1.0])
    assert isinstance(bland_altman([1.0, 2], [1.0, 2]), NoAgreement)
