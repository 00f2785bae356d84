"""Signals that are no longer signals: what a window, a curve, a drawing leave in the histogram, and what does not."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import openjpeg
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from analytics.vbq.blocks import in_blocks
from analytics.vbq.burnt import burnt_in, doubts_of_drawing, without
from analytics.vbq.reworked import doubts_of_pixels
from analytics.vbq.scale import doubts_of_scale
from analytics.vbq.wavelets import in_wavelets
from tests.analytics.test_vbq_series import stack

Signal = NDArray[np.float64]


def magnitude(seed: int = 0) -> Signal:
    """A magnitude image of 320 × 320: air, tissue of all signals up to 900, noise of 6 (Rice), whole numbers."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((320, 320)) / 320
    tissue = 900 * np.clip(columns - 0.35, 0, 1) / 0.65 * (0.7 + 0.3 * np.sin(9 * rows))
    noise = rng.normal(0, 6, (2, 320, 320))
    return np.rint(np.hypot(tissue + noise[0], noise[1]))


def with_edges(seed: int = 0) -> Signal:
    """The same with patches of tissue, 8 to 15 pixels wide, next to each other."""
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.uniform(0.5, 1, (27, 27)), np.ones((12, 12)))[:320, :320]
    return np.rint(magnitude(seed) * ndimage.gaussian_filter(patches, 1.0))


def framed(signal: Signal) -> Signal:
    out = signal.copy()
    out[-2:] = out[:, -2:] = 4095
    return out


def written(signal: Signal) -> Signal:
    out = signal.copy()
    out[160] = out[5:15, 5:60] = 4095
    return out


def heaped(signal: Signal, share: float) -> Signal:
    """So much of the air, 0.35 of the image, has the lowest value, here and there; else there is next to none."""
    there = np.random.default_rng(2).random(signal.shape) < share
    return np.where(there & (np.indices(signal.shape)[1] < 112), 0.0, signal + 1)


def written_in_grey(signal: Signal) -> Signal:
    """Strokes of 600 across all tissue, whose highest is 900."""
    out = signal.copy()
    out[100:112:4, 150:240] = out[130:160, 200:230:6] = 600
    return out


def cornered(signal: Signal) -> Signal:
    """Blanked outside a disc, as after a correction of the gradients."""
    rows, columns = np.indices(signal.shape) - 160
    return np.where(np.hypot(rows, columns) > 168, 0.0, signal)


def curved(gamma: float) -> Callable[[Signal], Signal]:
    return lambda signal: np.rint(signal.max() * (signal / signal.max()) ** gamma)


CHANGED: dict[str, tuple[Callable[[Signal], Signal], set[str]]] = {
    "window": (
        lambda signal: np.rint(np.clip((signal - 12) * 255 / 560, 0, 255)),
        {"signals-clipped-above", "signals-clipped-below"},
    ),
    "upper end of a window": (lambda signal: np.minimum(signal, 700), {"signals-clipped-above"}),
    "lower end of a window": (lambda signal: np.maximum(signal, 9) - 9, {"signals-clipped-below"}),
    "lower end of a window, then interpolated": (
        lambda signal: (np.maximum(signal, 9) - 9) * np.linspace(1, 1.1, 320)[:, None],
        {"signals-clipped-below"},
    ),
    "the darkest air below zero": (lambda signal: heaped(signal, 0.09), {"signals-clipped-below"}),
    "gamma 0.8, then air set to zero": (
        lambda signal: np.where(signal < 15, 0.0, curved(0.8)(signal)),
        {"scale-not-linear"},
    ),
    "gamma 0.8": (curved(0.8), {"scale-not-linear"}),
    "gamma 0.9": (curved(0.9), {"scale-not-linear"}),
    "gamma 1.2": (curved(1.2), {"scale-not-linear"}),
    "gamma 0.9, then a slope": (lambda signal: curved(0.9)(signal) * 0.37 - 3, {"scale-not-linear"}),
}
HARMLESS: dict[str, Callable[[Signal], Signal]] = {
    "as it is": lambda signal: signal,
    "slope": lambda signal: signal * 0.37,
    "slope and intercept": lambda signal: signal * 2.5 - 500,
    "stored anew with a slope of 0.6": lambda signal: np.rint(signal / 0.6),
    "stored anew with a slope of 1.7": lambda signal: np.rint(signal / 1.7),
    "blanked corners": cornered,
    "air set to zero": lambda signal: np.where(signal < 15, 0.0, signal),
    "a little of the air at zero": lambda signal: heaped(signal, 0.05),
    "few levels, many of them the lowest": lambda signal: np.rint(signal / 30),
    "made larger by splines": lambda signal: np.rint(np.maximum(ndimage.zoom(signal, 1.3, order=3), 0)),
    "parts of it interpolated": lambda signal: np.where(
        np.arange(320)[:, None] < 200, signal, ndimage.shift(signal, (0.5, 0.5), order=1)
    ),
    "a spot": lambda signal: np.where(np.indices(signal.shape).sum(axis=0) == 2, 4000.0, signal),
    "no whole numbers": lambda signal: signal * np.linspace(1, 1.1, 320)[:, None],
}


@pytest.mark.parametrize(("change", "codes"), CHANGED.values(), ids=CHANGED)
def test_another_scale_is_seen(change: Callable[[Signal], Signal], codes: set[str]):
    assert {one.code for one in doubts_of_scale(change(magnitude()))} == codes


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_keeps_the_ratios_is_no_doubt(change: Callable[[Signal], Signal]):
    assert doubts_of_scale(change(magnitude())) == []
    assert burnt_in(change(magnitude())) is None


def in_jpeg(signal: Signal, quality: int) -> Signal:
    file = BytesIO()
    Image.fromarray(np.rint(signal * (255 / signal.max())).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).astype(float)


def test_blocks_of_a_strong_compression_are_seen_wherever_they_begin():
    signal = magnitude()
    assert in_blocks(in_jpeg(signal, 15))
    assert in_blocks(in_jpeg(signal, 15)[3:, 5:])
    assert not in_blocks(in_jpeg(signal, 97))
    for harmless in (signal, framed(signal), written(signal), ndimage.zoom(signal, 1.6, order=1), np.zeros((64, 64))):
        assert not in_blocks(harmless)


def in_jpeg_2000(signal: Signal, ratio: float) -> Signal:
    stored = openjpeg.encode(signal.astype(np.uint16), bits_stored=12, compression_ratios=[ratio])
    return np.asarray(openjpeg.decode(bytes(stored)), dtype=float)


@pytest.mark.parametrize("ratio", [25, 60])
def test_wavelets_of_a_strong_compression_are_seen(ratio: float):
    lossy = in_jpeg_2000(with_edges(), ratio)
    assert in_wavelets(lossy)
    assert in_wavelets(lossy / 3.7)
    assert not in_blocks(lossy)


@pytest.mark.parametrize(("row", "column"), [(0, 1), (1, 0), (3, 5), (2, 4)])
def test_wavelets_are_seen_in_what_was_cut_since(row: int, column: int):
    assert in_wavelets(in_jpeg_2000(magnitude(), 12)[row:, column:])


def test_details_of_what_was_not_compressed_are_no_wavelets():
    for signal in (magnitude(), with_edges()):
        harmless = [
            signal, signal[3:, 5:], without(framed(signal), burnt_in(framed(signal))), np.rint(signal * 3.7),
            np.rint(signal / 8), ndimage.zoom(signal, 1.6, order=1), ndimage.zoom(signal, 2, order=3),
            ndimage.gaussian_filter(signal, 1.5), ndimage.median_filter(signal, 3), in_jpeg(signal, 90),
            in_jpeg_2000(signal, 1.5), np.zeros((64, 64)), np.ones((9, 9)),
        ]  # fmt: skip
        assert [number for number, one in enumerate(harmless) if in_wavelets(one)] == []


def test_blocks_with_few_middle_frequencies_are_those_of_a_jpeg():
    """At quality 40 no step between two blocks stands out."""
    signal = with_edges()
    assert in_blocks(in_jpeg(signal, 40))
    assert in_blocks(in_jpeg(signal, 40)[3:-2, 5:])
    for harmless in (
        signal,
        in_jpeg(signal, 90),
        ndimage.gaussian_filter(signal, 1.5),
        ndimage.zoom(signal, 2, order=3),
    ):
        assert not in_blocks(harmless)


@pytest.mark.parametrize(
    ("draw", "codes"),
    [
        (framed, ["frame-burnt-in"]),
        (written, ["text-burnt-in"]),
        (lambda signal: written(framed(signal)), ["frame-burnt-in", "text-burnt-in"]),
        (written_in_grey, ["text-burnt-in"]),
        (lambda signal: framed(written_in_grey(signal) * 0.37), ["frame-burnt-in", "text-burnt-in"]),
    ],
)
def test_what_is_drawn_is_named_and_is_no_signal(draw: Callable[[Signal], Signal], codes: list[str]):
    signal = draw(magnitude())
    mask = burnt_in(signal)
    assert [one.code for one in doubts_of_drawing(mask)] == codes
    assert without(signal, mask).max() < 1000
    assert doubts_of_scale(signal, mask) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"bits_stored": 8}, "few-bits"),
        ({"conversion_type": "WSD"}, "pixels-reworked"),
        ({"derivation": "Window applied, exported"}, "pixels-reworked"),
        ({"derivation": "CLAHE contrast enhancement"}, "pixels-reworked"),
        ({"derivation": "Bias field corrected"}, "pixels-reworked"),
        ({"derivation": "N4ITK"}, "pixels-reworked"),
        ({"derivation": "JPEG 2000 irreversible 10:1"}, "pixels-reworked"),
        ({"derivation": "verlustbehaftet komprimiert"}, "pixels-reworked"),
        ({"derivation": "compression avec perte"}, "pixels-reworked"),
        ({"burned_in": "YES"}, "annotation-burnt-in"),
    ],
)
def test_headers_tell_of_pixels_made_anew(changes: dict[str, object], code: str):
    assert [one.code for one in doubts_of_pixels(stack(3, **changes))] == [code]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bits_stored": 12},
        {"bits_stored": 16, "burned_in": "NO"},
        {"derivation": "Lossless JPEG compression"},
        {"derivation": "Lossless, 2.5:1"},
        {"derivation": "verlustfrei komprimiert"},
        {"derivation": "compression sans perte"},
        {"derivation": "Anonymized"},
        {"derivation": "Deep Resolve Boost"},
        {"derivation": "Converted to Implicit VR Little Endian"},
    ],
)
def test_what_headers_say_of_every_image_is_no_doubt(changes: dict[str, object]):
    assert list(doubts_of_pixels(stack(3, **changes))) == []
