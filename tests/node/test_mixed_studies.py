"""What a PACS sends with the MR images of a study: kept, and never the reason why they do not arrive."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    JPEG2000,
    BasicTextSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSNearLossless,
    MRImageStorage,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom import AE
from pynetdicom.presentation import build_context

from node.clock import now
from node.dicom import refusals
from node.dicom.reader import read_slices
from node.dicom.refusals import list_refusals
from node.dicom.stack import read_stacks
from node.errors import DicomReadError
from node.measure.study import study_images
from node.steps.index import catalogue_studies, index_objects
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import dcmtk, mr_image, receiver, settings_for, stack, write_file
from tests.node.raw_sender import raw_association
from tests.node.receiver_world import rows
from tests.waiting import eventually

PRIVATE = "1.3.46.670589.11.0.0.12.2"
"""Private MR Series Data Storage of Philips."""
COMPANY = {
    "segmentation": SegmentationStorage,
    "private": PRIVATE,
    "real world values": "1.2.840.10008.5.1.4.1.1.67",
    "registration": "1.2.840.10008.5.1.4.1.1.66.1",
    "presentation state": "1.2.840.10008.5.1.4.1.1.11.1",
    "parametric map": "1.2.840.10008.5.1.4.1.1.30",
    "label map": "1.2.840.10008.5.1.4.1.1.66.7",
}
REFUSED = "SELECT calling_ae, offer, times, aborted, problem FROM state_refused_context ORDER BY offer"
SHOWN = "SELECT source, detail FROM problems WHERE code = 'context-refused'"
JPEG_2000_MR = "MR Image Storage (1.2.840.10008.5.1.4.1.1.4) in JPEG 2000 Image Compression (1.2.840.10008.1.2.4.91)"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "PAUSE_S", 0.01)


def company(sop_class: str) -> Dataset:
    """An object of a series of its own, without pixels, of the study of :func:`mr_image`."""
    found = mr_image(SOPClassUID=sop_class, SOPInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid())
    for name in ("PixelData", "Rows", "Columns"):
        delattr(found, name)
    return found


def mixed_study(folder: Path, *, first: str) -> list[Path]:
    """Files in the order in which they are to be sent: one of the company, 11 images, the rest."""
    order = [company(COMPANY[first]), *stack(11), *(company(COMPANY[name]) for name in COMPANY if name != first)]
    return [write_file(folder / f"{number:02}.dcm", one) for number, one in enumerate(order)]


@pytest.mark.parametrize("first", ["segmentation", "private"])
@pytest.mark.parametrize("tool", ["dcmsend", "storescu"])
def test_all_images_arrive_whatever_comes_before_them(tmp_path: Path, first: str, tool: str):
    settings = settings_for(tmp_path / "data")
    # storescu itself leaves out the files of classes that it does not know.
    options, unknown = {"dcmsend": (["-nuc"], ()), "storescu": (["--required", "-nh"], ("private", "label map"))}[tool]
    with receiver(settings):
        files = map(str, mixed_study(tmp_path, first=first))
        dcmtk(tool, *options, "127.0.0.1", str(settings.dicom.port), *files)
    kept = rows(settings, "SELECT sop_class_uid, count(*) FROM fact_object GROUP BY sop_class_uid ORDER BY 1")
    assert kept == sorted([(MRImageStorage, 11), *((uid, 1) for name, uid in COMPANY.items() if name not in unknown)])
    db = open_database(settings.storage.folder)
    index_objects(db, Archive(settings.storage.folder))
    catalogue_studies(db, settings, now=now() + timedelta(hours=1))
    assert db.execute("SELECT instances, chosen FROM derived_series WHERE chosen = 1").fetchall() == [(11, 1)]
    assert db.execute("SELECT * FROM problems").fetchall() == []
    db.close()


def test_a_lossy_image_is_kept_and_its_score_waits_for_a_person(tmp_path: Path):
    settings = settings_for(tmp_path / "data")
    plain = [write_file(tmp_path / f"{number}.dcm", one) for number, one in enumerate(stack(11))]
    for path in plain:
        dcmtk("dcmcjpls", "--encode-nearlossless", "+un", str(path), str(path))
    with receiver(settings):
        dcmtk("dcmsend", "127.0.0.1", str(settings.dicom.port), *map(str, plain))
    assert rows(settings, "SELECT DISTINCT transfer_syntax_uid FROM fact_object") == [(JPEGLSNearLossless,)]
    db = open_database(settings.storage.folder)
    archive = Archive(settings.storage.folder)
    index_objects(db, archive)
    (read, *_) = read_stacks(study_images(db, archive, "1.2.826.0.1.3680043.8.498.1"), read_slices)
    assert len(read.images) == 11
    assert [str(doubt) for doubt in read.doubts] == ["11 images were compressed with loss"]
    db.close()


def test_refused_contexts_are_counted_by_name_and_shown_when_they_are_of_mr(
    tmp_path: Path,
):
    settings = settings_for(tmp_path / "data", accept="study")
    entity = AE(ae_title="MIXED")
    entity.add_requested_context(BasicTextSRStorage, ExplicitVRLittleEndian)
    entity.add_requested_context(MRImageStorage, JPEG2000)
    entity.add_requested_context(PRIVATE, ExplicitVRLittleEndian)
    with receiver(settings):
        for _ in range(2):
            entity.associate("127.0.0.1", settings.dicom.port).release()
        assert eventually(lambda: [row[2] for row in rows(settings, REFUSED)] == [2, 2])
        assert rows(settings, REFUSED) == [
            ("MIXED", f"{PRIVATE} in Explicit VR Little Endian (1.2.840.10008.1.2.1)", 2, 0, 0),
            ("MIXED", JPEG_2000_MR, 2, 0, 1),
        ]
        ((source, detail),) = rows(settings, SHOWN)
        assert source == "peer 127.0.0.1"
        assert str(detail).startswith(f"it (calling itself MIXED) offered what is not taken: {JPEG_2000_MR}; 2 times")
        db = open_database(settings.storage.folder)
        listed = list_refusals(db)
        db.close()
        # Where the class is taken in another way, nothing is missing.
        with raw_association(settings.dicom.port, calling="MIXED"):
            assert eventually(lambda: rows(settings, SHOWN) == [])
    assert {JPEG_2000_MR in str(row["reason"]) for row in listed} == {True, False}
    assert {row["code"] for row in listed} == {"context-refused"}


def test_a_sender_that_aborts_after_a_refusal_is_shown_until_one_ends_in_order(tmp_path: Path):
    settings = settings_for(tmp_path / "data", accept="study")
    files = [
        write_file(tmp_path / "seg.dcm", company(SegmentationStorage)),
        write_file(tmp_path / "mr.dcm", mr_image()),
    ]
    port = str(settings.dicom.port)
    with receiver(settings):
        sent = dcmtk("storescu", "--required", "-aet", "PACS", "127.0.0.1", port, *map(str, files), check=False)
        assert sent.returncode != 0
        assert eventually(lambda: rows(settings, SHOWN) != [])
        ((_, detail),) = rows(settings, SHOWN)
        assert "PACS) offered what is not taken, and aborted 1 time then: Segmentation Storage" in str(detail)
        dcmtk("storescu", "--required", "-nh", "-aet", "PACS", "127.0.0.1", port, *map(str, files))
        assert eventually(lambda: rows(settings, SHOWN) == [])
    assert rows(settings, "SELECT sop_class_uid FROM fact_object") == [(MRImageStorage,)]


def test_who_offers_the_same_class_in_several_ways_is_no_problem(tmp_path: Path):
    settings = settings_for(tmp_path / "data", accept="mr")
    entity = AE(ae_title="PACS")
    for syntax in (ExplicitVRLittleEndian, JPEG2000):
        entity.add_requested_context(MRImageStorage, syntax)
    with receiver(settings):
        entity.associate("127.0.0.1", settings.dicom.port).release()
        assert eventually(lambda: rows(settings, REFUSED) != [])
    assert [row[1:5] for row in rows(settings, REFUSED)] == [(JPEG_2000_MR, 1, 0, 0)]
    assert rows(settings, SHOWN) == []


GE = "1.2.840.113619.5.2"
"""Private transfer syntax of GE: implicit, with pixels in big endian."""


def implicit(image: Dataset, *, little_endian: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = little_endian, True
    write_dataset(buffer, image)
    return buffer.getvalue()


def test_what_is_offered_in_a_private_transfer_syntax_alone_is_kept_and_never_measured(tmp_path: Path):
    settings = settings_for(tmp_path / "data")
    legible, illegible = (implicit(mr_image(), little_endian=one) for one in (True, False))
    with receiver(settings), raw_association(settings.dicom.port, syntax=GE) as sender:
        assert sender.store(legible, uid=str(mr_image().SOPInstanceUID)) == 0
        assert sender.store(illegible, uid="1.2.826.0.1.3680043.8.498.5") == 0
    assert rows(settings, "SELECT DISTINCT transfer_syntax_uid FROM fact_object") == [(GE,)]
    db, archive = open_database(settings.storage.folder), Archive(settings.storage.folder)
    index_objects(db, archive)
    first, second = db.execute("SELECT sha256 FROM fact_object ORDER BY object_id").fetchall()
    # Both are there byte for byte, and what DCMTK and pydicom make of the first is a matter of its header alone.
    assert archive.path(first[0]).read_bytes().endswith(legible)
    assert archive.path(second[0]).read_bytes().endswith(illegible)
    with pytest.raises(DicomReadError, match=f"the pixels are in {GE}, which nothing here decodes"):
        read_slices(archive.path(first[0]), [None])
    assert db.execute("SELECT source, code, detail FROM problems WHERE step = 'index'").fetchall() == [
        (
            f"object {second[0][:12]}",
            "unreadable",
            f"nothing says how it is written: its transfer syntax {GE} is a manufacturer's own",
        )
    ]
    db.close()


@pytest.mark.parametrize("accept", ["all", "study"])
def test_a_private_transfer_syntax_beside_others_is_not_taken_and_no_problem(tmp_path: Path, accept: str):
    """Its sender would send what nobody here can read, where it may write the image otherwise."""
    settings = settings_for(tmp_path / "data", accept=accept)
    with receiver(settings):
        for offered, taken in (
            ([[GE], [ExplicitVRLittleEndian]], ExplicitVRLittleEndian),
            ([[GE, ImplicitVRLittleEndian]], ImplicitVRLittleEndian),
        ):
            entity = AE(ae_title="PACS")
            entity.requested_contexts = [build_context(MRImageStorage, syntaxes) for syntaxes in offered]
            one = entity.associate("127.0.0.1", settings.dicom.port)
            assert [context.transfer_syntax for context in one.accepted_contexts] == [[taken]]
            one.release()
        assert eventually(lambda: rows(settings, REFUSED) != [])
    assert rows(settings, SHOWN) == []
