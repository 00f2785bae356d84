"""The page on questions over several sites' Parquet files: its code and its queries run, and say what is there."""

import os
import re
from pathlib import Path

import duckdb
import pytest

from node.store.database import insert, writing
from node.store.snapshot import publish
from tests.analytics.test_pooling import SITES
from tests.node.test_pool import Node

PAGE = Path(__file__).parents[2] / "node" / "pooling" / "PARQUET.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple]]:
    folder = tmp_path_factory.mktemp("parquet")
    (folder / "sites").mkdir()
    (code,) = blocks("python")
    for name, frame in SITES.items():
        node = Node(folder / name, name, frame)
        with writing(node.db):
            node.db.execute("UPDATE derived_import_row SET site = ?", [name])
            left = {"id": "left", "site": name, "import_id": 1, "line": 999, "eligible": 0}
            reasons = '[{"code": "incomplete-data", "values": {"columns": ["bmi"]}, "words": "incomplete data: bmi"}]'
            insert(node.db, "derived_import_row", [left | {"exclusion_reasons": reasons}])
        snapshot = publish(node.db, folder / name)
        exec(code, {"snapshot": snapshot, "target": folder / "sites" / f"{name}.parquet"})
        node.db.close()
    before = Path.cwd()
    os.chdir(folder)
    try:
        with duckdb.connect() as db:
            view, *queries = blocks("sql")
            db.execute(view)
            return [db.execute(query).fetchall() for query in queries]
    finally:
        os.chdir(before)


def test_there_are_five_queries(answers: list[list[tuple]]) -> None:
    assert len(answers) == 5


def test_patients_by_site_and_scanner(answers: list[list[tuple]]) -> None:
    found = {(site, scanner): (rows, eligible) for site, scanner, rows, eligible, *_ in answers[0]}
    assert found[("A", "Avanto 1.5 T")] == (150, 150)
    assert found[("C", "Ingenia 3 T")] == (50, 50)
    assert found[("B", "unknown")] == (1, 0)


def test_reasons_and_missing_values(answers: list[list[tuple]]) -> None:
    assert answers[1] == [(site, "incomplete-data", 1) for site in "ABC"]
    assert answers[2][0] == ("A", 151, 1, 1, 1, 1)


def test_slopes_within_scanners_and_quartiles(answers: list[list[tuple]]) -> None:
    assert [(site, n) for site, _, n, *_ in answers[3]] == [("A", 150), ("B", 130), ("C", 95), ("C", 50), ("C", 40)]
    by_site = {row[0]: row[1:] for row in answers[4]}
    assert by_site["A"][1] == pytest.approx(SITES["A"]["vbq"].quantile(0.75), abs=5e-4)
    assert by_site["all"][0] == 465
