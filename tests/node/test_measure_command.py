"""``vbq-node measure`` as a user runs it, with the real networks on a drawn patient."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analytics.reasons import words
from node.demo.dicom_study import data_sets
from node.demo.hospital import open_hospital
from tests.commands import command
from tests.node.dicom_samples import mr_image, write_file


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole examination of the first patient of the demo: scout, T2, T1, axial."""
    folder = tmp_path_factory.mktemp("study")
    patient = open_hospital(1).patients[0]
    for number, image in enumerate(data_sets(patient.examination, patient.study())):
        write_file(folder / f"{number:03}", image)
    return folder


def test_a_study_gives_one_line_a_series_and_a_picture(study: Path, tmp_path: Path):
    patient = open_hospital(1).patients[0]
    words = [sys.executable, "-m", "node", "measure", study, "--json", "--overlay", tmp_path / "pictures"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 4
    found = {row["series_instance_uid"]: row for row in rows}
    row = found.pop(patient.examination.t1_series_uid)
    assert {other["status"] for other in found.values()} == {"rejected"}
    assert all(other["reasons"] for other in found.values())
    # The networks learnt from patients; what they make of a drawing is near its truth or a doubt.
    assert row["status"] in {"measured", "review"}
    assert done.returncode == (0 if row["status"] == "measured" else 3)
    if row["status"] == "measured":
        assert row["vbq_mean"] == pytest.approx(patient.phantom.true_vbq_mean, rel=0.1)
    assert list(row["rois"]) == ["L1", "L2", "L3", "L4", "CSF"]
    assert row["algorithm"]["name"] == "vbq-auto"
    (picture,) = (tmp_path / "pictures").iterdir()
    assert picture.name == f"{row['sop_instance_uid']}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert done.stderr == ""


def test_a_table_for_a_person_and_an_exit_code_where_nothing_is_measured(study: Path, tmp_path: Path):
    axial = sorted(study.iterdir())[-3:]
    notes = tmp_path / "notes.txt"
    notes.write_text("not an image")
    done = command("measure", *axial, notes, check=False)
    assert done.returncode == 3
    assert "rejected" in done.stdout
    assert done.stderr == f"{notes}: not a DICOM Part 10 file\n"


def test_without_an_image_it_says_so(tmp_path: Path):
    done = command("measure", tmp_path, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"vbq-node: there is no DICOM image among {tmp_path}\n"
    missing = command("measure", tmp_path / "nothing", check=False)
    assert missing.returncode == 1
    assert "there is no such file or folder" in missing.stderr


@pytest.mark.parametrize("content", ["black", "noise", "ramp", "one pixel high", "huge values"])
def test_what_is_no_spine_is_rejected_and_never_raises(tmp_path: Path, content: str):
    shape = (1, 256) if content == "one pixel high" else (256, 256)
    rng = np.random.default_rng(1)
    pixels = {
        "black": np.zeros(shape),
        "noise": rng.integers(0, 4096, shape),
        "ramp": np.add.outer(np.arange(256), np.arange(256)),
        "one pixel high": np.ones(shape),
        "huge values": rng.integers(0, 65536, shape),
    }[content].astype(np.uint16)
    image = mr_image(
        Rows=shape[0], Columns=shape[1], PixelData=pixels.tobytes(), PixelSpacing=[1.1, 1.1], BitsStored=16, HighBit=15
    )
    write_file(tmp_path / "image", image)
    from analytics.vbq.measure import measure_stack
    from node.measure.files import find, measure_all, to_json_dict

    ((series, result),) = measure_all(find([tmp_path]), measure_stack)
    assert result.status.value == "rejected"
    assert result.reasons
    assert not any("failed" in reason for reason in words(result.reasons))
    json.dumps(to_json_dict(series, result), allow_nan=False)
