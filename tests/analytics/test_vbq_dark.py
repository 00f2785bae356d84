"""Whether anything in an image is dark: fields of pixels of known signals, on either side of each limit."""

import numpy as np
import pytest

from analytics.records import CSF, LEVELS, Circle, RoiSignal, VbqScore
from analytics.vbq.appearance import doubts_of_signal
from analytics.vbq.automatic import SagittalImage

FLUID, MARROW = 40.0, 100.0
SMALL = {"field_mm": 250.0}
PX = 300
CIRCLES = {name: Circle(row=150.0, col=150.0 + 20 * at, radius_px=8.0) for at, name in enumerate((*LEVELS, CSF))}
SCORE = VbqScore(
    vbq_mean=MARROW / FLUID,
    vbq_median=MARROW / FLUID,
    rois={
        name: RoiSignal(circle=one, radius_mm=8.0, mean=FLUID if name == CSF else MARROW, sd=0.0, pixels=200)
        for name, one in CIRCLES.items()
    },
)


def doubted(
    *,
    darkest: float,
    lowest: float = 0.0,
    dark: float = 0.2,
    dark_share: float = 0.2,
    fat: float = 2.5,
    noise: float = 0.0,
    field_mm: float = 280.0,
    blanked: bool = False,
) -> bool:
    """Whether nothing is dark in a field of marrow.

    ``lowest`` (a two-hundredth of the pixels), ``darkest`` (the next two hundredths), ``dark`` (what is left of
    ``dark_share``) and ``noise`` are over the fluid, ``fat`` (a hundredth) over the marrow.
    """
    signal = MARROW + np.random.default_rng(0).normal(0, noise * FLUID, (PX, PX))
    places = np.random.default_rng(1).permutation(PX * PX)
    # Nothing is changed where noise is measured.
    rows, columns = np.indices((PX, PX)).reshape(2, -1)
    places = places[~((abs(rows - 150) < 12) & (columns > 130))[places]]
    ends = np.cumsum([0, 0.005, 0.02, dark_share - 0.025, 0.01]) * PX * PX
    for value, start, end in zip(
        (lowest * FLUID, darkest * FLUID, max(dark, darkest) * FLUID, fat * MARROW), ends, ends[1:], strict=False
    ):
        signal.flat[places[int(start) : int(end)]] = value
    # Where many pixels are the brightest, something was drawn.
    signal.flat[places[int(ends[3]) : int(ends[4])]] *= np.random.default_rng(2).uniform(
        1, 1.001, int(ends[4]) - int(ends[3])
    )
    if blanked:
        signal[:30, :30] = 0.0
    mm = field_mm / PX
    image = SagittalImage(signal=signal, spacing_mm=(mm, mm), position_mm=(0, 0, 0), orientation=(0, 1, 0, 0, 0, -1))
    return "nothing-dark" in {one.code for one in doubts_of_signal(image, SCORE)}


@pytest.mark.parametrize(
    ("beyond", "within"),
    [
        # A whole field has dark air at its edges.
        ({"darkest": 0.055}, {"darkest": 0.045}),
        ({"darkest": 0.1, "field_mm": 265.0}, {"darkest": 0.1, "field_mm": 255.0}),
        # Without it what tells is how much is dark.
        ({**SMALL, "darkest": 0.1, "dark_share": 0.12}, {**SMALL, "darkest": 0.1, "dark_share": 0.14}),
        ({**SMALL, "darkest": 0.1, "dark": 0.32}, {**SMALL, "darkest": 0.1, "dark": 0.28}),
        # Noise lifts what is dark, and so does local contrast enhancement, which makes fat dull as well.
        ({"darkest": 0.104, "noise": 0.2}, {"darkest": 0.092, "noise": 0.2}),
        ({"darkest": 0.07, "noise": 0.12, "fat": 1.88}, {"darkest": 0.07, "noise": 0.12, "fat": 2.02}),
        # An offset, large, or one that lifts many to the lowest signal.
        ({**SMALL, "darkest": 0.2, "lowest": 0.085}, {**SMALL, "darkest": 0.2, "lowest": 0.075}),
        ({**SMALL, "darkest": 0.085, "lowest": 0.06}, {**SMALL, "darkest": 0.095, "lowest": 0.06}),
        # Corners that were blanked are no air.
        ({"darkest": 0.16, "blanked": True}, {"darkest": 0.14, "blanked": True}),
    ],
)
def test_each_limit_lies_between_what_is_doubted_and_what_is_not(beyond: dict[str, float], within: dict[str, float]):
    assert doubted(**beyond)
    assert not doubted(**within)
