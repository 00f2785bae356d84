"""The flow diagram: it adds up or it is not drawn."""

import pytest

from analytics.pictures.base import png
from analytics.pictures.flow import Flow, FlowStep, flow_figure


def test_numbers_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="Rows: 10 less 3 are not the 8 of Eligible"):
        Flow(steps=(FlowStep(label="Rows", n=10, left={"age": 3}), FlowStep(label="Eligible", n=8, left={})))


def test_a_long_list_of_reasons_is_drawn_and_said_in_words() -> None:
    left = {f"a long reason, number {i}, that does not fit on its line at all": i + 1 for i in range(20)}
    total = sum(left.values())
    flow = Flow(
        steps=(
            FlowStep(label="Operations", n=total + 5, left=left),
            FlowStep(label="Eligible", n=5, left={"no finite value of plr": 5}),
        )
    )
    figure = flow_figure(flow)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "n = 215" in texts
    assert "36  for other reasons" in texts  # 1 + 2 + … + 8
    assert max(len(text) for text in texts) < 60
    assert png(figure).startswith(b"\x89PNG")
    assert flow.in_words().endswith("then Eligible 5 (left: 5 no finite value of plr).")
