"""Several acceptor processes behind one port: they add up, limits hold over all, and the end of one is no more."""

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pynetdicom import AE
from pynetdicom.association import Association

from node.settings import Settings
from tests.node.dicom_samples import mr_image, receiver_process, rejection_of, settings_for, stack
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
