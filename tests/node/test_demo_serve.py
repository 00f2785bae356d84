"""``vbq-node demo --serve``: the node of a demo is left up, its pages open under the passwords that are shown."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.demo.stage import write_settings
from node.settings import load_settings
from node.store.database import open_database
from node.store.presence import supervisor_runs
from tests.node.web_world import Browser

SERVE = """
import sys
from pathlib import Path
from rich.console import Console
from node.demo.serve import serve
serve(Path(sys.argv[1]), Console())
"""


def test_the_pages_are_open_until_it_is_told_to_end(tmp_path: Path) -> None:
    config = write_settings(tmp_path, mail_port=1, time_zone="Europe/Vienna", quiet_s=2.0)
    settings = load_settings(config)
    open_database(settings.storage.folder, create=True).close()
    command = [sys.executable, "-u", "-c", SERVE, str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        try:
            passwords = {}
            for line in serving.stdout:
                if found := re.fullmatch(r"  (\w+) +(\S+)\n", line):
                    passwords[found[1]] = found[2]
                if len(passwords) == 4:
                    break
            else:
                pytest.fail("it ended without a word")
            browser = Browser(settings.web.port)
            assert browser.log_in("surgeon", passwords["surgeon"]).status == 303
            assert "No operation is planned" in browser.get("/patients").text
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(60) == 0
        finally:
            serving.kill()
    assert not supervisor_runs(settings.storage.folder)
