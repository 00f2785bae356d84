"""Storing objects with another DICOM node (C-STORE), byte for byte where it takes them so, else uncompressed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from node.dicom.contexts import VERIFICATION, uid_name
from node.errors import DecodingError, DicomReadError
from node.outgoing.kind import DONE, Outcome, Verdict, refused
from node.outgoing.transcode import CONVERTIBLE, UNCOMPRESSED, uncompressed
from node.pacs.peer import associated
from node.settings import RemoteAe

MAX_SORTS = 60
"""SOP classes and syntaxes over one association: each takes up to two of the 128 contexts that it may have."""
SUCCESS = 0x0000
WARNINGS = frozenset({0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)})
"""Stored, with a remark (PS3.4, table B.2-1; PS3.7, annex C, names the others of this class)."""
OUT_OF_RESOURCES = range(0xA700, 0xA800)
LOST = Outcome(verdict=Verdict.HINDERED, error="the connection was lost while it was sent", ends_session=True)
FULL = Outcome(verdict=Verdict.HINDERED, error="it is out of resources")
CLASS_NOT_SUPPORTED = 0x03
"""Result of a presentation context (PS3.8, table 9-18)."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A DICOM file to be sent."""

    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def sort(self) -> tuple[str, str]:
        """What it is and how it is encoded: what a destination accepts or not."""
        return self.sop_class_uid, self.transfer_syntax_uid


class Storing:
    """An association for storing; :func:`storing` makes it."""

    def __init__(self, association: Association, sorts: Iterable[tuple[str, str]]) -> None:
        self._association = association
        self._sorts = frozenset(sorts)

    def proposes(self, stored: Stored) -> bool:
        """Whether this association has contexts for such an object; else another one must take it."""
        return stored.sort in self._sorts

    def send(self, stored: Stored) -> Outcome:
        """Send one object."""
        outcome = _send(self._association, stored)
        if outcome is LOST:
            self._association.abort()
        return outcome


@contextmanager
def storing(remote: RemoteAe, objects: Iterable[Stored], *, ae_title: str) -> Iterator[Storing]:
    """An association for such objects, or for as many sorts of them as one can have contexts for.

    Raises
    ------
    UnreachableError
        There is none.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True
    sorts = sorted({one.sort for one in objects})[:MAX_SORTS]
    with associated(remote, _contexts(sorts), ae_title=ae_title) as association:
        yield Storing(association, sorts)


def _contexts(sorts: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """One for every class in the syntax it is stored in, and one to fall back on where that can be converted."""
    convertible = sorted({sop_class for sop_class, syntax in sorts if syntax in CONVERTIBLE})
    return [
        # Who accepts none of the others still lets this node in, and each object is refused by itself.
        build_context(VERIFICATION),
        *(build_context(sop_class, syntax) for sop_class, syntax in sorts),
        *(build_context(sop_class, list(UNCOMPRESSED)) for sop_class in convertible),
    ]


def _send(association: Association, stored: Stored) -> Outcome:
    accepted = {
        (str(context.abstract_syntax), str(syntax))
        for context in association.accepted_contexts
        for syntax in context.transfer_syntax
    }
    to_convert = stored.transfer_syntax_uid in CONVERTIBLE and any(
        (stored.sop_class_uid, syntax) in accepted for syntax in UNCOMPRESSED
    )
    try:
        if stored.sort in accepted:
            status = association.send_c_store(stored.path)
        elif to_convert:
            status = association.send_c_store(uncompressed(stored.path))
        else:
            return refused(_not_taken(association, stored))
    except FileNotFoundError:
        return refused("the file is missing from the archive")
    except OSError as error:
        return refused(f"the file cannot be read: {error.strerror or error}")
    except (DecodingError, DicomReadError) as error:
        return refused(f"it takes no {_sort(stored)}, and {error}: allow that syntax there")
    return _outcome(status.get("Status"))


def _not_taken(association: Association, stored: Stored) -> str:
    """What the destination would have to take."""
    results = {one.result for one in association.rejected_contexts if one.abstract_syntax == stored.sop_class_uid}
    if results == {CLASS_NOT_SUPPORTED}:
        return f"it takes no {uid_name(stored.sop_class_uid)}: allow that SOP class there"
    if stored.transfer_syntax_uid in CONVERTIBLE:
        return f"it takes no {_sort(stored)} or uncompressed: allow one of them there"
    return f"it takes no {_sort(stored)}, which cannot be converted without a change: allow that syntax there"


def _sort(stored: Stored) -> str:
    return f"{uid_name(stored.sop_class_uid)} in {uid_name(stored.transfer_syntax_uid)}"


def _outcome(code: int | None) -> Outcome:
    """By the answer of the destination (``None``: it gave none)."""
    if code is None:
        return LOST
    if code in OUT_OF_RESOURCES:
        return FULL
    return DONE if code == SUCCESS or code in WARNINGS else refused(f"it answered with status 0x{code:04X}")
