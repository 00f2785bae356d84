"""The back-fill on a Dask cluster: the step's values, bit for bit, whoever is killed; who gives others is refused."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from unittest.mock import patch

import dask
import pytest
from distributed import LocalCluster, Security
from sqlite_utils import Database
from typer.testing import CliRunner

from analytics.vbq.measure import measure_stack
from node.backfill import cluster as room
from node.backfill import cluster_worker, run
from node.backfill.cluster import ClusterEngine
from node.backfill.run import Backfill, Progress
from node.cli import app
from node.demo.dicom_study import Examination, t1_data_sets
from node.demo.phantom import PhantomSpec, draw_series
from node.demo.worker_reference import reference_study
from node.errors import ClusterError, InputError
from node.measure.automatic import Measure
from node.measure.task import StudyTask, looked_at
from node.settings import ClientTls
from node.steps.measure_automatic import measure_automatically, task_of
from node.steps.unmeasured import pending_studies
from tests.certificates import Certificates, make_certificates
from tests.node import backfill_child, backfill_cluster_child
from tests.node.backfill_child import DEADLY
from tests.node.dicom_samples import write_file
from tests.node.known_circles import KnownCircles
from tests.node.test_backfill import ROOT, filled, rows, study
from tests.node.world import CIRCLES, World
from tests.ports import free_port

Reference = tuple[StudyTask, Mapping[str, bytes]]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(certificates: Certificates) -> ClientTls:
    folder = certificates.folder
    return ClientTls(ca=folder / "ca.pem", certificate=folder / "node.pem", key=folder / "node.key")


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    """Dask leaves its settings of memory to all that is started later."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="module")
def cluster(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Two processes with TLS between them; they are named 0 and 1."""
    files = {
        f"tls_{role}_{kind}": str(certificates.folder / f"known.{end}")
        for role in ("scheduler", "worker", "client")
        for kind, end in (("cert", "pem"), ("key", "key"))
    }
    security = Security(require_encryption=True, tls_ca_file=str(certificates.folder / "ca.pem"), **files)
    environment = {"BACKFILL_CHILD_FOLDER": str(tmp_path_factory.mktemp("once")), "BACKFILL_CHILD_S": "0.1"}
    # On a busy machine a worker takes longer to be back than it is waited for by default.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}), LocalCluster(
        n_workers=2, threads_per_worker=1, protocol="tls://", security=security, dashboard_address="127.0.0.1:0",
        env=environment, memory_limit=0,
    ) as made:  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A study of small images, as the stand-ins of the tests measure them."""
    world = filled(tmp_path_factory.mktemp("reference"), study(90))
    task = task_of(world.db, world.settings, f"{ROOT}.90")
    world.db.close()
    return task, {image.sha256: world.archive.path(image.sha256).read_bytes() for image in task.images}


@pytest.fixture(scope="module")
def by_the_step(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    world = filled(tmp_path_factory.mktemp("step"), *map(study, range(4)))
    measure_automatically(world.db, world.archive, world.settings, KnownCircles(CIRCLES))
    found = rows(world.db)
    world.db.close()
    assert len(found) == 8
    return found


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is measured in this process too."""
    monkeypatch.setenv("BACKFILL_CHILD_FOLDER", str(tmp_path))


@pytest.fixture
def engine(cluster: LocalCluster, reference: Reference, tls: ClientTls) -> Iterator[Callable[..., ClusterEngine]]:
    made: list[ClusterEngine] = []

    def make(world: World, measure: Measure = backfill_child.measure, **options: object) -> ClusterEngine:
        made.append(
            ClusterEngine(cluster.scheduler_address, world.folder, reference, tls=tls, measure=measure, **options)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_workers_store_what_the_step_stores(
    tmp_path: Path, engine: Callable[..., ClusterEngine], by_the_step: list[tuple[str, str]]
) -> None:
    """Those that see the archive, and those that are sent the images."""
    for name, seen_at in (("here", None), ("sent", tmp_path / "not mounted")):
        world = filled(tmp_path / name, *map(study, range(4)))
        measuring = engine(world, seen_at=seen_at)
        done = Backfill(world.db, world.settings, measuring).run()
        assert (done.by_status, done.left, done.elsewhere) == ({"measured": 4}, 0, 0)
        assert rows(world.db) == by_the_step
        assert measuring.counted and not measuring.refused
        assert all(lane.sees_archive for lane in measuring._lanes.values()) == (name == "here")
        world.db.close()


@pytest.mark.parametrize(
    ("measure", "why"),
    [
        (backfill_cluster_child.other_values, "gives other values on the reference study"),
        (backfill_cluster_child.broken, "OSError"),
    ],
)
def test_a_worker_that_does_not_give_the_nodes_values_is_refused_by_name(
    tmp_path: Path, engine: Callable[..., ClusterEngine], by_the_step: list[tuple[str, str]], measure: Measure, why: str
) -> None:
    world = filled(tmp_path / "node", *map(study, range(4)))
    measuring = engine(world, measure)
    while not measuring.refused:
        measuring.wait(1)
    ((name, said),) = measuring.refused.items()
    assert name.startswith(f"{backfill_cluster_child.ODD} at tls://127.0.0.1:")
    assert why in said
    assert Backfill(world.db, world.settings, measuring).run().by_status == {"measured": 4}
    assert rows(world.db) == by_the_step
    world.db.close()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("SOFTWARE", "node.backfill.of_a_later_version:introduced", "ModuleNotFoundError"),
        ("measured_with", lambda: {"vbq-node": "0.1.0 (another)"}, "has another version: vbq-node 0.1.0"),
    ],
)
def test_workers_of_another_version_are_refused_and_end_the_run(
    tmp_path: Path, engine: Callable[..., ClusterEngine], monkeypatch: pytest.MonkeyPatch, name: str, value: object,
    why: str,
) -> None:  # fmt: skip
    world = filled(tmp_path / "node", study(1))
    monkeypatch.setattr(room, name, value)
    monkeypatch.setattr(room, "ALONE_S", 0.5)
    with pytest.raises(ClusterError, match=why):
        Backfill(world.db, world.settings, engine(world)).run()
    assert pending_studies(world.db) == 1
    world.db.close()


def test_a_scheduler_that_is_lost_and_comes_back_loses_nothing(
    tmp_path: Path, reference: Reference, by_the_step: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On loopback it may do without TLS."""
    monkeypatch.setattr(run, "BATCH", 1)
    port = free_port()

    def started() -> LocalCluster:
        return LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", scheduler_port=port,
            dashboard_address="127.0.0.1:0",
        )  # fmt: skip

    clusters = [started()]

    def lost(_: Progress) -> None:
        if len(clusters) == 1:
            clusters[0].close()
            clusters.append(started())

    world = filled(tmp_path / "node", *map(study, range(4)))
    measuring = ClusterEngine(f"tcp://127.0.0.1:{port}", world.folder, reference, measure=backfill_child.measure)
    try:
        assert Backfill(world.db, world.settings, measuring, show=lost).run().by_status == {"measured": 4}
    finally:
        measuring.close()
        clusters[-1].close()
    assert len(clusters) == 2
    assert rows(world.db) == by_the_step
    world.db.close()


@pytest.mark.parametrize(
    ("scheduler", "why"),
    [
        ("tcp://192.0.2.7:8786", "without TLS others can read images"),
        ("tcp://cluster.example:8786", "without TLS others can read images"),
        ("tls://192.0.2.7:8786", "give the authority of the cluster"),
        ("http://127.0.0.1:8786", "no address of a scheduler"),
    ],
)
def test_what_others_could_read_is_not_sent(tmp_path: Path, reference: Reference, scheduler: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        ClusterEngine(scheduler, tmp_path, reference)


def test_a_scheduler_is_not_told_by_whom_its_authority_does_not_know(
    tmp_path: Path, cluster: LocalCluster, certificates: Certificates, reference: Reference
) -> None:
    folder = certificates.folder
    stranger = ClientTls(ca=folder / "other.pem", certificate=folder / "stranger.pem", key=folder / "stranger.key")
    with pytest.raises(ClusterError, match="cannot be reached"):
        ClusterEngine(cluster.scheduler_address, tmp_path, reference, tls=stranger, connect_s=2)


def test_the_command_measures_folders_on_a_cluster_as_the_step_does(
    tmp_path: Path, cluster: LocalCluster, certificates: Certificates
) -> None:
    """With the real measurement: the workers count, so they give the node's values on the reference, too."""
    examination = Examination(
        key="cluster", patient_id="P1", authority="HOSPITAL", name="Made^Up", birth_date=date(1955, 7, 4), sex="F",
        begun_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
    )  # fmt: skip
    images = t1_data_sets(examination, draw_series(PhantomSpec(seed=3)))
    (tmp_path / "old").mkdir()
    for number, image in enumerate(images):
        write_file(tmp_path / "old" / f"{number}", image)
    config, keys = tmp_path / "node.toml", certificates.folder
    config.write_text(f'[storage]\nfolder = "{tmp_path / "data"}"\n[dicom]\nquiet_s = 0.5\n', encoding="utf-8")
    words = ["backfill", str(tmp_path / "old"), "--config", str(config), "--json"]
    cluster_words = ["--scheduler", cluster.scheduler_address, "--tls-ca", str(keys / "ca.pem"),
                     "--tls-certificate", str(keys / "node.pem"), "--tls-key", str(keys / "node.key")]  # fmt: skip
    done = CliRunner().invoke(app, [*words, *cluster_words])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    # Whether a person is to look at the phantom's score is not the matter here.
    assert (found["measured"] + found["review"], found["left"], found["workers"]["refused"]) == (1, 0, {})
    assert found["workers"]["counted"]
    world = filled(tmp_path / "step", images)
    measure_automatically(world.db, world.archive, world.settings, measure_stack)
    other = Database(tmp_path / "data" / "node.db")
    assert rows(other) == rows(world.db) != []
    other.close()
    world.db.close()


def test_the_reference_has_every_image_that_is_looked_at() -> None:
    task, files = reference_study()
    assert looked_at(task) == files.keys()


# The last ones, as the workers that they kill take a while to be back.
def test_a_study_that_ends_its_workers_is_a_problem_and_the_rest_is_done(
    tmp_path: Path, engine: Callable[..., ClusterEngine]
) -> None:
    world = filled(tmp_path / "node", *map(study, range(2)), study(10, first=DEADLY))
    assert Backfill(world.db, world.settings, engine(world)).run().by_status == {"measured": 2, "failed": 1}
    ((source, codes, detail),) = world.rows("SELECT source, reason_codes, detail FROM problems")
    assert (source, json.loads(str(codes))) == (f"study {ROOT}.10", ["study-ends-process"])
    assert "its worker was lost" in str(detail)
    world.db.close()


RUN = """
import pickle, sys
from pathlib import Path
from node.backfill import run
from node.backfill.cluster import ClusterEngine
from node.settings import ClientTls
from node.store.database import open_database
from tests.node.backfill_child import measure
from tests.node.dicom_samples import settings_for
run.BATCH = 1
address, folder, tls, reference = pickle.load(sys.stdin.buffer)
engine = ClusterEngine(address, folder, reference, tls=tls, measure=measure)
show = lambda progress: print(progress.done, flush=True)
run.Backfill(open_database(folder), settings_for(folder, quiet_s=120), engine, show=show).run()
"""


def test_a_node_and_a_worker_that_are_killed_lose_nothing(
    tmp_path: Path, cluster: LocalCluster, engine: Callable[..., ClusterEngine], reference: Reference, tls: ClientTls,
    by_the_step: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    world = filled(tmp_path / "node", *map(study, range(4)))
    child = subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "BACKFILL_CHILD_FOLDER": str(tmp_path)},
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    pickle.dump((cluster.scheduler_address, world.folder, tls, reference), child.stdin)
    child.stdin.close()
    # Between lines of the log; two may be done at once.
    assert any(line in (b"1\n", b"2\n") for line in iter(child.stdout.readline, b""))
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    left = pending_studies(world.db)
    assert 0 < left < 4
    pids = {nanny.pid for nanny in cluster.workers.values()}

    def one_worker_less(_: Progress) -> None:
        if len(pids) == 2:
            os.kill(pids.pop(), signal.SIGKILL)

    monkeypatch.setattr(run, "BATCH", 1)
    assert Backfill(world.db, world.settings, engine(world), show=one_worker_less).run().done == left
    assert rows(world.db) == by_the_step
    world.db.close()


def test_a_worker_keeps_freed_memory_before_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(cluster_worker, "keep_for_next_time", lambda: said.append("kept"))
    monkeypatch.setattr(cluster_worker, "measured", lambda *_: (said.append("measured"), ("a process", None))[1])
    cluster_worker.introduced("{}", measure_stack, {})
    assert said == ["kept", "measured"]
