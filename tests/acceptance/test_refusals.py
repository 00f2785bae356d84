"""What an engineer gets wrong: one clear line, an exit code, no traceback."""

import socket
from pathlib import Path

import pytest

from node.store.presence import supervisor_runs
from tests.acceptance.harness import Node, vbq_node
from tests.commands import command


def refused(*arguments: str, code: int) -> str:
    done = (vbq_node if arguments[0] == "run" else command)(*arguments, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("vbq-node: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_an_unknown_setting(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text("[dicom]\nprot = 11112\n")
    assert "dicom.prot is not a setting" in refused("run", "--config", str(config), code=2)


def test_a_missing_settings_file(tmp_path: Path) -> None:
    assert "absent.toml" in refused("status", "--config", str(tmp_path / "absent.toml"), code=2)


def test_an_open_listener_without_an_allow_list(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text("[hl7]\nhost = '0.0.0.0'\n")
    assert "'allow' is empty" in refused("run", "--config", str(config), code=2)


@pytest.mark.parametrize(("name", "listens"), [("dicom", True), ("hl7", True), ("metrics", False), ("web", False)])
def test_a_taken_port(node: Node, name: str, listens: bool) -> None:
    """Also one that is taken by somebody who does not even listen, so only the node can tell."""
    port = getattr(node.settings, name).port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        if listens:
            other.listen()
        line = refused("run", "--config", str(node.config), code=1)
    assert str(port) in line
    if name == "hl7":
        assert f"HL7 port 127.0.0.1:{port} cannot be opened" in line
    assert not supervisor_runs(node.data)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    config = tmp_path / "node.toml"
    config.write_text(f"[storage]\nfolder = '{tmp_path}/file/data'\n")
    assert "file/data" in refused("run", "--config", str(config), code=1)


def test_a_missing_mail_server_breaks_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, "[mail]\nport = 1\nrecipients = ['surgeon@site.invalid']\n")
    command("migrate", "--config", node.config)
    vbq_node("nightly", "--date", "2026-03-02", "--config", str(node.config))
    assert node.query("SELECT status, attempts FROM state_outgoing") == [{"status": "waiting", "attempts": 1}]
    assert node.query("SELECT mails, mails_sent FROM reports") == [{"mails": 1, "mails_sent": 0}]
    sick = command("doctor", "--config", str(node.config), check=False)
    assert sick.returncode == 1
    assert "WRONG mail" in sick.stdout


def test_files_that_are_not_there_or_not_what_they_should_be(node: Node, tmp_path: Path) -> None:
    config = str(node.config)
    assert "absent.csv" in refused("import", str(tmp_path / "absent.csv"), "--config", config, code=1)
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    assert "wrong.csv" in refused("import", str(tmp_path / "wrong.csv"), "--config", config, code=1)
    assert "absent.hl7" in refused("interpret", str(tmp_path / "absent.hl7"), "--config", config, code=1)
    arguments = ["reading", "add", "1.2.3", "--reader", "A", "--config", config, "--rois"]
    assert "absent.json" in refused(*arguments, str(tmp_path / "absent.json"), code=1)
    (tmp_path / "rois.json").write_text('{"slice": 8, "L1": [1, 2, 3]}')
    assert "L2" in refused(*arguments, str(tmp_path / "rois.json"), code=1)
