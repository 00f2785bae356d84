"""Results to HL7 systems: ORU^R01 over MLLP, one message after the other, each done once its receiver has confirmed it.

A receiver that cannot be reached, or hangs up, is tried for as long as it takes; a message that it refuses again and
again is given up. Of one series no message goes out after a newer one: where an earlier one waits, the newer is sent
in its place.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial

from sqlite_utils import Database

from node.outgoing import rendered
from node.outgoing.kind import WITHDRAWN, Batch, Item, Kind, Limits, Outcome, Pauses, Send, Verdict, refused
from node.settings import Settings

NAME = "oru"


def _receivers(settings: Settings) -> tuple[str, ...]:
    return tuple(settings.hl7.receivers)


def _prepare(db: Database, settings: Settings, peer: str, at: datetime, stop: threading.Event) -> None:
    # Loaded only where there is a receiver.
    from node.results.oru import render

    receiver = settings.hl7.receivers[peer]
    rendering = partial(render, receiver=receiver, settings=settings)
    rendered.make_due(db, settings, ORU, peer, rendering, receiver.tell, at=at, stop=stop)


@contextmanager
def _opened(batch: Batch) -> Iterator[Send]:
    from node.hl7.client import MllpClient, UnconfirmedError, connected
    from node.results.oru import messages

    def send(client: MllpClient, item: Item) -> Outcome:
        body = rendered.body_of(batch, item)
        if body is None:
            return WITHDRAWN
        for control_id, message in messages(body):
            try:
                answer = client.send(message, control_id)
            except UnconfirmedError as error:
                return Outcome(verdict=Verdict.HINDERED, error=str(error), ends_session=True)
            if answer.control_id != control_id:
                refusal = refused("it answered with the number of another message, or with none (MSA-2)")
                return Outcome(verdict=refusal.verdict, error=refusal.error, ends_session=True)
            if answer.outcome != "accepted":
                return refused(f"it answered {answer.code or 'without a code'}")
        return rendered.kept(batch, NAME, item, how="ack", detail=answer.code)

    with connected(batch.settings.hl7.receivers[batch.peer]) as client:
        yield partial(send, client)


ORU = Kind(
    name=NAME,
    receivers=_receivers,
    enrol=rendered.ENROL,
    values=partial(rendered.of_queue, NAME),
    since=rendered.NEWEST_OBJECT,
    prepare=_prepare,
    opened=_opened,
    pauses=Pauses(first=timedelta(minutes=1), longest=timedelta(hours=4)),
    rest=Pauses(first=timedelta(seconds=5), longest=timedelta(minutes=5)),
    # A day and a half with these pauses.
    limits=Limits(attempts=12),
    failure="its message cannot be sent",
    batch=20,
)
