"""Orthanc as the PACS that asks a whole node whether what it has routed there is kept (Storage Commitment)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node.store.archive import Archive
from tests.acceptance.harness import Node
from tests.acceptance.orthanc import AE_TITLE, Orthanc
from tests.node.dicom_samples import stack
from tests.waiting import eventually


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    one = Orthanc(tmp_path / "pacs")
    yield one
    one.stop()


@pytest.fixture
def node(tmp_path: Path, pacs: Orthanc) -> Iterator[Node]:
    one = Node(
        tmp_path,
        f"[dicom.peers.pacs]\nae_titles = ['{AE_TITLE}']\naddresses = ['127.0.0.1']\n"
        f"commitment = {{ae_title = '{AE_TITLE}', host = '127.0.0.1', port = {pacs.dicom_port}}}\n",
    )
    yield one
    if one.running:
        one.kill()


def ask(pacs: Orthanc, images: list[Dataset]) -> str:
    """Have it ask the node for these; returns where it shows what it was told."""
    named = [{"SOPClassUID": image.SOPClassUID, "SOPInstanceUID": image.SOPInstanceUID} for image in images]
    answer = pacs.post("/modalities/node/storage-commitment", {"DicomInstances": named})
    assert isinstance(answer, dict)
    return f"/storage-commitment/{answer['ID']}"


def state(pacs: Orthanc, path: str) -> str:
    answer = pacs.get(path)
    assert isinstance(answer, dict)
    return str(answer["Status"])


def test_orthanc_is_told_what_is_kept_and_what_is_damaged(node: Node, pacs: Orthanc):
    images = stack(4)
    pacs.start({"node": ("VBQNODE", node.dicom_port)})
    node.start()
    pacs.route("node", pacs.put_in(images))
    asked = ask(pacs, images)
    assert eventually(lambda: state(pacs, asked) == "Success")
    (row,) = node.query("SELECT sha256 FROM fact_object ORDER BY object_id LIMIT 1")
    path = Archive(node.data).path(str(row["sha256"]))
    path.chmod(0o640)
    path.write_bytes(path.read_bytes()[:-2])
    asked = ask(pacs, images)
    assert eventually(lambda: state(pacs, asked) == "Failure")
