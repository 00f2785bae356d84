"""The READMEs say what is true: help texts, settings and views are those of the program, links lead somewhere."""

import re
from pathlib import Path

import pytest
from sqlite_utils import Database

from node.store.database import open_database
from node.store.snapshot import publish
from tests.readme import COMMANDS, METADATA, README, ROOT, VIEWS, blocks, commands, metadata, written

ROOMS = [ROOT / name for name in ("node", "analytics", "conf", "systemd")]
NAMES = ("README.md", "CONFORMANCE.md", "REQUIREMENTS.md", "SECURITY.md", "CONTRIBUTING.md")
FILES = sorted(path for room in ROOMS for name in NAMES for path in room.rglob(name))


def test_the_generated_parts_are_current() -> None:
    for path, contents in blocks().items():
        assert path.read_text(encoding="utf-8") == written(path, contents), "run: .venv/bin/python -m tests.readme"


def test_the_metadata_of_datasette_say_what_the_columns_are() -> None:
    assert METADATA.read_text(encoding="utf-8") == metadata(), "run: .venv/bin/python -m tests.readme"


def test_every_command_is_documented() -> None:
    text = COMMANDS.read_text(encoding="utf-8")
    found = commands()
    assert {"run", "demo", "import", "status", "problems", "rebuild"} <= {path[0] for path, _ in found}
    for path, command in found:
        assert f"### `vbq-node {' '.join(path)}`" in text
        assert command.help, path


@pytest.mark.parametrize("path", [README, *FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_of_the_project(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_every_room_is_found_from_the_first_page() -> None:
    text = README.read_text(encoding="utf-8")
    for path in FILES:
        assert f"({path.relative_to(ROOT).as_posix()})" in text


def test_the_first_page_stays_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 250


def test_the_sql_of_the_readmes_runs_on_a_snapshot(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8") + VIEWS.read_text(encoding="utf-8")
    queries = [
        one for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) for one in block.split(";") if one.strip()
    ]
    assert len(queries) >= 5
    db = open_database(tmp_path, create=True)
    snapshot = Database(publish(db, tmp_path))
    for query in queries:
        list(snapshot.query(query))
    snapshot.close()
    db.close()
