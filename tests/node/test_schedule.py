"""Which night is due: by the calendar and the ledger, whatever daylight saving does. Dates read off a calendar."""

import threading
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine

from node.nightly import ledger, schedule
from node.nightly.check import check
from node.nightly.due import due_night
from node.nightly.schedule import watch
from node.store.database import insert, writing
from tests.node.night_world import open_world, settings_for
from tests.waiting import eventually

VIENNA = ZoneInfo("Europe/Vienna")
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def due(
    now: datetime, at: time = time(4, 10), done: set[date] | None = None, since: datetime = LONG_AGO
) -> date | None:
    return due_night(at=at, zone=VIENNA, now=now, since=since, done=done or set())


def test_before_its_time_the_night_is_yesterdays() -> None:
    assert due(datetime(2026, 3, 2, 4, 9, tzinfo=VIENNA)) == date(2026, 3, 1)
    assert due(datetime(2026, 3, 2, 4, 10, tzinfo=VIENNA)) == date(2026, 3, 2)
    assert due(datetime(2026, 3, 2, 4, 10, tzinfo=VIENNA), done={date(2026, 3, 2)}) is None


def test_of_several_missed_nights_the_newest_is_run() -> None:
    assert due(datetime(2026, 3, 9, 12, tzinfo=VIENNA), done={date(2026, 3, 2)}) == date(2026, 3, 9)


def test_a_new_node_has_missed_nothing() -> None:
    installed = datetime(2026, 3, 2, 15, tzinfo=VIENNA)
    assert due(installed + timedelta(minutes=1), since=installed) is None
    assert due(installed + timedelta(hours=14), since=installed) == date(2026, 3, 3)


# 2026: clocks go forward on 29 March at 02:00 and back on 25 October at 03:00. 2028 is a leap year.
@pytest.mark.parametrize("at", [time(0, 0), time(0, 30), time(2, 30), time(4, 10)])
@pytest.mark.parametrize("first", [date(2026, 3, 27), date(2026, 10, 23), date(2028, 2, 27)])
def test_every_night_comes_exactly_once(at: time, first: date) -> None:
    now = datetime.combine(first, time(12), VIENNA).astimezone(UTC)
    since, done, seen = now, set[date](), []
    for _ in range(5 * 24 * 6):
        now += timedelta(minutes=10)
        night = due(now, at, done, since)
        if night is not None:
            seen.append(night)
            done.add(night)
    assert seen == [first + timedelta(days=days) for days in range(1, 6)]


def test_the_role_runs_the_night_that_is_due_sends_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "CHECK_EVERY_S", 0.2)
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=True):
        db = open_world(tmp_path)
    settings = settings_for(tmp_path)
    stop, ready = threading.Event(), threading.Event()
    with time_machine.travel(datetime(2026, 3, 2, 5, tzinfo=UTC), tick=True):
        role = threading.Thread(target=watch, args=[settings, stop], kwargs={"ready": ready.set, "check": check})
        role.start()
        try:
            assert ready.wait(10)
            for _ in range(100):
                if db.execute("SELECT min(attempts) FROM state_outgoing").fetchone()[0]:
                    break
                threading.Event().wait(0.1)
        finally:
            stop.set()
            role.join(20)
    assert not role.is_alive()
    assert db.execute("SELECT night, status FROM state_run").fetchall() == [("2026-03-02", "done")]
    assert db.execute("SELECT status, attempts FROM state_outgoing").fetchall() == [("waiting", 1)] * 2
    assert (tmp_path / "snapshots" / "node.db").is_file()
    db.close()


def test_a_night_waits_for_the_steps_but_not_for_ever(tmp_path: Path) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False):
        db = open_world(tmp_path, rows=5)
    settings = settings_for(tmp_path)  # UTC, the night at 04:10
    with writing(db):
        insert(db, "fact_frame", [{"sha256": "f" * 64, "raw": b"MSH|"}])
    started = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
    for minute, nights in ((10, 0), (39, 0), (40, 1)):
        with time_machine.travel(datetime(2026, 3, 2, 4, minute, tzinfo=UTC), tick=False):
            check(settings, started)
        assert db.execute("SELECT count(*) FROM fits").fetchone() == (nights,), f"04:{minute}"
    (subject,) = db.execute("SELECT subject FROM reports").fetchone()
    assert "INCOMPLETE" in subject
    db.close()


def test_a_role_that_starts_late_gives_the_steps_the_same_time(tmp_path: Path) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False):
        db = open_world(tmp_path, rows=5)
    with writing(db):
        insert(db, "fact_frame", [{"sha256": "f" * 64, "raw": b"MSH|"}])
    started = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
    for minute, nights in ((0, 0), (29, 0), (30, 1)):
        with time_machine.travel(datetime(2026, 3, 2, 15, minute, tzinfo=UTC), tick=False):
            check(settings_for(tmp_path), started)
        assert db.execute("SELECT count(*) FROM fits").fetchone() == (nights,), f"15:{minute}"
    db.close()


def test_a_failed_night_is_left_to_a_person_until_the_next_one(tmp_path: Path) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False):
        db = open_world(tmp_path, rows=5)
    settings, started = settings_for(tmp_path), datetime(2026, 3, 1, 12, tzinfo=UTC)
    db.execute("PRAGMA ignore_check_constraints = ON")
    db.execute("UPDATE derived_import_row SET eligible = 0, exclusion_reasons = 'no JSON' WHERE id = 'S001'")
    for hour in (5, 6, 7):
        with time_machine.travel(datetime(2026, 3, 2, hour, tzinfo=UTC), tick=False):
            check(settings, started)
        assert ledger.nights(db) == {date(2026, 3, 2): "failed"}
    assert db.execute(
        "SELECT recipient, attempts > 0 FROM record_mail JOIN state_outgoing ON key = CAST(mail_id AS TEXT)"
    ).fetchall() == [("admin@site.invalid", 1)]
    db.execute("DELETE FROM derived_import_row WHERE id = 'S001'")
    with time_machine.travel(datetime(2026, 3, 3, 5, tzinfo=UTC), tick=False):
        check(settings, started)
    assert ledger.nights(db) == {date(2026, 3, 2): "done", date(2026, 3, 3): "done"}
    db.close()


def test_a_night_that_a_dead_process_left_running_is_run_again(tmp_path: Path) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False):
        db = open_world(tmp_path, rows=5)
    moment = datetime(2026, 3, 2, 5, tzinfo=UTC)
    with writing(db):
        ledger.start(db, date(2026, 3, 2), moment)
    with time_machine.travel(moment + timedelta(minutes=1), tick=False):
        check(settings_for(tmp_path), moment)
    assert ledger.nights(db) == {date(2026, 3, 2): "done"}
    db.close()


def test_a_week_away_is_one_night_and_one_mail_a_recipient(tmp_path: Path) -> None:
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False):
        db = open_world(tmp_path, rows=5)
    settings = settings_for(tmp_path)
    for day in (2, 9):
        with time_machine.travel(datetime(2026, 3, day, 5, tzinfo=UTC), tick=False):
            check(settings, datetime(2026, 3, day, 4, tzinfo=UTC))
    assert ledger.nights(db) == {date(2026, 3, day): "done" for day in range(2, 10)}
    assert db.execute("SELECT night, mails FROM reports WHERE kind = 'nightly' ORDER BY night").fetchall() == [
        ("2026-03-02", 2),
        ("2026-03-09", 2),
    ]
    db.close()


def test_a_clock_that_is_set_back_while_it_runs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "CHECK_EVERY_S", 0.2)
    with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=True):
        open_world(tmp_path, rows=5).close()
    looked: list[datetime] = []
    monkeypatch.setattr(schedule, "_look", lambda *_: looked.append(datetime.now(UTC)))
    stop = threading.Event()
    with time_machine.travel(datetime(2027, 3, 1, 12, tzinfo=UTC), tick=True) as clock:
        role = threading.Thread(target=watch, args=[settings_for(tmp_path), stop])
        role.start()
        try:
            assert eventually(lambda: len(looked) > 1)
            clock.move_to(datetime(2026, 3, 1, 13, tzinfo=UTC))
            assert eventually(lambda: looked[-1].year == 2026, 10)
            before = len(looked)
            assert eventually(lambda: len(looked) > before + 2, 10)
        finally:
            stop.set()
            role.join(20)
    assert not role.is_alive()
