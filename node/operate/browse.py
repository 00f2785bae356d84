"""Datasette over the snapshots, on loopback: its metadata, and how it is started."""

import json
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from node.conf import conf_path
from node.errors import InputError
from node.store.snapshot import research_columns, research_path, research_tables, snapshot_path

METADATA_NAME = "datasette.json"
HOST = "127.0.0.1"


def metadata() -> dict[str, Any]:
    """What Datasette says of both snapshots: that of conf/datasette.json, and for research.db the part that it has."""
    content: dict[str, Any] = json.loads(conf_path(METADATA_NAME).read_text(encoding="utf-8"))
    tables = content["databases"]["node"]["tables"]
    content["databases"]["research"] = {
        "description": "Without numbers and names of the hospital; UIDs, specimens, bookings and readers are codes.",
        "tables": {name: _cut(tables[name], research_columns(name)) for name in research_tables()},
    }
    return content


def _cut(table: Mapping[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    cut = dict(table) | {"columns": {name: table["columns"][name] for name in columns}}
    for part in ("facets", "units"):
        if part in table:
            kept = {name: table[part][name] for name in table[part] if name in columns} if part == "units" else [
                name for name in table[part] if name in columns
            ]  # fmt: skip
            cut[part] = kept
    if cut.get("label_column") not in columns:
        cut.pop("label_column", None)
    return cut


def command(folder: Path, *, port: int) -> list[str]:
    """The command that opens both snapshots of a data folder, with the metadata in a temporary file.

    Raises
    ------
    InputError
        Datasette is not installed, or there is no snapshot yet.
    """
    if find_spec("datasette") is None:
        raise InputError("Datasette is not installed: pip install 'vbq-node[browse]'")
    files = [path for path in (snapshot_path(folder), research_path(folder)) if path.is_file()]
    if not files:
        raise InputError(f"there is no snapshot in {snapshot_path(folder).parent} yet: `vbq-node snapshot` makes it")
    # Who may read the snapshots may not write beside them.
    with NamedTemporaryFile("w", encoding="utf-8", prefix="vbq-node-", suffix=".json", delete=False) as described:
        json.dump(metadata(), described, ensure_ascii=False)
    options = ["--host", HOST, "--port", str(port), "--metadata", described.name]
    return [sys.executable, "-m", "datasette", "serve", *map(str, files), *options]
