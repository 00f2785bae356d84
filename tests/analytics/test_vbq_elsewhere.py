"""What fills a drawn sac at L3 alone is no fluid: it is held against the fluid of other levels."""

import numpy as np
import pytest

from analytics.vbq.csf import FLUID_MM
from analytics.vbq.elsewhere import doubts_of_elsewhere

ROWS = {name: 60.0 + 50 * at for at, name in enumerate(("L1", "L2", "L3", "L4", "L5"))}
"""35 mm from body to body."""
REACH = (2.5, 2.5)


def doubts(
    *, fluid: float = 40.0, without: tuple[str, ...] = (), shaded: float = 0.0, mass_mm: float = 30.0
) -> list[str]:
    """A canal of 12 mm: in front fluid of 40, behind roots of 70; a mass of signal ``fluid`` all through it at L3."""
    rows, columns = np.indices((340, 100))
    signal = np.where(columns < 50, 40.0, 70.0)
    signal = np.where(np.abs(rows - ROWS["L3"]) * FLUID_MM < mass_mm / 2, fluid if fluid != 40 else signal, signal)
    coil = np.exp(shaded * (rows - ROWS["L3"]) * FLUID_MM / 100)
    canal = (np.abs(columns - 50) * FLUID_MM < 6).astype(float)
    for name in without:
        canal[np.abs(rows - ROWS[name]) * FLUID_MM < 16] = 0
    marrow = {name: (row, float(100 * coil[int(row), 0])) for name, row in ROWS.items()}
    return [one.code for one in doubts_of_elsewhere(signal * coil, canal, REACH, fluid, marrow)]


def test_fluid_that_is_fluid_at_all_levels_is_no_doubt():
    assert doubts() == []
    assert doubts(shaded=0.5) == [], "the coil shades marrow and fluid alike"


@pytest.mark.parametrize(("fluid", "found"), [(48.0, []), (52.0, ["fluid-brighter-than-elsewhere"]), (32.0, [])])
def test_what_is_brighter_by_more_than_a_quarter_is_doubted(fluid: float, found: list[str]):
    assert doubts(fluid=fluid) == found


def test_two_levels_with_fluid_are_enough_and_two_levels_alone_are_not():
    assert doubts(fluid=60.0, mass_mm=70.0) == ["fluid-brighter-than-elsewhere"]
    assert doubts(fluid=60.0, without=("L1",)) == ["fluid-brighter-than-elsewhere"]
    assert doubts(fluid=60.0, without=("L1", "L5")) == []
