"""The child process of :mod:`node.measure.decoding`: reads requests, decodes, answers, until nobody asks any more."""

import json
import math
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from analytics.reasons import Reason, to_dict
from node.dicom.content import content_faults
from node.dicom.native_pixels import made_native
from node.dicom.reader import decode, stored_sha256, with_sign
from node.errors import DicomReadError
from node.measure.decoding import HEAD

LONGEST_S = 900
"""The kernel ends a child that is so long at one request, in case there is no parent any more that would."""


def main() -> None:
    """Serve requests from standard input; the only argument is the limit of the memory in bytes."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # What a native library prints is no answer.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    memory_bytes = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        # Where the machine runs out of memory all the same, this process goes first.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    _send(answers, {}, [])
    for line in requests:
        request = json.loads(line)
        _bound(request["limit_s"])
        _serve(request, answers)
        signal.alarm(0)


def _bound(limit_s: float) -> None:
    """Have the kernel end this process after so much more processor time; that reaches native code as well."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + limit_s)
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
    signal.alarm(LONGEST_S)


def _serve(request: Mapping[str, Any], answers: BinaryIO) -> None:
    path = Path(request["path"])
    try:
        said, pieces = _done(request["do"], path, request)
    except FileNotFoundError:
        said, pieces = {"error": "missing"}, []
    except OSError as error:
        said, pieces = _unreadable(Reason("file-not-readable", {"why": error.strerror})), []
    except DicomReadError as error:
        said, pieces = _unreadable(error.reason), []
    except MemoryError:
        said, pieces = _unreadable(Reason("pixels-too-large-for-memory")), []
    _send(answers, said, pieces)


def _done(what: str, path: Path, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    if what == "slices":
        return _slices(path, request["frames"])
    return ({"sha256": stored_sha256(path)}, []) if what == "sha256" else _decompressed(path)


def _unreadable(reason: Reason) -> dict[str, Any]:
    return {"error": "unreadable", "reason": to_dict(reason)}


def _send(answers: BinaryIO, said: Mapping[str, Any], pieces: Sequence[bytes]) -> None:
    text = json.dumps(said).encode()
    answers.write(HEAD.pack(len(text), sum(len(piece) for piece in pieces)) + text)
    for piece in pieces:
        answers.write(piece)
    answers.flush()


def _slices(path: Path, frames: list[int | None]) -> tuple[dict[str, Any], list[bytes]]:
    said, pieces = [], []
    for signal_values, spacing_mm in decode(path, frames):
        said.append((*signal_values.shape, signal_values.dtype.str, spacing_mm))
        pieces.append(signal_values.tobytes())
    return {"slices": said}, pieces


def _decompressed(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    with content_faults(Reason("not-decompressible", {"fault": ""})):
        dataset = pydicom.dcmread(path)
        made_native(dataset)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            _decompress(dataset)
        if dataset.SamplesPerPixel == 1:
            stored = np.frombuffer(dataset.PixelData, dtype=f"<u{(dataset.BitsAllocated + 7) // 8}")
            dataset["PixelData"].value = with_sign(stored, dataset).tobytes()
        written = BytesIO()
        dataset.save_as(written, enforce_file_format=True)
        return {}, [written.getvalue()]


def _decompress(dataset: Dataset) -> None:
    # Not pydicom's corrections of the sign: they write into buffers that some decoders give for reading only.
    dataset.decompress(
        as_rgb=dataset.PhotometricInterpretation == "YBR_RCT",
        generate_instance_uid=False,
        apply_jls_sign_correction=False,
        apply_j2k_sign_correction=False,
    )
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian


if __name__ == "__main__":
    main()
