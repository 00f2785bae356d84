"""A PACS whose answers are odd, over a real association: it never ends them, never gives one, or answers nonsense."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from node.errors import PeerError, UnreachableError
from node.pacs import peer, query
from node.pacs.query import FoundSeries, asking
from node.settings import QueryAe
from tests.ports import free_port

STUDY = "1.2.3.4"
Answers = Iterator[tuple[int, Dataset | None]]


def answer(number: int, **values: object) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel, found.StudyInstanceUID = "SERIES", STUDY
    found.SeriesInstanceUID, found.Modality = f"1.2.3.4.{number}", "MR"
    for name, value in values.items():
        setattr(found, name, value)
    return found


class Pacs:
    """Listens on loopback and answers C-FIND by what it is given; what it counts is how many answers it has sent."""

    def __init__(self, answers: Callable[["Pacs", Event], Answers]) -> None:
        self.port, self.sent = free_port(), 0
        self.stop = threading.Event()
        self._answers = answers

    @property
    def remote(self) -> QueryAe:
        return QueryAe(ae_title="ODD", host="127.0.0.1", port=self.port)

    @contextmanager
    def up(self) -> Iterator[None]:
        entity = AE(ae_title="ODD")
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind, [ImplicitVRLittleEndian])
        server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_FIND, self._find)])
        try:
            yield
        finally:
            self.stop.set()
            server.shutdown()

    def _find(self, event: Event) -> Answers:
        yield from self._answers(self, event)


def endless(pacs: Pacs, event: Event) -> Answers:
    while not pacs.stop.is_set():
        if event.is_cancelled or not event.assoc.is_established:
            return
        pacs.sent += 1
        time.sleep(0.001)  # both sides share an interpreter, which the one that asks needs to hang up
        yield 0xFF00, answer(pacs.sent, NumberOfSeriesRelatedInstances=1)


def silent(pacs: Pacs, event: Event) -> Answers:
    pacs.stop.wait(30)
    yield 0x0000, None


def slowly_for_ever(pacs: Pacs, event: Event) -> Answers:
    """Each answer comes in time; all together they never do."""
    while not pacs.stop.wait(0.02):
        if not event.assoc.is_established:
            return
        pacs.sent += 1
        yield 0xFF00, answer(pacs.sent, NumberOfSeriesRelatedInstances=1)


def ask(pacs: Pacs) -> list[FoundSeries]:
    with pacs.up(), asking(pacs.remote, ae_title="VBQNODE") as asked:
        return asked.series(STUDY)


def test_answers_that_never_end_are_ended_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MAX_ANSWERS", 100)
    pacs = Pacs(endless)
    with pytest.raises(PeerError, match=r"ODD did not end its answers to a query \(101 of them\)"):
        ask(pacs)


def test_answers_that_never_end_are_ended_by_the_time_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "LONGEST_S", 0.3)
    pacs = Pacs(slowly_for_ever)
    with pytest.raises(PeerError, match="did not end its answers"):
        ask(pacs)
    assert pacs.sent < query.MAX_ANSWERS


def test_a_pacs_that_never_answers_a_question_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    given = peer.associated.__wrapped__
    monkeypatch.setattr(query, "associated", contextmanager(lambda *a, **k: given(*a, **k, answer_timeout_s=0.5)))
    pacs = Pacs(silent)
    with pytest.raises(UnreachableError, match="did not answer a query in time, or hung up"):
        ask(pacs)


def test_one_that_takes_the_connection_and_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        remote = QueryAe(ae_title="MUTE", host="127.0.0.1", port=server.getsockname()[1])
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=r"MUTE at 127\.0\.0\.1"), asking(remote, ae_title="VBQNODE"):
            pass
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("count", ["abc", "-3", "1\\2", "", "100000000000000000000"])
def test_a_count_that_is_none_is_counted_from_the_images(count: str) -> None:
    def nonsense(pacs: Pacs, event: Event) -> Answers:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            one = answer(8)
            one.add_new(0x00201209, "LO", count)
            yield 0xFF01, one
            yield 0xFF00, answer(0, StudyInstanceUID=STUDY, SeriesInstanceUID="no uid at all")
        else:
            for number in range(3):
                yield 0xFF00, answer(8, SOPInstanceUID=f"1.2.3.4.8.{number}")
        yield 0x0000, None

    assert [(one.uid, one.instances) for one in ask(Pacs(nonsense))] == [("1.2.3.4.8", 3)]


@pytest.mark.parametrize(
    ("counts", "images", "count"),
    [
        ([9, 9], 0, 9),  # the same answer twice
        ([9, 5], 11, 11),  # of two stores, each with its own
        ([9, None], 9, 9),
        ([0], 9, 9),  # it never counted them
        ([0], 0, 0),  # it has none any more
    ],
)
def test_a_series_is_one_whatever_number_of_answers_it_has(counts: list[int | None], images: int, count: int) -> None:
    def several(pacs: Pacs, event: Event) -> Answers:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            for one in counts:
                yield 0xFF00, answer(8, **({} if one is None else {"NumberOfSeriesRelatedInstances": one}))
        else:
            for number in range(images):
                yield 0xFF00, answer(8, SOPInstanceUID=f"1.2.3.4.8.{number}")
        yield 0x0000, None

    assert [(one.uid, one.instances) for one in ask(Pacs(several))] == [("1.2.3.4.8", count)]


def test_a_study_is_one_whatever_number_of_answers_it_has() -> None:
    def several(pacs: Pacs, event: Event) -> Answers:
        for description in ("", "MRI lumbar spine"):
            found = Dataset()
            found.StudyInstanceUID, found.StudyDate, found.StudyDescription = STUDY, "20260302", description
            yield 0xFF00, found
        yield 0x0000, None

    pacs = Pacs(several)
    with pacs.up(), asking(pacs.remote, ae_title="VBQNODE") as asked:
        found = asked.studies(date(2026, 3, 2))
    assert [(one.uid, one.description) for one in found] == [(STUDY, "MRI lumbar spine")]
