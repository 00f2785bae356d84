"""The questions to a PACS, over one association for a batch; :mod:`node.pacs.questions` says which."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from node.clock import now
from node.errors import PeerError, UnreachableError
from node.outgoing.kind import WITHDRAWN, Batch, Item, Kind, Outcome, Pauses, Send, Verdict, refused
from node.pacs.questions import NEWLY_DUE, still_due, store_answer, values_for
from node.settings import Settings

if TYPE_CHECKING:
    from node.pacs.query import Query


def _asked(settings: Settings) -> tuple[str, ...]:
    return tuple(name for name, peer in settings.dicom.peers.items() if peer.query)


@contextmanager
def _opened(batch: Batch) -> Iterator[Send]:
    # Loaded only where there is something to ask.
    from node.pacs.query import asking

    peer = batch.settings.dicom.peers[batch.peer].query
    assert peer is not None, "only peers that can be asked are receivers"
    studies = [item.key for item in batch.items]
    still = still_due(batch.db, batch.settings, batch.peer, studies, at=now())
    with asking(peer, ae_title=batch.settings.dicom.ae_title) as query:
        yield partial(_ask, query, batch.peer, still)


def _ask(query: "Query", peer_name: str, still: frozenset[str], item: Item) -> Outcome:
    if item.key not in still:
        return WITHDRAWN
    asked_at = now()
    try:
        series = query.series(item.key)
    except UnreachableError:
        raise
    except PeerError as error:
        # Where the answers had no end, the other questions are put over another association.
        return replace(refused(str(error)), ends_session=not query.is_open)
    answer = partial(store_answer, peer_name=peer_name, study_uid=item.key, series=series, asked_at=asked_at)
    return Outcome(verdict=Verdict.DONE, store=answer)


STUDY_QUERY = Kind(
    name="study_query",
    receivers=_asked,
    enrol=NEWLY_DUE,
    values=values_for,
    opened=_opened,
    pauses=Pauses(first=timedelta(minutes=1), longest=timedelta(hours=1)),
    failure="its answer cannot be read",
    batch=100,
    keeps_done=False,
)
