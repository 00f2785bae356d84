"""Fixtures that many tests of the node share."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from node.settings import Settings
from node.store.database import open_database
from node.store.snapshot import publish
from tests.node.golden_data import COMMITS, derive, unpack
from tests.node.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A data folder with the steps on it; tests with a world of another kind have their own."""
    one = World(tmp_path)
    yield one
    one.db.close()


@pytest.fixture(scope="session")
def derived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A small hospital with nights, readings and mails, all of it derived."""
    golden = unpack(COMMITS[0], tmp_path_factory.mktemp("golden"))
    settings = golden.settings()
    with closing(open_database(golden.folder, create=True)) as db:
        derive(db, settings)
        publish(db, golden.folder)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return golden.folder, settings
