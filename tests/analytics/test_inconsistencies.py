"""The paper's print against itself: each number from scipy's own tests or by hand, of the text of the paper."""

from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analytics.paper.inconsistencies import inconsistencies

FOUND = {one.what: one for one in inconsistencies()}
PAPER = Path(__file__).resolve().parents[2].parent / "shared" / "paper.md"


def test_all_five_are_named() -> None:
    assert list(FOUND) == [
        "Table 1, sex of the low group", "Table 1, p of the diagnoses", "Table 2, p of smoking", "Abstract, age",
        "Sensitivity analysis, ln NLR",
    ]  # fmt: skip


@pytest.mark.skipif(not PAPER.is_file(), reason="../shared/paper.md is not here")
def test_what_is_called_printed_is_printed() -> None:
    text = PAPER.read_text()
    for words in (
        "54 (57)\t0.006", "Diagnosis, n (%)\t\t\t0.434", "0.38\t-0.0361, 0.0533\t1.29\t0.001\t0.7406", "64.8 \\pm 8.7",
        "$\\beta=0.0270$ ,  $p=0.098$",
    ):  # fmt: skip
        assert words in text, words


def test_sex() -> None:
    one = FOUND["Table 1, sex of the low group"]
    assert (one.printed, one.follows) == ("54 men, 57 women; p 0.006", "54 men, 47 women")
    right, printed = (stats.chi2_contingency([[33, 66], [54, women]]).pvalue for women in (47, 57))
    assert f"p {right:.4f} with 47, {printed:.3f} with 57" in one.arithmetic
    assert "54 + 57 = 111, but the group has 101" in one.arithmetic


def test_diagnosis() -> None:
    test = stats.chi2_contingency([[41, 44], [40, 30], [18, 27]])
    assert FOUND["Table 1, p of the diagnoses"].follows == f"p {test.pvalue:.3f}" == "p 0.191"


def test_smoking() -> None:
    """t .38 on 200 − 8 degrees of freedom."""
    one = FOUND["Table 2, p of smoking"]
    assert (one.printed, one.follows) == ("p 0.7406", f"p {2 * stats.t.sf(0.38, 192):.3f}")
    assert one.follows == "p 0.704"


def test_age() -> None:
    """Two groups of these very means and SDs, put together."""
    parts = []
    for n, mean, sd in ((99, 68.63, 7.95), (101, 59.69, 6.25)):
        grid = np.arange(n, dtype=float)
        parts.append(mean + sd * (grid - grid.mean()) / grid.std(ddof=1))
    both = np.concatenate(parts)
    assert FOUND["Abstract, age"].follows == f"{both.mean():.1f} ± {both.std(ddof=1):.1f}" == "64.1 ± 8.4"


def test_log_nlr() -> None:
    """SE from b and p; the SD that it needs, from b and t of NLR in Table 2; and that of a log-normal NLR."""
    se = 0.0270 / stats.t.ppf(1 - 0.098 / 2, 192)
    mean = (99 * 3.64 + 101 * 2.31) / 200
    sd = sqrt((98 * 1.55**2 + 100 * 1.30**2 + 99 * 101 / 200 * (3.64 - 2.31) ** 2) / 199)
    needed, usual = 0.0196 / 2.21 * sd / se, sqrt(log(1 + (sd / mean) ** 2))
    said = FOUND["Sensitivity analysis, ln NLR"].arithmetic
    assert f"SE of {se:.4f}" in said
    assert f"= {needed:.2f};" in said
    assert said.endswith(f"= {usual:.2f}.")
    assert (round(se, 4), round(needed, 2), round(usual, 1)) == (0.0162, 0.86, 0.5)
