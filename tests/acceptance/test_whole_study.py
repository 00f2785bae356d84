"""A whole examination from DCMTK ends in one reading on the right series; a doubtful one ends with a person."""

import json
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from analytics.vbq.version import AUTOMATIC_VERSION
from tests.acceptance.harness import Node, dcmsend, vbq_node
from tests.acceptance.whole_study import series as series_of
from tests.acceptance.whole_study import t1_series, uid_of, whole_study


def write(folder: Path, images: list[Dataset], study: str = "study") -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        image.StudyInstanceUID = uid_of(study)
        image.save_as(folder / f"{number:03}.dcm")


def under(circles: dict[str, list[float]], image: Dataset) -> float:
    """VBQ (mean form) from the pixels under these circles, computed here from the definition."""
    rows, cols = np.ogrid[: image.Rows, : image.Columns]
    means = {
        name: float(image.pixel_array[(rows - row) ** 2 + (cols - col) ** 2 <= radius**2].mean())
        for name, (row, col, radius) in circles.items()
    }
    return statistics.fmean(means[name] for name in ("L1", "L2", "L3", "L4")) / means["CSF"]


def test_one_reading_on_the_right_series_and_a_persons_way_with_the_doubtful(
    node: Node, shared_data: Path, tmp_path: Path
) -> None:
    assert shutil.which("dcmsend"), "DCMTK is needed: apt-get install dcmtk"
    series = whole_study(t1_series(shared_data / "t1-tse-dicom/patient1"))
    for name, images in series.items():
        write(tmp_path / "whole" / name, images)
    # Of another examination only the contrast series and what was made after it came.
    second = t1_series(shared_data / "t1-tse-dicom/patient2")
    late = series_of(second, "second t1_tse_sag", 10, PatientID="0098")
    write(
        tmp_path / "late/8", series_of(second, "t1 +C", 8, PatientID="0098", ContrastBolusAgent="GADOTERATE"), "second"
    )
    write(tmp_path / "late/10", late, "second")
    node.start()
    dcmsend(node.dicom_port, tmp_path / "whole", tmp_path / "late")
    node.settle()

    right, moved = (str(series[name][0].SeriesInstanceUID) for name in ("t1_tse_sag_320", "t1_tse_sag moved"))
    # As the study stands: on a slow machine it may have been quiet, and measured, while its images still came.
    found = {
        str(row["series_instance_uid"]): row
        for row in node.query(
            f"SELECT * FROM measurements WHERE study_instance_uid = '{uid_of('study')}' AND current = 1"
        )
    }
    # The one that the patient moved in comes first by its number; its image is refused, and the repeat is measured.
    assert {uid: row["status"] for uid, row in found.items()} == {right: "measured", moved: "rejected"}
    states = {
        str(row["description"]): row["state"]
        for row in node.query(f"SELECT * FROM series WHERE study_instance_uid = '{uid_of('study')}'")
    }
    assert len(states) == 11
    assert {name for name, state in states.items() if state != "set aside"} == {"t1_tse_sag_320", "t1_tse_sag moved"}
    assert node.query(f"SELECT * FROM problems WHERE detail LIKE '%{right}%' OR source LIKE '%{moved}%'") == []

    # What a person does, by the words of the README.
    config = ("--config", str(node.config))
    doubtful = str(late[0].SeriesInstanceUID)
    (problem,) = [line for line in vbq_node("problems", *config).stdout.splitlines() if " review " in line]
    # Whole and on one line, to be copied.
    assert f" series {doubtful} " in problem
    assert "made after a series with a contrast agent (series 8)" in problem
    look, circles = tmp_path / "look.png", tmp_path / "circles.json"
    show = vbq_node("reading", "show", doubtful, "--picture", str(look), "--rois", str(circles), *config).stdout
    assert show.startswith("review, slice ")
    assert look.read_bytes().startswith(b"\x89PNG")
    content = json.loads(circles.read_text())
    row, col, radius = content["CSF"]
    content["CSF"] = [row + 1, col, radius]
    circles.write_text(json.dumps(content))
    said = vbq_node("reading", "add", doubtful, "--rois", str(circles), "--reader", "Dr. A", *config).stdout
    node.settle()
    number = content.pop("slice")
    image = next(one for one in late if one.InstanceNumber == number)
    assert said.startswith(f"stored: VBQ {under(content, image):.3f} ")
    (taken,) = node.query(f"SELECT * FROM measurements WHERE series_instance_uid = '{doubtful}' AND in_effect = 1")
    assert (taken["source"], taken["status"]) == ("reading:Dr. A", "measured")
    assert taken["vbq_mean"] == pytest.approx(under(content, image), abs=1e-9)

    # Another person takes the circles of the node after all.
    vbq_node("reading", "approve", doubtful, "--reader", "Dr. B", *config)
    node.settle()
    (taken,) = node.query(f"SELECT * FROM measurements WHERE series_instance_uid = '{doubtful}' AND in_effect = 1")
    assert (taken["source"], taken["approved_algorithm"]) == ("reading:Dr. B", f"vbq-auto {AUTOMATIC_VERSION}")
    assert taken["vbq_sd"] is not None, "of the real networks, kept with the circles"
    assert node.query("SELECT * FROM problems WHERE step = 'measure'") == []
    assert node.stop() == 0
