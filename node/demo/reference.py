"""A reference series: drawn on the spot, read and measured as every other; its score is known for each measurement.

``python -m node.demo.reference`` prints what this version makes of it, for :data:`SCORES`.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from analytics.vbq.measure import measure_stack
from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.demo.dicom_study import data_sets
from node.demo.hospital import open_hospital
from node.measure.files import find, measure_all

SCORES = {f"vbq-auto {version}": 3.3144 for version in range(6, 11)}
"""VBQ (mean) of the series by name and version of the measurement."""
APART = 0.005
"""Other processors round other sums; a score is shown with two decimals."""


def measured_reference() -> float:
    """The VBQ of the reference series, by this software on this machine; NaN where it is not measured."""
    patient = open_hospital(1).patients[0]
    with TemporaryDirectory() as name:
        for number, image in enumerate(data_sets(patient.examination, patient.study())):
            if image.SeriesInstanceUID == patient.examination.t1_series_uid:
                image.save_as(Path(name) / f"{number:03}.dcm", enforce_file_format=True)
        ((_, result),) = measure_all(find([Path(name)]), measure_stack)
    return float("nan") if result.score is None else result.score.vbq_mean


def check_reference() -> str | None:
    """What is wrong with the measurement on this machine, in a sentence; ``None``: nothing."""
    algorithm = f"{AUTOMATIC_NAME} {AUTOMATIC_VERSION}"
    expected, found = SCORES.get(algorithm), measured_reference()
    if expected is None:
        return f"no score of the reference series is known for {algorithm}"
    if not abs(found - expected) <= APART:
        return f"the reference series measures VBQ {found:.4f} here, and {expected:.4f} is right for {algorithm}"
    return None


if __name__ == "__main__":
    sys.stdout.write(f'"{AUTOMATIC_NAME} {AUTOMATIC_VERSION}": {measured_reference():.6f}\n')
