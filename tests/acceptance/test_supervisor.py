"""The supervisor and its roles: deaths before all are up, kills with a backlog, a second node, a lost database."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic

import pytest

from node.run.supervisor import STOP_TIMEOUT_S
from node.store.database import DATABASE_NAME, insert, open_database, writing
from node.store.presence import presences
from tests.acceptance.harness import Node, _descendants, vbq_node
from tests.commands import command
from tests.waiting import eventually

WAIT_S = 90.0
BACKLOG = 40_000


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    one = Node(tmp_path)
    yield one
    if one.running:
        one.kill()


def pids(node: Node, role: str) -> list[int]:
    """The process of a role that a running node has started."""
    assert node._process is not None
    found = []
    for pid in _descendants(node._process.pid):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if role.encode() in command and b"--supervised" in command:
            found.append(pid)
    return found


def fill(node: Node) -> None:
    """Messages enough to keep the steps at work for minutes."""
    db = open_database(node.data, create=True)
    message = "MSH|^~\\&|HIS|H|NODE|V|20260302090000||ADT^A08|{0}|P|2.5\rPID|1||{0}^^^H^MR||Doe^Jane||19600229|F\r"
    with writing(db):
        insert(
            db,
            "fact_frame",
            ({"sha256": f"{number:064x}", "raw": message.format(number).encode()} for number in range(BACKLOG)),
        )
    db.close()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_a_role_that_dies_before_all_are_up_is_started_again_and_a_second_node_is_refused(node: Node) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "node", "run", "--config", str(node.config)], stdout=subprocess.PIPE, text=True
    )
    try:
        killed: set[int] = set()

        def kill_one() -> bool:
            found = [pid for pid in _descendants(process.pid) if b"steps" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            for pid in found:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            return bool(found)

        assert eventually(kill_one, WAIT_S)
        assert process.stdout is not None
        assert "vbq-node is up" in process.stdout.readline()
        assert {one.name for one in presences(node.data) if one.running} == {
            "node", "dicom", "hl7", "steps", "outgoing", "nightly", "web",
        }  # fmt: skip
        second = vbq_node("run", "--config", str(node.config), check=False)
        assert second.returncode == 1
        assert second.stderr.strip().endswith("stop it, or set another storage.folder")
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("streams", ["", "<&- >/dev/full 2>&-"], ids=["unread", "full and closed"])
def test_a_node_whose_words_reach_nobody_goes_on(node: Node, streams: str) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "node", "run", "--config", str(node.config)],
        stdout=writes, stderr=writes,
    )  # fmt: skip
    os.close(writes)
    try:
        assert eventually(lambda: answers(node, "/readyz"), WAIT_S)
        hl7 = next(one for one in _descendants(process.pid) if b"hl7" in Path(f"/proc/{one}/cmdline").read_bytes())
        os.kill(hl7, signal.SIGKILL)  # of which there is much to be said
        assert eventually(lambda: not answers(node, "/readyz"), WAIT_S)
        assert eventually(lambda: answers(node, "/readyz"), WAIT_S)
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(WAIT_S)
    assert process.returncode == 0


def answers(node: Node, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", node.metrics_port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_a_backlog_holds_up_neither_the_end_nor_what_follows_a_kill(node: Node) -> None:
    fill(node)
    node.start(WAIT_S)
    assert eventually(lambda: node.query("SELECT count(*) AS n FROM derived_message")[0]["n"] != 0, WAIT_S)
    assert node._process is not None
    os.kill(node._process.pid, signal.SIGKILL)
    node._process.wait(WAIT_S)
    node._close()
    # At once, while roles of the killed one may still be at work: it waits for them.
    node.start(WAIT_S)
    # Long enough that it was not by the end of the backlog.
    assert int(str(node.query("SELECT count(*) AS n FROM derived_message")[0]["n"])) < BACKLOG
    began = monotonic()
    assert node.stop() == 0
    assert monotonic() - began < STOP_TIMEOUT_S, "nothing had to be killed"
    assert all(is_free(port) for port in (node.dicom_port, node.hl7_port, node.metrics_port))
    assert not any(one.running for one in presences(node.data))
    assert all(not one.failures for one in presences(node.data) if one.name != "node")
    for lock in ("dicom.lock", "steps.lock", "outgoing.lock"):
        with (node.data / lock).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lost_database_beside_images_or_reports_is_never_made_new(node: Node) -> None:
    config = str(node.config)
    command("migrate", "--config", config)
    shelf = node.data / "dicom" / "ab"
    shelf.mkdir(parents=True)
    file = shelf / ("ab" * 32 + ".dcm")
    file.write_bytes(b"")
    lost = node.data / DATABASE_NAME
    for path in node.data.glob(f"{DATABASE_NAME}*"):
        path.rename(path.with_name(f"away-{path.name}"))
    for words in (["run"], ["dicom"], ["hl7"], ["steps"], ["migrate"], ["nightly", "--watch"]):
        done = vbq_node(*words, "--config", config, check=False)
        assert done.returncode == 1, words
        assert "received images" in done.stderr
        assert "vbq-node migrate --new" in done.stderr
        assert not lost.exists()
    lost.write_bytes(b"")  # as of a disk that was full
    assert "received images" in command("migrate", "--config", config, check=False).stderr
    file.unlink()
    (node.data / "reports" / "2026-03-02").mkdir(parents=True)
    (node.data / "reports" / "2026-03-02" / "report.html").write_text("")
    assert "reports" in vbq_node("run", "--config", config, check=False).stderr
    command("migrate", "--new", "--config", config)
    assert node.query("SELECT count(*) AS n FROM fact_object") == [{"n": 0}]


def test_a_damaged_database_is_a_sentence(node: Node) -> None:
    fill(node)
    db = open_database(node.data)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (size,) = db.execute("PRAGMA page_size").fetchone()
    roots = db.execute("SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'fact_frame' AND rootpage > 0").fetchall()
    db.close()
    with (node.data / DATABASE_NAME).open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * size)
            file.write(b"\xff" * size)
    for name in ("status", "nightly"):
        done = command(name, "--config", node.config, check=False)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("vbq-node: the database is damaged: ")
    doctor = command("doctor", "--config", str(node.config), check=False)
    assert doctor.returncode == 1
    assert "WRONG database: " in doctor.stdout
    assert "is damaged (" in doctor.stdout
    assert "Traceback" not in doctor.stderr
