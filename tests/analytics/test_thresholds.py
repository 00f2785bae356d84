"""Cut-offs: R's type-7 quartiles of the synthetic cohort, the minimum cohort, the institution's limits."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analytics.regression import Refusal
from analytics.thresholds import Cuts, institutional_cuts, left_behind, quantile_cuts, quantile_interval

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"


def cohort(n: int) -> pd.DataFrame:
    steps = np.arange(1, n + 1)
    return pd.DataFrame(
        {"id": [f"E{i}" for i in steps], "vbq": 2 + steps / 100, "nlr": steps / 10, "plr": 100.0 + steps}
    )


@pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")
def test_upper_quartiles_are_those_of_r() -> None:
    r = json.loads((STATISTICS / "expected" / "roc_cohort200.json").read_text())["upper_quartile_type7"]
    cuts = quantile_cuts(pd.read_csv(STATISTICS / "inputs" / "cohort200.csv"), minimum_n=80)
    assert isinstance(cuts, Cuts)
    assert (cuts.n, cuts.ratios, cuts.method) == (200, "any", "quantile 0.75")
    assert {"vbq": cuts.vbq, "nlr": cuts.nlr, "plr": cuts.plr} == pytest.approx(r, rel=1e-12)


def test_quantiles_interpolate_between_neighbours() -> None:
    """21 equal steps: the 0.9 quantile (type 7) is the 19th, by hand."""
    cuts = quantile_cuts(cohort(21), quantile=0.9, minimum_n=21, ratios="both")
    assert isinstance(cuts, Cuts)
    assert (cuts.vbq, cuts.nlr, cuts.plr) == pytest.approx((2.19, 1.9, 119))
    assert cuts.ratios == "both"


def test_below_the_minimum_nothing_is_proposed() -> None:
    refusal = quantile_cuts(cohort(79), minimum_n=80)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "not calibrated yet: 79 complete rows, 80 are needed"


def test_only_complete_rows_and_first_of_their_id_count() -> None:
    frame = pd.concat([cohort(20), cohort(3)])
    frame.iloc[5, 2] = np.nan
    frame.iloc[6, 3] = np.inf
    refusal = quantile_cuts(frame, minimum_n=19)
    assert isinstance(refusal, Refusal)
    assert refusal.n_used == 18
    assert refusal.omitted == {"no finite value of nlr": 1, "no finite value of plr": 1, "repeated id": 3}


@pytest.mark.parametrize("quantile", [0, 1, 75])
def test_what_is_not_a_quantile_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_cuts(cohort(100), quantile=quantile, minimum_n=80)


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


def test_only_cuts_outside_the_interval_are_left_behind() -> None:
    """The upper quartile of 101 steps is the 76th; its 80 % interval about ±1.28 × √(101 × 3/16) = 5.6 steps."""
    rows, now = cohort(101), {"vbq": 2.76, "nlr": 7.6, "plr": 176.0}
    near = institutional_cuts(**now | {"vbq": 2.76 + 0.03, "plr": 176.0 - 3})
    far = institutional_cuts(**now | {"vbq": 2.76 + 0.09, "plr": 176.0 - 9})
    assert left_behind(near, rows, quantile=0.75) == ()
    words = left_behind(far, rows, quantile=0.75)
    assert [word.split(" lies")[0] for word in words] == ["the VBQ cut 2.85", "the PLR cut 167"]
