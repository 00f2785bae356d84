"""The ranges of living adults: what a value outside them is, is a slip or has another unit.

One table for everything that brings a number: images, messages, files and people. A range is as wide as the very ill
are; a slip inside it shows as a contradiction between values (:mod:`analytics.counts.blood`,
:mod:`analytics.episodes.cohort`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Range:
    """The least and the greatest value that can be right, both included, in ``unit``.

    ``zero`` says that 0 is a value of its own (no cells were seen), though ``low`` lies above it.
    """

    low: float
    high: float
    unit: str
    source: str
    zero: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value can be right; never for NaN."""
        return self.low <= value <= self.high or (self.zero and value == 0)


_CELLS = "leukaemic counts reach some hundreds; one cell of 200 at 0.1 × 10⁹/L leukocytes is 0.0005"
_RATIOS = "published ratios of surgical and septic patients lie well inside"

RANGES: dict[str, Range] = {
    "vbq": Range(
        low=1.0,
        high=8.0,
        unit="",
        source="marrow darker than CSF is no T1 without fat saturation; published scores lie between 1.5 and 5; "
        "narrower than tenfold, so that a misplaced decimal point always leaves it",
    ),
    "age": Range(low=18.0, high=110.0, unit="years", source="adults"),
    "bmi": Range(low=10.0, high=80.0, unit="kg/m²", source="adults; outside, a height or weight has another unit"),
    "height": Range(low=100.0, high=230.0, unit="cm", source="adults; outside, metres or inches"),
    "weight": Range(low=25.0, high=300.0, unit="kg", source="adults; outside, grams or pounds"),
    "neutrophils": Range(low=0.0005, high=1000.0, unit="10⁹/L", source=_CELLS, zero=True),
    "lymphocytes": Range(low=0.0005, high=1000.0, unit="10⁹/L", source=_CELLS, zero=True),
    "cells": Range(low=0.0005, high=1000.0, unit="10⁹/L", source=_CELLS, zero=True),
    "monocytes": Range(low=0.0005, high=1000.0, unit="10⁹/L", source=_CELLS, zero=True),
    "leukocytes": Range(low=0.01, high=1000.0, unit="10⁹/L", source=_CELLS, zero=True),
    "platelets": Range(
        low=0.5,
        high=5000.0,
        unit="10⁹/L",
        source="below 1 in aplasia; above 3,000 in essential thrombocythaemia",
        zero=True,
    ),
    "nlr": Range(low=0.02, high=200.0, unit="", source=_RATIOS),
    "plr": Range(low=2.0, high=10000.0, unit="", source=_RATIOS),
    "lmr": Range(low=0.01, high=500.0, unit="", source=_RATIOS),
    "sii": Range(low=0.5, high=100000.0, unit="10⁹/L", source=_RATIOS),
    "siri": Range(low=0.001, high=2000.0, unit="10⁹/L", source=_RATIOS),
    "t_score": Range(low=-8.0, high=6.0, unit="SD", source="DXA of adults"),
    "bmd_g_per_cm2": Range(low=0.2, high=2.5, unit="g/cm²", source="areal density of adults' lumbar spines"),
    "hu": Range(low=-150.0, high=600.0, unit="HU", source="cancellous bone, fat included, metal excluded"),
}
"""Ranges by quantity; ``cells`` is any kind of leukocyte that has no range of its own."""

TYPICAL_MEDIANS: dict[str, tuple[float, float]] = {
    "vbq": (1.5, 5.5),
    "age": (30.0, 88.0),
    "bmi": (18.5, 40.0),
    "neutrophils": (1.5, 9.0),
    "lymphocytes": (0.7, 4.0),
    "monocytes": (0.2, 1.2),
    "leukocytes": (3.5, 14.0),
    "platelets": (100.0, 450.0),
    "nlr": (0.8, 7.9),
    "plr": (50.0, 350.0),
    "bmd_g_per_cm2": (0.5, 1.6),
}
"""Where the median of a cohort lies, in the units of :data:`RANGES`: wider than any published cohort of patients before
elective operations, narrower than tenfold, so that a wrong unit always leaves it."""
