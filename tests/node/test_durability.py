"""The first promise: what is acknowledged survives power loss. In which order the disk is asked, and how SQLite is set.

The order is that of the archive (node/store/archive.py): the file is synced, then renamed; then its folder is synced
and its record committed, beside each other; only when both are done is Success answered. A receiver that is held at any
of these must not have answered.
"""

import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from time import sleep

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

import node as package
from node.dicom import recorder as recording
from node.dicom.part10 import file_header
from node.dicom.recorder import Recorder
from node.hl7 import storing
from node.hl7.framing import frame
from node.hl7.storing import Arrival, FrameStore
from node.store.archive import Archive
from node.store.database import insert, open_database, writing
from node.store.problems import note_problem
from tests.node.dicom_samples import mr_image, receiver, settings_for
from tests.node.hl7_world import Peer, adt, listening
from tests.node.hl7_world import settings_for as hl7_settings_for
from tests.node.raw_sender import raw_association
from tests.ports import free_port
from tests.waiting import eventually

WAIT_S = 20.0
MOMENT_S = 0.3
"""An answer that does not wait for what is held has come by then."""
SYNC_FILE, RENAME, SYNC_FOLDER, COMMIT = "sync of the file", "rename", "sync of the folder", "commit"
ANSWER = "answer"


def receipts(db: Database) -> object:
    """How many there are, of images and of messages."""
    return db.execute(
        "SELECT (SELECT count(*) FROM fact_object_receipt), (SELECT count(*) FROM fact_frame_receipt)"
    ).fetchone()


class Spy:
    """Notes when each thing done to the disk begins and ends, and holds the one it is told to hold."""

    def __init__(self, hold: str | None = None) -> None:
        self.seen: list[tuple[str, str]] = []
        self.reached, self.go = threading.Event(), threading.Event()
        self._hold = hold

    @contextmanager
    def around(self, what: str) -> Iterator[None]:
        self.seen.append(("began", what))
        if what == self._hold:
            self.reached.set()
            assert self.go.wait(WAIT_S)
        yield
        self.seen.append(("ended", what))

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on, in this process."""
        fsync, rename = os.fsync, os.rename

        def watched_fsync(descriptor: int) -> None:
            with self.around(SYNC_FOLDER if stat.S_ISDIR(os.fstat(descriptor).st_mode) else SYNC_FILE):
                fsync(descriptor)

        def watched_rename(source: str, target: str) -> None:
            with self.around(RENAME):
                rename(source, target)

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "rename", watched_rename)
        for module in (recording, storing):
            monkeypatch.setattr(module, "writing", self._watched_writing)

    @contextmanager
    def _watched_writing(self, db: Database) -> Iterator[Database]:
        """Units of work that add a receipt; the stack is left last, after the commit."""
        before = receipts(db)
        with ExitStack() as committing, writing(db):
            yield db
            if receipts(db) != before:
                committing.enter_context(self.around(COMMIT))

    def assert_in_order(self, *steps: str) -> None:
        """Each has ended once before the next began."""
        assert [self.seen.count(("ended", step)) for step in steps] == [1] * len(steps), self.seen
        for before, after in pairwise(steps):
            assert self.seen.index(("ended", before)) < self.seen.index(("began", after)), self.seen


class Sending(threading.Thread):
    """Sends something and notes when the answer is there."""

    def __init__(self, spy: Spy, send: Callable[[], object]) -> None:
        super().__init__()
        self._spy, self._send = spy, send
        self.answered = threading.Event()
        self.answer: object = None

    def run(self) -> None:
        self.answer = self._send()
        with self._spy.around(ANSWER):
            self.answered.set()


@pytest.mark.parametrize("held", [SYNC_FILE, RENAME, SYNC_FOLDER, COMMIT])
def test_an_image_is_answered_only_when_all_of_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    settings, spy = settings_for(tmp_path / "data"), Spy(hold=held)
    with receiver(settings), raw_association(settings.dicom.port) as association:
        spy.watch(monkeypatch)
        sending = Sending(spy, lambda: association.store(mr_image()))
        sending.start()
        try:
            assert spy.reached.wait(WAIT_S), f"there was no {held}"
            assert not sending.answered.wait(MOMENT_S), f"answered before the {held}"
        finally:
            spy.go.set()
            sending.join(WAIT_S)
        assert sending.answer == 0x0000
    spy.assert_in_order(SYNC_FILE, RENAME, SYNC_FOLDER, ANSWER)
    spy.assert_in_order(SYNC_FILE, RENAME, COMMIT, ANSWER)


def test_the_folder_of_an_image_is_synced_beside_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, spy = settings_for(tmp_path / "data"), Spy(hold=COMMIT)
    with receiver(settings), raw_association(settings.dicom.port) as association:
        spy.watch(monkeypatch)
        sending = Sending(spy, lambda: association.store(mr_image()))
        sending.start()
        try:
            assert spy.reached.wait(WAIT_S)
            assert eventually(lambda: ("ended", SYNC_FOLDER) in spy.seen, within_s=WAIT_S / 2)
            assert ("ended", COMMIT) not in spy.seen
        finally:
            spy.go.set()
            sending.join(WAIT_S)


def test_the_folder_of_an_image_waits_for_the_disk_no_sooner_than_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A journal that is written for the folder alone is one that the commit has to wait for, too.
    settings, spy = settings_for(tmp_path / "data"), Spy()
    with receiver(settings), raw_association(settings.dicom.port) as association:
        spy.watch(monkeypatch)
        sending = Sending(spy, lambda: association.store(mr_image()))
        with closing(open_database(settings.storage.folder)) as other, writing(other):
            sending.start()
            assert eventually(lambda: ("ended", RENAME) in spy.seen)
            sleep(MOMENT_S)
            assert ("began", SYNC_FOLDER) not in spy.seen
        sending.join(WAIT_S)
        assert sending.answer == 0x0000


def test_an_image_that_is_known_is_answered_only_when_its_folder_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The process that renamed it may have died before it could sync the folder.
    settings, spy = settings_for(tmp_path / "data"), Spy()
    with receiver(settings), raw_association(settings.dicom.port) as association:
        assert association.store(mr_image()) == 0x0000
        spy.watch(monkeypatch)
        sending = Sending(spy, lambda: association.store(mr_image()))
        sending.start()
        sending.join(WAIT_S)
        assert sending.answer == 0x0000
    spy.assert_in_order(SYNC_FOLDER, ANSWER)
    spy.assert_in_order(COMMIT, ANSWER)


def test_a_message_is_answered_only_when_it_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(hold=COMMIT)
    with listening(hl7_settings_for(tmp_path, free_port())) as port, Peer(port) as peer:
        spy.watch(monkeypatch)
        peer.send(frame(adt("A")))
        try:
            assert spy.reached.wait(WAIT_S), "there was no commit"
            peer.socket.settimeout(MOMENT_S)
            with pytest.raises(TimeoutError):
                peer.reply()
        finally:
            spy.go.set()
        peer.socket.settimeout(WAIT_S)
        assert peer.msa()[1] == "AA"


def test_a_file_left_by_an_interrupted_receiver_is_renamed_then_its_folder_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, spy = Archive(tmp_path), Spy()
    archive.prepare()
    names = {"sop_class_uid": "1.2", "sop_instance_uid": "1.2.3", "transfer_syntax_uid": "1.2.840.10008.1.2.1"}
    stored = archive.store(
        header=file_header(**names), dataset=b"abcd", transfer_syntax_uid=names["transfer_syntax_uid"]
    )
    leftover = tmp_path / "dicom" / "incoming" / "left"
    archive.path(stored.sha256).rename(leftover)
    spy.watch(monkeypatch)
    archive.adopt(leftover, stored.sha256)
    spy.assert_in_order(RENAME, SYNC_FOLDER)


def test_the_folders_of_the_archive_are_durable_before_anything_is_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    Archive(tmp_path / "data").prepare()
    assert synced == ["data/dicom", "data"]


# ---- how SQLite is set ---------------------------------------------------------------------------------------------
PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
"""synchronous: 0 is OFF, 1 NORMAL (a commit may be lost with the power), 2 FULL (https://sqlite.org/pragma.html)."""


def of_the_caller(folder: Path, use: Callable[[Database], None]) -> None:
    open_database(folder, create=True).close()
    db = open_database(folder)
    use(db)
    db.close()


def of_the_maker(folder: Path, use: Callable[[Database], None]) -> None:
    db = open_database(folder, create=True)
    use(db)
    db.close()


def of_several_threads(folder: Path, use: Callable[[Database], None]) -> None:
    open_database(folder, create=True).close()
    db = open_database(folder, any_thread=True)
    use(db)
    db.close()


def of_the_dicom_receiver(folder: Path, use: Callable[[Database], None]) -> None:
    with Recorder(folder) as recorder:
        recorder.write(use)


def of_the_hl7_listener(folder: Path, use: Callable[[Database], None]) -> None:
    open_database(folder, create=True).close()
    store = FrameStore(folder)
    assert store.store([Arrival(raw=b"MSH", sha256="0" * 64, peer_address="127.0.0.1", ack="AA")]) is None
    assert store._db is not None
    use(store._db)
    store.close()


@pytest.mark.parametrize(
    "connection",
    [of_the_caller, of_the_maker, of_several_threads, of_the_dicom_receiver, of_the_hl7_listener],
    ids=lambda function: function.__name__,
)
def test_every_connection_commits_durably_and_keeps_references(
    tmp_path: Path, connection: Callable[[Path, Callable[[Database], None]], None]
) -> None:
    found: dict[str, object] = {}

    def look(db: Database) -> None:
        found.update({name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS})
        receipt = {"object_id": 4711, "received_at": "x", "calling_ae": "PACS", "peer_address": "127.0.0.1"}
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            insert(db, "fact_object_receipt", [receipt])

    connection(tmp_path, look)
    assert found == PRAGMAS


COPIES = ("operate/backup.py", "operate/restore.py", "operate/upgrade.py")
"""What they open besides is a copy of their own, which is whole before anybody else sees it, or the database of a node
that is stopped, which a whole copy replaces in one transaction."""


def test_nobody_opens_the_database_another_way() -> None:
    root = Path(package.__file__).parent
    apart = {root / one for one in COPIES}
    others = [path for path in root.rglob("*.py") if not path.is_relative_to(root / "store") and path not in apart]
    assert len(others) > 100
    opened = re.compile(r"sqlite3\.connect\(|PRAGMA (?:\w+\.)?(?:synchronous|foreign_keys|journal_mode)", re.IGNORECASE)
    assert [str(path) for path in others if opened.search(path.read_text(encoding="utf-8"))] == []
    database = (root / "store" / "database.py").read_text(encoding="utf-8")
    assert [words for words in opened.findall(database) if "connect" in words] == ["sqlite3.connect("]


@pytest.mark.parametrize("steps_are_up", [False, True])
def test_the_log_of_the_receivers_is_written_back_by_the_steps_and_bounded_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_are_up: bool
) -> None:
    pages = 3000
    monkeypatch.setattr("node.store.database.RECEIVER_CHECKPOINT_PAGES", pages)
    steps = open_database(tmp_path, create=True)
    store = FrameStore(tmp_path)
    longest_bytes = 0
    for number in range(1200):
        raw = number.to_bytes(4, "big") + bytes(8000)
        assert store.store([Arrival(raw=raw, sha256=f"{number:064x}", peer_address="127.0.0.1", ack="AA")]) is None
        if steps_are_up and number % 100 == 0:
            with writing(steps):
                note_problem(steps, "x", "x", str(number), "x", [])
        if number % 100 == 0:
            longest_bytes = max(longest_bytes, (tmp_path / "node.db-wal").stat().st_size)
    store.close()
    page = steps.execute("PRAGMA page_size").fetchone()[0] + 24
    steps.close()
    # The steps write back at SQLite's own 1000 pages, seen with their next commit; the receivers at their limit.
    assert longest_bytes < (2000 if steps_are_up else pages + 100) * page
    assert longest_bytes > (900 if steps_are_up else 2000) * page
