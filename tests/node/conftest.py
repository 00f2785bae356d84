"""Fixtures that many tests of the node share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A data folder with the steps on it; tests with a world of another kind have their own."""
    one = World(tmp_path)
    yield one
    one.db.close()
