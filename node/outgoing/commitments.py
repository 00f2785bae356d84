"""Answers requests for Storage Commitment over new associations, where the sender did not wait for it on its own.

What is pending is a query; a request is done only once the sender has confirmed its answer. One that cannot be
delivered is tried again, ever less often, and shown in ``problems``.
"""

import threading
from datetime import datetime, timedelta

import structlog
from pynetdicom.presentation import build_context, build_role
from sqlite_utils import Database

from node.clock import now, to_text
from node.dicom.commitment import WELL_KNOWN_INSTANCE, Report, Request, examine, note_heard, pending_request
from node.dicom.contexts import STORAGE_COMMITMENT
from node.errors import PeerError, UnreachableError
from node.pacs.peer import associated
from node.pauses import doubled
from node.settings import RemoteAe, Settings
from node.store.archive import Archive
from node.store.database import writing
from node.store.failures import in_words, of_the_machine

GRACE = timedelta(seconds=3)
"""So long a request is left to the association it came over."""
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(days=7)
SUCCESS = 0x0000

DUE = """
SELECT r.request_id FROM fact_commitment_request AS r LEFT JOIN state_commitment AS s USING (request_id)
WHERE r.request_id NOT IN (SELECT request_id FROM record_commitment)
  AND r.requested_at <= :settled AND r.requested_at > :given_up AND coalesce(s.next_attempt_at, '') <= :now
ORDER BY r.request_id LIMIT 20
"""

log = structlog.get_logger()


def answer_due(db: Database, archive: Archive, settings: Settings, stop: threading.Event) -> int:
    """Answer what is due; returns how many requests were answered and confirmed."""
    moment = now()
    due = {"now": to_text(moment), "settled": to_text(moment - GRACE), "given_up": to_text(moment - GIVE_UP_AFTER)}
    answered = 0
    for (request_id,) in db.execute(DUE, due).fetchall():
        request = pending_request(db, request_id)
        if stop.is_set() or request is None:
            break
        try:
            remote = _address(settings, request)
            report = examine(db, archive, request)
            _deliver(remote, report, ae_title=settings.dicom.ae_title)
        except PeerError as error:
            _note_failure(db, request, str(error), at=now())
        except Exception as error:
            if of_the_machine(error):
                raise
            # One request must not keep the others from being answered.
            _note_failure(db, request, f"its answer cannot be made ({in_words(error)})", at=now())
        else:
            note_heard(db, report, at=now())
            answered += 1
    return answered


def _address(settings: Settings, request: Request) -> RemoteAe:
    name = settings.dicom.peer_name(address=request.peer_address, calling_ae=request.calling_ae)
    peer = settings.dicom.peers[name] if name is not None else None
    remote = (peer.commitment or peer.query) if peer is not None else None
    if remote is None:
        raise UnreachableError(
            f"nothing says where {request.calling_ae} takes answers: its dicom.peers table needs a `commitment` address"
        )
    return remote


def _deliver(remote: RemoteAe, report: Report, *, ae_title: str) -> None:
    """Send the N-EVENT-REPORT; returns once it is confirmed.

    Raises
    ------
    PeerError
        It is not.
    """
    # The one who connects is here the provider of the service, which has to be said (PS3.7, D.3.3.4).
    role = build_role(STORAGE_COMMITMENT, scp_role=True)
    with associated(remote, [build_context(STORAGE_COMMITMENT)], ae_title=ae_title, roles=[role]) as association:
        status, _ = association.send_n_event_report(
            report.dataset(retrieve_ae=ae_title), report.event_type, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
        )
    code = status.get("Status")
    if code != SUCCESS:
        said = "did not answer" if code is None else f"answered with status 0x{code:04X}"
        raise PeerError(f"{remote.ae_title} at {remote.host}:{remote.port} {said} to the N-EVENT-REPORT")


def _note_failure(db: Database, request: Request, error: str, *, at: datetime) -> None:
    log.warning("storage commitment not answered", calling_ae=request.calling_ae, error=error)
    with writing(db):
        (attempts,) = db.execute(
            "SELECT coalesce(max(attempts), 0) + 1 FROM state_commitment WHERE request_id = ?", [request.request_id]
        ).fetchone()
        db.execute(
            "INSERT OR REPLACE INTO state_commitment (request_id, attempts, next_attempt_at, last_error) "
            "VALUES (?, ?, ?, ?)",
            [request.request_id, attempts, to_text(at + doubled(FIRST_PAUSE, attempts, LONGEST_PAUSE)), error],
        )
