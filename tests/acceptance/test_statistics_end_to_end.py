"""A retrospective cohort imported, one night run: the coefficients are those of R."""

import json
from pathlib import Path

import pytest

from tests.acceptance.harness import Node, vbq_node
from tests.commands import command


def test_import_then_nightly_gives_the_coefficients_of_r(node: Node, shared_data: Path) -> None:
    cohort = shared_data / "statistics/inputs/cohort200.csv"
    expected = json.loads((shared_data / "statistics/expected/ols_cohort200.json").read_text())
    vbq_node("import", str(cohort), "--config", str(node.config))
    again = command("import", str(cohort), "--config", str(node.config), "--json")
    assert json.loads(again.stdout)["already_imported"] is True
    assert node.query("SELECT count(*) AS n FROM cohort WHERE eligible = 1") == [{"n": 200}]
    vbq_node("nightly", "--date", "2026-03-02", "--config", str(node.config))
    (fit,) = node.query("SELECT * FROM fits")
    assert (fit["n_used"], fit["df_resid"]) == (expected["n"], expected["df_resid"])
    assert fit["adj_r2"] == pytest.approx(expected["adj_r2"], rel=1e-9)
    terms = {term["term"]: term for term in node.query("SELECT * FROM fit_terms")}
    assert set(terms) == set(expected["coef"])
    names = {"b": "b", "se": "se", "t": "t", "p": "p", "lo": "ci_low", "hi": "ci_high"}
    names |= {"beta_std": "beta_std", "vif": "vif", "partial_r2": "partial_r2"}
    for term, numbers in expected["coef"].items():
        for theirs, ours in names.items():
            if theirs in numbers:
                assert terms[term][ours] == pytest.approx(numbers[theirs], rel=1e-9), (term, theirs)


def test_a_night_is_run_once_and_its_records_stay(node: Node, shared_data: Path) -> None:
    command("import", str(shared_data / "statistics/inputs/cohort200.csv"), "--config", str(node.config))
    command("nightly", "--date", "2026-03-02", "--config", str(node.config))
    before = node.views()
    command("nightly", "--date", "2026-03-02", "--config", str(node.config))
    assert node.views() == before


def test_a_dry_run_stores_nothing(node: Node, shared_data: Path) -> None:
    command("import", str(shared_data / "statistics/inputs/cohort200.csv"), "--config", str(node.config))
    before = node.views()
    shown = command("nightly", "--date", "2026-03-02", "--dry-run", "--config", str(node.config)).stdout
    assert "0.52" in shown, "the adjusted R² of Table 2"
    assert node.views() == before
