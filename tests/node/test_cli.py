"""The command line: what goes wrong outside this software is one line; what senders wrote is shown as they wrote it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
import typer

from node import cli
from node.commands import shell
from node.commands.man import pages
from node.store import database
from node.store.database import open_database
from node.store.whole_file import write_whole
from tests.commands import call
from tests.readme import ROOT, commands

HEADER = (
    "id,vbq,age,sex_male,smoking,diabetes,hypertension,calcium,diagnosis,bmi,neutrophils,lymphocytes,platelets,nlr,plr"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text("[logging]\nlevel = 'error'\n")
    return path


@pytest.mark.parametrize("question", [["status"], ["problems"], ["nightly"], ["rebuild"], ["thresholds", "list"]])
def test_a_question_in_the_wrong_folder_makes_no_empty_database(
    config: Path, question: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *question, "--config", config) == 1
    assert "no database at" in capsys.readouterr().err
    assert not (config.parent / "data").exists()


def test_text_that_looks_like_markup_is_shown_as_it_is(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = config.with_name("cohort.csv")
    table.write_text(f"{HEADER}\n[/b]1,foo,60,1,0,0,0,0,LDH,25,4,2,200,2,100\n")
    assert call(monkeypatch, "import", table, "--config", config) == 3
    assert call(monkeypatch, "problems", "--config", config) == 0
    assert capsys.readouterr().out.count("[/b]1") == 2


def test_a_database_that_stays_locked_is_one_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 100)
    db = open_database(config.parent / "data", create=True)
    db.execute("BEGIN IMMEDIATE")
    assert call(monkeypatch, "rebuild", "--config", config) == 1
    db.execute("ROLLBACK")
    db.close()
    assert capsys.readouterr().err.splitlines() == [
        "vbq-node: the database cannot be used now: database is locked; `vbq-node doctor` checks it"
    ]


def test_a_file_in_the_way_is_one_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_database(config.parent / "data", create=True).close()
    (config.parent / "data" / "snapshots").write_text("")
    assert call(monkeypatch, "snapshot", "--config", config) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("data/snapshots: File exists")


def test_the_doctor_says_which_host_cannot_be_found(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text("[hl7]\nhost = 'absent.invalid'\nallow = ['10.0.0.1']\n")
    assert call(monkeypatch, "doctor", "--config", config) == 1
    assert "WRONG port hl7: absent.invalid" in capsys.readouterr().out


def test_the_version_names_software_schema_and_measurement(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--version") == 0
    number = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert re.fullmatch(rf"vbq-node {re.escape(number)}, schema \d+, measurement \S+ \d+\n", capsys.readouterr().out)


def test_a_dry_run_proposes_a_mapping_that_the_import_takes(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, mapping, details = (config.with_name(name) for name in ("c.csv", "map.toml", "details.csv"))
    table.write_text(f"{HEADER}\nA,3.0,60,1,0,0,0,0,LDH,25,4,2,200,2,100\nB,2.9,45,2,0,0,0,0,LDH,24,4,2,210,2,105\n")
    options = ("--dry-run", "--propose", mapping, "--config", config)
    assert call(monkeypatch, "import", table, *options) == 1
    assert "would be refused: sex_male is coded with 2" in capsys.readouterr().out
    assert not (config.parent / "data").exists()
    assert call(monkeypatch, "import", table, *options) == 1
    assert "cannot write" in capsys.readouterr().err  # what a person may have filled in
    mapping.write_text(mapping.read_text().replace('"1" = "?"', '"1" = "1"').replace('"2" = "?"', '"2" = "0"'))
    assert call(monkeypatch, "import", table, "--dry-run", "--mapping", mapping, "--json", "--config", config) == 0
    assert json.loads(capsys.readouterr().out)["eligible"] == 1
    given = ("--mapping", mapping, "--details", details, "--config", config)
    assert call(monkeypatch, "import", table, *given) == 0
    assert "left out: id B: age 45 is below 50 years" in capsys.readouterr().out
    assert details.read_text().splitlines()[1:] == ["3,B,left out,age-below-minimum,age 45 is below 50 years"]


def test_a_role_starts_without_what_few_roles_need() -> None:
    """sqlite_utils would bring pandas along, the command line pydicom, into each of seven processes."""
    heavy = "{'pandas', 'pydicom', 'distributed'}"
    code = f"import node.cli, node.store.database, sys; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
    with_pandas = "import node.cli, pandas; assert pandas.DataFrame({'a': [1]}).shape == (1, 1)"
    assert subprocess.run([sys.executable, "-c", with_pandas], check=False, timeout=60).returncode == 0


def test_every_command_has_a_manual_page_that_no_sign_of_its_help_spoils() -> None:
    made = pages(typer.main.get_command(cli.app))
    assert made.keys() == {"vbq-node.1"} | {f"{'-'.join(('vbq-node', *path))}.1" for path, _ in commands()}
    for name, text in made.items():
        assert text.isascii(), name
        first, *lines = text.splitlines()
        assert first.startswith(".TH "), name
        # Every line that begins with a control character is one of these macros (groff_man(7)).
        assert {line.split()[0] for line in lines if line[:1] in {".", "'"}} <= {".SH", ".TP", ".PP"}, name
        assert lines[1] == name.removesuffix(".1").replace("-", "\\-") + " \\- " + lines[1].partition(" \\- ")[2]
        assert [line for line in lines if line.startswith(".SH")][:3] == [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"]


WRONG = {
    "audit list --since gestern": (2, "a day or time is needed"),
    "audit list --since 2026-13-45": (2, "a day or time is needed"),
    "backup list NOWHERE": (1, "is no folder of backups"),
    "backup make DATA/backups": (1, "lies in the data folder and is lost with it"),
    "counts approve x --by EMPTY": (2, "a line of printable characters is needed"),
    "erase 1 --by EMPTY --why x": (2, "a line of printable characters is needed"),
    "erase 1 --by x --why LINES": (2, "a line of printable characters is needed"),
    "export NOWHERE --for EMPTY": (2, "a line of printable characters is needed"),
    "export DATA/dicom/x --for me": (1, "lies in the data folder of the node"),
    "hold 1 --by EMPTY --why x": (2, "a line of printable characters is needed"),
    "nightly --date 0001-01-01 --dry-run": (1, "the night of 0001-01-01 is not to be had"),
    "nightly --date 2999-01-01": (1, "the night of 2999-01-01 is not to be had"),
    "pool export NOWHERE/x.json": (1, "there is no folder"),
    "quarantine retry --by EMPTY": (2, "a line of printable characters is needed"),
    "reading withdraw 99999999999999999999 --why x --reader y": (2, "is the number of nothing"),
    "results resend 1 --by EMPTY": (2, "a line of printable characters is needed"),
    "results show 99999999999999999999": (2, "is the number of nothing"),
    "thresholds adopt 1 --by EMPTY": (2, "a line of printable characters is needed"),
    "thresholds show 99999999999999999999": (2, "is the number of nothing"),
    "users add bob --role king": (1, "not king"),
}
"""What is asked wrongly: the exit code, and what is said. Capitals stand for what has no place in a line."""


@pytest.mark.parametrize("asked", WRONG)
def test_what_is_asked_wrongly_is_said_in_a_line_and_changes_nothing(
    config: Path, asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(config.parent)
    data, nowhere = config.parent / "data", config.parent / "nowhere"
    open_database(data, create=True).close()
    there = {"EMPTY": "", "LINES": "a\nb"}
    words = [
        there.get(word, word.replace("NOWHERE", str(nowhere)).replace("DATA", str(data))) for word in asked.split()
    ]
    code, said = WRONG[asked]
    assert call(monkeypatch, *words) == code
    shown = capsys.readouterr()
    assert said in " ".join(shown.err.split())
    assert shown.out == ""
    assert not nowhere.exists()
    assert not (data / "dicom" / "x").exists()


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    write_whole(tmp_path / "pipe", b"content")
    assert reader.communicate()[0] == b"content"
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"
    with pytest.raises(FileNotFoundError) as missing:
        write_whole(tmp_path / "no" / "file", b"")
    assert missing.value.filename == str(tmp_path / "no" / "file")


@pytest.mark.parametrize("asked", [["messages", "show"], ["quarantine", "show"]])
def test_what_was_typed_for_an_id_and_is_none_does_not_stay_in_the_audit(
    config: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = config.parent / "data"
    open_database(data, create=True).close()
    assert call(monkeypatch, *asked, "0012346", "--config", config) == 1
    with closing(open_database(data)) as db:
        assert db.execute("SELECT count(*) FROM record_audit WHERE subject LIKE '%0012346%'").fetchone() == (0,)


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found"), OSError("No username set")])
def test_a_user_without_a_name_stands_in_the_audit_by_number(
    config: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise error

    data = config.parent / "data"
    open_database(data, create=True).close()
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(shell.getpass, "getuser", fail)
    assert call(monkeypatch, "problems", "--config", config) == 0
    with closing(open_database(data)) as db:
        assert db.execute("SELECT name FROM audit").fetchall() == [(f"user {os.getuid()}",)]


def test_a_sign_that_a_terminal_has_not_is_no_reason_to_say_nothing(config: Path) -> None:
    table = config.with_name("cohort.csv")
    table.write_text(f"{HEADER}\nŁódź,foo,60,1,0,0,0,0,LDH,25,4,2,200,2,100\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "node", "import", str(table), "--json", "--config", str(config)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "Łódź" in json.loads(done.stdout.decode("latin-1"))["problems"][0]


def test_output_that_nobody_takes_is_no_fault_of_the_data_folder(config: Path) -> None:
    open_database(config.parent / "data", create=True).close()
    command = [sys.executable, "-m", "node", "problems", "--json", "--config", str(config)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "vbq-node: the data folder, or where the output goes: No space left on device\n"
