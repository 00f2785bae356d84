"""What the PACS takes back or corrects, on a running node: the link of the patient follows, and says why."""

import json
import subprocess
from pathlib import Path

from pydicom.dataset import Dataset

from node.demo.dicom_study import data_sets
from node.demo.hospital import open_hospital
from tests.acceptance.harness import Node, dcmsend, mllp_send
from tests.acceptance.test_real_series import context_of
from tests.node.dicom_samples import write_file
from tests.node.test_rejections import note

COUNT = "\r".join(
    [
        "MSH|^~\\&|LAB|SITE|VBQ|SITE|20260220093000||ORU^R01|LAB{p}|P|2.5",
        "PID|1||00{p}||TEST^{p}||19600101|F",
        "OBR|1||S{p}|58410-2^CBC^LN|||20260220080000|||||||||||||||||F",
        "OBX|1|NM|751-8^Neutrophils^LN||4.0|10*9/L|||||F",
        "OBX|2|NM|731-0^Lymphocytes^LN||2.0|10*9/L|||||F",
        "OBX|3|NM|777-3^Platelets^LN||250|10*9/L|||||F",
    ]
)


def t1_series(folder: Path, **values: str) -> list[Dataset]:
    """The T1 series of a drawn patient, written into a folder."""
    folder.mkdir()
    patient = open_hospital(1).patients[0]
    images = [
        image
        for image in data_sets(patient.examination, patient.study())
        if image.SeriesInstanceUID == patient.examination.t1_series_uid
    ]
    for number, image in enumerate(images):
        image.StudyDate, image.PatientBirthDate, image.PatientSex = "20260201", "19600101", "F"
        image.PatientName, image.IssuerOfPatientID = "TEST^7", ""
        for name, value in values.items():
            setattr(image, name, value)
        write_file(folder / f"{number:03}.dcm", image)
    return images


def link(node: Node) -> tuple[object, list[object]]:
    node.settle()
    (row,) = node.query("SELECT status, reason_codes, series_instance_uid FROM links WHERE booking IS NOT NULL")
    return row["series_instance_uid"], json.loads(str(row["reason_codes"]))


def test_a_correction_and_a_rejection_reach_the_link(node: Node, tmp_path: Path) -> None:
    node.start()
    for message in [*context_of(7, "F"), COUNT.format(p=7).encode()]:
        mllp_send(node.hl7_port, message)
    wrong = t1_series(tmp_path / "wrong", PatientID="WRONG7")
    dcmsend(node.dicom_port, tmp_path / "wrong")
    uid = str(wrong[0].SeriesInstanceUID)
    assert link(node) == (None, ["no-mri"])
    t1_series(tmp_path / "right", PatientID="007")
    dcmsend(node.dicom_port, tmp_path / "right")
    linked, codes = link(node)
    assert "no-mri" not in codes
    assert {row["patient_id"] for row in node.query("SELECT patient_id FROM series")} == {"007"}
    replaced = node.query("SELECT source, detail FROM problems WHERE code = 'replaced'")
    assert [row["source"] for row in replaced] == [f"study {wrong[0].StudyInstanceUID}"]
    # A drawing is measured or in review; either way it is taken back.
    assert linked == uid or "mri-in-review" in codes
    write_file(tmp_path / "note.dcm", note(wrong, "113037"))
    subprocess.run(["dcmsend", "127.0.0.1", str(node.dicom_port), str(tmp_path / "note.dcm")], check=True, timeout=60)
    linked, codes = link(node)
    assert linked is None
    assert "rejected-for-patient-safety" in codes
    assert "no-mri" not in codes
    assert node.query("SELECT * FROM measurements WHERE in_effect = 1") == []
    assert node.stop() == 0
