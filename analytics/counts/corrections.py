"""Corrections that name another time of collection: which count they are a correction of.

A laboratory that has entered the wrong time of collection corrects it, and often the values with it. Where the specimen
has no number, its order and its time of collection name it, so such a correction looks like another specimen. By its
order, its result codes and its status it is traced to what it corrects, whatever the order of arrival.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from analytics.counts.results import SpecimenResults, finality, usable

NEAR = timedelta(days=1)
"""A correction whose original is not found may be one of a count that was taken so near to it."""

BY_ORDER = "order:"
"""How the names of specimens begin that have no number of their own."""

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)

Named = dict[str, list[SpecimenResults]]


def trace_corrections(named: Mapping[str, list[SpecimenResults]]) -> tuple[Named, set[str]]:
    """Put the corrections of a specimen under its name.

    Parameters
    ----------
    named
        What messages say, by the name of the specimen.

    Returns
    -------
    dict
        The same with traced corrections at what they correct.
    set of str
        Specimens that a person has to look at: corrections whose original is not clear, and what may be it.
    """
    originals = {name: told for name, told in named.items() if not all(map(_is_correction, told))}
    traced: Named = {name: list(told) for name, told in originals.items()}
    questioned: set[str] = set()
    for name, told in sorted(named.items()):
        if name in originals:
            continue
        found = [other for other in originals if _by_order(name, other) and _corrects(told, originals[other])]
        if len(found) == 1:
            traced[found[0]].extend(told)
            continue
        traced[name] = list(told)
        near = found or [other for other in originals if _may_correct(told, originals[other])]
        questioned |= {name, *near} if near else set()
    return traced, questioned


def _is_correction(message: SpecimenResults) -> bool:
    """It corrects; what it does not change it may send again as final."""
    states = {finality(result.status) for result in message.results}
    return "corrected" in states and states <= {"corrected", "final", "withdrawn"}


def _by_order(*names: str) -> bool:
    """None is named by a number of the specimen itself: two of those are two specimens."""
    return all(name.startswith(BY_ORDER) for name in names)


def _codes(messages: Iterable[SpecimenResults]) -> set[str]:
    return {result.code for message in messages for result in message.results}


def _orders(messages: Iterable[SpecimenResults]) -> set[str]:
    return {result.order for message in messages for result in message.results} - {""}


def _first(messages: Iterable[SpecimenResults]) -> datetime:
    return min(message.sent_at or _LONG_AGO for message in messages)


def _corrects(correction: list[SpecimenResults], original: list[SpecimenResults]) -> bool:
    """Of the same order, with the same results, sent later."""
    return (
        bool(_orders(correction) & _orders(original))
        and bool(_codes(correction) & _codes(original))
        and _first(correction) >= _first(original)
    )


def _may_correct(correction: list[SpecimenResults], original: list[SpecimenResults]) -> bool:
    """Of another order or number, but with the same results and taken near to it; only what is in force matters."""
    in_force = any(usable(result) for message in original for result in message.results)
    if not in_force or not _codes(correction) & _codes(original) or _first(correction) < _first(original):
        return False
    return any(
        abs(one.taken_at - other.taken_at) <= NEAR
        for one in correction
        for other in original
        if one.taken_at is not None and other.taken_at is not None
    )
