"""The night: once, whole, the same bytes for the same data, tiers that change for a stated reason only."""

import email
import email.policy
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import date, timedelta
from email.message import EmailMessage
from pathlib import Path
from time import monotonic, sleep

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from node.errors import InputError, NightError
from node.nightly import night as night_module
from node.nightly.night import run_night
from node.people import thresholds
from node.settings import Settings, Thresholds
from node.store.database import open_database
from tests.node.night_world import NIGHT, NOW, RECIPIENTS, open_world, put_operation, settings_for

HIGH = {"vbq": 9.0, "nlr": 99.0, "plr": 999.0}
"""Above any cut of the cohort."""

RECORDS = ("record_fit", "record_fit_term", "record_threshold", "record_flag", "record_report", "record_mail")


def run(db: Database, settings: Settings, night: date = NIGHT) -> None:
    run_night(db, settings, night=night, now=NOW + (night - NIGHT))


def flags(db: Database) -> list[tuple[object, ...]]:
    return db.execute("SELECT night, id, change, tier, previous_tier, cause FROM flags ORDER BY flag_id").fetchall()


def records(db: Database) -> dict[str, list[tuple[object, ...]]]:
    return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in RECORDS}


def everything(db: Database) -> dict[str, list[tuple[object, ...]]]:
    return {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in db.table_names()}


def test_tiers_follow_the_cohorts_upper_quartiles(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    put_operation(db, "E2", vbq=9.0, nlr=0.1, plr=1.0)
    put_operation(db, "E3", vbq=0.5, nlr=99.0, plr=1.0)
    put_operation(db, "E4", vbq=0.5, nlr=0.1, plr=1.0)
    put_operation(db, "E5", surgery="2026-03-01", **HIGH)  # past: not on the list
    put_operation(db, "E6", status="incomplete", reasons=("no blood count of this patient has been received",))
    run(db, settings)
    assert {(row[1], row[3]) for row in flags(db)} == {
        ("E1", "flagged"), ("E2", "intermediate"), ("E3", "intermediate"), ("E4", "lower"),
    }  # fmt: skip
    assert dict(db.execute("SELECT id, tier FROM cohort WHERE id LIKE 'E%'").fetchall())["E5"] is None
    (text,) = db.execute("SELECT text FROM reports").fetchone()
    assert "1 flagged, 2 intermediate, 1 lower" in text
    assert "E6, operation 2026-03-10 (in 8 days): no blood count of this patient has been received" in text
    db.close()


def test_a_night_is_done_once(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    run(db, settings)
    before = records(db)
    again = run_night(db, settings, night=NIGHT, now=NOW + timedelta(hours=1))
    assert "done already" in again.summary()
    assert records(db) == before
    db.close()


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    seen = []
    for name in ("one", "two"):
        db = open_world(tmp_path / name)
        put_operation(db, "E1", **HIGH)
        run(db, settings_for(tmp_path / name))
        seen.append(records(db))
        files = sorted((tmp_path / name / "reports" / "2026-03-02").iterdir())
        assert [path.name for path in files] == ["age.png", "flow.png", "nlr.png", "plr.png", "report.html"]
        db.close()
    one, two = seen
    # The settings record nothing of the folder, so that every column is the same.
    assert one == two


def test_a_tier_changes_with_the_data_and_says_so(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", vbq=9.0, nlr=0.1, plr=1.0)
    run(db, settings)
    put_operation(db, "E1", vbq=9.0, nlr=99.0, plr=1.0)
    run(db, settings, NIGHT + timedelta(days=1))
    run(db, settings, NIGHT + timedelta(days=2))  # nothing new: no row
    assert [row[2:] for row in flags(db)] == [
        ("new", "intermediate", None, "first tier, under threshold version 1"),
        ("changed", "flagged", "intermediate", "data: NLR 0.1 → 99"),
    ]
    texts = [text for (text,) in db.execute("SELECT text FROM reports ORDER BY night")]
    assert "FLAGGED, CHANGED (was intermediate)\n" in texts[1]
    assert "\n  data: NLR 0.1 → 99; threshold version 1\n" in texts[1]
    assert "Nothing new tonight" in texts[2]
    db.close()


def test_a_new_proposal_changes_nobody_until_a_person_adopts_it(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    (cut,) = db.execute("SELECT max(vbq) FROM derived_import_row").fetchone()
    put_operation(db, "E1", vbq=cut - 0.2, nlr=0.1, plr=1.0)
    run(db, settings)
    assert flags(db)[-1][3] == "intermediate"
    with db.conn:
        db.execute("UPDATE derived_import_row SET vbq = vbq + 1")
    run(db, settings, NIGHT + timedelta(days=1))
    assert [(row["version"], row["state"]) for row in thresholds.list_versions(db)] == [(1, "adopted"), (2, "proposed")]
    assert len(flags(db)) == 1, "the proposal alone re-tiers nobody"
    assert [str(change) for change in thresholds.would_change(db, 2)] == ["E1: intermediate → lower"]
    thresholds.adopt(db, 2, by="Dr A", now=NOW)
    run(db, settings, NIGHT + timedelta(days=2))
    assert flags(db)[-1][2:] == ("changed", "lower", "intermediate", "threshold version 1 → 2")
    thresholds.retire(db, 2, by="Dr A", now=NOW)
    run(db, settings, NIGHT + timedelta(days=3))
    assert flags(db)[-1][2:] == ("resolved", None, "lower", "no threshold version is in force")
    assert [row["state"] for row in thresholds.list_versions(db)] == ["retired", "retired"]
    db.close()


def test_decisions_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    with pytest.raises(InputError, match="no threshold version 7; known: none yet"):
        thresholds.adopt(db, 7, by="Dr A", now=NOW)
    run(db, settings_for(tmp_path))
    with pytest.raises(InputError, match="adopted already"):
        thresholds.adopt(db, 1, by="Dr A", now=NOW)
    with pytest.raises(InputError, match="say who decides"):
        thresholds.retire(db, 1, by=" ", now=NOW)
    db.close()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"status": "cancelled"}, "the operation was cancelled"),
        (
            {"surgery": "2026-02-20"},
            "operation moved from 2026-03-10 to 2026-02-20: the operation of 2026-02-20 is past",
        ),
        ({"status": "incomplete", "reasons": ("the blood count is too old",)}, "the blood count is too old"),
    ],
)
def test_who_leaves_the_list_is_said_with_the_cause(tmp_path: Path, change: dict[str, object], cause: str) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    run(db, settings)
    put_operation(db, "E1", **(HIGH | change))
    run(db, settings, NIGHT + timedelta(days=1))
    assert flags(db)[-1][2:] == ("resolved", None, "flagged", cause)
    assert cause in db.execute("SELECT text FROM reports ORDER BY night DESC").fetchone()[0]
    db.close()


def test_an_operation_that_is_past_leaves_the_list(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    run(db, settings)
    run(db, settings, date(2026, 3, 10))  # the day itself: still on it
    assert len(flags(db)) == 1
    run(db, settings, date(2026, 3, 11))
    assert flags(db)[-1][2:] == ("resolved", None, "flagged", "the operation of 2026-03-10 is past")
    db.close()


def test_half_derived_data_resolve_nobody(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    run(db, settings)
    with db.conn:  # as in the middle of `vbq-node rebuild`
        db.execute("DELETE FROM derived_person")
        db.execute("DELETE FROM derived_link")
    run(db, settings, NIGHT + timedelta(days=1))
    assert [row[2] for row in flags(db)] == ["new"]
    db.close()


def test_below_the_minimum_nobody_is_tiered_and_a_refused_fit_is_not_nothing_new(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path, rows=30), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    run(db, settings)
    assert flags(db) == []
    status, reason = db.execute("SELECT status, reason FROM fits").fetchone()
    assert (status, reason.split(":")[0]) == ("refused", "insufficient")
    subject, text, html = db.execute("SELECT subject, text, html FROM reports").fetchone()
    assert "no model tonight" in subject
    assert "NOT FITTED tonight: insufficient" in text
    assert "not calibrated yet: 31 complete rows, 80 are needed" in text
    assert "Not fitted tonight" in html
    db.close()


def test_manual_adoption_waits_for_a_person(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path, thresholds=Thresholds(adopt="manual"))
    put_operation(db, "E1", **HIGH)
    run(db, settings)
    assert [row["state"] for row in thresholds.list_versions(db)] == ["proposed"]
    assert flags(db) == []
    assert "thresholds adopt 1" in db.execute("SELECT text FROM reports").fetchone()[0]
    db.close()


def test_the_mail_is_what_a_mail_client_expects(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    run(db, settings)
    mails = [
        email.message_from_bytes(mime, policy=email.policy.default)
        for (mime,) in db.execute("SELECT mime FROM record_mail ORDER BY mail_id")
    ]
    assert [mail["To"] for mail in mails] == list(RECIPIENTS)
    assert len({mail["Message-ID"] for mail in mails}) == 2
    mail = mails[0]
    assert isinstance(mail, EmailMessage)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Subject"] == "VBQ site 2026-03-02: 1 flagged, 0 intermediate, 0 lower; 1 new, 0 changed, 0 resolved"
    kinds = [part.get_content_type() for part in mail.walk()]
    assert kinds == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        *["image/png"] * 4,
    ]
    html = mail.get_body(("html",))
    assert html is not None
    text = html.get_content()
    images = [part["Content-ID"].strip("<>") for part in mail.walk() if part.get_content_type() == "image/png"]
    assert all(f'src="cid:{name}"' in text for name in images)
    assert text.count('alt="Scatter plot') == 3
    assert 'alt="Flow of patients: Operations, imports 121, then Eligible 121, then In the model 121."' in text
    assert '<html lang="en">' in text
    assert "Research use only" in text
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert "E1, operation 2026-03-10 (in 8 days): FLAGGED" in plain.get_content()
    assert max(len(line) for line in db.execute("SELECT mime FROM record_mail").fetchone()[0].split(b"\r\n")) <= 998
    db.close()


def test_no_hospital_number_or_name_leaves_the_node(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    with db.conn:
        db.execute("UPDATE derived_person SET birth_date = '1960-07-13'")
        db.execute("INSERT INTO derived_identifier VALUES ('LOCAL', '00998877', 'LOCAL|E1')")
    run(db, settings)
    for mime, html in db.execute("SELECT mime, html FROM record_mail JOIN record_report USING (report_id)"):
        for secret in ("00998877", "1960-07-13", "LOCAL"):
            assert secret.encode() not in mime
            assert secret not in html
    db.close()


def test_a_dry_run_shows_everything_and_stores_nothing(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    before = everything(db)
    outcome = run_night(db, settings, night=NIGHT, now=NOW, dry_run=True)
    assert "1 flagged" in outcome.summary()
    assert everything(db) == before
    assert not (tmp_path / "reports").exists()
    db.close()


def test_records_cannot_be_changed(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    run(db, settings_for(tmp_path))
    for table in RECORDS:
        if db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                db.execute(f"DELETE FROM {table}")
    db.close()


def test_a_failed_night_says_so_and_can_be_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(NightError, match="failed: ZeroDivisionError"):
        patch.setattr(night_module, "render", lambda content: 1 // 0)
        run(db, settings)
    status, detail = db.execute("SELECT status, detail FROM state_run").fetchone()
    assert status == "failed"
    assert detail.startswith("ZeroDivisionError at test_nightly.py:")
    recipient, mime = db.execute("SELECT recipient, mime FROM record_mail").fetchone()
    assert recipient == "admin@site.invalid"
    assert b"FAILED" in mime
    assert db.execute("SELECT count(*) FROM fits").fetchone() == (0,), "nothing of the night itself was stored"
    assert db.execute("SELECT step, code FROM problems WHERE step = 'nightly'").fetchone() == ("nightly", "failed")
    run(db, settings)
    assert db.execute("SELECT status FROM state_run").fetchone() == ("done",)
    assert db.execute("SELECT count(*) FROM fits").fetchone() == (1,)
    db.close()


def test_what_arrives_while_the_model_is_computed_belongs_into_the_night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    prepare = night_module.prepare
    calls: list[int] = []

    def prepare_while_data_arrive(*arguments: object) -> object:
        calls.append(1)
        prepared = prepare(*arguments)
        if len(calls) == 1:
            steps = open_database(tmp_path)  # another process, with a connection of its own
            put_operation(steps, "E1", **HIGH)
            steps.close()
        return prepared

    monkeypatch.setattr(night_module, "prepare", prepare_while_data_arrive)
    run(db, settings)
    assert len(calls) == 2
    assert db.execute("SELECT n_rows FROM fits").fetchone() == (121,)
    db.close()


def test_sums_that_do_not_add_up_raise_an_alarm(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    put_operation(db, "E1", **HIGH)
    with db.conn:
        db.execute("DELETE FROM derived_link")  # an operation that lost its link row
    run(db, settings)
    subject, counts = db.execute("SELECT subject, counts FROM reports").fetchone()
    assert "ALARM" in subject
    assert json.loads(counts)["alarms"] == ["operations known = nothing: 1 against 0"]
    db.close()


FORKING = """
import os, sys
from pathlib import Path
from node.logs import configure_logging
from node.nightly.night import run_night
from node.settings import Logging
from node.store.database import open_database
from tests.node.night_world import NIGHT, NOW, settings_for
configure_logging(Logging())
def night(line):
    folder = Path(line.strip())
    run_night(open_database(folder), settings_for(folder), night=NIGHT, now=NOW)
night(sys.stdin.readline())
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        print(os.getpid(), flush=True)
        night(line)
        os._exit(0)
    print(os.waitpid(pid, 0)[1], flush=True)
"""
"""Runs the night of each folder that it is told in a fork; that of the first by itself, which loads what they need."""


def test_killed_at_any_moment_and_run_again_the_night_is_the_same(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        said, heard = process.stdin, process.stdout
        assert said is not None
        assert heard is not None

        def begin(name: str) -> Database:
            db = open_world(tmp_path / name)
            put_operation(db, "E1", **HIGH)
            said.write(f"{tmp_path / name}\n")
            said.flush()
            return db

        first = begin("first")
        db = begin("whole")
        heard.readline()
        began = monotonic()
        assert int(heard.readline()) == 0
        whole_s = monotonic() - began
        expected = records(db)
        assert records(first) == expected
        assert len(expected["record_mail"]) == 2
        killed = 0
        for share in (0.1, 0.3, 0.6, 0.9):
            db = begin(str(share))
            pid = int(heard.readline())
            sleep(share * whole_s)
            with suppress(ProcessLookupError):  # the machine was faster this time
                os.kill(pid, signal.SIGKILL)
            killed += int(heard.readline()) == signal.SIGKILL
            run(db, settings_for(tmp_path / str(share)))
            assert records(db) == expected
        assert killed, "at least one child was still at work"
        said.close()
