"""Fixtures that many tests of the node share."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from sqlite_utils.utils import sqlite3

from node.clock import now, to_text
from node.nightly import night
from node.nightly.sections.section import Figure
from node.settings import Settings
from node.store import database
from node.store.database import open_database
from node.store.migrate import alone, migrate
from node.store.snapshot import publish
from tests.node.golden_data import FROM_THE_START, derive, unpack
from tests.node.world import World

MADE_BY_MIGRATIONS = ("test_migration", "test_outgoing_migration", "test_store", "test_upgrade")
"""Tests of how a database is made."""


@pytest.fixture(scope="session")
def new_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as the migrations make it, but for what differs from one to the next."""
    path = tmp_path_factory.mktemp("new") / "node.db"
    migrate(path, pseudonym_key="")
    with closing(sqlite3.connect(path)) as db:
        (guard,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'fact_site_no_delete'").fetchone()
        db.execute("DROP TRIGGER fact_site_no_delete")
        db.execute("DELETE FROM fact_site")
        db.execute(guard)
        db.commit()
    return path


@pytest.fixture(autouse=True)
def _databases_are_copied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, new_database: Path) -> None:
    """Most tests open a new database: 56 ms of processor time with the migrations, 15 with a copy of what they make."""
    if request.module.__name__.rpartition(".")[2] in MADE_BY_MIGRATIONS:
        return

    def made(path: Path, *, pseudonym_key: str) -> None:
        with alone(path.parent):
            if not path.stat().st_size:
                shutil.copyfile(new_database, path)
                with closing(sqlite3.connect(path)) as db:
                    db.execute("PRAGMA synchronous = OFF")
                    values = {"pseudonym_key": pseudonym_key, "made_at": to_text(now())}
                    db.executemany("INSERT INTO fact_site (name, value) VALUES (?, ?)", values.items())
                    db.commit()
                return
        migrate(path, pseudonym_key=pseudonym_key)

    monkeypatch.setattr(database, "migrate", made)


@pytest.fixture(scope="session")
def drawn() -> dict[bytes, tuple[Figure, ...]]:
    """Pictures of cohorts, by the cohort."""
    return {}


@pytest.fixture(autouse=True)
def _pictures_are_drawn_once(monkeypatch: pytest.MonkeyPatch, drawn: dict[bytes, tuple[Figure, ...]]) -> None:
    """Most nights of the tests are of the one cohort: its pictures take half a second of processor time."""
    draw = night._draw

    def once(cohort: pd.DataFrame) -> Iterator[Figure]:
        key = cohort.to_csv().encode()
        if key not in drawn:
            drawn[key] = tuple(draw(cohort))
        yield from drawn[key]

    monkeypatch.setattr(night, "_draw", once)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A data folder with the steps on it; tests with a world of another kind have their own."""
    one = World(tmp_path)
    yield one
    one.db.close()


@pytest.fixture(scope="session")
def derived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A small hospital with nights, readings and mails, all of it derived."""
    golden = unpack(FROM_THE_START, tmp_path_factory.mktemp("golden"))
    settings = golden.settings()
    with closing(open_database(golden.folder, create=True)) as db:
        derive(db, settings)
        publish(db, golden.folder)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return golden.folder, settings
