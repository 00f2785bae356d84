"""The outbox against a real SMTP server that accepts, refuses for now, refuses for good, hangs, or is not there."""

import email
import email.policy
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from sqlite_utils import Database

from node.nightly.night import run_night
from node.outgoing.mail import DeliveryOutcome, deliver
from node.settings import Mail, Settings
from tests.node.night_world import NIGHT, NOW, RECIPIENTS, open_world, settings_for
from tests.ports import free_ports


class Server:
    """Answers the end of DATA with what is set; keeps what it accepted."""

    def __init__(self) -> None:
        self.answer = "250 accepted"
        self.refuse: dict[str, str] = {}
        self.mails: list[bytes] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802  # aiosmtpd's name
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        if self.answer.startswith("250"):
            self.mails.append(envelope.content)
        return self.answer


@pytest.fixture
def server() -> Iterator[tuple[Server, int]]:
    handler = Server()
    (port,) = free_ports(1)
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    yield handler, port
    controller.stop()


@pytest.fixture
def world(
    tmp_path: Path, server: tuple[Server, int], request: pytest.FixtureRequest
) -> Iterator[tuple[Database, Settings, Server]]:
    """A night's mails waiting, and a server for them; few rows, so no figures, unless the test asks for more."""
    handler, port = server
    settings = settings_for(tmp_path, mail=Mail(port=port, recipients=RECIPIENTS, timeout_s=5))
    db = open_world(tmp_path, rows=getattr(request, "param", 5))
    run_night(db, settings, night=NIGHT, now=NOW)
    yield db, settings, handler
    db.close()


def states(db: Database) -> list[tuple[object, ...]]:
    return db.execute("SELECT status, attempts FROM state_outgoing ORDER BY item_id").fetchall()


World = tuple[Database, Settings, Server]


@pytest.mark.parametrize("world", [120], indirect=True)
def test_mails_arrive_as_they_were_stored_and_once(world: World) -> None:
    db, settings, server = world
    assert deliver(db, settings, now=NOW) == DeliveryOutcome(sent=2, postponed=0, dead=0)
    assert deliver(db, settings, now=NOW + timedelta(days=1)) == DeliveryOutcome(sent=0, postponed=0, dead=0)
    stored = [mime for (mime,) in db.execute("SELECT mime FROM record_mail ORDER BY mail_id")]
    assert [mail.rstrip() for mail in server.mails] == [mime.rstrip() for mime in stored]
    parsed = email.message_from_bytes(server.mails[0], policy=email.policy.default)
    assert not parsed.defects
    assert db.execute("SELECT mails, mails_sent FROM reports").fetchone() == (2, 2)


def test_a_4xx_is_tried_again_later_and_later(world: World) -> None:
    db, settings, server = world
    server.answer = "451 try again later"
    now, pauses = NOW, []
    for _ in range(6):
        assert deliver(db, settings, now=now).postponed == 2
        assert deliver(db, settings, now=now).postponed == 0, "not before its time"
        (soonest,) = db.execute("SELECT max(next_attempt_at) FROM state_outgoing").fetchone()
        later = now.fromisoformat(soonest)
        pauses.append((later - now).total_seconds() / 60)
        now = later
    for minutes, pause in zip((1, 2, 4, 8, 16, 32), pauses, strict=True):
        assert minutes <= pause <= minutes * 1.2
    server.answer = "250 accepted"
    assert deliver(db, settings, now=now).sent == 2


def test_after_a_day_it_is_given_up_and_a_person_is_told(world: World) -> None:
    db, settings, server = world
    server.answer = "451 try again later"
    deliver(db, settings, now=NOW)
    assert deliver(db, settings, now=NOW + timedelta(hours=24)).dead == 2
    problems = db.execute("SELECT step, code, detail FROM problems WHERE step = 'mail'").fetchall()
    assert len(problems) == 2
    assert "given up" in problems[0][2]
    assert "451" in problems[0][2]


def test_a_5xx_is_dead_at_once_and_costs_the_others_nothing(world: World) -> None:
    db, settings, server = world
    server.refuse = {RECIPIENTS[0]: "550 no such mailbox"}
    assert deliver(db, settings, now=NOW) == DeliveryOutcome(sent=1, postponed=0, dead=1)
    assert states(db) == [("dead", 1), ("done", 1)]
    (detail,) = db.execute("SELECT detail FROM problems WHERE step = 'mail'").fetchone()
    assert "550 no such mailbox" in detail


def test_a_mail_on_which_the_software_fails_costs_the_others_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, settings, _ = world
    send = smtplib.SMTP.sendmail

    def broken(server: smtplib.SMTP, sender: str, recipients: list[str], *given: Any) -> Any:
        if RECIPIENTS[0] in recipients:
            raise Exception("x")  # noqa: TRY002  # whatever it is
        return send(server, sender, recipients, *given)

    monkeypatch.setattr(smtplib.SMTP, "sendmail", broken)
    assert deliver(db, settings, now=NOW) == DeliveryOutcome(sent=1, postponed=1, dead=0)
    assert states(db) == [("waiting", 1), ("done", 1)]


@pytest.mark.parametrize("answer", ["554 transaction failed", "421 closing"])
def test_a_verdict_after_data_counts_as_well(world: World, answer: str) -> None:
    db, settings, server = world
    server.answer = answer
    outcome = deliver(db, settings, now=NOW)
    assert (outcome.dead, outcome.postponed) == ((2, 0) if answer.startswith("5") else (0, 2))


def test_no_server_and_a_silent_server_put_it_off(
    world: World, silent_port: int, make: Callable[[Settings, int], Settings]
) -> None:
    db, settings, _ = world
    (closed,) = free_ports(1)
    assert deliver(db, make(settings, closed), now=NOW).postponed == 2
    assert deliver(db, make(settings, silent_port), now=NOW + timedelta(hours=1)).postponed == 2
    assert states(db) == [("waiting", 2)] * 2


@pytest.fixture
def make() -> Callable[[Settings, int], Settings]:
    def other_port(settings: Settings, port: int) -> Settings:
        return settings.model_copy(update={"mail": settings.mail.model_copy(update={"port": port, "timeout_s": 0.3})})

    return other_port


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one


@pytest.fixture
def silent_port(silent: socket.socket) -> int:
    return int(silent.getsockname()[1])


def test_a_claimed_mail_is_left_to_its_claimant_until_the_lease_runs_out(world: World) -> None:
    db, settings, server = world
    with db.conn:
        db.execute("UPDATE state_outgoing SET leased_until = '2026-03-02T03:20:00.000000+00:00'")
    assert deliver(db, settings, now=NOW).sent == 0
    assert deliver(db, settings, now=NOW + timedelta(minutes=11)).sent == 2
    assert len(server.mails) == 2


def test_a_dead_mail_is_told_to_the_administrator_once_a_day(world: World) -> None:
    db, settings, server = world
    settings = settings.model_copy(
        update={"mail": settings.mail.model_copy(update={"administrator": "admin@site.invalid"})}
    )
    server.refuse = dict.fromkeys(RECIPIENTS, "550 no such mailbox")
    # The notice is queued while the mails are delivered, and is due at once.
    assert deliver(db, settings, now=NOW) == DeliveryOutcome(sent=1, postponed=0, dead=2)
    (notice,) = server.mails
    parsed = email.message_from_bytes(notice, policy=email.policy.default)
    assert parsed["To"] == "admin@site.invalid"
    assert parsed["Subject"] == "VBQ site 2026-03-02: mail could not be delivered"
    kinds = db.execute("SELECT kind FROM reports ORDER BY report_id").fetchall()
    assert kinds == [("nightly",), ("undeliverable",)]


def test_a_notice_that_cannot_be_delivered_makes_no_further_one(world: World) -> None:
    db, settings, server = world
    settings = settings.model_copy(
        update={"mail": settings.mail.model_copy(update={"administrator": "admin@site.invalid"})}
    )
    server.answer = "554 no"
    assert deliver(db, settings, now=NOW) == DeliveryOutcome(sent=0, postponed=0, dead=3)
    assert deliver(db, settings, now=NOW + timedelta(days=1)) == DeliveryOutcome(sent=0, postponed=0, dead=0)


def test_a_server_that_is_down_is_asked_once_a_round(world: World, silent: socket.socket, silent_port: int) -> None:
    db, settings, _ = world
    settings = other_server(settings, silent_port, timeout_s=0.3)
    assert deliver(db, settings, now=NOW).postponed == 2
    silent.setblocking(False)
    silent.accept()[0].close()
    with pytest.raises(BlockingIOError):
        silent.accept()


def test_the_last_attempt_is_a_day_after_the_first(world: World) -> None:
    db, settings, server = world
    server.answer = "451 try again later"
    now, attempts = NOW, 0
    while deliver(db, settings, now=now).postponed:
        attempts += 1
        (text,) = db.execute("SELECT max(next_attempt_at) FROM state_outgoing").fetchone()
        pause = datetime.fromisoformat(text) - now
        assert timedelta(minutes=1) <= pause <= timedelta(hours=4)
        now += pause
    assert now - NOW == timedelta(hours=24)
    assert attempts >= 10
    assert [status for status, _ in states(db)] == ["dead", "dead"]


class Rude(Server):
    """Accepts a mail and hangs up instead of saying goodbye."""

    async def handle_QUIT(self, server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        server.transport.abort()
        return "421 no"


def test_a_mail_that_was_taken_is_not_sent_again_for_a_rude_farewell(tmp_path: Path) -> None:
    handler = Rude()
    (port,) = free_ports(1)
    controller = Controller(handler, hostname="127.0.0.1", port=port)
    controller.start()
    settings = settings_for(tmp_path, mail=Mail(port=port, recipients=RECIPIENTS, timeout_s=5))
    db = open_world(tmp_path, rows=5)
    try:
        run_night(db, settings, night=NIGHT, now=NOW)
        assert deliver(db, settings, now=NOW).sent == 2
    finally:
        controller.stop()
        db.close()
    assert len(handler.mails) == 2


# ---- encryption and login ------------------------------------------------------------------------------------------
def other_server(settings: Settings, port: int, **mail: Any) -> Settings:
    return settings.model_copy(update={"mail": settings.mail.model_copy(update={"port": port, **mail})})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed but itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("tls")
    crt, key = folder / "crt.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-out", crt, "-keyout", key], check=True, capture_output=True)
    return crt, key


def accept_login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"node", b"s3cret"), handled=False)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mails_are_encrypted_for_a_verified_server_only(
    security: str, tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    crt, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    handler = Server()
    (port,) = free_ports(1)
    controller: Controller
    if security == "tls":
        controller = Controller(
            handler, hostname="127.0.0.1", port=port, ssl_context=context, authenticator=accept_login,
            auth_require_tls=False,
        )  # fmt: skip
    else:
        controller = Controller(
            handler, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True,
            authenticator=accept_login,
        )  # fmt: skip
    # The controller's own probe at start must trust the certificate as well.
    monkeypatch.setenv("SSL_CERT_FILE", str(crt))
    controller.start()
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("s3cret\n")
    mail = Mail(
        port=port, security=security, user="node", password_file=password, recipients=RECIPIENTS[:1], timeout_s=5,
    )  # fmt: skip
    settings = settings_for(tmp_path, mail=mail)
    db = open_world(tmp_path, rows=5)
    try:
        run_night(db, settings, night=NIGHT, now=NOW)
        monkeypatch.delenv("SSL_CERT_FILE")
        assert deliver(db, settings, now=NOW).postponed == 1
        (error,) = db.execute("SELECT last_error FROM state_outgoing").fetchone()
        assert "CERTIFICATE_VERIFY_FAILED" in error
        assert handler.mails == []
        monkeypatch.setenv("SSL_CERT_FILE", str(crt))
        password.write_text("wrong\n")
        assert deliver(db, settings, now=NOW + timedelta(hours=1)).postponed == 1, "a wrong password can be mended"
        (error,) = db.execute("SELECT last_error FROM state_outgoing").fetchone()
        assert "535" in error
        password.unlink()
        assert deliver(db, settings, now=NOW + timedelta(hours=2)).postponed == 1
        password.write_text("s3cret\n")
        assert deliver(db, settings, now=NOW + timedelta(hours=3)).sent == 1
    finally:
        controller.stop()
        db.close()
    assert len(handler.mails) == 1


def test_a_server_without_encryption_gets_nothing_when_it_is_asked_for(world: World) -> None:
    db, settings, server = world
    assert deliver(db, other_server(settings, settings.mail.port, security="starttls"), now=NOW).postponed == 2
    assert server.mails == []
