"""Datasette over the snapshots: what it says of every column, and queries that run as they stand."""

import json
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils.utils import sqlite3

from node.errors import InputError
from node.operate.browse import command, metadata
from node.store.database import open_database, writing
from node.store.snapshot import columns_of, definitions, publish, research_columns, research_tables
from tests.benchmarks.snapshot import fill
from tests.node.test_agreement import put_readings
from tests.ports import free_port

QUERIES: dict[str, dict[str, str]] = metadata()["databases"]["node"]["queries"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browse")
    db = open_database(folder, create=True, pseudonym_key="00" * 32)
    fill(db, messages=20, series=20)
    put_readings(db, "1.2.5", ("ann", 2.9), ("bob", 3.3))
    with writing(db):
        db.execute(
            "UPDATE derived_link SET status = 'incomplete', reasons = '[{\"code\": \"no-mri\"}]' WHERE episode = 'E0'"
        )
    publish(db, folder)
    db.close()
    return folder


def test_there_are_fifteen_ready_queries_at_least() -> None:
    assert len(QUERIES) >= 15


@pytest.mark.parametrize("name", QUERIES)
def test_each_ready_query_runs_as_it_stands(folder: Path, name: str) -> None:
    with closing(sqlite3.connect(f"file:{folder}/snapshots/node.db?mode=ro", uri=True)) as read:
        found = read.execute(QUERIES[name]["sql"])
        columns = [column for column, *_ in found.description]
        rows = found.fetchall()
    assert len(columns) == len(set(columns))
    if name in ("two_readers", "what_readers_changed", "why_not_linked", "vbq_by_scanner", "inflammation_indices"):
        assert rows, "there is something to find"


def test_both_snapshots_are_described_to_the_last_column() -> None:
    databases: dict[str, Any] = metadata()["databases"]
    for name in definitions():
        assert databases["node"]["tables"][name]["columns"].keys() == set(columns_of(name)), name
    for name in research_tables():
        told = databases["research"]["tables"][name]
        assert told["columns"].keys() == set(research_columns(name)), name
        assert set(told.get("facets", ())) <= set(research_columns(name))


def test_it_is_opened_on_this_machine_only(folder: Path, tmp_path: Path) -> None:
    port = free_port()
    started = command(folder, port=port)
    assert started[:3] == [sys.executable, "-m", "datasette"]
    server = subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        for path in ("/node/cohort", "/research/links", "/node/why_not_linked", "/node/measurements?_facet=status"):
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, path
            answer.read()
            connection.close()
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/node/why_not_linked.json?_shape=array")
        assert json.loads(connection.getresponse().read()) == [{"cause": "no-mri", "operations": 1}]
        connection.close()
    finally:
        server.terminate()
        server.wait(30)
    with pytest.raises(InputError, match="no snapshot"):
        command(tmp_path, port=port)
