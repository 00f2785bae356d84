"""Series in parts, with numbers that say nothing, with images of another kind among them; an own result that comes."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import ComprehensiveSRStorage, generate_uid

from tests.node.dicom_samples import NOON, mr_image
from tests.node.test_measure_automatic import arrive, measure, shown
from tests.node.world import SERIES, World, painted

AXIAL = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SeriesInstanceUID": SERIES}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.db.close()


def in_effect(world: World) -> list[tuple[object, object]]:
    return [(row["status"], row["vbq_mean"]) for row in shown(world) if row["in_effect"]]


def test_the_second_half_of_a_stack_is_measured_with_the_first_as_in_one_go(world: World, tmp_path: Path) -> None:
    arrive(world, *painted()[:3])
    measure(world)
    assert [status for status, _ in in_effect(world)] == ["review"]
    arrive(world, *painted()[3:], hours=2)
    measure(world)
    whole = World(tmp_path / "whole")
    arrive(whole, *painted())
    measure(whole)
    assert in_effect(world) == in_effect(whole) == [("measured", 2.5)]
    whole.db.close()


def test_instance_numbers_that_are_all_the_same_change_nothing(world: World) -> None:
    arrive(world, *painted(InstanceNumber=1))
    measure(world)
    assert in_effect(world) == [("measured", 2.5)]


def test_axial_images_in_a_sagittal_series_are_never_left_out_without_a_word(world: World) -> None:
    axial = [
        mr_image(seed=number, InstanceNumber=100 + number, ImagePositionPatient=[0, 0, 10 * number], **AXIAL)
        for number in range(5)
    ]
    arrive(world, *painted(), *axial)
    measure(world)
    # Measured from the sagittal ones, or set aside: said either way.
    said = [row["reasons"] for row in shown(world) if row["reasons"] != "[]"]
    assert said or world.rows("SELECT detail FROM problems")
    assert ("measured", 2.5) not in in_effect(world)


def test_an_own_result_that_comes_back_is_no_news(world: World) -> None:
    arrive(world, *painted())
    measure(world)
    before, inputs = shown(world), [row["inputs_sha256"] for row in world.series().values() if row["inputs_sha256"]]
    report = painted()[0]
    for name in ("PixelData", "Rows", "Columns"):
        delattr(report, name)
    report.SOPClassUID, report.Modality, report.Manufacturer = ComprehensiveSRStorage, "SR", "vbq-node"
    report.SOPInstanceUID, report.SeriesInstanceUID = generate_uid(), generate_uid()
    report.SeriesDescription = "VBQ research use only"
    world.receive(report, at=NOON + timedelta(hours=2))
    arrive(world, hours=2)
    assert measure(world).asked == []
    assert shown(world) == before
    assert [row["inputs_sha256"] for row in world.series().values() if row["inputs_sha256"]] == inputs
    assert [row["chosen"] for row in world.series().values() if row["modality"] == "SR"] == [0]
    assert world.rows("SELECT code FROM problems") == []
