"""What was known of a person by the day of the operation: each limit of days with the day at its edge and the next."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from node.hl7.catalogue import load_eligibility
from node.hl7.extracts import Diagnosis, Medication, Observation, PatientExtract
from node.steps.known import Known
from node.steps.person import Said

VIENNA = ZoneInfo("Europe/Vienna")
SURGERY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 11, 0, tzinfo=UTC)
LAST_MOMENT = datetime(2026, 3, 2, 22, 59, 59, tzinfo=UTC)
"""One second before midnight in Vienna."""


def known(*extracts: PatientExtract, sent_at: datetime | None = NOON) -> Known:
    said = [
        Said(sent_at=sent_at, order=(f"{number}", "", 0, 0), number="1", extract=extract)
        for number, extract in enumerate(extracts)
    ]
    return Known(said=said, zone=VIENNA, eligibility=load_eligibility())


def seen(name: str, value: float, at: datetime | None) -> PatientExtract:
    return PatientExtract(observations=(Observation(name=name, value=value, observed_at=at),))


@pytest.mark.parametrize(("days", "counts"), [(-366, False), (-365, True), (365, True), (366, False)])
@pytest.mark.parametrize("name", ["t_score", "bmd_g_per_cm2", "hu"])
def test_a_bone_density_within_365_days_on_either_side_describes_the_patient(
    name: str, days: int, counts: bool
) -> None:
    found = known(seen(name, 1.5, NOON + timedelta(days=days))).outcomes(SURGERY)
    assert found[name] == (1.5 if counts else None)


def test_the_nearest_day_holds_and_on_it_the_lowest_site() -> None:
    values = [(-3.5, -40), (-2.0, -10), (-2.5, -10), (-3.0, 30)]
    told = [seen("t_score", value, NOON + timedelta(days=days)) for value, days in values]
    assert known(*told).outcomes(SURGERY)["t_score"] == -2.5


@pytest.mark.parametrize(("days", "event"), [(-1, None), (0, 1), (1, 1)])
def test_an_event_counts_from_the_day_of_the_operation_on(days: int, event: int | None) -> None:
    assert known(seen("event", 1, NOON + timedelta(days=days))).outcomes(SURGERY)["event"] == event


def test_an_event_that_was_reported_outweighs_a_later_denial() -> None:
    told = [seen("event", 1, NOON), seen("event", 0, NOON + timedelta(days=9))]
    assert known(*told).outcomes(SURGERY)["event"] == 1
    assert known(told[1]).outcomes(SURGERY)["event"] == 0
    assert known(*told).outcomes(None) == {"t_score": None, "bmd_g_per_cm2": None, "hu": None, "event": None}


@pytest.mark.parametrize(("moment", "counts"), [(LAST_MOMENT, True), (LAST_MOMENT + timedelta(seconds=1), False)])
def test_what_was_seen_by_the_end_of_the_local_day_was_known(moment: datetime, counts: bool) -> None:
    assert known(seen("smoking", 1, moment)).covariates(SURGERY)["smoking"] == (1 if counts else None)
    assert known(seen("smoking", 1, None), sent_at=moment).covariates(SURGERY)["smoking"] == (1 if counts else None)
    diagnosed = PatientExtract(diagnoses=(Diagnosis(code="M48.06", text="", recorded_at=moment),))
    assert (known(diagnosed).diagnosis(SURGERY) is not None) is counts
    assert known(diagnosed).diagnosis(None) is not None, "without a day, for now"


def test_the_newest_observation_holds_and_of_the_same_moment_the_last_that_was_sent() -> None:
    at = [NOON - timedelta(days=days) for days in (3, 1, 2)]
    assert known(*(seen("bmi", 20.0 + n, moment) for n, moment in enumerate(at))).covariates(SURGERY)["bmi"] == 21.0
    assert known(seen("bmi", 25.0, NOON), seen("bmi", 26.0, NOON)).covariates(SURGERY)["bmi"] == 26.0
    undated = known(seen("bmi", 25.0, None), seen("bmi", 26.0, NOON - timedelta(days=900)), sent_at=None)
    assert undated.covariates(SURGERY)["bmi"] == 26.0, "what has a date goes before what has none"


def test_a_visit_that_was_opened_by_mistake_brings_no_diagnosis() -> None:
    diagnosis = (Diagnosis(code="M48.06", text="", recorded_at=NOON),)
    opened = PatientExtract(visit="V1", visit_event="opened", diagnoses=diagnosis)
    cancelled = PatientExtract(visit="V1", visit_event="cancelled")
    assert known(opened).diagnosis(SURGERY) == "LSS"
    assert known(opened, cancelled).diagnosis(SURGERY) is None
    assert known(cancelled, opened).diagnosis(SURGERY) == "LSS", "the newest word on it holds"


def test_a_drug_first_given_on_the_day_of_the_operation_excludes_nobody() -> None:
    for days, excluded in ((0, False), (-1, True), (-181, True), (-182, False)):
        taken = Medication(drug="H02AB06^Prednisolon", started_at=NOON + timedelta(days=days), ended_at=None)
        # Six calendar months before 2 March 2026 is 2 September 2025, 181 days before.
        assert bool(known(PatientExtract(medications=(taken,))).excluding_drugs(SURGERY)) is excluded, days
