"""Who is on the list and with which tier: the module of the flags alone, on rows as the link step leaves them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from analytics.episodes.cuts import Cuts, StratumCut, institutional_cuts
from analytics.episodes.tiers import TierOdds, tier_odds
from analytics.night.drift import Drift, Step
from analytics.reasons import Reason
from analytics.records import Tier
from node.nightly import flags as flags_module
from node.nightly.flags import Flag, Standing, find_changes, percent, store
from node.people import corrections
from node.people.corrections import Measured
from node.people.thresholds import Version
from node.store.database import insert, writing
from node.store.reasons import loaded, stored
from tests.node.night_world import NIGHT, NOW, open_world, put_operation

CUTS = institutional_cuts(3.0, 4.0, 250.0)
FLAGGED = {"vbq": 3.5, "nlr": 5.0, "plr": 300.0}
INTERMEDIATE = {"vbq": 3.5, "nlr": 1.0, "plr": 100.0}
LOWER = {"vbq": 2.5, "nlr": 1.0, "plr": 100.0}
VBQ_SEM = 0.1
TOO_YOUNG = stored([Reason("too young")])
"""A code that no catalogue knows, which is shown as it is."""
NEXT = NIGHT + timedelta(days=1)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    one = open_world(tmp_path, rows=0)
    recorded(one, 1, CUTS)
    yield one
    one.close()


def version(number: int = 1, cuts: Cuts = CUTS) -> Version:
    return Version(version=number, night=NIGHT.isoformat(), cuts=cuts, evidence={}, announced=None)


def recorded(db: Database, number: int, cuts: Cuts) -> Version:
    """A version in the database, to be looked up by its number."""
    row = {"version": number, "night": NIGHT.isoformat(), "method": cuts.method, "n": 0, "vbq": cuts.vbq}
    row |= {"nlr": cuts.nlr, "plr": cuts.plr, "ratios": cuts.ratios, "strata": "[]", "evidence": "{}"}
    with writing(db):
        insert(db, "record_threshold", [row | {"snapshot_sha256": "0" * 64, "proposed_at": "x"}])
    return version(number, cuts)


def changes(
    db: Database, night: date = NIGHT, *, following: Version | None = None, behind: bool = False, force: bool = True
) -> tuple[list[Flag], list[Standing]]:
    """What would be written that night; ``force=False``: no version is in force."""
    return find_changes(
        db,
        night=night,
        version=(following or version()) if force else None,
        vbq_sem=VBQ_SEM,
        derivation_behind=behind,
    )


def written(db: Database, night: date = NIGHT, **choices: Any) -> list[Flag]:
    """What was written that night."""
    flags, _ = changes(db, night, **choices)
    with writing(db):
        store(db, flags, night=night)
    return flags


def put(db: Database, episode: str, columns: dict[str, object] | None = None, **operation: Any) -> None:
    """An operation, and what of its link is otherwise than :func:`put_operation` makes it."""
    put_operation(db, episode, **operation)
    with writing(db):
        for name, value in (columns or {}).items():
            db.execute(f"UPDATE derived_link SET {name} = ? WHERE episode = ?", [value, episode])


def episodes(standing: list[Standing]) -> list[str]:
    return [one.episode for one in standing]


# ---- who is on the list --------------------------------------------------------------------------------------------
def test_an_upcoming_operation_of_somebody_not_eligible_has_no_tier(db: Database) -> None:
    put(db, "IN", **FLAGGED)
    put(db, "OUT", {"eligible": 0, "exclusion_reasons": TOO_YOUNG}, **FLAGGED)
    flags, standing = changes(db)
    assert episodes(standing) == ["IN"]
    assert [(flag.episode, flag.change, flag.tier) for flag in flags] == [("IN", "new", Tier.FLAGGED)]


@pytest.mark.parametrize("status", ["incomplete", "held", "cancelled", "provisional"])
def test_only_a_linked_operation_has_a_tier(db: Database, status: str) -> None:
    put(db, "E1", {"status": status}, **FLAGGED)
    assert changes(db) == ([], [])


def test_an_operation_that_fails_costs_itself_and_is_not_taken_for_resolved(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BAD", "GOOD"):
        put(db, name, **INTERMEDIATE)
    written(db)
    put(db, "GOOD", **FLAGGED)

    def broken(*, vbq: float, **given: Any) -> TierOdds:
        if vbq == INTERMEDIATE["vbq"] and given["nlr"] == INTERMEDIATE["nlr"]:
            raise ZeroDivisionError
        return tier_odds(vbq=vbq, **given)

    with monkeypatch.context() as patched:
        patched.setattr(flags_module, "tier_odds", broken)
        with writing(db):
            flags, standing = changes(db, NEXT)
    assert [(flag.episode, flag.change) for flag in flags] == [("GOOD", "changed")]
    assert episodes(standing) == ["GOOD"]
    said = db.execute("SELECT step, source, code FROM problems").fetchall()
    assert said == [("flags", "episode BAD", "failed")]
    _, standing = changes(db, NEXT)
    assert episodes(standing) == ["BAD", "GOOD"]
    assert db.execute("SELECT count(*) FROM problems").fetchone() == (0,)


def test_an_operation_of_somebody_still_to_be_derived_is_left_as_it_stands(db: Database) -> None:
    put(db, "NEVER", **FLAGGED)
    put(db, "BEFORE", **INTERMEDIATE)
    with writing(db):
        db.execute("DELETE FROM derived_person WHERE person = 'LOCAL|NEVER'")
    assert [flag.episode for flag in written(db)] == ["BEFORE"]
    put(db, "BEFORE", **FLAGGED)
    with writing(db):
        db.execute("DELETE FROM derived_person")
    assert changes(db, NEXT) == ([], [])
    assert changes(db, NEXT, behind=True) == ([], [])


@pytest.mark.parametrize(("surgery", "listed"), [(NIGHT - timedelta(days=1), False), (NIGHT, True), (NEXT, True)])
def test_the_list_begins_with_the_operations_of_the_day_itself(db: Database, surgery: date, listed: bool) -> None:
    put(db, "E1", **FLAGGED, surgery=surgery.isoformat())
    assert episodes(changes(db)[1]) == (["E1"] if listed else [])


def test_the_list_is_in_order_of_days_then_of_episodes(db: Database) -> None:
    for episode, surgery in (("B", "2026-03-11"), ("C", "2026-03-10"), ("A", "2026-03-11")):
        put(db, episode, **LOWER, surgery=surgery)
    assert episodes(changes(db)[1]) == ["C", "A", "B"]


def test_without_a_version_in_force_nobody_has_a_tier(db: Database) -> None:
    put(db, "E1", **FLAGGED)
    assert changes(db, force=False) == ([], [])
    written(db)
    (flag,), standing = changes(db, NEXT, force=False)
    assert (flag.change, flag.tier, flag.previous, standing) == ("resolved", None, Tier.FLAGGED, [])


# ---- what is said of one -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("above_cut", "own_sd", "error", "near"),
    [
        # Without an error of its own the measurement has that of all, 0.1; the cut is at 3.0.
        (0.0625, None, 0.1, True),
        (0.125, None, 0.1, False),
        # Its own goes before that of all, whether it is smaller or larger.
        (0.0625, 0.05, 0.05, False),
        (0.125, 0.2, 0.2, True),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_near_the_cut_is_judged_by_the_measurements_own_error(
    db: Database, above_cut: float, own_sd: float | None, error: float, near: bool
) -> None:
    put(db, "E1", {"vbq_sd": own_sd}, **INTERMEDIATE | {"vbq": 3.0 + above_cut})
    (flag,), (standing,) = changes(db)
    assert (standing.vbq_error, standing.near_cut) == (error, near)
    assert (flag.vbq_sd, flag.near_cut) == (own_sd, near)


def test_a_flag_and_the_list_name_values_cuts_and_version(db: Database) -> None:
    strata = (StratumCut(stratum="A 1.5 T", n=100, vbq=3.25, pooled=None),)
    cuts = Cuts(method="quantile 0.75", n=200, vbq=3.0, nlr=4.0, plr=250.0, ratios="any", strata=strata)
    put(db, "E1", {"scanner_stratum": "A 1.5 T"}, **FLAGGED)
    (flag,), (standing,) = changes(db, following=version(7, cuts))
    assert (standing.version, standing.surgery_date, standing.tier) == (7, "2026-03-10", Tier.FLAGGED)
    assert (standing.cuts.vbq, standing.cuts.nlr, standing.cuts.plr) == (3.25, 4.0, 250.0)
    assert (standing.values.vbq, standing.values.nlr, standing.values.plr) == (3.5, 5.0, 300.0)
    assert (flag.version, flag.scanner, flag.vbq_cut, str(flag.cut_of)) == (7, "A 1.5 T", 3.25, "scanner A 1.5 T")
    assert (flag.vbq, flag.nlr, flag.plr, flag.surgery_date) == (3.5, 5.0, 300.0, "2026-03-10")
    assert (flag.change, flag.previous) == ("new", None)
    assert standing.to_json_dict()["values"] == {"vbq": 3.5, "nlr": 5.0, "plr": 300.0, "scanner": "A 1.5 T"}


def test_the_cut_of_the_scanner_makes_the_tier(db: Database) -> None:
    strata = (StratumCut(stratum="A", n=100, vbq=3.75, pooled=None),)
    cuts = Cuts(method="quantile 0.75", n=200, vbq=3.0, nlr=4.0, plr=250.0, ratios="any", strata=strata)
    put(db, "A", {"scanner_stratum": "A"}, **FLAGGED)
    put(db, "B", {"scanner_stratum": "B"}, **FLAGGED)
    _, standing = changes(db, following=version(1, cuts))
    assert {one.episode: one.tier for one in standing} == {"A": Tier.INTERMEDIATE, "B": Tier.FLAGGED}


# ---- what changes --------------------------------------------------------------------------------------------------
def test_a_scanner_that_the_cuts_hold_no_patient_of_is_said_at_the_patient(db: Database) -> None:
    cuts = replace(CUTS, strata=(StratumCut(stratum="A", n=90, vbq=3.25, pooled=None),))
    put(db, "A", {"scanner_stratum": "A"}, **FLAGGED)
    put(db, "B", {"scanner_stratum": "B"}, **FLAGGED)
    standing = {one.episode: one for one in changes(db, following=version(cuts=cuts))[1]}
    assert "no VBQ cut" not in str(standing["A"].explanation)
    assert str(standing["B"].explanation).endswith(
        "; no VBQ cut is calibrated for this scanner (scanner B is not among those of the cut-offs): "
        "VBQ may be high or low for the scanner alone"
    )


def put_repeats(db: Database, ratio: float) -> None:
    """Twenty patients with two counts before their operation, of which the second NLR is ``ratio`` times the first."""
    for number in range(20):
        put(db, f"R{number:02d}", {"cbc_date": "2026-02-20"}, **LOWER)
        for day, nlr in ((18, 2.0), (20, 2.0 * ratio)):
            row = {
                "person": f"LOCAL|R{number:02d}", "specimen": f"S{day}", "taken_at": f"2026-02-{day}T08:00:00+00:00",
                "date_only": 0, "status": "final", "nlr": nlr, "plr": 100.0, "notes": "[]",
            }  # fmt: skip
            with writing(db):
                insert(db, "derived_blood_count", [row])


def test_how_likely_a_tier_is_is_said_where_it_is_not_sure(db: Database) -> None:
    put(db, "SURE", **FLAGGED)
    put(db, "HALF", **FLAGGED | {"vbq": 3.0})
    put(db, "RATIO", **FLAGGED | {"nlr": 4.0, "plr": 100.0})
    standing = {one.episode: one for one in changes(db)[1]}
    assert (standing["HALF"].odds.flagged, standing["HALF"].odds.intermediate) == pytest.approx((0.5, 0.5))
    assert str(standing["HALF"].explanation).endswith(
        "; given the errors of measurement flagged 50 %, intermediate 50 %, lower 0 %"
    )
    for sure in ("SURE", "RATIO"):
        assert "errors of measurement" not in str(standing[sure].explanation)
    put_repeats(db, 1.3)
    again = {one.episode: one for one in changes(db)[1]}
    assert again["RATIO"].odds.flagged == pytest.approx(0.5, abs=1e-6), "its NLR is at the cut, and errs now"
    assert "intermediate 50 %" in str(again["RATIO"].explanation)
    assert again["RATIO"].to_json_dict()["odds"]["flagged"] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("vbq", "sure"),
    # The normal distribution: 0.8064 and 0.8779 standard deviations above the cut the true value is above it in 79 and
    # 81 of 100.
    [(3.0 + 0.08064, False), (3.0 + 0.08779, True), (3.0 - 0.08064, False), (3.0 - 0.08779, True)],
)
def test_a_tier_is_sure_from_four_in_five(db: Database, vbq: float, sure: bool) -> None:
    put(db, "E1", **FLAGGED | {"vbq": vbq})
    (standing,) = changes(db)[1]
    assert max(standing.odds.flagged, standing.odds.intermediate) == pytest.approx(0.81 if sure else 0.79, abs=1e-4)
    assert ("errors of measurement" not in str(standing.explanation)) is sure


def test_odds_are_said_in_per_cent() -> None:
    odds = TierOdds(flagged=0.5, intermediate=0.375, lower=0.125)
    assert percent(odds) == {"flagged": 50.0, "intermediate": 37.5, "lower": 12.5}


@pytest.mark.parametrize("ratio", ["nlr", "plr"])
def test_a_count_without_a_ratio_is_no_repeat(db: Database, ratio: str) -> None:
    put(db, "E1", **FLAGGED)
    put_repeats(db, 1.3)
    (before,) = (one for one in changes(db)[1] if one.episode == "E1")
    with writing(db):
        row = {
            "person": "LOCAL|R00", "specimen": "none", "taken_at": "2026-02-19T08:00:00+00:00", "date_only": 0,
            "status": "final", "nlr": 2.0, "plr": 100.0, "notes": "[]",
        }  # fmt: skip
        insert(db, "derived_blood_count", [row | {ratio: 0.0}])
    (after,) = (one for one in changes(db)[1] if one.episode == "E1")
    assert after == before


def test_what_is_known_of_the_mri_is_said_as_of_its_newest_measurement(db: Database) -> None:
    put(db, "E1", {"series_instance_uid": "1.2.3"}, **FLAGGED)
    row = {
        "series_instance_uid": "1.2.3", "source": "auto", "status": "measured", "rois": "{}", "algorithm_name": "a",
        "algorithm_version": "1",
    }  # fmt: skip
    with writing(db):
        for current, note in ((0, "of an earlier state"), (1, "of this state")):
            reasons = {"instances_sha256": note, "current": current, "reasons": stored([Reason(note)])}
            insert(db, "derived_measurement", [row | reasons])
    (standing,) = changes(db)[1]
    assert str(standing.explanation).endswith("; of the MRI: of this state")


def test_an_alarm_is_said_at_the_patients_it_is_about(db: Database) -> None:
    step = Step(scanner="B", since="2026-02-01", n=20, size=0.15, ci_low=0.1, ci_high=0.2)
    drift = Drift(
        n_frozen=150, n_new=60, evidence=9999.0, step=step, evidence_with_season=9999.0, step_with_season=step,
        window=60, mean_residual=0.1, z=5.0, cusum_up=30.0, cusum_down=0.0, strata=(), trend=None,
    )  # fmt: skip
    for episode, scanner, day in (
        ("A", "A", "2026-02-20"),
        ("B", "B", "2026-02-20"),
        ("B0", "B", "2026-01-31"),
        ("B1", "B", "2026-02-01"),
    ):
        put(db, episode, {"scanner_stratum": scanner, "mri_date": day}, **FLAGGED)

    def told(one: Drift) -> list[str]:
        _, standing = find_changes(
            db, night=NIGHT, version=version(), vbq_sem=VBQ_SEM, derivation_behind=False, drift=one
        )
        return sorted(who.episode for who in standing if "deviates from the model by +0.150" in str(who.explanation))

    assert told(drift) == ["B", "B1"], "from the day on"
    assert told(replace(drift, step=replace(step, scanner=None))) == ["A", "B", "B1"]
    assert told(replace(drift, evidence=1.0)) == []


def test_what_stays_the_same_is_not_written_again(db: Database) -> None:
    put(db, "E1", **FLAGGED)
    assert len(written(db)) == 1
    flags, standing = changes(db, NEXT)
    assert (flags, episodes(standing)) == ([], ["E1"])


def test_a_change_names_the_tier_before_and_the_newest_one_counts(db: Database) -> None:
    seen = []
    for days, values in enumerate((FLAGGED, INTERMEDIATE, LOWER)):
        put(db, "E1", **values)
        seen += written(db, NIGHT + timedelta(days=days))
    assert [(flag.change, flag.previous, flag.tier) for flag in seen] == [
        ("new", None, Tier.FLAGGED),
        ("changed", Tier.FLAGGED, Tier.INTERMEDIATE),
        ("changed", Tier.INTERMEDIATE, Tier.LOWER),
    ]


def test_who_left_the_list_and_comes_back_is_new_again(db: Database) -> None:
    put(db, "E1", **FLAGGED)
    written(db)
    put(db, "E1", **FLAGGED, status="cancelled")
    (gone,) = written(db, NEXT)
    assert (gone.change, gone.tier, gone.previous, gone.version) == ("resolved", None, Tier.FLAGGED, None)
    assert changes(db, NEXT) == ([], []), "it is gone once"
    put(db, "E1", **FLAGGED)
    (back,) = written(db, NEXT)
    assert (back.change, back.tier, back.previous) == ("new", Tier.FLAGGED, None)


@pytest.mark.parametrize(("behind", "resolved"), [(False, 1), (True, 0)])
def test_an_operation_that_is_gone_is_resolved_once_nothing_is_left_to_derive(
    db: Database, behind: bool, resolved: int
) -> None:
    put(db, "E1", **FLAGGED)
    written(db)
    with writing(db):
        db.execute("DELETE FROM derived_link")
    flags, _ = changes(db, NEXT, behind=behind)
    assert [flag.change for flag in flags] == ["resolved"] * resolved


def test_who_is_no_longer_eligible_is_resolved(db: Database) -> None:
    put(db, "E1", **FLAGGED)
    written(db)
    put(db, "E1", {"eligible": 0, "exclusion_reasons": TOO_YOUNG}, **FLAGGED)
    (flag,), standing = changes(db, NEXT)
    assert (flag.change, flag.previous, standing) == ("resolved", Tier.FLAGGED, [])
    assert "too young" in str(flag.cause)


def test_a_row_holds_what_the_flag_says(db: Database) -> None:
    put(db, "E1", {"vbq_sd": 0.25, "scanner_stratum": "A"}, **FLAGGED | {"vbq": 3.125})
    written(db)
    (row,) = db.query(
        "SELECT night, episode, change, tier, previous_tier, surgery_date, vbq, nlr, plr, scanner_stratum, "
        "threshold_version, vbq_cut, vbq_sd, near_cut FROM record_flag"
    )
    assert row == {
        "night": "2026-03-02", "episode": "E1", "change": "new", "tier": "flagged", "previous_tier": None,
        "surgery_date": "2026-03-10", "vbq": 3.125, "nlr": 5.0, "plr": 300.0, "scanner_stratum": "A",
        "threshold_version": 1, "vbq_cut": 3.0, "vbq_sd": 0.25, "near_cut": 1,
    }  # fmt: skip


def test_a_row_says_whose_cut_it_was_and_that_of_who_left_has_none(db: Database) -> None:
    strata = (StratumCut(stratum="A", n=100, vbq=3.25, pooled=None),)
    put(db, "E1", {"scanner_stratum": "A"}, **FLAGGED)
    written(db, following=version(cuts=replace(CUTS, strata=strata)))
    put(db, "E1", **FLAGGED, status="cancelled")
    written(db, NEXT)
    kept = "SELECT tier, previous_tier, vbq_cut, cut_of, cut_of_reasons, near_cut FROM record_flag ORDER BY flag_id"
    new, gone = db.execute(kept).fetchall()
    assert new[:4] == ("flagged", None, 3.25, "scanner A")
    assert loaded(new[4]) == (Reason("cut-of-scanner", {"scanner": "A"}),)
    assert gone == (None, "flagged", None, None, None, None)


# ---- why -----------------------------------------------------------------------------------------------------------
HIGHER = institutional_cuts(4.0, 4.0, 250.0)


@pytest.mark.parametrize(
    ("before", "after", "data", "adoption"),
    [
        # 3.5 is high at 3.0 and not at 4.0, with the same data and with a little other ones.
        (FLAGGED, FLAGGED, False, True),
        (FLAGGED, FLAGGED | {"vbq": 3.4}, False, True),
        # 4.5 is high at either; the ratios alone take the tier away.
        (FLAGGED | {"vbq": 4.5}, INTERMEDIATE | {"vbq": 4.5}, True, False),
        # Either alone would have changed it.
        (FLAGGED, LOWER, True, True),
        # Neither alone: 4.2 is high at 4.0, 3.5 is high at 3.0, but 3.5 is not high at 4.0.
        (FLAGGED | {"vbq": 4.2}, FLAGGED | {"vbq": 3.5}, True, True),
    ],
)
def test_a_change_is_put_down_to_the_data_to_the_version_or_to_both(
    db: Database, before: dict[str, float], after: dict[str, float], data: bool, adoption: bool
) -> None:
    following = recorded(db, 2, HIGHER)
    put(db, "E1", **before)
    written(db)
    put(db, "E1", **after)
    (flag,) = written(db, NEXT, following=following)
    assert flag.change == "changed"
    cause = str(flag.cause)
    assert ("data" in cause, "version 1" in cause, "offset" in cause) == (data, adoption, False), cause


def cause_of(db: Database, after: dict[str, float], columns: dict[str, object] | None = None, **operation: Any) -> str:
    """Why E1, flagged the night before at scanner A, changes or leaves the list."""
    put(db, "E1", {"scanner_stratum": "A"}, **FLAGGED)
    written(db)
    put(db, "E1", columns or {"scanner_stratum": "A"}, **after, **operation)
    (flag,) = written(db, NEXT)
    return str(flag.cause)


OF_B = Measured(scanner="B", reference="A", source="rescans", n=12, value=0.25, ci_low=0.2, ci_high=0.3)
"""Makes the cut of scanner B 3.25 in the place of 3.0."""


def with_offsets(db: Database, night: date, following: Version | None = None) -> str:
    """What is written of the only operation that night, with what people have adopted; its cause."""
    flags, _ = find_changes(
        db, night=night, version=following or version(), vbq_sem=VBQ_SEM, derivation_behind=False,
        corrections=corrections.in_force(db),
    )  # fmt: skip
    with writing(db):
        store(db, flags, night=night)
    (flag,) = flags
    return str(flag.cause)


def test_an_offset_that_alone_changes_a_tier_is_named_with_its_size_before_and_now(db: Database) -> None:
    low = {"nlr": 1.0, "plr": 100.0}
    put(db, "E1", {"scanner_stratum": "B"}, vbq=3.1, **low)
    with_offsets(db, NIGHT)
    corrections.adopt(db, OF_B, by="Dr A", why="phantom", now=NOW)
    assert with_offsets(db, NEXT) == "offset of scanner B +0.000 → +0.250"
    # Other data as well, which would not have changed it under the offset that was held.
    put(db, "E1", {"scanner_stratum": "B"}, vbq=3.125, **low)
    corrections.withdraw(db, "B", by="Dr A", why="mended", now=NOW)
    assert with_offsets(db, NEXT + timedelta(days=1)) == "offset of scanner B +0.250 → +0.000"


def test_another_scanner_comes_with_its_own_offset(db: Database) -> None:
    corrections.adopt(db, OF_B, by="Dr A", why="phantom", now=NOW)
    put(db, "E1", {"scanner_stratum": "A"}, vbq=3.125, nlr=1.0, plr=100.0)
    with_offsets(db, NIGHT)
    put(db, "E1", {"scanner_stratum": "B"}, vbq=3.125, nlr=1.0, plr=100.0)
    # The scanner alone takes the tier away; the version, of which the cut is a little higher, does not.
    following = recorded(db, 2, institutional_cuts(3.0625, 4.0, 250.0))
    cause = with_offsets(db, NEXT, following)
    assert "scanner A → B" in cause
    assert "version" not in cause
    assert "offset" not in cause


def test_the_data_that_changed_are_named_and_no_others(db: Database) -> None:
    cause = cause_of(db, FLAGGED | {"vbq": 2.5})
    assert "VBQ 3.5 → 2.5" in cause
    assert not {"NLR", "PLR", "scanner"} & set(cause.replace(",", "").split())


@pytest.mark.parametrize(("scanner", "words"), [("B", "scanner A → B"), (None, "scanner A → unknown")])
def test_another_scanner_is_named(db: Database, scanner: str | None, words: str) -> None:
    assert words in cause_of(db, LOWER, {"scanner_stratum": scanner})


def test_an_operation_that_moved_and_no_longer_links_says_both(db: Database) -> None:
    moved = cause_of(db, FLAGGED, surgery="2026-03-12", status="incomplete", reasons=("too old",))
    assert "2026-03-10" in moved
    assert "2026-03-12" in moved
    assert "too old" in moved


def test_an_operation_that_stays_where_it_is_has_not_moved(db: Database) -> None:
    cause = cause_of(db, FLAGGED, status="incomplete", reasons=("too old",))
    assert "2026-03-10" not in cause
    assert "too old" in cause


def test_on_the_day_itself_an_operation_is_not_past(db: Database) -> None:
    put(db, "E1", **FLAGGED)
    written(db)
    put(db, "E1", **FLAGGED, status="incomplete", reasons=("too old",))
    (flag,), _ = changes(db, date(2026, 3, 10))
    assert "past" not in str(flag.cause)
    (flag,), _ = changes(db, date(2026, 3, 11))
    assert "past" in str(flag.cause)


def test_who_has_still_to_be_derived_keeps_nobody_else_on_the_list(db: Database) -> None:
    for episode in ("A", "B"):
        put(db, episode, **FLAGGED)
    written(db)
    put(db, "A", **FLAGGED, status="cancelled")
    put(db, "B", **FLAGGED, status="cancelled")
    with writing(db):
        db.execute("DELETE FROM derived_person WHERE person = 'LOCAL|A'")
    assert [(flag.episode, flag.change) for flag in changes(db, NEXT)[0]] == [("B", "resolved")]


def test_without_notes_nothing_is_said_of_the_mri(db: Database) -> None:
    put(db, "E1", **FLAGGED)
    (standing,) = changes(db)[1]
    assert "MRI" not in str(standing.explanation)
