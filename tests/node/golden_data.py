"""The golden databases, unpacked, and what is in them."""

import json
import lzma
import tarfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.settings import Dicom, Settings, Site, Storage
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import writing
from node.store.derivation import finish

GOLDEN = Path(__file__).with_name("golden")
COMMITS = tuple(sorted(path.name.removesuffix(".tar.xz") for path in GOLDEN.glob("*.tar.xz")))
FROM_THE_START = "4ec8441"
"""Of schema 1: every migration is made on it."""
KEPT = ("fact_", "record_", "state_")

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A data folder as a commit left it, and its views by that commit's own SQL."""

    folder: Path
    views: dict[str, list[dict[str, Any]]]

    @property
    def path(self) -> Path:
        """The database."""
        return self.folder / "node.db"

    def settings(self, *, quiet_s: float = 2.0) -> Settings:
        """As the node had them whose folder it is; the quiet period may be another since."""
        return Settings(
            site=Site(name="Golden", time_zone="Europe/Vienna"),
            storage=Storage(folder=self.folder),
            dicom=Dicom(quiet_s=quiet_s),
        )


def unpack(commit: str, place: Path) -> Golden:
    """The golden data folder of a commit."""
    with tarfile.open(GOLDEN / f"{commit}.tar.xz") as archive:
        archive.extractall(place, filter="data")
    views = json.loads((place / "views.json").read_text(encoding="utf-8"))
    return Golden(folder=place / "data", views=views)


def schemas() -> dict[str, str]:
    """The schema of each commit that changed it while every database said schema 1."""
    return dict(json.loads(lzma.decompress((GOLDEN / "schemas.json.xz").read_bytes())))


def tables(path: Path) -> dict[str, tuple[list[str], Rows]]:
    """Columns and rows of every kept table, values with their storage class; read without the software."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: read(db, name) for name in names if name.startswith(KEPT)}


def read(db: sqlite3.Connection, table: str, columns: Iterable[str] = ()) -> tuple[list[str], Rows]:
    """These columns of a table, or all; each value as the literal that SQLite writes for it."""
    names = list(columns) or [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    quoted = ", ".join(f"quote({name})" for name in names)
    return names, db.execute(f"SELECT rowid, {quoted} FROM {table} ORDER BY rowid").fetchall()


def derive(db: Database, settings: Settings) -> None:
    """All that the steps have to do."""
    while run_pending(db, Archive(settings.storage.folder), settings, at=now()):
        pass
    with writing(db):
        finish(db)


def shown(db: Database, views: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """The content of the same views and columns, as lines that can be compared, without an order."""
    found = {}
    for view, rows in views.items():
        columns = list(rows[0]) if rows else ["1"]
        found[view] = lines(db.query(f"SELECT {', '.join(columns)} FROM {view}"))
    return found


def lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Rows as sorted JSON lines; numbers to six digits.

    Versions of SQLite write JSON with fifteen or seventeen, and what a network says depends on the instructions of the
    processor: the uncertainty of a golden reading differed by 3e-8 of itself between two.
    """
    return sorted(json.dumps({name: _rounded(value) for name, value in row.items()}, sort_keys=True) for row in rows)


def _rounded(value: object) -> object:
    if isinstance(value, str) and value.startswith("{"):
        return {name: _rounded(inner) for name, inner in json.loads(value).items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
