"""Cut-offs: the institution's limits, and the bootstrap interval of a quantile."""

import numpy as np
import pytest
from scipy import stats

from analytics.episodes.cuts import institutional_cuts, quantile_interval


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
