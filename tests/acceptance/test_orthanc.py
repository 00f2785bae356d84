"""Orthanc as the PACS of a whole node: it routes, is asked, and is sent on to."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MRImageStorage,
    RealWorldValueMappingStorage,
    SegmentationStorage,
    generate_uid,
)

from tests.acceptance.harness import Node, dcmsend, vbq_node
from tests.acceptance.orthanc import AE_TITLE, Orthanc
from tests.node.dicom_samples import dcmtk, mr_image, stack, write_file
from tests.waiting import eventually

STUDY = "1.2.826.0.1.3680043.8.498."
OTHER = {"StudyInstanceUID": f"{STUDY}2", "PatientID": "0099", "StudyDate": "20260305"}


def completeness(node: Node) -> list[tuple[object, ...]]:
    return [
        tuple(row.values())
        for row in node.query(
            "SELECT completeness, instances, expected_instances FROM series ORDER BY study_instance_uid"
        )
    ]


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    """Not yet started."""
    one = Orthanc(tmp_path / "pacs")
    yield one
    one.stop()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Orthanc]:
    """A second one that is sent on to; not yet started."""
    one = Orthanc(tmp_path / "archive", DicomAet="ARCHIVE")
    yield one
    one.stop()


@pytest.fixture
def node(tmp_path: Path, pacs: Orthanc, archive: Orthanc) -> Iterator[Node]:
    """A node that knows both; not yet started."""
    one = Node(
        tmp_path,
        "[dicom.peers.pacs]\n"
        f"ae_titles = ['{AE_TITLE}', 'DCMSEND']\naddresses = ['127.0.0.1']\n"
        f"query = {{ae_title = '{AE_TITLE}', host = '127.0.0.1', port = {pacs.dicom_port}}}\n"
        "[dicom.peers.archive]\n"
        f"forward = {{ae_title = 'ARCHIVE', host = '127.0.0.1', port = {archive.dicom_port}}}\n",
    )
    yield one
    if one.running:
        one.kill()


def test_routes_counts_and_sending_on(node: Node, pacs: Orthanc, archive: Orthanc, tmp_path: Path) -> None:
    pacs.start({"node": ("VBQNODE", node.dicom_port)})
    dcmtk("echoscu", "-aec", AE_TITLE, "127.0.0.1", str(pacs.dicom_port))
    whole, part = stack(11), stack(11, series="2", **OTHER)
    ids = pacs.put_in([*whole, *part])
    node.start()
    dcmtk("echoscu", "-aet", AE_TITLE, "127.0.0.1", str(node.dicom_port))
    pacs.route("node", ids[:20])
    assert eventually(lambda: completeness(node) == [("complete", 11, 11), ("incomplete", 9, 11)])
    # What DCMTK's findscu hears of the same series is the same count.
    found = dcmtk(
        "findscu", "-S", "-aec", AE_TITLE, "127.0.0.1", str(pacs.dicom_port), "-k", "QueryRetrieveLevel=SERIES",
        "-k", f"StudyInstanceUID={OTHER['StudyInstanceUID']}", "-k", "SeriesInstanceUID",
        "-k", "NumberOfSeriesRelatedInstances",
    )  # fmt: skip
    assert "[11" in next(line for line in (found.stdout + found.stderr).splitlines() if "(0020,1209)" in line)
    assert [row["code"] for row in node.query("SELECT code FROM problems WHERE step = 'completeness'")] == [
        "incomplete"
    ]

    # The archive is not there: everything waits for it, over a kill of the whole node. Then it comes.
    assert eventually(lambda: node.query("SELECT 1 FROM state_outgoing_peer WHERE failures > 0"))
    assert node.query("SELECT DISTINCT status FROM state_outgoing WHERE kind = 'forward'") == [{"status": "waiting"}]
    node.kill()
    archive.start({})
    node.start()
    vbq_node("forward", "retry", "archive", "--config", str(node.config))
    pacs.route("node", ids[20:])
    assert eventually(lambda: completeness(node) == [("complete", 11, 11)] * 2)
    uids = {str(image.SOPInstanceUID) for image in (*whole, *part)}
    assert eventually(lambda: archive.sop_instance_uids() == uids)
    assert node.query("SELECT code, detail FROM problems WHERE step IN ('completeness', 'forward')") == []
    for image in (whole[0], part[10]):
        arrived = pydicom.dcmread(BytesIO(archive.file(str(image.SOPInstanceUID))))
        assert {element.tag: element.value for element in arrived} == {e.tag: e.value for e in image}

    # DCMTK sends a third study; it belongs to the PACS (by its AE title), which does not know it.
    folder = tmp_path / "third"
    folder.mkdir()
    third = stack(5, series="3", StudyInstanceUID=f"{STUDY}3", PatientID="77")
    for number, image in enumerate(third):
        write_file(folder / str(number), image)
    dcmsend(node.dicom_port, folder)
    assert eventually(
        lambda: node.query("SELECT 1 FROM series WHERE completeness_reasons = '[\"pacs does not know it\"]'")
    )
    assert eventually(lambda: len(archive.sop_instance_uids()) == 27)
    before = node.views()
    node.stop()
    vbq_node("rebuild", "--config", str(node.config))
    assert node.views() == before


def company(sop_class: str, modality: str, **values: object) -> Dataset:
    """What a PACS has beside the images of a study: an object of a series of its own, without pixels."""
    made = mr_image(SOPClassUID=sop_class, Modality=modality, SeriesInstanceUID=generate_uid(), **values)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(made, name)
    return made


def test_a_study_job_that_permits_no_failure_brings_all_of_a_mixed_study(node: Node, pacs: Orthanc) -> None:
    """Orthanc's job for a whole study ends at the first object that the other side does not take."""
    pacs.start({"node": ("VBQNODE", node.dicom_port)})
    others = [
        company("1.3.46.670589.11.0.0.12.2", "MR"),  # Private MR Series Data Storage of Philips
        company(SegmentationStorage, "SEG"),
        company(RealWorldValueMappingStorage, "RWV"),
        company(GrayscaleSoftcopyPresentationStateStorage, "PR"),
        company(ComprehensiveSRStorage, "SR"),
    ]
    pacs.put_in([*others, *stack(11)])
    node.start()
    (study,) = pacs.get("/studies")
    job = pacs.post("/modalities/node/store", {"Resources": [study], "Permissive": False, "Synchronous": True})
    assert isinstance(job, dict)
    assert (job["FailedInstancesCount"], job["InstancesCount"]) == (0, 16)
    kept = node.query("SELECT sop_class_uid, count(*) AS n FROM fact_object GROUP BY 1")
    assert {row["sop_class_uid"]: row["n"] for row in kept} == {
        str(MRImageStorage): 11, **{str(one.SOPClassUID): 1 for one in others},
    }  # fmt: skip
    assert vbq_node("refusals", "--json", "--config", str(node.config)).stdout.strip() in ("[]", "")
    node.settle()
    assert node.query("SELECT instances, chosen FROM series WHERE chosen = 1") == [{"instances": 11, "chosen": 1}]
