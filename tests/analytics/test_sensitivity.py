"""The sensitivity models against R 4.2.2 (sandwich; ../shared/data/statistics)."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analytics.methods.plain import in_words
from analytics.methods.rows import Refusal
from analytics.paper.regression import OlsFit
from analytics.paper.sensitivity import CONTINUOUS, RATIOS, WinsorisedFit, log_ratio_model, winsorised_model

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
pytestmark = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")

KEYS = {"b": "b", "se": "se", "t": "t", "p": "p", "ci_low": "lo", "ci_high": "hi"}
CHOICES = [
    ("p1_ratios", 0.01, RATIOS),
    ("p1_all_continuous", 0.01, CONTINUOUS),
    ("p5_ratios", 0.05, RATIOS),
    ("p5_all_continuous", 0.05, CONTINUOUS),
]


def expected(name: str) -> dict:
    return json.loads((STATISTICS / "expected" / f"{name}.json").read_text())


@pytest.mark.parametrize(("name", "share", "columns"), CHOICES)
def test_winsorised_with_hc3_is_that_of_r(cohort: pd.DataFrame, name: str, share: float, columns: tuple) -> None:
    r = expected("winsor_hc3_cohort200")["fits"][name]
    fit = winsorised_model(cohort, share=share, columns=columns)
    assert isinstance(fit, WinsorisedFit)
    assert set(fit.limits) == set(r["limits"])
    for column, limits in fit.limits.items():
        assert limits == pytest.approx(r["limits"][column], rel=1e-9)
    assert (fit.r2, fit.adj_r2) == pytest.approx((r["r2"], r["adj_r2"]), rel=1e-9)
    for lines, theirs in ((fit.terms, r["HC3"]), (fit.classic_terms, r["classic"])):
        assert [line.term for line in lines] == list(theirs)
        for line in lines:
            mine = {k: getattr(line, k) for k in KEYS}
            assert mine == pytest.approx({k: theirs[line.term][name] for k, name in KEYS.items()}, rel=1e-7)


def test_the_log_ratio_model_is_that_of_r(cohort: pd.DataFrame) -> None:
    r = expected("ols_logratios_cohort200")
    fit = log_ratio_model(cohort)
    assert isinstance(fit, OlsFit)
    assert fit.adj_r2 == pytest.approx(r["adj_r2"], rel=1e-9)
    for term in fit.terms:
        theirs = r["coef"][term.term]
        assert {k: getattr(term, k) for k in KEYS} == pytest.approx({k: theirs[n] for k, n in KEYS.items()}, rel=1e-7)


def test_a_ratio_of_zero_has_no_logarithm(cohort: pd.DataFrame) -> None:
    frame = cohort.astype({"nlr": float})
    frame.loc[[3, 7], "nlr"] = [0.0, -1.0]
    fit = log_ratio_model(frame)
    assert isinstance(fit, OlsFit)
    assert (fit.n_used, in_words(fit.omitted)) == (198, {"no finite value of ln_nlr": 2})


def test_clipping_tames_the_slip_of_the_spoilt_cohort() -> None:
    """PLR 2210 of S088 is clipped to the 99th percentile; the PLR effect comes back to R's of the clean cohort."""
    clean = expected("winsor_hc3_cohort200")["fits"]["p1_ratios"]["HC3"]["plr"]
    fit = winsorised_model(pd.read_csv(STATISTICS / "inputs" / "messy201.csv"))
    assert isinstance(fit, WinsorisedFit)
    assert fit.n_used == 175
    assert fit.limits["plr"][1] < 335
    plr = next(term for term in fit.terms if term.term == "plr")
    assert clean["lo"] < plr.b < clean["hi"]


def test_what_cannot_be_fitted_is_refused(cohort: pd.DataFrame) -> None:
    assert isinstance(winsorised_model(cohort.head(60)), Refusal)
    assert isinstance(log_ratio_model(cohort.head(60)), Refusal)
    with pytest.raises(ValueError, match=r"between 0 and 0\.5"):
        winsorised_model(cohort, share=5)
