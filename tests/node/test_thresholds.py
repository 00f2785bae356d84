"""Threshold versions: at most one in force, decisions with a name, and what made a tier said exactly."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database

from analytics.episodes.cuts import Cuts, StratumCut
from analytics.reasons import Reason, to_dict
from node.errors import InputError
from node.nightly.night import run_night
from node.people import thresholds
from node.people.corrections import Corrections
from node.settings import Settings, Thresholds
from node.store.database import insert, writing
from node.store.reasons import loaded
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


# ---- deciding ------------------------------------------------------------------------------------------------------
@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    one = open_world(tmp_path, rows=0)
    yield one
    one.close()


def decisions(db: Database) -> list[tuple[object, ...]]:
    return db.execute(
        "SELECT version, decision, decided_by, rule FROM fact_threshold_decision "
        "LEFT JOIN fact_threshold_rule USING (decision_id) ORDER BY decision_id"
    ).fetchall()


def test_a_decision_needs_a_name_and_a_version_that_is_there(db: Database) -> None:
    with pytest.raises(InputError, match="no threshold version 1; known: none yet"):
        thresholds.adopt(db, 1, by="Dr A", now=NOW)
    put_version(db, 1, vbq=3.0, nlr=3.0)
    for decide in (thresholds.adopt, thresholds.retire):
        with pytest.raises(InputError, match="say who decides"):
            decide(db, 1, by=" \t", now=NOW)
    assert decisions(db) == []
    thresholds.adopt(db, 1, by=" Dr A ", now=NOW)
    with pytest.raises(InputError, match="version 1 is adopted already"):
        thresholds.adopt(db, 1, by="Dr B", now=NOW)
    assert decisions(db) == [(1, "adopted", "Dr A", None)]


def test_what_a_rule_adopts_is_noted_with_the_rule(db: Database) -> None:
    for version in (1, 2):
        put_version(db, version, vbq=3.0, nlr=3.0 + version)
    with writing(db):
        thresholds.record_adoption(db, 1, rule="first", why="nobody had a tier", now=NOW)
        thresholds.record_adoption(db, 2, rule="left-behind", why="the cuts moved", now=NOW)
    assert decisions(db) == [
        (1, "adopted", "rule: nobody had a tier", "first"),
        (1, "retired", "rule: the cuts moved (adopted version 2)", "left-behind"),
        (2, "adopted", "rule: the cuts moved", "left-behind"),
    ]


def put_night(db: Database, version: int, night: str, *, announced: str | None = None) -> None:
    """A version proposed that night."""
    row = {"version": version, "night": night, "method": "institutional", "n": 0, "ratios": "any", "vbq": 3.0}
    row |= {"nlr": 3.0, "plr": 250.0, "snapshot_sha256": "x", "strata": "[]", "evidence": EVIDENCE}
    with writing(db):
        insert(db, "record_threshold", [row | {"proposed_at": f"{night}T03:00:00+00:00", "announced": announced}])


def test_the_night_accepted_is_that_of_a_person_or_the_first_of_all(db: Database) -> None:
    for version, night in ((1, "2026-03-01"), (2, "2026-03-02"), (3, "2026-03-03"), (4, "2026-03-04")):
        put_night(db, version, night)
    assert thresholds.night_accepted(db) is None
    with writing(db):
        thresholds.record_adoption(db, 1, rule="first", why="first", now=NOW)
    assert thresholds.night_accepted(db) == "2026-03-01"
    with writing(db):
        thresholds.record_adoption(db, 2, rule="left-behind", why="moved", now=NOW)
    assert thresholds.night_accepted(db) == "2026-03-01", "nobody has looked at what the rule adopts later"
    thresholds.adopt(db, 3, by="Dr A", now=NOW)
    assert thresholds.night_accepted(db) == "2026-03-03"
    thresholds.retire(db, 4, by="Dr A", now=NOW)
    assert thresholds.night_accepted(db) == "2026-03-03", "what is retired was not accepted"
    thresholds.retire(db, 3, by="Dr A", now=NOW)
    assert thresholds.night_accepted(db) is None


def test_a_newer_version_that_a_person_retired_is_declined(db: Database) -> None:
    for version in (1, 2, 3):
        put_version(db, version, vbq=3.0, nlr=3.0 + version)
    thresholds.retire(db, 1, by="Dr A", now=NOW)
    thresholds.adopt(db, 2, by="Dr A", now=NOW)
    current = thresholds.get(db, 2)
    assert not thresholds.declined(db, current), "the retired one is older, the newer one waits"
    thresholds.retire(db, 3, by="Dr A", now=NOW)
    assert thresholds.declined(db, current)


def test_what_was_announced_the_night_before_holds_until_somebody_decides(db: Database) -> None:
    with writing(db):
        for night in ("2026-02-26", "2026-02-28"):
            fit = {"fit_id": night, "night": night, "made_at": "x", "status": "refused", "n_rows": 0, "n_used": 0}
            fit |= {"snapshot": "", "snapshot_sha256": "x", "result": "{}", "settings": "{}", "code_version": "1"}
            insert(db, "record_fit", [fit])
    put_night(db, 1, "2026-02-26", announced="moved")
    put_night(db, 2, "2026-02-28")
    at = date(2026, 3, 1)
    assert thresholds.announced_before(db, at) is None, "nothing was announced, or a night earlier"
    put_night(db, 3, "2026-02-28", announced="moved")
    found = thresholds.announced_before(db, at)
    assert found is not None
    assert (found.version, found.announced) == (3, "moved")
    assert thresholds.announced_before(db, date(2026, 2, 28)) == thresholds.get(db, 1)
    thresholds.retire(db, 3, by="Dr A", now=NOW)
    assert thresholds.announced_before(db, at) is None


# ---- proposing and showing -----------------------------------------------------------------------------------------
FEW = Reason("few patients")
"""A code that no catalogue knows."""
STRATA = (
    StratumCut(stratum="Ä 1.5 T", n=90, vbq=3.25, pooled=None), StratumCut(stratum="B 3 T", n=3, vbq=3.0, pooled=FEW),
)  # fmt: skip
SHARE = {"value": 0.75, "ci_low": 0.6251, "ci_high": 0.8749}
WORTH = {
    "outcome": "t_score <= -2.5", "n": 120, "prevalence": 0.25, "auc": 0.8049, "auc_ci": [0.7051, 0.9049],
    "at_cut": {"sensitivity": SHARE, "specificity": SHARE | {"value": 0.5}, "ppv": SHARE | {"value": None},
               "npv": SHARE | {"value": 0.9}, "youden": 0.25},
    "youden_corrected": 0.2051, "circular": "",
}  # fmt: skip
MARKERS = [
    {"marker": "vbq", "stratum": "", "cut": 3.0, "how": "quantile 0.75", "interval": [2.9, 3.1], "n": 150,
     "instead": "", "worth": None, "no_worth": ""},
    {"marker": "vbq", "stratum": "Ä 1.5 T", "cut": 3.25, "how": "quantile 0.75", "interval": None, "n": 90,
     "instead": "no Youden cut", "worth": None, "no_worth": "too few"},
    {"marker": "nlr", "stratum": "", "cut": 3.5, "how": "Youden", "interval": None, "n": 150, "instead": "",
     "worth": WORTH, "no_worth": ""},
    {"marker": "plr", "stratum": "", "cut": 250.0, "how": "given", "interval": None, "n": 0, "instead": "",
     "worth": WORTH | {"youden_corrected": None, "circular": "it is the outcome"}, "no_worth": ""},
]  # fmt: skip


class Found:
    """What :func:`propose` asks of a calibration."""

    cuts = Cuts(method="quantile 0.75", n=150, vbq=3.0, nlr=3.5, plr=250.0, ratios="both", strata=STRATA)

    def to_json_dict(self) -> dict[str, object]:
        return {"markers": MARKERS, "omitted": {"no PLR": 2}}


def proposed(db: Database, *announced: Reason) -> thresholds.Version:
    with writing(db):
        return thresholds.propose(db, Found(), night=NIGHT, snapshot_sha256="x", announced=announced, now=NOW)


def test_a_proposal_is_the_next_version_and_read_as_it_was_written(db: Database) -> None:
    first = proposed(db)
    assert (first.version, first.night, first.cuts, first.announced) == (1, "2026-03-02", Found.cuts, None)
    assert first.evidence == Found().to_json_dict()
    second = proposed(db, Reason("moved"), Reason("far"))
    assert (second.version, second.announced) == (2, "moved; far")
    assert proposed(db).version == 3
    kept = "SELECT announced_reasons, strata, evidence FROM record_threshold ORDER BY version"
    (none, strata, evidence), (reasons, *_), _ = db.execute(kept).fetchall()
    assert (none, loaded(reasons)) == (None, (Reason("moved"), Reason("far")))
    assert "Ä 1.5 T" in strata
    assert "Ä 1.5 T" in evidence, "in a person's letters"
    assert evidence.index('"markers"') < evidence.index('"omitted"')
    # What came before reasons were kept has the words alone.
    old = json.dumps([{"stratum": "A", "n": 3, "vbq": 3.0, "pooled": "only 3 patients"}])
    put_version(db, 4, vbq=3.0, nlr=3.0)
    assert thresholds.get(db, 4).cuts.ratios == "any"
    (cut,) = (thresholds._stratum(one) for one in json.loads(old))
    assert (cut.stratum, str(cut.pooled)) == ("A", "only 3 patients")


def test_numbers_that_are_none_are_not_kept_as_evidence(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Found, "to_json_dict", lambda _: {"markers": [], "omitted": {"x": float("nan")}})
    with pytest.raises(ValueError, match="JSON"):
        proposed(db)


def test_a_version_is_shown_with_all_that_it_rests_on(db: Database) -> None:
    put_operation(db, "E1", vbq=9.0, nlr=9.0, plr=999.0)
    put_operation(db, "E2", vbq=1.0, nlr=1.0, plr=1.0)
    proposed(db, Reason("moved"))
    thresholds.adopt(db, 1, by="Dr A", now=NOW)
    shown = thresholds.show(db, 1)
    assert [one["pooled_reason"] for one in shown["strata"]] == [None, to_dict(FEW)]
    shares = "sensitivity 0.75 (0.63 to 0.87), specificity 0.50 (0.63 to 0.87), PPV unknown, NPV 0.90 (0.63 to 0.87)"
    area = f"against t_score <= -2.5 (n = 120, prevalence 25%): ROC area 0.80 (0.71 to 0.90), {shares}"
    assert thresholds.as_lines(shown) == [
        "version 1 of 2026-03-02: adopted (quantile 0.75, n = 150)",
        "VBQ ≥ 3, NLR > 3.5, PLR > 250; both ratios must be high",
        "  VBQ 3.000 (quantile 0.75, n = 150, bootstrap 95 % interval 2.900 to 3.100)",
        "  VBQ at scanner Ä 1.5 T 3.250 (quantile 0.75); no Youden cut; its worth is not known: too few",
        f"  NLR 3.50 (Youden); {area}, J 0.25 apparent, 0.21 corrected for optimism",
        f"  PLR 250.0 (given); {area}, J 0.25; it is the outcome",
        "  scanner Ä 1.5 T: VBQ cut of its own",
        "  few patients: VBQ cut of all scanners",
        "  rows left out: 2, no PLR",
        "announced for the next night: moved",
        "adopted 2026-03-02T03:10:00.000000+00:00 by Dr A",
        "tiers that would change: 2",
        "  E1: no tier → flagged",
        "  E2: no tier → lower",
    ]
    put_version(db, 2, vbq=3.0, nlr=3.0)
    plain = thresholds.as_lines(thresholds.show(db, 2))
    assert plain[1].endswith("; one high ratio suffices")
    assert plain[2] == "tiers that would change: 2"


@pytest.mark.parametrize(("surgery", "listed"), [("2026-03-01", []), ("2026-03-02", ["E1"]), ("2026-03-03", ["E1"])])
def test_who_would_change_counts_from_the_night_itself(db: Database, surgery: str, listed: list[str]) -> None:
    put_version(db, 1, vbq=3.0, nlr=3.0)
    put_operation(db, "E1", vbq=9.0, nlr=9.0, surgery=surgery)
    put_operation(db, "E2", vbq=9.0, nlr=9.0, surgery=surgery)
    with writing(db):
        db.execute("UPDATE derived_link SET eligible = 0 WHERE episode = 'E2'")
    assert [one.id for one in thresholds.would_change(db, 1, night=NIGHT)] == listed
    assert [one.id for one in thresholds.would_change(db, 1)] == ["E1"], "before the first night all count"
    assert thresholds.would_change_with(db, Corrections()) == [], "no version is in force"
    thresholds.adopt(db, 1, by="Dr A", now=NOW)
    assert [one.id for one in thresholds.would_change_with(db, Corrections())] == ["E1"]
