"""The limits of how many associations there may be at once."""

import threading
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from node.crowding import crowding_address
from node.settings import Dicom


class Entry(StrEnum):
    """Whether an association is let in."""

    TAKEN = "taken"
    FULL = "full"
    SOON = "soon"
    """There is no slot, but an address that holds more than its share has been asked to give up a silent one."""


class Limits:
    """Counts associations, of all processes, in all, for each peer of the settings and for each address.

    Parameters
    ----------
    make_room
        Called with the address that is to give up its longest silent association, where it has one.
    """

    def __init__(self, settings: Dicom, make_room: Callable[[str], None]) -> None:
        self._in_all = settings.max_associations
        self._of_peer = {name: peer.max_associations for name, peer in settings.peers.items()}
        self._make_room = make_room
        self._lock = threading.Lock()
        self._taken: Counter[str | None] = Counter()
        self._of_address: Counter[str] = Counter()

    def enter(self, peer: str | None, address: str) -> Entry:
        """Take a slot for this peer and address, if one is left."""
        limit = self._of_peer.get(peer) if peer is not None else None
        with self._lock:
            if limit is not None and self._taken[peer] >= limit:
                return Entry.FULL
            if self._taken.total() < self._in_all:
                self._taken[peer] += 1
                self._of_address[address] += 1
                return Entry.TAKEN
            crowding = crowding_address(self._of_address, address)
        if crowding is None or crowding == address:
            return Entry.FULL
        self._make_room(crowding)
        return Entry.SOON

    def leave(self, peer: str | None, address: str) -> None:
        """Give a slot back."""
        with self._lock:
            self._taken[peer] -= 1
            self._of_address[address] -= 1
