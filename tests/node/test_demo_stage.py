"""The demo's stage: its folder, its settings, its picture; and what it shows when a query has no rows."""

import io
import os
import socket
import stat
from pathlib import Path

import pytest
from rich.console import Console
from sqlite_utils import Database

from node.demo import show
from node.demo.hospital import CAST
from node.demo.show import Ending, show_queries
from node.demo.stage import PORTS, DemoError, NodeProcess, empty_folder, free_ports, picture_of, write_settings
from node.errors import InputError
from node.settings import load_settings
from node.store.presence import supervisor_runs


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty; give the demo a new one"):
        empty_folder(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_settings_are_those_of_a_node_on_loopback_with_ports_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / 'with "quotes" and ümlaut'
    folder.mkdir()
    settings = load_settings(write_settings(folder, mail_port=2525, time_zone="Europe/Vienna", quiet_s=2.0))
    assert settings.storage.folder == folder / "data"
    assert (settings.mail.host, settings.mail.port) == ("127.0.0.1", 2525)
    assert settings.mail.recipients == ("surgeons@demo.invalid",)
    assert settings.dicom.quiet_s == 2.0
    ports = {settings.dicom.port, settings.hl7.port, settings.metrics.port}
    assert len(ports) == 3
    assert {settings.dicom.host, settings.hl7.host, settings.metrics.host} == {"127.0.0.1"}


def test_a_node_that_cannot_start_is_said_so_and_is_not_left_behind(tmp_path: Path) -> None:
    """A port is taken by somebody who does not even listen, so only the node can tell.

    Each of the ports: tests/acceptance/test_refusals.py.
    """
    config = write_settings(tmp_path, mail_port=2525, time_zone="UTC", quiet_s=2.0)
    node = NodeProcess(config)
    port = node.settings.web.port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        with pytest.raises(DemoError, match="did not come up"):
            node.start()
    assert str(port) in node.log.read_text()
    assert not supervisor_runs(node.settings.storage.folder)


def test_ports_are_free_and_no_outgoing_connection_takes_them() -> None:
    """Linux gives outgoing connections ports from `ip_local_port_range` (ip(7))."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = free_ports(40)
    assert len(set(ports)) == 40
    assert 1024 <= min(ports) <= max(ports) < first
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports[0]))
        assert ports[0] not in free_ports(len(PORTS) - 1_000)


def browser(folder: Path, script: str) -> None:
    file = folder / "chromium"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_the_browser_on_the_path_draws_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in browser writes its last argument where the real one writes the picture."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    browser(
        bin_folder,
        'for one in "$@"; do case "$one" in --screenshot=*) out="${one#--screenshot=}";; esac; page="$one"; done\n'
        'echo "$page" > "$out"',
    )
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    page = tmp_path / "a page.html"
    page.write_text("<p>")
    assert picture_of(page, tmp_path / "page.png") == tmp_path / "page.png"
    assert (tmp_path / "page.png").read_text().strip() == f"file://{tmp_path}/a%20page.html"


@pytest.mark.parametrize("script", [None, "exit 1", "exit 0"], ids=["no browser", "it fails", "it draws nothing"])
def test_without_a_picture_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    if script:
        browser(bin_folder, script)
    monkeypatch.setenv("PATH", str(bin_folder))
    page = tmp_path / "page.html"
    page.write_text("<p>")
    assert picture_of(page, tmp_path / "page.png") is None


def test_an_ending_is_as_meant_only_with_its_status_and_its_tier() -> None:
    flagged = next(part for part in CAST if part.key == "P01")
    cancelled = next(part for part in CAST if part.key == "P08")

    def ending(part, status, tier):
        return Ending(part=part, patient="P", status=status, tier=tier, why=())

    assert ending(flagged, "linked", "flagged").as_meant
    assert not ending(flagged, "linked", "intermediate").as_meant
    assert not ending(flagged, "linked", None).as_meant
    assert ending(cancelled, "cancelled", None).as_meant
    assert not ending(cancelled, "cancelled", "flagged").as_meant


def test_results_are_shown_whole_and_a_query_without_rows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "a reason " * 30
    db = Database(memory=True)
    db["problems"].insert({"step": "link", "detail": words, "count": None})
    monkeypatch.setattr(
        show, "QUERIES", {"All": "SELECT * FROM problems", "None": "SELECT * FROM problems WHERE step = 'x'"}
    )
    written = io.StringIO()
    show_queries(Console(file=written, width=80), db)
    db.close()
    lines = written.getvalue().split("\n")
    assert lines[1:6] == [
        "-- All",
        "SELECT * FROM problems;",
        f"step  detail{' ' * 264}  count",
        f"----  {'-' * 270}  -----",
        f"link  {words.rstrip()}",
    ]
    assert lines[7:9] == ["-- None", "SELECT * FROM problems WHERE step = 'x';"]
