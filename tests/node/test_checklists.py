"""The reporting checklists: complete by number, filled from the run, and open where only a person can say it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analytics.paper.analysis import Choices, analyse
from analytics.pictures.flow import Flow, FlowStep
from node.analysis.cells import Table
from node.analysis.checklists import FILLED, OPEN, Facts, checklists, guidelines

COHORT = Path(__file__).parents[1] / "analytics" / "r" / "cohort300.csv"


def tables(rows: slice, **choices: str) -> dict[str, Table]:
    cohort = pd.read_csv(COHORT)[rows].assign(diagnosis=None, hypertension=0, calcium=0, mri_date="2026-01-05")
    steps = (FlowStep(label="Rows of the table", n=len(cohort) + 7, left={"too young": 7}),)
    facts = Facts(
        analysis=analyse(cohort, Choices(**choices), incomplete=cohort[:20].assign(id=cohort["id"] + "x", bmi=np.nan)),
        cohort=cohort, flow=Flow(steps=steps), missing=None, software="vbq-node 1",
    )  # fmt: skip
    return {table.name: table for table in checklists(facts)}


def test_the_items_are_those_of_the_guidelines() -> None:
    """STROBE has 22 items, TRIPOD+AI 27; every name that fills one is known, and every known one is used."""
    of = {name: [item[0] for item in one["items"]] for name, one in guidelines().items()}
    whole = {name: {int(item.rstrip("abcdefg")) for item in items} for name, items in of.items()}
    assert whole == {"strobe": set(range(1, 23)), "tripod_ai": set(range(1, 28))}
    assert (len(of["strobe"]), len(of["tripod_ai"])) == (32, 52), "with their parts"
    used = {item[2] for one in guidelines().values() for item in one["items"] if len(item) > 2}
    assert used == set(FILLED)


def test_what_the_run_knows_is_filled_in_and_the_rest_is_open() -> None:
    found = {
        name: {row[0]: row[2] for row in table.rows} for name, table in tables(slice(None), outcome="event").items()
    }
    strobe, tripod = found["strobe"], found["tripod_ai"]
    assert {item for item, said in strobe.items() if said == OPEN} == {"1", "2", "14b", "18", "19", "20", "21", "22"}
    assert strobe["5"].startswith("MRI 2026-01-05 to 2026-01-05")
    assert strobe["10"].startswith("All eligible patients: 300 in the model of 8 coefficients")
    assert strobe["13b"] == "7 too young"
    assert "20 imputations" in strobe["12c"]
    assert tripod["6a"].startswith("Scanners: A (")
    assert "of 300 have the outcome" in tripod["13"]
    assert {item for item, said in tripod.items() if said == OPEN} >= {"1", "2", "17", "18a", "19", "25"}


@pytest.mark.parametrize("name", ["strobe", "tripod_ai"])
def test_without_a_model_its_items_are_open(name: str) -> None:
    table = tables(slice(0, 30))[name]
    said = {row[0]: row[2] for row in table.rows}
    for item in {"strobe": ("10", "12a", "16a"), "tripod_ai": ("12c", "22", "23a")}[name]:
        assert said[item] == OPEN
