"""Fixtures of the acceptance tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import SHARED, Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node that is not yet started; whatever runs at the end is killed."""
    one = Node(tmp_path)
    yield one
    if one.running:
        one.kill()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data."""
    if not SHARED.is_dir():
        pytest.skip("the folder shared/data with real series, messages and reference statistics is not beside this one")
    return SHARED
