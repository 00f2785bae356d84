"""Sends received objects on to other DICOM nodes, byte for byte where the destination takes them so.

An object is done only once the destination has answered Success and that is committed: it may get one twice (after a
kill between the two) but never misses one. A destination that cannot be reached, hangs up or is full is tried for as
long as it takes. An object that it refuses again and again is given up. All of it is shown in ``problems``.
"""

import threading
from collections.abc import Iterable, Sequence

from pydicom import uid
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from sqlite_utils import Database

from node.clock import now
from node.dicom.contexts import VERIFICATION
from node.errors import DicomReadError, UnreachableError
from node.outgoing.destinations import Due, Outcome, due_objects, enrol, note_unreachable, record
from node.outgoing.transcode import CONVERTIBLE, UNCOMPRESSED, uncompressed
from node.pacs.peer import associated
from node.settings import Settings
from node.store.archive import Archive
from node.store.failures import in_words

MAX_KINDS = 60
"""SOP classes and syntaxes in one batch: each takes up to two of the 128 contexts that an association may have."""
SUCCESS = 0x0000
WARNINGS = range(0xB000, 0xC000)
"""Stored, with a remark (PS3.4, table B.2-1)."""
OUT_OF_RESOURCES = range(0xA700, 0xA800)
LOST = "the connection was lost while it was sent"
FULL = "it is out of resources"
CLASS_NOT_SUPPORTED = 0x03
"""Result of a presentation context (PS3.8, table 9-18)."""


def send_due(db: Database, archive: Archive, settings: Settings, peer_name: str, stop: threading.Event) -> int:
    """Send on to one destination what is due; returns how many objects it took."""
    moment = now()
    enrol(db, settings, peer_name, at=moment)
    batch = _sendable(due_objects(db, peer_name, at=moment))
    remote = settings.dicom.peers[peer_name].forward
    if not batch or remote is None:
        return 0
    _config.STORE_SEND_CHUNKED_DATASET = True
    outcomes: list[Outcome] = []
    try:
        with associated(remote, _contexts(batch), ae_title=settings.dicom.ae_title) as association:
            for due in batch:
                if stop.is_set():
                    break
                error = _send(association, archive, due)
                outcomes.append(Outcome(due=due, error=error, transient=error in {LOST, FULL}))
                if error == LOST:
                    # The others are not at fault: they come next, over another association.
                    association.abort()
                    break
    except UnreachableError as unreachable:
        note_unreachable(db, peer_name, error=str(unreachable), at=moment)
        return 0
    record(db, peer_name, outcomes, at=now())
    return sum(outcome.error is None for outcome in outcomes)


def _sendable(due: Sequence[Due]) -> list[Due]:
    """As much of it as one association can have contexts for; the rest comes next."""
    kinds = sorted({one.kind for one in due})[:MAX_KINDS]
    return [one for one in due if one.kind in kinds]


def _contexts(batch: Iterable[Due]) -> list[PresentationContext]:
    """One for every class in the syntax it is stored in, and one to fall back on where that can be converted."""
    kinds = sorted({due.kind for due in batch})
    convertible = sorted({sop_class for sop_class, syntax in kinds if syntax in CONVERTIBLE})
    return [
        # Who accepts none of the others still lets this node in, and each object is refused by itself.
        build_context(VERIFICATION),
        *(build_context(sop_class, syntax) for sop_class, syntax in kinds),
        *(build_context(sop_class, list(UNCOMPRESSED)) for sop_class in convertible),
    ]


def _send(association: Association, archive: Archive, due: Due) -> str | None:
    """Send one object; returns why the destination does not have it, or ``None``: it has it."""
    accepted = {
        (str(context.abstract_syntax), str(syntax))
        for context in association.accepted_contexts
        for syntax in context.transfer_syntax
    }
    to_convert = due.transfer_syntax_uid in CONVERTIBLE and any(
        (due.sop_class_uid, syntax) in accepted for syntax in UNCOMPRESSED
    )
    path = archive.path(due.sha256)
    try:
        if due.kind in accepted:
            status = association.send_c_store(path)
        elif to_convert:
            status = association.send_c_store(uncompressed(path))
        else:
            return _not_taken(association, due)
    except FileNotFoundError:
        return "the file is missing from the archive"
    except OSError as error:
        return f"the file cannot be read: {error.strerror or error}"
    except DicomReadError as error:
        return f"it takes no {_kind(due)}, and {error}: allow that syntax there"
    except Exception as error:  # noqa: BLE001  # one object must not keep the others from being sent
        return f"it cannot be encoded as the destination wants it ({in_words(error)})"
    return _refusal(status.get("Status"))


def _not_taken(association: Association, due: Due) -> str:
    """What the destination would have to take."""
    results = {one.result for one in association.rejected_contexts if one.abstract_syntax == due.sop_class_uid}
    if results == {CLASS_NOT_SUPPORTED}:
        return f"it takes no {uid.UID(due.sop_class_uid).name}: allow that SOP class there"
    if due.transfer_syntax_uid in CONVERTIBLE:
        return f"it takes no {_kind(due)} or uncompressed: allow one of them there"
    return f"it takes no {_kind(due)}, which cannot be converted without a change: allow that syntax there"


def _kind(due: Due) -> str:
    return f"{uid.UID(due.sop_class_uid).name} in {uid.UID(due.transfer_syntax_uid).name}"


def _refusal(code: int | None) -> str | None:
    """Why the destination does not have the object, by its answer (``None``: it gave none)."""
    if code is None:
        return LOST
    if code in OUT_OF_RESOURCES:
        return FULL
    return None if code == SUCCESS or code in WARNINGS else f"it answered with status 0x{code:04X}"
