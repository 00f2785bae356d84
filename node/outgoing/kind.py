"""What a kind of outgoing thing says about itself: what is due, how it is sent, its pauses, batch and limits.

A kind is one module that makes one :class:`Kind`, and a line in :mod:`node.outgoing.kinds`.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from hashlib import sha256
from typing import Literal

from sqlite_utils import Database

from node.settings import Settings
from node.store.archive import Archive

MOST_DOUBLINGS = 20


@dataclass(frozen=True, kw_only=True)
class Item:
    """A claimed row of the queue: one thing for one receiver.

    ``attempts`` are those before this one; ``lease`` is how the claim is told from a later one of the same row.
    """

    item_id: int
    key: str
    attempts: int
    enrolled_at: datetime
    lease: str


class Verdict(StrEnum):
    """What an attempt came to."""

    DONE = "done"
    REFUSED = "refused"
    """The receiver does not want the item; it counts towards the limit of attempts."""
    HINDERED = "hindered"
    """Nothing against the item (a lost connection, a full receiver): no number of these gives it up."""
    HOPELESS = "hopeless"
    """Refused for good: given up at once."""
    UNREACHABLE = "unreachable"
    """The receiver cannot be reached, which concerns all that waits for it."""
    LATER = "later"
    """Not tried with this batch; due again at once."""
    WITHDRAWN = "withdrawn"
    """No longer wanted; the row goes."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attempt ended."""

    verdict: Verdict
    error: str | None = None
    store: Callable[[Database], None] | None = None
    """Stores what came back (an answer, a confirmation), in the transaction that marks the item done."""
    ends_session: bool = False
    """The others of the batch need another session; they are not at fault."""


DONE = Outcome(verdict=Verdict.DONE)
LATER = Outcome(verdict=Verdict.LATER)
WITHDRAWN = Outcome(verdict=Verdict.WITHDRAWN)


def refused(error: str) -> Outcome:
    """An item that its receiver does not want."""
    return Outcome(verdict=Verdict.REFUSED, error=error)


@dataclass(frozen=True, kw_only=True)
class Pauses:
    """Exponential back-off: the first pause, doubled after each attempt, up to the longest."""

    first: timedelta
    longest: timedelta
    jitter_share: float = 0.0
    """Largest share added to a pause, by the salt, so that what was put off together does not return together."""

    def after(self, attempts: int, salt: str = "") -> timedelta:
        """The pause after so many attempts (at least 1)."""
        doubled = self.first * float(2 ** min(attempts - 1, MOST_DOUBLINGS))
        spread = sha256(f"{salt}/{attempts}".encode()).digest()[0] / 255 if self.jitter_share else 0.0
        return min(doubled * (1 + self.jitter_share * spread), self.longest)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When an item is given up; without limits it is tried for as long as it takes."""

    attempts: int | None = None
    """Refusals after which it is."""
    age: timedelta | None = None
    """An attempt that fails so long after enrolment was the last; there is one at just that age."""
    expires_after: timedelta | None = None
    """Time after enrolment from which there is no further attempt, whether there was one or not."""

    @property
    def life(self) -> timedelta | None:
        """How long an item waits at most, where that is limited."""
        return self.age or self.expires_after


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Items claimed for one receiver, with what is needed to send them."""

    db: Database
    archive: Archive
    settings: Settings
    peer: str
    items: tuple[Item, ...]


Send = Callable[[Item], Outcome]
Opened = Callable[[Batch], AbstractContextManager[Send]]


def each(send: Callable[[Batch, Item], Outcome]) -> Opened:
    """For a kind whose items share no connection."""

    @contextmanager
    def opened(batch: Batch) -> Iterator[Send]:
        yield partial(send, batch)

    return opened


def _only_one(_settings: Settings) -> tuple[str, ...]:
    return ("",)


def _no_values(_settings: Settings, _peer: str, _at: datetime) -> Mapping[str, object]:
    return {}


def _an_hour(_settings: Settings) -> timedelta:
    return timedelta(hours=1)


Prepare = Callable[[Database, Settings, str, datetime, threading.Event], None]


def _nothing(_batch: Batch, _item: Item, _at: datetime) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of outgoing thing.

    Attributes
    ----------
    name
        As it stands in the queue; never changed.
    role
        The process that sends it.
    receivers
        The names of those it goes to, by the settings; ``""`` where there is only one, or each item knows its own.
    enrol
        SQL: the keys of what is to be sent to ``:peer`` and is not in the queue yet, in the order of sending. Other
        parameters: ``:now``; ``:after`` and ``:up_to`` (see ``position``); those of ``values``.
    position
        SQL: the number of the newest thing there is. Where given, a new receiver gets what comes after that moment
        (what was there before does not go to it), and ``enrol`` is asked only about the numbers after ``:after`` up to
        ``:up_to``.
    since
        SQL: the number up to which what there is when a receiver is set up does not concern it; ``prepare`` asks
        :func:`node.outgoing.queue.set_up_at`.
    prepare
        Makes what is to be enrolled (of what is known, for a receiver), before ``enrol`` is asked.
    prepare_apart
        The same for a role, which lives long: what takes much memory is done by a process that ends.
    opened
        A session with a receiver for one batch: a context manager that gives the function which sends one item. It
        may raise UnreachableError, as may the function. Whatever else the function raises costs only its item.
    rest
        Pauses of a receiver that cannot be reached, during which its items cost no attempt. ``None``: an unreachable
        receiver costs each item that is due an attempt.
    batch
        Items claimed at once, for one session.
    settle_every
        Items per transaction that stores what became of them; after a kill so many may be sent twice.
    lease
        How long a claim of one batch holds where its process does not end in order.
    keeps_done
        Whether an item that is done stays in the queue; not where a fact or a record shows it.
    failure
        What is said of an item when something unforeseen is raised; the kind of error and its place follow.
    given_up
        Called in the transaction that gives an item up.
    """

    name: str
    role: Literal["outgoing", "nightly"] = "outgoing"
    receivers: Callable[[Settings], Sequence[str]] = _only_one
    enrol: str | None = None
    values: Callable[[Settings, str, datetime], Mapping[str, object]] = _no_values
    position: str | None = None
    since: str | None = None
    prepare: Prepare | None = None
    prepare_apart: Prepare | None = None
    opened: Opened
    pauses: Pauses
    rest: Pauses | None = None
    limits: Limits = Limits()
    batch: int = 1
    settle_every: int = 1
    lease: Callable[[Settings], timedelta] = _an_hour
    keeps_done: bool = True
    failure: str = "the software fails on it"
    given_up: Callable[[Batch, Item, datetime], None] = _nothing
