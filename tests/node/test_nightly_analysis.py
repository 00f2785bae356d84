"""The whole analysis of a night's cohort, made from its record and made again."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from node.analysis.analyse import pictures
from node.errors import InputError
from node.nightly.analysis import past_analysis, publish_analysis
from node.nightly.night import run_night
from tests.node.night_world import NIGHT, NOW, open_world, put_operation, settings_for


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_lost_analysis_is_made_again_with_the_same_bytes_from_the_record(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", vbq=3.4, nlr=6.0, plr=300.0)
    put_operation(db, "E2", status="incomplete", reasons=("no MRI in the 3 months before the operation",))
    fit = run_night(db, settings, night=NIGHT, now=NOW).fit
    publish_analysis(db, tmp_path, now=NOW)
    folder = tmp_path / "reports" / NIGHT.isoformat() / "analysis"
    first = content(folder)
    found = json.loads(first["analysis.json"])
    assert fit is not None
    assert found["model"] == json.loads(json.dumps(fit.to_json_dict())), "the model of the mail"
    assert found["validation"]["bootstraps"] == 2000
    assert [step["n"] for step in found["flow"]["steps"]] == [122, 121, 121]
    assert (found["flow"]["excluded"], found["excluded"]) == (1, [])
    # Figures of the report are not drawn again; they would be the same.
    run = past_analysis(db, NIGHT)
    anew = {one.name: one for one in pictures(replace(run, drawn={}))}
    assert run.drawn.keys() == {"flow", "scatter_age", "scatter_nlr", "scatter_plr"}
    assert {name: anew[name].png for name in run.drawn} == run.drawn
    shutil.rmtree(folder)
    put_operation(db, "E1", vbq=2.0, nlr=1.0, plr=100.0)  # later data do not matter
    publish_analysis(db, tmp_path, now=NOW)
    assert content(folder) == first
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []
    with pytest.raises(InputError, match="no fit of the night of 2026-03-03"):
        past_analysis(db, NIGHT + timedelta(days=1))
    db.close()


def test_without_anybody_eligible_there_is_no_analysis(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    publish_analysis(db, tmp_path, now=NOW)
    run_night(db, settings_for(tmp_path), night=NIGHT, now=NOW)
    publish_analysis(db, tmp_path, now=NOW)
    assert not (tmp_path / "reports" / NIGHT.isoformat() / "analysis").exists()
    with pytest.raises(InputError, match="nobody was eligible"):
        past_analysis(db, NIGHT)
    db.close()
