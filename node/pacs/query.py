"""What a PACS has: C-FIND in the Study Root information model (PS3.4, C.6.2)."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from time import monotonic
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # it makes these names when it is loaded
    StudyRootQueryRetrieveInformationModelFind,
)

from node.errors import PeerError, UnreachableError
from node.pacs.peer import associated
from node.settings import QueryAe

FIND = StudyRootQueryRetrieveInformationModelFind
SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
MAX_ANSWERS = 20_000
"""To one question: more images than any series has, more studies than any hospital makes in a day."""
LONGEST_S = 300.0
"""Time allowed for all answers to one question; each of them has a limit of its own."""
UID = re.compile(r"[0-9.]{1,64}")
COUNT = re.compile(r"[0-9]{1,7}")
"""More images than that no series has; what claims to is counted."""
DAY = re.compile(r"\d{8}")


@dataclass(frozen=True, kw_only=True)
class FoundStudy:
    """A study of a PACS; ``None`` or empty where it does not say."""

    uid: str
    study_date: date | None
    description: str | None


@dataclass(frozen=True, kw_only=True)
class FoundSeries:
    """A series of a PACS."""

    uid: str
    modality: str | None
    description: str | None
    body_part: str | None
    instances: int


class Query:
    """Questions over one association; :func:`asking` makes it."""

    def __init__(self, peer: QueryAe, association: Association) -> None:
        self._peer = peer
        self._association = association

    def studies(self, day: date) -> list[FoundStudy]:
        """The studies of a day that have an MR series, as far as the PACS can tell.

        Raises
        ------
        PeerError
            The PACS did not answer, or refused.
        """
        answers = self._find(
            level="STUDY", StudyDate=f"{day:%Y%m%d}", ModalitiesInStudy="MR", StudyInstanceUID="", StudyDescription=""
        )
        return [
            FoundStudy(
                uid=uid, study_date=_day(_said(found, "StudyDate")), description=_said(found, "StudyDescription")
            )
            for uid, found in _by_uid(answers, "StudyInstanceUID")
        ]

    def series(self, study_uid: str) -> list[FoundSeries]:
        """The series of a study with the number of their images; empty when the PACS does not know the study.

        Raises
        ------
        PeerError
            The PACS did not answer, or refused.
        """
        answers = self._find(
            level="SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", Modality="", SeriesDescription="",
            BodyPartExamined="", NumberOfSeriesRelatedInstances="",
        )  # fmt: skip
        return [
            FoundSeries(
                uid=uid,
                modality=_said(found, "Modality"),
                description=_said(found, "SeriesDescription"),
                body_part=_said(found, "BodyPartExamined"),
                instances=self._instances(study_uid, uid, found),
            )
            for uid, found in _by_uid(answers, "SeriesInstanceUID")
        ]

    def images(self, study_uid: str, series_uid: str) -> list[str]:
        """The SOP Instance UIDs of a series.

        Raises
        ------
        PeerError
            The PACS did not answer, or refused.
        """
        answers = self._find(level="IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, SOPInstanceUID="")
        return sorted({uid for answer in answers if (uid := _uid(answer.get("SOPInstanceUID")))})

    def _instances(self, study_uid: str, series_uid: str, answers: Sequence[Dataset]) -> int:
        """The count of the answers; where the PACS does not give this optional key, its images are counted.

        They are counted too where it has several answers that differ, or a 0, which some give for what they never
        counted: a series of no image is none.
        """
        given = {_text(answer.get("NumberOfSeriesRelatedInstances")) for answer in answers}
        count = given.pop() if len(given) == 1 else None
        if count is not None and COUNT.fullmatch(count) and int(count):
            return int(count)
        return len(self.images(study_uid, series_uid))

    def _find(self, *, level: str, **keys: str) -> list[Dataset]:
        if not self._association.is_established:
            raise UnreachableError(f"{self._peer.ae_title} has closed the association")
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        found = []
        deadline = monotonic() + LONGEST_S
        for status, answer in self._association.send_c_find(identifier, FIND):
            code = status.get("Status")
            if code is None:
                raise UnreachableError(f"{self._peer.ae_title} did not answer a query in time, or hung up")
            if code in PENDING:
                if answer is None:
                    raise PeerError(f"{self._peer.ae_title} answered a query with something that cannot be read")
                found.append(answer)
                if len(found) > MAX_ANSWERS or monotonic() > deadline:
                    # What it still sends must not be taken for the answers to the next question.
                    self._association.abort()
                    raise PeerError(f"{self._peer.ae_title} did not end its answers to a query ({len(found)} of them)")
            elif code != SUCCESS:
                raise PeerError(f"{self._peer.ae_title} answered a query with status 0x{code:04X}")
        self._require_of(found, **keys)
        return found

    def _require_of(self, answers: Sequence[Dataset], **keys: str) -> None:
        """Whether the answers are about what was asked; one that leaves the UID out is."""
        for keyword, what in (("StudyInstanceUID", "study"), ("SeriesInstanceUID", "series")):
            asked = keys.get(keyword)
            others = {uid for answer in answers if (uid := _text(answer.get(keyword))) not in {None, asked}}
            if asked and others:
                raise PeerError(f"{self._peer.ae_title} answered a query for one {what} with {len(others)} others")

    @property
    def is_open(self) -> bool:
        """Whether further questions can be put."""
        return bool(self._association.is_established)


@contextmanager
def asking(peer: QueryAe, *, ae_title: str) -> Iterator[Query]:
    """Questions to a PACS over one association.

    Raises
    ------
    UnreachableError
        It cannot be reached, or answers no queries.
    """
    with associated(peer, [build_context(FIND)], ae_title=ae_title) as association:
        if not association.accepted_contexts:
            raise UnreachableError(f"{peer.ae_title} answers no queries (Study Root C-FIND)")
        yield Query(peer, association)


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).replace("\0", "").strip()
    return text or None


def _by_uid(answers: Sequence[Dataset], keyword: str) -> list[tuple[str, list[Dataset]]]:
    """The answers about each study or series, of which some archives give several; those that name none are left."""
    found: dict[str, list[Dataset]] = {}
    for answer in answers:
        if uid := _uid(answer.get(keyword)):
            found.setdefault(uid, []).append(answer)
    return sorted(found.items())


def _said(answers: Sequence[Dataset], keyword: str) -> str | None:
    """What the first of them says that says anything."""
    return next((text for answer in answers if (text := _text(answer.get(keyword)))), None)


def _uid(value: Any) -> str | None:
    text = _text(value)
    return text if text and UID.fullmatch(text) else None


def _day(value: Any) -> date | None:
    text = _text(value) or ""
    if not DAY.fullmatch(text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
