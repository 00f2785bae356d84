"""Agreement of several readers, and of readers with the automatic measurement, pair by pair.

Each pair uses the subjects that both have measured. Differences are first less second; with the automatic measurement
they are automatic less reader, so that a positive bias means that the machine reads higher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from analytics.methods.agreement import Agreement, BlandAltman, NoAgreement, agreement, bland_altman
from analytics.methods.plain import to_plain

AUTOMATIC = "automatic"
"""Name of the column with the automatic measurement."""


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
    first, then those with the automatic measurement.
    """

    readers: tuple[str, ...]
    subjects: int
    together: Agreement | NoAgreement | None
    pairs: tuple[PairOfReaders, ...]

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
    )
