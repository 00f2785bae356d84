"""The back-fill: how it grows with processes, what it costs beside measuring, and 100,000 studies scheduled and stored.

Run by hand, on a machine with nothing else to do::

    python -m tests.benchmarks.backfill speed --studies 400 --processes 1 2
    python -m tests.benchmarks.backfill pairs --studies 20 --rounds 5
    python -m tests.benchmarks.backfill many --studies 25000 50000 100000
    python -m tests.benchmarks.backfill many --studies 25000 50000 100000 --cluster
    python -m tests.benchmarks.backfill memory --studies 10000

``speed`` measures copies of a phantom's sagittal T1 series, each with noise and an identity of its own, by the step (in
one process, which is what measuring alone costs) and by the back-fill with so many processes, one run after the other
on the same studies. Printed are seconds, studies a second, the ratio to one process, and the load of the machine before
and after: where others work on it, compare ratios only.

``pairs`` is for a machine on which others work: one process, two, and a Dask cluster of two workers on this machine
measure the same studies in turn, warm, round after round. Beside seconds it prints the processor time of a study with
all that belongs to it (decoders, scheduler, nannies), which is what others cannot change much; compared are medians.

``many`` fills a database with studies of three images and has them measured by a stand-in that takes 1 ms in no process
of its own: what is left is the query, the tasks and the storing, whose cost must grow as the studies do. Peak memory is
of the whole process (ru_maxrss). With ``--cluster`` the stand-in takes its 1 ms on two workers of a Dask cluster whose
scheduler is a process of its own; printed are its processor time and its peak memory, too.

``memory`` measures so many studies by the same two processes and prints what they, their decoders and the node's own
process hold (PSS, which counts shared memory once) after each ``--round`` of them. Each round has copies of its own;
their images are deleted once they are measured, the rows stay.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import psutil
from distributed import Future

from analytics.vbq.measure import measure_stack
from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.backfill.cluster import ClusterEngine
from node.backfill.cluster_worker import measured, this_process
from node.backfill.engine import Done, Engine
from node.backfill.local import LocalEngine
from node.backfill.run import FAILED, Backfill, Progress
from node.demo.dicom_study import Examination, data_sets
from node.demo.phantom import PhantomSpec, draw_study
from node.demo.worker_reference import reference_study
from node.measure.task import StudyOutcome, StudyTask
from node.steps.measure_automatic import measure_automatically
from node.store.database import insert, open_database, writing
from tests.node.dicom_samples import settings_for
from tests.node.world import World
from tests.waiting import eventually

HELD_MS = 1.0
ROOT = "1.2.826.0.1.3680043.8.498.9"


def copies(world: World, number: int, *, first: int = 0) -> None:
    """A phantom's T1 series so often, each time with noise of its own and another patient, numbered from ``first``."""
    random = np.random.default_rng([3, first])
    examination = Examination(
        key="backfill", patient_id="P", authority="", name="", birth_date=date(1960, 1, 1), sex="F",
        begun_at=datetime(2026, 1, 1, 9, tzinfo=UTC),
    )  # fmt: skip
    drawn = data_sets(examination, draw_study(PhantomSpec(seed=7)))
    images = [one for one in drawn if one.SeriesInstanceUID == examination.t1_series_uid]
    pixels = [np.frombuffer(image.PixelData, np.uint16) for image in images]
    uids = [(image.StudyInstanceUID[:48], image.SeriesInstanceUID[:48], image.SOPInstanceUID[:48]) for image in images]
    for which in range(first, first + number):
        for image, (study, series, instance), plain in zip(images, uids, pixels, strict=True):
            image.StudyInstanceUID, image.SeriesInstanceUID = f"{study}.{which}", f"{series}.{which}"
            image.SOPInstanceUID, image.PatientID = f"{instance}.{which}", f"P{which}"
            image.PixelData = np.clip(plain + random.integers(-2, 3, plain.size), 0, 4095).astype("<u2").tobytes()
        world.receive(*images)
    world.index()
    world.catalogue()


def timed(world: World, name: str, work: Callable[[], object], studies: int, one: float | None) -> float:
    """Run, say what it took, and forget what was measured."""
    before, began = os.getloadavg()[0], time.perf_counter()
    work()
    took = time.perf_counter() - began
    ratio = f", {one / took:.2f} × one process" if one else ""
    load = f"load {before:.1f} → {os.getloadavg()[0]:.1f}"
    print(f"{name}: {took:.1f} s, {studies / took:.2f} studies/s{ratio}; {load}", flush=True)
    forget(world, studies)
    return took


def forget(world: World, studies: int) -> None:
    """See that all of them were measured, and have them measured again."""
    assert world.db.execute("SELECT count(*) FROM derived_measurement").fetchone() == (studies,)
    with writing(world.db):
        for table in ("derived_measurement", "derived_measured_pixels", "state_failure"):
            world.db.execute(f"DELETE FROM {table}")


def back_filled(world: World, engine: Engine) -> Progress:
    try:
        return Backfill(world.db, world.settings, engine).run()
    finally:
        engine.close()


def by_the_step(world: World) -> None:
    while measure_automatically(world.db, world.archive, world.settings, measure_stack):
        continue


def speed(studies: int, processes: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "node")
        copies(world, studies)
        timed(world, "step", lambda: by_the_step(world), studies, None)
        one: float | None = None
        for number in processes:
            engine = LocalEngine(number, world.folder)
            took = timed(world, f"{number} processes", lambda e=engine: back_filled(world, e), studies, one)
            one = one or took
        world.db.close()


def memory(studies: int, in_a_round: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "node")
        engine = LocalEngine(2, world.folder)
        for done in range(0, studies, in_a_round):
            copies(world, in_a_round, first=done)
            began = time.perf_counter()
            found = Backfill(world.db, world.settings, engine).run()
            took = time.perf_counter() - began
            assert found.done == in_a_round and not found.by_status[FAILED], found
            here = psutil.Process()
            own, others = held_mb(here), sorted(held_mb(one) for one in here.children(recursive=True))
            each = ", ".join(f"{one:.0f}" for one in others)
            print(f"{done + in_a_round} studies, {took / in_a_round:.2f} s each: {own:.0f} MB; {each} MB", flush=True)
            for (sha256,) in world.rows("SELECT sha256 FROM fact_object"):
                world.archive.path(str(sha256)).unlink(missing_ok=True)
        engine.close()
        world.db.close()


def held_mb(process: psutil.Process) -> float:
    """What a process holds, its part of what it shares with others."""
    return float(process.memory_full_info().pss) / 1e6


def processor_s() -> float:
    """Processor time of this process and of all that it has started, and those in turn."""
    here = psutil.Process()
    return sum(sum(one.cpu_times()[:4]) for one in [here, *here.children(recursive=True)])


def pairs(studies: int, rounds: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        # Not of this process: Dask would leave settings of memory in its environment, to the processes of the node too.
        cluster_of_two() as (address, _),
    ):
        world = World(Path(folder) / "node")
        copies(world, studies)
        engines: dict[str, Engine] = {
            "1 process": LocalEngine(1, world.folder),
            "2 processes": LocalEngine(2, world.folder),
            "2 workers of a cluster": ClusterEngine(address, world.folder, reference_study()),
        }
        wall: dict[str, list[float]] = defaultdict(list)
        cpu: dict[str, list[float]] = defaultdict(list)
        for number in range(rounds + 1):
            for name, engine in list(engines.items())[:: 1 if number % 2 else -1]:
                began, used = time.perf_counter(), processor_s()
                Backfill(world.db, world.settings, engine).run()
                took, used = time.perf_counter() - began, processor_s() - used
                forget(world, studies)
                if number:  # the first is to warm up
                    wall[name].append(took / studies)
                    cpu[name].append(used / studies)
                load = os.getloadavg()[0]
                print(f"round {number}, {name}: {took:.1f} s, {used:.1f} s of processors; load {load:.1f}", flush=True)
        for name, engine in engines.items():
            engine.close()
            print(
                f"{name}: median of a study {statistics.median(wall[name]):.2f} s, "
                f"{statistics.median(cpu[name]):.3f} s of processors"
            )
        for other, one in (("2 processes", "1 process"), ("2 workers of a cluster", "2 processes")):
            ratios = {
                kind: statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))
                for kind, times in (("clock", wall), ("processors", cpu))
            }
            print(
                f"{other} to {one}: rate by the clock {ratios['clock']:.2f}, by processors {ratios['processors']:.2f}"
            )
        world.db.close()


class StandIn:
    """Measures in no process of its own, a study each millisecond, as it is asked for the outcome."""

    def __init__(self, inputs: str) -> None:
        self._inputs = inputs
        self._tasks: deque[StudyTask] = deque()

    def room(self) -> int:
        return 256 - len(self._tasks)

    def submit(self, task: StudyTask) -> None:
        self._tasks.append(StudyTask.from_json(task.to_json()))

    def wait(self, seconds: float) -> list[Done]:
        tasks, self._tasks = self._tasks, deque()
        time.sleep(HELD_MS / 1000 * len(tasks))
        return [Done(study_uid=one.study_uid, outcome=StudyOutcome.from_json(self._said(one))) for one in tasks]

    def close(self) -> None:
        self._tasks.clear()

    def _said(self, task: StudyTask) -> str:
        return said(task, self._inputs)


def said(task: StudyTask, inputs: str) -> str:
    """An outcome as of one measured series."""
    row = {
        "series_instance_uid": f"{task.study_uid}.1", "source": "auto", "reading_id": None,
        "instances_sha256": inputs, "current": 1, "sop_instance_uid": f"{task.study_uid}.1.1",
        "instance_number": 1, "frame_number": None, "status": "measured", "reasons": "[]", "vbq_mean": 2.5,
        "vbq_median": 2.5, "vbq_sd": 0.1, "levels_confidence": 1.0, "rois": "{}", "beside": "{}",
        "algorithm_name": AUTOMATIC_NAME, "algorithm_version": AUTOMATIC_VERSION,
    }  # fmt: skip
    pixels = {f"{task.study_uid}.1": f"{abs(hash(task.study_uid)):064x}"}
    return StudyOutcome(study_uid=task.study_uid, rows=(row,), pixels=pixels, faults={}).to_json()


def fill(folder: Path, studies: int, inputs: str) -> None:
    """As after the catalogue: a study is a series of three images."""
    db = open_database(folder, create=True)
    with writing(db):
        for number in range(studies):
            study = f"{ROOT}.{number}"
            for image in range(3):
                object_id = 3 * number + image + 1
                uid = f"{study}.1.{image}"
                fact = {"object_id": object_id, "sha256": f"{object_id:064x}", "size_bytes": 1, "sop_class_uid": "1",
                        "sop_instance_uid": uid, "transfer_syntax_uid": "1"}  # fmt: skip
                insert(db, "fact_object", [fact])
                receipt = {"object_id": object_id, "received_at": "2026-01-01T00:00:00.000000+00:00",
                           "calling_ae": "A", "peer_address": "127.0.0.1"}  # fmt: skip
                insert(db, "fact_object_receipt", [receipt])
                instance = {"object_id": object_id, "sop_instance_uid": uid, "series_instance_uid": f"{study}.1",
                            "study_instance_uid": study, "headers": json_of_a_header()}  # fmt: skip
                insert(db, "derived_instance", [instance])
            series = {
                "series_instance_uid": f"{study}.1", "study_instance_uid": study, "patient_authority": "H",
                "patient_id": str(number), "instances": 3, "instances_sha256": inputs, "role": "t1_sagittal",
                "chosen": 1, "inputs_sha256": inputs, "reasons": "[]", "protocol": "{}",
                "last_received_at": "2026-01-01T00:00:00.000000+00:00", "missing_slices": 0,
                "completeness": "complete", "completeness_reasons": "[]",
            }  # fmt: skip
            insert(db, "derived_series", [series])
    db.close()


def json_of_a_header() -> str:
    """About as long as that of an image."""
    return '{"filler": "' + "x" * 1500 + '"}'


INPUTS = "0" * 64


def held(task: str, *_: object) -> tuple[str, str]:
    """In the place of measuring on a worker."""
    time.sleep(HELD_MS / 1000)
    return this_process(), said(StudyTask.from_json(task), INPUTS)


class HeldOnCluster(ClusterEngine):
    """Has the workers do :func:`held`."""

    def _ask(self, lane: object, *call: object) -> Future:
        return super()._ask(lane, *(held if one is measured else one for one in call))


@contextmanager
def cluster_of_two() -> Iterator[tuple[str, psutil.Process]]:
    """Scheduler and workers as processes of their own, started as node/backfill/README.md says; the address, and the
    process of the scheduler."""
    dask = [sys.executable, "-m", "dask"]
    quiet = ["--no-dashboard"]
    environment = os.environ | {"DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        scheduler = subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file, *quiet],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        assert eventually(file.exists, within_s=300)
        address = json.loads(file.read_text(encoding="utf-8"))["address"]
    workers = subprocess.Popen(
        [*dask, "worker", address, "--nworkers", "2", "--nthreads", "1", "--memory-limit", "0", *quiet],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield address, psutil.Process(scheduler.pid)
    finally:
        for one in (workers, scheduler):
            one.terminate()
            one.wait()


def peak_mb(process: psutil.Process) -> float:
    """The most memory that a process had."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(encoding="ascii"))
    return int(kilobytes) / 1024


def many(sizes: Sequence[int], *, on_cluster: bool) -> None:
    for studies in sizes:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), studies, INPUTS)
            if not on_cluster:
                measured_many(Path(folder), studies, StandIn(INPUTS))
                continue
            with cluster_of_two() as (address, scheduler):
                measured_many(Path(folder), studies, HeldOnCluster(address, Path(folder), reference_study()))
                cpu = sum(scheduler.cpu_times()[:2])
                print(f"  the scheduler: {cpu:.0f} s, peak {peak_mb(scheduler):.0f} MB", flush=True)


def measured_many(folder: Path, studies: int, engine: Engine) -> None:
    db = open_database(folder)
    began, cpu = time.perf_counter(), time.process_time()
    done = Backfill(db, settings_for(folder), engine).run()
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    engine.close()
    assert done.by_status == {"measured": studies}, done
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{studies} studies: {took:.0f} s, {cpu:.0f} s of them in this process ({1000 * cpu / studies:.2f} ms each); "
        f"peak {peak:.0f} MB; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    db.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("speed")
    one.add_argument("--studies", type=int, default=400)
    one.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    pair = kinds.add_parser("pairs")
    pair.add_argument("--studies", type=int, default=20)
    pair.add_argument("--rounds", type=int, default=5)
    other = kinds.add_parser("many")
    other.add_argument("--studies", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    other.add_argument("--cluster", action="store_true")
    flat = kinds.add_parser("memory")
    flat.add_argument("--studies", type=int, default=10_000)
    flat.add_argument("--round", type=int, default=200)
    given = parser.parse_args()
    if given.kind == "memory":
        memory(given.studies, given.round)
    elif given.kind == "speed":
        speed(given.studies, given.processes)
    elif given.kind == "pairs":
        pairs(given.studies, given.rounds)
    else:
        many(given.studies, on_cluster=given.cluster)


if __name__ == "__main__":
    main()
