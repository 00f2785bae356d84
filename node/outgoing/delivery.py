"""One round of a kind for one of its receivers: enrol, claim, send, settle.

A failed sending costs itself: whatever an item makes its kind raise is noted with that item, and the others go out.
Only trouble with the database ends the round.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from sqlite_utils import Database

from node.clock import now
from node.errors import UnreachableError
from node.outgoing import queue
from node.outgoing.kind import Batch, Item, Kind, Outcome, Send, refused
from node.settings import Settings
from node.store.archive import Archive
from node.store.failures import in_words, of_the_machine

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many items of a round are done, wait for another attempt, and were given up."""

    done: int = 0
    waiting: int = 0
    dead: int = 0
    reached: bool = True
    """Whether the receiver could be reached, as far as it was tried."""

    @property
    def attempted(self) -> int:
        """How many items the round cost an attempt."""
        return self.done + self.waiting + self.dead


def send_due(
    kind: Kind,
    db: Database,
    settings: Settings,
    peer: str,
    stop: threading.Event,
    *,
    clock: Callable[[], datetime] = now,
) -> Tally:
    """Enrol and send one batch of what is due for a receiver.

    Raises
    ------
    sqlite3.Error, StoreError
        The database cannot be used.
    """
    if kind.prepare is not None:
        kind.prepare(db, settings, peer, clock(), stop)
    queue.enrol(db, kind, settings, peer, at=clock())
    items = queue.claim(db, kind, settings, peer, at=clock())
    if not items:
        return Tally()
    batch = Batch(db=db, archive=Archive(settings.storage.folder), settings=settings, peer=peer, items=items)
    return _Sending(kind, batch, stop, clock).run()


class _Sending:
    """A claimed batch on its way."""

    def __init__(self, kind: Kind, batch: Batch, stop: threading.Event, clock: Callable[[], datetime]) -> None:
        self._kind = kind
        self._batch = batch
        self._stop = stop
        self._clock = clock
        self._left = list(batch.items)
        self._unsettled: list[tuple[Item, Outcome]] = []
        self._statuses: Counter[str] = Counter()
        self._errors: set[str] = set()

    def run(self) -> Tally:
        """Send it, over as many sessions as what is raised makes necessary."""
        unreachable = None
        try:
            if not self._session(self._left):
                # It may be one of them that stands in the way.
                for item in tuple(self._left):
                    self._session([item])
        except UnreachableError as error:
            unreachable = str(error)
        self._settle()
        queue.release(self._batch.db, self._left)
        if unreachable is not None:
            # Whoever cannot be reached is not tried again for each item.
            self._errors.add(unreachable)
            statuses = queue.settle_unreachable(self._batch, self._kind, error=unreachable, at=self._clock())
            self._statuses.update(statuses)
        tally = Tally(
            done=self._statuses["done"],
            waiting=self._statuses["waiting"],
            dead=self._statuses["dead"],
            reached=unreachable is None,
        )
        self._log(tally)
        return tally

    def _session(self, items: Sequence[Item]) -> bool:
        """Send some items; whether a session could be opened for them."""
        opened = False
        try:
            with self._kind.opened(replace(self._batch, items=tuple(items))) as send:
                opened = True
                raised = self._send_all(send, items)
        except UnreachableError:
            raise
        except Exception as error:
            if of_the_machine(error):
                raise
            log.error("session failed", kind=self._kind.name, peer=self._batch.peer, error=in_words(error))
            if not opened and len(items) == 1:
                self._take(items[0], self._failed(error))
            return opened
        # Whatever was raised, the session may be in the middle of something: the others get another one.
        return self._session(self._left) if raised and self._left else True

    def _send_all(self, send: Send, items: Sequence[Item]) -> bool:
        """Send items until one ends the session; whether it did so by raising something unforeseen."""
        for item in tuple(items):
            if self._stop.is_set():
                return False
            try:
                outcome = send(item)
            except UnreachableError:
                raise
            except Exception as error:
                if of_the_machine(error):
                    raise
                log.error("sending failed", kind=self._kind.name, key=item.key, error=in_words(error))
                self._take(item, self._failed(error))
                return True
            self._take(item, outcome)
            if outcome.ends_session:
                return False
        return False

    def _take(self, item: Item, outcome: Outcome) -> None:
        self._left.remove(item)
        self._unsettled.append((item, outcome))
        if len(self._unsettled) >= self._kind.settle_every:
            self._settle()

    def _settle(self) -> None:
        pairs, self._unsettled = self._unsettled, []
        self._errors.update(outcome.error for _, outcome in pairs if outcome.error)
        try:
            self._statuses.update(queue.settle(self._batch, self._kind, pairs, at=self._clock()))
        except Exception as error:
            if of_the_machine(error):
                raise
            # What came back for one of them cannot be stored.
            log.error("answer not stored", kind=self._kind.name, error=in_words(error))
            for pair in pairs:
                self._settle_alone(*pair)

    def _settle_alone(self, item: Item, outcome: Outcome) -> None:
        try:
            statuses = queue.settle(self._batch, self._kind, [(item, outcome)], at=self._clock())
        except Exception as error:
            if of_the_machine(error):
                raise
            statuses = queue.settle(self._batch, self._kind, [(item, self._failed(error))], at=self._clock())
        self._statuses.update(statuses)

    def _failed(self, error: Exception) -> Outcome:
        return refused(f"{self._kind.failure} ({in_words(error)})")

    def _log(self, tally: Tally) -> None:
        if tally.attempted or self._errors:
            write = log.error if tally.dead else log.warning if self._errors else log.info
            write(
                "outgoing",
                kind=self._kind.name,
                peer=self._batch.peer,
                done=tally.done,
                waiting=tally.waiting,
                dead=tally.dead,
                errors=sorted(self._errors),
            )
