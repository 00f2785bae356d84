"""The link step: what a patient's messages and series lead to, in any order of arrival."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import permutations
from pathlib import Path

import pytest
from sqlite_utils import Database

from analytics.counts.blood import Result
from analytics.reasons import Reason
from node.clock import to_text
from node.hl7.extracts import (
    AppointmentExtract,
    Diagnosis,
    Extract,
    Medication,
    MergeExtract,
    Observation,
    PatientExtract,
    SpecimenExtract,
)
from node.settings import Measurement, Settings, Site
from node.steps.identity import resolve_merges
from node.steps.link import link_persons
from node.steps.person import read_person
from node.store.database import insert, open_database, writing
from node.store.pending import touch
from tests.progress import steps_of

SETTINGS = Settings(site=Site(time_zone="Europe/Vienna"))
NUMBER = "00123"


def utc(month: int, day: int, hour: int = 8) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def receive(db: Database, name: str, sent_at: datetime, extract: Extract, number: str = NUMBER) -> None:
    """Store what one message says; its name stands in for its bytes, so that any order gives the same facts."""
    with writing(db):
        frame_id = db.execute("SELECT count(*) FROM fact_frame").fetchone()[0] + 1
        insert(db, "fact_frame", [{"frame_id": frame_id, "sha256": f"{name:>064}", "raw": name.encode()}])
        row = {"frame_id": frame_id, "position": 1, "item": 1, "kind": extract.kind, "authority": "LOCAL"}
        row |= {"patient_id": number, "sent_at": to_text(sent_at), "content": extract.model_dump_json()}
        insert(db, "derived_extract", [row])
        touch(db, "LOCAL", number)
        resolve_merges(db)
    link_persons(db, SETTINGS)


def add_series(db: Database, uid: str, study_date: date, *, vbq: float | None = 3.1, **columns: object) -> None:
    with writing(db):
        row = {
            "series_instance_uid": uid, "study_instance_uid": f"{uid}.0", "patient_authority": "LOCAL",
            "patient_id": NUMBER, "birth_date": "1960-01-01", "sex": "F", "study_date": study_date.isoformat(),
            "scanner_stratum": "A 1.5T", "instances": 15, "instances_sha256": "x", "role": "t1_sagittal", "chosen": 1,
            "reasons": "[]", "protocol": "{}", "last_received_at": to_text(utc(2, 1)),
            "missing_slices": 0, "completeness": "unverified", "completeness_reasons": "[]",
        }  # fmt: skip
        insert(db, "derived_series", [row | columns])
        if vbq is not None:
            rois = json.dumps({"slice": 8, "uid": uid})
            reading = {"series_instance_uid": uid, "reader": "A", "rois": rois, "added_at": to_text(utc(2, 1))}
            insert(db, "fact_reading", [reading])
            (reading_id,) = db.execute("SELECT max(reading_id) FROM fact_reading").fetchone()
            measured = {
                "series_instance_uid": uid, "source": "reading:A", "reading_id": reading_id, "instances_sha256": "x",
                "status": "measured", "reasons": "[]", "vbq_mean": vbq, "vbq_median": vbq + 0.5, "rois": "{}",
                "algorithm_name": "vbq-roi", "algorithm_version": "1",
            }  # fmt: skip
            insert(db, "derived_measurement", [measured])
        touch(db, "LOCAL", NUMBER)
    link_persons(db, SETTINGS)


def blood(taken_at: datetime, neutrophils: float, status: str = "F") -> SpecimenExtract:
    values = {"neutrophils": neutrophils, "lymphocytes": 2.0, "platelets": 300.0}
    return SpecimenExtract(
        specimen=f"S{taken_at:%m%d}",
        taken_at=taken_at,
        date_only=False,
        results=tuple(
            Result(analyte=analyte, scale="absolute", value=value, status=status, code=analyte)
            for analyte, value in values.items()
        ),
    )


def appointment(event: str, planned_at: datetime | None, booking: str = "P1/F1") -> AppointmentExtract:
    return AppointmentExtract(
        placer=booking.split("/", maxsplit=1)[0],
        filler=booking.split("/")[1],
        event=event,
        planned_at=planned_at,
        date_only=False,
        procedure="Lumbar decompression and fusion L4/5" if event == "booked" else "",
        operation=event == "booked",
    )


PATIENT = PatientExtract(
    birth_date=date(1960, 1, 1),
    sex="F",
    observations=(
        Observation(name="height_cm", value=175, observed_at=utc(2, 10)),
        Observation(name="weight_kg", value=70, observed_at=utc(2, 10)),
        Observation(name="smoking", value=0, observed_at=utc(2, 10)),
        Observation(name="smoking", value=1, observed_at=utc(2, 11)),
        Observation(name="smoking", value=0, observed_at=utc(3, 20)),  # after the operation: not known then
    ),
    diagnoses=(
        Diagnosis(code="M48.06", text="", recorded_at=utc(2, 10)),
        Diagnosis(code="E11.9", text="", recorded_at=None),
    ),
)

STORY: list[tuple[str, datetime, Extract]] = [
    ("a08", utc(2, 12), PATIENT),
    ("s12", utc(2, 10), appointment("booked", utc(2, 25, 7))),
    ("s13", utc(2, 14), appointment("moved", utc(3, 2, 7))),
    ("oru", utc(2, 20), blood(utc(2, 20), 5.0)),
]


def link_rows(db: Database) -> list[dict[str, object]]:
    """The rows with their reasons in words."""
    said = {row["id"]: row for row in db.query("SELECT id, reasons, exclusion_reasons FROM links")}
    rows = db.query("SELECT * FROM derived_link ORDER BY episode")
    return [row | {name: said[row["episode"]][name] for name in ("reasons", "exclusion_reasons")} for row in rows]


def everything(db: Database) -> list[list[dict[str, object]]]:
    views = ("cohort", "links", "operations", "blood_counts", "problems")
    return [sorted(db.query(f"SELECT * FROM {view}"), key=repr) for view in views]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path, create=True, pseudonym_key="00" * 32)
    yield database
    database.close()


def test_a_complete_patient_enters_the_cohort(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    (row,) = link_rows(db)
    assert (row["status"], row["reasons"], row["eligible"]) == ("linked", "[]", 1), row["exclusion_reasons"]
    assert (row["surgery_date"], row["mri_date"], row["cbc_date"]) == ("2026-03-02", "2026-02-01", "2026-02-20")
    # By hand: born 1960-01-01, 70 kg at 1.75 m, N/L = 5/2, P/L = 300/2; E11.9 is diabetes; never asked: hypertension.
    assert (row["age"], row["sex_male"], row["bmi"], row["smoking"], row["diabetes"]) == (66, 0, 22.9, 1, 1)
    assert (row["hypertension"], row["calcium"], row["diagnosis"]) == (None, None, "LSS")
    assert (row["vbq"], row["nlr"], row["plr"]) == (3.1, 2.5, 150.0)
    (operation,) = db.query("SELECT * FROM operations")
    assert operation["moved_from"] == "2026-02-25T07:00:00.000000+00:00"
    assert operation["patient_id"] == NUMBER


@pytest.mark.parametrize("form", ["mean", "median"])
def test_the_setting_names_the_form_that_enters(db: Database, form: str) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    with writing(db):
        touch(db, "LOCAL", NUMBER)
    link_persons(db, SETTINGS.model_copy(update={"measurement": Measurement(form=form)}))
    assert link_rows(db)[0]["vbq"] == {"mean": 3.1, "median": 3.6}[form]


def test_any_order_of_arrival_gives_the_same(tmp_path: Path) -> None:
    story = [
        *STORY,
        ("s15", utc(2, 13), appointment("cancelled", None)),
        ("c", utc(2, 21), blood(utc(2, 20), 6.0, "C")),
    ]
    seen = []
    for number, order in enumerate(list(permutations(story))[::37]):
        folder = tmp_path / str(number)
        database = open_database(folder, create=True, pseudonym_key="00" * 32)
        for name, sent_at, extract in order:
            receive(database, name, sent_at, extract)
        add_series(database, "1.1", date(2026, 2, 1))
        seen.append(everything(database))
        database.close()
    assert len(seen) == 20
    assert all(one == seen[0] for one in seen)
    # The move of the 14th overrules the cancellation of the 13th; the corrected count holds.
    (row,) = seen[0][0]
    assert (row["surgery_date"], row["nlr"], row["eligible"]) == ("2026-03-02", 3.0, 1)


def test_a_cancelled_operation_unlinks(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    receive(db, "s15", utc(2, 28), appointment("cancelled", utc(3, 2, 7)))
    (row,) = link_rows(db)
    assert (row["status"], row["series_instance_uid"], row["specimen"], row["eligible"]) == ("cancelled", None, None, 0)
    assert list(db.query("SELECT * FROM cohort")) == []


def test_a_move_links_anew(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    receive(db, "s13b", utc(2, 27), appointment("moved", utc(4, 20, 7)))
    (row,) = link_rows(db)
    assert (row["status"], row["series_instance_uid"], row["specimen"]) == ("incomplete", "1.1", None)
    assert json.loads(str(row["reasons"])) == [
        "blood count of 2026-02-20 is more than 30 days before the operation of 2026-04-20"
    ]


@pytest.mark.parametrize(("columns", "what"), [({"birth_date": "1961-01-01"}, "birth date"), ({"sex": "M"}, "sex")])
def test_contradicting_demographics_hold_the_link(db: Database, columns: dict[str, object], what: str) -> None:
    add_series(db, "1.1", date(2026, 2, 1), **columns)
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    (row,) = link_rows(db)
    assert (row["status"], row["eligible"]) == ("held", 0)
    (problem,) = db.query("SELECT * FROM problems WHERE step = 'link'")
    assert problem["detail"].startswith(f"{what} in the images and in the messages contradict each other")


def test_without_an_operation_a_close_pair_is_provisional_and_stays_out(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    receive(db, "oru", utc(2, 20), blood(utc(2, 20), 5.0))
    (row,) = link_rows(db)
    assert (row["status"], row["eligible"]) == ("provisional", 0)
    assert json.loads(str(row["reasons"])) == ["no operation is known; MRI and blood count are 19 days apart"]
    assert list(db.query("SELECT * FROM cohort")) == []


def test_an_earlier_operation_excludes_the_later_one(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    receive(db, "s12b", utc(2, 13), appointment("booked", utc(3, 9, 7), booking="P2/F2"))
    rows = {row["surgery_date"]: row for row in link_rows(db)}
    assert rows["2026-03-02"]["eligible"] == 1
    assert json.loads(str(rows["2026-03-09"]["exclusion_reasons"])) == ["prior lumbar surgery (2026-03-02)"]


def test_two_bookings_of_one_day_are_one_row_of_the_cohort(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    receive(db, "s12b", utc(2, 13), appointment("booked", utc(3, 2, 9), booking="P2/F2"))
    rows = {row["booking"]: row for row in link_rows(db)}
    assert rows["P1/F1"]["eligible"] == 1
    assert json.loads(str(rows["P2/F2"]["exclusion_reasons"])) == ["the same day is booked as P1/F1 too"]
    receive(db, "s15", utc(2, 28), appointment("cancelled", None, booking="P1/F1"))
    assert [row["booking"] for row in link_rows(db) if row["eligible"]] == ["P2/F2"]


def test_what_was_said_without_a_date_after_the_operation_was_not_known_before_it(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    later = PatientExtract(
        observations=(Observation(name="smoking", value=0, observed_at=None),),
        diagnoses=(Diagnosis(code="T81.4", text="", recorded_at=None),),  # a wound infection after it
    )
    receive(db, "a08b", utc(3, 9), later)
    (row,) = link_rows(db)
    assert (row["eligible"], row["smoking"]) == (1, 1), row["exclusion_reasons"]
    receive(db, "a08c", utc(2, 28), later)  # the same said before the operation
    (row,) = link_rows(db)
    assert (row["eligible"], row["smoking"], row["exclusion_reasons"]) == (0, 0, '["infection"]')


def test_a_merge_brings_both_numbers_together_and_keeps_the_episode(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY[:3]:
        receive(db, name, sent_at, extract)
    receive(db, "oru", utc(2, 20), blood(utc(2, 20), 5.0), number="9")
    (before,) = link_rows(db)
    assert before["status"] == "incomplete"
    receive(db, "a40", utc(2, 21), MergeExtract(retired_authority="LOCAL", retired_id=NUMBER), number="9")
    (after,) = link_rows(db)
    assert (after["status"], after["person"], after["episode"]) == ("linked", "LOCAL|9", before["episode"])


def test_a_number_without_its_leading_zeros_is_a_candidate_for_a_person_and_never_a_link(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY[:3]:
        receive(db, name, sent_at, extract)
    receive(db, "oru", utc(2, 20), blood(utc(2, 20), 5.0), number="123")
    (row,) = [row for row in link_rows(db) if row["booking"]]
    assert (row["status"], row["specimen"]) == ("incomplete", None)
    (problem,) = db.query("SELECT detail FROM problems WHERE code = 'candidate'")
    assert problem["detail"].startswith("number 123 of LOCAL differs from 00123 in leading zeros only")
    receive(db, "a40", utc(2, 21), MergeExtract(retired_authority="LOCAL", retired_id="123"))
    assert list(db.query("SELECT * FROM problems")) == [], "merged: nothing is left to confirm"
    assert [row["status"] for row in link_rows(db)] == ["linked"]


def test_an_unmeasured_series_is_said(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1), vbq=None)
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    (row,) = link_rows(db)
    assert row["status"] == "incomplete"
    assert json.loads(str(row["reasons"])) == ["MRI of 2026-02-01 waits for a measurement"]


def test_an_operation_without_a_date_is_a_problem(db: Database) -> None:
    receive(db, "s12", utc(2, 10), appointment("booked", None))
    assert link_rows(db) == []
    (problem,) = db.query("SELECT code, detail FROM problems")
    assert problem == {"code": "no-date", "detail": "operation P1/F1 has no planned date in any message about it"}


def test_the_problems_of_a_number_go_over_to_the_one_that_survives(db: Database) -> None:
    receive(db, "s12", utc(2, 10), appointment("booked", None))
    receive(db, "a40", utc(2, 11), MergeExtract(retired_authority="LOCAL", retired_id=NUMBER), number="00777")
    (patient,) = db.query("SELECT 'patient ' || pseudonym AS source FROM derived_person")
    assert list(db.query("SELECT source FROM problems")) == [patient]
    receive(db, "s13", utc(2, 12), appointment("moved", utc(3, 2, 7)))
    assert list(db.query("SELECT source FROM problems")) == []


def test_a_held_blood_count_is_a_problem(db: Database) -> None:
    count = blood(utc(2, 20), 5.0)
    unclear = replace(count.results[0], value=None, reason=Reason("unit-not-known"), doubtful=True)
    receive(db, "oru", utc(2, 20), count.model_copy(update={"results": (unclear, *count.results[1:])}))
    (problem,) = db.query("SELECT code, detail FROM problems")
    assert problem["code"] == "held-blood-count"
    assert "the unit is not known" in problem["detail"]
    (count_row,) = db.query("SELECT notes, reason_codes FROM blood_counts")
    codes = json.loads(count_row["reason_codes"])
    assert codes == ["no-ratio", "result-doubtful"]
    assert len(json.loads(count_row["notes"])) == len(codes)


@pytest.mark.parametrize("cancels", ["P1/", "/F1", "P9/F1", "P1/F1"])
@pytest.mark.parametrize("first", [True, False])
def test_a_cancellation_with_one_of_the_numbers_reaches_the_booking(db: Database, cancels: str, first: bool) -> None:
    told = [
        ("s12", utc(2, 10), appointment("booked", utc(3, 2, 7))),
        ("s15", utc(2, 12), appointment("cancelled", None, booking=cancels)),
    ]
    for one in reversed(told) if first else told:
        receive(db, *one)
    (row,) = db.query("SELECT booking, cancelled FROM operations")
    assert row == {"booking": "P1/F1", "cancelled": 1}


def test_two_appointments_under_one_order_keep_apart_and_are_cancelled_together(db: Database) -> None:
    visit = appointment("modified", utc(2, 20, 9), booking="P1/F2")
    receive(db, "s12", utc(2, 10), appointment("booked", utc(3, 2, 7)))
    receive(db, "s14", utc(2, 11), visit)
    receive(db, "s12b", utc(2, 11), appointment("booked", utc(3, 9, 7), booking="P1/F3"))
    operations = "SELECT booking, planned_at, cancelled FROM operations ORDER BY booking"
    assert [(row["booking"], row["planned_at"][:10], row["cancelled"]) for row in db.query(operations)] == [
        ("P1/F1", "2026-03-02", 0),
        ("P1/F3", "2026-03-09", 0),
    ], "the visit of another filler number moves no operation"
    receive(db, "s15", utc(2, 12), appointment("cancelled", None, booking="P1/"))
    assert [row["cancelled"] for row in db.query(operations)] == [1, 1]


def test_a_booking_keeps_its_name_when_its_other_number_is_learnt(db: Database) -> None:
    receive(db, "s12", utc(2, 10), appointment("booked", utc(3, 2, 7), booking="P1/"))
    (before,) = link_rows(db)
    receive(db, "s13", utc(2, 12), appointment("moved", utc(3, 4, 7)))
    (after,) = link_rows(db)
    assert (after["episode"], after["surgery_date"]) == (before["episode"], "2026-03-04")


@pytest.mark.parametrize(("started_at", "excludes"), [(utc(2, 1), True), (utc(3, 2, 7), False), (None, True)])
def test_steroids_in_the_six_months_before_exclude(db: Database, started_at: datetime | None, excludes: bool) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    taken = Medication(drug="H02AB06^Prednisolon", started_at=started_at, ended_at=None)
    receive(db, "rde", utc(2, 14), PatientExtract(medications=(taken,)))
    (row,) = link_rows(db)
    reasons = ["steroids or immunosuppressants within 6 months"] if excludes else []
    assert json.loads(str(row["exclusion_reasons"])) == reasons


def test_what_cuts_are_judged_against_is_that_nearest_to_the_operation(db: Database) -> None:
    """Operation 2 March: the hip of 10 February is nearer than the spine of December; what came before is no event."""
    add_series(db, "1.1", date(2026, 2, 1))
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    told = [
        ("t_score", -1.0, datetime(2025, 12, 1, 8, tzinfo=UTC)),
        ("t_score", -2.4, utc(2, 10)),
        ("t_score", -2.7, utc(2, 10)),
        ("hu", 95.0, datetime(2024, 12, 1, 8, tzinfo=UTC)),  # more than a year before
        ("event", 1.0, utc(2, 1)),
        ("event", 0.0, utc(3, 20)),
    ]
    seen = tuple(Observation(name=name, value=value, observed_at=at) for name, value, at in told)
    receive(db, "dxa", utc(3, 21), PatientExtract(observations=seen))
    columns = "t_score, hu, bmd_g_per_cm2, event"
    assert db.execute(f"SELECT {columns} FROM cohort").fetchone() == (-2.7, None, None, 0)
    later = PatientExtract(observations=(Observation(name="event", value=1, observed_at=utc(5, 2)),))
    receive(db, "event", utc(5, 2), later)
    assert db.execute(f"SELECT {columns} FROM cohort").fetchone() == (-2.7, None, None, 1)


def test_the_uncertainty_of_a_measurement_goes_with_it(db: Database) -> None:
    add_series(db, "1.1", date(2026, 2, 1))
    with db.conn:
        db.execute("UPDATE derived_measurement SET vbq_sd = 0.061")
    for name, sent_at, extract in STORY:
        receive(db, name, sent_at, extract)
    assert db.execute("SELECT vbq_sd FROM cohort").fetchone() == (0.061,)


def add_others(db: Database, numbers: range) -> None:
    """Patients with a specimen and a measured series each, about whom nothing is pending."""
    with writing(db):
        for number in map(str, numbers):
            insert(db, "fact_frame", [{"frame_id": int(number), "sha256": f"{number:>064}", "raw": b"x"}])
            row = {"frame_id": int(number), "position": 1, "item": 1, "kind": "specimen", "authority": "H"}
            content = blood(utc(2, 20), 5.0).model_copy(update={"specimen": number}).model_dump_json()
            insert(db, "derived_extract", [row | {"patient_id": number, "content": content}])
            insert(db, "derived_identifier", [{"authority": "H", "patient_id": number, "person": f"H|{number}"}])
            insert(db, "derived_person", [{"person": f"H|{number}", "pseudonym": number}])
            series = {
                "series_instance_uid": number, "study_instance_uid": number, "patient_authority": "H",
                "patient_id": number, "instances": 1, "instances_sha256": "x", "role": "t1_sagittal", "chosen": 1,
                "reasons": "[]", "protocol": "{}", "last_received_at": to_text(utc(2, 1)), "missing_slices": 0,
                "completeness": "unverified", "completeness_reasons": "[]",
            }  # fmt: skip
            insert(db, "derived_series", [series])
            measured = {
                "series_instance_uid": number, "source": "auto", "instances_sha256": "x", "status": "measured",
                "reasons": "[]", "vbq_mean": 3.0, "vbq_median": 3.0, "rois": "{}", "algorithm_name": "a",
                "algorithm_version": "1",
            }  # fmt: skip
            insert(db, "derived_measurement", [measured])


def test_what_a_patient_takes_does_not_grow_with_the_number_of_others(db: Database) -> None:
    """Else to derive everybody takes the square of their number."""

    def steps() -> int:
        return steps_of(db, lambda: read_person(db, SETTINGS, f"LOCAL|{NUMBER}"))

    for one in STORY:
        receive(db, *one)
    add_series(db, "1.2.3", date(2026, 2, 10))
    alone = steps()
    add_others(db, range(100, 400))
    assert steps() <= alone + 1
