"""Who is not let in, and what is not taken: counted, within bounds, and shown."""

import json
import socket
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from pydicom.uid import MRImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from node.clock import now
from node.dicom import refusals
from node.dicom.recorder import Recorder
from node.dicom.refusals import REJECTED, Refusals
from node.dicom.refused_contexts import MAX_ROWS_OF_ADDRESS as MAX_ROWS_OF_SENDER
from node.dicom.refused_contexts import ContextCount, RefusedContext, Sender, store_contexts
from node.settings import Settings
from node.store.database import open_database, writing
from node.store.refusals import MAX_ROWS, MAX_ROWS_OF_ADDRESS, Count, Refusal, store_counts
from tests.certificates import Certificates
from tests.commands import command
from tests.node.dicom_samples import dcmtk, receiver, receiver_process, settings_for
from tests.node.raw_sender import RawSender
from tests.node.receiver_world import rows
from tests.node.test_dicom_access import answer, over_tls, tls_port
from tests.node.test_dicom_faults import WITHOUT_DATA_SET
from tests.waiting import eventually

PACS = {"ae_titles": ["PACS", "OTHER"], "addresses": ["127.0.0.1"], "max_associations": 1}
COUNTED = "SELECT calling_ae, called_ae, code, reason, times FROM state_refusal ORDER BY calling_ae, called_ae, reason"
SHOWN = "SELECT source, code FROM problems WHERE step = 'receive' ORDER BY code"
CROWDED = "there are as many associations as the settings allow (max_associations)"
UNKNOWN = "its AE title is not in dicom.peers"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "PAUSE_S", 0.01)


def test_rejections_are_counted_by_peer_and_reason_until_it_is_let_in(tmp_path: Path):
    settings = settings_for(tmp_path / "data", peers={"pacs": PACS}, check_called_ae=True)
    with receiver(settings), ExitStack() as opened:
        for _ in range(3):
            assert answer(settings, "STRANGER") == (1, 1, 3)
        assert answer(settings, "PACS", called="OTHER") == (1, 1, 7)
        entity = AE(ae_title="OTHER")
        entity.add_requested_context(MRImageStorage)
        one = entity.associate("127.0.0.1", settings.dicom.port, ae_title="VBQNODE")
        opened.callback(one.release)
        assert answer(settings, "OTHER") == (2, 3, 2)
        assert eventually(lambda: len(rows(settings, COUNTED)) == 3)
        assert rows(settings, COUNTED) == [
            ("OTHER", "VBQNODE", "too-many", CROWDED, 1),
            ("PACS", "OTHER", "rejected", "it calls for another AE title than dicom.ae_title", 1),
            ("STRANGER", "VBQNODE", "rejected", UNKNOWN, 3),
        ]  # fmt: skip
        one.release()
        assert eventually(lambda: answer(settings, "PACS") is None)
        settled = "SELECT calling_ae FROM state_refusal WHERE settled_at IS NOT NULL"
        assert eventually(lambda: rows(settings, settled) == [("PACS",)])
    (detail,) = rows(settings, "SELECT detail FROM problems WHERE source = 'peer 127.0.0.1' AND code = 'rejected'")
    assert str(detail[0]).startswith(f"{UNKNOWN} (calls itself STRANGER, calls for VBQNODE); 3 times, last at 20")
    assert rows(settings, SHOWN) == [("peer 127.0.0.1", "rejected"), ("peer 127.0.0.1", "too-many")]


def test_what_talks_no_dicom_or_not_over_tls_as_it_should(tmp_path: Path, certificates: Certificates):
    settings = over_tls(tmp_path / "data", certificates, clients=True)
    port = int(tls_port(settings))
    with receiver(settings):
        for _ in range(5):
            # Who only looks whether the port is open is no problem.
            socket.create_connection(("127.0.0.1", port)).close()
            socket.create_connection(("127.0.0.1", settings.dicom.port)).close()
        with RawSender(settings.dicom.port).socket as web:
            web.sendall(b"GET / HTTP/1.1\r\n\r\n")
            web.recv(100)
        dcmtk("echoscu", *certificates.peer("stranger"), "127.0.0.1", str(port), check=False)
        dcmtk("echoscu", "-ta", "5", "127.0.0.1", str(port), check=False)
        assert eventually(lambda: len(rows(settings, COUNTED)) == 3)
    reasons = {reason: code for _, _, code, reason, _ in rows(settings, COUNTED)}
    assert set(reasons.values()) == {"no-association"}
    assert "it does not ask for an association" in reasons
    assert any("its certificate is not accepted" in str(reason) for reason in reasons)
    assert any("handshake failed: wrong version number" in str(reason) for reason in reasons)
    assert rows(settings, SHOWN) == [("peer 127.0.0.1", "no-association")] * 3


def test_an_association_of_which_nothing_is_taken_and_a_request_without_an_object(tmp_path: Path):
    settings = settings_for(tmp_path / "data", processes=2)
    entity = AE(ae_title="CT")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    with receiver_process(settings):
        for _ in range(2):
            entity.associate("127.0.0.1", settings.dicom.port).abort()
        sender = AE(ae_title="SENDER")
        sender.add_requested_context(MRImageStorage)
        one = sender.associate("127.0.0.1", settings.dicom.port)
        one.dul.socket.send(WITHOUT_DATA_SET)
        assert eventually(lambda: sum(int(str(row[4])) for row in rows(settings, COUNTED)) == 3)
        one.abort()
    assert [(row[0], row[2], row[4]) for row in rows(settings, COUNTED)] == [
        ("CT", "nothing-taken", 2),
        ("SENDER", "not-stored", 1),
    ]


def refusal(number: int, address: str = "10.0.0.1") -> Refusal:
    return Refusal(address=address, calling_ae=f"AE\x1b{number}", called_ae="X", code=REJECTED, reason=UNKNOWN)


def noted(folder: Path, *found: Refusal) -> None:
    with Recorder(folder) as recorder, Refusals(recorder) as counting:
        for one in found:
            counting.note(one)


def test_a_scanner_does_not_fill_the_database(settings: Settings):
    noted(settings.storage.folder, *(refusal(number) for number in range(3000)))
    counted = rows(settings, "SELECT peer_address, count(*), sum(times) FROM state_refusal GROUP BY peer_address")
    assert sum(int(str(times)) for _, _, times in counted) == 3000
    assert max(int(str(count)) for _, count, _ in counted) <= MAX_ROWS_OF_ADDRESS + 1
    titles = rows(settings, "SELECT calling_ae FROM state_refusal WHERE calling_ae LIKE 'AE%'")
    assert titles
    assert all(str(title).isprintable() for (title,) in titles)

    for block in range(10):
        noted(settings.storage.folder, *(refusal(1, f"10.1.{block}.{number}") for number in range(150)))
    assert rows(settings, "SELECT count(*) FROM state_refusal") == [(MAX_ROWS,)]
    with time_machine.travel(now() + timedelta(days=31), tick=False):
        noted(settings.storage.folder, refusal(1))
    assert rows(settings, "SELECT peer_address FROM state_refusal") == [("10.0.0.1",)]


def test_a_locked_database_costs_no_count(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("node.store.database.BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr(refusals, "PAUSE_AFTER_FAILURE_S", 0.01)
    open_database(settings.storage.folder, create=True).close()
    other = open_database(settings.storage.folder)
    with Recorder(settings.storage.folder) as recorder, Refusals(recorder) as counting:
        other.conn.execute("BEGIN IMMEDIATE")
        counting.note(refusal(1))
        time.sleep(0.2)
        counting.note(refusal(1))
        other.conn.execute("ROLLBACK")
    other.close()
    assert rows(settings, "SELECT times FROM state_refusal") == [(2,)]


def test_the_command_lists_and_forgets(settings: Settings):
    config = settings.storage.folder.parent / "node.toml"
    config.write_text(f"[storage]\nfolder = '{settings.storage.folder}'\n")
    noted(settings.storage.folder, refusal(1), refusal(1), refusal(2))

    def call(*arguments: str) -> str:
        return command("refusals", *arguments, "--config", config).stdout

    listed = json.loads(call("--json"))
    assert sorted((row["calling_ae"], row["times"], row["settled_at"]) for row in listed) == [
        ("AE?1", 2, None),
        ("AE?2", 1, None),
    ]
    assert "2 refusals" in call("--forget")
    assert json.loads(call("--json")) == []


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "data")


def test_what_is_old_takes_no_place_of_what_is_new(tmp_path: Path):
    sender, at = Sender(address="10.0.0.7", calling_ae="MR"), now()
    db = open_database(tmp_path, create=True)

    def contexts(number: int, moment: datetime) -> dict[RefusedContext, ContextCount]:
        return {
            RefusedContext(
                sender=sender, sop_class_uid=MRImageStorage, transfer_syntax_uid=f"1.2.{one}", needed=True
            ): ContextCount(times=1, aborted=0, first_at=moment, last_at=moment)
            for one in range(number)
        }

    def refused(number: int, moment: datetime) -> dict[Refusal, Count]:
        return {
            Refusal(address="10.0.0.7", calling_ae=f"AE{one}", code="rejected", reason="r"): Count(
                times=1, first_at=moment, last_at=moment
            )
            for one in range(number)
        }

    long_ago = at - timedelta(days=31)
    with writing(db):
        store_contexts(db, contexts(MAX_ROWS_OF_SENDER, long_ago), at=long_ago)
        store_counts(db, refused(MAX_ROWS_OF_ADDRESS, long_ago), at=long_ago)
    (new,) = set(contexts(MAX_ROWS_OF_SENDER + 1, at)) - set(contexts(MAX_ROWS_OF_SENDER, at))
    with writing(db):
        store_contexts(db, {new: ContextCount(times=1, aborted=0, first_at=at, last_at=at)}, at=at)
        count = Count(times=1, first_at=at, last_at=at)
        store_counts(db, {Refusal(address="10.0.0.7", calling_ae="NEW", code="rejected", reason="r"): count}, at=at)
    assert db.execute("SELECT transfer_syntax_uid FROM state_refused_context").fetchall() == [
        (new.transfer_syntax_uid,)
    ]
    assert db.execute("SELECT calling_ae FROM state_refusal").fetchall() == [("NEW",)]
    db.close()
