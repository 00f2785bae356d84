"""The queue of all that leaves: claims, leases, limits and faults, with a kind that stands in for any."""

import errno
import importlib
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

import node.outgoing
from node.errors import UnreachableError
from node.outgoing import queue, role
from node.outgoing.delivery import Tally, send_due
from node.outgoing.kind import (
    DONE,
    LATER,
    WITHDRAWN,
    Batch,
    Item,
    Kind,
    Limits,
    Outcome,
    Pauses,
    Send,
    Verdict,
    each,
    refused,
)  # fmt: skip
from node.outgoing.kinds import KINDS
from node.settings import Settings
from node.store.database import insert, open_database, writing
from tests.node.outgoing_kind import FRAMES, sent_file

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PEER = "record"


class World:
    """A data folder with frames to be sent, and what was sent of them."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings.model_validate({"storage": {"folder": folder}})
        self.db: Database = open_database(folder, create=True)
        queue.register(self.db, FRAMES, self.settings)
        self.tried: list[str] = []
        self.stop = threading.Event()

    def arrive(self, *keys: str) -> None:
        with writing(self.db):
            insert(self.db, "fact_frame", [{"sha256": key, "raw": b"MSH|"} for key in keys])

    def kind(self, send: Callable[[Batch, Item], Outcome], **others: object) -> Kind:
        """The stand-in, sending by a function that is noted."""

        def noted(batch: Batch, item: Item) -> Outcome:
            self.tried.append(item.key)
            return send(batch, item)

        return replace(FRAMES, opened=each(noted), **others)

    def send(self, kind: Kind, *, minutes: float = 0) -> Tally:
        at = NOON + timedelta(minutes=minutes)
        return send_due(kind, self.db, self.settings, PEER, self.stop, clock=lambda: at)

    def rows(self, columns: str = "key, status, attempts") -> list[tuple[object, ...]]:
        return self.db.execute(f"SELECT {columns} FROM state_outgoing ORDER BY item_id").fetchall()

    def sent(self) -> list[str]:
        file = sent_file(self.settings)
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.db.close()


def well(_batch: Batch, _item: Item) -> Outcome:
    return DONE


# ---- what a new kind costs -------------------------------------------------------------------------------------
def test_every_kind_is_in_the_registry_under_its_own_name() -> None:
    names = [one.name for one in pkgutil.iter_modules(node.outgoing.__path__)]
    modules = [importlib.import_module(f"node.outgoing.{name}") for name in names]
    kinds = {value.name for module in modules for value in vars(module).values() if isinstance(value, Kind)}
    assert kinds == {kind.name for kind in KINDS} >= {"commitment", "study_query", "forward", "mail"}
    assert len(KINDS) == len(kinds)


def test_a_new_kind_is_one_module_and_a_line_of_the_registry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(role, "KINDS", (*KINDS, FRAMES))
    world.arrive("a", "b")
    stop, ready = threading.Event(), threading.Event()
    running = threading.Thread(target=role.run_outgoing, args=[world.settings, stop], kwargs={"ready": ready.set})
    running.start()
    try:
        assert ready.wait(20)
        for _ in range(400):
            if world.rows("status") == [("done",)] * 2:
                break
            threading.Event().wait(0.05)
    finally:
        stop.set()
        running.join(20)
    assert world.sent() == ["a", "b"]
    # Its troubles are shown as well.
    world.arrive("c")
    for attempt in range(3):
        world.send(
            world.kind(lambda _batch, _item: refused("the record does not know the patient")), minutes=100 * attempt
        )
    assert world.db.execute("SELECT step, source, code, detail FROM problems").fetchall() == [
        (
            "stand-in",
            "stand-in c",
            "undeliverable",
            "record: it was not taken in 3 attempts: the record does not know the patient; it is given up",
        )
    ]
    assert queue.overview(world.db, FRAMES) == [
        {"peer": PEER, "waiting": 0, "sent": 2, "given_up": 1, "failing_since": None, "last_error": None}
    ]


# ---- faults ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RecursionError(), MemoryError(), OSError(5, "x")])
def test_whatever_one_item_raises_costs_that_item_only(world: World, error: Exception) -> None:
    def send(_batch: Batch, item: Item) -> Outcome:
        if item.key == "b":
            raise error
        return DONE

    world.arrive("a", "b", "c", "d", "e")
    kind = world.kind(send)
    rounds = [world.send(kind), world.send(kind), world.send(kind)]
    assert [(one.done, one.waiting) for one in rounds] == [(3, 1), (1, 0), (0, 0)]
    assert world.rows() == [("a", "done", 1), ("b", "waiting", 1), *[(key, "done", 1) for key in "cde"]]
    ((said,),) = world.db.execute("SELECT last_error FROM state_outgoing WHERE key = 'b'").fetchall()
    assert str(said).startswith(f"the software fails on it ({type(error).__name__} at test_queue.py:")
    for minutes in (1, 100, 200):
        world.send(kind, minutes=minutes)
    assert world.tried == ["a", "b", "c", "d", "e", "b", "b"], "three attempts, as its limits say"
    assert world.rows()[1] == ("b", "dead", 3)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "x"), sqlite3.OperationalError("x")])
def test_what_lies_with_the_machine_is_no_fault_of_an_item(world: World, error: Exception) -> None:
    def send(_batch: Batch, _item: Item) -> Outcome:
        raise error

    world.arrive("a", "b")
    with pytest.raises(type(error)):
        world.send(world.kind(send))
    queue.release_all(world.db, [FRAMES])
    assert world.rows() == [("a", "waiting", 0), ("b", "waiting", 0)]
    assert world.send(world.kind(well)).done == 2


def test_each_failing_item_ends_its_session_and_no_other(world: World) -> None:
    sessions: list[tuple[str, ...]] = []

    @contextmanager
    def opened(batch: Batch) -> Iterator[Send]:
        sessions.append(tuple(item.key for item in batch.items))

        def send(item: Item) -> Outcome:
            if item.key in "bd":
                raise ValueError(item.key)
            return DONE

        yield send

    world.arrive(*"abcd")
    assert world.send(replace(FRAMES, opened=opened)) == Tally(done=2, waiting=2)
    assert sessions == [("a", "b", "c", "d"), ("c", "d")]


def test_an_item_for_which_no_session_can_be_opened_is_found(world: World) -> None:
    @contextmanager
    def opened(batch: Batch) -> Iterator[Send]:
        if any(item.key == "b" for item in batch.items):
            raise ValueError("a context that cannot be built")
        yield lambda item: DONE

    world.arrive("a", "b", "c")
    assert world.send(replace(FRAMES, opened=opened)) == Tally(done=2, waiting=1)
    assert world.rows() == [("a", "done", 1), ("b", "waiting", 1), ("c", "done", 1)]


def test_a_session_that_cannot_be_closed_costs_nothing(world: World) -> None:
    @contextmanager
    def opened(_batch: Batch) -> Iterator[Send]:
        yield lambda item: DONE
        raise ValueError("it does not say goodbye")

    world.arrive("a", "b", "c")
    assert world.send(replace(FRAMES, opened=opened)) == Tally(done=3)


def test_an_answer_that_cannot_be_stored_costs_its_item_only(world: World) -> None:
    def send(_batch: Batch, item: Item) -> Outcome:
        value = "\ud800" if item.key == "b" else item.key
        return Outcome(
            verdict=Verdict.DONE,
            store=lambda db: insert(db, "fact_site", [{"name": item.key, "value": value}]),
        )

    world.arrive("a", "b", "c")
    assert world.send(world.kind(send)) == Tally(done=2, waiting=1)
    assert [status for (status,) in world.rows("status")] == ["done", "waiting", "done"]
    assert world.db.execute("SELECT count(*) FROM fact_site WHERE name IN ('a', 'b', 'c')").fetchone() == (2,)


def test_a_receiver_that_cannot_be_reached_is_tried_once_a_round_and_rests(world: World) -> None:
    def send(_batch: Batch, _item: Item) -> Outcome:
        raise UnreachableError("nobody there")

    world.arrive("a", "b")
    kind = world.kind(send)
    assert world.send(kind) == Tally(reached=False)
    assert world.send(kind, minutes=4.9 / 60) == Tally()
    assert world.rows() == [("a", "waiting", 0), ("b", "waiting", 0)]
    assert world.send(kind, minutes=5 / 60) == Tally(reached=False)
    assert world.tried == ["a", "a"]
    assert world.send(world.kind(well), minutes=1) == Tally(done=2)
    assert queue.overview(world.db, FRAMES)[0]["failing_since"] is None


def test_where_no_receiver_rests_all_that_is_due_has_failed_once_more(world: World) -> None:
    def send(_batch: Batch, _item: Item) -> Outcome:
        raise UnreachableError("nobody there")

    world.arrive(*"abcdef")
    # Six, of which a batch has four; that is no refusal, so no number of them is too much.
    kind = world.kind(send, rest=None, limits=Limits(attempts=1))
    assert world.send(kind) == Tally(waiting=6, reached=False)
    assert world.tried == ["a"]
    assert world.rows() == [(key, "waiting", 1) for key in "abcdef"]


# ---- order, limits, pauses -------------------------------------------------------------------------------------
def test_what_arrives_after_the_setting_up_goes_once_in_its_order(world: World) -> None:
    world.arrive(*"cabfed")
    kind = world.kind(well)
    assert [world.send(kind).done for _ in range(3)] == [4, 2, 0]
    assert world.tried == list("cabfed")
    queue.register(world.db, replace(FRAMES, receivers=lambda settings: (PEER, "late")), world.settings)
    assert send_due(kind, world.db, world.settings, "late", world.stop).attempted == 0


def test_a_limit_of_attempts_counts_refusals_and_no_hindrances(world: World) -> None:
    world.arrive("a")
    for verdict, status in ((Verdict.HINDERED, "waiting"), (Verdict.REFUSED, "dead")):
        outcome = Outcome(verdict=verdict, error="no")
        for attempt in range(1, 4):
            world.send(world.kind(lambda _batch, _item, outcome=outcome: outcome), minutes=1000 * attempt)
        assert world.rows() == [("a", status, 3)]
        assert queue.retry(world.db, FRAMES, PEER, at=NOON) == 1
    assert queue.retry(world.db, FRAMES, "nobody", at=NOON) is None


def test_the_attempt_at_the_limit_of_age_is_the_last(world: World) -> None:
    world.arrive("a")
    kind = world.kind(
        lambda _batch, _item: refused("no"),
        limits=Limits(age=timedelta(hours=5)),
        pauses=Pauses(first=timedelta(hours=1), longest=timedelta(hours=9)),
    )
    # After 0, 1 and 3 hours the pause would be 4, beyond the limit: it ends at the limit.
    assert [hours for hours in range(12) if world.send(kind, minutes=60 * hours).attempted] == [0, 1, 3, 5]
    assert world.rows("status, last_error") == [("dead", "given up after 5:00:00: no")]


def test_past_its_time_nothing_is_tried(world: World) -> None:
    world.arrive("a")
    kind = world.kind(lambda _batch, _item: refused("no"), limits=Limits(expires_after=timedelta(hours=2)))
    assert world.send(kind).waiting == 1
    assert world.send(kind, minutes=121) == Tally()
    assert world.tried == ["a"]
    assert world.rows("status, attempts, last_error") == [("dead", 1, "no")]


def test_what_is_refused_for_good_is_given_up_at_once_and_said(world: World) -> None:
    said: list[str] = []
    world.arrive("a", "b")
    kind = world.kind(
        lambda _batch, _item: Outcome(verdict=Verdict.HOPELESS, error="never"),
        given_up=lambda _batch, item, _at: said.append(item.key),
    )
    assert world.send(kind) == Tally(dead=2)
    assert said == ["a", "b"]


def test_what_is_no_longer_wanted_goes_and_what_needs_another_session_stays(world: World) -> None:
    world.arrive("a", "b", "c")
    outcomes = {"a": WITHDRAWN, "b": LATER, "c": DONE}
    assert world.send(world.kind(lambda _batch, item: outcomes[item.key], keeps_done=False)) == Tally(done=1)
    assert world.rows() == [("b", "waiting", 0)]
    assert world.send(world.kind(well)) == Tally(done=1)


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(1, 1), (2, 2), (3, 4), (6, 32), (8, 128), (9, 240), (10, 240), (5000, 240)]
)
def test_pauses_double_up_to_the_longest(attempts: int, minutes: float) -> None:
    pauses = Pauses(first=timedelta(minutes=1), longest=timedelta(hours=4))
    assert pauses.after(attempts) == timedelta(minutes=minutes)
    spread = [replace(pauses, jitter_share=0.2).after(attempts, f"{number}") for number in range(50)]
    assert min(spread) >= timedelta(minutes=minutes)
    assert max(spread) <= min(timedelta(minutes=minutes * 1.2), timedelta(hours=4))
    assert len(set(spread)) > 20 or attempts > 8


# ---- claims ----------------------------------------------------------------------------------------------------
def test_a_claimed_item_is_left_to_its_claimant_until_the_lease_runs_out(world: World) -> None:
    world.arrive("a")
    queue.enrol(world.db, FRAMES, world.settings, PEER, at=NOON)
    (first,) = queue.claim(world.db, FRAMES, world.settings, PEER, at=NOON)
    kind = world.kind(well)
    assert world.send(kind, minutes=59).done == 0
    # Past it somebody else has it: what the first one has to say no longer counts.
    (second,) = queue.claim(world.db, FRAMES, world.settings, PEER, at=NOON + timedelta(minutes=60))
    batch = Batch(db=world.db, archive=None, settings=world.settings, peer=PEER, items=())
    assert queue.settle(batch, FRAMES, [(first, refused("no"))], at=NOON) == [""]
    assert world.rows() == [("a", "waiting", 0)]
    assert queue.claim(world.db, FRAMES, world.settings, PEER, at=NOON + timedelta(minutes=61)) == ()
    assert queue.settle(batch, FRAMES, [(second, DONE)], at=NOON) == ["done"]
    assert world.rows() == [("a", "done", 1)]


def test_what_is_sent_again_while_it_is_on_its_way_goes_twice(world: World) -> None:
    def send(batch: Batch, item: Item) -> Outcome:
        if world.tried == ["a"]:
            with writing(batch.db):
                queue.send_again(batch.db, FRAMES, [item.key], peer=PEER, at=NOON)
        return DONE

    world.arrive("a")
    kind = world.kind(send)
    assert [world.send(kind).done for _ in range(3)] == [0, 1, 0]
    assert world.tried == ["a", "a"]


def test_a_stop_gives_back_what_was_not_tried(world: World) -> None:
    def send(_batch: Batch, _item: Item) -> Outcome:
        world.stop.set()
        return DONE

    world.arrive("a", "b", "c")
    assert world.send(world.kind(send)).done == 1
    assert world.rows("status, leased_until IS NULL") == [("done", 1), ("waiting", 1), ("waiting", 1)]


def test_a_receiver_taken_from_the_settings_loses_what_waits(world: World) -> None:
    world.arrive("a", "b")
    world.send(world.kind(lambda _batch, item: DONE if item.key == "a" else refused("no")))
    queue.register(world.db, replace(FRAMES, receivers=lambda settings: ()), world.settings)
    assert world.rows() == [("a", "done", 1)]
    assert queue.overview(world.db, FRAMES) == []


# ---- processes -------------------------------------------------------------------------------------------------
def process(world: World, die_at: str = "") -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.node.outgoing_kind", str(world.settings.storage.folder), die_at]
    return subprocess.Popen(command, cwd=ROOT)


def test_two_processes_send_everything_and_nothing_twice(world: World) -> None:
    keys = [f"k{number:03}" for number in range(120)]
    world.arrive(*keys)
    both = [process(world), process(world)]
    assert [one.wait(120) for one in both] == [0, 0]
    assert sorted(world.sent()) == keys
    assert world.rows("DISTINCT status, attempts, leased_until") == [("done", 1, None)]


def test_after_a_kill_everything_has_gone_and_only_what_was_not_settled_goes_twice(world: World) -> None:
    keys = [f"k{number}" for number in range(9)]
    world.arrive(*keys)
    # Batches of four, settled by twos: it dies with k6 out, k4 and k5 settled, k7 claimed.
    assert process(world, "k6").wait(60) == -9
    assert world.sent() == keys[:7]
    assert process(world).wait(60) == 0
    assert world.sent() == [*keys[:7], "k8"], "another process leaves alone what the dead one had claimed"
    queue.release_all(world.db, [FRAMES])
    assert process(world).wait(60) == 0
    assert world.sent() == [*keys[:7], "k8", "k6", "k7"]
    assert world.rows("DISTINCT status") == [("done",)]
