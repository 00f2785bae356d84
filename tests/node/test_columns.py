"""The SQL is written by hand; it has the columns of ``analytics.columns``."""

from pathlib import Path

import pytest

from analytics.columns import CELLS, COHORT, INDICES, columns
from node.hl7.report import interpretation_json
from node.settings import Settings
from node.store.database import open_database

COUNT = {f"{name}_10e9_per_l" for name in CELLS} | {one.name for one in INDICES}
ROW = {one.name for one in COHORT}


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ("derived_blood_count", COUNT),
        ("blood_counts", COUNT),
        ("derived_link", ROW - {"id"}),
        ("derived_import_row", ROW),
        ("cohort", ROW),
    ],
)
def test_the_sql_has_every_column(tmp_path: Path, table: str, wanted: set[str]) -> None:
    db = open_database(tmp_path, create=True)
    found = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})").fetchall()}
    db.close()
    assert wanted <= found


MESSAGE = """MSH|^~\\&|LAB|H|N|H|20260301080000||ORU^R01|1|P|2.5.1
PID|1||4711^^^H^PI
OBR|1||S1|CBC|||20260301073000
OBX|1|NM|6690-2^Leukocytes^LN||7.0|10*9/L|||||F
OBX|2|NM|751-8^Neutrophils^LN||4.0|10*9/L|||||F
OBX|3|NM|731-0^Lymphocytes^LN||2.0|10*9/L|||||F
OBX|4|NM|777-3^Platelets^LN||250|10*9/L|||||F
OBX|5|NM|{monocytes}
"""


def count(monocytes: str) -> dict[str, object]:
    raw = MESSAGE.format(monocytes=monocytes).replace("\n", "\r").encode()
    (message,) = interpretation_json(raw, Settings())
    (found,) = message["cbcs"]
    return found


@pytest.mark.parametrize(
    "monocytes",
    [
        "742-7^Monocytes^LN||0.5|10*9/L|||||F",
        "MON#^Monocytes||0.5|10*9/L|||||F",
        "MONO^Monozyten||500|/uL|||||F",
        "^单核细胞绝对值||0.5|10*9/L|||||F",
        "5905-5^Monocytes/100 leukocytes^LN||7.142857|%|||||F",  # 7.0 × 7.142857 % = 0.5
    ],
)
def test_monocytes_by_name_or_code_give_their_indices(monocytes: str) -> None:
    """By hand: 2.0 / 0.5, 250 × 4.0 / 2.0, 4.0 × 0.5 / 2.0."""
    found = count(monocytes)
    assert found["monocytes_10e9_per_l"] == pytest.approx(0.5)
    assert [found[name] for name in ("nlr", "plr", "lmr", "sii", "siri")] == pytest.approx(
        [2.0, 125.0, 4.0, 500.0, 1.0]
    )
    assert (found["status"], found["notes"]) == ("final", [])


@pytest.mark.parametrize(
    "monocytes",
    [
        "742-7^Monocytes^LN||0.5|parsec|||||F",
        "742-7^Monocytes^LN||500|10*12/L|||||F",
        "742-7^Monocytes^LN||see note||||||F",
    ],
)
def test_monocytes_in_doubt_hold_no_count(monocytes: str) -> None:
    found = count(monocytes)
    assert (found["nlr"], found["plr"], found["sii"]) == pytest.approx((2.0, 125.0, 500.0))
    assert (found["status"], found["lmr"], found["siri"]) == ("final", None, None)


def test_columns_by_kind() -> None:
    assert columns("date") == ("surgery_date", "mri_date", "cbc_date")
