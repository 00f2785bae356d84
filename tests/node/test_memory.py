"""Memory that a role has freed goes back to the machine."""

import os
import subprocess
import sys
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


FAULTS = """
import resource, sys
from node.memory import keep_for_next_time

if sys.argv[1] == "kept":
    keep_for_next_time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    bytearray(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    """Of touching 8 MB a hundred times, where freed memory is to go back at once."""
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)


def test_what_is_freed_is_kept_for_next_time_whatever_the_environment_says() -> None:
    pages = 8_000_000 // os.sysconf("SC_PAGE_SIZE")
    assert page_faults("as it is") > 90 * pages
    assert page_faults("kept") < 3 * pages


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


IDLE = """
import sys
import numpy as np
from node import memory
def resident() -> int:
    return int(open("/proc/self/statm").read().split()[1]) * 4096
freed = memory.Freed()
memory.IDLE_S = 0.0
freed.after(work=True); freed.after(work=False); freed.after(work=False)
assert "analytics.vbq.networks" not in sys.modules
from analytics.vbq import networks
picture = np.random.default_rng(1).random((256, 256), dtype=np.float32)
first = networks.segment(picture)
freed.after(work=True); freed.after(work=False)
held = resident()
freed.after(work=False)
print(held - resident())
assert (networks.segment(picture) == first).all()
assert networks.forget() and not networks.forget()
"""


def test_the_networks_are_given_up_once_nothing_was_to_be_done_for_a_while() -> None:
    done = subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, check=True)
    # Measured: 36 MB after one picture of 256 by 256, 300 MB after both networks on 512 by 512.
    assert int(done.stdout) > 15e6
