"""Who may read what the node keeps, and what no command prints."""

import csv
import grp
import io
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from node.analysis.cells import guarded
from node.demo.dicom_study import data_sets
from node.demo.hospital import open_hospital
from node.errors import SettingsError, StoreError
from node.logs import without_values
from node.operate.doctor import examine
from node.settings import Settings, Storage, load_settings
from node.store import private
from node.store.database import open_database
from node.store.snapshot import publish, share_research
from tests.commands import command
from tests.node.dicom_samples import write_file

FAULTY = """
import sys
import analytics.vbq.measure
from node import cli

def fault(images, *, t1_stated=True, t2_at=None):
    raise {error}

analytics.vbq.measure.measure_stack = fault
sys.argv = ["vbq-node", "measure", sys.argv[1]]
cli.main()
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(scope="module")
def identified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn T1 series with a name, a number and a birth date."""
    folder = tmp_path_factory.mktemp("identified")
    patient = open_hospital(1).patients[0]
    for number, image in enumerate(data_sets(patient.examination, patient.study())):
        if image.SeriesInstanceUID == patient.examination.t1_series_uid:
            image.PatientName, image.PatientID, image.PatientBirthDate = "Quixotte^Dulcinea", "Q7654321", "19471103"
            write_file(folder / f"{number:03}", image)
    return folder


@pytest.mark.parametrize(
    "error", ["RuntimeError('x')", "AssertionError(chr(81) + 'uixotte')", "KeyError(chr(81) + 'uixotte')"]
)
def test_a_fault_in_measuring_prints_no_patient(identified: Path, error: str):
    done = subprocess.run(
        [sys.executable, "-c", FAULTY.format(error=error), str(identified)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    for secret in ("Quixotte", "Dulcinea", "Q7654321", "19471103", "1947-11-03", "1947, 11, 3", "locals"):
        assert secret not in printed, printed
    # A vendor's person still finds the place.
    assert "<string>:7" in printed


def test_the_text_of_an_unforeseen_error_is_withheld_and_that_of_a_foreseen_one_is_not():
    try:
        try:
            int("Quixotte")
        except ValueError as error:
            raise StoreError("the disk is full") from error
    except StoreError as error:
        text = without_values(error)
    assert text.count("Quixotte") == 1  # the line of the code
    assert "ValueError (text withheld" in text
    assert text.endswith("node.errors.StoreError: the disk is full")


def test_a_database_that_others_could_read_is_closed_and_the_doctor_names_an_open_folder(tmp_path: Path):
    folder = tmp_path / "data"
    open_database(folder, create=True).close()
    (folder / "node.db").chmod(0o644)
    folder.chmod(0o755)
    found = {one.check: one for one in examine(Settings.model_validate({"storage": {"folder": folder}}))}
    assert not found["data folder"].ok
    assert f"chmod o= {folder} {folder / 'node.db'}" in found["data folder"].detail
    open_database(folder, create=True).close()
    assert (mode(folder / "node.db"), mode(folder)) == (0o640, 0o755)


@pytest.mark.parametrize("what", ["file", "link to nothing"])
def test_the_doctor_names_what_stands_in_the_place_of_the_folder(tmp_path: Path, what: str):
    place = tmp_path / "data"
    if what == "file":
        place.write_text("")
    else:
        place.symlink_to(tmp_path / "gone" / "disk")
    (one,) = examine(Settings.model_validate({"storage": {"folder": place}}))
    assert (one.check, one.ok) == ("data folder", False)


def test_another_user_than_the_owner_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "data"
    open_database(folder, create=True).close()
    owner = folder.stat().st_uid
    monkeypatch.setattr(private.os, "geteuid", lambda: owner + 4711)
    for create in (False, True):
        with pytest.raises(StoreError, match=rf"belongs to user .*, and this command runs as {owner + 4711}"):
            open_database(folder, create=create)
    assert not examine(Settings.model_validate({"storage": {"folder": folder}}))[0].ok


@pytest.mark.parametrize("setting", ["mail.password_file", "dicom.tls.key"])
def test_a_secret_that_every_user_may_read_is_refused_before_anything_starts(tmp_path: Path, setting: str):
    secret = tmp_path / "secret"
    secret.write_text("open sesame")
    config = tmp_path / "node.toml"
    config.write_text(
        f"[mail]\npassword_file = '{secret}'\n"
        if setting.startswith("mail")
        else f"[dicom.tls]\ncertificate = '{tmp_path / 'c.pem'}'\nkey = '{secret}'\n"
    )
    for closed in (0o600, 0o640, 0o400):
        secret.chmod(closed)
        load_settings(config)
    for opened in (0o604, 0o644, 0o666):
        secret.chmod(opened)
        with pytest.raises(SettingsError, match=r"every user of this machine may read it: chmod o="):
            load_settings(config)
    secret.unlink()
    load_settings(config)


@pytest.mark.parametrize(
    "text", ["=1+1", "+43 1 234", "-cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-1.5e3x", "--1"]
)
def test_a_cell_that_a_spreadsheet_would_calculate_is_text(text: str):
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", "P-1", "a=b", "-1.5", "+2", "−0.3", "-1e-05", "1+1", "'x", 3, -2.5])
def test_a_harmless_cell_stays_as_it_is(value: object):
    assert guarded(value) == value


def test_no_csv_file_of_the_analysis_begins_a_cell_with_a_formula(tmp_path: Path):
    cohort = tmp_path / "cohort.csv"
    history = open_hospital(1).history
    with cohort.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        rows = list(csv.reader(io.StringIO(history)))
        writer.writerow(rows[0])
        writer.writerows(["=HYPERLINK(1)" + row[0], *row[1:]] for row in rows[1:])
    command("analyse", cohort, "--out", tmp_path / "out")
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.csv")}
    assert any("'=HYPERLINK" in text for text in written.values())
    cells = [cell for text in written.values() for row in csv.reader(io.StringIO(text)) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "@", "\t"))] == []


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_whatever_the_umask_nothing_is_open_to_others(tmp_path: Path, umask: int):
    config = tmp_path / "node.toml"
    config.write_text("[storage]\nfolder = 'data'\n")
    for name in ("migrate", "snapshot"):
        done = subprocess.run(
            [sys.executable, "-m", "node", name, "--config", str(config)],
            capture_output=True, text=True, check=False, umask=umask,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    written = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert tmp_path / "data" / "snapshots" / "research.db" in written
    assert [path for path in written if mode(path) & 0o027] == []


def test_a_group_reads_research_db_and_nothing_else():
    others = [one for one in grp.getgrall() if one.gr_gid not in (os.getegid(), 0)]
    mine = [one for one in others if os.geteuid() == 0 or one.gr_gid in os.getgroups()]
    if not mine:
        pytest.skip("this user is in one group only")
    group = mine[0]
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)
        folder = Path(place) / "data"
        storage = Storage(folder=folder, research_group=group.gr_name)
        with closing(open_database(folder, create=True)) as db:
            publish(db, folder)
            assert share_research(storage) is None
            research, snapshot = folder / "snapshots" / "research.db", folder / "snapshots" / "node.db"
            assert (research.stat().st_gid, mode(research), mode(snapshot)) == (group.gr_gid, 0o640, 0o640)
            assert (mode(folder), mode(folder / "snapshots"), mode(folder / "node.db")) == (0o751, 0o751, 0o640)
            # Made anew, it is still the group's.
            research.unlink()
            publish(db, folder)
            assert share_research(storage) is None
            assert research.stat().st_gid == group.gr_gid
        found = {one.check: one for one in examine(Settings(storage=storage))}
        assert found["research group"].ok
        assert found["data folder"].ok
        (folder / "snapshots").chmod(0o750)
        found = {one.check: one for one in examine(Settings(storage=storage))}
        assert "cannot pass" in found["research group"].detail
        if os.geteuid() == 0:
            (folder / "snapshots").chmod(0o751)
            reads = {path: read_as(group.gr_gid, path) for path in (research, snapshot, folder / "node.db")}
            assert reads == {research: True, snapshot: False, folder / "node.db": False}
            assert not listed_as(group.gr_gid, folder)


def read_as(gid: int, path: Path) -> bool:
    return done_as(gid, "head", "-c", "1", str(path))


def listed_as(gid: int, folder: Path) -> bool:
    return done_as(gid, "ls", str(folder))


def done_as(gid: int, *command: str) -> bool:
    """Whether a user of this group alone can do it."""
    done = subprocess.run(command, user=65534, group=gid, extra_groups=[], capture_output=True, check=False)
    return done.returncode == 0


def test_a_group_that_is_none_is_a_wrong_setting(tmp_path: Path):
    config = tmp_path / "node.toml"
    config.write_text("[storage]\nresearch_group = 'nobody-has-this-group'\n")
    with pytest.raises(SettingsError, match="there is no group 'nobody-has-this-group' on this machine"):
        load_settings(config)


def test_what_libraries_log_of_an_error_has_no_text_of_it() -> None:
    script = """
import asyncio, logging
from node.logs import configure_logging
from node.settings import Logging
configure_logging(Logging())
try:
    int("MUELLER^ANNA")
except ValueError as error:
    logging.getLogger("apscheduler.executors.default").exception("Job %s raised an exception", "night")
loop = asyncio.new_event_loop()
loop.call_soon(int, "MUELLER^ANNA")
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
logging.getLogger("x").warning("two\\nlines")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "MUELLER" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "apscheduler.executors.default ERROR Job night raised an exception"
    assert "ValueError (text withheld, it may quote a patient)" in lines
    assert "asyncio ERROR Exception in callback int" in lines
    assert lines[-2:] == ["x WARNING two", "lines"]
