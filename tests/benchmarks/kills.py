"""kill -9 of every role at random under two DICOM and two MLLP senders: what was acknowledged is stored.

Run by hand: ``python -m tests.benchmarks.kills [--kills 200] [--bad] [--seed 1]``. A node runs in a folder of its own.
Each kill takes one of: the supervisor, all processes at once, a role, a process of the receiver, a child of the steps;
after some more has been acknowledged, and a random moment later. With ``--bad`` objects and messages that are wrong
(``tests/node/bad_things.py``) are sent before the first kill and after every 20th. At the end the bytes of everything
acknowledged are compared with the archive and the database. Exit code 1: something is not as it should be.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from node.run.roles import ROLES
from node.store.presence import SUPERVISOR
from tests.acceptance.harness import Node, _descendants
from tests.benchmarks.acknowledged import ImageSender, Ledger, MessageSender, compare, send_bad

ALL, ACCEPTOR, CHILD = "all at once", "a process of dicom", "a child of steps"
TARGETS = (SUPERVISOR, ALL, *ROLES, ACCEPTOR, CHILD)
LONGEST_DELAY_S = 0.5
PATIENCE_S = 600.0
"""Time allowed until something more is acknowledged; roles that die often are started later each time."""
BAD_EVERY = 20
MESSAGE_PAUSE_S, IMAGE_PAUSE_S = 0.05, 0.02


class Target:
    """The processes of a running node by what they are."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def pids(self, name: str) -> list[int]:
        """Processes of that name that run now; of the supervisor the one."""
        supervisor = self._supervisor
        if name == SUPERVISOR:
            return [supervisor]
        roles = {role: self._role(role) for role in ROLES}
        if name == ALL:
            return [supervisor, *_alive(supervisor)]
        if name in roles:
            return roles[name]
        return [pid for parent in roles["dicom" if name == ACCEPTOR else "steps"] for pid in _alive(parent)]

    @property
    def _supervisor(self) -> int:
        assert self._node._process is not None
        return self._node._process.pid

    def _role(self, name: str) -> list[int]:
        found = []
        for pid in _children(self._supervisor):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if name.encode() in command and b"--supervised" in command:
                    found.append(pid)
        return found


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _alive(pid: int) -> list[int]:
    try:
        return _descendants(pid)
    except OSError:
        return _children(pid)


def kill(node: Node, target: Target, name: str) -> bool:
    """Kill what bears the name, and start the node again where that was its supervisor; false: there is none now."""
    pids = target.pids(name)
    if not pids:
        return False
    for pid in pids if name in (SUPERVISOR, ALL) else pids[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if name in (SUPERVISOR, ALL):
        assert node._process is not None
        node._process.wait(30)
        node._close()
        node.start(PATIENCE_S)
    return True


def run(folder: Path, kills: int, *, seed: int, bad: bool) -> dict[str, object]:
    """Kill so many times; what came of it."""
    node, chance = Node(folder), random.Random(seed)
    node.start(PATIENCE_S)
    ledger, stop = Ledger(), threading.Event()
    senders: list[threading.Thread] = [
        ImageSender(1, node.dicom_port, ledger, stop, pause_s=IMAGE_PAUSE_S),
        ImageSender(2, node.dicom_port, ledger, stop, pause_s=IMAGE_PAUSE_S),
        MessageSender(3, node.hl7_port, ledger, stop, pause_s=MESSAGE_PAUSE_S),
        MessageSender(4, node.hl7_port, ledger, stop, pause_s=MESSAGE_PAUSE_S),
    ]
    bad_runs: list[threading.Thread] = []
    for sender in senders:
        sender.start()
    done: Counter[str] = Counter()
    began, target = time.monotonic(), Target(node)
    try:
        while done.total() < kills:
            if bad and done.total() % BAD_EVERY == 0 and len(bad_runs) <= done.total() // BAD_EVERY:
                given = (node.dicom_port, node.hl7_port, ledger, len(bad_runs))
                bad_runs.append(threading.Thread(target=send_bad, args=given, daemon=True))
                bad_runs[-1].start()
            ledger.more.clear()
            if not ledger.more.wait(PATIENCE_S):
                raise RuntimeError(f"nothing was acknowledged for {PATIENCE_S:g} s after {done}")
            time.sleep(chance.uniform(0.0, LONGEST_DELAY_S))
            name = chance.choice(TARGETS)
            if kill(node, target, name):
                done[name] += 1
                if done.total() % 10 == 0:
                    sys.stderr.write(
                        f"{done.total()} kills, {len(ledger.images)} images, {len(ledger.messages)} messages\n"
                    )
        for thread in bad_runs:
            thread.join(PATIENCE_S)
        unfinished = sum(thread.is_alive() for thread in bad_runs)
    finally:
        stop.set()
        for sender in senders:
            sender.join(PATIENCE_S)
        if node.running:
            node.kill()
    took = time.monotonic() - began
    # What the next start brings together was never acknowledged, or is recorded.
    node.start(PATIENCE_S)
    stopped = node.stop()
    compared = compare(node.data, ledger)
    problems = Counter(str(row["code"]) for row in node.query("SELECT code FROM problems"))
    return {
        "kills": dict(done), "kills_in_all": done.total(), "seconds": round(took), "load_average": os.getloadavg(),
        "acknowledged_images": len(ledger.images), "acknowledged_messages": len(ledger.messages),
        "stored_images": compared.images, "stored_messages": compared.messages,
        "bad_runs": len(bad_runs), "bad_runs_unfinished": unfinished, "exit_code": stopped,
        "problems_by_code": dict(problems), "wrong": list(compared.wrong),
    }  # fmt: skip


def main() -> int:
    """Print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--bad", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vbq-kills-", ignore_cleanup_errors=True) as folder:
        found = run(Path(folder), asked.kills, seed=asked.seed, bad=asked.bad)
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 1 if found["wrong"] or found["bad_runs_unfinished"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
