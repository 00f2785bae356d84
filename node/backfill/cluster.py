"""Workers of a Dask cluster that measure one study each, one after the other.

Which worker gets a study is decided here, not by the scheduler: so few are in hand at a time, and when a worker is lost
it is known which study it had. That one is given to another worker once more, then it is a problem, and the rest is
done. A worker counts when it has measured a reference study and came to the outcome of this process; who does not is
refused by name. Should the scheduler be lost, what is in hand was never begun.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any
from uuid import uuid4

import dask
import structlog
from distributed import Client, Future
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from analytics.vbq.measure import measure_stack
from node.backfill.cluster_worker import introduced, measured, measured_with
from node.backfill.connection import connect, is_open
from node.backfill.engine import AHEAD, LONGEST_S, START_S, STARTS_IN_A_ROW, TRIES, Done, study_fails
from node.errors import ClusterError
from node.measure.automatic import Measure
from node.measure.task import StudyOutcome, StudyTask, in_these_words, looked_at
from node.settings import ClientTls
from node.store.archive import Archive
from node.store.failures import in_words, tried

CONNECT_S = 15.0
"""Time for a connection to the scheduler."""
RETURN_S = 300.0
"""How long a scheduler that is lost is waited for."""
LOOK_S = 1.0
"""How often it is looked which workers there are."""
ANSWER_S = 10.0
"""Time for the answers that workers hold; one that is lost with them would be waited for without end."""
SOFTWARE = "node.backfill.cluster_worker:introduced"
"""What a worker is asked for before it is told to call it: one that cannot import what it is told ends."""
ALONE_S = 300.0
"""How long others are waited for where every worker that came was refused."""
SAY_S = 60.0
"""How often it is said that no worker is there; on a cluster with a queue they may come hours later."""
WAITING_S = 0.5
"""Work that waits for each worker, where studies are so short that more than one lies ahead."""
MOST_AHEAD = 32
MOST_BYTES = 512 * 1024**2
"""Images sent with the studies in hand, which pass through the scheduler's memory."""
UNWARNED = {"distributed.admin.large-graph-warning-threshold": 2 * MOST_BYTES}
"""That a study with its images is large is no news."""

log = structlog.get_logger()


@dataclass(kw_only=True)
class _Job:
    """A study in hand: what is asked of the cluster, and the bytes of images sent along."""

    task: StudyTask
    future: Future
    with_files: bool
    size: int
    done: bool = False
    """Its worker is through with it, but the answer is not here yet."""


@dataclass(kw_only=True)
class _Lane:
    """A worker with the studies that it was given, the one at work first."""

    address: str
    name: str
    nanny: bool
    deadline: float
    check: Future | None
    """What it is asked for before it counts."""
    has_software: bool = False
    process: str = ""
    sees_archive: bool = True
    jobs: dict[str, _Job] = field(default_factory=dict)
    at_work_since: float = 0.0
    """When the first of them was sent, or the one before it was done."""
    study_s: float = math.inf
    """How long a study takes lately."""

    @property
    def places(self) -> int:
        """How many more studies it takes."""
        ahead = min(MOST_AHEAD, max(AHEAD, int(WAITING_S / self.study_s)))
        return 0 if self.check else 1 + ahead - len(self.jobs)

    def begins(self, longest_s: float) -> None:
        """It is at work on the first of its studies."""
        self.at_work_since = monotonic()
        self.deadline = self.at_work_since + longest_s

    def ends(self) -> None:
        """It is through with it."""
        took = max(1e-6, monotonic() - self.at_work_since)
        self.study_s = took if self.study_s == math.inf else self.study_s + (took - self.study_s) / 8


@dataclass(frozen=True, kw_only=True)
class _Again:
    task: StudyTask
    with_files: bool = False


class ClusterEngine:
    """Measures on the workers of a Dask cluster.

    Parameters
    ----------
    scheduler
        Its address: ``tls://host:port``, or ``tcp://`` on loopback.
    folder
        The data folder, in whose archive the images lie.
    seen_at
        Where the workers see that folder, if elsewhere; one that sees no images there is sent them.
    reference
        A study, and its images by SHA-256, which each worker measures first.
    tls
        For ``tls://``: the authority of the cluster, and a certificate by it.
    measure
        :func:`analytics.vbq.measure.measure_stack`, or another that the workers can import.

    Raises
    ------
    ClusterError, InputError
        As :func:`node.backfill.connection.connect`.
    """

    def __init__(
        self,
        scheduler: str,
        folder: Path,
        reference: tuple[StudyTask, Mapping[str, bytes]],
        *,
        seen_at: Path | None = None,
        tls: ClientTls | None = None,
        measure: Measure = measure_stack,
        longest_s: float = LONGEST_S,
        connect_s: float = CONNECT_S,
    ) -> None:
        self._scheduler, self._tls = scheduler, tls
        self._archive, self._seen_at = Archive(folder), str(seen_at or folder.absolute())
        self._reference, self._measure = reference, measure
        self._longest_s, self._connect_s = longest_s, connect_s
        self._lanes: dict[str, _Lane] = {}
        self._again: deque[_Again] = deque()
        self._deaths: Counter[str] = Counter()
        self._number = count()
        self._heard: SimpleQueue[str] = SimpleQueue()
        self._look_at = 0.0
        self._failed_checks = 0
        self._lost_at: float | None = None
        self._alone_since = self._said_at = monotonic()
        self._refused_addresses: set[str] = set()
        self.refused: dict[str, str] = {}
        """Workers that do not count, and why."""
        self.counted: set[str] = set()
        """Workers that have measured the reference study as this process does."""
        self._client = self._connected()
        try:
            self._expected, self._measured_with = self._measured_here(), measured_with()
        except BaseException:
            self.close()
            raise

    def room(self) -> int:
        """How many more tasks it takes now."""
        if self._client.status != "running" or self._bytes() >= MOST_BYTES:
            return 0
        return max(0, sum(lane.places for lane in self._lanes.values()) - len(self._again))

    def submit(self, task: StudyTask) -> None:
        """Take a task."""
        self._again.append(_Again(task=task))
        self._give()

    def wait(self, seconds: float) -> Sequence[Done]:
        """What is done, at the latest after so many seconds, or a little later where the cluster does not answer.

        Raises
        ------
        ClusterError
            The scheduler is gone, or every worker is refused.
        """
        if self._client.status == "closed":
            self._return()
            return []
        done = [*self._answers(self._settled(seconds))]
        if monotonic() >= self._look_at:
            done += self._look()
            self._look_at = monotonic() + LOOK_S
            self._require_workers()
        self._give()
        return done

    def close(self) -> None:
        """Let go of the cluster, which forgets what this engine asked of it."""
        self._lanes.clear()
        # Whatever state the connection is in: nothing is asked of the cluster any more.
        with suppress(Exception):
            self._client.close(timeout=ANSWER_S)

    def _measured_here(self) -> StudyOutcome:
        task, files = self._reference
        _, outcome = measured(task.to_json(), self._measure, None, files)
        expected = _compared(outcome)
        if expected is None or expected.fault or expected.faults:
            raise ClusterError("this node itself fails on the reference study; see its log")
        return expected

    # ---- the connection ----------------------------------------------------------------------------------------------
    def _connected(self) -> Client:
        return connect(self._scheduler, self._tls, within_s=self._connect_s)

    def _return(self) -> None:
        """Try once to come back to a scheduler that is lost."""
        if self._lost_at is None:
            log.warning("the scheduler is lost; waiting for it", scheduler=self._scheduler)
            self._lost_at = monotonic()
            self._forget()
        try:
            self._client = self._connected()
        except ClusterError:
            if monotonic() > self._lost_at + RETURN_S:
                raise
        else:
            self._lost_at = None

    def _forget(self) -> None:
        """Nothing is in hand any more, and every worker is a new one."""
        for lane in self._lanes.values():
            self._take_back(lane)
        self._lanes.clear()

    # ---- the workers -------------------------------------------------------------------------------------------------
    def _look(self) -> list[Done]:
        """See which workers there are."""
        # Not Client.scheduler_info(), which now and then has no workers (findings/).
        found = tried(lambda: self._client.sync(self._client.scheduler.identity, n_workers=-1))
        if found.error is not None:
            return []  # the state of the connection tells what to do
        workers: Mapping[str, Mapping[str, Any]] = found.result()["workers"]
        done = []
        for lane in [one for address, one in self._lanes.items() if address not in workers]:
            done += self._lost(lane, "its worker was lost")
        self._refused_addresses &= workers.keys()
        for address, worker in workers.items():
            if address not in self._lanes and address not in self._refused_addresses:
                self._come(address, worker)
        now = monotonic()
        for lane in [*self._lanes.values()]:
            # What was heard of when its answer could not be had.
            for future in (lane.check, *(job.future for job in lane.jobs.values())):
                if future and future.done():
                    self._heard.put(future.key)
            if now > lane.deadline and (lane.check or lane.jobs):
                done += self._late(lane)
        return done

    def _come(self, address: str, worker: Mapping[str, Any]) -> None:
        """See whether a worker may count."""
        name = str(worker["name"])
        lane = _Lane(
            address=address,
            name=address if name == address else f"{name} at {address}",
            nanny=bool(worker["nanny"]),
            deadline=monotonic() + START_S,
            check=None,
        )
        self._lanes[address] = lane
        if is_open(address):
            self._refuse(lane, "it listens without TLS")
        elif worker["nthreads"] != 1:
            self._refuse(lane, f"it has {worker['nthreads']} threads: start it with --nthreads 1, a worker a processor")
        else:
            lane.check = self._ask(lane, resolve_name, SOFTWARE)

    def _checked(self, lane: _Lane, answer: Any) -> None:
        """Have a worker that has this software measure the reference study, and see what it came to."""
        if not lane.has_software:
            lane.has_software, lane.deadline = True, monotonic() + START_S
            task, files = self._reference
            lane.check = self._ask(lane, introduced, task.to_json(), self._measure, files)
            return
        process, outcome, with_what = answer
        if why := _unlike(self._measured_with, with_what, same=_compared(outcome) == self._expected):
            self._refuse(lane, why)
            return
        lane.check, lane.process, self._failed_checks = None, process, 0
        self.refused.pop(lane.name, None)
        self.counted.add(lane.name)
        log.info("a worker counts", worker=lane.name)

    def _late(self, lane: _Lane) -> list[Done]:
        if not lane.nanny:
            done = self._charge(lane, "was not done in time")
            self._refuse(lane, "it does not come to an end with a study, and has no nanny to end it")
            return done
        # Where that fails, the worker stays, and is late with the reference study.
        tried(lambda: self._client.restart_workers([lane.address], timeout=ANSWER_S, raise_for_error=False))
        return self._lost(lane, "was not done in time")

    def _lost(self, lane: _Lane, how: str) -> list[Done]:
        log.warning("a worker is lost", worker=lane.name, how=how)
        if lane.check:
            self._failed_checks += 1
            self.refused[lane.name] = "it ended before it had measured the reference study"
        done = self._charge(lane, how)
        self._take_back(lane)
        del self._lanes[lane.address]
        return done

    def _refuse(self, lane: _Lane, why: str) -> None:
        log.error("a worker is refused", worker=lane.name, why=why)
        self.refused[lane.name] = why
        self.counted.discard(lane.name)
        self._refused_addresses.add(lane.address)
        self._take_back(lane)
        del self._lanes[lane.address]

    def _charge(self, lane: _Lane, how: str) -> list[Done]:
        """The study at work has cost its worker; what becomes of it."""
        key = next((key for key, job in lane.jobs.items() if not job.done), None)
        return [] if key is None else self._cost(lane.jobs.pop(key), how)

    def _cost(self, job: _Job, how: str) -> list[Done]:
        uid = job.task.study_uid
        self._deaths[uid] += 1
        if self._deaths[uid] >= TRIES:
            return [Done(study_uid=uid, reason=study_fails(how))]
        self._again.append(_Again(task=job.task, with_files=job.with_files))
        return []

    def _take_back(self, lane: _Lane) -> None:
        self._again.extend(_Again(task=job.task, with_files=job.with_files) for job in lane.jobs.values())
        lane.jobs, lane.check = {}, None

    def _require_workers(self) -> None:
        now = monotonic()
        if self._lanes:
            self._alone_since = now
        elif self.refused and now > self._alone_since + ALONE_S:
            raise ClusterError(f"no worker can be used: {_said(self.refused)}")
        elif now > max(self._alone_since, self._said_at) + SAY_S:
            self._said_at = now
            log.warning("no worker is there yet", scheduler=self._scheduler)
        if self._failed_checks >= STARTS_IN_A_ROW and not any(lane.process for lane in self._lanes.values()):
            raise ClusterError(f"no worker can be used; see their logs: {_said(self.refused)}")

    # ---- the studies -------------------------------------------------------------------------------------------------
    def _bytes(self) -> int:
        return sum(job.size for lane in self._lanes.values() for job in lane.jobs.values())

    def _give(self) -> None:
        """Give workers what is to be done, the one that has least first."""
        while self._again and self._client.status == "running" and self._bytes() < MOST_BYTES:
            lane = max(self._lanes.values(), key=lambda one: one.places, default=None)
            if lane is None or not lane.places:
                return
            with suppress(ClosedClientError):
                self._send(lane, self._again[0])
                self._again.popleft()

    def _send(self, lane: _Lane, what: _Again) -> None:
        with_files = what.with_files or not lane.sees_archive
        files = self._files(what.task) if with_files else None
        if not lane.jobs:
            lane.begins(self._longest_s)
        with dask.config.set(UNWARNED) if files else nullcontext():
            future = self._ask(lane, measured, what.task.to_json(), self._measure, self._seen_at, files)
        size = sum(map(len, files.values())) if files else 0
        lane.jobs[future.key] = _Job(task=what.task, future=future, with_files=with_files, size=size)

    def _ask(self, lane: _Lane, *call: object) -> Future:
        """Have a worker do something; it does what it was asked earlier first."""
        future = self._client.submit(
            *call, key=f"vbq-node-{uuid4().hex}", workers=[lane.address], allow_other_workers=False, pure=False,
            priority=-next(self._number),
        )  # fmt: skip
        future.add_done_callback(lambda one: self._heard.put(one.key))
        return future

    def _files(self, task: StudyTask) -> dict[str, bytes]:
        """The images that measuring a study looks at; without those that cannot be read, which the worker misses."""
        wanted = tried(lambda: looked_at(task))
        found = {}
        for sha256 in sorted(wanted.value or ()):
            with suppress(OSError):
                found[sha256] = self._archive.path(sha256).read_bytes()
        return found

    def _settled(self, seconds: float) -> set[str]:
        """Keys of what has come to an end, one way or another."""
        found = set()
        with suppress(Empty):
            found.add(self._heard.get(timeout=seconds))
            while True:
                found.add(self._heard.get_nowait())
        return found

    def _asked(self, keys: set[str]) -> Iterator[tuple[_Lane, str, Future]]:
        """What these keys stand for; what is taken back meanwhile is left out."""
        for lane in [*self._lanes.values()]:
            if lane.check and lane.check.key in keys:
                yield lane, lane.check.key, lane.check
            for key in [key for key in lane.jobs if key in keys]:
                if key in lane.jobs:
                    yield lane, key, lane.jobs[key].future

    def _answers(self, keys: set[str]) -> Iterator[Done]:
        here: dict[str, Future] = {}
        for lane, key, future in self._asked(keys):
            if future.status == "finished":
                here[key] = future
                if key in lane.jobs:
                    lane.jobs[key].done = True
            elif future.status == "error":
                yield from self._failed(lane, key, future)
            elif future.status == "cancelled":
                # By nobody here: the scheduler was lost, and with it all that it was asked.
                self._forget()
                return
        answers = self._fetched(here)
        for lane, key, _ in self._asked(set(answers)):
            if lane.check:
                self._checked(lane, answers[key])
            else:
                yield from self._answered(lane, lane.jobs.pop(key), *answers[key])

    def _fetched(self, futures: Mapping[str, Future]) -> dict[str, Any]:
        """The answers that workers hold; none where one was lost meanwhile, and they are asked for again."""
        if not futures:
            return {}

        async def gathered() -> dict[str, Any]:
            return await asyncio.wait_for(self._client.gather(dict(futures), asynchronous=True), ANSWER_S)

        # CancelledError is none of Exception's; it is of the loop of the client, not of this thread.
        try:
            return dict(self._client.sync(gathered))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # who is gone is seen at the next look
            log.warning("answers were not given", how=in_words(error))
            self._look_at = 0.0
            return {}

    def _answered(self, lane: _Lane, job: _Job, process: str, answer: str | None) -> Iterator[Done]:
        lane.ends()
        lane.begins(self._longest_s)
        if process != lane.process:
            # Of another at the address of the one that counts; it is seen as a new worker at the next look.
            self._again.append(_Again(task=job.task, with_files=job.with_files))
            self._take_back(lane)
            del self._lanes[lane.address]
            return
        if answer is None:
            if all(self._archive.path(image.sha256).exists() for image in job.task.images):
                lane.sees_archive = False
                log.warning("a worker does not see the archive: it is sent the images", worker=lane.name)
            self._again.append(_Again(task=job.task, with_files=True))
            return
        outcome = StudyOutcome.from_json(answer)
        if (outcome.fault or outcome.faults) and not job.with_files:
            # It may lie with the worker's way to the archive, so not yet with the study.
            self._again.append(_Again(task=job.task, with_files=True))
            return
        self._deaths.pop(job.task.study_uid, None)
        yield Done(study_uid=job.task.study_uid, outcome=outcome)

    def _failed(self, lane: _Lane, key: str, future: Future) -> list[Done]:
        error = future.exception()
        job = lane.jobs.pop(key, None)
        if isinstance(error, KilledWorker) and job:
            return [Done(study_uid=job.task.study_uid, reason=study_fails("its workers were lost"))]
        fails = "it fails" if lane.has_software else "it has no such version of this software"
        self._refuse(lane, f"{fails} ({in_words(error)})")
        return self._cost(job, "failed on its worker") if job else []


def _compared(outcome: str | None) -> StudyOutcome | None:
    return None if outcome is None else in_these_words(StudyOutcome.from_json(outcome))


def _unlike(here: Mapping[str, str], there: Mapping[str, str], *, same: bool) -> str | None:
    """Why a worker does not count: it has another version, or comes to another outcome."""
    others = [f"{name} {there[name]} for {here[name]}" for name in here if name in there and there[name] != here[name]]
    if here["vbq-node"] != there.get("vbq-node"):
        return f"it has another version: {', '.join(others)}"
    if not same:
        differs = ", ".join(others) or "nothing that has a name"
        return f"it gives other values on the reference study; it differs in {differs}"
    return None


def _said(refused: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in refused.items())
