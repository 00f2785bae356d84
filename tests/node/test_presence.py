"""Who runs, since when, and who dies too often: read without the database, said wherever a person looks."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine

from node.errors import StoreError
from node.nightly.restarts import report_restarts
from node.operate.doctor import examine
from node.operate.status import node_presence, presence_in_words
from node.run.figures import not_ready
from node.run.metrics import serve_metrics
from node.run.notify import BeatingEvent
from node.settings import Mail, Metrics, Settings, Storage
from node.store.database import open_database
from node.store.presence import LONGEST_ROUNDS, USUAL_ROUND, WITHOUT_ROUNDS, Presence, presences, present
from tests import commands
from tests.node.test_metrics import scrape
from tests.ports import free_ports
from tests.readme import ROOT

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOLDER = """
import sys
from pathlib import Path
from node.store.presence import present
with present(Path(sys.argv[1]), "steps"):
    print("here", flush=True)
    sys.stdin.read()
"""


def die(folder: Path, *, number: int = signal.SIGKILL) -> None:
    """A role that ends by a signal while it works."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        (found,) = presences(folder)
        assert found.running
        os.kill(process.pid, number)


def test_a_role_runs_while_its_process_does_and_a_death_is_remembered(tmp_path: Path) -> None:
    die(tmp_path)
    (found,) = presences(tmp_path)
    assert (found.name, found.running, found.failures) == ("steps", False, ())
    with present(tmp_path, "steps"):
        (found,) = presences(tmp_path)
        assert found.running
        assert len(found.failures) == 1
    (found,) = presences(tmp_path)
    assert not found.running
    assert len(found.failures) == 1, "an end that was asked for is none"


def test_an_error_is_a_failure_and_too_many_in_a_day_are_said(tmp_path: Path) -> None:
    for hours in (0, 20, 23, 30):
        with (
            time_machine.travel(NOON + timedelta(hours=hours), tick=False),
            pytest.raises(StoreError),
            present(tmp_path, "steps"),
        ):
            raise StoreError("the disk is full")
    (found,) = presences(tmp_path)
    assert [found.recent_failures(NOON + timedelta(hours=hours)) for hours in (0, 23, 30, 48)] == [1, 3, 3, 1]
    assert [found.is_unsteady(NOON + timedelta(hours=hours)) for hours in (22, 23, 47.5)] == [False, True, False]


def test_what_a_clock_that_was_ahead_has_noted_does_not_count() -> None:
    later = tuple(NOON + timedelta(days=30, minutes=minute) for minute in range(5))
    assert not Presence(name="steps", running=True, since=NOON, last_round=None, failures=later).is_unsteady(NOON)


def test_files_that_are_no_json_are_no_presence(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "steps.json").write_text("{")
    assert [(one.name, one.running, one.since) for one in presences(tmp_path)] == [("steps", False, None)]


@pytest.fixture
def unsteady(tmp_path: Path) -> Settings:
    """A folder whose steps have died three times."""
    open_database(tmp_path / "data", create=True).close()
    for _ in range(3):
        with pytest.raises(StoreError), present(tmp_path / "data", "steps"):
            raise StoreError("the disk is full")
    dicom, hl7, metrics = free_ports(3)
    config = tmp_path / "node.toml"
    config.write_text(
        f"[storage]\nfolder = '{tmp_path / 'data'}'\n[dicom]\nport = {dicom}\n[hl7]\nport = {hl7}\n"
        f"[metrics]\nport = {metrics}\n"
    )
    return Settings(
        storage=Storage(folder=tmp_path / "data"),
        metrics=Metrics(port=metrics),
        mail=Mail(administrator="admin@site.invalid"),
    )


def call(monkeypatch: pytest.MonkeyPatch, settings: Settings, *arguments: str) -> int:
    return commands.call(monkeypatch, *arguments, "--config", settings.storage.folder.parent / "node.toml")


def test_status_and_doctor_say_that_the_node_is_down_or_up_and_what_dies(
    unsteady: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, unsteady, "status") == 3
    assert "is not running; it was started last at 20" in capsys.readouterr().out
    assert call(monkeypatch, unsteady, "doctor") == 1
    assert "WRONG node: is not running" in capsys.readouterr().out
    with present(unsteady.storage.folder, "dicom"), present(unsteady.storage.folder, "steps"):
        assert call(monkeypatch, unsteady, "status", "--json") == 3
        node = json.loads(capsys.readouterr().out)["node"]
        assert node["running"]
        assert node["since"].startswith("20")
        assert node["roles"]["dicom"] | {"since": None} == {
            "running": True, "since": None, "ended_unasked_last_day": 0, "many_restarts": False,
            "stalled": False,
        }  # fmt: skip
        assert node["roles"]["steps"]["ended_unasked_last_day"] == 3
        assert node["roles"]["steps"]["many_restarts"]
        assert call(monkeypatch, unsteady, "doctor") == 1
        said = capsys.readouterr().out
    assert "ok    node: runs since 20" in said
    assert "WRONG node: the role steps has ended 3 times in the last day without being asked" in said
    assert "WRONG port dicom" in said, "its role runs, and nothing listens"


def test_a_node_that_was_never_started_is_no_fault(tmp_path: Path) -> None:
    ports = dict(zip(("dicom", "hl7", "metrics", "web"), free_ports(4), strict=True))
    settings = Settings.model_validate(
        {"storage": {"folder": tmp_path}, **{name: {"port": port} for name, port in ports.items()}}
    )
    assert all(finding.ok for finding in examine(settings) if finding.check != "disk")
    assert node_presence(tmp_path, now=NOON) == {"running": False, "since": None, "roles": {}}


@pytest.mark.parametrize(
    ("role", "minutes", "hangs"),
    [("hl7", 4, False), ("hl7", 6, True), ("steps", 29, False), ("steps", 31, True), ("nightly", 600, False)],
)
def test_a_role_whose_main_loop_does_not_come_round_is_said(
    tmp_path: Path, role: str, minutes: int, hangs: bool
) -> None:
    open_database(tmp_path, create=True).close()
    settings = Settings(storage=Storage(folder=tmp_path))
    with present(tmp_path, role) as place:
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        told = [sentence for fine, sentence in presence_in_words(tmp_path, now=at) if not fine]
        assert told == [f"the role {role} has not come round for {minutes} minutes: it hangs; end its process, and it "
                        "is started again"] * hangs  # fmt: skip
        with time_machine.travel(at), closing(open_database(tmp_path)) as db:
            assert not_ready(db, settings) == [f"role {role} hangs"] * hangs
            place.beat()
            assert not_ready(db, settings) == []


def test_times_are_those_of_the_site(tmp_path: Path) -> None:
    with time_machine.travel(NOON, tick=False):
        with present(tmp_path, "hl7"):
            ((_, up),) = presence_in_words(tmp_path, now=NOON, zone=ZoneInfo("Europe/Vienna"))
        ((_, down),) = presence_in_words(tmp_path, now=NOON, zone=ZoneInfo("Europe/Vienna"))
    assert up == "runs since 2026-03-02 13:00 CET: hl7"
    assert down == "is not running; it was started last at 2026-03-02 13:00 CET"


def test_the_heartbeat_of_the_main_thread_is_what_is_seen(tmp_path: Path) -> None:
    with present(tmp_path, "hl7") as place:
        os.utime(tmp_path / "run" / "hl7.lock", (0, 0))
        stop = BeatingEvent()
        stop.on_beat = place.beat
        thread = threading.Thread(target=stop.is_set)
        thread.start()
        thread.join()
        assert presences(tmp_path)[0].last_round == datetime(1970, 1, 1, tzinfo=UTC)
        stop.is_set()
        (found,) = presences(tmp_path)
        assert found.last_round is not None
        assert found.last_round > datetime.now(UTC) - timedelta(minutes=1)


def test_what_counts_as_hanging_is_what_the_units_wait_for() -> None:
    for path in (ROOT / "systemd").glob("vbq-node-*.service"):
        watched = re.search(r"^WatchdogSec=(\d+)min$", path.read_text(), re.MULTILINE)
        role = path.stem.removeprefix("vbq-node-")
        if watched:
            assert LONGEST_ROUNDS.get(role, USUAL_ROUND) == timedelta(minutes=int(watched[1]))
        else:
            assert role in (*WITHOUT_ROUNDS, "backup", "failed@")


def test_metrics_and_the_administrator_are_told(unsteady: Settings) -> None:
    with serve_metrics(unsteady):
        text = scrape(unsteady.metrics.port)
    assert 'vbq_node_role_up{role="steps"} 0.0' in text
    assert 'vbq_node_role_ended_last_day{role="steps"} 3.0' in text
    db = open_database(unsteady.storage.folder)
    moment = datetime.now(UTC)
    for _ in range(2):
        report_restarts(db, unsteady, now=moment)
    rows = db.execute(
        "SELECT recipient, subject, text FROM record_mail JOIN record_report USING (report_id)"
    ).fetchall()
    db.close()
    ((recipient, subject, text),) = rows
    assert recipient == "admin@site.invalid"
    assert subject.endswith("steps restarted many times")
    assert "steps: 3 times" in text
