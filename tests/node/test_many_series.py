"""What many series, or many studies, cost: a study no more for each series the more of them there are."""

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node.measure.automatic import StudySeries
from node.measure.study import MOST_STUDIES, by_series, image_rows, inputs_hash, study_images
from node.steps.person import read_person
from node.steps.whose import demographics
from node.steps.worker import run_pending
from node.store import derivation
from node.store.database import writing
from tests.node.dicom_samples import NOON, mr_image
from tests.node.world import LATER, World

ROOT = "1.2.826.0.1.3680043.8.498.1"
FRAME = "1.2.826.0.1.3680043.8.498.9"
T2 = {"RepetitionTime": 3000, "EchoTime": 100}


def calls_of(work: Callable[[], object]) -> int:
    """How many functions some work calls: a measure of it that no load of the machine changes."""
    called = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal called
        called += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return called


def each_its_own_series(images: int) -> list[Dataset]:
    """T1 and T2 in turn, each image a series of its own, as some converters write them."""
    return [
        mr_image(
            seed=place, SeriesInstanceUID=f"{ROOT}.{place}", FrameOfReferenceUID=FRAME, InstanceNumber=place + 1,
            ImagePositionPatient=[4 * place, -10, 10], **(T2 if place % 2 else {}),
        )
        for place in range(images)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudySeries]:
    world = World(tmp_path_factory.mktemp("world"))
    world.receive(*each_its_own_series(80))
    world.index()
    return by_series(study_images(world.db, world.archive, ROOT))


def test_a_series_more_costs_no_more_the_more_there_are(series: dict[str, StudySeries]) -> None:
    half = dict(list(series.items())[:40])
    assert calls_of(lambda: inputs_hash(series)) < 2.5 * calls_of(lambda: inputs_hash(half))


def test_what_many_series_say_alike_is_compared_once(tmp_path: Path) -> None:
    def calls(images: int) -> int:
        world = World(tmp_path / str(images))
        world.receive(*each_its_own_series(images))
        run_pending(world.db, world.archive, world.settings, at=LATER)
        (person,) = [uid for (uid,) in world.rows("SELECT person FROM derived_person")]
        found = read_person(world.db, world.settings, str(person))
        assert len(found.series) >= images / 2
        return calls_of(lambda: demographics(found))

    assert calls(40) < 2.5 * calls(20)


def one_series_of_all(studies: Sequence[int]) -> list[Dataset]:
    """A sender that gives every series the same UID."""
    return [
        mr_image(
            seed=10 * number + place, StudyInstanceUID=f"{ROOT}.{100 + number}", PatientID=f"P{number}",
            InstanceNumber=place + 1, ImagePositionPatient=[4 * place, -10, 10],
        )
        for number in studies
        for place in range(2)
    ]  # fmt: skip


def test_of_a_series_of_many_studies_each_reads_its_own_images_and_those_of_the_first(tmp_path: Path) -> None:
    numbers = range(3 * MOST_STUDIES)
    rows = []
    for way, order in (("up", numbers), ("down", numbers[::-1])):
        world = World(tmp_path / way)
        for number in order:
            world.receive(*one_series_of_all([number]), at=NOON)
            world.index()
            world.catalogue(now=LATER)
            assert world.catalogue(now=LATER) == 0
        assert len(image_rows(world.db, f"{ROOT}.103")) == 2 * MOST_STUDIES
        assert len(image_rows(world.db, f"{ROOT}.125")) == 2 * (MOST_STUDIES + 1)
        found = world.rows("SELECT source, code FROM problems WHERE step = 'catalogue' ORDER BY source")
        assert found == [(f"study {ROOT}.{100 + number}", "contradictory-series") for number in numbers]
        # Each patient knows that there are images of them.
        claimed = world.rows("SELECT DISTINCT patient_id FROM derived_claim")
        assert {patient for (patient,) in claimed} == {f"P{number}" for number in numbers}
        rows.append(world.series())
        with writing(world.db):
            derivation.forget(world.db)
        world.index()
        world.catalogue(now=LATER + timedelta(hours=1))
        rows.append(world.series())
    (row,) = rows[0].values()
    assert (row["study_instance_uid"], row["instances"], row["role"]) == (f"{ROOT}.100", 2 * MOST_STUDIES, "other")
    assert all(one == rows[0] for one in rows)
