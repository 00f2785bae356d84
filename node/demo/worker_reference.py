"""A phantom's T1 series as a study: by it a worker of a cluster shows that it gives the values of this node."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import BytesIO
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from node.clock import to_text
from node.demo.dicom_study import Examination, t1_data_sets
from node.demo.phantom import PhantomSpec, draw_series
from node.dicom.header import header_to_json
from node.dicom.reader import read_header
from node.measure.study import ImageRow
from node.measure.task import StudyTask

SYNTAXES = (None, JPEG2000Lossless, JPEGLSLossless, RLELossless)
"""Of one image after the other, so that every decoder is asked; ``None``: not compressed."""
SEED = 7
MOMENT = datetime(2026, 1, 1, 9, tzinfo=UTC)


def reference_study() -> tuple[StudyTask, dict[str, bytes]]:
    """The study as a task, and its images by SHA-256."""
    files = {hashlib.sha256(content).hexdigest(): content for content in map(_written, _images())}
    with TemporaryDirectory() as folder:
        rows = [_row(Path(folder) / sha256, sha256, content) for sha256, content in sorted(files.items())]
    study_uid = _examination().uid("study")
    return StudyTask(study_uid=study_uid, images=tuple(rows), quiet_s=0), files


def _examination() -> Examination:
    return Examination(
        key="reference", patient_id=None, authority="", name="", birth_date=date(1960, 1, 1), sex="F", begun_at=MOMENT
    )


def _images() -> Iterator[Dataset]:
    images = t1_data_sets(_examination(), draw_series(PhantomSpec(seed=SEED)))
    for image, syntax in zip(images, cycle(SYNTAXES), strict=False):
        if syntax is not None:
            image.compress(syntax, generate_instance_uid=False)
        yield image


def _written(image: Dataset) -> bytes:
    file = BytesIO()
    image.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _row(path: Path, sha256: str, content: bytes) -> ImageRow:
    path.write_bytes(content)
    headers = header_to_json(read_header(path))
    return ImageRow(sha256=sha256, headers=headers, received_at=to_text(MOMENT), content=sha256, rejected=None)
