"""Drawn phantoms of which no score should be believed: each goes to a person, with the doubt that is the right one."""

import numpy as np
import pytest

from analytics.records import MeasurementStatus
from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage
from analytics.vbq.measure import measure_stack
from node.demo.anatomy import Spine
from node.demo.drawing import Lesion
from node.demo.phantom import Matrix, PhantomSpec, draw_series

MIDDLE = Matrix(slices=1, size=320, spacing_mm=0.875, thickness_mm=4.0, step_mm=5.0)


def measured(spec: PhantomSpec, *, window: tuple[float, float] | None = None) -> AutomaticMeasurement:
    """One slice of a phantom; ``window``: lower end and width, baked into 8 bits."""
    series = draw_series(spec, matrix=MIDDLE)
    signal = series.pixels[0].astype(np.float64)
    if window:
        signal = np.rint(np.clip((signal - window[0]) * 255 / window[1], 0, 255))
    place = series.positions_mm[0]
    image = SagittalImage(
        signal=signal,
        spacing_mm=(MIDDLE.spacing_mm, MIDDLE.spacing_mm),
        position_mm=(float(place[0]), float(place[1]), float(place[2])),
        orientation=series.orientation,
    )
    return measure_stack([image])


def about_disc(lower: str, upper: str) -> float:
    """Place of a disc along the spine."""
    spine = Spine()
    return (spine.level(lower).centre_mm + spine.level(upper).centre_mm) / 2


HEALTHY = PhantomSpec(seed=1)
INFECTED = PhantomSpec(seed=1, lesions=(Lesion(centre_mm=about_disc("L3", "L2"), reach_mm=22.0, factor=0.6),))
REPLACED = PhantomSpec(
    seed=1, lesions=(Lesion(centre_mm=Spine().level("L2").centre_mm + 3, reach_mm=13.0, factor=0.65),)
)
STRAIGHT = PhantomSpec(seed=2, spine=Spine(sac=0.6))
"""Its circle of fluid lies in the dark layer before the sac: 20 % too high."""
NARROW = PhantomSpec(seed=1, spine=Spine(sac=0.4, scoliosis_mm=10.0))


def codes(found: AutomaticMeasurement) -> set[str]:
    return {reason.code for reason in found.reasons}


def test_a_healthy_one_is_measured():
    found = measured(HEALTHY)
    assert (found.status, codes(found)) == (MeasurementStatus.MEASURED, set())
    assert found.score is not None
    assert found.score.vbq_mean == pytest.approx(HEALTHY.true_vbq_mean, rel=0.05)


@pytest.mark.parametrize(
    ("spec", "window", "doubts"),
    [
        pytest.param(INFECTED, None, {"marrow-dark-about-disc"}, id="an infection of L2/L3"),
        pytest.param(REPLACED, None, {"body-dark"}, id="L2 replaced but for its upper quarter"),
        pytest.param(NARROW, None, {"fluid-like-roots"}, id="a narrow oblique sac"),
        pytest.param(STRAIGHT, None, {"fluid-or-dark-layer"}, id="a narrow straight sac"),
        pytest.param(HEALTHY, (40.0, 560.0), {"signals-clipped-above"}, id="a baked window"),
    ],
)
def test_what_should_not_be_believed_waits_with_the_right_doubt(spec, window, doubts):
    found = measured(spec, window=window)
    assert found.status is MeasurementStatus.REVIEW
    assert doubts <= codes(found)
