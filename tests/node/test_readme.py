"""The README says what is true: its help texts, settings and views are those of the program."""

import re
from pathlib import Path

from sqlite_utils import Database

from node.store.database import open_database
from node.store.snapshot import publish
from tests.readme import README, commands, written


def test_the_generated_parts_are_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == written(text), "run: .venv/bin/python -m tests.readme"


def test_every_command_is_documented() -> None:
    text = README.read_text(encoding="utf-8")
    found = commands()
    assert {"run", "demo", "import", "status", "problems", "rebuild"} <= {path[0] for path, _ in found}
    for path, command in found:
        assert f"### `vbq-node {' '.join(path)}`" in text
        assert command.help, path


def test_the_sql_of_the_readme_runs_on_a_snapshot(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    queries = [
        one for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) for one in block.split(";") if one.strip()
    ]
    assert len(queries) >= 4
    db = open_database(tmp_path, create=True)
    snapshot = Database(publish(db, tmp_path))
    for query in queries:
        list(snapshot.query(query))
    snapshot.close()
    db.close()
