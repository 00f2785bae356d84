"""What is told of a series, when something new is due, and that it is rendered once."""

import json
import threading
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from node.errors import InputError
from node.people.readings import approve
from node.people.readings import withdraw as withdraw_reading
from node.people.results import resend, send, withdraw
from node.results.content import Result, Status, digest
from node.results.findings import findings
from node.results.records import Destination, Rendered, make_due
from node.steps.link import link_persons
from node.steps.measure import measure_readings
from tests.node.dicom_samples import NOON
from tests.node.known_circles import KnownCircles
from tests.node.test_measure_automatic import arrive, late, mean_of, measure
from tests.node.world import CIRCLES, SERIES, World, painted

NEVER = threading.Event()


def as_text(result: Result) -> Rendered:
    """A renderer whose bytes differ each time, as those of DICOM do."""
    whose = result.whose.name if result.whose else ""
    vbq = result.finding.score.vbq_mean if result.finding.score else None
    return Rendered(identifier=str(uuid4()), content=f"{whose} {vbq} {uuid4()}".encode())


TEXT = Destination(queue="text", name="record", renders={"oru": as_text}, told=lambda one: one, in_files=False)


def due(world: World, *, after: int = 0, destination: Destination = TEXT) -> int:
    link_persons(world.db, world.settings)
    return make_due(world.db, world.settings, destination, after=after, at=NOON, stop=NEVER)


def told(world: World, *columns: str) -> list[tuple[object, ...]]:
    return world.rows(f"SELECT {', '.join(columns)} FROM results ORDER BY result_id")


@pytest.fixture
def measured(world: World) -> World:
    arrive(world, *painted())
    measure(world)
    return world


def approved(world: World) -> None:
    approve(world.db, world.archive, series_uid=SERIES, reader="Dr. A", now=NOON)
    measure_readings(world.db, world.archive)


def test_a_measured_series_is_told_once_and_kept_as_it_was_rendered(measured: World):
    assert due(measured) == 1
    assert due(measured) == 0
    assert told(measured, "version", "status", "vbq_mean", "vbq_sd", "approved_by", "state") == [
        (1, "preliminary", 2.5, 0.061, None, "to be sent")
    ]
    ((content, body),) = measured.db.execute("SELECT content, body FROM record_result").fetchall()
    said = json.loads(content)
    assert (said["patient_id"], said["issuer"]) == ("0012345", "HOSPITAL")
    assert said["score"]["regions"]["L1"]["mean"] == 300
    assert body.startswith(b"Test^Synthetic 2.5"), "the name is in the bytes"
    assert "Test^Synthetic" not in content, "and nowhere else"


def test_approval_makes_it_final_and_what_follows_corrected(measured: World):
    due(measured)
    approved(measured)
    assert due(measured) == 1
    assert told(measured, "status", "approved_by", "latest", "vbq_sd") == [
        ("preliminary", None, 0, 0.061),
        ("final", "Dr. A", 1, 0.061),
    ]
    first, second = told(measured, "identifier", "replaces")
    assert (first[1], second[1]) == (None, first[0])
    withdraw_reading(measured.db, reading_id=1, reader="Dr. A", why="wrong level", now=NOON)
    measure_readings(measured.db, measured.archive)
    due(measured)
    approved(measured)
    due(measured)
    assert [status for (status,) in told(measured, "status")] == ["preliminary", "final", "preliminary", "final"]


def test_what_waits_for_a_person_is_not_told_and_takes_back_what_was(world: World):
    images = painted()
    arrive(world, *images)
    measure(world, KnownCircles(CIRCLES, doubts={mean_of(images): "fluid-unsure"}))
    assert due(world) == 0
    approved(world)
    assert due(world) == 1
    withdraw_reading(world.db, reading_id=1, reader="Dr. A", why="wrong level", now=NOON)
    measure_readings(world.db, world.archive)
    assert due(world) == 1
    assert due(world) == 0
    assert told(world, "status", "vbq_mean", "reason_codes")[-1] == ("withdrawn", None, '["fluid-unsure"]')


def test_nothing_changes_while_a_study_is_still_arriving_or_waits_to_be_measured(measured: World):
    due(measured)
    measured.receive(late(7), at=NOON + timedelta(hours=2))
    measured.index()
    assert due(measured) == 0
    measured.catalogue(now=NOON + timedelta(hours=3))
    assert due(measured) == 0
    measure(measured)
    assert due(measured) == 1
    assert [status for (status,) in told(measured, "status")] == ["preliminary", "preliminary"]


def test_who_was_not_set_up_yet_is_told_of_it_only_when_a_person_wants_it(measured: World):
    assert due(measured, after=6) == 0
    send(measured.db, SERIES, by="Dr. A", at=NOON)
    assert due(measured, after=6) == 1


def test_a_person_withdraws_it_and_has_it_sent_after_all(measured: World):
    due(measured)
    withdraw(measured.db, 1, by="Dr. A", why="the wrong patient lay there", at=NOON)
    assert due(measured) == 1
    assert told(measured, "status", "reason_codes")[-1] == ("withdrawn", '["result-withdrawn"]')
    assert due(measured) == 0
    send(measured.db, SERIES, by="Dr. A", at=NOON)
    assert due(measured) == 1
    assert told(measured, "status")[-1] == ("preliminary",)


def test_nothing_is_told_before_it_is_known_whose_it_is(measured: World):
    assert make_due(measured.db, measured.settings, TEXT, after=0, at=NOON, stop=NEVER) == 0
    assert due(measured) == 1


def test_another_number_in_the_tenth_decimal_is_no_news(measured: World):
    link_persons(measured.db, measured.settings)
    (found,) = findings(measured.db, queue="text", destination="record", after=0)
    assert found.score is not None
    same = replace(found, score=replace(found.score, vbq_mean=found.score.vbq_mean + 1e-9))
    other = replace(found, score=replace(found.score, vbq_mean=found.score.vbq_mean + 0.001))
    assert digest(found) == digest(same)
    assert digest(found) != digest(other)


def test_images_that_are_gone_take_it_back(measured: World):
    due(measured)
    for table in ("derived_instance", "derived_measurement", "derived_series"):
        measured.db.execute(f"DELETE FROM {table}")
    assert due(measured) == 0, "nobody knows yet what the objects are"
    measured.db.execute(
        "INSERT INTO derived_problem SELECT 'index', 'object', sha256, 0, 'unreadable', '[]' FROM fact_object"
    )
    assert due(measured) == 1
    assert told(measured, "status", "reason_codes")[-1] == ("withdrawn", '["result-images-gone"]')


def test_what_cannot_be_rendered_costs_itself_and_is_a_problem(measured: World):
    def broken(_: Result) -> Rendered:
        raise ZeroDivisionError

    both = replace(TEXT, renders={"oru": broken, "fhir": as_text})
    assert due(measured, destination=both) == 1
    assert due(measured, destination=both) == 0
    assert told(measured, "kind") == [("fhir",)]
    assert measured.rows("SELECT source, code FROM problems WHERE step = 'results'") == [(f"series {SERIES}", "failed")]


def test_who_asks_is_named_and_a_replaced_result_is_not_sent_again(measured: World):
    due(measured)
    resend(measured.db, 1, by="Dr. A", at=NOON)
    approved(measured)
    due(measured)
    with pytest.raises(InputError, match="replaced"):
        resend(measured.db, 1, by="Dr. A", at=NOON)
    with pytest.raises(InputError, match="--by"):
        send(measured.db, SERIES, by=" ", at=NOON)
    with pytest.raises(InputError, match="no result 9"):
        withdraw(measured.db, 9, by="Dr. A", why="x", at=NOON)
    assert measured.rows("SELECT request, result_id FROM fact_result_request") == [("resend", 1)]


def test_files_are_kept_under_their_digest(measured: World):
    due(measured, destination=replace(TEXT, in_files=True))
    ((sha256, size),) = told(measured, "sha256", "size_bytes")
    file = measured.folder / "results" / str(sha256)[:2] / str(sha256)
    assert len(file.read_bytes()) == size
    assert Status("preliminary") == Status.PRELIMINARY
