"""The slices of a series, which a page asks for one by one: the headers of all are read once while they stand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.web import slices
from node.web.slices import slices_of
from tests.node.dicom_samples import mr_image
from tests.node.world import SERIES, World, painted


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path / "data")
    one.receive(*painted())
    one.index()
    yield one
    one.db.close()


def test_headers_are_read_once_until_an_image_comes_or_goes(world: World, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    from_json = slices.header_from_json
    monkeypatch.setattr(slices, "header_from_json", lambda text: read.append(text) or from_json(text))
    slices._placed.cache_clear()
    first = slices_of(world.db, SERIES)
    assert [one.instance_number for one in first] == [6, 5, 4, 3, 2, 1]
    assert slices_of(world.db, SERIES) == first
    assert len(read) == 6
    world.receive(mr_image(seed=9, SeriesInstanceUID=SERIES, InstanceNumber=9, ImagePositionPatient=[0, -10, 10]))
    world.index()
    assert [one.instance_number for one in slices_of(world.db, SERIES)] == [6, 5, 4, 3, 2, 1, 9]
    assert len(read) == 6 + 7
    world.db.execute("DELETE FROM derived_instance WHERE instance_number = 9")
    assert slices_of(world.db, SERIES) == first
