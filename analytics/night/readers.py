"""Whether a reader has begun to read otherwise: the newest scores less the automatic ones, against those before.

The automatic measurement of one version does not change its habits; a person may, by a new screen, a new idea of where
the fluid lies, or haste. A colleague's scores would not tell which of the two it is.

References
----------
Welch BL. Biometrika 1947; 34: 28–35.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytics.methods.plain import to_plain
from analytics.methods.two_groups import compare_means

RECENT = 20
"""Newest readings that are compared with the earlier ones."""

FEWEST = 20
"""Earlier readings that are needed."""

P_LIMIT = 1e-4
"""A difference less probable than this is an alarm; small, because it is looked for after every reading."""


@dataclass(frozen=True, kw_only=True)
class ReaderDrift:
    """A reader's mean distance from the automatic scores before and now (VBQ units), with numbers, interval and p.

    ``shift`` is now less before, with its 95 % interval by Welch.
    """

    reader: str
    before: float
    n_before: int
    now: float
    n_now: int
    shift: float
    ci_low: float
    ci_high: float
    p: float

    @property
    def alarm(self) -> bool:
        """Whether it is more than chance would bring."""
        return self.p < P_LIMIT

    def to_json_dict(self) -> dict[str, Any]:
        """Plain strings and numbers."""
        return to_plain(self)


def reader_drifts(differences: Mapping[str, Sequence[float]]) -> tuple[ReaderDrift, ...]:
    """Compare each reader's newest readings with the earlier ones.

    Parameters
    ----------
    differences
        By reader: score less automatic score (VBQ units), in the order of reading. Readers with fewer than
        :data:`RECENT` + :data:`FEWEST`, and such that never differ, are left out.
    """
    found = []
    for reader, values in sorted(differences.items()):
        before, now = np.asarray(values[:-RECENT], dtype=np.float64), np.asarray(values[-RECENT:], dtype=np.float64)
        if len(before) < FEWEST or max(np.ptp(before), np.ptp(now)) == 0:
            continue
        compared = compare_means(now, before)
        found.append(
            ReaderDrift(
                reader=reader,
                before=float(before.mean()),
                n_before=len(before),
                now=float(now.mean()),
                n_now=len(now),
                shift=compared.difference,
                ci_low=compared.welch_ci[0],
                ci_high=compared.welch_ci[1],
                p=compared.welch.p,
            )
        )
    return tuple(found)
