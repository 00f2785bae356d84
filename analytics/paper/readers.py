"""Agreement of several readers, and of readers with the automatic measurement, pair by pair.

Each pair uses the subjects that both have measured. Differences are first less second; with the automatic measurement
they are automatic less reader, so that a positive bias means that the machine reads higher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analytics.methods.agreement import Agreement, BlandAltman, NoAgreement, agreement, bland_altman
from analytics.methods.plain import to_plain
from analytics.plausible import RANGES
from analytics.reasons import Reason, Value

AUTOMATIC = "automatic"
"""Name of the column with the automatic measurement."""

FAR_OFF = 6.0
"""Robust standard deviations beyond which the difference of two readers of one subject is looked at: of normal
differences 1 in 500 million lies there."""

LEAST_SPREAD = 0.05
"""Least standard deviation of differences that is believed: readings rounded to 0.1 may mostly be equal."""

SUBJECTS_FOR_SPREAD = 10
"""Pairs from which a spread of differences can be told."""


@dataclass(frozen=True, kw_only=True)
class PairOfReaders:
    """Two readers on the subjects that both measured; ``limits`` are Bland and Altman's, of first less second."""

    first: str
    second: str
    agreement: Agreement | NoAgreement
    limits: BlandAltman | NoAgreement


@dataclass(frozen=True, kw_only=True)
class ReaderReport:
    """How far the readers of a table of readings agree.

    ``together`` is of all human readers at once, where there are more than two; ``pairs`` has those of two readers
    first, then those with the automatic measurement. ``doubts`` are readings that were left out because they are no
    VBQ, and those that are far from what the other one measured, which are in.
    """

    readers: tuple[str, ...]
    subjects: int
    together: Agreement | NoAgreement | None
    pairs: tuple[PairOfReaders, ...]
    doubts: tuple[Reason, ...]

    def to_json_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; what could not be given holds its ``reason``."""
        return to_plain(self)

    def refusals(self) -> tuple[str, ...]:
        """What could not be given and why, a sentence each."""
        return tuple(
            f"agreement of {pair.first} and {pair.second}: {pair.agreement.reason}"
            for pair in self.pairs
            if isinstance(pair.agreement, NoAgreement)
        )


def usable_readings(readings: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Reason, ...]]:
    """The readings that can be a VBQ, the others blank, and a reason for each of those."""
    table, doubts = readings.copy(), []
    span = RANGES["vbq"]
    for reader in readings.columns:
        for subject, value in readings[reader].dropna().items():
            if not span.holds(value):
                about: dict[str, Value] = {"reader": str(reader), "subject": str(subject), "value": float(value)}
                doubts.append(Reason("reading-no-vbq", {**about, "low": span.low, "high": span.high}))
                table.loc[subject, reader] = np.nan
    return table, tuple(doubts)


def _far_off(readings: pd.DataFrame, first: str, second: str) -> list[Reason]:
    """The subjects at which two readers differ by far more than they usually do."""
    differences = (readings[first] - readings[second]).dropna()
    if len(differences) < SUBJECTS_FOR_SPREAD:
        return []
    usual = float(differences.median())
    away = (differences - usual).abs()
    spread = max(1.4826 * float(away.median()), LEAST_SPREAD)  # of normal differences the MAD is SD / 1.4826
    return [
        Reason(
            "readers-far-apart",
            {"subject": str(subject), "first": first, "second": second, "value": float(readings.loc[subject, first]),
             "other": float(readings.loc[subject, second]), "usual": usual},
        )
        for subject in away.index[away > FAR_OFF * spread]
    ]  # fmt: skip


def compare_readers(readings: pd.DataFrame) -> ReaderReport:
    """Compare all readers of a table.

    Parameters
    ----------
    readings
        One row per subject, one column of VBQ per reader, NaN where one did not measure; :data:`AUTOMATIC` is the
        column of the automatic measurement, if it is there.

    Raises
    ------
    ValueError
        There are fewer than two columns.
    """
    names = [str(name) for name in readings.columns]
    if len(names) < 2:
        raise ValueError(f"the readings of one reader alone ({', '.join(names) or 'none'}) have no agreement")
    readings, doubts = usable_readings(readings)
    people = [name for name in names if name != AUTOMATIC]
    couples: list[Sequence[str]] = list(combinations(people, 2))
    if AUTOMATIC in names:
        couples += [(AUTOMATIC, name) for name in people]
    return ReaderReport(
        readers=tuple(names),
        subjects=len(readings),
        together=agreement(readings[people].to_numpy(dtype="float64")) if len(people) > 2 else None,
        pairs=tuple(
            PairOfReaders(
                first=one,
                second=other,
                agreement=agreement(readings[[one, other]].to_numpy(dtype="float64")),
                limits=bland_altman(readings[one].to_numpy(), readings[other].to_numpy()),
            )
            for one, other in couples
        ),
        doubts=(*doubts, *(reason for one, other in couples for reason in _far_off(readings, one, other))),
    )
