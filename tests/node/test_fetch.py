"""Fetching from a PACS that does not do what it should: a DICOM node that misbehaves as it is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)
from sqlite_utils import Database

from node.errors import PeerError, UnreachableError
from node.pacs import fetch
from node.pacs.fetch import Fetch, find, find_study
from node.pacs.plan import WantedStudy
from node.pacs.retrieve import NotKnownThereError, Retrieval
from node.settings import QueryAe, Settings
from node.store.archive import Archive
from node.store.database import open_database
from tests.node.dicom_samples import mr_image, receive, receiver
from tests.ports import free_port

STUDY = "1.2.826.0.1.3680043.8.498.1"
SERIES = f"{STUDY}.1"
IMAGES = ["1.2.3.1", "1.2.3.2", "1.2.3.3"]


@dataclass
class Pacs:
    """Knows one study of one day, and answers C-MOVE with the statuses it is given; nothing is ever moved."""

    port: int = field(default_factory=free_port)
    day: str = "20260302"
    ignores_the_date: bool = False
    lists_images: bool = True
    description: str = "MRI lumbar spine"
    series_description: str = ""
    answers: list[Dataset] = field(default_factory=list)
    moves: list[Dataset] = field(default_factory=list)
    hang_up: int = 0
    """So many times it hangs up when asked to move."""

    @contextmanager
    def up(self, *models: str) -> Iterator[None]:
        entity = AE(ae_title="PACSQR")
        for model in models or (FIND, MOVE):
            entity.add_supported_context(model, [ImplicitVRLittleEndian])
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move)]
        server = entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()

    def _find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        question, answer = event.identifier, Dataset()
        level = question.QueryRetrieveLevel
        answer.StudyInstanceUID = STUDY
        if level == "STUDY" and (self.ignores_the_date or question.StudyDate == self.day):
            answer.StudyDate, answer.StudyDescription = self.day, self.description
            yield 0xFF00, answer
        elif level == "SERIES":
            answer.SeriesInstanceUID, answer.Modality, answer.NumberOfSeriesRelatedInstances = SERIES, "MR", 3
            answer.SeriesDescription = self.series_description
            yield 0xFF00, answer
        elif level == "IMAGE" and self.lists_images:
            for uid in IMAGES:
                answer.SOPInstanceUID = uid
                yield 0xFF00, answer

    def _move(self, event: Event) -> Iterator[object]:
        self.moves.append(event.identifier)
        if self.hang_up:
            self.hang_up -= 1
            event.assoc.abort()
            return
        # Address and number of images first, then how it ended (as pynetdicom has it): it moves to nowhere.
        yield None, None


FIND, MOVE = StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove


class World:
    def __init__(self, folder: Path) -> None:
        self.pacs = Pacs()
        query = {"ae_title": "PACSQR", "host": "127.0.0.1", "port": self.pacs.port, "images_per_minute": 10_000}
        self.settings = Settings.model_validate(
            {
                "storage": {"folder": folder},
                "dicom": {"port": free_port(), "peers": {"pacs": {"query": query}}},
            }
        )
        self.folder, self.archive = folder, Archive(folder)
        self.db: Database = open_database(folder, create=True)

    def found(self, day: date = date(2026, 3, 2)) -> list[WantedStudy]:
        return find(self.db, self.settings, "pacs", period=(day, day), unnamed=False).wanted

    def fetch_first(self) -> Fetch:
        with Fetch(self.db, self.archive, self.settings, "pacs") as fetching:
            fetching.study(self.found()[0])
        return fetching


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(fetch, "PAUSES_S", (0.0, 0.0))
    one = World(tmp_path)
    yield one
    one.db.close()


def test_a_day_is_a_day_even_where_the_pacs_ignores_it(world: World) -> None:
    world.pacs.ignores_the_date = True
    with world.pacs.up():
        assert [study.uid for study in world.found()] == [STUDY]
        assert world.found(date(2026, 3, 3)) == []


def test_a_move_destination_that_the_pacs_does_not_know_ends_the_fetch(world: World) -> None:
    said = "PACSQR does not know the AE title VBQNODE: enter this node there"
    with receiver(world.settings), world.pacs.up(), pytest.raises(NotKnownThereError, match=said):
        world.fetch_first()
    # All of the series, as none of it is here.
    assert [move.QueryRetrieveLevel for move in world.pacs.moves] == ["SERIES"]


def test_only_the_missing_images_are_asked_for(world: World) -> None:
    receive(world.folder, mr_image(SOPInstanceUID=IMAGES[1]))
    with receiver(world.settings), world.pacs.up(), pytest.raises(NotKnownThereError):
        world.fetch_first()
    assert [(move.QueryRetrieveLevel, list(move.SOPInstanceUID)) for move in world.pacs.moves] == [
        ("IMAGE", [IMAGES[0], IMAGES[2]])
    ]


def test_a_pacs_that_hangs_up_is_tried_again_and_then_left(world: World) -> None:
    world.pacs.hang_up = 9
    said = "hung up; run the same command again to go on where it stopped"
    with receiver(world.settings), world.pacs.up(), pytest.raises(UnreachableError, match=said):
        world.fetch_first()
    assert len(world.pacs.moves) == 3


def test_what_is_here_is_not_asked_for_and_the_count_is_kept(world: World) -> None:
    receive(world.folder, *(mr_image(SOPInstanceUID=uid) for uid in IMAGES))
    with receiver(world.settings), world.pacs.up():
        fetching = world.fetch_first()
    assert world.pacs.moves == []
    assert (fetching.brought.series, fetching.brought.failures) == (0, {})
    assert world.db.execute("SELECT peer, series FROM fact_study_query").fetchall() == [
        ("pacs", f'{{"{SERIES}": {{"body_part": null, "description": null, "images": 3, "modality": "MR"}}}}')
    ]


def test_a_file_that_is_gone_is_fetched_again(world: World) -> None:
    hashes = receive(world.folder, *(mr_image(SOPInstanceUID=uid) for uid in IMAGES))
    world.archive.path(hashes[2]).unlink()
    # The receiver notes at its start what is missing.
    with receiver(world.settings), world.pacs.up(), pytest.raises(NotKnownThereError):
        world.fetch_first()
    assert [move.SOPInstanceUID for move in world.pacs.moves] == [IMAGES[2]]


def test_a_pacs_that_lists_no_images_is_not_taken_for_one_that_has_none(world: World) -> None:
    world.pacs.lists_images = False
    with receiver(world.settings), world.pacs.up():
        (failure,) = world.fetch_first().brought.failures.values()
    assert failure.error == "PACSQR counts images of it and lists none"
    assert [code for (code,) in world.db.execute("SELECT code FROM problems")] == ["not-fetched"]


@pytest.mark.parametrize(("came", "failed"), [(3, False), (2, True)])
def test_what_came_counts_and_not_what_the_pacs_says_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch, came: int, failed: bool
) -> None:
    def remarked(*_: object) -> None:
        receive(world.folder, *(mr_image(SOPInstanceUID=uid) for uid in IMAGES[:came]))
        raise PeerError("PACSQR could not bring 0 of the images")

    monkeypatch.setattr(Retrieval, "series", remarked)
    with receiver(world.settings), world.pacs.up():
        brought = world.fetch_first().brought
    assert (brought.images, bool(brought.failures)) == (came, failed)
    assert [code for (code,) in world.db.execute("SELECT code FROM problems")] == ["not-fetched"] * failed


def test_a_pacs_without_queries_or_moves_is_named(world: World) -> None:
    with world.pacs.up(MOVE), pytest.raises(UnreachableError, match="accepts nothing of what this node asks for"):
        find_study(world.db, world.settings, "pacs", STUDY)
    with receiver(world.settings), world.pacs.up(FIND), pytest.raises(PeerError, match="accepts nothing"):
        world.fetch_first()


@pytest.mark.parametrize(
    ("description", "wanted"),
    [
        ("RM colonna lombare", True),
        ("MR kregoslupa ledzwiowego", True),
        ("krgosup ldwiowy", True),  # Polish as a PACS gives it that drops letters outside of Latin-1
        ("", True),  # nobody knows what it named: the images are to say it
        ("  ", True),
        ("???? MRI", True),
        ("1 - 2", True),
        ("MR", False),
        ("IRM genou", False),
        ("MRT Sch\xe4del", False),
    ],
)
def test_a_description_is_known_in_its_language_and_an_illegible_one_is_unknown(
    world: World, description: str, wanted: bool
) -> None:
    world.pacs.description = description
    with world.pacs.up():
        assert [one.uid for one in world.found()] == ([STUDY] if wanted else [])


@pytest.mark.parametrize(
    ("series", "wanted"), [("t1_tse_sag ??", True), ("L?WS sag", True), ("t1_tse_sag", False), ("t1 sag?", False)]
)
def test_a_series_that_has_lost_its_letters_is_unknown_too(world: World, series: str, wanted: bool) -> None:
    world.pacs.description, world.pacs.series_description = "MR", series
    with world.pacs.up():
        assert [one.uid for one in world.found()] == ([STUDY] if wanted else [])


@pytest.mark.parametrize(
    ("hours", "at", "opens"),
    [
        (None, "2026-03-02T12:00", "2026-03-02T12:00"),
        ("20:00-06:00", "2026-03-02T20:00", "2026-03-02T20:00"),
        ("20:00-06:00", "2026-03-02T05:59", "2026-03-02T05:59"),
        ("20:00-06:00", "2026-03-02T06:00", "2026-03-02T20:00"),
        ("01:00-05:00", "2026-03-02T00:30", "2026-03-02T01:00"),
        ("01:00-05:00", "2026-03-02T05:00", "2026-03-03T01:00"),
    ],
)
def test_hours_in_which_a_pacs_may_be_asked(hours: str | None, at: str, opens: str) -> None:
    peer = QueryAe(ae_title="PACSQR", host="127.0.0.1", port=104, hours=hours)
    zone = ZoneInfo("Europe/Vienna")
    assert peer.opens(datetime.fromisoformat(at).replace(tzinfo=zone)).isoformat()[:16] == opens


@pytest.mark.parametrize("hours", ["20:00-20:00", "8-9", "24:00-06:00"])
def test_hours_that_are_none(hours: str) -> None:
    with pytest.raises(ValidationError):
        QueryAe(ae_title="PACSQR", host="127.0.0.1", port=104, hours=hours)


def test_no_study_is_begun_outside_of_the_hours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said = world.settings.model_dump(exclude_defaults=True)
    said["dicom"]["peers"]["pacs"]["query"]["hours"] = "20:00-06:00"
    world.settings = Settings.model_validate(said)
    receive(world.folder, *(mr_image(SOPInstanceUID=uid) for uid in IMAGES))
    times = [datetime(2026, 3, 2, 19, 59, 30, tzinfo=UTC)]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        times[0] += timedelta(seconds=seconds)

    monkeypatch.setattr(fetch, "now", lambda: times[0])
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=sleep, monotonic=monotonic))
    with receiver(world.settings), world.pacs.up():
        world.fetch_first()
    assert slept[0] == 30.0
    assert world.db.execute("SELECT count(*) FROM fact_study_query").fetchone() == (1,)
