"""Disease that no circle shows: circles keep to what is left of healthy marrow, so whole bodies are judged.

An infection darkens the bodies on both sides of a disc, a tumour or fresh fracture one body, metastases and myeloma
make patches. Each is told by what it does to all the marrow of a body inside the cortex, against the other bodies or
against the body's own bright part. What ordinary degeneration does (bands along end plates, Schmorl's nodes,
haemangiomas, islands of fat) stays on the other side of the limits, with a margin on both. Marrow that is dark in all
bodies is held against the discs (``appearance``), lost height in ``fractures``.

Verification: disease and degeneration drawn into real slices, ``tests/benchmarks/vbq_disease.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from analytics.reasons import Reason, Value
from analytics.vbq.bodies import CORTEX_MM, FEW, axes, box, on_the_line, whole_bodies
from analytics.vbq.grid import Grid
from analytics.vbq.levels import FROM_THE_SACRUM
from analytics.vbq.spine import Part, Spine

BODY_DARK = 0.79
"""Signal of a body over what its neighbours and the line through the others lead one to expect: 0.80 and more on 296 of
298 slices; on the other two L5 is destroyed and L1 dark. Below: a body of which more than half is replaced."""
DISC_DARK = 0.8
"""The same of what lies next to a disc, the mean of both sides: 0.81 and more on 297 of 298 slices; on the other one
the coil fails."""
EITHER_DARK = 0.88
"""Each of the two sides of such a disc is below this."""
NEXT_TO_A_DISC = 0.65
"""Share of the height of a body, from the disc. Its median is dark where a third of the height is: bands of Modic
changes are narrower, on one of the two sides at least."""
L5_DARK, S1_DARK = 0.78, 0.7
"""The same of L5 and of S1 by the line alone; the marrow of S1 is 0.77 to 1.01 times as bright as the line through the
bodies above it on 94 of 100 slices."""
L5_CHANGES = 0.85
"""Beside a dark S1, L5 has to darken towards it by this share: where the coil ends all of L5 is darker."""
L5_AND_S1_DARK = (0.72, 0.65)
"""Below both of these L5 and S1 are dark wherever L5 darkens; of 298 slices one with a failing coil lies there."""
PATCH = 0.7
"""Share of a body's bright part (its upper quartile) below which marrow is a dark patch."""
BRIGHT = 1.1
"""The bright part counts as no brighter than this, over that of the other bodies: else a haemangioma made patches of
the rest."""
MIDDLE = (0.2, 0.8)
"""Part of the height in which patches are looked for: away from the end plates, where Modic changes and nodes lie."""
ONE_PATCHY = 0.36
TWO_PATCHY = 0.22
"""Share of patches in the middle of one body, and of each of two. At most 0.33 and 0.17 on 151 slices; 0.29 and 0.14 on
97 of 100 into which degeneration was drawn."""
ENOUGH = 3
"""Bodies that a line needs."""


@dataclass(frozen=True, kw_only=True)
class Marrow:
    """The marrow of one body inside the cortex: signals, and how high each lies, 0 (foot) to 1 (head)."""

    signal: NDArray[np.float64]
    height: NDArray[np.float64]

    @property
    def median(self) -> float:
        """Of all of it."""
        return float(np.median(self.signal))

    def next_to(self, *, upper_disc: bool) -> float:
        """Median signal of what lies next to the disc above, or below."""
        return self._median((1 - self.height if upper_disc else self.height) < NEXT_TO_A_DISC)

    def top(self) -> float:
        """Median signal of what does not lie next to the disc below."""
        return self._median(self.height >= NEXT_TO_A_DISC)

    @property
    def bright(self) -> float:
        """Upper quartile: what is healthy, until three quarters are not."""
        return float(np.percentile(self.signal, 75))

    def patches(self, others: float) -> float:
        """Share of dark patches in the middle of the body; ``others``: how bright the other bodies are."""
        middle = self.signal[(self.height > MIDDLE[0]) & (self.height < MIDDLE[1])]
        return float(np.mean(middle < PATCH * min(self.bright, BRIGHT * others))) if middle.size else 0.0

    def _median(self, where: NDArray[np.bool_]) -> float:
        return float(np.median(self.signal[where])) if where.any() else self.median


def doubts_of_bodies(grid: Grid, spine: Spine) -> list[Reason]:
    """Bodies whose marrow as a whole is not as without infection, tumour or fresh fracture."""
    bodies = _marrow_of_bodies(grid, spine)
    s1 = _marrow(grid, spine.s1, axes(spine, 0)[0]) if spine.s1 is not None else None
    return [*_dark_bodies(bodies, s1), *_dark_discs(bodies, s1), *_patchy(bodies)]


def marrow_signal(grid: Grid, spine: Spine) -> float:
    """Of L1 to L5: the median of the medians of whole bodies."""
    return float(np.median(list(marrow_signals(grid, spine).values())))


def marrow_signals(grid: Grid, spine: Spine) -> dict[str, float]:
    """Of L1 to L5, as far as there is enough of each: the median of the whole body."""
    bodies = _marrow_of_bodies(grid, spine)
    return {name: bodies[at].median for at, name in enumerate(FROM_THE_SACRUM) if at in bodies}


def _marrow_of_bodies(grid: Grid, spine: Spine) -> dict[int, Marrow]:
    """By the index of the body, 0 (L5) to 5 (T12, where the field holds all of it)."""
    found = {at: _marrow(grid, body, axes(spine, at)[0]) for at, body in enumerate(whole_bodies(spine))}
    return {at: marrow for at, marrow in found.items() if marrow is not None}


def _marrow(grid: Grid, body: Part, up: NDArray[np.float64]) -> Marrow | None:
    """``None`` where there is too little of it."""
    about = box(body.mask, 1)
    inside = scipy.ndimage.distance_transform_edt(body.mask[about]) * grid.spacing_mm >= CORTEX_MM
    if np.count_nonzero(inside) < FEW:
        return None
    rows, columns = np.nonzero(inside)
    places = np.stack([rows + about[0].start, columns + about[1].start])
    centre = np.array(body.centre)[:, np.newaxis]
    low, high = np.percentile(up @ (np.stack(body.points) - centre), [2, 98])
    return Marrow(signal=grid.signal[places[0], places[1]], height=(up @ (places - centre) - low) / (high - low))


def _expected(bodies: Mapping[int, Marrow], at: int, *without: int) -> float | None:
    """Signal of body ``at`` by the line through the others, and without some more; ``None`` without a line."""
    others = {other: marrow.median for other, marrow in bodies.items() if other not in (at, *without)}
    found = on_the_line(others, at) if len(others) >= ENOUGH else 0.0
    return found if found > 0 else None


def _dark_bodies(bodies: Mapping[int, Marrow], s1: Marrow | None) -> list[Reason]:
    """Bodies below the line through the others, and below the middle between their neighbours as well.

    Where the coil ends signals follow a curve, and a body below the line lies between its neighbours.
    """
    found = []
    for at, name in enumerate(FROM_THE_SACRUM):
        line = _expected(bodies, at)
        if line is None or at not in bodies:
            continue
        beside = _mean_of(bodies.get(at - 1) if at else s1, bodies.get(at + 1))
        ratio = bodies[at].median / min(line, beside or line)
        if ratio < BODY_DARK:
            found.append(Reason("body-dark", {"level": name, "ratio": ratio}))
    return found


def _dark_discs(bodies: Mapping[int, Marrow], s1: Marrow | None) -> list[Reason]:
    """Discs with dark marrow on both sides."""
    names = (*FROM_THE_SACRUM, "T12")
    found = []
    for at, upper in bodies.items():
        lower = bodies.get(at - 1) if at else s1
        above, below = _expected(bodies, at, at - 1), _expected(bodies, at - 1, at)
        if lower is None or above is None or below is None:
            continue
        lines = above, below
        beyond = _mean_of(bodies.get(at - 2) if at > 1 else s1 if at else None, bodies.get(at + 1))
        near = upper.next_to(upper_disc=False), lower.next_to(upper_disc=True)
        if at:
            ratios = [signal / min(line, beyond or line) for signal, line in zip(near, lines, strict=True)]
            dark = float(np.mean(ratios)) < DISC_DARK and max(ratios) < EITHER_DARK
        else:
            ratios = [signal / line for signal, line in zip(near, lines, strict=True)]
            limits = (min(L5_DARK, L5_CHANGES * upper.top() / lines[0]), S1_DARK), L5_AND_S1_DARK
            dark = any(ratios[0] < of_l5 and ratios[1] < of_s1 for of_l5, of_s1 in limits)
        if dark:
            lower_name = names[at - 1] if at else "S1"
            about: dict[str, Value] = {"upper": names[at], "lower": lower_name, "ratio": max(ratios)}
            found.append(Reason("marrow-dark-about-disc", about))
    return found


def _mean_of(*bodies: Marrow | None) -> float | None:
    """Of the medians of those that there are."""
    medians = [one.median for one in bodies if one is not None]
    return float(np.mean(medians)) if medians else None


def _patchy(bodies: Mapping[int, Marrow]) -> list[Reason]:
    bright = {at: marrow.bright for at, marrow in bodies.items()}
    shares = {
        name: bodies[at].patches(float(np.median([value for other, value in bright.items() if other != at])))
        for at, name in enumerate(FROM_THE_SACRUM)
        if at in bodies and len(bodies) > 1
    }
    several = [name for name, share in shares.items() if share > TWO_PATCHY]
    patchy = several if len(several) > 1 else [name for name, share in shares.items() if share > ONE_PATCHY]
    if not patchy:
        return []
    share = max(shares[name] for name in patchy)
    return [Reason("marrow-patchy", {"levels": tuple(reversed(patchy)), "share": share})]
