"""Cut-offs from a cohort: quantiles and Youden's cuts as R has them, per scanner, and what is refused and why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analytics.episodes.cuts import Cuts, institutional_cuts
from analytics.methods.plain import in_words
from analytics.methods.rows import Refusal
from analytics.night.calibration import CIRCULAR, Calibration, MarkerCut, Outcome, Rule, calibrate, left_behind

STATISTICS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "statistics"
needs_statistics = pytest.mark.skipif(not STATISTICS.is_dir(), reason="../shared/data/statistics is not here")


def rule(**choices: Any) -> Rule:
    return Rule(**({"minimum_n": 80, "minimum_per_scanner": 80} | choices))


def cohort(n: int, **columns: object) -> pd.DataFrame:
    steps = np.arange(1, n + 1)
    frame = pd.DataFrame(
        {"id": [f"E{i}" for i in steps], "vbq": 2 + steps / 100, "nlr": steps / 10, "plr": 100.0 + steps}
    )
    return frame.assign(**({"scanner_stratum": ""} | columns))


def marker(found: Calibration | Refusal, name: str, scanner: str | None = None) -> MarkerCut:
    assert isinstance(found, Calibration)
    (one,) = [one for one in found.markers if (one.marker, one.stratum) == (name, scanner)]
    return one


def bones(n: int = 400, seed: int = 3) -> pd.DataFrame:
    """VBQ that tells osteoporosis apart, a PLR that tells it a little, an NLR that does not tell it at all."""
    random = np.random.default_rng(seed)
    weak = random.random(n) < 0.4
    return pd.DataFrame(
        {
            "id": [f"B{i}" for i in range(n)], "vbq": random.normal(2.8, 0.2, n) + 0.25 * weak,
            "nlr": random.gamma(4, 0.8, n), "plr": random.normal(200, 40, n) + 20 * weak,
            "t_score": np.where(weak, random.uniform(-4, -2.5, n), random.uniform(-2.4, 1, n)),
            "scanner_stratum": np.where(np.arange(n) % 4 == 0, "B", "A"),
        }
    )  # fmt: skip


@needs_statistics
def test_upper_quartiles_are_those_of_r() -> None:
    r = json.loads((STATISTICS / "expected" / "roc_cohort200.json").read_text())["upper_quartile_type7"]
    found = calibrate(pd.read_csv(STATISTICS / "inputs" / "cohort200.csv").assign(scanner_stratum=""), rule())
    assert isinstance(found, Calibration)
    cuts = found.cuts
    assert (cuts.n, cuts.ratios, cuts.method) == (200, "any", "quantile 0.75")
    assert {"vbq": cuts.vbq, "nlr": cuts.nlr, "plr": cuts.plr} == pytest.approx(r, rel=1e-12)


@needs_statistics
@pytest.mark.parametrize("name", ["nlr", "plr"])
def test_youden_against_vbq_is_that_of_proc_and_said_to_be_circular(name: str) -> None:
    """pROC's curve of the ratio against VBQ ≥ 2.90, given here as an event of its own and as the circular outcome."""
    r = json.loads((STATISTICS / "expected" / "roc_cohort200.json").read_text())
    table = pd.read_csv(STATISTICS / "inputs" / "cohort200.csv").assign(scanner_stratum="")
    table["event"] = (table.vbq >= 2.90).astype(float)
    one = marker(calibrate(table, rule(method="youden", outcome=Outcome(column="event"))), name)
    expected = r[name]
    assert one.worth is not None
    assert one.worth.auc == pytest.approx(expected["auc"], rel=1e-9)
    assert one.worth.auc_ci == pytest.approx((expected["auc_delong_ci"][0], expected["auc_delong_ci"][-1]), rel=1e-9)
    assert one.cut == pytest.approx(expected["youden"]["threshold"], rel=1e-9)
    assert one.worth.at_cut.sensitivity.value == pytest.approx(expected["youden"]["sensitivity"], rel=1e-9)
    assert one.worth.circular is None
    quantile = (table.vbq < 2.90).mean()
    circular = calibrate(table, rule(method="youden", outcome=Outcome(column="vbq"), quantile=float(quantile)))
    again = marker(circular, name)
    assert again.worth is not None
    assert again.worth.circular == CIRCULAR
    assert again.worth.outcome == "VBQ at or above its cut"
    vbq = marker(circular, "vbq")
    assert (vbq.how, vbq.worth) == (f"quantile {quantile:g}", None), "VBQ is not judged against itself"


def test_quantiles_interpolate_between_neighbours() -> None:
    """21 equal steps: the 0.9 quantile (type 7) is the 19th, by hand."""
    found = calibrate(cohort(21), rule(quantile=0.9, minimum_n=21, ratios="both"))
    assert isinstance(found, Calibration)
    assert (found.cuts.vbq, found.cuts.nlr, found.cuts.plr) == pytest.approx((2.19, 1.9, 119))
    assert found.cuts.ratios == "both"


def test_a_marker_that_tells_nothing_gets_its_quantile_and_says_why() -> None:
    found = calibrate(bones(), rule(method="youden", outcome=Outcome(column="t_score", cut=-2.5)))
    vbq, nlr, plr = (marker(found, name) for name in ("vbq", "nlr", "plr"))
    assert (vbq.how, nlr.how, plr.how) == ("youden", "quantile 0.75", "youden")
    assert nlr.instead is not None
    meaningless = "Youden's cut would mean nothing: NLR does not tell t_score ≤ -2.5 apart (ROC area "
    assert str(nlr.instead).startswith(meaningless)
    assert nlr.worth is not None and nlr.worth.youden_corrected is None, "the outcome did not choose this cut"
    assert vbq.worth is not None and vbq.worth.youden_corrected is not None
    assert vbq.worth.youden_corrected < vbq.worth.at_cut.youden, "the apparent index is too good"
    # Two normals 0.25 apart with SD 0.2 cross midway; J there is 2 Φ(0.625) − 1 = 0.468.
    assert vbq.cut == pytest.approx(2.925, abs=0.08)
    assert vbq.worth.youden_corrected == pytest.approx(0.468, abs=0.09)
    assert vbq.interval is not None and vbq.kept_within is not None
    assert vbq.interval[0] <= vbq.kept_within[0] <= vbq.cut <= vbq.kept_within[1] <= vbq.interval[1]


def test_two_groups_apart_are_cut_in_the_gap() -> None:
    """All 40 weak ones lie at or above 3.0, the others at or below 2.9: the cut is midway, J is 1."""
    weak = np.arange(100) < 40
    values = np.where(weak, 3.0 + np.arange(100) / 1000, 2.0 + np.arange(100) * 0.9 / 99)
    table = cohort(100, vbq=values, event=weak.astype(float))
    one = marker(calibrate(table, rule(method="youden", outcome=Outcome(column="event"))), "vbq")
    assert one.cut == pytest.approx(2.95)
    assert one.worth is not None
    assert one.worth.at_cut.youden == 1


def test_what_given_limits_are_worth_is_said_where_there_is_an_outcome() -> None:
    """By hand: of the steps of VBQ from 2.01 to 3.00 the upper 40 have the event; from 2.71 on are 30 of them."""
    table = cohort(100, event=(np.arange(1, 101) > 60).astype(float))
    given = rule(method="institutional", limits=(2.705, 5.0, 150.0), outcome=Outcome(column="event"))
    one = marker(calibrate(table, given), "vbq")
    assert (one.cut, one.how, one.interval, one.n) == (2.705, "institutional", None, 0)
    assert one.worth is not None
    at_cut = one.worth.at_cut
    assert (at_cut.sensitivity.value, at_cut.specificity.value, at_cut.ppv.value) == (0.75, 1.0, 1.0)
    assert at_cut.npv.value == pytest.approx(60 / 70)
    assert (one.worth.n, one.worth.prevalence) == (100, 0.4)


def test_the_cut_of_a_cohort_of_one_scanner_is_that_scanners() -> None:
    found = calibrate(bones().assign(scanner_stratum="A"), rule())
    assert isinstance(found, Calibration)
    assert (found.cuts.at("A").vbq, str(found.cuts.at("A").of)) == (found.cuts.vbq, "scanner A")
    assert str(found.cuts.at("B").of) == "all scanners (scanner B is not among those of the cut-offs)"
    assert [one.stratum for one in found.markers] == [None] * 3


def test_a_scanner_with_enough_patients_has_its_own_cut_another_the_pooled_one() -> None:
    table = bones().assign(vbq=lambda t: t.vbq + 0.3 * (t.scanner_stratum == "B"))
    found = calibrate(table, rule(minimum_per_scanner=101))
    assert isinstance(found, Calibration)
    own, pooled = found.cuts.strata
    assert (own.stratum, own.n, own.pooled) == ("A", 300, None)
    assert own.vbq == np.quantile(table.vbq[table.scanner_stratum == "A"], 0.75)
    assert (pooled.stratum, pooled.n, pooled.vbq) == ("B", 100, found.cuts.vbq)
    assert str(pooled.pooled) == "scanner B: 100 patients, 101 are needed for a cut of its own"
    assert (found.cuts.at("A").vbq, str(found.cuts.at("A").of)) == (own.vbq, "scanner A")
    for scanner, of in (
        ("B", "all scanners (scanner B: 100 patients, 101 are needed for a cut of its own)"),
        ("C", "all scanners (scanner C is not among those of the cut-offs)"),
        (None, "all scanners (scanner unknown)"),
    ):
        cuts = found.cuts.at(scanner)
        assert (cuts.vbq, str(cuts.of)) == (found.cuts.vbq, of)
    assert {found.cuts.at(name).nlr for name in ("A", "B", None)} == {found.cuts.nlr}, "blood knows no scanner"


@pytest.mark.parametrize(
    ("table", "choices", "reason"),
    [
        (cohort(79), {}, "not calibrated yet: 79 complete rows, 80 are needed"),
        (cohort(100, nlr=3.0), {}, "not calibrated: NLR is the same in all 100 rows"),
        (
            cohort(100, t_score=[-3.0] * 50 + [np.nan] * 50),
            {"method": "youden", "outcome": Outcome(column="t_score", cut=-2.5)},
            "not calibrated yet: 50 complete rows with the outcome t_score, 80 are needed",
        ),
        (
            cohort(100, event=[1.0] * 9 + [0.0] * 91),
            {"method": "youden", "outcome": Outcome(column="event")},
            "no cut of VBQ: insufficient: 9 with and 91 without the outcome, 10 of each are needed",
        ),
    ],
)
def test_what_cannot_be_calibrated_says_why(table: pd.DataFrame, choices: dict[str, Any], reason: str) -> None:
    refusal = calibrate(table, rule(**choices))
    assert isinstance(refusal, Refusal)
    assert str(refusal.reason) == reason


def test_only_complete_rows_and_first_of_their_id_count() -> None:
    frame = pd.concat([cohort(20), cohort(3)])
    frame.iloc[5, 2] = np.nan
    frame.iloc[6, 3] = np.inf
    refusal = calibrate(frame, rule(minimum_n=19))
    assert isinstance(refusal, Refusal)
    assert refusal.n_used == 18
    assert in_words(refusal.omitted) == {"no finite value of nlr": 1, "no finite value of plr": 1, "repeated id": 3}


@pytest.mark.parametrize("quantile", [0, 1, 75])
def test_what_is_not_a_quantile_is_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibrate(cohort(100), rule(quantile=quantile))


def test_only_cuts_outside_the_interval_are_left_behind() -> None:
    """The upper quartile of 101 steps is the 76th; its 80 % interval about ±1.28 × √(101 × 3/16) = 5.6 steps."""
    rows, now = cohort(101), {"vbq": 2.76, "nlr": 7.6, "plr": 176.0}
    near: Cuts = institutional_cuts(**now | {"vbq": 2.76 + 0.03, "plr": 176.0 - 3})
    far: Cuts = institutional_cuts(**now | {"vbq": 2.76 + 0.09, "plr": 176.0 - 9})
    new = calibrate(rows, rule())
    assert isinstance(new, Calibration)
    assert left_behind(near, new) == ()
    assert [(one.code, one.values["marker"], one.values["cut"]) for one in left_behind(far, new)] == [
        ("cut-left-behind", "VBQ", 2.76 + 0.09),
        ("cut-left-behind", "PLR", 167.0),
    ]


def test_the_order_of_the_rows_does_not_matter() -> None:
    choices = rule(method="youden", outcome=Outcome(column="t_score", cut=-2.5))
    table = bones(200)
    assert calibrate(table, choices) == calibrate(table.sample(frac=1, random_state=1), choices)
