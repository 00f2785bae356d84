"""Several acceptor processes behind one port: they add up, limits hold over all, and the end of one is no more."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pynetdicom import AE
from pynetdicom.association import Association

from node.dicom import pool
from node.settings import Settings
from tests.node.dicom_samples import mr_image, receiver, receiver_process, rejection_of, settings_for, stack
from tests.node.receiver_world import assert_stored, association, files, rows
from tests.waiting import eventually

WAIT_S = 30


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path / "data", processes=2)


def acceptors(pid: int) -> list[int]:
    """The processes that a receiver has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def called(settings: Settings, title: str) -> Association:
    entity = AE(ae_title=title)
    entity.add_requested_context(MRImageStorage)
    return entity.associate("127.0.0.1", settings.dicom.port)


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_senders_at_once_are_spread_over_the_processes(settings: Settings):
    groups = [stack(8, series=str(number)) for number in range(4)]
    statuses: list[int] = []

    def send(sender: Association, group: list[Dataset]) -> None:
        statuses.extend(sender.send_c_store(image).Status for image in group)

    with receiver_process(settings) as process, ExitStack() as opened:
        idle = [threads(pid) for pid in acceptors(process.pid)]
        senders = [opened.enter_context(association(settings)) for _ in groups]
        assert [threads(pid) for pid in acceptors(process.pid)] == [count + 2 for count in idle]
        sending = [threading.Thread(target=send, args=pair) for pair in zip(senders, groups, strict=True)]
        for thread in sending:
            thread.start()
        for thread in sending:
            thread.join()
    assert len(idle) == 2
    assert statuses == [0] * 32
    assert_stored(settings, {str(image.SOPInstanceUID) for group in groups for image in group})


def test_the_limits_hold_over_all_processes(tmp_path: Path):
    pacs = {"ae_titles": ["PACS"], "addresses": ["127.0.0.1"], "max_associations": 2}
    other = {"ae_titles": ["OTHER"], "addresses": ["127.0.0.1"]}
    settings = settings_for(tmp_path / "data", processes=2, max_associations=3, peers={"pacs": pacs, "other": other})
    with receiver_process(settings), ExitStack() as opened:

        def open_one(title: str) -> Association:
            one = called(settings, title)
            opened.callback(lambda: one.release() if one.is_established else None)
            return one

        first, second = open_one("PACS"), open_one("PACS")
        assert first.is_established
        assert second.is_established
        assert answer_of(open_one("PACS")) == (2, 3, 2), "the limit of this peer"
        assert open_one("OTHER").is_established
        assert answer_of(open_one("OTHER")) == (2, 3, 2), "the limit in all"
        first.release()
        assert eventually(lambda: open_one("PACS").is_established)


def answer_of(one: Association) -> tuple[int, int, int] | None:
    """Result, source and reason of a rejection."""
    return None if one.is_established else rejection_of(one)


def test_a_killed_acceptor_frees_its_slots_and_is_replaced(tmp_path: Path):
    settings = settings_for(tmp_path / "data", processes=2, max_associations=2)
    with receiver_process(settings) as process:
        held = [called(settings, "A"), called(settings, "B")]
        assert all(one.is_established for one in held)
        killed = acceptors(process.pid)
        os.kill(killed[0], signal.SIGKILL)
        # One of the two slots is free again at once; the other process still holds the other association.
        taken: list[Association] = []

        def one_more() -> bool:
            one = called(settings, "C")
            taken.append(one)
            return bool(one.is_established)

        assert eventually(one_more)
        assert taken[-1].send_c_store(mr_image()).Status == 0
        assert eventually(lambda: len([pid for pid in acceptors(process.pid) if is_running(pid)]) == 2)
        assert killed[0] not in acceptors(process.pid)
        assert killed[1] in acceptors(process.pid)
        for one in (*held, taken[-1]):
            if one.is_established:
                one.release()
        assert process.poll() is None
    assert_stored(settings, {str(mr_image().SOPInstanceUID)})


def test_without_the_receiver_its_acceptors_end_at_once(settings: Settings):
    with receiver_process(settings) as process:
        started = acceptors(process.pid)
        one = called(settings, "A")
        assert one.send_c_store(mr_image()).Status == 0
        process.kill()
        process.wait(WAIT_S)
        assert eventually(lambda: not any(is_running(pid) for pid in started))
        one.abort()
    # Nothing of it holds the port, the archive or the database.
    with receiver_process(settings), association(settings) as sender:
        assert sender.send_c_store(mr_image(seed=1)).Status == 0
    assert len(files(settings)) == 2
    assert rows(settings, "SELECT count(*) FROM fact_object") == [(2,)]


class Stub:
    """An acceptor that does as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.taken: list[str] = []

    def take(self, connection: socket.socket, address: str, **_: object) -> None:
        connection.close()
        if self.error:
            raise self.error
        self.taken.append(address)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes with which an acceptor process would have ended."""
    found: list[int] = []
    monkeypatch.setattr(pool.os, "_exit", found.append)
    return found


@pytest.fixture
def channel() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("error", [None, RuntimeError("unforeseen")])
def test_an_acceptor_process_that_hears_no_more_ends(
    channel: tuple[socket.socket, socket.socket], ends: list[int], error: Exception | None
) -> None:
    ours, theirs = channel
    stub = Stub(error)
    for _ in range(2):
        with socket.socket() as connection:
            pool._send(ours, "take", "10.0.0.1", False, handing=connection)
    ours.close()
    pool._Parent(theirs).listen(stub)
    assert stub.taken == ([] if error else ["10.0.0.1"] * 2)
    assert ends == [1]


def test_a_connection_for_which_a_process_has_no_descriptor_costs_itself(
    channel: tuple[socket.socket, socket.socket], ends: list[int]
) -> None:
    ours, theirs = channel
    stub = Stub()
    pool._send(ours, "take", "10.0.0.1", False)  # the system leaves out what it cannot hand over
    with socket.socket() as connection:
        pool._send(ours, "take", "10.0.0.2", False, handing=connection)
    ours.shutdown(socket.SHUT_WR)
    pool._Parent(theirs).listen(stub)
    assert stub.taken == ["10.0.0.2"]
    assert ours.recv(100) == b'["done"]'
    assert ends == [1]


def test_a_process_that_cannot_give_a_slot_back_ends(
    channel: tuple[socket.socket, socket.socket], ends: list[int]
) -> None:
    ours, theirs = channel
    ours.close()
    pool._Parent(theirs).leave("pacs", "10.0.0.1")
    assert ends == [1]


def test_a_connection_for_which_there_is_no_thread_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path / "data", processes=1)
    start, failed = threading.Thread.start, []

    def fail_once(thread: threading.Thread) -> None:
        if thread.name == "association" and not failed:
            failed.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    with receiver(settings):
        monkeypatch.setattr(threading.Thread, "start", fail_once)
        assert not called(settings, "PACS").is_established
        with association(settings) as one:
            assert one.send_c_store(mr_image()).Status == 0
        sql = "SELECT code, reason, times FROM state_refusal"
        assert eventually(lambda: rows(settings, sql))
    assert rows(settings, sql) == [("too-many", "the machine has no thread left to serve it", 1)]
