"""Results on their way to a PACS: sent once, the same bytes for ever; kept or not; what comes back starts nothing."""

import hashlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
import time_machine
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from node.apart import do_apart
from node.clock import now
from node.dicom.kept import Kept, record_answer
from node.errors import NodeError
from node.outgoing import results
from node.outgoing.delivery import Tally, send_due
from node.outgoing.kind import Kind
from node.outgoing.queue import register, release_all
from node.outgoing.result_check import RESULT_CHECK
from node.outgoing.results import RESULTS
from node.people.results import resend, send, withdraw
from node.results.dicom import objects
from node.results.records import is_due
from node.settings import Settings
from node.steps.link import link_persons
from node.store.database import writing
from tests.node.dicom_samples import NOON
from tests.node.results_world import PROTOCOL, approved, loaded, rendered
from tests.node.test_measure_automatic import arrive, measure
from tests.node.world import SERIES, World, painted
from tests.ports import free_port

NEVER = threading.Event()
SR = (ComprehensiveSRStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
SC = (SecondaryCaptureImageStorage, [RLELossless, ExplicitVRLittleEndian])
SC_PLAIN = (SecondaryCaptureImageStorage, [ImplicitVRLittleEndian])
COMMITMENT = (StorageCommitmentPushModel, [ImplicitVRLittleEndian])
FIND = (StudyRootQueryRetrieveInformationModelFind, [ImplicitVRLittleEndian])


@dataclass
class Pacs:
    """A PACS that keeps what it is sent, says so by Storage Commitment or C-FIND, and is as difficult as it is told."""

    port: int = field(default_factory=free_port)
    status: int = 0x0000
    loses: frozenset[str] = frozenset()
    """SOP classes of which it keeps nothing, though it says Success."""
    silent: bool = False
    """It takes questions for Storage Commitment and does not answer on the same association."""
    stored: list[tuple[str, str, bytes]] = field(default_factory=list)
    asked: list[Dataset] = field(default_factory=list)

    @contextmanager
    def up(self, *contexts: tuple[str, Sequence[str]]) -> Iterator[None]:
        entity = AE(ae_title="PACS")
        entity.add_supported_context(Verification)
        for name, syntaxes in contexts:
            entity.add_supported_context(name, list(syntaxes))
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._action),
            (evt.EVT_C_FIND, self._find),
        ]
        server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()

    def uids(self) -> list[str]:
        return [uid for uid, _, _ in self.stored]

    def _store(self, event: Event) -> int:
        if not self.status:
            content = event.request.DataSet.getvalue()
            self.stored.append((event.request.AffectedSOPInstanceUID, event.context.transfer_syntax, content))
        return self.status

    def has(self, uid: str, sop_class: str) -> bool:
        return uid in self.uids() and sop_class not in self.loses

    def _action(self, event: Event) -> tuple[int, None]:
        self.asked.append(event.action_information)
        if not self.silent:
            threading.Thread(target=self._answer, args=(event.assoc, event.action_information)).start()
        return 0x0000, None

    def _answer(self, association: object, asked: Dataset) -> None:
        answer = Dataset()
        answer.TransactionUID = asked.TransactionUID
        answer.ReferencedSOPSequence, answer.FailedSOPSequence = [], []
        for item in asked.ReferencedSOPSequence:
            if self.has(item.ReferencedSOPInstanceUID, item.ReferencedSOPClassUID):
                answer.ReferencedSOPSequence.append(item)
            else:
                item.FailureReason = 0x0112
                answer.FailedSOPSequence.append(item)
        event_type = 2 if answer.FailedSOPSequence else 1
        instance = "1.2.840.10008.1.20.1.1"
        association.send_n_event_report(answer, event_type, StorageCommitmentPushModel, instance)

    def _find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        for _, _, content in self.stored:
            one = loaded_stored(content)
            if one.SeriesInstanceUID == event.identifier.SeriesInstanceUID and one.SOPClassUID not in self.loses:
                answer = Dataset()
                answer.StudyInstanceUID, answer.SeriesInstanceUID = one.StudyInstanceUID, one.SeriesInstanceUID
                answer.SOPInstanceUID = one.SOPInstanceUID
                yield 0xFF00, answer


def loaded_stored(content: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(content), force=True)


class Sender:
    """A measured series, and the rounds of the outgoing role towards a PACS."""

    def __init__(self, world: World, **results: object) -> None:
        self.world, self.pacs = world, Pacs()
        address = {"ae_title": "PACS", "host": "127.0.0.1", "port": self.pacs.port}
        self.settings = Settings.model_validate(
            {
                "site": {"protocol": PROTOCOL},
                "storage": {"folder": str(world.folder)},
                "dicom": {"peers": {"pacs": {"query": address, "results": address | {"objects": ["sr"]} | results}}},
            }
        )
        for kind in (RESULTS, RESULT_CHECK):
            register(world.db, kind, self.settings)

    def measured(self, *images: Dataset) -> None:
        arrive(self.world, *(images or painted()))
        measure(self.world)

    def round(self, kind: Kind = RESULTS, *, at: datetime | None = None) -> Tally:
        link_persons(self.world.db, self.settings)
        with time_machine.travel(at or now(), tick=True):
            return send_due(kind, self.world.db, self.settings, "pacs", NEVER)

    def told(self, *columns: str) -> list[tuple[object, ...]]:
        return self.world.rows(f"SELECT {', '.join(columns)} FROM results ORDER BY result_id")


@pytest.fixture
def sender(world: World) -> Sender:
    """Of reports alone: a picture takes the networks' time."""
    return Sender(world)


@pytest.fixture
def both(world: World) -> Sender:
    return Sender(world, objects=["sr", "sc"])


def test_it_is_sent_once_byte_for_byte(both: Sender):
    both.measured()
    with both.pacs.up(SR, SC):
        assert both.round().done == 2
        assert both.round().attempted == 0
    made = rendered(both.world)
    for uid, syntax, content in both.pacs.stored:
        ((kind,),) = both.world.rows("SELECT kind FROM results WHERE identifier = ?", uid)
        assert made[str(kind), 1].endswith(content)
        assert syntax == {"sr": ExplicitVRLittleEndian, "sc": RLELossless}[str(kind)]


def test_a_picture_goes_uncompressed_where_its_syntax_is_not_taken(both: Sender):
    both.measured()
    with both.pacs.up(SR, SC_PLAIN):
        assert both.round().done == 2
    (plain,) = [content for _, syntax, content in both.pacs.stored if syntax == ImplicitVRLittleEndian]
    assert len(plain) > 960 * 1500 * 3


def test_the_role_has_them_rendered_by_a_process_of_its_own_once_something_is_due(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
):
    started = list[tuple[object, ...]]()

    def counting(*said: object, **named: object) -> None:
        started.append(said[1:3])
        do_apart(*said, **named)

    monkeypatch.setattr(results, "do_apart", counting)
    kind = replace(RESULTS, prepare=RESULTS.prepare_apart)
    with sender.pacs.up(SR):
        assert sender.round(kind).attempted == 0
        assert started == []
        sender.measured()
        assert sender.round(kind).done == 1
        assert sender.round(kind).attempted == 0
    assert started == [("results for pacs", "pacs")]
    assert sender.told("kind", "state") == [("sr", "sent")]


def test_what_cannot_be_rendered_is_not_tried_by_one_process_after_the_other(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
):
    sender.measured()
    monkeypatch.setattr(objects, "RENDERS", {"sr": lambda _: 1 / 0})
    sender.round()
    destination = results._destination(sender.settings, "pacs")
    assert not is_due(sender.world.db, destination, after=0)
    sender.world.db.execute("DELETE FROM state_failure")
    assert is_due(sender.world.db, destination, after=0)


def test_a_process_that_dies_over_them_ends_the_role_and_one_that_is_told_to_stop_ends_at_once(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
):
    sender.measured()
    monkeypatch.setattr(results, "COMMAND", [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(NodeError, match="the process of results for pacs has ended with -9"):
        sender.round(replace(RESULTS, prepare=RESULTS.prepare_apart))
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    waiting = [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(1)"]
    do_apart(waiting, "waiting", settings=sender.settings, stop=stop)


def test_what_was_there_before_goes_only_when_a_person_wants_it(world: World):
    arrive(world, *painted())
    measure(world)
    sender = Sender(world)
    with sender.pacs.up(SR):
        assert sender.round().attempted == 0
        send(world.db, SERIES, by="Dr. A", at=NOON)
        assert sender.round().done == 1


def test_the_same_bytes_are_sent_again_when_a_person_wants_it(sender: Sender):
    sender.measured()
    with sender.pacs.up(SR, SC):
        sender.round()
        resend(sender.world.db, 1, by="Dr. A", at=NOON)
        assert sender.round().done == 1
        assert sender.round().attempted == 0
    first, *_, again = sender.pacs.stored
    assert first == again


def test_a_pacs_that_is_away_for_a_day_gets_what_holds_then(sender: Sender):
    sender.measured()
    began = now()
    assert not sender.round(at=began).reached
    approved(sender.world)
    assert not sender.round(at=began + timedelta(hours=12)).reached
    assert [code for (code,) in sender.world.rows("SELECT code FROM problems WHERE source = 'peer pacs'")] == []
    with sender.pacs.up(SR, SC):
        assert sender.round(at=began + timedelta(hours=24)).done == 1
    assert sender.told("version", "status", "state") == [
        (1, "preliminary", "replaced before it was sent"),
        (2, "final", "sent"),
    ]


@pytest.mark.parametrize(("status", "given_up"), [(0xA700, False), (0xC001, True)])
def test_one_that_is_full_is_tried_for_ever_and_one_that_refuses_twelve_times(
    sender: Sender, status: int, given_up: bool
):
    sender.measured()
    sender.pacs.status = status
    at = now()
    with sender.pacs.up(SR, SC):
        for _ in range(12):
            sender.round(at=at)
            at += timedelta(hours=5)
    states = {str(state) for (state,) in sender.told("state")}
    assert states == {"given up" if given_up else "waiting"}
    if given_up:
        sender.pacs.status = 0x0000
        resend(sender.world.db, 1, by="Dr. A", at=NOON)
        with sender.pacs.up(SR):
            sender.round(at=at)
        assert sender.told("state") == [("sent",)]
        assert sender.world.rows("SELECT code FROM problems WHERE step = 'results'") == []
        return
    found = sender.world.rows("SELECT source, code, detail FROM problems WHERE step = 'results'")
    assert {row[:2] for row in found} == {(f"series {SERIES}", "undeliverable")}
    assert all("it is tried on" in str(detail) for *_, detail in found)


def test_storage_commitment_says_that_it_is_kept(sender: Sender):
    sender.measured()
    later = now() + timedelta(hours=1)
    with sender.pacs.up(SR, SC, COMMITMENT):
        sender.round()
        assert sender.round(RESULT_CHECK, at=later).done == 1
        assert sender.round(RESULT_CHECK, at=later).attempted == 0
    assert sender.told("state") == [("kept",)]
    assert len(sender.pacs.asked) == 1
    assert sender.world.rows("SELECT * FROM state_result_commitment") == []


def test_what_is_lost_is_sent_again_and_then_a_problem(both: Sender):
    both.measured()
    both.pacs.loses = frozenset({SecondaryCaptureImageStorage})
    at = now()
    with both.pacs.up(SR, SC, COMMITMENT):
        both.round(at=at)
        for hour in range(1, 6):
            both.round(RESULT_CHECK, at=at + timedelta(hours=hour))
            both.round(at=at + timedelta(hours=hour, minutes=1))
    ((lost,),) = both.world.rows("SELECT identifier FROM results WHERE kind = 'sc'")
    assert both.pacs.uids().count(str(lost)) == 4, "once, and three times more"
    assert len(set(both.pacs.uids())) == 2
    assert both.told("kind", "state") == [("sr", "kept"), ("sc", "missing")]
    assert both.world.rows("SELECT code FROM problems WHERE step = 'results'") == [("result-not-kept",)]


def asked_without_an_answer(both: Sender, *, at: datetime) -> Dataset:
    """The one request for commitment about both results; the answer is still to come."""
    both.measured()
    both.pacs.silent = True
    with both.pacs.up(SR, SC, COMMITMENT):
        both.round()
        assert both.round(RESULT_CHECK, at=at).waiting == 2
    (asked,) = both.pacs.asked
    return asked


def test_an_answer_that_comes_later_is_about_its_transaction(both: Sender):
    later = now() + timedelta(hours=1)
    asked = asked_without_an_answer(both, at=later)
    uids = tuple(both.pacs.uids())
    db = both.world.db
    with writing(db):
        assert record_answer(db, Kept(transaction_uid="1.2.3", kept=uids, missing=()), at=later) == 0
    told = Kept(transaction_uid=asked.TransactionUID, kept=uids[:1], missing=((uids[1], 0x0112),))
    with writing(db):
        assert record_answer(db, told, at=later) == 2
        assert record_answer(db, told, at=later) == 0
    assert sorted(str(state) for (state,) in both.told("state")) == ["kept", "missing"]


def test_an_answer_may_come_in_parts(both: Sender):
    later = now() + timedelta(hours=1)
    asked = asked_without_an_answer(both, at=later)
    with writing(both.world.db):
        for uid in both.pacs.uids():
            told = Kept(transaction_uid=asked.TransactionUID, kept=(uid,), missing=())
            assert record_answer(both.world.db, told, at=later) == 1
    assert both.told("state") == [("kept",), ("kept",)]
    assert both.world.rows("SELECT * FROM state_result_commitment") == []


def test_a_pacs_that_never_answers_is_a_problem(sender: Sender):
    sender.measured()
    at = now()
    with sender.pacs.up(SR, SC):
        sender.round(at=at)
        for day in range(1, 4):
            sender.round(RESULT_CHECK, at=at + timedelta(days=day))
    ((code, detail),) = sender.world.rows("SELECT code, detail FROM problems WHERE step = 'results'")
    assert code == "result-unconfirmed"
    assert "no Storage Commitment" in str(detail)


def test_a_query_finds_what_is_kept(world: World):
    sender = Sender(world, confirm="query", objects=["sr", "sc"])
    sender.measured()
    sender.pacs.loses = frozenset({SecondaryCaptureImageStorage})
    with sender.pacs.up(SR, SC, FIND):
        sender.round()
        sender.round(RESULT_CHECK, at=now() + timedelta(hours=1))
    assert sender.told("kind", "state") == [("sr", "kept"), ("sc", "missing")]


def test_a_note_follows_what_no_longer_holds(world: World):
    sender = Sender(world, objects=["sr"], rejection_notes=True)
    sender.measured()
    note = ("1.2.840.10008.5.1.4.1.1.88.59", [ExplicitVRLittleEndian])
    with sender.pacs.up(SR, note):
        sender.round()
        withdraw(world.db, 1, by="Dr. B", why="another patient", at=NOON)
        assert sender.round().done == 2
    assert sender.told("kind", "status") == [("sr", "preliminary"), ("sr", "withdrawn"), ("ko", "withdrawn")]


def test_what_comes_back_is_set_aside_and_changes_no_study(both: Sender):
    both.measured()
    with both.pacs.up(SR, SC):
        both.round()
    world = both.world
    before = world.rows("SELECT series_instance_uid, state, instances, last_received_at FROM series")
    measurements = world.rows("SELECT * FROM measurements")
    made = [loaded(content) for content in rendered(world).values()]
    for one in made:
        one.is_little_endian, one.is_implicit_VR = True, False
    world.receive(*made, at=NOON + timedelta(hours=2))
    world.index()
    world.catalogue(now=NOON + timedelta(hours=3))
    assert world.rows("SELECT series_instance_uid, state, instances, last_received_at FROM series") == before
    assert world.rows("SELECT * FROM measurements") == measurements
    assert world.rows("SELECT code FROM problems") == []
    assert len(world.rows("SELECT 1 FROM fact_object")) == 8
    with both.pacs.up(SR, SC):
        assert both.round().attempted == 0


WORKER = """
import os, signal, sys, threading
from pathlib import Path
from node.settings import Settings
from node.store.database import open_database
from node.outgoing import results, storing
from node.outgoing.delivery import send_due
import node.results.records as records

settings = Settings.model_validate_json(sys.argv[1])
db = open_database(settings.storage.folder)

def dies(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "rendered":
    records.insert = dies
elif sys.argv[2] == "recorded":
    storing.storing = dies
elif sys.argv[2] == "sent":
    from node.outgoing import queue
    queue.settle = dies
send_due(results.RESULTS, db, settings, "pacs", threading.Event())
"""


@pytest.mark.parametrize("moment", ["rendered", "recorded", "sent"])
def test_a_kill_at_any_moment_sends_each_result_under_one_uid(sender: Sender, moment: str):
    sender.measured()
    link_persons(sender.world.db, sender.settings)
    with sender.pacs.up(SR, SC):
        command = [sys.executable, "-c", WORKER, sender.settings.model_dump_json(), moment]
        killed = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
        assert killed.returncode == -signal.SIGKILL
        release_all(sender.world.db, [RESULTS])
        sender.round()
        assert sender.round().attempted == 0
    identifiers = {str(uid) for (uid,) in sender.told("identifier")}
    assert set(sender.pacs.uids()) == identifiers
    assert len(identifiers) == 1
    by_uid = {uid: hashlib.sha256(content).hexdigest() for uid, _, content in sender.pacs.stored}
    assert all(hashlib.sha256(content).hexdigest() == by_uid[uid] for uid, _, content in sender.pacs.stored)
    assert {state for (state,) in sender.told("state")} == {"sent"}
