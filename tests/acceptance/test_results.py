"""A whole node whose results go to Orthanc: stored, committed to, given back; approved, and sent on again."""

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from tests.acceptance.harness import SHARED, Node, vbq_node
from tests.acceptance.orthanc import AE_TITLE, Orthanc
from tests.node.results_world import errors_of, regions_of, score_by_pixels, score_of
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir() or not shutil.which("dciodvfy"), reason="needs ../shared/data and dicom3tools"
)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    one = Orthanc(tmp_path / "pacs")
    yield one
    one.stop()


@pytest.fixture
def node(tmp_path: Path, pacs: Orthanc) -> Iterator[Node]:
    results = (
        f"results = {{ae_title = '{AE_TITLE}', host = '127.0.0.1', port = {pacs.dicom_port}, rejection_notes = true, "
        "objects = ['sr', 'sc', 'seg', 'gsps']}"
    )
    peer = f"[dicom.peers.pacs]\nae_titles = ['{AE_TITLE}']\naddresses = ['127.0.0.1']\n{results}\n"
    one = Node(tmp_path, peer, site="protocol = 'EK 12/2026'")
    yield one
    if one.running:
        one.kill()


def kept(node: Node, **wanted: int) -> bool:
    """Whether so many results of each status are kept by the PACS, by its own word."""
    rows = node.query("SELECT status, count(*) AS n FROM results WHERE state = 'kept' GROUP BY status")
    return {str(row["status"]): row["n"] for row in rows} == wanted


def test_orthanc_has_the_results_commits_to_them_and_gives_them_back(node: Node, pacs: Orthanc):
    images = [pydicom.dcmread(path) for path in sorted((SHARED / "t1-tse-dicom" / "patient1").iterdir())]
    for image in images:
        image.PatientID, image.PatientName, image.StudyDate = "001", "TEST^ONE", "20260201"
    pacs.start({"node": ("VBQNODE", node.dicom_port)})
    node.start(timeout_s=180)
    pacs.route("node", pacs.put_in(images))
    assert eventually(lambda: kept(node, preliminary=4), within_s=300)
    ours = node.query("SELECT kind, identifier, sha256 FROM results ORDER BY result_id")
    for row in ours:
        back = pydicom.dcmread(BytesIO(pacs.file(str(row["identifier"]))))
        sha256 = str(row["sha256"])
        assert back == pydicom.dcmread(node.data / "results" / sha256[:2] / sha256)
    by_kind = {str(row["kind"]): pydicom.dcmread(BytesIO(pacs.file(str(row["identifier"])))) for row in ours}
    # By the pixels that the PACS gives back, and a reader's own arithmetic.
    regions = regions_of(by_kind["sr"])
    pixels = pydicom.dcmread(BytesIO(pacs.file(regions["L1"].image))).pixel_array.astype(float)
    (row,) = node.query("SELECT series_instance_uid, vbq_mean FROM measurements WHERE in_effect = 1")
    assert score_of(by_kind["sr"]) == pytest.approx(float(str(row["vbq_mean"])), abs=1e-12)
    assert score_by_pixels(regions, pixels) == pytest.approx(score_of(by_kind["sr"]), abs=1e-6)
    masks = by_kind["seg"].pixel_array.astype(bool)
    assert [pixels[mask].mean() for mask in masks] == [region.mean for region in regions.values()]

    vbq_node("reading", "approve", str(row["series_instance_uid"]), "--reader", "Dr. A", "--config", str(node.config))
    # Four new ones, and the note about the four before.
    assert eventually(lambda: kept(node, preliminary=4, final=5), within_s=300)
    for number, uid in enumerate(sorted(pacs.sop_instance_uids() - {str(image.SOPInstanceUID) for image in images})):
        file = node.folder / f"{number}.dcm"
        file.write_bytes(pacs.file(uid))
        assert errors_of(file) == []

    # The whole study comes back, as PACS route it: nothing is measured, judged or sent again.
    before = node.query("SELECT series_instance_uid, state, instances, last_received_at FROM series")
    answer = pacs.get("/studies")
    assert isinstance(answer, list)
    pacs.route("node", [str(one) for one in answer])
    assert eventually(
        lambda: node.query("SELECT count(*) AS n FROM fact_object")[0]["n"] == len(images) + 9, within_s=60
    )
    node.settle()
    assert node.query("SELECT series_instance_uid, state, instances, last_received_at FROM series") == before
    assert node.query("SELECT code, detail FROM problems") == []
    assert len(node.query("SELECT 1 FROM results")) == 9
