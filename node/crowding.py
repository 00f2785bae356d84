"""Which connection gives way when a listener has no room for another.

A peer that opens connections and says nothing on them must lock out nobody: the address that holds the most gives up
the one that has been silent for longest. Addresses that hold about as many as the newcomer keep theirs, so two busy
peers do not take each other's places by turns.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol, TypeVar


class Held(Protocol):
    """A connection that takes room."""

    @property
    def address(self) -> str:
        """Where it comes from."""

    @property
    def silent_since(self) -> float | None:
        """Monotonic time of its last sign of life; ``None``: it is at work and does not give way."""


Connection = TypeVar("Connection", bound=Held)


def crowding_address(counts: Counter[str], newcomer: str) -> str | None:
    """The address that has to give one up for a newcomer's; ``None`` when none holds more than its share."""
    if not counts:
        return None
    most = max(counts.values())
    if most > counts[newcomer] + 1:
        return min(address for address, count in counts.items() if count == most)
    return newcomer if counts[newcomer] else None


def gives_way(held: Iterable[Connection], newcomer: str) -> Connection | None:
    """The connection to close for a newcomer from this address; ``None`` when the newcomer has to go."""
    connections = list(held)
    address = crowding_address(Counter(one.address for one in connections), newcomer)
    return longest_silent(one for one in connections if one.address == address)


def longest_silent(held: Iterable[Connection]) -> Connection | None:
    """The one that has been silent for longest, of those that are not at work."""
    silent = [(one.silent_since, position, one) for position, one in enumerate(held) if one.silent_since is not None]
    return min(silent, key=lambda entry: entry[:2])[2] if silent else None
