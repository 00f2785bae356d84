"""The upgrade in one command: done and checked, or as it was; a kill leaves one of the two, and that is said."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from sqlite_utils.utils import sqlite3

from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.demo import reference
from node.demo.reference import check_reference
from node.errors import SettingsError, StoreError
from node.operate import upgrade as module
from node.operate.doctor import _upgrade
from node.operate.upgrade import UNFINISHED, unfinished, upgrade
from node.settings import Settings, load_settings
from node.store import audit, migrate, schema
from node.store.archive import files_alone
from node.store.database import open_database
from node.store.presence import present
from tests.node.golden_data import tables, unpack

AT = datetime(2026, 3, 2, tzinfo=UTC)
OLD_SETTINGS = Path(__file__).with_name("data") / "settings_4ec8441.toml"


def fine() -> None:
    return None


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data folder that schema 1 was used on."""
    return unpack("4ec8441", tmp_path).folder


def number(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_a_database_of_an_earlier_version_is_copied_migrated_and_checked(old: Path) -> None:
    before = tables(old / "node.db")
    done = upgrade(old, check=fine, at=AT)
    assert (done.before, done.after, number(old / "node.db")) == (1, schema.newest(), schema.newest())
    assert tables(done.copy) == before
    assert done.facts > 50
    with closing(open_database(old)) as db:
        assert done.views == len(db.view_names())
    assert unfinished(old) is None


def test_a_folder_may_have_any_name(old: Path) -> None:
    folder = old.rename(old.with_name("50 %41 #1 ? & ü"))
    done = upgrade(folder, check=fine, at=AT)
    assert done.facts > 50
    with pytest.raises(StoreError, match="as it was"):
        upgrade(folder, check=lambda: "wrong", at=AT)


@pytest.mark.parametrize("where", ["check", "view", "migration"])
def test_where_something_is_wrong_it_is_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    before = tables(old / "node.db")

    def wrong(*_: object) -> NoReturn:
        raise StoreError("wrong")

    if where == "view":
        monkeypatch.setattr(module, "_answering", wrong)
    elif where == "migration":
        monkeypatch.setattr(migrate, "_require_sound", wrong)
    with pytest.raises(StoreError, match=r"wrong. The database is as it was, schema 1: start the version before"):
        upgrade(old, check=(lambda: "wrong") if where == "check" else fine, at=AT)
    assert (number(old / "node.db"), tables(old / "node.db")) == (1, before)
    assert unfinished(old) is None


def test_a_migration_that_loses_a_row_is_taken_back(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tables(old / "node.db")

    def lossy(path: Path, **named: object) -> None:
        migrate.bring_to_newest(path, pseudonym_key="", copied=True)
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("DROP TRIGGER record_flag_no_delete")
            db.execute("DELETE FROM record_flag WHERE flag_id = (SELECT max(flag_id) FROM record_flag)")

    monkeypatch.setattr(module, "bring_to_newest", lossy)
    with pytest.raises(StoreError, match=r"rows are gone from record_flag\. The database is as it was"):
        upgrade(old, check=fine, at=AT)
    assert tables(old / "node.db") == before


def killed(during: Callable[[], object]) -> None:
    """Do it in a process that is killed by it."""
    pid = os.fork()
    if not pid:
        during()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize(("where", "left"), [("migration", 1), ("check", schema.newest()), ("way back", None)])
def test_a_kill_leaves_one_of_the_two_and_that_is_said(
    old: Path, monkeypatch: pytest.MonkeyPatch, where: str, left: int | None
) -> None:
    def kill(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        if where == "migration":
            patched.setattr(migrate, "_require_sound", kill)
        elif where == "way back":
            patched.setattr(module.log, "warning", kill, raising=False)
        check = {"migration": fine, "check": kill, "way back": lambda: "wrong"}[where]
        killed(lambda: upgrade(old, check=check, at=AT))
    assert number(old / "node.db") == (left or 1)
    said = unfinished(old)
    assert said is not None
    assert "was not finished: `vbq-node upgrade` makes its checks; the database of before, schema 1, is" in said
    (finding,) = _upgrade(old)
    assert (finding.ok, finding.detail) == (False, said)
    assert upgrade(old, check=fine, at=AT).after == schema.newest()
    assert not (old / UNFINISHED).exists()


def killed_in_its_check(folder: Path) -> None:
    killed(lambda: upgrade(folder, check=lambda: os.kill(os.getpid(), signal.SIGKILL), at=AT))
    assert number(folder / "node.db") == schema.newest()


def test_after_a_kill_a_check_that_fails_brings_back_the_database_of_before_the_first_attempt(old: Path) -> None:
    before = tables(old / "node.db")
    killed_in_its_check(old)
    with pytest.raises(StoreError, match=r"The database is as it was, schema 1: start the version before"):
        upgrade(old, check=lambda: "wrong", at=AT + timedelta(hours=1))
    assert (number(old / "node.db"), tables(old / "node.db")) == (1, before)
    assert len(list((old / "backups").glob("node-schema-*.db"))) == 1


@pytest.mark.parametrize("what", ["a role", "a command"])
def test_what_came_after_a_killed_upgrade_is_not_lost_by_the_way_back(old: Path, what: str) -> None:
    killed_in_its_check(old)
    if what == "a role":
        with present(old, "dicom"):
            pass
    else:
        with closing(open_database(old)) as db:
            audit.note(db, name="Roe", address="", action="import", subject="", at=AT)
    with pytest.raises(StoreError, match=f"The database is as it was, schema {schema.newest()}: "):
        upgrade(old, check=lambda: "wrong", at=AT)
    assert number(old / "node.db") == schema.newest()


def test_while_files_are_copied_or_erased_there_is_no_upgrade(old: Path) -> None:
    with files_alone(old), pytest.raises(StoreError, match=r"a backup, an erasure or retention is at work; .* Nothing"):
        upgrade(old, check=fine, at=AT)
    assert number(old / "node.db") == 1


def test_a_node_that_runs_and_a_database_that_is_damaged_are_left_alone(old: Path) -> None:
    with present(old, "steps"), pytest.raises(StoreError, match=r"the node runs \(steps\); stop it first"):
        upgrade(old, check=fine, at=AT)
    with (old / "node.db").open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match=r"is damaged; .* Nothing was changed"):
        upgrade(old, check=fine, at=AT)
    assert not (old / UNFINISHED).exists()


def test_the_reference_series_measures_what_this_version_is_known_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a new version of the measurement: ``python -m node.demo.reference``, and why it differs."""
    assert check_reference() is None
    algorithm = f"{AUTOMATIC_NAME} {AUTOMATIC_VERSION}"
    monkeypatch.setattr(reference, "measured_reference", lambda: 2.0)
    assert f"measures VBQ 2.0000 here, and {reference.SCORES[algorithm]:.4f} is right" in str(check_reference())
    monkeypatch.setattr(reference, "SCORES", {})
    assert check_reference() == f"no score of the reference series is known for {algorithm}"


def test_settings_of_an_earlier_version_are_read_and_what_is_none_any_more_is_named(tmp_path: Path) -> None:
    assert isinstance(load_settings(OLD_SETTINGS), Settings)
    config = tmp_path / "node.toml"
    config.write_text(f"{OLD_SETTINGS.read_text()}\n[gone]\nsince = 1\n")
    with pytest.raises(SettingsError, match="gone is not a setting"):
        load_settings(config)
