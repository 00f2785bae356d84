"""Objects of which a part came only: a problem of their sender until they come whole."""

from datetime import timedelta
from pathlib import Path

import pytest

from node.clock import now, to_text
from node.dicom import association as node_association
from node.dicom import refusals
from node.dicom.cut_off import KEPT_FOR, MAX_ROWS_OF_ADDRESS, CutOff, list_cut_off, store_cut_off
from node.dicom.refusals import forget_refusals, list_refusals
from node.dicom.refused_contexts import Sender
from node.settings import Settings
from node.store.database import open_database, writing
from node.store.refusals import Count
from tests.node.dicom_samples import mr_image, receive, receiver, settings_for
from tests.node.raw_sender import ABORT, RELEASE, raw_association, store_request, whole_pdus
from tests.node.receiver_world import association, rows
from tests.node.world import World
from tests.waiting import eventually

BIG = mr_image(seed=77, Rows=512, Columns=512, PixelData=b"\1\2" * 512 * 512)
"""Half a megabyte: several PDUs."""
SHOWN = "SELECT source, code, detail FROM problems WHERE step = 'receive'"
NAMED = f"MR Image Storage (1.2.840.10008.5.1.4.1.1.4) {BIG.SOPInstanceUID} came in part only"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "PAUSE_S", 0.01)


def cut(settings: Settings, how: str) -> None:
    """Send half of the object, and end."""
    content = store_request(BIG)
    with raw_association(settings.dicom.port) as sender:
        sender.socket.sendall(whole_pdus(content, len(content) // 2))
        if how == "abort":
            sender.socket.sendall(ABORT)
        elif how == "release":
            assert sender.say(RELEASE)[:1] == b"\x06"
        elif how == "reset":
            sender.reset()
        elif how == "silence":
            sender.answer()


def codes(settings: Settings) -> list[object]:
    return [code for _, code, _ in rows(settings, SHOWN)]


@pytest.mark.parametrize("how", ["abort", "close", "reset", "release", "silence"])
def test_an_object_that_ends_half_way_is_a_problem_until_it_comes_whole(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(node_association, "IDLE_TIMEOUT_S", 0.5 if how == "silence" else 60.0)
    settings = settings_for(tmp_path / "data")
    with receiver(settings):
        cut(settings, how)
        assert eventually(lambda: "object-cut-off" in codes(settings))
        # Whoever is let in again, and sends something else, has not sent this one.
        with association(settings) as other:
            assert other.send_c_store(mr_image(seed=5)).Status == 0
        assert eventually(lambda: codes(settings) == ["object-cut-off"])
        ((source, _, detail),) = rows(settings, SHOWN)
        assert source == "peer 127.0.0.1"
        assert str(detail).startswith("1 object that it (calling itself SENDER) sent came in part only and not again")
        db = open_database(settings.storage.folder)
        (listed,) = [one for one in list_refusals(db) if one["code"] == "object-cut-off"]
        assert (listed["reason"], listed["times"], listed["settled_at"]) == (NAMED, 1, None)
        with association(settings) as other:
            assert other.send_c_store(BIG).Status == 0
        assert codes(settings) == []
        (listed,) = list_cut_off(db)
        assert listed["settled_at"] is not None
        assert forget_refusals(db) >= 1
        assert list_refusals(db) == []
        db.close()


def test_one_that_was_here_before_is_missed_as_well(tmp_path: Path):
    """A correction that broke off: the earlier version of the object is no answer to it."""
    settings = settings_for(tmp_path / "data")
    with receiver(settings):
        with association(settings) as sender:
            assert sender.send_c_store(BIG).Status == 0
        for times in (1, 2):
            cut(settings, "abort")
            assert eventually(lambda times=times: rows(settings, "SELECT times FROM state_cut_off") == [(times,)])
            assert codes(settings) == ["object-cut-off"]
            with association(settings) as sender:
                assert sender.send_c_store(BIG).Status == 0
            assert codes(settings) == []


def note(world: World, *uids: str, hours: float = 0.0) -> None:
    sender = Sender(address="10.0.0.1", calling_ae="PACS")
    moment = now() + timedelta(hours=hours)
    with writing(world.db):
        counts = {
            CutOff(sender=sender, sop_class_uid="1.2.840.10008.5.1.4.1.1.4", sop_instance_uid=uid): Count(
                times=1, first_at=moment, last_at=moment
            )
            for uid in uids
        }
        store_cut_off(world.db, counts, at=now())


def test_the_order_of_receipts_settles_it_whatever_the_clock_says(world: World):
    world.receive(mr_image(seed=2))
    note(world, str(BIG.SOPInstanceUID), hours=30)
    receive(world.folder, BIG, at=now())
    assert world.rows(SHOWN) == []


def test_what_came_whole_before_it_was_written_down_settles_it(world: World):
    """Counts are written once a second: a sender may have tried again by then."""
    receive(world.folder, BIG, at=now() + timedelta(seconds=1))
    note(world, str(BIG.SOPInstanceUID))
    assert world.rows(SHOWN) == []


def test_rows_are_bounded_and_go_after_a_month(world: World):
    uids = [f"1.2.{number}" for number in range(MAX_ROWS_OF_ADDRESS + 10)]
    note(world, *uids)
    note(world, uids[0], uids[-1])
    ((of_first, in_all),) = world.rows(
        "SELECT (SELECT times FROM state_cut_off WHERE sop_instance_uid = '1.2.0'), count(*) FROM state_cut_off"
    )
    assert (of_first, in_all) == (2, MAX_ROWS_OF_ADDRESS)
    (only,) = world.rows(SHOWN)
    assert str(only[2]).startswith("100 objects that it (calling itself PACS) sent came in part only")
    world.db.execute("UPDATE state_cut_off SET last_at = ?", [to_text(now() - KEPT_FOR - timedelta(hours=1))])
    note(world, uids[-1])
    assert world.rows("SELECT sop_instance_uid FROM state_cut_off") == [(uids[-1],)]
