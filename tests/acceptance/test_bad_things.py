"""One bad thing costs itself only, on a node that runs: the good patient behind it is linked, and the bad is shown."""

from pathlib import Path

from tests.acceptance.harness import Node, dcmsend, mllp_send
from tests.acceptance.test_corrected_in_the_pacs import COUNT, t1_series
from tests.acceptance.test_real_series import context_of
from tests.node.bad_things import send_bad_messages, send_bad_objects

EXPECTED = {
    ("index", "unreadable"),
    ("catalogue", "contradictory-patient"),
    ("catalogue", "too-many-frames"),
    ("receive", "other-name"),
    ("interpret", "held"),
}
"""Steps and codes of what came, beside others."""


def test_the_good_patient_behind_what_is_bad_is_linked(node: Node, tmp_path: Path) -> None:
    node.start()
    kept = [one for one, status in send_bad_objects(node.dicom_port) if status == 0x0000]
    answered = send_bad_messages(node.hl7_port)
    assert all(b"\rMSA|" in answer for _, answer in answered)
    node.settle()
    mllp_send(node.hl7_port, *context_of(7, "F"), COUNT.format(p=7).encode())
    good = t1_series(tmp_path / "good", PatientID="007")
    dcmsend(node.dicom_port, tmp_path / "good")
    node.settle()
    (row,) = node.query(
        "SELECT l.status, l.reasons, c.nlr, c.vbq FROM links AS l JOIN cohort AS c USING (id) "
        f"WHERE l.series_instance_uid = '{good[0].SeriesInstanceUID}'"
    )
    assert (row["status"], row["nlr"]) == ("linked", 2.0), row
    assert row["vbq"] is not None
    problems = {(row["step"], row["code"]) for row in node.query("SELECT step, code FROM problems")}
    assert problems >= EXPECTED, problems
    assert not {code for _, code in problems} & {"failed"}, "nothing that nobody foresaw"
    assert len(kept) > 20
    assert node.stop() == 0
