"""Past reports: shown exactly, and their stored mails queued once more."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from node.errors import InputError
from node.nightly.night import run_night
from node.nightly.reports import resend, stored_report
from node.outgoing.mail import deliver
from tests.node.night_world import NIGHT, NOW, RECIPIENTS, open_world, settings_for

LATER = NOW + timedelta(days=40)


def test_a_past_report_is_shown_exactly_and_queued_again(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    rendered = run_night(db, settings, night=NIGHT, now=NOW).rendered
    assert rendered is not None
    config = tmp_path / "node.toml"
    config.write_text('[storage]\nfolder = "."\n')
    command = [sys.executable, "-m", "node", "report", "show", "2026-03-02", "--config", str(config)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == rendered.text.encode()
    assert stored_report(db, NIGHT, "html") == rendered.file_html
    # Nobody listens: after a day the mails are given up.
    assert deliver(db, settings, now=NOW).postponed == len(RECIPIENTS)
    assert deliver(db, settings, now=NOW + timedelta(days=1)).dead == len(RECIPIENTS)
    mails = db.execute("SELECT * FROM record_mail WHERE report_id LIKE '%-nightly'").fetchall()
    assert resend(db, NIGHT, now=LATER) == RECIPIENTS
    again = deliver(db, settings, now=LATER)
    assert (again.postponed, again.dead) == (len(RECIPIENTS) + 1, 0), "tried anew, beside the administrator's notice"
    assert db.execute("SELECT * FROM record_mail WHERE report_id LIKE '%-nightly'").fetchall() == mails
    with pytest.raises(InputError, match="no report of the night of 2026-03-03"):
        resend(db, NIGHT + timedelta(days=1), now=LATER)
    db.close()
