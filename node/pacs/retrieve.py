"""Brings images from a PACS: C-MOVE to this node's receiver, or C-GET over the association itself (PS3.4, C.4)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # it makes these names when it is loaded
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from analytics.vbq.header import MR_IMAGES
from node.dicom.contexts import LOSSLESS, OTHER_IMAGES, UNCOMPRESSED, WITHOUT_PIXELS
from node.errors import PeerError, UnreachableError
from node.pacs.peer import associated
from node.settings import QueryAe

MOVE = StudyRootQueryRetrieveInformationModelMove
GET = StudyRootQueryRetrieveInformationModelGet
SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
SOME_FAILED = 0xB000
CANNOT_UNDERSTAND = 0xC000
MOVE_DESTINATION_UNKNOWN = 0xA801
RETRIEVE_TIMEOUT_S = 600.0
"""Time allowed between two answers: a PACS may have to bring the images from tape first."""
IMAGES_IN_ONE_REQUEST = 50
"""UIDs in a request for single images."""

Progress = Callable[[int], None]
"""Told how many images of a request have been dealt with so far."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """An object that came by C-GET."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes


Take = Callable[[Received], int]
"""Makes an object durable; returns the status that is answered."""


class NotKnownThereError(PeerError):
    """The PACS does not know where to move images to."""


class Retrieval:
    """Requests over one association; :func:`retrieving` makes it."""

    def __init__(self, peer: QueryAe, association: Association, ae_title: str) -> None:
        self._peer = peer
        self._association = association
        self._ae_title = ae_title

    def series(self, study_uid: str, series_uid: str, progress: Progress) -> None:
        """Bring all images of a series.

        Raises
        ------
        PeerError
            The PACS refused, or could not bring all of them.
        UnreachableError
            It did not answer in time, or hung up.
        """
        self._retrieve(progress, level="SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)

    def images(self, study_uid: str, series_uid: str, images: Sequence[str], progress: Progress) -> None:
        """Bring single images of a series; errors as of :meth:`series`."""
        for start in range(0, len(images), IMAGES_IN_ONE_REQUEST):
            self._retrieve(
                partial(_count_on, progress, start),
                level="IMAGE",
                StudyInstanceUID=study_uid,
                SeriesInstanceUID=series_uid,
                SOPInstanceUID=list(images[start : start + IMAGES_IN_ONE_REQUEST]),
            )

    def _retrieve(self, progress: Progress, *, level: str, **keys: object) -> None:
        if not self._association.is_established:
            raise UnreachableError(f"{self._peer.ae_title} has closed the association")
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        for status, _ in self._send(identifier):
            code = status.get("Status")
            if code is None:
                raise UnreachableError(f"{self._peer.ae_title} did not bring images in time, or hung up")
            progress(_number(status, "NumberOfCompletedSuboperations"))
            if code not in PENDING and code != SUCCESS:
                self._fail(code, status)

    def _send(self, identifier: Dataset) -> Iterator[tuple[Dataset, Dataset | None]]:
        if self._peer.retrieve == "get":
            return self._association.send_c_get(identifier, GET)
        return self._association.send_c_move(identifier, self._ae_title, MOVE)

    def _fail(self, code: int, status: Dataset) -> None:
        name = self._peer.ae_title
        if code == MOVE_DESTINATION_UNKNOWN:
            raise NotKnownThereError(
                f"{name} does not know the AE title {self._ae_title}: enter this node there, with its address and port"
            )
        if code == SOME_FAILED:
            raise PeerError(f"{name} could not bring {_number(status, 'NumberOfFailedSuboperations')} of the images")
        hint = f"; can it reach this node as {self._ae_title}?" if self._peer.retrieve == "move" else ""
        raise PeerError(f"{name} answered with status 0x{code:04X}{hint}")


@contextmanager
def retrieving(peer: QueryAe, *, ae_title: str, take: Take) -> Iterator[Retrieval]:
    """Requests to a PACS over one association.

    Parameters
    ----------
    take
        Called with every object that comes by C-GET; what is moved comes to the receiver.

    Raises
    ------
    UnreachableError
        It cannot be reached, or does not offer C-MOVE or C-GET.
    """

    def on_store(event: Event) -> int:
        request = event.request
        if not isinstance(request, C_STORE) or request.DataSet is None:
            return CANNOT_UNDERSTAND
        return take(
            Received(
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                dataset=request.DataSet.getvalue(),
            )
        )

    model = GET if peer.retrieve == "get" else MOVE
    contexts = [build_context(model), *(storage_contexts() if model == GET else [])]
    roles = [build_role(name, scp_role=True) for name in sorted({str(one.abstract_syntax) for one in contexts[1:]})]
    handlers: list[tuple[Any, Callable[..., Any]]] = [(evt.EVT_C_STORE, on_store)]
    with associated(
        peer, contexts, ae_title=ae_title, roles=roles, handlers=handlers, answer_timeout_s=RETRIEVE_TIMEOUT_S
    ) as association:
        if model not in {context.abstract_syntax for context in association.accepted_contexts}:
            raise UnreachableError(
                f"{peer.ae_title} does not offer C-{peer.retrieve.upper()}; the peer's query.retrieve sets the other"
            )
        yield Retrieval(peer, association, ae_title)


def _count_on(progress: Progress, before: int, images: int) -> None:
    progress(before + images)


def storage_contexts() -> list[PresentationContext]:
    """One for each class uncompressed, and of MR one for each lossless syntax: a PACS sends what fits as it has it."""
    return [
        *(build_context(name, list(UNCOMPRESSED)) for name in (*MR_IMAGES, *OTHER_IMAGES, *WITHOUT_PIXELS)),
        *(build_context(name, syntax) for name in MR_IMAGES for syntax in LOSSLESS),
    ]


def _number(status: Dataset, keyword: str) -> int:
    return int(status.get(keyword) or 0)
