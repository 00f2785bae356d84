"""The same pixels under new UIDs and another patient are linked to neither; what is no copy is left alone."""

import hashlib
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.measure.decoding import pixels_sha256
from node.operate.rebuild import rebuild
from node.store.database import insert, writing
from tests.node.dicom_samples import NOON, receive
from tests.node.known_circles import KnownCircles
from tests.node.test_barrier import BAD, STUDY, Node, images
from tests.node.test_rejections import note
from tests.node.world import CIRCLES

COPY = "0001"
"""The patient whose images were copied; the copy is under the number :data:`BAD`."""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr("node.steps.worker.measure_stack", KnownCircles(CIRCLES))
    one = Node(tmp_path)
    yield one
    one.db.close()


def copied(changed: int = 0) -> list[Dataset]:
    """The images of one patient again, all names new, under another; ``changed`` is added to one pixel."""
    made = images(COPY)
    for number, one in enumerate(made):
        one.PatientID, one.StudyInstanceUID, one.SeriesInstanceUID = BAD, f"{STUDY}.8", f"{STUDY}.8.1"
        one.SOPInstanceUID = f"{STUDY}.8.1.{number + 1}"
        pixels = bytearray(one.PixelData)
        pixels[2:4] = struct.pack("<H", struct.unpack("<H", pixels[2:4])[0] + changed)
        one.PixelData = bytes(pixels)
    return made


def owners(node: Node) -> dict[str, object]:
    return {number: row[1] for number, row in node.complete().items()}


def reasons(node: Node, number: str) -> str:
    return str(node.rows(f"SELECT reasons FROM derived_link WHERE person LIKE '%|{number}'"))


SHARED = "SELECT source FROM problems WHERE code = 'pixels-of-another-patient' ORDER BY 1"


def test_a_copy_under_another_patient_is_linked_to_neither_until_one_is_taken_back(node: Node) -> None:
    node.run()
    assert sorted(node.complete()) == [COPY, BAD, "0003"]
    # Two days nearer to the operation than the patient's own, so that it would be taken.
    wrong = copied()
    for one in wrong:
        one.StudyDate = "20260304"
    receive(node.folder, *wrong, at=NOON + timedelta(minutes=1))
    node.run()
    found = node.complete()
    assert COPY not in found
    assert found["0003"][1] == f"{STUDY}.3.1"
    assert found.get(BAD, (None, f"{STUDY}.2.1"))[1] == f"{STUDY}.2.1", "never the copy"
    assert [source for (source,) in node.rows(SHARED)] == [f"series {STUDY}.1.1", f"series {STUDY}.8.1"]
    assert "pixels-of-another-patient" in reasons(node, COPY)
    assert "no-mri" not in reasons(node, COPY)
    before = node.rows("SELECT episode, status, reasons, series_instance_uid FROM derived_link ORDER BY 1")
    rebuild(node.db, node.archive, node.settings)
    assert node.rows("SELECT episode, status, reasons, series_instance_uid FROM derived_link ORDER BY 1") == before

    receive(node.folder, note(wrong, "113038"), at=NOON + timedelta(minutes=2))
    node.run()
    assert owners(node) == {number: f"{STUDY}.{int(number)}.1" for number in (COPY, BAD, "0003")}
    assert node.rows(SHARED) == []


def test_one_pixel_more_is_another_image(node: Node) -> None:
    receive(node.folder, *copied(changed=1))
    node.run()
    assert node.rows(SHARED) == []
    assert COPY in node.complete()


def test_the_same_patient_may_have_an_image_twice_and_two_numbers_that_are_merged_are_one(node: Node) -> None:
    again = copied()
    for one in again:
        one.PatientID = COPY
    receive(node.folder, *again)
    node.run()
    assert node.rows(SHARED) == []
    assert COPY in node.complete()
    for one in again:
        one.PatientID, one.StudyInstanceUID, one.SeriesInstanceUID = "0009", f"{STUDY}.9", f"{STUDY}.9.1"
        one.SOPInstanceUID = one.SOPInstanceUID.replace(".8.1.", ".9.1.")
    receive(node.folder, *again)
    node.run()
    assert len(node.rows(SHARED)) == 3
    merge = (
        "MSH|^~\\&|HIS|H|NODE|V|20260303100000||ADT^A40|MERGE|P|2.5\rEVN|A40|20260303100000\r"
        f"PID|1||{COPY}^^^H^MR||||19560229|F\rMRG|0009^^^H^MR\r"
    ).encode()
    with writing(node.db):
        insert(node.db, "fact_frame", [{"sha256": hashlib.sha256(merge).hexdigest(), "raw": merge}])
    node.run()
    assert node.rows(SHARED) == []
    assert COPY in node.complete()


def test_the_hash_is_of_values_and_shape_and_not_of_how_they_lie_in_memory() -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert pixels_sha256(image) == pixels_sha256(image.astype(np.float64)) == pixels_sha256(np.asfortranarray(image))
    assert len({pixels_sha256(image), pixels_sha256(image.reshape(4, 3)), pixels_sha256(image + 1)}) == 3
