"""Ghosts of motion in the air behind a drawn back, on either side of each limit."""

import numpy as np
import pytest
from scipy import ndimage

from analytics.vbq.automatic import SagittalImage
from analytics.vbq.ghosts import ghost

MM = 1.5
PX = 200
MARROW = 100.0
BACK = 110
"""The first column of air."""


def body() -> np.ndarray:
    """Tissue of 40 to 160 from column 30 on, with structures of some millimetres; air of 1 behind it and in front."""
    rng = np.random.default_rng(0)
    rough = ndimage.gaussian_filter(rng.normal(size=(PX, PX)), 3)
    tissue = MARROW * (1 + 0.6 * np.clip(rough / rough.std() / 2, -1, 1))
    columns = np.indices((PX, PX))[1]
    return np.where((columns >= 30) & (columns < BACK), tissue, 0.0) + np.abs(rng.normal(0, 0.5, (PX, PX))) + 0.5


def seen(share: float, *, shift_mm: float = 60.0, axis: int = 1, noise: float = 0.0) -> float | None:
    """The amplitude that is seen of a copy of the body to both sides."""
    signal, step = body(), round(shift_mm / MM)
    signal = signal + share * (np.roll(signal, step, axis) + np.roll(signal, -step, axis))
    signal = signal + np.abs(np.random.default_rng(1).normal(0, noise, signal.shape))
    image = SagittalImage(signal=signal, spacing_mm=(MM, MM), position_mm=(0, 0, 0), orientation=(0, 1, 0, 0, 0, -1))
    return ghost(image, MARROW)


@pytest.mark.parametrize("share", [0.03, 0.05, 0.1])
def test_a_ghost_is_seen_with_the_amplitude_of_its_copy(share: float):
    assert seen(share) == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize(
    ("beyond", "within"),
    [
        # Too weak to matter.
        ({"share": 0.028}, {"share": 0.022}),
        # Too strong for a ghost: the fluid would be lifted beyond what is measured there.
        ({"share": 0.19}, {"share": 0.24}),
        # Too near to be told from the flare of the skin.
        ({"share": 0.05, "shift_mm": 24.0}, {"share": 0.05, "shift_mm": 18.0}),
        # Drowned in noise.
        ({"share": 0.05, "noise": 3.0}, {"share": 0.05, "noise": 5.5}),
    ],
)
def test_each_limit_lies_between_what_is_a_ghost_and_what_is_none(beyond: dict[str, float], within: dict[str, float]):
    assert seen(**beyond) is not None
    assert seen(**within) is None
