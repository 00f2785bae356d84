"""Storage Commitment against pynetdicom as the sender that asks, over real sockets and from real files."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import StorageCommitmentPushModel

from node.clock import now
from node.outgoing.commitment import COMMITMENT, GIVE_UP_AFTER
from node.outgoing.delivery import send_due
from node.settings import Settings
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import mr_image, receive, receiver, settings_for, stack
from tests.node.receiver_world import rows
from tests.ports import free_port

INSTANCE = "1.2.840.10008.1.20.1.1"
NEVER = threading.Event()
TRANSACTION = "1.2.826.0.1.3680043.8.498.77"


@dataclass
class Answers:
    """What arrived as N-EVENT-REPORT: event type, committed and failed instances."""

    status: int = 0x0000
    said: list[tuple[int, str, list[str], dict[str, int]]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    confirmed: threading.Event = field(default_factory=threading.Event)
    """The first that is sent after it is its confirmation."""

    def handle(self, event: Event) -> tuple[int, None]:
        information = event.event_information
        self.said.append(
            (
                event.event_type,
                information.TransactionUID,
                [item.ReferencedSOPInstanceUID for item in information.get("ReferencedSOPSequence", [])],
                {
                    item.ReferencedSOPInstanceUID: item.FailureReason
                    for item in information.get("FailedSOPSequence", [])
                },
            )
        )
        self.came.set()
        return self.status, None

    def note(self, event: Event) -> None:
        if self.said and isinstance(event.pdu, P_DATA_TF):
            self.confirmed.set()

    @contextmanager
    def listening(self, port: int, *, title: str = "SENDER") -> Iterator[None]:
        """A node that takes answers over new associations."""
        entity = AE(ae_title=title)
        entity.require_called_aet = True
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.handle)]
        )
        try:
            yield
        finally:
            server.shutdown()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a node that knows where the sender takes answers."""
    sender = {
        "ae_titles": ["SENDER"],
        "addresses": ["127.0.0.1"],
        "commitment": {"ae_title": "SENDER", "host": "127.0.0.1", "port": free_port()},
    }
    return settings_for(tmp_path / "data", peers={"sender": sender})


def port_of(settings: Settings) -> int:
    address = settings.dicom.peers["sender"].commitment
    assert address is not None
    return address.port


@contextmanager
def asking(settings: Settings, answers: Answers, *, syntax: str = ExplicitVRLittleEndian) -> Iterator[Association]:
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(StorageCommitmentPushModel, syntax)
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    one = entity.associate(
        "127.0.0.1",
        settings.dicom.port,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, answers.handle), (evt.EVT_PDU_SENT, answers.note)],
    )
    assert one.is_established
    try:
        yield one
    finally:
        # pynetdicom confirms an answer in a thread of its own, and fails where that meets its own release.
        assert not answers.said or answers.confirmed.wait(20)
        if one.is_established:
            one.release()


def ask(sender: Association, named: Sequence[tuple[str, str]], *, action: int = 1) -> int:
    request = Dataset()
    request.TransactionUID = TRANSACTION
    request.ReferencedSOPSequence = []
    for sop_class_uid, sop_instance_uid in named:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        request.ReferencedSOPSequence.append(item)
    status, _ = sender.send_n_action(request, action, StorageCommitmentPushModel, INSTANCE)
    return int(status.Status)


def names(images: Sequence[Dataset]) -> list[tuple[str, str]]:
    return [(str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in images]


def pending(settings: Settings) -> list[tuple[object, ...]]:
    return rows(
        settings,
        "SELECT request_id FROM fact_commitment_request WHERE request_id NOT IN "
        "(SELECT request_id FROM record_commitment)",
    )


def answer(settings: Settings, *, at: datetime | None = None) -> int:
    """A round of the outgoing role, a minute from now unless another time is given."""
    db = open_database(settings.storage.folder)
    try:
        with time_machine.travel(at or now() + timedelta(minutes=1), tick=False):
            return send_due(COMMITMENT, db, settings, "", NEVER).done
    finally:
        db.close()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_who_keeps_the_association_open_is_answered_on_it(settings: Settings, answers: Answers, syntax: str):
    images = stack(3)
    with receiver(settings), asking(settings, answers, syntax=syntax) as sender:
        assert [sender.send_c_store(image).Status for image in images] == [0, 0, 0]
        assert ask(sender, names(images)) == 0
        assert answers.came.wait(20)
        # The association goes on.
        assert sender.send_c_store(mr_image(seed=99)).Status == 0
    assert answers.said == [(1, TRANSACTION, [str(image.SOPInstanceUID) for image in images], {})]
    assert pending(settings) == []
    assert rows(settings, "SELECT committed, failed FROM record_commitment") == [(3, "[]")]
    assert answer(settings) == 0, "it is not answered twice"


def test_the_answer_is_what_lies_on_the_disk(settings: Settings, answers: Answers):
    kept, changed, cut, gone, other_class = stack(5)
    sha256 = receive(settings.storage.folder, kept, changed, cut, gone, other_class)
    archive = Archive(settings.storage.folder)
    path = archive.path(sha256[1])
    path.chmod(0o640)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    path = archive.path(sha256[2])
    path.chmod(0o640)
    path.write_bytes(path.read_bytes()[:-2])
    archive.path(sha256[3]).unlink()
    asked = [
        *names([kept, changed, cut, gone]),
        (CTImageStorage, str(other_class.SOPInstanceUID)),
        (MRImageStorage, "1.2.3"),
    ]
    with receiver(settings), asking(settings, answers) as sender:
        assert ask(sender, asked) == 0
        assert answers.came.wait(20)
    # PS3.3, C.14.1.1: 0110 processing failure, 0112 no such object instance, 0119 class-instance conflict.
    failed = dict(zip([instance for _, instance in asked[1:]], [0x0110, 0x0110, 0x0110, 0x0119, 0x0112], strict=True))
    assert answers.said == [(2, TRANSACTION, [str(kept.SOPInstanceUID)], failed)]
    assert ("commitment", "not-kept") in rows(settings, "SELECT step, code FROM problems")


def test_who_releases_is_answered_over_a_new_association_also_after_a_restart(settings: Settings, answers: Answers):
    images = stack(2)
    with receiver(settings), asking(settings, answers) as sender:
        assert [sender.send_c_store(image).Status for image in images] == [0, 0]
        assert ask(sender, names(images)) == 0
    assert answers.said == []
    # The receiver is gone; the request is a fact. Nobody listens at first.
    assert answer(settings) == 0
    assert len(pending(settings)) == 1
    with answers.listening(port_of(settings)):
        assert answer(settings) == 0, "it was tried a moment ago"
        assert answer(settings, at=now() + timedelta(hours=1)) == 1
    assert answers.said == [(1, TRANSACTION, [str(image.SOPInstanceUID) for image in images], {})]
    assert pending(settings) == []
    assert rows(settings, "SELECT * FROM state_outgoing") == []


def test_an_answer_that_is_not_confirmed_is_given_again_and_shown(settings: Settings, answers: Answers):
    answers.status = 0x0110
    with receiver(settings), asking(settings, Answers()) as sender:
        assert ask(sender, [(MRImageStorage, "1.2.3")]) == 0
    began = now()
    with answers.listening(port_of(settings)):
        for hours in (1, 6):
            assert answer(settings, at=began + timedelta(hours=hours)) == 0
    problems = rows(settings, "SELECT source, code, detail FROM problems WHERE step = 'commitment'")
    assert [row[:2] for row in problems] == [("request 1", "undeliverable")]
    assert "status 0x0110" in str(problems[0][2])
    assert "SENDER" in str(problems[0][2])
    assert len(answers.said) == 2
    assert answer(settings, at=began + GIVE_UP_AFTER + timedelta(days=1)) == 0
    assert len(answers.said) == 2


def test_who_has_no_address_is_named_in_problems(tmp_path: Path, answers: Answers):
    settings = settings_for(tmp_path / "data")
    with receiver(settings), asking(settings, answers) as sender:
        assert ask(sender, [(MRImageStorage, "1.2.3")]) == 0
    for hours in (1, 6):
        assert answer(settings, at=now() + timedelta(hours=hours)) == 0
    ((detail,),) = rows(settings, "SELECT detail FROM problems WHERE step = 'commitment'")
    assert "SENDER" in str(detail)
    assert "`commitment` address" in str(detail)


def test_requests_that_make_no_sense_are_refused(settings: Settings, answers: Answers):
    with receiver(settings), asking(settings, answers) as sender:
        assert ask(sender, [(MRImageStorage, "1.2.3")], action=7) == 0x0123
        assert ask(sender, []) == 0x0115
        assert ask(sender, [(MRImageStorage, "1.2.3")]) == 0
        assert answers.came.wait(20)
    assert rows(settings, "SELECT count(*) FROM fact_commitment_request") == [(1,)]


def test_an_answer_in_the_middle_of_sending_waits(settings: Settings, answers: Answers):
    images = stack(6)
    with receiver(settings), asking(settings, answers) as sender:
        assert sender.send_c_store(images[0]).Status == 0
        assert ask(sender, names(images)) == 0
        # The request is answered only once nothing comes any more: by then all six are there.
        assert [sender.send_c_store(image).Status for image in images[1:]] == [0] * 5
        deadline = time.monotonic() + 20
        while not answers.said and time.monotonic() < deadline:
            time.sleep(0.05)
    assert answers.said[0][0] == 1
    assert len(answers.said[0][2]) == 6


RESULT = {
    "result_id": 1, "kind": "sr", "queue": "dicom_result", "destination": "sender", "subject": "1.2", "version": 1,
    "identifier": "1.2.3", "status": "final", "content": "{}", "content_sha256": "", "sha256": "", "size_bytes": 0,
    "algorithm": "vbq-roi 1", "made_at": "2026-03-02T12:00:00.000000+00:00",
}  # fmt: skip


def test_the_answer_to_its_own_question_comes_over_an_association_of_the_pacs(settings: Settings):
    """As provider of the service, which it has to be granted (PS3.7, D.3.3.4); recorded before it is confirmed."""
    db = open_database(settings.storage.folder, create=True)
    db["record_result"].insert(RESULT)
    asked = {"transaction_uid": TRANSACTION, "result_id": 1, "asked_at": RESULT["made_at"]}
    db["state_result_commitment"].insert(asked)
    answer = Dataset()
    answer.TransactionUID = TRANSACTION
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = MRImageStorage, "1.2.3"
    answer.ReferencedSOPSequence = [item]
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(StorageCommitmentPushModel)
    with receiver(settings):
        association = entity.associate("127.0.0.1", settings.dicom.port, ext_neg=[role])
        (context,) = association.accepted_contexts
        assert (context.as_scu, context.as_scp) == (False, True)
        for _ in range(2):
            status, _ = association.send_n_event_report(answer, 1, StorageCommitmentPushModel, INSTANCE)
            assert status.Status == 0x0000
        association.release()
    found = db.execute("SELECT result_id, how, answer FROM record_result_answer").fetchall()
    assert found == [(1, "commitment", "kept")], "once, however often it is told"
    db.close()
