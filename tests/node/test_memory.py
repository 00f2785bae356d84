"""Memory that a role has freed goes back to the machine."""

import threading
from pathlib import Path

import pytest

from node import memory
from node.memory import give_back
from node.outgoing import role
from node.outgoing.delivery import Tally
from tests.node.world import World

PIECES, PIECE_BYTES = 40_000, 2_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_what_lies_free_between_what_is_held_is_given_back() -> None:
    pieces: list[bytes | None] = [bytes(PIECE_BYTES) for _ in range(PIECES)]
    # One in 64 stays, so that no end of the heap is free.
    pieces = [one if number % 64 == 0 else None for number, one in enumerate(pieces)]
    held = resident_bytes()
    give_back()
    assert held - resident_bytes() > PIECES * PIECE_BYTES / 2
    assert len(pieces) == PIECES


def test_outgoing_gives_back_once_when_it_has_sent_and_nothing_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, said = threading.Event(), list[str]()
    rounds = iter([0, 2, 1, 0, 0, 3, 0])

    def work(_: object) -> Tally:
        done = next(rounds, None)
        if done is None:
            stop.set()
        said.append(str(done))
        return Tally(done=done or 0)

    monkeypatch.setattr(memory, "give_back", lambda: said.append("given back"))
    monkeypatch.setattr(role, "POLL_S", 0.0)
    role._repeat(world.folder, work, stop)
    assert said == ["0", "2", "1", "0", "given back", "0", "3", "0", "given back", "None"]
