"""Multiple imputation against R (mice 3.15; r/imputation.R)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analytics.methods.linear import fit_linear
from analytics.methods.rows import Refusal
from analytics.paper.imputation import ImputedFit, _impute, imputed_model, pool
from analytics.paper.regression import PREDICTORS, design_matrix

FOLDER = Path(__file__).with_name("r")
MEASURED = ("vbq", *PREDICTORS)


@pytest.fixture(scope="module")
def r() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "imputation.json").read_text())
    return found


def gaps() -> pd.DataFrame:
    """The rule of r/imputation.R."""
    table = pd.read_csv(FOLDER / "cohort300.csv")
    number = np.arange(1, 301)
    table.loc[(number % 9 == 0) & (table.vbq > table.vbq.median()), "bmi"] = np.nan
    table.loc[number % 11 == 0, "smoking"] = np.nan
    table.loc[number % 13 == 0, ["nlr", "plr"]] = np.nan
    return table


def test_rubins_rules_are_those_of_mice(r: dict[str, Any]) -> None:
    table = gaps()[list(MEASURED)]
    fits = []
    for k in range(1, 5):
        filled = table.fillna(table.mean() + (k - 2.5) * table.std())
        fits.append(fit_linear(filled["vbq"].to_numpy(), *design_matrix(filled, PREDICTORS)))
    for term, fmi in zip(pool(fits), r["fmi"], strict=True):
        found = (term.b, term.se, term.df, term.p, term.ci_low, term.ci_high)
        assert found == pytest.approx(r["rules"][term.term], rel=1e-7, abs=1e-12)
        assert term.fraction_missing == pytest.approx(fmi, rel=1e-7)


def test_the_whole_is_that_of_mice_but_for_the_draws(r: dict[str, Any]) -> None:
    found = imputed_model(gaps(), seed=1, imputations=50)
    assert isinstance(found, ImputedFit)
    for term in found.terms:
        b, se = r["whole"][term.term]
        assert abs(term.b - b) < 0.1 * se
        assert term.se == pytest.approx(se, rel=0.05)
    table = gaps()
    assert found.missing == {name: int(table[name].isna().sum()) for name in PREDICTORS}
    assert (found.n, found.complete) == (300, len(table.dropna()))


def test_what_is_filled_in_was_measured_and_the_rest_stays() -> None:
    table = gaps()[list(MEASURED)]
    values = table.to_numpy()
    filled = _impute(values, np.isnan(values), np.random.default_rng(1))
    assert (filled[~np.isnan(values)] == values[~np.isnan(values)]).all()
    for place, name in enumerate(MEASURED):
        assert set(filled[:, place]) <= set(table[name].dropna())
    assert imputed_model(gaps(), seed=3) == imputed_model(gaps(), seed=3)


def test_what_cannot_be_imputed_is_refused() -> None:
    table = gaps()
    whole = pd.read_csv(FOLDER / "cohort300.csv")
    few = whole.assign(bmi=whole["bmi"].where(whole.index % 2 == 0)).assign(nlr=lambda t: t.nlr.where(t.index % 3 > 0))
    for frame, code in (
        (whole, "nothing-to-impute"),
        (table[:90], "too-few-rows"),
        (few.assign(bmi=few.bmi.where(few.index % 4 == 0)), "too-few-rows"),
        (table.assign(bmi=whole.bmi.where(whole.index < 140)), "too-much-missing"),
        (table.assign(diabetes=1.0), "no-estimate-for"),
    ):
        found = imputed_model(frame, seed=1)
        assert isinstance(found, Refusal)
        assert found.reason.code == code
