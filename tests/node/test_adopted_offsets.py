"""Offsets of scanners and the spread from day to day: nothing follows from them until a person adopts one."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from sqlite_utils import Database
from typer.testing import CliRunner

from analytics.paper.regression import PREDICTORS
from analytics.paper.rescans import Pair
from node.cli import app
from node.errors import InputError
from node.nightly import corrections as could_be
from node.nightly.cohort import cohort_frame, read_snapshot
from node.nightly.night import run_night
from node.people import corrections, thresholds
from node.people.corrections import NOISE, Measured
from node.results.findings import standing_of
from node.settings import Thresholds
from node.store import derivation
from node.store.database import writing
from tests.node.night_world import NIGHT, NOW, open_world, put_operation, settings_for

LIMITS = Thresholds(method="institutional", vbq=3.0, nlr=3.5, plr=250.0)
OFFSET = Measured(scanner="B", reference="A", source="rescans", n=12, value=0.25, ci_low=0.2, ci_high=0.3)
SPREAD = Measured(source="rescans", n=25, value=0.15, ci_low=0.12, ci_high=0.2)
WHY = {"by": "Dr A", "why": "phantom agrees", "now": NOW}


def put(db: Database) -> None:
    """An operation at each of two scanners, with a VBQ above the limit and low ratios."""
    for scanner in ("A", "B"):
        put_operation(db, scanner, vbq=3.125, nlr=1.0, plr=100.0)
        with writing(db):
            db.execute("UPDATE derived_link SET scanner_stratum = ? WHERE episode = ?", [scanner, scanner])


def night(db: Database, folder: Path, days: int) -> tuple[dict[str, dict[str, Any]], str]:
    """What a night says of each operation, and its report."""
    settings = settings_for(folder, thresholds=LIMITS)
    run_night(db, settings, night=NIGHT + timedelta(days=days), now=NOW + timedelta(days=days))
    sql = "SELECT counts, text FROM record_report ORDER BY night DESC LIMIT 1"
    counts, text = db.execute(sql).fetchone()
    return {one["episode"]: one for one in json.loads(counts)["patients"]}, text


def test_an_offset_counts_from_its_adoption_until_it_is_taken_back(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    put(db)
    before, _ = night(db, tmp_path, 0)
    corrections.adopt(db, OFFSET, **WHY)
    held = corrections.in_force(db)
    assert [str(one) for one in thresholds.would_change_with(db, held)] == ["B: intermediate → lower"]
    judged, text = night(db, tmp_path, 1)
    assert judged["A"] == before["A"], "of another scanner"
    assert (judged["B"]["tier"], judged["B"]["cuts"]["vbq"], judged["B"]["values"]["vbq"]) == ("lower", 3.25, 3.125)
    assert judged["B"]["cut_of"] == "all scanners, +0.250 for B (adopted offset above A)"
    said = (
        "- scanner B above A: VBQ +0.250 (95 % CI +0.200 to +0.300, 12 patients on both); adopted 2026-03-02 by Dr A: "
        "phantom agrees\n"
    )
    assert said in text
    moved = standing_of(db, "B")
    assert moved is not None
    assert [str(one) for one in moved.reasons] == ["VBQ cut of all scanners, +0.250 for B (adopted offset above A)"]
    # Deriving everything again arrives at the same: what people decided is a fact.
    with writing(db):
        derivation.forget(db)
        derivation.finish(db)
    put(db)
    assert night(db, tmp_path, 2)[0] == judged
    corrections.withdraw(db, "B", by="Dr B", why="scanner was mended", now=NOW)
    after, text = night(db, tmp_path, 3)
    assert (after, "offset" in text.partition("CUT-OFFS")[2]) == (before, False)
    plain = standing_of(db, "B")
    assert plain is not None
    assert plain.reasons == ()
    flags = db.execute("SELECT id, change, tier, cause, vbq_cut FROM flags ORDER BY flag_id").fetchall()
    assert flags[2:] == [
        ("B", "changed", "lower", "offset of scanner B +0.000 → +0.250", 3.25),
        ("B", "changed", "intermediate", "offset of scanner B +0.250 → +0.000", 3.0),
    ]
    assert [row["decision"] for row in corrections.decisions(db)] == ["adopted", "withdrawn"]
    db.close()


def test_the_spread_from_day_to_day_says_what_is_near_the_cut(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    put(db)
    before, text = night(db, tmp_path, 0)
    assert (before["A"]["near_cut"], before["A"]["vbq_error"]) == (False, 0.075)
    corrections.adopt(db, SPREAD, **WHY)
    judged, text = night(db, tmp_path, 1)
    assert (judged["A"]["near_cut"], judged["A"]["vbq_error"], judged["A"]["tier"]) == (True, 0.15, "intermediate")
    assert "SD 0.150 in 25 patients of this site examined twice" in text
    # A VBQ that is more doubtful by itself stays as doubtful.
    assert corrections.in_force(db).error(0.2) == 0.2
    corrections.withdraw(db, NOISE, by="Dr B", why="too few", now=NOW)
    assert night(db, tmp_path, 2)[0] == before
    db.close()


def test_what_is_adopted_is_of_one_reference_and_has_a_name_and_a_reason(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    with pytest.raises(InputError, match="say who"):
        corrections.adopt(db, OFFSET, by=" ", why="x", now=NOW)
    with pytest.raises(InputError, match="say why"):
        corrections.adopt(db, OFFSET, by="Dr A", why="", now=NOW)
    with pytest.raises(InputError, match="B is not adopted; adopted: nothing"):
        corrections.withdraw(db, "B", by="Dr A", why="x", now=NOW)
    corrections.adopt(db, OFFSET, **WHY)
    for scanner, reference in (("C", "B"), ("A", "C")):
        other = Measured(scanner=scanner, reference=reference, source="model", n=9, value=0.1, ci_low=0.0, ci_high=0.2)
        with pytest.raises(InputError, match="not added up"):
            corrections.adopt(db, other, **WHY)
    db.close()


def test_offsets_are_measured_above_the_scanner_of_most_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the model as statsmodels fits it with a column for the scanner; of patients examined on both, the mean."""
    db = open_world(tmp_path, rows=120)
    with writing(db):
        db.execute("UPDATE derived_import_row SET scanner_stratum = iif(CAST(substr(id, 2) AS INT) % 3, 'B', 'A')")
        db.execute("UPDATE derived_import_row SET vbq = vbq + 0.2 WHERE scanner_stratum = 'A'")
    steps = [0.1 + 0.01 * one for one in range(10)]
    twice = [Pair(vbq=(2.5, 2.5 + step), scanners=("A", "B"), days=9) for step in steps]
    monkeypatch.setattr(could_be, "pairs", lambda _db, _settings: twice)
    found, refused = could_be.measured(db, settings_for(tmp_path))
    assert [one.code for one in refused] == ["few-rescans"], "nobody was twice on one scanner"
    examined, fitted = found
    assert (examined.scanner, examined.reference, examined.n) == ("A", "B", 10)
    assert examined.value == pytest.approx(-0.145)
    frame = cohort_frame(read_snapshot(db).text)
    columns = frame[list(PREDICTORS)].astype(float).assign(a=(frame["scanner_stratum"] == "A").astype(float))
    ols = sm.OLS(frame["vbq"].to_numpy(), np.asarray(sm.add_constant(columns))).fit()
    expected = [ols.params[-1], *ols.conf_int()[-1]]
    assert [fitted.value, fitted.ci_low, fitted.ci_high] == pytest.approx(expected, rel=1e-9)
    assert could_be.choose(found, "A") == examined
    assert could_be.choose(found, "A", "model") == fitted
    with pytest.raises(InputError, match="nothing is measured of noise; measured: A"):
        could_be.choose(found, NOISE)
    db.close()


def test_the_commands_adopt_show_and_take_back(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=90)
    with writing(db):
        db.execute("UPDATE derived_import_row SET scanner_stratum = iif(line % 3, 'B', 'A')")
    config = tmp_path / "node.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path}"\n', encoding="utf-8")

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["corrections", *words, "--config", str(config)])
        assert done.exit_code == 0, done.output
        return done.stdout

    done = run("adopt", "A", "--by", "Dr A", "--why", "phantom agrees")
    assert done.startswith("adopted: scanner A above B: VBQ ")
    shown = json.loads(run("list", "--json"))
    assert [one["scanner"] for one in shown["measured"]] == ["A"]
    assert shown["decisions"][0]["value"] == shown["measured"][0]["value"]
    assert (shown["decisions"][0]["decided_by"], shown["decisions"][0]["in_force"]) == ("Dr A", 1)
    assert "0 tiers will change" in run("withdraw", "A", "--by", "Dr B", "--why", "mended")
    assert "withdrawn" in run("list")
    noted = [action for (action,) in db.execute("SELECT action FROM record_audit ORDER BY audit_id")]
    assert noted == ["corrections adopt", "corrections list", "corrections withdraw", "corrections list"]
    db.close()
