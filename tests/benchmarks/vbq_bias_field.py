"""Whether a correction of the coil's shading helps: automatic VBQ with and without it, against readers.

Run by hand: ``python -m tests.benchmarks.vbq_bias_field --data FOLDER --out FOLDER [--jobs N]``. Rows are kept in
``bias_field.jsonl`` as they are made, so that a run goes on where one ended. Three questions of each correction, on the
T1 that were read by eye: is the automatic score nearer to the readers' (with their circles on the slice as it is, and
on the corrected one); are the readers nearer to each other; does a field of 25 % that is put on move the score less.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from analytics.training.data import PAIR_SPACING_MM, sagittal
from analytics.vbq.measure import measure_stack
from tests.benchmarks.vbq_pairs import (
    Row,
    Rows,
    as_row,
    parser_of,
    reader_sd,
    reading_vbq,
    readings,
    rms,
    t1,
    table,
    write,
)
from tests.benchmarks.vbq_retest import shaded

Plane = NDArray[np.float64]
AIR = 0.10
"""Of the 99th percentile of the smoothed slice: darker regions are air and say nothing about the coil."""
SMOOTH_PX = 4.0
HOMOMORPHIC_MM = 50.0
BINS, FWHM, WIENER, ROUNDS = 200, 0.15, 0.01, 20
"""Of the sharpening of the histogram of log signals: Tustison et al., IEEE Trans Med Imaging 2010;29:1310–1320."""
SHADE = 0.25


def tissue(signal: Plane) -> NDArray[np.bool_]:
    """Where there is signal."""
    smooth = ndimage.gaussian_filter(signal, SMOOTH_PX)
    out: NDArray[np.bool_] = (smooth > AIR * np.percentile(smooth, 99)) & (signal > 0)
    return out


def homomorphic(signal: Plane) -> Plane:
    """Divided by what is left of its logarithm after a wide Gaussian over the tissue."""
    mask = tissue(signal)
    logs = np.where(mask, np.log(np.where(mask, signal, 1.0)), 0.0)
    sigma = HOMOMORPHIC_MM / PAIR_SPACING_MM
    field = ndimage.gaussian_filter(logs, sigma) / np.maximum(ndimage.gaussian_filter(mask * 1.0, sigma), 1e-3)
    return signal / np.exp(field - field[mask].mean())


def surface(signal: Plane) -> Plane:
    """As N4 does it, with a polynomial of third order for the field."""
    mask = tissue(signal)
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, length) for length in signal.shape), indexing="ij")
    terms = np.stack([rows**i * columns**j for i in range(4) for j in range(4 - i)], axis=-1)
    sparse = np.zeros_like(mask)
    sparse[::3, ::3] = mask[::3, ::3]
    logs, design = np.log(signal[sparse]), terms[sparse]
    weights = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        now = logs - design @ weights
        weights += np.linalg.lstsq(design, now - _sharpened(now), rcond=None)[0]
    field = terms @ weights
    return signal / np.exp(field - field[mask].mean())


def _sharpened(logs: Plane) -> Plane:
    """The expected true value of each log signal, if a field had blurred their histogram."""
    low, high = logs.min(), logs.max()
    width = (high - low) / (BINS - 1)
    place = (logs - low) / width
    counts = np.bincount(np.rint(place).astype(int), minlength=BINS).astype(float)
    size = 4 * BINS
    distance = np.minimum(np.arange(size), size - np.arange(size)) * width
    blur = np.exp(-4 * np.log(2) * (distance / FWHM) ** 2)
    blur = np.fft.fft(blur / blur.sum())
    sharp = np.fft.ifft(np.fft.fft(counts, size) * np.conj(blur) / (np.abs(blur) ** 2 + WIENER)).real.clip(0)
    centres = low + np.arange(size) * width
    centres[size - BINS :] -= size * width
    above, below = (np.fft.ifft(np.fft.fft(plane) * blur).real for plane in (sharp * centres, sharp))
    expected = above / np.maximum(below, 1e-9)
    out: Plane = np.interp(place, np.arange(BINS), expected[:BINS])
    return out


CORRECTIONS: dict[str, Callable[[Plane], Plane]] = {
    "none": lambda signal: signal,
    "homomorphic": homomorphic,
    "N4-like surface": surface,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A slice and a correction, with a field put on it or not."""

    data: Path
    number: str
    correction: str
    field: bool


def measured(task: Task) -> Row:
    """Its row."""
    signal = t1(task.data, task.number)
    if task.field:
        signal = shaded(SHADE)(signal, 0.0, np.random.default_rng([7, int(task.number)])).image.signal
    corrected = CORRECTIONS[task.correction](signal)
    row = as_row(measure_stack([sagittal(corrected, PAIR_SPACING_MM)]))
    read = readings()[task.number]
    return row | {
        "number": task.number,
        "correction": task.correction,
        "field": task.field,
        "readers": [reading_vbq(signal, one) for one in read],
        "readers_corrected": [reading_vbq(corrected, one) for one in read],
    }


def summary(rows: dict[tuple[str, str, bool], Row], correction: str) -> Row:
    """Of one correction, on the slices that are measured with each of them."""
    numbers = [
        number
        for number in readings()
        if all(rows.get((number, one, False), {}).get("status") == "measured" for one in CORRECTIONS)
    ]
    plain = [rows[number, correction, False] for number in numbers]
    with_field = [(one, rows.get((n, correction, True), {})) for n, one in zip(numbers, plain, strict=True)]
    moved = [two["vbq"] / one["vbq"] - 1 for one, two in with_field if two.get("status") == "measured"]
    errors = [row["vbq"] - np.mean(row["readers"]) for row in plain]
    on_corrected = [row["vbq"] - np.mean(row["readers_corrected"]) for row in plain]
    return {
        "slices": len(numbers),
        "measured": sum(r["status"] == "measured" for k, r in rows.items() if k[1:] == (correction, False)),
        "rmse_readers": rms(errors),
        "bias_readers": float(np.mean(errors)),
        "rmse_readers_on_corrected": rms(on_corrected),
        "bias_readers_on_corrected": float(np.mean(on_corrected)),
        "reader_sd_on_corrected": reader_sd(row["readers_corrected"] for row in plain),
        "between_patients_sd": float(np.std([row["vbq"] for row in plain], ddof=1)),
        "moved_by_field": rms(moved),
        "moved_by_field_worst": max(map(abs, moved), default=float("nan")),
        "moved_by_field_slices": len(moved),
    }


def main() -> None:
    """Measure what is missing and write the report."""
    options = parser_of(__doc__).parse_args()
    kept = Rows(options.out / "bias_field.jsonl", ("number", "correction", "field"))
    tasks = [
        Task(data=options.data, number=number, correction=correction, field=field)
        for field in (False, True)
        for number in readings()
        for correction in CORRECTIONS
        if (number, correction, field) not in kept.all
    ]
    kept.fill(measured, tasks, options.jobs)
    report = {correction: summary(kept.all, correction) for correction in CORRECTIONS}
    heads = ("correction", "slices", "RMSE, readers", "bias", "RMSE, readers on the corrected", "bias",
             "SD of a reader", "moved by a field of 25 %, RMS", "worst")  # fmt: skip
    lines = [
        (name, s["slices"], f"{s['rmse_readers']:.3f}", f"{s['bias_readers']:+.3f}",
         f"{s['rmse_readers_on_corrected']:.3f}", f"{s['bias_readers_on_corrected']:+.3f}",
         f"{s['reader_sd_on_corrected']:.3f}", f"{s['moved_by_field']:.1%}", f"{s['moved_by_field_worst']:.1%}")
        for name, s in report.items()
    ]  # fmt: skip
    write(options.out, "bias_field", report, table(heads, lines))


if __name__ == "__main__":
    main()
