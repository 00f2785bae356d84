"""A clock that was once ahead silences no later night, and costs no mail that waited."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlite_utils import Database

from node.nightly import ledger
from node.nightly.check import check
from node.operate.status import status
from node.outgoing.mail import deliver
from node.settings import Mail, Settings
from node.store.database import open_database
from tests.node.night_world import open_world, settings_for
from tests.ports import free_ports

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
AHEAD = timedelta(days=35)
NIGHTS = "SELECT night FROM reports WHERE kind = 'nightly' ORDER BY made_at"
CLOCK = "SELECT code, detail FROM problems WHERE source = 'clock'"


def check_at(settings: Settings, moment: datetime) -> None:
    with time_machine.travel(moment, tick=False):
        check(settings, moment - timedelta(hours=1))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Database, Settings]]:
    with time_machine.travel(BEGIN, tick=False):
        db = open_world(tmp_path, rows=5)
    (port,) = free_ports(1)
    yield db, settings_for(tmp_path, mail=Mail(port=port, recipients=("a@site.invalid",), timeout_s=1))
    db.close()


def test_every_night_after_it_is_done_reported_and_written(world: tuple[Database, Settings]) -> None:
    db, settings = world
    first = datetime(2026, 3, 2, 5, tzinfo=UTC)
    check_at(settings, first)
    check_at(settings, first + AHEAD)
    assert db.execute(NIGHTS).fetchall() == [("2026-03-02",), ("2026-04-06",)]
    for day in (1, 2, 10, 34, 35, 36):
        check_at(settings, first + timedelta(days=day))
        night = (first + timedelta(days=day)).date()
        if day == 35:
            # Its record is of the day on which the clock was ahead: it says nothing of what has come since.
            sql = "SELECT source, code, detail FROM problems WHERE step = 'nightly'"
            ((source, code, detail),) = db.execute(sql).fetchall()
            assert (source, code) == ("night 2026-04-06", "failed")
            assert "by a clock that was ahead" in detail
        if day < 35:
            (code, detail) = db.execute(CLOCK).fetchone()
            assert code == "clock-ahead"
            assert "nights up to 2026-04-06" in detail
            assert status(db, settings, now=first + timedelta(days=day))["last_night"] == {
                "night": night.isoformat(),
                "status": "done",
                "finished_at": (first + timedelta(days=day)).isoformat(timespec="microseconds"),
                "detail": None,
            }
        assert (settings.storage.folder / "reports" / night.isoformat() / "report.html").is_file()
    nights = [night for (night,) in db.execute("SELECT night FROM reports WHERE kind = 'nightly'")]
    assert sorted(nights) == [
        "2026-03-02", "2026-03-03", "2026-03-04", "2026-03-12", "2026-04-05", "2026-04-06", "2026-04-07",
    ]  # fmt: skip
    assert db.execute(CLOCK).fetchall() == [], "over when the last of them has come"
    (text,) = db.execute("SELECT text FROM record_report WHERE night = '2026-04-07'").fetchone()
    assert "2026-04-06" in text
    assert ledger.nights(db)[date(2026, 4, 6)] == "done"
    assert db.execute("SELECT source FROM problems WHERE step = 'nightly'").fetchall() == []
    assert ledger.nights(db)[date(2026, 4, 5)] == "done"


def test_a_mail_that_waits_is_not_given_up_nor_put_off_for_it(world: tuple[Database, Settings]) -> None:
    db, settings = world
    first = datetime(2026, 3, 2, 5, tzinfo=UTC)
    check_at(settings, first)  # no server answers
    check_at(settings, first + AHEAD)
    states = "SELECT DISTINCT status FROM state_outgoing WHERE kind = 'mail'"
    next_one = "SELECT min(next_attempt_at) FROM state_outgoing WHERE kind = 'mail' AND status = 'waiting'"
    assert db.execute(states).fetchall() == [("waiting",)]
    for minutes in (5, 10, 20):
        before = db.execute("SELECT sum(attempts) FROM state_outgoing WHERE kind = 'mail'").fetchone()
        deliver(db, settings, now=first + timedelta(minutes=minutes))
        assert db.execute("SELECT sum(attempts) FROM state_outgoing WHERE kind = 'mail'").fetchone() > before
    assert db.execute(states).fetchall() == [("waiting",)]
    # Nobody takes it for a whole day of tries: then it is given up as ever.
    moment = first + timedelta(minutes=20)
    while db.execute(states).fetchall() == [("waiting",)]:
        (soonest,) = db.execute(next_one).fetchone()
        moment = datetime.fromisoformat(soonest)
        deliver(db, settings, now=moment)
        assert moment < first + timedelta(days=3)


def test_a_database_made_by_a_clock_that_was_ahead_has_its_nights(tmp_path: Path) -> None:
    with time_machine.travel(BEGIN + AHEAD, tick=False):
        open_database(tmp_path, create=True).close()
    check_at(settings_for(tmp_path), datetime(2026, 3, 2, 5, tzinfo=UTC))
    db = open_database(tmp_path)
    assert db.execute(NIGHTS).fetchall() == [("2026-03-02",)]
    db.close()
