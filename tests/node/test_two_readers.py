"""Two people read a series: the second blinded, a third settles what differs, and nothing counts before."""

import html
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from node.clock import now
from node.errors import ReadingError
from node.operate.rebuild import rebuild
from node.people.readings import add_reading, approve, withdraw
from node.people.two_readers import Step, standings
from node.people.users import add_user
from node.settings import Readers, Settings
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import open_database
from node.store.public_id import public_id_of
from tests.node.web_world import PASSWORD, Answer, Browser, MakeNode, serving

TWO = Readers(number=2)


class Room:
    """A node with one whole series, its circles, and people who read it."""

    def __init__(self, settings: Settings, rule: Readers) -> None:
        self.settings = settings.model_copy(update={"readers": rule})
        with closing(self.db()) as db:
            add_user(db, "third", roles=["reader"], password=PASSWORD, now=now())
            self.uid, rois, self.number = db.execute(
                "SELECT m.series_instance_uid, m.rois, m.instance_number FROM derived_measurement AS m "
                "WHERE m.reading_id IS NULL AND m.current = 1 AND m.status = 'measured'"
            ).fetchone()
        self.circles = {name: [one["row"], one["col"], one["radius_px"]] for name, one in json.loads(rois).items()}
        self.path = f"/series/{public_id_of(self.uid)}"

    def db(self) -> Database:
        return open_database(self.settings.storage.folder)

    def derive(self) -> None:
        with closing(self.db()) as db:
            while run_pending(db, Archive(self.settings.storage.folder), self.settings, at=now()):
                pass

    def moved(self, rows: float, name: str = "L1") -> dict[str, Any]:
        row, col, radius = self.circles[name]
        return {"slice": self.number, **self.circles, name: [row + rows, col, radius]}

    def measured(self) -> dict[str, Any]:
        """What is in effect of the series."""
        with closing(self.db()) as db:
            sql = "SELECT * FROM measurements WHERE series_instance_uid = ? AND in_effect = 1"
            return next(iter(db.query(sql, [self.uid])))

    def vbq_linked(self) -> float | None:
        with closing(self.db()) as db:
            sql = "SELECT vbq FROM derived_link WHERE series_instance_uid = ?"
            row = db.execute(sql, [self.uid]).fetchone()
        return None if row is None else row[0]

    def browser(self, name: str) -> Browser:
        browser = Browser(self.settings.web.port)
        assert browser.log_in(name).status == 303
        return browser

    def read(self, browser: Browser, reading: dict[str, Any], *confirm: str) -> Answer:
        body = json.dumps({**reading, "confirm": list(confirm)}).encode()
        return browser.send(self.path + "/reading", body, x_form_token=browser.token())


def start_of(page: str) -> dict[str, Any]:
    found = re.search(r'data-start="([^"]+)"', page)
    assert found
    return dict(json.loads(html.unescape(found[1])))


def test_the_second_is_blinded_and_a_third_settles_what_differs(tmp_path: Path, make_node: MakeNode) -> None:
    room = Room(make_node(tmp_path), Readers(number=2, max_difference=1e-6))
    automatic = f"{room.measured()['vbq_mean']:.2f}"
    with serving(room.settings):
        first, second, third = (room.browser(name) for name in ("reader", "second", "third"))
        assert room.read(first, room.moved(1)).status == 200
        room.derive()
        # One reading is none: no score is linked, and the one who gave it is not asked again.
        assert (room.measured()["status"], json.loads(room.measured()["reason_codes"])[-1:]) == (
            "review", ["second-reading-missing"],
        )  # fmt: skip
        assert room.vbq_linked() is None
        assert room.path not in first.get("/").text
        assert room.path in second.get("/?kind=second").text

        # The second sees neither score nor circles, on no page.
        page = second.get(room.path).text
        assert start_of(page)["circles"] == {}
        assert "second reader" in page
        assert automatic not in page
        links = set(re.findall(r'href="(/patients/[^"]+)"', second.get("/patients").text))
        patient = next(link for link in links if "waits for your reading" in second.get(link).text)
        for told in (second.get(patient).text, second.get("/patients").text, second.get("/").text):
            assert automatic not in told
        assert second.get(patient + "/picture.png").status == 404
        # Nor is the score told by a check: circles far from the automatic ones fail none that compares.
        far = room.moved(0) | {"CSF": [room.circles["L3"][0], room.circles["L3"][1], 2.5]}
        told = second.send(room.path + "/check", json.dumps(far).encode(), x_form_token=second.token())
        assert not {"far-from-automatic", "slice-off-midline"} & {
            one["code"] for one in json.loads(told.text)["doubts"]
        }
        answer = second.post(room.path + "/approve", {"form_token": second.token()})
        assert (answer.status, "own are needed" in answer.text) == (409, True)

        assert room.read(second, room.moved(-2)).status == 200
        room.derive()
        assert json.loads(room.measured()["reason_codes"])[-1:] == ["readings-differ"]
        assert room.vbq_linked() is None

        # Both see it now, and neither settles it.
        assert room.path not in first.get("/").text
        assert "Another reader settles them" in second.get(room.path).text
        refused = room.read(second, room.moved(2))
        assert (refused.status, "a third settles it" in refused.text) == (409, True)
        page = third.get(room.path).text
        assert room.path in third.get("/?kind=settle").text
        given = start_of(page)["given"]
        assert [one["reader"] for one in given] == ["reader", "second"]
        assert given[0]["circles"] == {name: room.moved(1)[name] for name in given[0]["circles"]}
        assert room.read(third, {"slice": room.number, **given[0]["circles"]}).status == 200
        room.derive()
        assert (room.measured()["status"], room.measured()["source"]) == ("measured", "reading:third")
        assert room.vbq_linked() == pytest.approx(room.measured()["vbq_mean"])

    with closing(room.db()) as db:
        rows = list(db.query("SELECT reader, step, independent, status, in_effect FROM readings ORDER BY reading_id"))
        assert [tuple(row.values()) for row in rows] == [
            ("reader", "first", 1, "measured", 0),
            ("second", "second", 1, "measured", 0),
            ("third", "settling", 0, "measured", 1),
        ]
        before = list(db.query("SELECT * FROM measurements ORDER BY 1, 2, 5"))
        rebuild(db, Archive(room.settings.storage.folder), room.settings)
        assert list(db.query("SELECT * FROM measurements ORDER BY 1, 2, 5")) == before


@pytest.fixture(scope="module")
def shared(make_node: MakeNode, tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(make_node(tmp_path_factory.mktemp("room")), TWO)


def give(room: Room, reader: str, reading: dict[str, Any], *, rule: Readers = TWO, hidden: bool = False) -> int:
    with closing(room.db()) as db:
        archive = Archive(room.settings.storage.folder)
        return add_reading(
            db, archive, series_uid=room.uid, reader=reader, rois_text=json.dumps(reading), now=now(), rule=rule,
            hidden=hidden,
        ).reading_id  # fmt: skip


def test_readings_that_agree_count_and_one_taken_back_no_longer_does(shared: Room) -> None:
    room = shared
    one = give(room, "reader", room.moved(1))
    with pytest.raises(ReadingError, match="blinded"):
        give(room, "second", room.moved(0.5))
    with closing(room.db()) as db, pytest.raises(ReadingError, match="blinded"):
        approve(db, Archive(room.settings.storage.folder), series_uid=room.uid, reader="second", now=now(), rule=TWO)
    other = give(room, "second", room.moved(0.5), hidden=True)
    room.derive()
    assert (room.measured()["status"], room.measured()["source"]) == ("measured", "reading:second")
    with closing(room.db()) as db:
        assert standings(db, TWO)[room.uid].next is None
        withdraw(db, reading_id=other, reader="second", why="slip", now=now())
        assert standings(db, TWO)[room.uid].next is Step.SECOND
    room.derive()
    assert json.loads(room.measured()["reason_codes"])[-1:] == ["second-reading-missing"]

    # The setting decides, not what was stored: one reader is enough, and every series is read, or not.
    room.settings = room.settings.model_copy(update={"readers": Readers()})
    room.derive()
    assert room.measured()["status"] == "measured"
    with closing(room.db()) as db:
        withdraw(db, reading_id=one, reader="reader", why="slip", now=now())
    room.settings = room.settings.model_copy(update={"readers": Readers(of="all")})
    room.derive()
    assert json.loads(room.measured()["reason_codes"])[-1:] == ["reading-missing"]
    assert room.vbq_linked() is None
    room.settings = room.settings.model_copy(update={"readers": Readers()})
    room.derive()
    assert room.measured()["status"] == "measured"
    assert room.vbq_linked() is not None
