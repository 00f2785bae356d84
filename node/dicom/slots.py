"""The limits of how many associations there may be at once."""

import threading
from collections import Counter

from node.settings import Dicom


class Limits:
    """Counts associations, of all processes, in all and for each peer of the settings."""

    def __init__(self, settings: Dicom) -> None:
        self._in_all = settings.max_associations
        self._of_peer = {name: peer.max_associations for name, peer in settings.peers.items()}
        self._lock = threading.Lock()
        self._taken: Counter[str | None] = Counter()

    def enter(self, peer: str | None) -> bool:
        """Take a slot for this peer; false: there is none left."""
        limit = self._of_peer.get(peer) if peer is not None else None
        with self._lock:
            if self._taken.total() >= self._in_all or (limit is not None and self._taken[peer] >= limit):
                return False
            self._taken[peer] += 1
            return True

    def leave(self, peer: str | None) -> None:
        """Give a slot back."""
        with self._lock:
            self._taken[peer] -= 1
