"""Questions to a PACS and sending on, against real DICOM nodes on loopback."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
import time_machine
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification
from sqlite_utils import Database

from node.clock import to_text
from node.dicom.part10 import file_header
from node.dicom.recorder import Receipt, Recorder
from node.errors import InputError, StoreError
from node.operate.doctor import examine
from node.outgoing.delivery import send_due
from node.outgoing.forward import FORWARD, retry
from node.outgoing.queue import newly_due, overview, register
from node.outgoing.role import run_outgoing
from node.outgoing.study_query import STUDY_QUERY
from node.pacs.query import FoundSeries, Query
from node.settings import Settings
from node.steps.completeness import take_answers
from node.steps.index import catalogue_studies, index_objects
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import NOON, encode, mr_image, receive, stack
from tests.ports import free_port
from tests.waiting import eventually

STUDY = "1.2.826.0.1.3680043.8.498.1"
QUIET = NOON + timedelta(minutes=2)
NEVER = threading.Event()
REFUSALS = 12
"""Of one object by a destination, after which it is given up (README)."""


@dataclass
class Remote:
    """Another DICOM node: answers queries from a table, keeps what it is sent, and is as difficult as it is told."""

    port: int = field(default_factory=free_port)
    series: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of each study it knows: the images of each series."""
    with_counts: bool = True
    status: int = 0x0000
    drop: frozenset[str] = frozenset()
    """SOP Instance UIDs on which it drops the association."""
    stored: list[tuple[str, str, bytes]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    @contextmanager
    def up(self, *contexts: tuple[str, Sequence[str]], title: str = "REMOTE") -> Iterator[None]:
        entity = AE(ae_title=title)
        entity.require_called_aet = True
        entity.add_supported_context(Verification)
        for name, syntaxes in contexts:
            entity.add_supported_context(name, list(syntaxes))
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_STORE, self._store)]
        server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()

    def _find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        question = event.identifier
        level = question.QueryRetrieveLevel
        self.questions.append(f"{level} {question.StudyInstanceUID.rsplit('.', 1)[1]}")
        if self.status:
            yield self.status, None
            return
        for uid, instances in self.series.get(question.StudyInstanceUID, {}).items():
            if level == "SERIES":
                yield 0xFF00, self._answer(uid, instances)
            elif question.SeriesInstanceUID == uid:
                for number in range(instances):
                    answer = self._answer(uid, instances)
                    answer.SOPInstanceUID = f"{uid}.{number}"
                    yield 0xFF00, answer

    def _answer(self, uid: str, instances: int) -> Dataset:
        answer = Dataset()
        answer.SeriesInstanceUID, answer.Modality, answer.SeriesDescription = uid, "MR", "t1_tse_sag"
        if self.with_counts:
            answer.NumberOfSeriesRelatedInstances = instances
        return answer

    def _store(self, event: Event) -> int:
        uid = event.request.AffectedSOPInstanceUID
        if uid in self.drop:
            event.assoc.abort()
        elif not self.status:
            self.stored.append((uid, event.context.transfer_syntax, event.request.DataSet.getvalue()))
        return self.status


FIND = (StudyRootQueryRetrieveInformationModelFind, [ImplicitVRLittleEndian])
STORE = (MRImageStorage, [ExplicitVRLittleEndian])


class World:
    """A data folder with peers, without the network's other half."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pacs, self.archived = Remote(), Remote()
        at = {"ae_title": "REMOTE", "host": "localhost"}
        self.settings = Settings.model_validate(
            {
                "storage": {"folder": folder},
                "dicom": {
                    "quiet_s": 120,
                    "peers": {
                        "pacs": {
                            "ae_titles": ["PACS"],
                            "addresses": ["127.0.0.1"],
                            "query": {**at, "port": self.pacs.port},
                        },
                        "old": {"query": {**at, "ae_title": "OLD", "port": free_port()}},
                        "archive": {"forward": {**at, "port": self.archived.port}},
                        "scanner": {
                            "ae_titles": ["SCANNER"],
                            "addresses": ["127.0.0.1"],
                            "forward": {**at, "port": free_port()},
                        },
                    },
                },
            }
        )
        self.archive = Archive(folder)
        self.db: Database = open_database(folder, create=True)

    def catalogue(self, *, minutes: float = 2) -> None:
        index_objects(self.db, self.archive)
        catalogue_studies(self.db, self.settings, now=NOON + timedelta(minutes=minutes))

    def ask(self, peer: str = "pacs", *, minutes: float = 2) -> int:
        with time_machine.travel(NOON + timedelta(minutes=minutes), tick=False):
            return send_due(STUDY_QUERY, self.db, self.settings, peer, NEVER).done

    def send(self, peer: str = "archive", *, minutes: float = 2) -> int:
        with time_machine.travel(NOON + timedelta(minutes=minutes), tick=False):
            return send_due(FORWARD, self.db, self.settings, peer, NEVER).done

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return self.db.execute(sql).fetchall()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.db.close()


# ---- questions -------------------------------------------------------------------------------------------------
def test_a_study_is_asked_for_when_quiet_and_twice_more(world: World) -> None:
    world.pacs.series = {STUDY: {f"{STUDY}.1": 6}}
    receive(world.folder, *stack(6))
    with world.pacs.up(FIND):
        assert world.ask() == 0, "it is not judged yet"
        world.catalogue()
        asked = [minutes for minutes in (2, 3, 61, 62, 100, 1442, 1500, 1502, 9999) if world.ask(minutes=minutes)]
        assert asked == [2, 62, 1502]
        receive(world.folder, *stack(7)[6:], at=NOON + timedelta(days=8))
        index_objects(world.db, world.archive)
        assert world.ask(minutes=8 * 1440 + 1) == 0, "it is arriving again"
        world.catalogue(minutes=8 * 1440 + 2)
        assert world.ask(minutes=8 * 1440 - 1) == 0, "the clock stands before the last image"
        assert world.ask(minutes=8 * 1440 + 2) == 1
    ((peer, answered),) = world.rows("SELECT DISTINCT peer, series FROM fact_study_query")
    assert (peer, json.loads(str(answered))) == (
        "pacs",
        {f"{STUDY}.1": {"images": 6, "modality": "MR", "description": "t1_tse_sag", "body_part": None}},
    )
    take_answers(world.db)
    # The PACS has one image fewer than came here.
    assert world.rows("SELECT completeness, expected_instances, instances FROM series") == [("complete", 6, 7)]


def test_a_pacs_that_gives_no_counts_has_its_images_counted(world: World) -> None:
    world.pacs.series, world.pacs.with_counts = {STUDY: {f"{STUDY}.1": 8, f"{STUDY}.2": 3}}, False
    receive(world.folder, *stack(6))
    world.catalogue()
    with world.pacs.up(FIND):
        assert world.ask() == 1
    assert world.pacs.questions == ["SERIES 1", "IMAGE 1", "IMAGE 1"]
    take_answers(world.db)
    assert world.rows("SELECT completeness, expected_instances FROM series WHERE instances > 0") == [("incomplete", 8)]


def test_only_the_peer_that_sent_a_study_is_asked_and_all_where_nobody_known_did(world: World) -> None:
    receive(world.folder, *stack(5))
    assert newly_due(world.db, STUDY_QUERY, world.settings, "pacs", at=QUIET) == []
    world.catalogue()
    assert newly_due(world.db, STUDY_QUERY, world.settings, "pacs", at=QUIET) == [STUDY]
    assert newly_due(world.db, STUDY_QUERY, world.settings, "old", at=QUIET) == []
    others = {name: peer for name, peer in world.settings.dicom.peers.items() if name != "pacs"}
    dicom = world.settings.dicom.model_copy(update={"peers": others})
    without = world.settings.model_copy(update={"dicom": dicom})
    assert newly_due(world.db, STUDY_QUERY, without, "old", at=QUIET) == [STUDY]


def test_a_pacs_that_does_not_answer_is_asked_again_and_shown(world: World) -> None:
    receive(world.folder, *stack(5), *stack(5, series="7", StudyInstanceUID=f"{STUDY}.7", PatientID="7"))
    world.catalogue()
    assert [world.ask(minutes=minutes) for minutes in (2, 2.5, 3, 5, 8)] == [0, 0, 0, 0, 0]
    assert (
        world.rows("SELECT attempts, next_attempt_at FROM state_outgoing")
        == [(3, to_text(NOON + timedelta(minutes=9)))] * 2
    )
    assert world.rows("SELECT source, code, substr(detail, 1, 43) FROM problems WHERE step = 'completeness'") == [
        ("peer pacs", "no-answer", "2 studies wait for its count of images; it ")
    ]
    # There again, but it refuses: that is about each study.
    world.pacs.status = 0xA700
    with world.pacs.up(FIND):
        assert world.ask(minutes=10) == 0
        (said,) = world.rows("SELECT DISTINCT last_error FROM state_outgoing")
        assert said == ("REMOTE answered a query with status 0xA700",)
        assert len(world.pacs.questions) == 2
        world.pacs.status = 0
        assert world.ask(minutes=70) == 2
    assert world.rows("SELECT * FROM state_outgoing") == []
    assert world.rows("SELECT code FROM problems WHERE step = 'completeness'") == []


def test_a_question_that_fails_keeps_the_others_from_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = f"{STUDY}.7"
    world.pacs.series = {uid: {f"{uid}.1": 5} for uid in (STUDY, other)}
    receive(world.folder, *stack(5), *stack(5, series="7.1", StudyInstanceUID=other, PatientID="7"))
    world.catalogue()
    series = Query.series

    def broken(query: Query, study_uid: str) -> list[FoundSeries]:
        if study_uid == STUDY:
            raise Exception("x")  # noqa: TRY002  # whatever it is
        return series(query, study_uid)

    monkeypatch.setattr(Query, "series", broken)
    with world.pacs.up(FIND):
        assert world.ask() == 1
    assert world.rows("SELECT study_instance_uid FROM fact_study_query") == [(other,)]
    ((study, error),) = world.rows("SELECT key, last_error FROM state_outgoing")
    assert study == STUDY
    assert str(error).startswith("its answer cannot be read (Exception at ")


def test_one_that_answers_no_queries_or_knows_this_node_not_says_so(world: World) -> None:
    receive(world.folder, *stack(5))
    world.catalogue()
    with world.pacs.up():
        world.ask()
    with world.pacs.up(FIND, title="OTHER"):
        said = world.rows("SELECT last_error FROM state_outgoing")
        world.ask(minutes=4)
        said += world.rows("SELECT last_error FROM state_outgoing")
    place = f"REMOTE at localhost:{world.pacs.port}"
    assert said == [
        (f"{place} accepts nothing of what this node asks for",),
        (f"{place} rejected the association: called ae title not recognised",),
    ]


# ---- sending on ------------------------------------------------------------------------------------------------
def destinations(world: World) -> None:
    register(world.db, FORWARD, world.settings)


def test_what_arrives_after_the_setting_up_goes_on_byte_for_byte_once(world: World) -> None:
    before, after = stack(2), stack(5)[2:]
    receive(world.folder, *before)
    destinations(world)
    receive(world.folder, *after)
    with world.archived.up(STORE):
        assert world.send() == 3
        assert world.send(minutes=9) == 0
        # The same bytes once more are no news.
        receive(world.folder, *after)
        assert world.send(minutes=10) == 0
    assert world.archived.stored == [
        (str(image.SOPInstanceUID), ExplicitVRLittleEndian, encode(image)) for image in after
    ]
    assert overview(world.db, FORWARD)[0] == {
        "peer": "archive", "waiting": 0, "sent": 3, "given_up": 0, "failing_since": None, "last_error": None,
    }  # fmt: skip


def test_what_its_sender_named_by_no_uid_waits_for_its_correction(world: World) -> None:
    destinations(world)
    image = mr_image()
    world.archive.prepare()
    with Recorder(world.folder) as recorder:
        for name in ("", "no UID", str(image.SOPInstanceUID)):
            named = {
                "sop_class_uid": str(MRImageStorage),
                "sop_instance_uid": name,
                "transfer_syntax_uid": str(ExplicitVRLittleEndian),
            }
            stored = world.archive.store(
                header=file_header(**named),
                dataset=encode(mr_image(seed=len(name), SOPInstanceUID=image.SOPInstanceUID)),
                transfer_syntax_uid=named["transfer_syntax_uid"],
            )
            recorder.record(Receipt(stored=stored, received_at=NOON, calling_ae="X", peer_address="127.0.0.1", **named))
    with world.archived.up(STORE):
        assert world.send() == 1
    assert [uid for uid, _, _ in world.archived.stored] == [str(image.SOPInstanceUID)]


def test_what_a_peer_sent_itself_does_not_go_back_to_it(world: World) -> None:
    destinations(world)
    receive(world.folder, *stack(3))
    with world.archived.up(STORE):
        assert world.send() == 3
    scanner = world.settings.dicom.peers["scanner"]
    echo = scanner.model_copy(update={"ae_titles": ("PACS",), "forward": world.settings.dicom.peers["archive"].forward})
    peers = {**world.settings.dicom.peers, "scanner": echo}
    world.settings = world.settings.model_copy(
        update={"dicom": world.settings.dicom.model_copy(update={"peers": peers})}
    )
    with world.archived.up(STORE):
        assert world.send("scanner") == 0
    assert world.rows("SELECT DISTINCT peer FROM state_outgoing") == [("archive",)]


def test_an_unreachable_destination_costs_no_attempt_and_waits_longer_each_time(world: World) -> None:
    destinations(world)
    receive(world.folder, *stack(3))
    tried = []
    for second in range(60):
        world.send(minutes=2 + second / 60)
        tried += world.rows(
            f"SELECT {second} FROM state_outgoing_peer WHERE failing_since IS NOT NULL AND failures > {len(tried)}"
        )
    assert [second for (second,) in tried] == [0, 5, 15, 35]
    assert world.rows("SELECT DISTINCT status, attempts FROM state_outgoing") == [("waiting", 0)]
    (problem,) = world.rows("SELECT source, code FROM problems WHERE step = 'forward'")
    assert problem == ("peer archive", "unreachable")
    # A person who has mended it does not wait.
    assert retry(world.db, "archive", at=NOON) == 3
    with world.archived.up(STORE):
        assert world.send(minutes=3) == 3
    assert world.rows("SELECT source, code FROM problems WHERE step = 'forward'") == []
    with pytest.raises(InputError, match="nothing is sent on to 'pacs'"):
        retry(world.db, "pacs", at=NOON)


def test_what_is_refused_again_and_again_is_given_up_and_tried_again_by_hand(world: World) -> None:
    destinations(world)
    (sha256,) = receive(world.folder, mr_image())
    world.archived.status = 0xA900
    minutes, attempts = 2.0, 0
    with world.archived.up(STORE):
        while world.rows("SELECT 1 FROM state_outgoing WHERE status = 'waiting'") or not attempts:
            world.send(minutes=minutes)
            attempts += 1
            minutes += 241
    assert attempts == REFUSALS
    assert world.rows("SELECT source, code, detail FROM problems WHERE step = 'forward'") == [
        (
            f"object {sha256[:12]}",
            "undeliverable",
            "archive did not take it in 12 attempts: it answered with status 0xA900; "
            "`vbq-node forward retry` tries it again",
        )
    ]
    world.archived.status = 0xB007
    assert retry(world.db, "archive", at=NOON) == 1
    with world.archived.up(STORE):
        assert world.send(minutes=minutes) == 1
    assert overview(world.db, FORWARD)[0]["sent"] == 1


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0x0001, 0x0107, 0x0116])
def test_what_is_stored_with_a_remark_is_stored(world: World, status: int) -> None:
    """The class of warnings (PS3.7, annex C)."""
    destinations(world)
    receive(world.folder, mr_image())
    world.archived.status = status
    with world.archived.up(STORE):
        assert world.send() == 1
    assert overview(world.db, FORWARD)[0]["sent"] == 1


def test_a_full_destination_is_no_reason_to_give_anything_up(world: World) -> None:
    destinations(world)
    receive(world.folder, mr_image())
    world.archived.status = 0xA702
    with world.archived.up(STORE):
        for attempt in range(REFUSALS + 1):
            world.send(minutes=2 + 241 * attempt)
        assert world.rows("SELECT status, attempts FROM state_outgoing") == [("waiting", 13)]
        (problem,) = world.rows("SELECT code, substr(detail, 1, 65) FROM problems WHERE step = 'forward'")
        assert problem == ("undeliverable", "archive did not take it in 13 attempts: it is out of resources; i")
        world.archived.status = 0
        assert world.send(minutes=9999) == 1


def test_an_object_on_which_the_destination_hangs_up_does_not_hold_up_the_others(world: World) -> None:
    destinations(world)
    images = stack(4)
    receive(world.folder, *images)
    world.archived.drop = frozenset({str(images[1].SOPInstanceUID)})
    with world.archived.up(STORE):
        assert world.send() == 1
        assert world.send() == 2
        assert world.send(minutes=2.9) == 0
    assert world.rows("SELECT status, attempts, last_error FROM state_outgoing WHERE status <> 'done'") == [
        ("waiting", 1, "the connection was lost while it was sent")
    ]


def test_another_uncompressed_syntax_is_converted_and_broken_pixels_are_said(world: World) -> None:
    destinations(world)
    image = mr_image()
    receive(world.folder, image)
    compressed = mr_image(seed=2)
    named = {
        "sop_class_uid": str(MRImageStorage),
        "sop_instance_uid": str(compressed.SOPInstanceUID),
        "transfer_syntax_uid": str(JPEG2000Lossless),
    }
    stored = world.archive.store(
        header=file_header(**named), dataset=encode(compressed), transfer_syntax_uid=named["transfer_syntax_uid"]
    )
    with Recorder(world.folder) as recorder:
        recorder.record(Receipt(stored=stored, received_at=NOON, calling_ae="X", peer_address="127.0.0.1", **named))
    with world.archived.up((MRImageStorage, [ImplicitVRLittleEndian])):
        assert world.send() == 1
    ((uid, syntax, content),) = world.archived.stored
    assert (uid, syntax) == (str(image.SOPInstanceUID), ImplicitVRLittleEndian)
    arrived = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content), force=True)
    assert arrived.PixelData == image.PixelData
    assert world.rows("SELECT last_error FROM state_outgoing WHERE status <> 'done'") == [
        (
            "it takes no MR Image Storage in JPEG 2000 Image Compression (Lossless Only), "
            "and it cannot be made uncompressed (ValueError): allow that syntax there",
        )
    ]


def test_an_object_whose_sending_fails_does_not_hold_up_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    destinations(world)
    bad, *_ = receive(world.folder, *stack(3))
    send = Association.send_c_store

    def broken(association: Association, content: Path, *given: object) -> Dataset:
        if bad in str(content):
            raise Exception("x")  # noqa: TRY002  # whatever it is
        return send(association, content, *given)

    monkeypatch.setattr(Association, "send_c_store", broken)
    with world.archived.up(STORE):
        assert world.send() == 2
    ((error,),) = world.rows("SELECT last_error FROM state_outgoing WHERE status <> 'done'")
    assert str(error).startswith("it cannot be encoded as the destination wants it (Exception at ")


def test_a_destination_taken_from_the_settings_is_forgotten_and_begins_anew(world: World) -> None:
    destinations(world)
    receive(world.folder, *stack(2))
    world.send()
    archive = world.settings.dicom.peers.pop("archive")
    destinations(world)
    assert world.rows("SELECT DISTINCT peer FROM state_outgoing") == []
    world.settings.dicom.peers["archive"] = archive
    destinations(world)
    receive(world.folder, *stack(3)[2:])
    with world.archived.up(STORE):
        assert world.send(minutes=3) == 1


def test_the_doctor_echoes_every_address_of_a_peer(world: World) -> None:
    with world.pacs.up(FIND):
        found = {one.check: one for one in examine(world.settings)}
    assert found["peer pacs, query"].ok
    assert found["peer pacs, query"].detail == f"REMOTE at localhost:{world.pacs.port} answers"
    assert not found["peer archive, forward"].ok
    assert "cannot be reached" in found["peer archive, forward"].detail
    assert {name for name in found if name.startswith("peer")} == {
        "peer pacs, query", "peer old, query", "peer archive, forward", "peer scanner, forward",
    }  # fmt: skip


# ---- the role --------------------------------------------------------------------------------------------------
def test_the_role_asks_and_sends_by_itself_and_is_alone(world: World) -> None:
    world.pacs.series = {STUDY: {f"{STUDY}.1": 5}}
    destinations(world)
    receive(world.folder, *stack(5))
    world.catalogue()
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=run_outgoing, args=[world.settings, stop], kwargs={"ready": ready.set})
    with world.pacs.up(FIND), world.archived.up(STORE):
        thread.start()
        try:
            assert ready.wait(20)
            with pytest.raises(StoreError, match="another process asks and sends"):
                run_outgoing(world.settings, threading.Event())
            assert eventually(lambda: world.rows("SELECT series FROM fact_study_query"))
            assert eventually(lambda: len(world.archived.stored) == 5)
        finally:
            stop.set()
            thread.join(20)
    assert not thread.is_alive()
    (answer,) = world.rows("SELECT series FROM fact_study_query")
    assert {uid: said["images"] for uid, said in json.loads(str(answer[0])).items()} == {f"{STUDY}.1": 5}
