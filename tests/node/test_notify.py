"""What systemd is told: readiness that is true, a heartbeat that stops when the work does, and a mail at the end."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from node.errors import UnreachableError
from node.outgoing.mail import tell_administrator_now
from node.run import notify
from node.settings import Mail, Settings
from tests.acceptance.harness import vbq_node
from tests.ports import free_port


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket at which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        yield listening


def heard(listening: socket.socket) -> str:
    return listening.recv(100).decode()


def test_a_role_is_ready_when_its_port_is_open_beats_and_says_that_it_stops(
    tmp_path: Path, systemd: socket.socket
) -> None:
    port = free_port()
    config = tmp_path / "node.toml"
    config.write_text(f"[storage]\nfolder = 'data'\n[hl7]\nport = {port}\n[logging]\nlevel = 'error'\n")
    role = subprocess.Popen([sys.executable, "-m", "node", "hl7", "--config", str(config)])
    try:
        said = heard(systemd)
        while said == notify.ALIVE:
            said = heard(systemd)
        assert said == notify.READY
        socket.create_connection(("127.0.0.1", port)).close()
        assert [heard(systemd) for _ in range(3)] == [notify.ALIVE] * 3
        role.send_signal(signal.SIGTERM)
        while said != notify.STOPPING:
            said = heard(systemd)
        assert role.wait(30) == 0
    finally:
        role.kill()


def test_only_the_main_thread_beats_and_not_while_it_hangs(systemd: socket.socket) -> None:
    systemd.settimeout(0.05)
    event = notify.BeatingEvent()
    other = threading.Thread(target=lambda: [event.is_set() for _ in range(3)])
    other.start()
    other.join()
    with pytest.raises(TimeoutError):
        heard(systemd)
    assert not event.is_set()
    assert heard(systemd) == notify.ALIVE
    # A quarter of a second has not passed: one heartbeat is enough.
    event.is_set()
    with pytest.raises(TimeoutError):
        heard(systemd)


def test_nothing_is_told_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.tell(notify.READY)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify.tell(notify.READY)
    assert not notify.BeatingEvent().wait(0)


def test_an_abstract_socket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"vbq-node-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        notify.tell(notify.READY)
        assert heard(listening) == notify.READY


class _Mailbox:
    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802  # aiosmtpd calls it so
        self.mails.append(envelope.content)
        return "250 OK"


def test_a_service_that_is_given_up_for_a_wrong_setting_is_told_of_with_that_setting(tmp_path: Path) -> None:
    mailbox = _Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    config = tmp_path / "node.toml"
    config.write_text(f"[dicom]\nprot = 1\n[mail]\nport = {server.port}\nadministrator = 'it@site.invalid'\n")
    try:
        vbq_node("service-failed", "vbq-node-dicom.service", "--config", str(config))
    finally:
        server.stop()
    (mail,) = mailbox.mails
    assert b"vbq-node-dicom.service has failed" in mail
    assert b"dicom.prot is not a setting" in mail


def test_the_administrator_is_told_without_the_database() -> None:
    mailbox = _Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        settings = Settings(mail=Mail(port=server.port, administrator="it@site.invalid"))
        assert tell_administrator_now(settings, subject="dicom has failed", text="look")
    finally:
        server.stop()
    (mail,) = mailbox.mails
    assert b"Subject: dicom has failed" in mail
    assert b"To: it@site.invalid" in mail
    assert not tell_administrator_now(Settings(), subject="x", text="x")
    with pytest.raises(UnreachableError):
        tell_administrator_now(settings, subject="x", text="x")
