"""A whole node as a user starts it: a real process group, real ports, a real folder."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

from sqlite_utils import Database

from node.settings import Settings, load_settings
from node.steps.pending import pending
from node.store.database import open_database
from tests.ports import free_ports

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
"""The data for building and testing; they are not part of the project."""


def vbq_node(
    *arguments: str, check: bool = True, cwd: Path | None = None, timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "node", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=cwd,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"vbq-node {arguments[0]} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


class Node:
    """A node in a folder; may be started, killed and started again."""

    def __init__(self, folder: Path, extra: str = "", *, site: str = "", config: Path | None = None) -> None:
        self.folder = folder
        self.config = config or self._write_config(folder, extra, site)
        settings = self.settings
        self.dicom_port, self.hl7_port = settings.dicom.port, settings.hl7.port
        self.metrics_port = settings.metrics.port
        self.data = settings.storage.folder
        self._process: subprocess.Popen[str] | None = None

    @staticmethod
    def _write_config(folder: Path, extra: str, site: str) -> Path:
        dicom, hl7, metrics, web = free_ports(4)
        config = folder / "node.toml"
        config.write_text(
            f"[site]\ntime_zone = 'Europe/Vienna'\n{site}\n"
            f"[storage]\nfolder = '{folder / 'data'}'\nsnapshot_every_s = 1\n"
            f"[dicom]\nport = {dicom}\nquiet_s = 1.0\n[hl7]\nport = {hl7}\n[metrics]\nport = {metrics}\n"
            f"[web]\nport = {web}\n{extra}"
        )
        return config

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    def start(self, timeout_s: float = 60.0) -> None:
        """Start and wait until the node says that it is up."""
        with (self.folder / "node.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "node", "run", "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._process = process
        up = threading.Event()

        def listen() -> None:
            for line in process.stdout or ():
                if "vbq-node is up" in line:
                    up.set()

        threading.Thread(target=listen, daemon=True).start()
        deadline = monotonic() + timeout_s
        while not up.wait(0.05):
            if process.poll() is not None or monotonic() > deadline:
                raise AssertionError(f"the node did not come up:\n{(self.folder / 'node.log').read_text()}")

    def stop(self) -> int:
        """Stop as systemd does; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(30)
        self._close()
        return code

    def kill(self) -> None:
        """kill -9 the supervisor and every role at once, as a power cut would."""
        assert self._process is not None
        for process in [self._process.pid, *_descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait(30)
        self._close()

    def _close(self) -> None:
        assert self._process is not None
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        db = open_database(self.data)
        try:
            yield db
        finally:
            db.close()

    def query(self, sql: str) -> list[dict[str, object]]:
        with self.database() as db:
            return list(db.query(sql))

    def settle(self, timeout_s: float = 60.0) -> None:
        """Wait until nothing is pending."""
        deadline = monotonic() + timeout_s
        with self.database() as db:
            while any(left := pending(db).values()):
                assert monotonic() < deadline, f"still pending: {pending(db)}, {list(left)}"
                sleep(0.1)

    def views(self, *, without: frozenset[str] = frozenset(), as_it_stands: bool = False) -> dict[str, list[str]]:
        """The content of every view, each row as canonical JSON, sorted; ``without`` names columns as view.column.

        ``as_it_stands``: without measurements of earlier states of a study. Which there were depends on when its
        images came.
        """
        kept = {"measurements": " WHERE current = 1"} if as_it_stands else {}
        with self.database() as db:
            return {
                view: sorted(
                    json.dumps({k: v for k, v in row.items() if f"{view}.{k}" not in without}, sort_keys=True)
                    for row in db.query(f"SELECT * FROM {view}{kept.get(view, '')}")
                )
                for view in db.view_names()
            }


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [one for child in children for one in _descendants(int(child))]


def mllp_send(port: int, *messages: bytes) -> list[bytes]:
    """Send messages over one connection, each after the acknowledgement of the one before."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for message in messages:
            connection.sendall(b"\x0b" + message + b"\x1c\r")
            answer = b""
            while not answer.endswith(b"\x1c\r"):
                part = connection.recv(4096)
                assert part, "the listener closed the connection without an acknowledgement"
                answer += part
            answers.append(answer[1:-2])
    return answers


def dcmsend(port: int, *paths: Path) -> None:
    """Send files with DCMTK, as a PACS routes them."""
    subprocess.run(
        ["dcmsend", "--scan-directories", "--recurse", "127.0.0.1", str(port), *map(str, paths)],
        check=True,
        capture_output=True,
        timeout=60,
        env={**os.environ, "TCP_NODELAY": "1"},
    )
