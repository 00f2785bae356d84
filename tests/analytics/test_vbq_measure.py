"""What circles give to doubt, on either side of each limit."""

import numpy as np
import pytest

from analytics.records import CSF, LEVELS, Circle, RoiSignal, VbqScore
from analytics.vbq.automatic import SagittalImage
from analytics.vbq.bodies import BodyCircle
from analytics.vbq.csf import FluidCircle
from analytics.vbq.grid import to_grid
from analytics.vbq.measure import FluidPlace, Scored, doubts_of_circles

PURE = {"purity": 0.97, "behind": 1.3, "depth_mm": 5.0}
IN_A_LAYER = {"purity": 0.90, "behind": 1.2, "depth_mm": 4.5, "uneven": 0.045}
"""Half of a circle of fluid in a layer before the sac, where there is room for an even one."""

NOISY = {"noise": 0.12, "uneven": 0.122}


def doubts(
    *, spacing_mm: float = 0.9, focal_share: float = 0.0, uneven: float = 0.0, noise: float = 0.0, **fluid: float
) -> list[str]:
    """Codes of what is doubted of circles in marrow of 100 and fluid of 40; ``uneven`` and ``noise`` over the fluid."""
    rois = {
        name: RoiSignal(
            circle=Circle(row=20.0 + 10 * at, col=20.0, radius_px=3.0), radius_mm=3.0, mean=mean, sd=sd, pixels=29
        )
        for at, (name, mean, sd) in enumerate([*((name, 100.0, 0.0) for name in LEVELS), (CSF, 40.0, 40.0 * uneven)])
    }
    # Second differences of ± a are 4 a, and 2.45 times the noise.
    amplitude = noise * 40.0 * 6**0.5 / 4 / 1.4826
    image = SagittalImage(
        signal=100 + amplitude * np.tile([1.0, -1.0], (80, 20)), spacing_mm=(spacing_mm, 0.9), position_mm=(0, 0, 0),
        orientation=(0, 1, 0, 0, 0, -1),
    )  # fmt: skip
    grid = to_grid(image)
    scored = Scored(
        score=VbqScore(vbq_mean=2.5, vbq_median=2.5, rois=rois),
        bodies={name: BodyCircle(row=0, column=0, radius_mm=7, focal_share=focal_share) for name in ("L1",)},
        fluid=FluidCircle(row=0, column=0, radius_mm=1.8, **{"other": 0.0, "elsewhere": 0.0, **PURE, **fluid}),
        place=FluidPlace(grid=grid, canal=np.ones(grid.signal.shape), centre=(0.0, 0.0), reach_px=(2.0, 2.0)),
    )
    return [one.code for one in doubts_of_circles(scored, image)]


@pytest.mark.parametrize(
    ("code", "beyond", "within"),
    [
        ("circle-focal", {"focal_share": 0.11}, {"focal_share": 0.09}),
        ("pixels-too-coarse-for-fluid", {"spacing_mm": 1.8}, {"spacing_mm": 1.7}),
        ("fluid-like-roots", {"purity": 0.78}, {"purity": 0.82}),
        ("fluid-in-two-parts", {"other": 0.055}, {"other": 0.045}),
        ("fluid-in-two-parts", {"other": -0.055}, {"other": -0.045}),
        # Roots behind it are too bright for fluid.
        ("fluid-or-dark-layer", {"purity": 0.92, "behind": 1.65}, {"purity": 0.92, "behind": 1.5}),
        ("fluid-or-dark-layer", {"purity": 0.92, "behind": 1.65}, {"purity": 0.95, "behind": 1.65}),
        # Uneven, although there is room and something brighter behind.
        ("fluid-or-dark-layer", IN_A_LAYER, {**IN_A_LAYER, "behind": 1.1}),
        ("fluid-or-dark-layer", IN_A_LAYER, {**IN_A_LAYER, "depth_mm": 3.5}),
        ("fluid-or-dark-layer", IN_A_LAYER, {**IN_A_LAYER, "uneven": 0.036}),
        ("fluid-or-dark-layer", IN_A_LAYER, {**IN_A_LAYER, "purity": 0.95}),
        # Beyond some noise nobody can tell that it is even.
        ("fluid-or-dark-layer", {**IN_A_LAYER, **NOISY}, {**IN_A_LAYER, "noise": 0.09, "uneven": 0.092}),
        ("fluid-or-dark-layer", {**IN_A_LAYER, **NOISY}, {**IN_A_LAYER, **NOISY, "uneven": 0.107}),
        ("fluid-or-dark-layer", {**IN_A_LAYER, **NOISY}, {**IN_A_LAYER, **NOISY, "behind": 1.1}),
    ],
)
def test_a_circle_is_doubted_beyond_each_limit_and_not_within(
    code: str, beyond: dict[str, float], within: dict[str, float]
):
    assert doubts(**beyond) == [code]
    assert doubts(**within) == []
    assert doubts() == []
