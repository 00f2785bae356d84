"""What sums of patients may not show: counts of a few, and the few by whom two exports differ.

A sum over 100 patients and one over the same with one more differ by that one patient's row. The same holds for any
linear combination of all sums ever given out, so all of them are judged together: none may be of fewer patients than
the minimum.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

MINIMUM_CELL = 5
"""Fewest patients in a cell of a table, a histogram, and in what two exports differ by."""


def small_cells(columns: Mapping[str, Sequence[float]], *, minimum: int = MINIMUM_CELL) -> Iterator[tuple[str, ...]]:
    """Which tables of one or two yes/no columns have a cell of 1 to ``minimum`` − 1 patients.

    X'X of such columns is these counts. A cell of nobody shows no single patient.

    Parameters
    ----------
    columns
        1 or 0 of each patient, by name; all equally long.
    """
    numbers = {name: np.asarray(values, dtype=np.float64) > 0 for name, values in columns.items()}
    for name, one in numbers.items():
        if any(0 < count < minimum for count in (int(one.sum()), int((~one).sum()))):
            yield (name,)
    for (name, one), (other, two) in combinations(numbers.items(), 2):
        cells = (one & two, one & ~two, ~one & two, ~one & ~two)
        if any(0 < int(cell.sum()) < minimum for cell in cells):
            yield (name, other)


def fewest_shown(sums: Sequence[Mapping[str, str]], *, minimum: int = MINIMUM_CELL) -> int | None:
    """The fewest patients that a linear combination of sums is about, where that is fewer than ``minimum``.

    Parameters
    ----------
    sums
        For each sum that was or will be given out the rows in it, and whose each is: ``{row: patient}``. A row is one
        state of a patient's values; another state of the same patient is another row.

    Returns
    -------
    int or None
        The number of patients; ``None`` where every combination is about at least ``minimum``.
    """
    patients: dict[tuple[bool, ...], set[str]] = {}
    for row, patient in {row: patient for one in sums for row, patient in one.items()}.items():
        patients.setdefault(tuple(row in one for one in sums), set()).add(patient)
    patterns = list(patients)
    if not patterns:
        return None
    table = np.array(patterns, dtype=np.float64).T
    rank = int(np.linalg.matrix_rank(table))
    few = [i for i, pattern in enumerate(patterns) if len(patients[pattern]) < minimum]
    smallest = None
    for chosen, size in _together(few, [patients[pattern] for pattern in patterns], minimum):
        # A combination that is 0 outside of the chosen rows and not 0 in them is one that the rest loses.
        rest = np.delete(table, chosen, axis=1)
        if (smallest is None or size < smallest) and (not rest.size or int(np.linalg.matrix_rank(rest)) < rank):
            smallest = size
    return smallest


def _together(few: Sequence[int], patients: Sequence[set[str]], minimum: int) -> Iterator[tuple[list[int], int]]:
    """Every set of these rows' groups that are of fewer patients than ``minimum`` together, with their number."""
    found: list[tuple[list[int], set[str]]] = [([], set())]
    while found:
        chosen, together = found.pop()
        for index in few:
            if chosen and index <= chosen[-1]:
                continue
            more = together | patients[index]
            if len(more) < minimum:
                yield [*chosen, index], len(more)
                found.append(([*chosen, index], more))


def rounded(count: int, *, minimum: int = MINIMUM_CELL) -> int | None:
    """A count to the nearest multiple of ``minimum``, so that two of them differ by none or by many.

    ``None`` stands for 1 to ``minimum`` − 1.
    """
    if 0 < count < minimum:
        return None
    return minimum * ((2 * count + minimum) // (2 * minimum))
