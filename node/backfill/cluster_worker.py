"""What is done on a worker of a cluster: a study is measured, and what measures it is said.

A worker needs this package and the images, or their bytes; no database, no settings and no data folder of its own.
"""

import hashlib
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import analytics
import node
from node.measure.automatic import Measure
from node.measure.task import StudyTask, do
from node.memory import keep_for_next_time
from node.store.archive import Archive

LIBRARIES = ("numpy", "scipy", "onnxruntime", "pydicom", "python-gdcm", "pylibjpeg-openjpeg", "pyjpegls")
"""What else than this software the numbers come from."""
SOURCES = frozenset({".py", ".onnx", ".toml"})
PACKAGED = "conf"
"""Only in an installed package: settings, of which measuring knows nothing."""


def measured(
    task: str, measure: Measure, archive: str | None, files: Mapping[str, bytes] | None
) -> tuple[str, str | None]:
    """Measure a study.

    Parameters
    ----------
    task, measure
        As for :func:`node.measure.task.do`; the task as text.
    archive
        The data folder in whose archive the images lie, as this machine sees it.
    files
        The images themselves by SHA-256, instead.

    Returns
    -------
    tuple of str
        Which process this is, and the outcome as text; ``None`` when it does not see the images.

    Raises
    ------
    OSError
        It lies with the machine.
    """
    study = StudyTask.from_json(task)
    if files is None:
        path = Archive(Path(archive or "")).path
        if not all(os.access(path(image.sha256), os.R_OK) for image in study.images):
            return this_process(), None
        return this_process(), do(study, measure, path).to_json()
    with TemporaryDirectory(prefix="vbq-node-") as folder:
        for sha256, content in files.items():
            (Path(folder) / sha256).write_bytes(content)
        return this_process(), do(study, measure, Path(folder).joinpath).to_json()


def introduced(task: str, measure: Measure, files: Mapping[str, bytes]) -> tuple[str, str | None, dict[str, str]]:
    """As :func:`measured`, and what it was measured with: :func:`measured_with`; before all else in this process."""
    keep_for_next_time()
    return *measured(task, measure, None, files), measured_with()


@cache
def this_process() -> str:
    """Tells this process from one that comes in its place, at the same address too."""
    return uuid4().hex


def measured_with() -> dict[str, str]:
    """Software, libraries and machine by name: what equal results depend on."""
    return {
        "vbq-node": f"{node.__version__} ({sources_sha256()[:12]})",
        "Python": platform.python_version(),
        **{name: installed(name) for name in LIBRARIES},
        "processor": _processor(),
    }


@cache
def sources_sha256() -> str:
    """SHA-256 of everything in this software that measuring may depend on; equal for a wheel and what it is made of."""
    digest = hashlib.sha256()
    for package in (analytics, node):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*")):
            place = path.relative_to(root)
            if path.suffix in SOURCES and place.parts[0] != PACKAGED:
                digest.update(f"{root.name}/{place.as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
