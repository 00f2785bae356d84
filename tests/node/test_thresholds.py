"""Threshold versions: at most one in force, decisions with a name, and what made a tier said exactly."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.errors import InputError
from node.nightly.night import run_night
from node.people import thresholds
from node.settings import Settings, Thresholds
from node.store.database import insert, writing
from node.web.worklist import THRESHOLDS
from tests.node.night_world import NIGHT, NOW, open_world, put_operation, settings_for

EVIDENCE = '{"markers": [], "omitted": {}}'


def run(db: Database, settings: Settings, days: int) -> None:
    run_night(db, settings, night=NIGHT + timedelta(days=days), now=NOW + timedelta(days=days))


def put_version(db: Database, version: int, *, vbq: float, nlr: float, plr: float = 999.0) -> None:
    row = {"version": version, "night": "2026-03-01", "method": "institutional", "n": 0, "ratios": "any"}
    row |= {
        "vbq": vbq,
        "nlr": nlr,
        "plr": plr,
        "snapshot_sha256": "x",
        "strata": "[]",
        "evidence": EVIDENCE,
        "proposed_at": "2026-03-01T00:00:00+00:00",
    }
    with writing(db):
        insert(db, "record_threshold", [row])


def states(db: Database) -> dict[int, str]:
    return {row["version"]: row["state"] for row in thresholds.list_versions(db)}


def last_flag(db: Database) -> tuple[object, ...]:
    row: tuple[object, ...] = db.execute(
        "SELECT change, tier, previous_tier, cause FROM flags ORDER BY flag_id DESC LIMIT 1"
    ).fetchone()
    return row


def test_one_version_is_in_force_also_after_a_way_back(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    for version in (1, 2, 3):
        put_version(db, version, vbq=3.0 + version / 10, nlr=3.0)
    assert states(db) == {1: "proposed", 2: "proposed", 3: "proposed"}
    thresholds.adopt(db, 3, by="Dr A", now=NOW)
    thresholds.adopt(db, 1, by="Dr B", now=NOW)
    assert states(db) == {1: "adopted", 2: "proposed", 3: "retired"}
    in_force = thresholds.in_force(db)
    assert in_force is not None
    assert (in_force.version, in_force.cuts.vbq) == (1, 3.1)
    decisions = db.execute("SELECT version, decision, decided_by FROM fact_threshold_decision ORDER BY decision_id")
    assert decisions.fetchall() == [
        (3, "adopted", "Dr A"),
        (3, "retired", "Dr B (adopted version 1)"),
        (1, "adopted", "Dr B"),
    ]
    thresholds.retire(db, 1, by="Dr B", now=NOW)
    assert thresholds.in_force(db) is None
    db.close()


def test_a_proposed_version_can_be_declined_and_nothing_is_retired_twice(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    put_version(db, 1, vbq=3.0, nlr=3.0)
    put_version(db, 2, vbq=3.0, nlr=3.5)
    thresholds.adopt(db, 1, by="Dr A", now=NOW)
    thresholds.retire(db, 2, by="Dr A", now=NOW)
    assert states(db) == {1: "adopted", 2: "retired"}
    for version, words in ((2, "2 is retired already"), (3, "no threshold version 3; known: 1, 2")):
        with pytest.raises(InputError, match=words):
            thresholds.retire(db, version, by="Dr A", now=NOW)
    db.close()


def test_the_newest_proposal_waits_until_somebody_decides(tmp_path: Path) -> None:
    """In the report (``undecided``) and in the worklist of the pages."""
    db = open_world(tmp_path, rows=0)

    def waiting() -> tuple[int | None, list[int]]:
        version = thresholds.undecided(db)
        return version and version.version, [row[0] for row in db.execute(THRESHOLDS)]

    assert waiting() == (None, [])
    for version in (1, 2, 3):
        put_version(db, version, vbq=3.0 + version / 10, nlr=3.0)
    assert waiting() == (3, [3])
    thresholds.adopt(db, 3, by="Dr A", now=NOW)
    assert waiting() == (None, []), "older proposals are overtaken"
    put_version(db, 4, vbq=3.5, nlr=3.0)
    assert waiting() == (4, [4])
    thresholds.retire(db, 4, by="Dr A", now=NOW)
    assert waiting() == (None, [])
    db.close()


def test_institutional_limits_need_no_cohort(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=0)
    rule = Thresholds(method="institutional", vbq=3.0, nlr=3.5, plr=250.0)
    put_operation(db, "E1", vbq=3.0, nlr=3.6, plr=100.0)  # VBQ at its cut is high, a ratio only above it
    put_operation(db, "E2", vbq=2.99, nlr=3.5, plr=250.0)
    run(db, settings_for(tmp_path, thresholds=rule), 0)
    assert dict(db.execute("SELECT id, tier FROM flags").fetchall()) == {"E1": "flagged", "E2": "lower"}
    assert db.execute("SELECT method, n, state, decided_by FROM thresholds").fetchall() == [
        ("institutional", 0, "adopted", "rule: first")
    ]
    db.close()


# Cuts VBQ 3.0 / NLR 3.0 at first; each case says what the next night finds, and what must be named as the cause.
@pytest.mark.parametrize(
    ("new_cuts", "new_values", "flag"),
    [
        ({"vbq": 3.0, "nlr": 2.0}, {}, ("changed", "flagged", "intermediate", "threshold version 1 → 2")),
        ({"vbq": 3.0, "nlr": 2.9}, {"nlr": 4.0}, ("changed", "flagged", "intermediate", "data: NLR 2.5 → 4")),
        (
            {"vbq": 3.0, "nlr": 2.0},
            {"plr": 150.0},
            ("changed", "flagged", "intermediate", "threshold version 1 → 2"),
        ),
        (
            {"vbq": 3.0, "nlr": 2.7},
            {"nlr": 2.8},
            ("changed", "flagged", "intermediate", "data: NLR 2.5 → 2.8; threshold version 1 → 2"),
        ),
        (
            {"vbq": 2.9, "nlr": 2.9},
            {"vbq": 3.2},
            ("new", "intermediate", None, "first tier, under threshold version 1"),
        ),
    ],
)
def test_what_changed_a_tier_is_named(
    tmp_path: Path, new_cuts: dict[str, float], new_values: dict[str, float], flag: tuple[object, ...]
) -> None:
    db, settings = open_world(tmp_path, rows=0), settings_for(tmp_path)
    put_version(db, 1, vbq=3.0, nlr=3.0)
    thresholds.adopt(db, 1, by="Dr A", now=NOW)
    values = {"vbq": 3.1, "nlr": 2.5, "plr": 100.0}
    put_operation(db, "E1", **values)
    run(db, settings, 0)
    assert last_flag(db)[1] == "intermediate"
    put_version(db, 2, **new_cuts)
    thresholds.adopt(db, 2, by="Dr A", now=NOW)
    put_operation(db, "E1", **(values | new_values))
    run(db, settings, 1)
    assert last_flag(db) == flag
    db.close()


def test_who_comes_back_is_said_to_come_back(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=0), settings_for(tmp_path)
    put_version(db, 1, vbq=3.0, nlr=3.0)
    thresholds.adopt(db, 1, by="Dr A", now=NOW)
    for days, status in enumerate(("linked", "cancelled", "linked")):
        put_operation(db, "E1", vbq=3.1, nlr=2.5, status=status)
        run(db, settings, days)
    assert [row[0] for row in db.execute("SELECT change FROM flags ORDER BY flag_id")] == ["new", "resolved", "new"]
    assert last_flag(db)[3] == "on the list again, under threshold version 1"
    db.close()


def test_the_first_adoption_lists_everybody_it_would_tier(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path, thresholds=Thresholds(adopt="manual"))
    put_operation(db, "E1", vbq=9.0, nlr=99.0, plr=999.0)
    put_operation(db, "E2", vbq=0.1, nlr=0.1, plr=1.0)
    put_operation(db, "E3", vbq=9.0, nlr=99.0, plr=999.0, surgery="2026-02-01")  # past
    put_operation(db, "E4", vbq=9.0, nlr=99.0, plr=999.0, status="held", reasons=("x",))
    run(db, settings, 0)
    listed = [str(change) for change in thresholds.would_change(db, 1)]
    assert listed == ["E1: no tier → flagged", "E2: no tier → lower"]
    thresholds.adopt(db, 1, by="Dr A", now=NOW)
    run(db, settings, 1)
    assert dict(db.execute("SELECT id, tier FROM flags").fetchall()) == {"E1": "flagged", "E2": "lower"}
    assert thresholds.would_change(db, 1) == []
    db.close()
