"""The analysis of a cohort table, as a user starts it, and the script that holds every number against R's."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from node.analysis.analyse import WRITTEN
from node.analysis.pages import SUFFIXES
from tests.acceptance.harness import vbq_node
from tests.commands import command

SCRIPT = Path(__file__).parent / "statistics_against_r.py"


OF_GAPS_AND_OUTCOMES = {"imputed", "risk", "risk_calibration", "net_benefit", "decision_curve"}
"""What an analysis writes only of a table with missing values, or with an outcome."""
NEED_MORE = {"scanners", "over_time", "agreement", "limits", "bland_altman", "bland_altman_automatic"}
"""What an analysis writes only of a table with scanners and dates, or with readings."""


def against_r(inputs: Path, expected: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--inputs", str(inputs), "--expected", str(expected)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_every_expected_number_is_met_and_a_wrong_one_is_found(shared_data: Path, tmp_path: Path) -> None:
    statistics = shared_data / "statistics"
    done = against_r(statistics / "inputs", statistics / "expected")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ols_cohort200.json: passed 1184 of 1184" in done.stdout
    (tmp_path / "expected").mkdir()
    shutil.copy(statistics / "tolerances.json", tmp_path)
    numbers = json.loads((statistics / "expected/table1_cohort200.json").read_text())
    numbers["continuous"]["age"]["t"]["t"] *= 1 + 1e-6
    (tmp_path / "expected/table1_cohort200.json").write_text(json.dumps(numbers))
    spoilt = against_r(statistics / "inputs", tmp_path / "expected")
    assert spoilt.returncode == 1
    assert "passed 242 of 243" in spoilt.stdout
    assert "/continuous/age/t/t: expected" in spoilt.stdout


@pytest.fixture
def cohort200(shared_data: Path) -> Path:
    return shared_data / "statistics/inputs/cohort200.csv"


def everything(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_paper_s_analysis_twice_the_same(cohort200: Path, shared_data: Path, tmp_path: Path) -> None:
    said = vbq_node("analyse", str(cohort200), "--out", str(tmp_path / "one")).stdout
    assert "200 rows: 0 refused, 0 excluded, 200 analysed" in said
    elsewhere = tmp_path / "copy.csv"
    shutil.copy(cohort200, elsewhere)
    command("analyse", str(elsewhere), "--out", str(tmp_path / "two"))
    files = everything(tmp_path / "one")
    assert files == everything(tmp_path / "two")
    assert {Path(name).stem for name in files} == set(WRITTEN) - NEED_MORE - OF_GAPS_AND_OUTCOMES
    assert {Path(name).suffix for name in files} == set(SUFFIXES)
    for name in (name for name in files if name.endswith(".svg")):
        assert ElementTree.fromstring(files[name]).tag.endswith("svg")
    found = json.loads(files["analysis.json"])
    expected = shared_data / "statistics/expected"
    ols = json.loads((expected / "ols_cohort200.json").read_text())
    assert found["model"]["adj_r2"] == pytest.approx(ols["adj_r2"], rel=1e-9)
    assert found["validation"]["loo_rmse"] == pytest.approx(ols["loocv_rmse"], rel=1e-9)
    curve = json.loads((expected / "roc_cohort200.json").read_text())["nlr"]
    assert found["cut"] == 2.90
    assert found["curves"]["nlr"]["auc"] == pytest.approx(curve["auc"], rel=1e-9)
    assert "must not be used" in found["curves"]["nlr"]["circular"]
    # Table 2 of the paper: NLR 0.0196 (0.0021 to 0.0372), β 0.1513, VIF 1.95, partial R² 0.025; per 50 PLR 0.075.
    assert "NLR,0.0196,0.0021 to 0.0372,0.151,2.20,0.029,1.95,0.025," in files["table2.csv"].decode()
    assert (
        "NLR,0.0196 | 0.0196,0.151 | 0.151,2.20 | 2.21,0.0021 to 0.0372 | 0.0021 to 0.0372,1.95 | 1.95,0.025 | 0.025,"
        "0.029 | 0.028,0.534 | 0.534"
    ) in files["paper.csv"].decode()
    # Table 1 of the paper: age 68.63 ± 7.95 against 59.69 ± 6.25, diabetes 60 of 99 against 40 of 101, p 0.005.
    printed = files["paper_table1.csv"].decode()
    assert "Age (years),68.63 ± 7.95 | 68.63 ± 7.95,59.69 ± 6.25 | 59.69 ± 6.25,< 0.001 | < 0.001" in printed
    assert '"Diabetes, yes / no",60 / 39 | 60 / 39,40 / 61 | 40 / 61,0.005 | 0.005' in printed
    delong = json.loads((expected / "roc_cohort200.json").read_text())["nlr_vs_plr_delong"]
    assert found["areas"]["nlr − plr"]["p"] == pytest.approx(delong["p"], rel=1e-9)
    assert found["validation"]["durbin_watson"] == pytest.approx(ols["durbin_watson"], rel=1e-9)
    assert found["validation"]["bic"] == pytest.approx(ols["BIC"], rel=1e-9)
    report = files["report.html"].decode()
    assert report.count("data:image/png;base64,") == 9
    assert "http" not in report.replace("http://www.w3.org", "")


def test_messy_rows_are_left_out_by_name_and_reason(shared_data: Path, tmp_path: Path) -> None:
    said = command("analyse", str(shared_data / "statistics/inputs/messy201.csv"), "--out", str(tmp_path)).stdout
    assert "201 rows: 1 refused, 15 excluded, 185 analysed" in said  # a blank NLR is computed from the counts
    assert "id S088: plr 2210 contradicts platelets 386 / lymphocytes 1.35" in said
    found = json.loads((tmp_path / "analysis.json").read_text())
    flow = found["flow"]
    steps = flow.pop("steps")
    assert flow == {"rows": 201, "refused": 1, "excluded": 15, "analysed": 185}
    assert [step["n"] for step in steps] == [201, 200, 185, 185]
    assert steps[0]["left"] == {"malformed, without an id, or repeated": 1}
    assert sum(steps[1]["left"].values()) == 15
    assert found["model"]["n_used"] == 185
    assert "S088" in (tmp_path / "report.html").read_text()


def test_what_is_refused_is_said_and_no_older_table_stays(cohort200: Path, tmp_path: Path) -> None:
    lines = cohort200.read_text().splitlines()
    few = tmp_path / "few.csv"
    few.write_text("\n".join(lines[:41]) + "\n")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("table2.csv", "coefficients.png"):
        (out / name).write_text("from another cohort")
    (out / "mine.txt").write_text("not of an analysis")
    done = command("analyse", str(few), "--out", str(out), check=False)
    assert done.returncode == 3
    assert "not given: multivariable model: insufficient: 40 complete rows, 80 are needed" in done.stdout
    names = {file.name for file in out.iterdir()}
    assert names.isdisjoint({"table2.csv", "coefficients.png"})
    assert {"table1.csv", "report.html", "mine.txt"} <= names
    assert "insufficient: 40 complete rows" in (out / "report.html").read_text()


def test_markers_are_judged_against_an_outcome_column(cohort200: Path, tmp_path: Path) -> None:
    """The outcome is age above 62.5: VBQ's area is then the share of pairs it orders rightly, counted here."""
    header, *rows = cohort200.read_text().splitlines()
    old = [int(float(row.split(",")[2]) > 62.5) for row in rows]
    excluded = ["0" if row.startswith("S007") else "1" for row in rows]
    table = tmp_path / "cohort.csv"
    text = [f"{row},{a},{e}" for row, a, e in zip(rows, old, excluded, strict=True)]
    table.write_text("\n".join([f"{header},osteoporosis,eligible", *text]) + "\n")
    said = command("analyse", str(table), "--out", str(tmp_path / "out"), "--outcome", "osteoporosis").stdout
    assert "id S007: not eligible by the table itself" in said
    found = json.loads((tmp_path / "out/analysis.json").read_text())["curves"]["vbq"]
    pairs = [(float(row.split(",")[1]), a) for row, a, e in zip(rows, old, excluded, strict=True) if e == "1"]
    won = [(x > y) + (x == y) / 2 for x, a in pairs if a for y, b in pairs if not b]
    assert found["auc"] == pytest.approx(sum(won) / len(won), rel=1e-12)
    assert found["circular"] is None
    missing = command("analyse", str(cohort200), "--out", str(tmp_path), "--outcome", "dxa", check=False)
    assert missing.returncode == 1
    assert "no outcome column 'dxa'" in missing.stderr


def test_scanners_dates_and_readings_are_analysed_where_they_are_given(
    cohort200: Path, shared_data: Path, tmp_path: Path
) -> None:
    header, *rows = cohort200.read_text().splitlines()
    more = [f"{row},2025-{1 + i % 12:02d}-05,{'AB'[i % 2]} 1.5 T" for i, row in enumerate(rows)]
    table = tmp_path / "cohort.csv"
    table.write_text("\n".join([f"{header},mri_date,scanner_stratum", *more]) + "\n")
    readings = shared_data / "statistics/inputs/readers60.csv"
    out = tmp_path / "out"
    command("analyse", str(table), "--out", str(out), "--readings", str(readings))
    names = {file.stem for file in out.iterdir()}
    assert names == set(WRITTEN) - {"bland_altman_automatic"} - OF_GAPS_AND_OUTCOMES
    found = json.loads((out / "analysis.json").read_text())
    (pair,) = found["readers"]["pairs"]
    icc = json.loads((shared_data / "statistics/expected/icc.json").read_text())["readers60"]
    for mine, theirs in (("single_agreement", "ICC2"), ("single_consistency", "ICC3")):
        for key, r_key in (("icc", "icc"), ("ci_low", "lo"), ("ci_high", "hi")):
            assert pair["agreement"][mine][key] == pytest.approx(icc["psych"][theirs][r_key], rel=1e-7)
    assert [pair["limits"]["lower_limit"], pair["limits"]["upper_limit"]] == pytest.approx(
        icc["bland_altman"]["loa"], rel=1e-7
    )
    assert [(one["name"], one["n"]) for one in found["scanners"]["strata"]] == [("A 1.5 T", 100), ("B 1.5 T", 100)]
    readings = tmp_path / "wrong.csv"
    readings.write_text("id,r1,r2\nS1,2.9,2,8\n")
    said = command("analyse", str(table), "--out", str(out), "--readings", str(readings), check=False)
    assert said.returncode == 1
    assert "line 2: 4 cells, the header has 3" in said.stderr
