"""Whether a PACS keeps the results that it was sent: asked after each sending, until it has said so.

By Storage Commitment its answer may come over the association of the question, or later over one that the PACS opens to
the receiver of this node. By a query (C-FIND) the answer is whether it finds the object.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlite_utils import Database

from node.clock import now, to_text
from node.errors import PeerError, UnreachableError
from node.outgoing.kind import WITHDRAWN, Batch, Item, Kind, Outcome, Pauses, Send, Verdict, refused
from node.settings import Settings
from node.store.database import writing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pynetdicom.events import Event

    from node.dicom.kept import Kept

NAME = "result_check"
SETTLED_AFTER = timedelta(seconds=2)
"""A PACS may store what it has acknowledged a moment later."""
PATIENCE_S = 5.0
"""How long an answer over the association of the question is waited for."""
NO_ANSWER = "it was asked whether it keeps the object, and has not answered yet"

# The key is that of the sending, which may be one of several.
ENROL = """
SELECT s.key FROM state_outgoing AS s
WHERE s.kind = 'dicom_result' AND s.peer = :peer AND s.status = 'done' AND s.done_at <= :settled
  AND NOT EXISTS (SELECT 1 FROM record_result_answer AS a
                  WHERE a.result_id = CAST(s.key AS INTEGER) AND a.answered_at >= s.done_at)
  AND NOT EXISTS (SELECT 1 FROM state_outgoing AS o WHERE o.kind = 'result_check' AND o.peer = :peer AND o.key = s.key)
ORDER BY s.item_id
"""

STILL_ASKED = """
SELECT item.value, r.result_id, r.identifier, r.sha256 FROM json_each(:keys) AS item
JOIN record_result AS r ON r.result_id = CAST(item.value AS INTEGER)
JOIN state_outgoing AS s ON s.kind = 'dicom_result' AND s.peer = :peer AND s.key = item.value AND s.status = 'done'
WHERE NOT EXISTS (SELECT 1 FROM record_result_answer AS a
                  WHERE a.result_id = r.result_id AND a.answered_at >= s.done_at)
"""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A result of which it is asked whether it is kept."""

    result_id: int
    identifier: str
    path: Path
    sop_class_uid: str


def _asked(settings: Settings, result_id: int, identifier: str, sha256: str) -> _Asked:
    from node.dicom.part10 import read_identity
    from node.results.files import ResultFiles

    path = ResultFiles(settings.storage.folder).path(sha256)
    return _Asked(
        result_id=result_id, identifier=identifier, path=path, sop_class_uid=read_identity(path).sop_class_uid
    )


def _peers(settings: Settings) -> tuple[str, ...]:
    return tuple(name for name, peer in settings.dicom.peers.items() if peer.results and peer.results.confirm != "none")


def _values(_settings: Settings, _peer: str, at: datetime) -> Mapping[str, object]:
    return {"settled": to_text(at - SETTLED_AFTER)}


@contextmanager
def _opened(batch: Batch) -> Iterator[Send]:
    results = batch.settings.dicom.peers[batch.peer].results
    assert results is not None, "only peers that take results are receivers"
    keys = json.dumps([item.key for item in batch.items])
    rows = batch.db.execute(STILL_ASKED, {"keys": keys, "peer": batch.peer}).fetchall()
    asked = {key: _asked(batch.settings, *row) for key, *row in rows}
    if not asked:
        yield lambda _item: WITHDRAWN
    elif results.confirm == "query":
        with _querying(batch, asked) as send:
            yield send
    else:
        yield _committing(batch, asked)


# ---- Storage Commitment ----------------------------------------------------------------------------------------
def _committing(batch: Batch, asked: Mapping[str, _Asked]) -> Send:
    try:
        # Of several sendings of one result it is asked once.
        told = _ask(batch, list({one.result_id: one for one in asked.values()}.values()))
    except UnreachableError:
        raise
    except PeerError as error:
        refusal = refused(str(error))
        return lambda item: refusal if item.key in asked else WITHDRAWN

    def send(item: Item) -> Outcome:
        if item.key not in asked:
            return WITHDRAWN
        uid = asked[item.key].identifier
        if told is not None and uid in {*told.kept, *(missing for missing, _ in told.missing)}:
            return Outcome(verdict=Verdict.DONE)
        return Outcome(verdict=Verdict.HINDERED, error=NO_ANSWER)

    return send


def _ask(batch: Batch, asked: Sequence[_Asked]) -> "Kept | None":
    """Ask under a new transaction; the answer, where it comes at once, is recorded.

    Raises
    ------
    PeerError
        It does not take the question.
    """
    from pydicom.uid import UID
    from pynetdicom import evt
    from pynetdicom.presentation import build_context

    from node.dicom.commitment import REQUEST_ACTION, WELL_KNOWN_INSTANCE
    from node.dicom.contexts import STORAGE_COMMITMENT, VERIFICATION
    from node.pacs.peer import associated
    from node.results.dicom.common import new_uid

    remote = batch.settings.dicom.peers[batch.peer].results
    assert remote is not None, "only peers that take results are receivers"
    transaction = new_uid()
    with writing(batch.db):
        _begin(batch.db, transaction, asked)
    answers: list[Kept] = []
    answered = threading.Event()
    handlers: list[Any] = [
        (evt.EVT_N_EVENT_REPORT, partial(_heard, answers)),
        (evt.EVT_PDU_SENT, partial(_confirmed, answers, answered)),
    ]
    # Who does not take the question still lets this node in, and says so.
    contexts = [build_context(VERIFICATION), build_context(STORAGE_COMMITMENT)]
    with associated(remote, contexts, ae_title=batch.settings.dicom.ae_title, handlers=handlers) as association:
        if all(context.abstract_syntax != STORAGE_COMMITMENT for context in association.accepted_contexts):
            raise PeerError(
                'it takes no Storage Commitment: allow that there, or set confirm = "query" or "none" for its results'
            )
        question = _question(transaction, asked)
        status, _ = association.send_n_action(question, REQUEST_ACTION, UID(STORAGE_COMMITMENT), WELL_KNOWN_INSTANCE)
        code = status.get("Status")
        if code != 0x0000:
            said = "did not answer" if code is None else f"answered with status 0x{code:04X}"
            raise PeerError(f"it {said} to the question whether it keeps results")
        answered.wait(PATIENCE_S)
    if not answers:
        return None
    with writing(batch.db):
        from node.dicom.kept import record_answer

        record_answer(batch.db, answers[0], at=now())
    return answers[0]


def _begin(db: Database, transaction: str, asked: Sequence[_Asked]) -> None:
    for one in asked:
        db.execute(
            "INSERT INTO state_result_commitment (transaction_uid, result_id, asked_at) VALUES (?, ?, ?)",
            [transaction, one.result_id, to_text(now())],
        )


def _heard(answers: "list[Kept]", event: "Event") -> tuple[int, None]:
    from node.dicom.kept import read_event

    try:
        answers.append(read_event(event.event_information))
    except (AttributeError, ValueError, TypeError):
        return 0x0115, None
    return 0x0000, None


def _confirmed(answers: "list[Kept]", answered: threading.Event, _event: "Event") -> None:
    """What is sent after an answer has come confirms it; before that, nobody may release the association."""
    if answers:
        answered.set()


def _question(transaction: str, asked: Sequence[_Asked]) -> "Dataset":
    from pydicom.dataset import Dataset

    question = Dataset()
    question.TransactionUID = transaction
    question.ReferencedSOPSequence = []
    for one in asked:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.identifier
        question.ReferencedSOPSequence.append(item)
    return question


# ---- C-FIND ----------------------------------------------------------------------------------------------------
@contextmanager
def _querying(batch: Batch, asked: Mapping[str, _Asked]) -> Iterator[Send]:
    import pydicom

    from node.pacs.query import asking

    remote = batch.settings.dicom.peers[batch.peer].query
    assert remote is not None, "the settings require it"
    with asking(remote, ae_title=batch.settings.dicom.ae_title) as query:

        def send(item: Item) -> Outcome:
            if item.key not in asked:
                return WITHDRAWN
            one = asked[item.key]
            header = pydicom.dcmread(one.path, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
            try:
                found = query.images(str(header.StudyInstanceUID), str(header.SeriesInstanceUID))
            except UnreachableError:
                raise
            except PeerError as error:
                return refused(str(error))
            return Outcome(
                verdict=Verdict.DONE,
                store=partial(_record_found, result_id=one.result_id, found=one.identifier in found, at=now()),
            )

        yield send


def _record_found(db: Database, *, result_id: int, found: bool, at: datetime) -> None:
    db.execute(
        "INSERT INTO record_result_answer (result_id, how, answer, detail, answered_at) VALUES (?, 'query', ?, '', ?)",
        [result_id, "kept" if found else "missing", to_text(at)],
    )


RESULT_CHECK = Kind(
    name=NAME,
    receivers=_peers,
    enrol=ENROL,
    values=_values,
    opened=_opened,
    pauses=Pauses(first=timedelta(minutes=10), longest=timedelta(hours=12)),
    rest=Pauses(first=timedelta(seconds=5), longest=timedelta(minutes=5)),
    failure="the question cannot be put",
    batch=100,
    keeps_done=False,
)
