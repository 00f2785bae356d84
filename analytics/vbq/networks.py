"""The two networks that are shipped with the package, on the CPU: what is bone, disc and canal, and what is fluid.

Where they come from, what they were trained on and how good they are stands in ``networks.md`` beside them.
"""

import os
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analytics.vbq.spine import CLASSES

# The official wheels send usage data to the vendor and keep an id of the device at home, unless this is set when the
# library is loaded: nothing of a hospital's node calls anyone. Not a default that the environment may turn round.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

SEGMENTATION_FILE = Path(__file__).with_name("segmentation.onnx")
FLUID_FILE = Path(__file__).with_name("fluid.onnx")
MULTIPLE = 16
"""Rows and columns of a picture are filled up with zeros to a multiple of this: the networks halve them four times."""


def segment(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of :data:`~analytics.vbq.spine.CLASSES`, shape (classes, rows, columns).

    ``picture`` (rows, columns) as :func:`~analytics.vbq.grid.normalised` makes it, on the grid of 1.1 mm.
    """
    return _softmax(_run(SEGMENTATION_FILE, picture[None]))[: len(CLASSES)]


def fluid(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability that a pixel is nothing but cerebrospinal fluid, shape (rows, columns).

    ``planes`` (2, rows, columns) as :mod:`analytics.vbq.csf` makes them: the signal against the canal's, and the canal.
    """
    logits = _run(FLUID_FILE, planes)[0]
    out: NDArray[np.float32] = 1 / (1 + np.exp(-logits))
    return out


def _run(file: Path, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    _, rows, columns = planes.shape
    filled = np.pad(planes, ((0, 0), (0, -rows % MULTIPLE), (0, -columns % MULTIPLE)))
    (out,) = _session(file).run(None, {"picture": filled[None]})
    return np.asarray(out[0][:, :rows, :columns], dtype=np.float32)


def forget() -> bool:
    """Give up what the networks hold, up to 300 MB; they are loaded again in a tenth of a second. False: nothing."""
    loaded = _session.cache_info().currsize > 0
    _session.cache_clear()
    return loaded


@cache
def _session(file: Path) -> onnxruntime.InferenceSession:
    """Loaded once in a process, until :func:`forget`.

    One thread: the same bytes on every machine, and a core for each worker.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=0, keepdims=True))
    out: NDArray[np.float32] = shifted / shifted.sum(axis=0, keepdims=True)
    return out
