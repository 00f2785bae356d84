"""The pooled model against the fit on all rows, and what sums may show."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from analytics.methods.random_effects import RandomEffects
from analytics.paper.regression import PREDICTORS
from analytics.paper.strata import UNKNOWN
from analytics.pooling.disclosure import fewest_shown, rounded, small_cells
from analytics.pooling.histogram import Histogram, between, histogram
from analytics.pooling.pool import Pool, Site, pool
from analytics.pooling.sums import MINIMUM_ROWS, SiteSums, Sums, site_sums
from analytics.pooling.within import estimates, fit_within
from analytics.reasons import Reason, codes

TRUE = {"nlr": 0.02, "plr": 0.0015}


def cohort(seed: int, scanners: dict[str, tuple[int, float]]) -> pd.DataFrame:
    """A site's patients: for each scanner how many, and how far it reads VBQ off."""
    random = np.random.default_rng(seed)
    frames = []
    for scanner, (n, offset) in scanners.items():
        frame = pd.DataFrame({
            "age": random.integers(50, 85, n), "sex_male": np.arange(n) % 2, "smoking": np.arange(n) // 2 % 2,
            "diabetes": np.arange(n) // 4 % 2, "bmi": random.normal(24, 3, n), "nlr": random.gamma(4, 0.8, n),
            "plr": random.normal(150, 40, n),
        })  # fmt: skip
        frame["vbq"] = (
            1.3 + 0.02 * frame["age"] + 0.02 * frame["nlr"] + 0.0015 * frame["plr"] + offset + random.normal(0, 0.2, n)
        )
        frame["scanner_stratum"] = scanner
        frames.append(frame)
    found = pd.concat(frames, ignore_index=True)
    found["id"] = [f"{seed}-{i}" for i in range(len(found))]
    return found


SITES = {
    "A": cohort(1, {"Avanto 1.5 T": (150, 0.0)}),
    "B": cohort(2, {"Skyra 3 T": (130, -0.57)}),
    "C": cohort(3, {"Avanto 1.5 T": (95, 0.1), "Signa 1.5 T": (40, 0.2), "Ingenia 3 T": (50, -0.4)}),
}


def sums(frame: pd.DataFrame) -> SiteSums:
    result = site_sums(frame)
    assert isinstance(result, SiteSums), result
    return result


@pytest.fixture(scope="module")
def pooled() -> Pool:
    return pool([Site(name=name, sums=sums(frame)) for name, frame in SITES.items()])


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    frame = pd.concat([frame.assign(site=name) for name, frame in SITES.items()], ignore_index=True)
    frame["level"] = frame["site"] + ": " + frame["scanner_stratum"]
    return frame


@pytest.fixture(scope="module")
def fitted(rows: pd.DataFrame):
    """The fit on all rows with a column for each scanner of each site."""
    levels = pd.get_dummies(rows["level"]).astype(float)
    return sm.OLS(rows["vbq"], pd.concat([rows[list(PREDICTORS)].astype(float), levels], axis=1)).fit()


def test_the_pool_is_the_fit_on_all_rows(pooled: Pool, fitted) -> None:
    assert [term.term for term in pooled.terms] == list(PREDICTORS)
    for term in pooled.terms:
        assert term.b == pytest.approx(fitted.params[term.term], rel=1e-9)
        assert term.se == pytest.approx(fitted.bse[term.term], rel=1e-9)
        assert term.p == pytest.approx(fitted.pvalues[term.term], rel=1e-6)
        low, high = fitted.conf_int().loc[term.term]
        assert (term.ci_low, term.ci_high) == pytest.approx((low, high), rel=1e-9)
    assert (pooled.n, pooled.strata, pooled.df_resid) == (465, 5, fitted.df_resid)
    assert pooled.residual_sd == pytest.approx(fitted.mse_resid**0.5, rel=1e-9)


def test_a_three_tesla_site_does_not_pull_the_ratios(pooled: Pool, rows: pd.DataFrame) -> None:
    by_name = {term.term: term for term in pooled.terms}
    naive = sm.OLS(rows["vbq"], sm.add_constant(rows[list(PREDICTORS)].astype(float))).fit()
    for name, true in TRUE.items():
        assert by_name[name].ci_low < true < by_name[name].ci_high
    assert naive.bse["nlr"] > 1.5 * by_name["nlr"].se


def test_scanners_too_small_alone_are_in_the_model_but_not_to_be_seen(pooled: Pool) -> None:
    given = sums(SITES["C"])
    assert [(group.scanner, group.strata, group.n) for group in given.groups] == [
        ("Avanto 1.5 T", 1, 95),
        ("2 scanners", 2, 90),
    ]
    together = given.groups[1]
    assert (together.means, together.correlations, together.vbq) == (None, None, None)
    assert codes(given.doubts) == ["pool-scanner-too-few", "pool-scanner-too-few", "pool-scanners-together"]
    assert [one.scanner for one in pooled.levels] == ["Avanto 1.5 T", "Skyra 3 T", "Avanto 1.5 T"]


def test_offsets_of_scanners_are_the_differences_of_their_levels(pooled: Pool, fitted) -> None:
    skyra = pooled.levels[1]
    contrast = np.zeros(len(fitted.params))
    names = list(fitted.params.index)
    contrast[names.index("B: Skyra 3 T")], contrast[names.index("A: Avanto 1.5 T")] = 1, -1
    test = fitted.t_test(contrast)
    assert (skyra.offset, skyra.se) == pytest.approx((float(test.effect[0]), float(test.sd[0, 0])), rel=1e-9)
    assert (skyra.ci_low or 0) < -0.57 < (skyra.ci_high or 0)
    assert (pooled.levels[0].offset, pooled.levels[0].se) == (0, None)
    three = np.zeros((2, len(names)))
    for line, name in enumerate(("B: Skyra 3 T", "C: Avanto 1.5 T")):
        three[line, names.index(name)], three[line, names.index("A: Avanto 1.5 T")] = 1, -1
    expected = fitted.f_test(three)
    assert pooled.level_test is not None
    assert (pooled.level_test.f, pooled.level_test.df1) == pytest.approx((float(expected.fvalue), 2), rel=1e-8)


def test_slopes_of_the_sites_are_compared_as_by_fits_on_their_rows(pooled: Pool, rows: pd.DataFrame, fitted) -> None:
    sse, df = 0.0, 0
    for _, frame in rows.groupby("site"):
        levels = pd.get_dummies(frame["level"]).astype(float)
        own = sm.OLS(frame["vbq"], pd.concat([frame[list(PREDICTORS)].astype(float), levels], axis=1)).fit()
        sse, df = sse + own.ssr, df + int(own.df_resid)
    f = (fitted.ssr - sse) / (fitted.df_resid - df) / (sse / df)
    assert pooled.slopes_test is not None
    assert (pooled.slopes_test.f, pooled.slopes_test.df2) == pytest.approx((f, df), rel=1e-8)


def test_collinearity_is_that_within_scanners(pooled: Pool, rows: pd.DataFrame) -> None:
    inner = rows[list(PREDICTORS)] - rows.groupby("level")[list(PREDICTORS)].transform("mean")
    inverse = np.linalg.inv(np.corrcoef(inner.to_numpy(), rowvar=False))
    assert [term.vif for term in pooled.terms] == pytest.approx(np.diag(inverse).tolist(), rel=1e-8)


def test_ratios_vary_between_sites_and_a_site_can_be_left_out(pooled: Pool) -> None:
    nlr = pooled.random["nlr"]
    assert isinstance(nlr, RandomEffects)
    assert nlr.k == 3 and (nlr.prediction_low or 0) < nlr.b < (nlr.prediction_high or 0)
    assert [one.site for one in pooled.without] == ["A", "B", "C"]
    alone = pool([Site(name=name, sums=sums(SITES[name])) for name in ("A", "C")])
    assert pooled.without[1].common[0].b == pytest.approx(alone.terms[5].b, rel=1e-12)
    assert pooled.without[1].n == alone.n == 335


def test_one_site_alone_has_no_random_effects_and_is_not_left_out() -> None:
    alone = pool([Site(name="A", sums=sums(SITES["A"]))])
    assert isinstance(alone.random["nlr"], Reason)
    assert alone.without == ()
    assert alone.to_json_dict()["random"]["nlr"]["code"] == "pool-too-few-sites"


def test_a_predictor_that_nobody_varies_in_is_left_out_by_name() -> None:
    frame = SITES["A"].assign(diabetes=0)
    alone = pool([Site(name="A", sums=sums(frame))])
    assert alone.aliased == ("diabetes",)
    expected = sm.OLS(
        frame["vbq"], sm.add_constant(frame[[one for one in PREDICTORS if one != "diabetes"]].astype(float))
    ).fit()
    assert alone.terms[4].b == pytest.approx(expected.params["nlr"], rel=1e-9)
    assert "term-not-estimated" in codes(alone.alerts)


def test_a_scanner_without_a_name_is_a_level_that_a_person_is_told_of() -> None:
    found = pool([Site(name="A", sums=sums(SITES["A"].assign(scanner_stratum="")))])
    assert [one.scanner for one in found.levels] == [UNKNOWN]
    assert "pool-scanner-unknown" in codes(found.alerts)


@pytest.mark.parametrize(("column", "factor"), [("nlr", 10), ("plr", 0.1), ("bmi", 0.4), ("vbq", 0.1), ("age", 0.083)])
def test_a_mean_in_another_unit_is_said(column: str, factor: float, pooled: Pool) -> None:
    assert "pool-mean-unusual" not in codes(pooled.alerts)
    other = SITES["A"].assign(**{column: SITES["A"][column] * factor})
    found = pool([Site(name="A", sums=sums(other)), Site(name="B", sums=sums(SITES["B"]))])
    (said,) = [one for one in found.alerts if one.code == "pool-mean-unusual"]
    assert said.values["column"] == column and said.values["site"] == "A"


def test_too_few_patients_give_nothing() -> None:
    refused = site_sums(SITES["A"].head(MINIMUM_ROWS - 1))
    assert isinstance(refused, Reason)
    assert refused.code == "pool-nothing-to-give"
    # As many as two small scanners need: ten for each coefficient, and their two levels.
    few = SITES["A"].head(MINIMUM_ROWS).assign(scanner_stratum=["X"] * 40 + ["Y"] * 40)
    assert isinstance(site_sums(few), Reason)


def test_a_scanner_with_a_small_cell_gives_nothing_alone() -> None:
    frame = SITES["A"].assign(smoking=[1.0] * 4 + [0.0] * 146)
    refused = site_sums(frame)
    assert isinstance(refused, Reason)
    assert codes(refused.values["why"])[0] == "pool-small-cell"
    assert isinstance(site_sums(frame, minimum=3), Reason), "of the men that smoke there are 2"
    assert isinstance(site_sums(frame.assign(smoking=0.0)), SiteSums), "nobody is no cell of a few"


def test_small_cells_of_two_columns() -> None:
    a, b = [1] * 10 + [0] * 10, [1] * 8 + [0] * 2 + [1] * 2 + [0] * 8
    assert list(small_cells({"a": a, "b": b})) == [("a", "b")]
    assert list(small_cells({"a": a, "b": b}, minimum=2)) == []
    assert list(small_cells({"a": [1] * 3 + [0] * 17})) == [("a",)]


def people(*ranges: range, state: str = "") -> dict[str, str]:
    return {f"{i}{state}": str(i) for one in ranges for i in one}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([people(range(100)), people(range(101))], 1),  # one more patient: its row is the difference
        ([people(range(100)), people(range(105))], None),
        ([people(range(100)), people(range(100))], None),
        ([people(range(100)), people(range(1, 100), range(100, 120))], None),  # one gone, twenty come
        # … and ten more: the first is still hidden behind the twenty, until these leave again.
        ([people(range(100)), people(range(1, 100), range(100, 120)), people(range(1, 100), range(100, 130))], None),
        ([people(range(100)), people(range(1, 120)), people(range(1, 100))], 1),
        # Four come and four go: two exports differ by eight.
        ([people(range(50)), people(range(60)), people(range(50), range(54, 64))], None),
        # No two differ by fewer than 47, but the first less the two others is of three.
        ([people(range(100)), people(range(50), range(100, 103)), people(range(50, 100))], 3),
        # A value corrected: two states of one patient.
        ([people(range(100)), people(range(99)) | people(range(99, 100), state="'")], 1),
        # By scanner: a patient who moves from one to the other is seen in both.
        ([people(range(50)), people(range(50, 100)), people(range(49)), people(range(49, 100))], 1),
        ([], None),
    ],
)
def test_what_differences_of_all_sums_show(given: list[dict[str, str]], expected: int | None) -> None:
    assert fewest_shown(given) == expected


def test_counts_are_told_to_the_nearest_five() -> None:
    assert [rounded(n) for n in (0, 1, 4, 5, 7, 8, 12, 13)] == [0, None, None, 5, 5, 10, 10, 15]


def test_cells_of_a_histogram_are_never_small() -> None:
    values = np.array([0.5, 1.5, 1.6, 1.7, 1.8, 1.9, 2.5, 2.5, 2.6, 2.7, 2.8, 3.5])
    # Below 1 is one alone, from 3 on one: each goes to its neighbour.
    assert histogram(values, (1.0, 2.0, 3.0)) == Histogram(edges=(2.0,), counts=(5, 5))
    assert histogram(values[:3], (1.0, 2.0)) == Histogram(edges=(), counts=(0,))


def test_a_quantile_lies_between_edges_that_all_sites_have() -> None:
    one = Histogram(edges=(1.0, 2.0, 3.0), counts=(10, 20, 40, 30))
    other = Histogram(edges=(2.0, 3.0), counts=(50, 30, 20))
    # Below 2: 30 + 50 of 200; below 3: 150 of 200.
    found = [between([one, other], share) for share in (0.25, 0.5, 0.75, 0.9)]
    assert [(q.low, q.high) for q in found] == [(None, 2.0), (2.0, 3.0), (2.0, 3.0), (3.0, None)]


def test_sums_that_determine_nothing() -> None:
    group = sums(SITES["A"]).groups[0]
    with pytest.raises(ValueError, match="cannot determine"):
        fit_within([replace(group, yy=0.0)])


def test_sums_added_up_are_those_of_the_parts() -> None:
    given = sums(SITES["C"])
    parts = [sums(SITES["A"]).groups[0], given.groups[0]]
    whole = Sums(
        scanner="2 scanners", strata=2, n=parts[0].n + parts[1].n, xx=parts[0].xx + parts[1].xx,
        xy=parts[0].xy + parts[1].xy, yy=parts[0].yy + parts[1].yy,
    )  # fmt: skip
    assert estimates(fit_within([whole])) == estimates(fit_within(parts))
