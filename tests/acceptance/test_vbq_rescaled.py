"""Real series made into those that a re-export leaves: what changes a score waits for a person, what does not stays."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import openjpeg
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from analytics.records import MeasurementStatus
from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage
from analytics.vbq.measure import measure_stack
from tests.acceptance.test_vbq_readers import stack

Signal = NDArray[np.float64]


@pytest.fixture(scope="module", params=[1, 2])
def real(request: pytest.FixtureRequest, shared_data: Path) -> list[SagittalImage]:
    """Three slices about the midline of a real series."""
    images, _ = stack(shared_data / f"t1-tse-dicom/patient{request.param}")
    ordered = sorted(images, key=lambda image: image.position_mm[0])
    middle = len(ordered) // 2
    return ordered[middle - 1 : middle + 2]


@pytest.fixture(scope="module")
def plain(real: list[SagittalImage]) -> AutomaticMeasurement:
    found = measure_stack(real)
    assert found.status is MeasurementStatus.MEASURED
    return found


def changed(images: Sequence[SagittalImage], change: Callable[[Signal], Signal]) -> list[SagittalImage]:
    return [replace(image, signal=change(image.signal)) for image in images]


def codes(found: AutomaticMeasurement) -> set[str]:
    return {reason.code for reason in found.reasons}


def gamma(signal: Signal) -> Signal:
    top = np.percentile(signal, 99.9)
    return np.rint(top * (signal / top) ** 0.9)


def framed(signal: Signal) -> Signal:
    out = signal.copy()
    out[-2:] = out[:, -2:] = 4095
    return out


def locally_enhanced(signal: Signal) -> Signal:
    """CLAHE: the histogram of each of 8 × 8 tiles made even, no value more than three times as frequent as others."""
    tiles, levels = 8, 256
    stored = np.clip(signal / np.percentile(signal, 99.9) * (levels - 1), 0, levels - 1).astype(int)
    (rows, columns), curves = stored.shape, np.zeros((tiles, tiles, levels))
    for row, column in np.ndindex(tiles, tiles):
        tile = stored[row * rows // tiles : (row + 1) * rows // tiles, column * columns // tiles :][
            :, : columns // tiles
        ]
        counts = np.bincount(tile.ravel(), minlength=levels).astype(float)
        clipped = np.minimum(counts, 3 * tile.size / levels)
        curves[row, column] = np.cumsum(clipped + (counts - clipped).sum() / levels) / tile.size
    places = [np.clip((np.arange(n) + 0.5) * tiles / n - 0.5, 0, tiles - 1) for n in (rows, columns)]
    mesh = np.meshgrid(*places, indexing="ij")
    return np.rint(4095 * ndimage.map_coordinates(curves, [*mesh, stored], order=1))


def in_jpeg_2000(signal: Signal) -> Signal:
    """At 25:1 of 12 bits."""
    stored = openjpeg.encode(signal.astype(np.uint16), bits_stored=12, compression_ratios=[25])
    return np.asarray(openjpeg.decode(bytes(stored)), dtype=float)


def written_in_grey(signal: Signal) -> Signal:
    """A line and two bars across the bodies, of a signal that fat has."""
    out = signal.copy()
    out[150, 100:260] = out[100:110, 150:162:4] = out[200:210, 150:162:4] = 600
    return out


CHANGES: dict[str, tuple[Callable[[Signal], Signal], str]] = {
    "window": (lambda signal: np.rint(np.clip((signal - 25) * 255 / 600, 0, 255)), "signals-clipped-below"),
    "gamma": (gamma, "scale-not-linear"),
    "offset": (lambda signal: signal + 15, "nothing-dark"),
    "local contrast": (locally_enhanced, "nothing-dark"),
    "frame": (framed, "frame-burnt-in"),
    "JPEG 2000": (in_jpeg_2000, "signal-in-wavelets"),
    "JPEG 2000, cut since": (lambda signal: in_jpeg_2000(signal)[3:-2, 5:-4], "signal-in-wavelets"),
    "drawn in grey": (written_in_grey, "text-burnt-in"),
}


@pytest.mark.parametrize(("change", "code"), CHANGES.values(), ids=CHANGES)
def test_another_scale_or_a_drawing_waits_for_a_person(
    change: Callable[[Signal], Signal], code: str, real: list[SagittalImage]
):
    found = measure_stack(changed(real, change))
    assert found.status is MeasurementStatus.REVIEW
    assert code in codes(found)
    assert "ghost-of-motion" not in codes(found)


def zero_filled(image: SagittalImage, *, rows_mm: float, columns_mm: float, size: int = 512) -> SagittalImage:
    """Another matrix of the same field: a part of k-space, filled with zeros to ``size``."""
    shape, spacing = image.signal.shape, image.spacing_mm
    middle = np.fft.fftshift(np.fft.fft2(image.signal))
    kept = [round(shape[0] * spacing[0] / rows_mm), round(shape[1] * spacing[1] / columns_mm)]
    source = tuple(slice((n - k) // 2, (n - k) // 2 + k) for n, k in zip(shape, kept, strict=True))
    target = tuple(slice((size - k) // 2, (size - k) // 2 + k) for k in kept)
    filled = np.zeros((size, size), dtype=complex)
    filled[target] = middle[source]
    signal = np.rint(np.abs(np.fft.ifft2(np.fft.ifftshift(filled))) * size * size / (shape[0] * shape[1]))
    finer = (shape[0] * spacing[0] / size, shape[1] * spacing[1] / size)
    return replace(image, signal=signal, spacing_mm=finer)


def test_the_papers_own_matrix_changes_neither_status_nor_score(real: list[SagittalImage], plain: AutomaticMeasurement):
    # 280 mm over 288 × 192, the finer along the read-out from head to foot.
    found = measure_stack([zero_filled(image, rows_mm=280 / 288, columns_mm=280 / 192) for image in real])
    assert (found.status, codes(found)) == (MeasurementStatus.MEASURED, codes(plain))
    assert found.score is not None
    assert plain.score is not None
    assert found.score.vbq_mean == pytest.approx(plain.score.vbq_mean, rel=0.02)


def test_a_gain_of_each_slice_changes_nothing(real: list[SagittalImage], plain: AutomaticMeasurement):
    found = measure_stack([replace(one, signal=np.rint(one.signal / (0.5 + 0.2 * n))) for n, one in enumerate(real)])
    assert (found.status, codes(found)) == (MeasurementStatus.MEASURED, codes(plain))
    assert found.score is not None
    assert plain.score is not None
    assert found.score.vbq_mean == pytest.approx(plain.score.vbq_mean, rel=0.01)


def test_a_slice_in_the_place_of_another_is_named(real: list[SagittalImage], plain: AutomaticMeasurement):
    assert "slices-repeated" not in codes(plain)
    found = measure_stack([real[0], real[1], replace(real[2], signal=real[1].signal.copy())])
    assert found.status is MeasurementStatus.REVIEW
    assert "slices-repeated" in codes(found)


def test_a_slice_that_is_all_dark_is_named(real: list[SagittalImage]):
    found = measure_stack([real[0], replace(real[1], signal=np.rint(real[1].signal / 400)), real[2]])
    assert found.status is MeasurementStatus.REVIEW
    assert "slices-blank" in codes(found)
