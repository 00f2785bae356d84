"""Steroids and immunosuppressants prescribed (RXE) or given (RXA), as ``conf/eligibility.toml`` lists them."""

from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from node.hl7.catalogue import Drugs
from node.hl7.extracts import Medication
from node.hl7.panels import CANCELLED_ORDERS
from node.hl7.segments import Delimiters, Segment, read_segment, scan_segment
from node.hl7.times import read_time

NOT_GIVEN = ("RE", "NA")
"""RXA-20: refused, not administered."""


def read_medications(
    lines: Iterable[str], delimiters: Delimiters, *, drugs: Drugs, zone: ZoneInfo
) -> tuple[Medication, ...]:
    """The listed drugs of one patient's part of a message, without those that act only where they are applied.

    Raises
    ------
    MessageError
        A segment that matters cannot be read.
    """
    found = [_medication(order, drug, drugs, zone) for order, drug in _orders(lines, delimiters)]
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _orders(lines: Iterable[str], delimiters: Delimiters) -> Iterator[tuple[list[Segment], Segment]]:
    """Each RXE or RXA with the other segments of its order (ORC, TQ1, RXR)."""
    order: list[Segment] = []
    drug: Segment | None = None
    for line in lines:
        name = line[:3]
        if name in ("ORC", "RXE", "RXA") and drug is not None:
            yield order, drug
            order, drug = [one for one in order if one.name == "ORC" and name != "ORC"], None
        if name == "ORC":
            order = []
        if name in ("ORC", "TQ1", "RXR"):
            order.append(scan_segment(line, delimiters))
        elif name in ("RXE", "RXA"):
            drug = read_segment(line, delimiters)
    if drug is not None:
        yield order, drug


def _medication(order: list[Segment], drug: Segment, drugs: Drugs, zone: ZoneInfo) -> Medication | None:
    named = [one for one in drug.components(2 if drug.name == "RXE" else 5) if one]
    routes = [one for segment in _of(order, "RXR") for one in segment.components(1) if one]
    if not _stands(order, drug) or not drugs.lists(named) or drugs.is_local(routes):
        return None
    moments = [(read_time(start, zone), read_time(end, zone)) for start, end in _timing(order, drug)]
    started = next((start.at for start, _ in moments if start), None)
    ended = next((end.at for _, end in moments if end), None)
    return Medication(drug="^".join(named[:2]), started_at=started, ended_at=ended)


def _of(order: list[Segment], name: str) -> list[Segment]:
    return [one for one in order if one.name == name]


def _stands(order: list[Segment], drug: Segment) -> bool:
    """Whether nothing says that the order was cancelled or the drug not given."""
    if any(orc.text(1).upper() in CANCELLED_ORDERS for orc in _of(order, "ORC")):
        return False
    return drug.name != "RXA" or drug.text(20).upper() not in NOT_GIVEN


def _timing(order: list[Segment], drug: Segment) -> list[tuple[str, str]]:
    """Where start and end of a drug may stand, the most telling first."""
    ordered = [(one.text(7), one.text(8)) for one in _of(order, "TQ1")]
    if drug.name == "RXA":
        return [(drug.text(3), drug.text(4)), *ordered]
    of_order = [(one.text(7, 4) or one.text(15) or one.text(9), "") for one in _of(order, "ORC")]
    return [*ordered, (drug.text(1, 4), drug.text(1, 5)), *of_order]
