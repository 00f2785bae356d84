"""The audit: every look and decision is in it, and a row that was altered or cut off is found."""

import io
import json
import re
import socket
import ssl
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.clock import now
from node.errors import InputError
from node.operate.audit import verify
from node.operate.backup import back_up
from node.outgoing import queue
from node.outgoing.audit import AUDIT
from node.outgoing.audit_message import audit_message, syslog_frame
from node.outgoing.delivery import send_due
from node.people.users import add_user
from node.settings import Audit, Backup, ClientTls, Settings, Storage, Syslog
from node.store.audit import newest_seal, note, note_settings
from node.store.database import DATABASE_NAME, open_database
from tests.certificates import Certificates
from tests.commands import call
from tests.ports import free_port

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with closing(open_database(tmp_path / "data", create=True)) as db:
        for number in range(1, 6):
            note(db, name="Roe", address="10.1.2.3", action="series opened", subject=f"s{number}", at=AT)
    return Settings(storage=Storage(folder=tmp_path / "data"), backup=Backup(folder=tmp_path / "b"))


@pytest.fixture
def config(tmp_path: Path, settings: Settings) -> Path:
    path = tmp_path / "node.toml"
    backup = f"[backup]\nfolder = '{settings.backup.folder}'\n"
    path.write_text(f"[storage]\nfolder = 'data'\n{backup}[logging]\nlevel = 'error'\n")
    return path


def tamper(settings: Settings, sql: str) -> None:
    """As somebody with the right to write the file would: the guards are no hindrance."""
    with closing(sqlite3.connect(settings.storage.folder / DATABASE_NAME, isolation_level=None)) as db:
        for action in ("update", "delete"):
            db.execute(f"DROP TRIGGER record_audit_no_{action}")
        db.execute(sql)


def opened(settings: Settings) -> Database:
    return open_database(settings.storage.folder, create=True)


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("UPDATE record_audit SET name = 'Doe' WHERE audit_id = 2", "row 2 is not as it was written"),
        ("UPDATE record_audit SET at = '2026-03-02T08:00:00.000000+00:00' WHERE audit_id = 5", "row 5 is not"),
        ("DELETE FROM record_audit WHERE audit_id = 3", "row 4 is not as it was written"),
        ("DELETE FROM record_audit WHERE audit_id = 1", "row 2 is not"),
        ("DELETE FROM record_audit WHERE audit_id >= 4", "ended (the 5th) is gone"),
        ("DELETE FROM record_audit", "ended (the 5th) is gone"),
    ],
    ids=["altered", "altered time", "cut in the middle", "cut at the start", "cut at the end", "all cut"],
)
def test_what_was_altered_or_cut_off_is_found(settings: Settings, sql: str, fault: str) -> None:
    place = settings.backup.folder
    assert place is not None
    with closing(opened(settings)) as db:
        back_up(db, settings, place)
        assert verify(db, [place]).faults == ()
    tamper(settings, sql)
    with closing(opened(settings)) as db:
        assert fault in verify(db, [place]).faults[0]


def test_a_seal_that_a_mail_has_kept_shows_that_rows_were_cut_off(settings: Settings) -> None:
    with closing(opened(settings)) as db:
        rows, sha256 = newest_seal(db)
        assert verify(db, [], seals=[f"{rows}:{sha256}"]).faults == ()
        with pytest.raises(InputError, match="is no seal"):
            verify(db, [], seals=["seal"])
    tamper(settings, "DELETE FROM record_audit WHERE audit_id = 5")
    with closing(opened(settings)) as db:
        assert verify(db, []).faults == ()
        assert verify(db, [], seals=[f"{rows}:{sha256}"]).faults == (
            "row 5 is not that of the seal: it is gone or altered",
        )


def test_the_command_says_it_by_its_exit_code(
    settings: Settings, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "audit", "verify", "--config", config) == 0
    assert "5 rows are as they were written; compared with no backup" in capsys.readouterr().out
    tamper(settings, "UPDATE record_audit SET subject = 's9' WHERE audit_id = 2")
    opened(settings).close()
    assert call(monkeypatch, "audit", "verify", "--json", "--config", config) == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault == "row 2 is not as it was written, or the one before it is gone"
    assert call(monkeypatch, "doctor", "--config", config) == 1
    assert "WRONG audit: row 2" in capsys.readouterr().out


def test_what_people_do_and_look_at_by_commands_is_in_it(
    settings: Settings, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUDO_USER", "mary")
    for command in (["report", "list"], ["reading", "show", "1.2.3"], ["users", "list"], ["status"], ["audit", "list"]):
        call(monkeypatch, *command, "--config", config)
    capsys.readouterr()
    assert call(monkeypatch, "audit", "list", "--name", "mary", "--json", "--config", config) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["action"] for row in rows] == ["report list", "reading show", "users list", "audit list", "audit list"]
    assert {row["address"] for row in rows} == {"command line"}
    assert re.fullmatch("[0-9a-f]{12}", rows[1]["subject"])
    with closing(opened(settings)) as db:
        assert verify(db, []).faults == ()


def test_a_name_that_was_typed_and_is_no_account_is_not_in_it(
    settings: Settings, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be a patient's, or the password itself."""
    with closing(opened(settings)) as db:
        add_user(db, "mary", roles=["reader"], password="a long enough password", now=now())
    for name in ("Doe^Jane 1234", "mary"):
        for command in (["disable"], ["password", "--password-stdin"]):
            monkeypatch.setattr(sys, "stdin", io.StringIO("another long password\n"))
            assert call(monkeypatch, "users", command[0], name, *command[1:], "--config", config) == (name != "mary")
    assert "there is no account 'Doe^Jane 1234'" in capsys.readouterr().err
    with closing(opened(settings)) as db:
        noted = db.execute("SELECT action, subject FROM record_audit WHERE action LIKE 'users %'").fetchall()
    assert noted == [("users disable", "mary"), ("users password", "mary")]


def test_other_settings_are_noted_once(settings: Settings) -> None:
    with closing(opened(settings)) as db:
        for digest in ("a", "a", "b", "b", "a"):
            note_settings(db, digest, at=AT)
        rows = db.execute("SELECT subject FROM audit WHERE action = 'settings' ORDER BY audit_id").fetchall()
    assert rows == [("a",), ("b",), ("a",)]


ROW = {
    "at": "2026-03-01T08:00:00.000000+00:00", "name": "Rö <b>", "address": "10.1.2.3", "action": "series opened",
    "subject": "ab12",
}  # fmt: skip


def test_a_row_is_a_dicom_audit_message() -> None:
    message = ElementTree.fromstring(audit_message(ROW, site="Site"))
    assert [one.tag for one in message] == [
        "EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification",
    ]  # fmt: skip
    event, who, source, about = message
    assert event.attrib == {"EventActionCode": "R", "EventDateTime": ROW["at"], "EventOutcomeIndicator": "0"}
    # PS3.16, CID 400: 110103 is DICOM Instances Accessed, 110114 User Authentication; CID 401: 110122 Login.
    assert event[0].attrib == {
        "csd-code": "110103", "codeSystemName": "DCM", "originalText": "DICOM Instances Accessed",
    }  # fmt: skip
    assert who.attrib == {
        "UserID": "Rö <b>", "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.1.2.3", "NetworkAccessPointTypeCode": "2",
    }  # fmt: skip
    assert source.attrib == {"AuditSourceID": "vbq-node", "AuditEnterpriseSiteID": "Site"}
    assert about.attrib["ParticipantObjectID"] == "ab12"
    refused = ElementTree.fromstring(
        audit_message({**ROW, "action": "refused: log-in", "subject": "", "address": "command line"}, site="Site")
    )
    assert refused[0].attrib["EventOutcomeIndicator"] == "4"
    assert [one.attrib["csd-code"] for one in refused[0][:2]] == ["110114", "110122"]
    assert "NetworkAccessPointID" not in refused[1].attrib
    assert len(refused) == 3


def test_it_is_framed_as_rfc_5424_and_5425_say() -> None:
    frame = syslog_frame(ROW, site="Site", host="node", process=7)
    length, _, content = frame.partition(b" ")
    assert int(length) == len(content)
    # <priority>version timestamp host app process msgid structured-data BOM text; 10 · 8 + 5 = 85.
    assert content.startswith(
        b"<85>1 2026-03-01T08:00:00.000000+00:00 node vbq-node 7 DICOM+RFC3881 - \xef\xbb\xbf<?xml"
    )


def test_rows_go_to_a_syslog_server_over_tls_and_wait_for_it_while_it_is_away(
    settings: Settings, certificates: Certificates, tmp_path: Path
) -> None:
    port = free_port()
    server = Syslog(host="127.0.0.1", port=port, tls=ClientTls(ca=certificates.folder / "ca.pem"))
    settings = settings.model_copy(update={"audit": Audit(syslog=server)})
    stop = threading.Event()
    with closing(opened(settings)) as db:
        queue.register(db, AUDIT, settings)
        note(db, name="Roe", address="10.1.2.3", action="patient opened", subject="P1", at=AT)
        send_due(AUDIT, db, settings, "127.0.0.1", stop, clock=lambda: AT)
        assert db.execute("SELECT kind, status FROM state_outgoing").fetchall() == [("audit", "waiting")]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.folder / "node.pem", certificates.folder / "node.key")
        heard: list[bytes] = []
        with socket.create_server(("127.0.0.1", port)) as listener:
            hearing = threading.Thread(target=_hear, args=[listener, context, heard])
            hearing.start()
            send_due(AUDIT, db, settings, "127.0.0.1", stop, clock=lambda: AT.replace(hour=9))
            hearing.join(10)
        assert db.execute("SELECT kind, status FROM state_outgoing").fetchall() == []
    (frame,) = heard
    assert b"patient opened" in frame
    assert b'ParticipantObjectID="P1"' in frame


def _hear(listener: socket.socket, context: ssl.SSLContext, heard: list[bytes]) -> None:
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True) as connection:
        content = b""
        while piece := connection.recv(65536):
            content += piece
        heard.append(content)
