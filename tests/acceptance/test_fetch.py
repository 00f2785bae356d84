"""``vbq-node fetch`` from a real PACS (Orthanc): by C-GET and C-MOVE, resumed after a kill, and what can go wrong."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from node.clock import now
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import open_database
from tests.acceptance.harness import Node, vbq_node
from tests.acceptance.orthanc import AE_TITLE, Orthanc
from tests.commands import command
from tests.node.dicom_samples import mr_image, receiver, stack

ROOT = "1.2.826.0.1.3680043.8.498."
PERIOD = ("--from", "2026-03-01", "--to", "2026-03-31")


def study(number: int, *, end: int = 1, slices: int = 11, **values: object) -> list[Dataset]:
    """One series of a study; its UID ends so."""
    return stack(
        slices,
        series=f"{number}.{end}",
        **{
            "StudyInstanceUID": f"{ROOT}{number}",
            "PatientID": f"{number:04}",
            "StudyDate": f"202603{number:02}",
            **values,
        },
    )


LUMBAR = [
    *study(1),
    *study(1, end=2, slices=7, SeriesDescription="t2_tse_sag", RepetitionTime=3500, EchoTime=110),
]
LATER = study(20)
BRAIN = study(2, StudyDescription="MRI head", BodyPartExamined="BRAIN")
UNNAMED = study(3, StudyDescription="MR", BodyPartExamined=None, SeriesDescription="t1_tse_sag")
CAPTURE = [mr_image(seed=4, StudyInstanceUID=f"{ROOT}4", SeriesInstanceUID=f"{ROOT}4.1", Modality="OT",
                    SOPClassUID=SecondaryCaptureImageStorage)]  # fmt: skip
OTHER_MONTH = study(5, StudyDate="20260405")
EVERYTHING = [*LUMBAR, *LATER, *BRAIN, *UNNAMED, *CAPTURE, *OTHER_MONTH]


@pytest.fixture(scope="module")
def pacs_and_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, Node]]:
    """One PACS for all tests, and the settings of a node that it knows."""
    folder = tmp_path_factory.mktemp("fetch")
    pacs = Orthanc(folder / "pacs")
    node = Node(folder, _peer(pacs))
    pacs.start({"node": ("VBQNODE", node.dicom_port)})
    pacs.put_in(EVERYTHING)
    yield pacs, node
    pacs.stop()


def _peer(pacs: Orthanc, **query: object) -> str:
    given = {"ae_title": AE_TITLE, "host": "127.0.0.1", "port": pacs.dicom_port, "images_per_minute": 100_000, **query}
    values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in given.items())
    return f"[dicom.peers.pacs]\nae_titles = ['{AE_TITLE}']\naddresses = ['127.0.0.1']\nquery = {{{values}}}\n"


@pytest.fixture
def pacs(pacs_and_node: tuple[Orthanc, Node]) -> Orthanc:
    return pacs_and_node[0]


@pytest.fixture
def getting(tmp_path: Path, pacs: Orthanc) -> Node:
    """Another node, that is not running and gets by itself."""
    return Node(tmp_path, _peer(pacs, retrieve="get"))


def fetch(node: Node, *arguments: str, exit_code: int = 0) -> dict[str, object]:
    done = command("fetch", "--peer", "pacs", *arguments, "--json", "--config", node.config, check=False)
    assert done.returncode == exit_code, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def uids(*studies: list[Dataset]) -> set[str]:
    return {str(image.SOPInstanceUID) for images in studies for image in images}


def received(node: Node) -> list[str]:
    return [str(row["sop_instance_uid"]) for row in node.query("SELECT sop_instance_uid FROM fact_object")]


def test_lumbar_studies_of_a_period_are_got_once(getting: Node) -> None:
    planned = fetch(getting, *PERIOD, "--dry-run")
    assert planned["dry_run"] is True
    assert (planned["studies"], planned["series_here"], planned["images_brought"]) == (4, 0, 0)
    assert planned["wanted"] == [
        {
            "study_instance_uid": f"{ROOT}1",
            "study_date": "2026-03-01",
            "series": {f"{ROOT}1.1.1": 11, f"{ROOT}1.1.2": 7},
        },
        {"study_instance_uid": f"{ROOT}20", "study_date": "2026-03-20", "series": {f"{ROOT}1.20.1": 11}},
    ]
    assert [(one["study_instance_uid"], one["reason"]) for one in planned["skipped"]] == [
        (f"{ROOT}2", "another part of the body is named (brain, head)"),
        (f"{ROOT}3", "no part of the body is named (--unnamed brings it)"),
    ]
    assert received(getting) == []

    brought = fetch(getting, *PERIOD)
    assert (brought["series_brought"], brought["images_brought"], brought["failures"]) == (3, 29, [])
    assert sorted(received(getting)) == sorted(uids(LUMBAR, LATER))
    assert getting.query("SELECT DISTINCT calling_ae FROM fact_object_receipt") == [{"calling_ae": AE_TITLE}]

    # Again, before the steps have looked at anything: nothing is brought twice.
    again = fetch(getting, *PERIOD, "--unnamed")
    assert (again["series_brought"], again["images_brought"]) == (1, 11)
    assert len(received(getting)) == 40
    # The PACS was asked when all was here, so each is proven complete as soon as it is judged.
    with getting.database() as db:
        run_pending(db, Archive(getting.data), getting.settings, at=now() + timedelta(seconds=1))
    assert getting.query("SELECT DISTINCT completeness FROM series") == [{"completeness": "complete"}]
    assert fetch(getting, *PERIOD, "--dry-run", "--unnamed")["wanted"] == []
    assert fetch(getting, "--study", f"{ROOT}2", "--dry-run")["studies"] == 1


def test_moved_to_a_running_node_and_only_what_is_missing(pacs_and_node: tuple[Orthanc, Node]) -> None:
    pacs, node = pacs_and_node
    done = command("fetch", "--peer", "pacs", *PERIOD, "--config", node.config, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{node.dicom_port} does not answer; start the node" in done.stderr
    with receiver(node.settings):
        done = vbq_node("fetch", "--peer", "pacs", *PERIOD, "--config", str(node.config))
        assert "29 images came, 3 series are here now, 0 are not" in done.stdout
        assert sorted(received(node)) == sorted(uids(LUMBAR, LATER))
        # Two more images in the PACS: they come, and not the rest of their series once more.
        more = study(20, slices=13)[11:]
        pacs.put_in(more)
        brought = fetch(node, "--study", f"{ROOT}20")
    assert (brought["images_brought"], brought["failures"]) == (2, [])
    assert node.query("SELECT count(*) AS n FROM fact_object_receipt") == [{"n": 31}]


def test_killed_and_run_again(getting: Node) -> None:
    open_database(getting.data, create=True).close()
    # 11 images at 100 a minute: the second series waits until the first one's time is over.
    command = [sys.executable, "-m", "node", "fetch", "--peer", "pacs", *PERIOD, "--images-per-minute", "100"]
    with subprocess.Popen([*command, "--config", str(getting.config)], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not received(getting):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    before = len(received(getting))
    assert 0 < before < 31
    brought = fetch(getting, *PERIOD)
    assert brought["images_brought"] == len(received(getting)) - before
    assert uids(LUMBAR, LATER) <= set(received(getting))
    assert len(received(getting)) == len(set(received(getting)))


def test_what_the_node_cannot_keep_is_said_and_brought_later(getting: Node) -> None:
    text = getting.config.read_text()
    getting.config.write_text(
        text.replace("snapshot_every_s = 1\n", "snapshot_every_s = 1\nkeep_free_mb = 1000000000\n")
    )
    brought = fetch(getting, "--study", f"{ROOT}5", exit_code=3)
    assert brought["images_brought"] == 0
    (failure,) = brought["failures"]
    assert failure["series_uid"] == f"{ROOT}1.5.1"
    (problem,) = getting.query("SELECT source, code FROM problems")
    assert problem == {"source": f"series {ROOT}1.5.1", "code": "not-fetched"}
    getting.config.write_text(text)
    assert fetch(getting, "--study", f"{ROOT}5")["images_brought"] == 11
    assert getting.query("SELECT source, code FROM problems") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--peer", "nobody", *PERIOD),
            "dicom.peers has no peer 'nobody' with a `query` address; those with one: pacs",
        ),
        (("--peer", "pacs"), "give --from and --to, or --study"),
        (("--peer", "pacs", "--study", "1.2", "--from", "2026-03-01"), "give --from and --to, or --study"),
        (("--peer", "pacs", "--from", "2026-03-02", "--to", "2026-03-01"), "--to is before --from"),
        (("--peer", "pacs", "--study", "ABC"), "'ABC' is no StudyInstanceUID"),
        (("--peer", "pacs", "--study", generate_uid(entropy_srcs=["x"])), "pacs does not know the study"),
    ],
)
def test_what_cannot_be_asked_for(getting: Node, arguments: tuple[str, ...], said: str) -> None:
    done = command("fetch", *arguments, "--config", getting.config, check=False)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_pacs_that_does_not_know_where_to_move_to_is_named(pacs: Orthanc, tmp_path: Path) -> None:
    node = Node(tmp_path, _peer(pacs))
    node.config.write_text(node.config.read_text().replace("[dicom]\n", "[dicom]\nae_title = 'STRANGER'\n"))
    with receiver(node.settings):
        brought = fetch(node, "--study", f"{ROOT}20", exit_code=3)
    (failure,) = brought["failures"]
    assert "can it reach this node as STRANGER?" in failure["error"]
