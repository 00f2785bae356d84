"""Which nights may be run, what becomes of those that were missed, and of those that failed."""

import threading
from datetime import date, timedelta
from pathlib import Path
from time import monotonic

import pytest
from sqlite_utils import Database

from node.errors import NightError
from node.nightly import ledger
from node.nightly.night import run_night
from node.settings import Settings
from node.store.database import open_database
from tests.node.night_world import NIGHT, NOW, open_world, settings_for

DONE, FAILED, RUNNING = "done", "failed", "running"


def run(db: Database, settings: Settings, night: date) -> None:
    run_night(db, settings, night=night, now=NOW + (night - NIGHT))


def march(*days: int) -> tuple[date, ...]:
    return tuple(date(2026, 3, day) for day in days)


@pytest.mark.parametrize(
    ("known", "night", "missed"),
    [
        ({}, 6, ()),
        ({5: DONE}, 6, ()),
        ({2: DONE}, 6, (3, 4, 5)),
        ({2: DONE, 3: FAILED, 4: RUNNING}, 5, (3, 4)),
        ({3: FAILED}, 5, (3, 4)),
        ({2: FAILED, 3: DONE, 8: DONE}, 5, (4,)),
    ],
)
def test_missed_are_the_nights_since_the_last_one_done(
    known: dict[int, str], night: int, missed: tuple[int, ...]
) -> None:
    known_nights = {date(2026, 3, day): status for day, status in known.items()}
    assert ledger.missed_before(known_nights, date(2026, 3, night)) == march(*missed)


def test_missed_nights_are_over_february_29(tmp_path: Path) -> None:
    known = {date(2028, 2, 27): DONE}
    assert ledger.missed_before(known, date(2028, 3, 2)) == (date(2028, 2, 28), date(2028, 2, 29), date(2028, 3, 1))


def test_missed_nights_are_caught_up_once_and_the_report_names_them(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=5), settings_for(tmp_path)
    run(db, settings, date(2026, 3, 2))
    run(db, settings, date(2026, 3, 5))
    rows = db.execute("SELECT night, status, detail FROM state_run ORDER BY night").fetchall()
    assert rows == [
        ("2026-03-02", "done", None),
        ("2026-03-03", "done", "caught up by 2026-03-05"),
        ("2026-03-04", "done", "caught up by 2026-03-05"),
        ("2026-03-05", "done", None),
    ]
    texts = [text for (text,) in db.execute("SELECT text FROM reports ORDER BY night")]
    assert "without a run" not in texts[0]
    assert "Nights without a run before this one, caught up with it: 2026-03-03, 2026-03-04" in texts[1]
    assert db.execute("SELECT night FROM fits ORDER BY night").fetchall() == [("2026-03-02",), ("2026-03-05",)]
    outcome = run_night(db, settings, night=date(2026, 3, 4), now=NOW + timedelta(days=3))
    assert outcome.rendered is None, "done already, by the later one"
    assert len(db.execute("SELECT 1 FROM fits").fetchall()) == 2
    db.close()


def test_a_night_that_has_not_come_is_refused(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=5), settings_for(tmp_path)
    with pytest.raises(NightError, match="2026-03-03 has not come yet; today is 2026-03-02"):
        run_night(db, settings, night=date(2026, 3, 3), now=NOW)
    assert ledger.nights(db) == {}
    db.close()


def test_today_is_the_sites_day(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=5), settings_for(tmp_path)
    kiritimati = settings.model_copy(
        update={"site": settings.site.model_copy(update={"time_zone": "Pacific/Kiritimati"})}
    )
    # 03:10 UTC on 2 March is 17:10 of the same day there, 11:10 UTC is 3 March (UTC+14).
    run_night(db, kiritimati, night=date(2026, 3, 3), now=NOW + timedelta(hours=8))
    assert ledger.nights(db) == {date(2026, 3, 3): DONE}
    db.close()


def test_an_earlier_night_is_not_made_up_from_todays_data(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=5), settings_for(tmp_path)
    run(db, settings, date(2026, 3, 2))
    with pytest.raises(NightError, match="2026-03-02 is done, an earlier one can no longer be run"):
        run_night(db, settings, night=date(2026, 2, 1), now=NOW)
    assert ledger.nights(db) == {date(2026, 3, 2): DONE}
    db.close()


def test_a_dry_run_of_a_night_that_is_done_shows_what_it_would_say_now(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    run(db, settings, NIGHT)
    before = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in db.table_names()}
    outcome = run_night(db, settings, night=NIGHT, now=NOW, dry_run=True)
    assert outcome.rendered is not None
    assert "adjusted R² = " in outcome.rendered.text
    assert {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in db.table_names()} == before
    db.close()


def test_a_night_that_keeps_failing_is_mailed_once(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=5), settings_for(tmp_path)
    put_broken_row(db, "Mrs Secret")
    for _ in range(2):
        with pytest.raises(NightError, match="the night of 2026-03-02 failed: JSONDecodeError") as caught:
            run(db, settings, NIGHT)
        assert "Secret" not in str(caught.value)
    assert ledger.nights(db) == {NIGHT: FAILED}
    (mime,) = db.execute("SELECT mime FROM record_mail").fetchone()
    assert b"To: admin@site.invalid" in mime
    assert b"JSONDecodeError at decoder.py" in mime
    for (detail,) in db.execute("SELECT detail FROM problems WHERE step = 'nightly'"):
        assert "Secret" not in detail
    assert b"Secret" not in mime
    run_next_without_the_broken_row(db, settings)
    db.close()


def put_broken_row(db: Database, text: str) -> None:
    """A reason list that is no JSON, as only a damaged database holds it."""
    db.execute("PRAGMA ignore_check_constraints = ON")
    db.execute("UPDATE derived_import_row SET eligible = 0, exclusion_reasons = ? WHERE id = 'S001'", [text])
    db.execute("PRAGMA ignore_check_constraints = OFF")


def run_next_without_the_broken_row(db: Database, settings: Settings) -> None:
    db.execute("DELETE FROM derived_import_row WHERE id = 'S001'")
    run(db, settings, NIGHT + timedelta(days=1))
    assert ledger.nights(db) == {NIGHT: DONE, NIGHT + timedelta(days=1): DONE}
    assert db.execute("SELECT count(*) FROM problems WHERE step = 'nightly'").fetchone() == (0,)
    (text,) = db.execute("SELECT text FROM reports WHERE night = '2026-03-03' AND kind = 'nightly'").fetchone()
    assert "Nights without a run before this one, caught up with it: 2026-03-02" in text


def test_two_processes_do_a_night_once(tmp_path: Path) -> None:
    open_world(tmp_path, rows=5).close()
    settings = settings_for(tmp_path)
    outcomes: list[bool] = []

    def one() -> None:
        db = open_database(tmp_path)
        outcomes.append(run_night(db, settings, night=NIGHT, now=NOW).stored)
        db.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == [False, False, True]


def test_who_waits_too_long_for_another_process_says_so(tmp_path: Path) -> None:
    began = monotonic()
    with (
        ledger.one_at_a_time(tmp_path),
        pytest.raises(NightError, match="another process has been doing a night"),
        ledger.one_at_a_time(tmp_path, wait_s=0.2),
    ):
        pass
    assert 0.2 <= monotonic() - began < 5
