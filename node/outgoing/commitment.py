"""The answers to requests for Storage Commitment, over new associations, where the sender did not wait on its own.

A request is done only once the sender has confirmed its answer. An answer that cannot be delivered is tried again for a
week, ever less often, and shown in ``problems``.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial

from node.clock import now, to_text
from node.errors import PeerError, UnreachableError
from node.outgoing.kind import WITHDRAWN, Batch, Item, Kind, Limits, Outcome, Pauses, Verdict, each, refused
from node.settings import RemoteAe, Settings

GRACE = timedelta(seconds=3)
"""How long the association of a request has to deliver the answer itself."""
GIVE_UP_AFTER = timedelta(days=7)

ENROL = """
SELECT request_id FROM fact_commitment_request AS r
WHERE request_id NOT IN (SELECT request_id FROM record_commitment)
  AND requested_at <= :settled AND requested_at > :given_up
  AND NOT EXISTS (SELECT 1 FROM state_outgoing AS o
                  WHERE o.kind = 'commitment' AND o.peer = '' AND o.key = CAST(r.request_id AS TEXT))
ORDER BY request_id
"""


def _values(_settings: Settings, _peer: str, at: datetime) -> Mapping[str, object]:
    return {"settled": to_text(at - GRACE), "given_up": to_text(at - GIVE_UP_AFTER)}


def _answer(batch: Batch, item: Item) -> Outcome:
    # Loaded only where there is a request.
    from node.dicom.commitment import examine, pending_request, record_heard
    from node.pacs.event_report import send_event_report

    request = pending_request(batch.db, int(item.key))
    if request is None:
        return WITHDRAWN
    try:
        remote = _address(batch.settings, peer_address=request.peer_address, calling_ae=request.calling_ae)
        report = examine(batch.db, batch.archive, request)
        send_event_report(remote, report, ae_title=batch.settings.dicom.ae_title)
    except PeerError as error:
        # Also where it cannot be reached: the next request may be another sender's.
        return refused(str(error))
    return Outcome(verdict=Verdict.DONE, store=partial(record_heard, report=report, at=now()))


def _address(settings: Settings, *, peer_address: str, calling_ae: str) -> RemoteAe:
    name = settings.dicom.peer_name(address=peer_address, calling_ae=calling_ae)
    peer = settings.dicom.peers[name] if name is not None else None
    remote = (peer.commitment or peer.query) if peer is not None else None
    if remote is None:
        raise UnreachableError(
            f"nothing says where {calling_ae} takes answers: its dicom.peers table needs a `commitment` address"
        )
    return remote


COMMITMENT = Kind(
    name="commitment",
    enrol=ENROL,
    values=_values,
    opened=each(_answer),
    pauses=Pauses(first=timedelta(seconds=30), longest=timedelta(hours=4)),
    limits=Limits(expires_after=GIVE_UP_AFTER),
    failure="its answer cannot be made",
    keeps_done=False,
)
