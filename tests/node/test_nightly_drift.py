"""Drift in the night, and the rule that adopts new cut-offs unless there is drift."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlite_utils import Database

from analytics.night.calibration import Calibration, Rule, calibrate, left_behind
from node.nightly.cohort import cohort_frame, read_snapshot
from node.nightly.cutoffs import rule_of
from node.nightly.drift import read_frozen
from node.nightly.night import run_night
from node.people import thresholds
from node.settings import Thresholds
from node.store.database import insert, writing
from tests.node.night_world import NIGHT, NOW, open_world, put_operation, settings_for


def add_patients(db: Database, n: int, *, shift: float) -> None:
    """Further rows that follow the model of :func:`open_world` (σ 0.1) but for a shift of VBQ; one MRI a day."""
    random = np.random.default_rng(11)
    with writing(db):
        for number in range(n):
            age, nlr, plr = random.integers(50, 85), random.gamma(4, 0.8), random.normal(230, 40)
            vbq = 1.6 + 0.012 * age + 0.03 * nlr + 0.0015 * plr + random.normal(0, 0.1) + shift
            day = (NIGHT - timedelta(days=90 - number)).isoformat()
            row = {
                "id": f"N{number:03d}", "site": "site", "import_id": 1, "line": number + 500, "vbq": float(vbq),
                "age": float(age), "sex_male": int(random.integers(2)), "smoking": int(random.integers(2)),
                "diabetes": int(random.integers(2)), "bmi": float(random.normal(24, 3)), "nlr": float(nlr),
                "plr": float(plr), "mri_date": day, "eligible": 1, "exclusion_reasons": "[]",
            }  # fmt: skip
            insert(db, "derived_import_row", [row])


def night_report(db: Database, folder: Path, days: int) -> tuple[str, str, str, dict[str, object]]:
    night = NIGHT + timedelta(days=days)
    run_night(db, settings_for(folder), night=night, now=NOW + timedelta(days=days))
    row = db.execute("SELECT subject, text, html, counts FROM reports WHERE night = ?", [night.isoformat()]).fetchone()
    return row[0], row[1], row[2], json.loads(row[3])["drift"]


def test_a_shifted_scanner_is_an_alarm_with_what_to_look_at(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    first = night_report(db, tmp_path, 0)
    assert "not compared yet: no model was fitted before tonight" in first[1]
    add_patients(db, 60, shift=0.15)
    subject, text, html, drift = night_report(db, tmp_path, 1)
    assert "; DRIFT" in subject
    assert drift["alarm"] is True
    # 0.15 with a standard error of about 0.1 / √60 on either side.
    assert drift["mean_residual"] == pytest.approx(0.15, abs=0.05)
    for shown in (text, html):
        assert "DRIFT:" in shown
        assert "the last 60 of 60 patients since fit 2026-03-02-" in shown
        assert "since the MRI of 2025-12-" in shown, "the first new MRI is of 2025-12-02"
        assert "by scanner: scanner unknown +0.1" in shown
    db.close()


def test_patients_like_the_old_ones_are_no_alarm(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    night_report(db, tmp_path, 0)
    add_patients(db, 60, shift=0.0)
    subject, text, html, drift = night_report(db, tmp_path, 1)
    assert "DRIFT" not in subject
    assert drift["alarm"] is False
    assert "no alarm: the last 60 of 60 patients" in text
    assert "no alarm; the last 60 of 60 patients" in html
    db.close()


def test_the_frozen_model_is_that_of_the_version_in_force(tmp_path: Path) -> None:
    """Adopting the cut-offs of a later night freezes that night's model: what was new before is known then."""
    db = open_world(tmp_path)
    night_report(db, tmp_path, 0)
    add_patients(db, 60, shift=0.15)
    night_report(db, tmp_path, 1)
    frozen = read_frozen(db)
    assert frozen is not None and frozen.fit_id.startswith("2026-03-02-")
    thresholds.adopt(db, 2, by="Dr Test", now=NOW + timedelta(days=1))
    frozen = read_frozen(db)
    assert frozen is not None and frozen.fit_id.startswith("2026-03-03-")
    _, text, _, drift = night_report(db, tmp_path, 2)
    assert drift["n_used"] == 0
    assert "not compared yet: 0 new complete rows since the frozen model, 20 are needed" in text
    db.close()


def rule_night(db: Database, folder: Path, days: int) -> list[tuple[int, str, str]]:
    settings = settings_for(folder, thresholds=Thresholds(adopt="rule"))
    run_night(db, settings, night=NIGHT + timedelta(days=days), now=NOW + timedelta(days=days))
    return [(row["version"], row["state"], row["decided_by"]) for row in thresholds.list_versions(db)]


def test_the_rule_adopts_when_an_old_cut_leaves_the_interval_of_the_new(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    assert rule_night(db, tmp_path, 0) == [(1, "adopted", "rule: first")]
    with db.conn:
        db.execute("UPDATE derived_import_row SET vbq = vbq + 0.001")
    assert [row[1] for row in rule_night(db, tmp_path, 1)] == ["adopted"], "other cuts, but none is left behind"
    (cut,) = db.execute("SELECT vbq FROM thresholds WHERE version = 1").fetchone()
    put_operation(db, "E1", vbq=cut + 0.15, nlr=0.1, plr=1.0)
    with db.conn:
        db.execute("UPDATE derived_import_row SET vbq = vbq + 0.3")
    assert [row[1] for row in rule_night(db, tmp_path, 2)] == ["adopted", "proposed"], "announced only"
    (text,) = db.execute("SELECT text FROM reports ORDER BY night DESC LIMIT 1").fetchone()
    assert "ANNOUNCED: the rule adopts it with the next night, because the VBQ cut " in text
    assert "Tiers that it would change: 1\n- E1: intermediate → lower\n" in text
    rows = rule_night(db, tmp_path, 3)
    assert [row[1] for row in rows] == ["retired", "adopted"]
    assert rows[1][2].startswith("rule: the VBQ cut ")
    assert rows[0][2].endswith("(adopted version 2)")
    assert db.execute("SELECT tier, cause FROM flags ORDER BY flag_id").fetchall() == [
        ("intermediate", "first tier, under threshold version 1"),
        ("lower", "threshold version 1 → 2"),
    ]
    db.close()


def test_a_proposal_is_made_once_and_waits_until_somebody_decides(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    night_report(db, tmp_path, 0)
    with db.conn:
        db.execute("UPDATE derived_import_row SET vbq = vbq + 0.3")
    _, proposed, _, _ = night_report(db, tmp_path, 1)
    assert "Proposed tonight: version 2" in proposed
    assert "- tonight the VBQ cut " in proposed
    for days in (2, 3):
        put_operation(db, f"E{days}", vbq=3.0)  # another cohort, and cuts that are a little other
        _, waiting, html, _ = night_report(db, tmp_path, days)
        assert "Waiting since 2026-03-03: version 2" in waiting
        assert "Waiting since 2026-03-03: version 2" in html
        assert len(thresholds.list_versions(db)) == 2
    thresholds.retire(db, 2, by="Dr Test", now=NOW + timedelta(days=3))
    put_operation(db, "E4", vbq=3.0)
    _, declined, _, _ = night_report(db, tmp_path, 4)
    assert "Waiting since" not in declined and "Proposed tonight" not in declined, "it was declined"
    with db.conn:
        db.execute("UPDATE derived_import_row SET vbq = vbq + 0.3")
    assert "Proposed tonight: version 3" in night_report(db, tmp_path, 5)[1]
    db.close()


def test_a_drift_that_leaves_no_cut_behind_is_still_offered_once(tmp_path: Path) -> None:
    """Adopting a version is how a person says that the new patients are the cohort now."""
    db = open_world(tmp_path)
    night_report(db, tmp_path, 0)
    add_patients(db, 30, shift=-0.15)
    version, drift = thresholds.in_force(db), night_report(db, tmp_path, 1)[3]
    found = calibrate(cohort_frame(read_snapshot(db).text), rule_of(settings_for(tmp_path)))
    assert isinstance(found, Calibration) and version is not None
    assert (drift["alarm"], left_behind(version.cuts, found)) == (True, ())
    assert [row["state"] for row in thresholds.list_versions(db)] == ["adopted", "proposed"]
    put_operation(db, "E2", vbq=3.0)
    night_report(db, tmp_path, 2)
    assert [row["state"] for row in thresholds.list_versions(db)] == ["adopted", "proposed"]
    db.close()


def test_what_the_rule_adopts_freezes_no_model(tmp_path: Path) -> None:
    """A shift that is too small for an alarm yet moves the cut-offs; the model before it must stay the measure."""
    db = open_world(tmp_path)
    rule_night(db, tmp_path, 0)
    with db.conn:
        db.execute("UPDATE derived_import_row SET vbq = vbq + 0.3")
    for days in (1, 2):
        rule_night(db, tmp_path, days)
    in_force, frozen = thresholds.in_force(db), read_frozen(db)
    assert in_force is not None and in_force.version == 2
    assert frozen is not None and frozen.fit_id.startswith(NIGHT.isoformat())
    thresholds.retire(db, 2, by="Dr Test", now=NOW)
    thresholds.adopt(db, 2, by="Dr Test", now=NOW)
    frozen = read_frozen(db)
    assert frozen is not None and frozen.fit_id.startswith((NIGHT + timedelta(days=1)).isoformat())
    db.close()


def test_a_cut_of_another_kind_waits_for_a_person(tmp_path: Path) -> None:
    """At first VBQ does not tell the outcome apart and gets its quantile, then it does and gets Youden's, far away."""
    db = open_world(tmp_path)
    youden = Thresholds(adopt="rule", method="youden", outcome="t_score", outcome_cut=-2.5)
    settings = settings_for(tmp_path, thresholds=youden)
    with db.conn:
        db.execute("UPDATE derived_import_row SET t_score = CASE WHEN line % 2 THEN -3.0 ELSE 0.0 END")
    run_night(db, settings, night=NIGHT, now=NOW)
    with db.conn:
        db.execute(
            "UPDATE derived_import_row SET t_score = CASE WHEN vbq > (SELECT avg(vbq) FROM derived_import_row) "
            "THEN -3.0 ELSE 0.0 END"
        )
    for days in (1, 2, 3):
        run_night(db, settings, night=NIGHT + timedelta(days=days), now=NOW + timedelta(days=days))
    found = [
        {one["marker"]: one["how"] for one in thresholds.get(db, version).evidence["markers"]} for version in (1, 2)
    ]
    assert (found[0]["vbq"], found[1]["vbq"]) == ("quantile 0.75", "youden")
    assert [row["state"] for row in thresholds.list_versions(db)] == ["adopted", "proposed"]
    (text,) = db.execute("SELECT text FROM reports WHERE night = ?", [str(NIGHT + timedelta(days=1))]).fetchone()
    assert "ANNOUNCED" not in text
    db.close()


def test_what_a_person_declines_no_rule_adopts(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    rule_night(db, tmp_path, 0)
    with db.conn:
        db.execute("UPDATE derived_import_row SET vbq = vbq + 0.3")
    rule_night(db, tmp_path, 1)
    thresholds.retire(db, 2, by="Dr Test", now=NOW + timedelta(days=1))
    for days in (2, 3, 4):
        put_operation(db, f"E{days}", vbq=3.0)  # another cohort, so another proposal
        states = [row[1] for row in rule_night(db, tmp_path, days)]
        assert states[0] == "adopted"
        assert "adopted" not in states[1:]
    db.close()


def test_a_move_within_a_tenth_of_a_standard_deviation_is_left(tmp_path: Path) -> None:
    """Outside the 80 % interval of very many rows, but not by 0.1 SD."""
    random = np.random.default_rng(3)
    values = pd.DataFrame({name: random.normal(3, 1, 20_000) for name in ("vbq", "nlr", "plr")})
    cohort = values.assign(id=[str(number) for number in range(20_000)], scanner_stratum="")
    new = calibrate(cohort, Rule(minimum_n=80, minimum_per_scanner=80))
    assert isinstance(new, Calibration)
    assert left_behind(replace(new.cuts, vbq=new.cuts.vbq + 0.05), new) == ()
    assert len(left_behind(replace(new.cuts, vbq=new.cuts.vbq + 0.15), new)) == 1


def test_the_rule_leaves_it_to_a_person_while_there_is_drift(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    rule_night(db, tmp_path, 0)
    add_patients(db, 60, shift=0.5)
    assert [row[1] for row in rule_night(db, tmp_path, 1)] == ["adopted", "proposed"]
    db.close()
