"""The T2 beside real T1: which doubts about the fluid it lifts, and that it moves no score."""

from pathlib import Path

import pytest

from analytics.training.data import PAIR_SPACING_MM, read_png, sagittal
from analytics.vbq.measure import measure_stack


@pytest.mark.parametrize(
    ("number", "status", "reasons"),
    [
        # Both readers 3.05 and 3.07, six readers 2.78 on average; the T2 shows the circle in a strip of fluid.
        ("0107", "measured", {"fluid-bright-on-t2"}),
        ("0210", "measured", {"fluid-bright-on-t2"}),
        # Off by 0.32 and 0.38 from both readers: roots reach into the circle on the T2 as well.
        ("0007", "review", {"fluid-like-roots"}),
        ("0373", "review", {"fluid-like-roots"}),
        # What is called its T2 shows another canal.
        ("0268", "measured", set()),
    ],
)
def test_a_t2_lifts_a_doubt_of_the_fluid_and_moves_no_score(
    shared_data: Path, number: str, status: str, reasons: set[str]
):
    t1, t2 = (
        sagittal(read_png(shared_data / "lumbar-t1-t2-pairs" / f"{number}_{name}.png"), PAIR_SPACING_MM)
        for name in ("t1", "t2")
    )
    alone, found = measure_stack([t1]), measure_stack([t1], t2_at=lambda _: t2)
    assert (found.status.value, {one.code for one in found.reasons}) == (status, reasons)
    assert (found.score, found.vbq_sd, found.levels_confidence) == (alone.score, alone.vbq_sd, alone.levels_confidence)
