"""The automatic step: which series is measured, what is stored, what a person decides, and what late images change."""

import json
import re
from datetime import timedelta

import numpy as np
import pytest
from pydicom.dataset import Dataset

from analytics.vbq.version import AUTOMATIC_VERSION
from node.errors import ReadingError
from node.measure.pictures import stored_reading
from node.people.readings import add_reading, approve, withdraw
from node.steps.measure import measure_readings
from node.steps.measure_automatic import measure_automatically
from node.steps.retry import retry_failed
from node.steps.unmeasured import pending_studies
from node.store.database import writing
from node.store.failures import ask_again
from tests.node.dicom_samples import NOON, stack
from tests.node.known_circles import KnownCircles
from tests.node.multi_frame_samples import enhanced
from tests.node.test_measure import LATER
from tests.node.world import CIRCLES, SERIES, World, painted


def arrive(world: World, *datasets: Dataset, hours: int = 0) -> None:
    """Images that come then, and an hour of quiet after them."""
    world.receive(*datasets, at=NOON + timedelta(hours=hours))
    world.index()
    world.catalogue(now=LATER + timedelta(hours=hours))


def mean_of(images: list[Dataset]) -> float:
    return round(float(np.frombuffer(images[0].PixelData, np.uint16).mean()), 1)


def measure(world: World, double: KnownCircles | None = None) -> KnownCircles:
    double = double or KnownCircles(CIRCLES)
    measure_automatically(world.db, world.archive, world.settings, double)
    return double


def shown(world: World) -> list[dict[str, object]]:
    return list(world.db.query("SELECT * FROM measurements ORDER BY source, current"))


def test_the_chosen_series_is_measured_once_and_its_patient_is_pending(world: World):
    images = painted()
    arrive(world, *images)
    world.db["derived_person"].insert({"person": "HOSPITAL|0012345", "pseudonym": "P1"})
    assert pending_studies(world.db) == 1
    assert measure(world).asked == [(6, True)]
    assert pending_studies(world.db) == 0
    assert measure(world).asked == []
    (row,) = shown(world)
    assert (row["source"], row["status"], row["reasons"], row["vbq_mean"]) == ("auto", "measured", "[]", 2.5)
    assert (row["vbq_sd"], row["levels_confidence"], row["in_effect"]) == (0.061, 0.97, 1)
    assert (row["instance_number"], row["sop_instance_uid"]) == (3, images[2].SOPInstanceUID)
    assert (row["algorithm_name"], row["algorithm_version"]) == ("vbq-auto", AUTOMATIC_VERSION)
    assert json.loads(str(row["rois"]))["L1"]["mean"] == 300.0
    assert json.loads(str(row["segmental_vbq"])) == {"L1": 3.0, "L2": 2.6, "L3": 2.4, "L4": 2.0}
    assert (row["s1_vbq"], json.loads(str(row["ebq"]))) == (2.75, {"L4/L5": 2.25})
    assert list(world.db["derived_person"].rows) == []
    assert world.rows("SELECT state FROM series") == [("measured",)]


def test_another_version_of_the_algorithm_measures_again(world: World, monkeypatch: pytest.MonkeyPatch):
    arrive(world, *painted())
    measure(world)
    monkeypatch.setattr("node.steps.measure_automatic.ALGORITHM", ("vbq-auto", "later"))
    monkeypatch.setattr("node.measure.task.AUTOMATIC_VERSION", "later")
    assert len(measure(world).asked) == 1
    found = {row["algorithm_version"]: (row["current"], row["in_effect"]) for row in shown(world)}
    assert found == {AUTOMATIC_VERSION: (0, 0), "later": (1, 1)}, "what the earlier version measured is kept"


def late(number: int) -> Dataset:
    """One more image of the same series, in the place after the others."""
    return painted(InstanceNumber=number, ImagePositionPatient=[4.8 * number, -10, 10])[0]


def test_late_images_make_a_new_version_and_the_old_one_stays(world: World):
    arrive(world, *painted())
    measure(world)
    arrive(world, late(7), hours=2)
    assert shown(world)[0]["in_effect"] == 1
    assert measure(world).asked == [(7, True)], "what six images showed is known"
    found = [(row["current"], row["in_effect"], row["instance_number"]) for row in shown(world)]
    assert found == [(0, 0, 3), (1, 1, 4)]


def test_until_the_study_is_quiet_again_the_earlier_measurement_holds(world: World):
    arrive(world, *painted())
    measure(world)
    world.receive(late(7), at=LATER)
    world.index()
    assert measure(world).asked == []
    assert [(row["status"], row["in_effect"]) for row in shown(world)] == [("measured", 1)]
    assert world.rows("SELECT state FROM series") == [("arriving",)]


def test_deriving_again_from_the_facts_finds_the_same_versions(world: World):
    arrive(world, *painted())
    measure(world)
    arrive(world, late(7), hours=2)
    arrive(world, *stack(series="2", SeriesDescription="t2_tse_sag", RepetitionTime=3500, EchoTime=110), hours=4)
    arrive(world, late(8), hours=6)
    measure(world)
    before = shown(world)
    assert [row["current"] for row in before] == [0, 0, 1]
    with writing(world.db):
        for table in ("derived_instance", "derived_series", "derived_measurement"):
            world.db.execute(f"DELETE FROM {table}")
    world.index()
    world.catalogue(now=LATER + timedelta(hours=6))
    measure(world)
    assert shown(world) == before


def test_images_that_leave_nothing_to_measure_take_the_measurement_away(world: World):
    arrive(world, *painted())
    measure(world)
    arrive(world, late(7), hours=2)
    measure(world)
    # The same series is said to be of another study as well.
    arrive(world, painted(StudyInstanceUID="1.2.826.0.1.3680043.8.498.9", InstanceNumber=9)[0], hours=4)
    assert shown(world) == []
    assert pending_studies(world.db) == 0


def repeat() -> list[Dataset]:
    """A second T1 of the same study, of other signals."""
    dim = np.frombuffer(painted()[0].PixelData, np.uint16) * np.uint16(2)
    return painted(series="3", SeriesNumber=9, PixelData=dim.tobytes())


def test_the_next_candidate_is_measured_when_the_image_of_the_first_is_rejected(world: World):
    arrive(world, *painted(), *repeat())
    measure(world, KnownCircles(CIRCLES, rejects={mean_of(painted()): "motion"}))
    rows = world.rows("SELECT series_instance_uid, status, vbq_mean, in_effect FROM measurements ORDER BY 1")
    assert rows == [(SERIES, "rejected", None, 1), (SERIES[:-1] + "3", "measured", 2.5, 1)]
    assert world.rows("SELECT state FROM series ORDER BY series_instance_uid") == [("rejected",), ("measured",)]
    assert world.rows("SELECT * FROM problems WHERE step = 'measure'") == [], "the study has its score"
    assert pending_studies(world.db) == 0


def test_a_doubtful_first_candidate_waits_for_a_person_and_is_not_passed_over(world: World):
    arrive(world, *painted(), *repeat())
    measure(world, KnownCircles(CIRCLES, doubts={mean_of(painted()): "L5 may be S1"}))
    assert world.rows("SELECT series_instance_uid, status FROM measurements") == [(SERIES, "review")]
    assert world.rows("SELECT code, detail FROM problems WHERE step = 'measure'") == [("review", "L5 may be S1")]


def test_a_series_made_after_contrast_waits_for_a_person_also_when_that_is_known_later(world: World):
    arrive(world, *painted(SeriesNumber=7))
    measure(world)
    assert [row["status"] for row in shown(world)] == ["measured"]
    axial = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ContrastBolusAgent": "GADOLINIUM", "SeriesNumber": 6}
    arrive(world, *stack(series="4", **axial), hours=2)
    measure(world)
    before, now = shown(world)
    assert (before["status"], before["current"]) == ("measured", 0)
    assert (now["status"], now["in_effect"]) == ("review", 1)
    reason = "it was made after a series with a contrast agent (series 6) and may show it too"
    assert json.loads(str(now["reasons"])) == [reason]
    assert f"unknown: {reason}" in str(world.series()[SERIES]["reasons"])


def test_a_lumbar_examination_without_a_plain_t1_is_a_problem_until_one_comes(world: World):
    t2 = stack(series="2", SeriesDescription="t2_tse_sag", RepetitionTime=3500, EchoTime=110, ScanOptions="FS")
    arrive(world, *t2, *painted(series="4", ContrastBolusAgent="GADOLINIUM"))
    study, nearest = SERIES.rpartition(".")[0], SERIES[:-1] + "4"
    assert world.rows("SELECT step, source, code, detail FROM problems") == [
        ("measure", f"study {study}", "no-t1",
         f"none of its series can be the plain sagittal T1; nearest is series {nearest}: a contrast agent was given"),
    ]  # fmt: skip
    world.receive(*painted(), at=NOON + timedelta(hours=2))
    world.index()
    assert world.rows("SELECT code FROM problems") == [], "more is arriving"
    world.catalogue(now=LATER + timedelta(hours=2))
    measure(world)
    assert world.rows("SELECT code FROM problems") == []


def test_an_examination_of_another_part_of_the_body_is_none(world: World):
    brain = {"BodyPartExamined": "BRAIN", "StudyDescription": "MRI brain", "SeriesDescription": "t1_sag"}
    arrive(world, *stack(series="2", **brain))
    assert world.rows("SELECT code FROM problems") == []


SILENT = {"RepetitionTime": None, "EchoTime": None, "SeriesDescription": None, "StudyDescription": None}


def test_where_the_headers_are_silent_the_image_decides(world: World):
    arrive(world, *painted(**SILENT))
    assert [(row["role"], row["chosen"]) for row in world.series().values()] == [("undecided", 1)]
    ((_, t1_stated),) = measure(world).asked
    assert not t1_stated
    assert [row["status"] for row in shown(world)] == ["measured"]


@pytest.mark.parametrize("slices", [4, 1])
def test_few_slices_are_measured_and_wait_for_a_person(world: World, slices: int):
    arrive(world, *painted()[:slices])
    assert [(row["role"], row["chosen"]) for row in world.series().values()] == [("undecided", 1)]
    assert measure(world).asked == [(slices, True)]
    ((status, reasons),) = [(row["status"], row["reasons"]) for row in shown(world)]
    assert (status, json.loads(str(reasons))) == (
        "review", [f"fewer than 5 slices ({slices}): the midline may lie beside them"]
    )  # fmt: skip


def test_images_that_contradict_each_other_are_said_and_wait_for_a_person(world: World):
    other = np.frombuffer(painted()[0].PixelData, np.uint16) + np.uint16(1)
    arrive(world, *painted(), painted(InstanceNumber=9, PixelData=other.tobytes())[2], painted()[1])
    measure(world)
    (row,) = shown(world)
    assert (row["status"], row["vbq_mean"]) == ("review", 2.5)
    assert json.loads(str(row["reasons"])) == ["1 further image lies at the place of another and shows something else"]


def test_an_image_that_is_lost_is_said_and_waits_for_a_person(world: World):
    arrive(world, *painted())
    (lost,) = world.rows(
        "SELECT sha256 FROM fact_object JOIN derived_instance USING (object_id) WHERE instance_number = 1"
    )
    world.archive.path(str(lost[0])).unlink()
    assert measure(world).asked == [(5, True)]
    (row,) = shown(world)
    assert (row["status"], json.loads(str(row["reasons"]))) == (
        "review", ["1 image could not be read: the file is missing"]
    )  # fmt: skip


def test_a_fault_costs_one_series_its_score_and_nothing_else(world: World):
    arrive(world, *painted())

    def faulty(*_: object, **__: object) -> None:
        raise ValueError("unforeseen")

    measure_automatically(world.db, world.archive, world.settings, faulty)
    (row,) = shown(world)
    assert (row["status"], row["reasons"]) == ("rejected", '["the automatic measurement failed (ValueError)"]')
    assert pending_studies(world.db) == 0


def test_an_enhanced_series_names_instance_and_frame(world: World):
    arrive(world, enhanced(painted()))
    measure(world)
    (row,) = shown(world)
    assert (row["status"], row["instance_number"], row["frame_number"]) == ("measured", 1, 3)


def test_nothing_is_half_stored_when_storing_fails(world: World):
    arrive(world, *painted())
    world.db.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON main.derived_measurement BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    measure(world)
    assert (shown(world), pending_studies(world.db)) == ([], 0)
    world.db.execute("DROP TRIGGER temp.full")
    assert ask_again(world.db) == 1
    assert retry_failed(world.db, world.settings, at=LATER) == 1
    assert pending_studies(world.db) == 1
    measure(world)
    assert pending_studies(world.db) == 0
    assert world.rows("SELECT step FROM state_failure") == []


# ---- what a person decides -------------------------------------------------------------------------------------
def doubtful(world: World) -> None:
    arrive(world, *painted())
    measure(world, KnownCircles(CIRCLES, doubts={mean_of(painted()): "CSF cannot be told from roots"}))


def test_an_approved_review_is_measured_as_that_persons_reading(world: World):
    doubtful(world)
    added = approve(world.db, world.archive, series_uid=SERIES, reader="Dr. A", now=LATER)
    assert (added.new, added.vbq_mean) == (True, 2.5)
    assert not approve(world.db, world.archive, series_uid=SERIES, reader="Dr. A", now=LATER).new
    measure_readings(world.db, world.archive)
    found = [(r["source"], r["status"], r["in_effect"], r["approved_algorithm"]) for r in shown(world)]
    assert [r["vbq_sd"] for r in shown(world)] == [0.061, 0.061], "who approves takes the uncertainty with the circles"
    assert found == [("auto", "review", 0, None), ("reading:Dr. A", "measured", 1, f"vbq-auto {AUTOMATIC_VERSION}")]
    assert world.rows("SELECT * FROM problems WHERE step = 'measure'") == []
    assert world.rows("SELECT state FROM series") == [("measured",)]


def test_moved_circles_supersede_the_automatic_ones_also_after_it_is_measured_anew(world: World):
    doubtful(world)
    text = json.dumps({"slice": 4, **CIRCLES, "L1": [11, 12, 3]})
    add_reading(world.db, world.archive, series_uid=SERIES, reader="B", rois_text=text, now=LATER)
    measure_readings(world.db, world.archive)
    arrive(world, late(7), hours=2)
    measure(world)
    measure_readings(world.db, world.archive)
    found = [(row["source"], row["in_effect"], row["vbq_sd"]) for row in shown(world)]
    assert [one[:2] for one in found] == [("auto", 0), ("auto", 0), ("reading:B", 1)]
    assert found[2][2] not in {None, 0.061}, "its own"


def test_what_has_no_score_or_is_arriving_cannot_be_approved(world: World):
    arrive(world, *painted())
    with pytest.raises(ReadingError, match="no automatic measurement with a score"):
        approve(world.db, world.archive, series_uid=SERIES, reader="A", now=LATER)
    measure(world)
    world.receive(late(7), at=LATER)
    world.index()
    with pytest.raises(ReadingError, match="no automatic measurement with a score"):
        approve(world.db, world.archive, series_uid=SERIES, reader="A", now=LATER)
    with pytest.raises(ReadingError, match="no automatic measurement with a score"):
        approve(world.db, world.archive, series_uid="1.2.3", reader="A", now=LATER)
    assert list(world.db["fact_reading"].rows) == []


SLIP = {**CIRCLES, "L2": [12.0, 12.0, 3.0]}
"""L2 on L1: the circles overlap."""


def add(world: World, reader: str, *, confirmed: tuple[str, ...] = (), rois: dict[str, list[float]] = SLIP) -> int:
    text = json.dumps({"slice": 4, **rois})
    return add_reading(
        world.db, world.archive, series_uid=SERIES, reader=reader, rois_text=text, now=LATER, confirmed=confirmed
    ).reading_id


def readings(world: World) -> list[tuple[object, ...]]:
    measure_readings(world.db, world.archive)
    sql = "SELECT reader, status, reason_codes, in_effect FROM readings ORDER BY reading_id"
    return world.rows(sql)


def test_what_a_reading_fails_is_said_before_it_is_stored_and_can_be_taken_back(world: World):
    arrive(world, *painted())
    measure(world)
    with pytest.raises(ReadingError, match=r"not stored: .*--confirm circles-overlap"):
        add(world, "A")
    assert list(world.db["fact_reading"].rows) == []
    found = check_codes(world)
    first = add(world, "A", confirmed=found)
    assert readings(world)[0][:2] == ("A", "review")
    assert world.rows("SELECT previous_source, previous_vbq_mean FROM readings") == [("auto", 2.5)]
    withdraw(world.db, reading_id=first, reader="B", why="L2 lies on L1", now=LATER)
    assert readings(world) == [("A", None, "[]", 0)]
    assert world.rows("SELECT withdrawn_by, withdrawn_why FROM readings") == [("B", "L2 lies on L1")]
    assert [row["source"] for row in shown(world) if row["in_effect"]] == ["auto"]
    with pytest.raises(ReadingError, match="withdrawn already"):
        withdraw(world.db, reading_id=first, reader="B", why="again", now=LATER)


def check_codes(world: World) -> tuple[str, ...]:
    with pytest.raises(ReadingError) as refused:
        add(world, "A")
    return tuple(re.findall(r"--confirm (\S+)", str(refused.value)))


def test_a_score_near_the_automatic_one_is_stored_as_it_is(world: World):
    arrive(world, *painted())
    measure(world, KnownCircles({**CIRCLES, "L1": [25, 12, 3]}))
    # 2.5 under the right circles, 2.4 automatically, with 0.061: within four deviations.
    add(world, "A", rois=CIRCLES)
    assert readings(world) == [("A", "measured", "[]", 1)]


def test_no_reader_is_called_as_the_software(world: World):
    arrive(world, *painted())
    for name in ("auto", "Automatic", "AUTO-2"):
        with pytest.raises(ReadingError, match="names that begin with auto"):
            add(world, name, rois=CIRCLES)


def test_approving_names_its_picture_and_does_not_cure_noise(world: World):
    arrive(world, *painted())
    measure(world, KnownCircles(CIRCLES, doubts={mean_of(painted()): "fluid-in-noise"}))
    with pytest.raises(ReadingError, match="--confirm fluid-in-noise"):
        approve(world.db, world.archive, series_uid=SERIES, reader="A", now=LATER)
    with pytest.raises(ReadingError, match="images came since"):
        approve(world.db, world.archive, series_uid=SERIES, reader="A", now=LATER, picture="0" * 12)
    name = stored_reading(world.db, SERIES).picture
    for reader in ("A", "B"):
        approve(
            world.db, world.archive, series_uid=SERIES, reader=reader, now=LATER, picture=name,
            confirmed=["fluid-in-noise"],
        )  # fmt: skip
    assert [row[:3] for row in readings(world)] == [(who, "review", '["fluid-in-noise"]') for who in ("A", "B")]
    assert world.rows("SELECT DISTINCT picture FROM readings") == [(name,)]
