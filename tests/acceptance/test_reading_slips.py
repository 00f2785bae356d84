"""Slips of a person on a real series: each is named before it is stored, right circles pass, a second reader lifts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from analytics.vbq.measure import measure_stack
from node.errors import ReadingError
from node.people.readings import add_reading, withdraw
from node.steps.measure import measure_readings
from node.steps.measure_automatic import measure_automatically
from tests.node.world import LATER, World

Circles = dict[str, list[float]]


@pytest.fixture(scope="module")
def node(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str, int, Circles]]:
    """A real series that was measured: the node, its UID, the slice and the automatic circles."""
    world = World(tmp_path_factory.mktemp("node"))
    datasets = [pydicom.dcmread(path) for path in sorted((shared_data / "t1-tse-dicom/patient1").iterdir())]
    for one in datasets:
        one.PatientID, one.PatientName, one.StudyDate = "001", "TEST^1", "20260201"
    world.receive(*datasets)
    world.index()
    world.catalogue(now=LATER)
    measure_automatically(world.db, world.archive, world.settings, measure_stack)
    ((uid, number, rois),) = world.rows("SELECT series_instance_uid, instance_number, rois FROM measurements")
    circles = {name: [roi["row"], roi["col"], roi["radius_px"]] for name, roi in json.loads(str(rois)).items()}
    yield world, str(uid), int(str(number)), circles
    world.db.close()


def moved(circle: list[float], rows: float, columns: float) -> list[float]:
    return [circle[0] + rows, circle[1] + columns, circle[2]]


def slips(circles: Circles) -> dict[str, tuple[Circles, str]]:
    down = {"L1": "L2", "L2": "L3", "L3": "L4"}
    last = [2 * circles["L4"][0] - circles["L3"][0], 2 * circles["L4"][1] - circles["L3"][1], circles["L4"][2]]
    between = [(a + b) / 2 for a, b in zip(circles["L2"], circles["L3"], strict=True)]
    return {
        "fluid in soft tissue before the bodies": ({"CSF": moved(circles["CSF"], 0, -60)}, "circle-outside-canal"),
        "fluid in what lies behind the sac": ({"CSF": moved(circles["CSF"], 0, 17)}, "circle-outside-canal"),
        "fluid half beside the front wall": ({"CSF": moved(circles["CSF"], 0, -3)}, "reading-uncertain"),
        "fluid at the height of L2": (
            {"CSF": moved(circles["CSF"], circles["L2"][0] - circles["L3"][0], circles["L2"][1] - circles["L3"][1])},
            "csf-not-at-l3",
        ),
        "L2 on the disc": ({"L2": [*between[:2], 6.0]}, "circle-outside-body"),
        "a level too low": ({**{name: circles[other] for name, other in down.items()}, "L4": last}, "circle-on-other"),
    }


@pytest.mark.parametrize("case", slips({name: [0.0, 0.0, 1.0] for name in ("L1", "L2", "L3", "L4", "CSF")}))
def test_a_slip_is_named_and_not_stored(case: str, node: tuple[World, str, int, Circles]):
    changes, code = slips(node[3])[case]
    with pytest.raises(ReadingError, match=f"--confirm {code}"):
        add(node, "A", **changes)
    assert node[0].rows("SELECT * FROM readings") == []


@pytest.mark.parametrize("away", [-3, 3])
def test_a_slice_beside_the_midline_is_named(away: int, node: tuple[World, str, int, Circles]):
    with pytest.raises(ReadingError, match="--confirm slice-off-midline"):
        add(node, "A", away=away)


def test_a_confirmed_slip_waits_until_a_second_reader_gives_the_same(node: tuple[World, str, int, Circles]):
    world = node[0]
    assert add(node, "A", CSF=moved(node[3]["CSF"], 1, 0)) is not None, "a pixel beside the automatic circle is no slip"
    confirmed = ("circle-outside-body",)
    disc, _ = slips(node[3])["L2 on the disc"]
    first = add(node, "A", confirmed=confirmed, **disc)
    assert newest(world) == [("reading:A", "review")]
    second = add(node, "B", confirmed=confirmed, **disc)
    assert newest(world) == [("reading:B", "measured")]
    assert {status for (status,) in world.rows("SELECT status FROM readings")} == {"measured"}
    withdraw(world.db, reading_id=first, reader="A", why="a slip", now=LATER)
    assert newest(world) == [("reading:B", "review")]
    withdraw(world.db, reading_id=second, reader="B", why="a slip", now=LATER)
    assert newest(world) == [("reading:A", "measured")]
    (sd,) = world.rows("SELECT vbq_sd FROM readings WHERE in_effect = 1")[0]
    assert 0 < float(str(sd)) < 0.3


def add(
    node: tuple[World, str, int, Circles],
    reader: str,
    *,
    away: int = 0,
    confirmed: tuple[str, ...] = (),
    **changes: list[float],
) -> int:
    world, uid, number, circles = node
    text = json.dumps({"slice": number + away, **circles, **changes})
    return add_reading(
        world.db, world.archive, series_uid=uid, reader=reader, rois_text=text, now=LATER, confirmed=confirmed
    ).reading_id


def newest(world: World) -> list[tuple[object, ...]]:
    measure_readings(world.db, world.archive)
    return world.rows("SELECT source, status FROM measurements WHERE in_effect = 1")
