"""The pages without a descriptor left: said in a line, and served again."""

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

from node.store.database import open_database
from tests.ports import free_port
from tests.waiting import eventually

MOST_LINES = 50
"""Of 60 seconds or less; it was 400,000 in four."""


def test_pages_without_a_descriptor_say_so_in_a_line_and_are_served_again(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "node.toml"
    config.write_text(f"[storage]\nfolder = '{tmp_path / 'data'}'\n[web]\nport = {port}\n")
    open_database(tmp_path / "data", create=True).close()

    def answers() -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/login")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["sh", "-c", 'ulimit -n 48; exec "$@"', "sh", sys.executable, "-m", "node", "web", "--config", str(config)],
            stderr=file,
        )
    try:
        assert eventually(answers)
        with ExitStack() as opened:
            for _ in range(100):
                opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            assert eventually(lambda: "out of system resource" in log.read_text())
            time.sleep(2)  # it goes on for as long as they stay
        assert eventually(answers)
        assert log.read_text().count("\n") < MOST_LINES
        assert "Traceback" not in log.read_text()
    finally:
        process.terminate()
        process.wait(30)
