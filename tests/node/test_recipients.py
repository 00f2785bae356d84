"""Each recipient's mail by its policy: attachments, tiers, patient numbers, quiet nights."""

import csv
import email
import email.policy
import io
import json
import re
import subprocess
import sys
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlite_utils import Database

from analytics.reasons import Reason
from node.errors import InputError
from node.nightly import recipients
from node.nightly.night import run_night
from node.nightly.paper import report_pdf
from node.nightly.report import Content, Rendered
from node.nightly.reports import stored_mail
from node.settings import Mail, MailPolicy, Settings, Web
from node.store.database import open_database, writing
from node.store.problems import note_problem
from tests.node.night_world import NIGHT, NOW, RECIPIENTS, open_world, put_operation, settings_for
from tests.node.test_agreement import put_automatic, put_readings
from tests.node.test_nightly_report import put_unread_series

PLAIN, OWN = RECIPIENTS
HIGH = {"vbq": 3.4, "nlr": 6.0, "plr": 300.0}


def settings_with(folder: Path, policy: MailPolicy) -> Settings:
    return settings_for(folder, mail=Mail(port=1, recipients=RECIPIENTS, policies={OWN: policy}))


def mails(db: Database, night: str = "2026-03-02") -> dict[str, EmailMessage]:
    found = {}
    for recipient, mime in db.execute(
        "SELECT recipient, mime FROM record_mail WHERE report_id = ?", [f"{night}-nightly"]
    ):
        mail = email.message_from_bytes(mime, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        assert not mail.defects
        found[recipient] = mail
    return found


def plain_text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_a_policy_attaches_narrows_and_names_and_only_for_its_recipient(tmp_path: Path) -> None:
    seen = []
    for name in ("one", "two"):
        folder = tmp_path / name
        db = open_world(folder)
        put_operation(db, "E1", **HIGH)
        put_operation(db, "E2", vbq=2.2, nlr=1.0, plr=100.0)
        policy = MailPolicy(attach=("csv", "pdf"), tiers=("flagged",), patient_numbers=True)
        run_night(db, settings_with(folder, policy), night=NIGHT, now=NOW)
        seen.append(db.execute("SELECT mime FROM record_mail ORDER BY mail_id").fetchall())
        if name == "one":
            found = mails(db)
            db_cuts = list(db.execute("SELECT vbq, nlr, plr FROM thresholds").fetchone())
            stored = db.execute("SELECT text FROM record_report").fetchone()[0]
            assert stored_mail(db, NIGHT, OWN, "text") == plain_text(found[OWN])
            with pytest.raises(InputError, match=r"was not mailed to nobody@site\.invalid"):
                stored_mail(db, NIGHT, "nobody@site.invalid", "text")
        db.close()
    assert seen[0] == seen[1], "the same data give the same bytes, PDF and all"
    assert [part.get_filename() for part in found[PLAIN].iter_attachments()] == []
    patients, statistics = re.split("\n-{20,}\nSTATISTICS\n", stored)
    assert plain_text(found[PLAIN]).split() == patients.split(), "the statistics are for who wants them"
    assert "REGRESSION" in statistics
    assert "[E1]" not in stored
    assert "- E2, operation" in stored
    own = plain_text(found[OWN])
    assert "- E1 [E1], operation 2026-03-10 (in 8 days): FLAGGED, NEW" in own
    assert "E2" not in own
    assert "Listed for you: flagged" in own
    assert "1 flagged, 0 intermediate, 1 lower" in own, "the counts are of all"
    table, pdf = found[OWN].iter_attachments()
    assert (table.get_content_type(), table.get_filename()) == ("text/csv", "vbq-2026-03-02.csv")
    (row,) = csv.DictReader(io.StringIO(table.get_content()))
    assert (row["id"], row["patient_number"], row["tier"], row["tonight"]) == ("E1", "E1", "flagged", "new")
    assert [float(row[name]) for name in ("vbq", "nlr", "plr")] == [3.4, 6.0, 300.0]
    assert [float(row[name]) for name in ("vbq_cut", "nlr_cut", "plr_cut")] == db_cuts
    assert (float(row["vbq_error"]), row["near_cut"], row["cut_of"]) == (0.075, "no", "all scanners")
    assert (pdf.get_content_type(), pdf.get_filename()) == ("application/pdf", "vbq-2026-03-02.pdf")
    assert pdf.get_content().startswith(b"%PDF-")
    assert b"2026-03-02" not in pdf.get_content()[:200]


def test_nobody_waits_for_a_page_to_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the PDF is drawn a listener stores a message without waiting for the lock, and the steps an operation."""
    db = open_world(tmp_path)
    put_operation(db, "E1", **HIGH)
    listener = open_database(tmp_path)
    listener.execute("PRAGMA busy_timeout = 0")
    drawn: list[str] = []

    def while_others_write(content: Content, rendered: Rendered) -> bytes:
        with writing(listener):
            listener.execute(
                "INSERT INTO fact_frame (sha256, raw) VALUES (?, x'00')",
                [f"{len(drawn):064}"],
            )
        if not drawn:
            put_operation(listener, "E2", **HIGH)
        drawn.append(rendered.subject)
        return report_pdf(content, rendered)

    monkeypatch.setattr(recipients, "report_pdf", while_others_write)
    run_night(db, settings_with(tmp_path, MailPolicy(attach=("pdf",))), night=NIGHT, now=NOW)
    assert [subject.partition(": ")[2].partition(",")[0] for subject in drawn] == ["1 flagged", "2 flagged"]
    assert db.execute("SELECT count(*) FROM fact_frame").fetchone() == (2,)
    # The operation belongs into the night, the message that came while it was drawn again into the next one's counts.
    text, counts = db.execute("SELECT text, counts FROM record_report").fetchone()
    assert "- E2, operation" in text
    assert json.loads(counts)["frames"] == 1
    assert "- E2, operation" in plain_text(mails(db)[OWN])
    assert db.execute("SELECT count(*) FROM flags").fetchone() == (2,)
    listener.close()
    db.close()


def test_a_scanner_s_name_is_no_formula(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    put_operation(db, "E1", **HIGH)
    with writing(db):
        db.execute("UPDATE derived_link SET scanner_stratum = '=HYPERLINK(1)'")
    run_night(db, settings_with(tmp_path, MailPolicy(attach=("csv",))), night=NIGHT, now=NOW)
    (table,) = mails(db)[OWN].iter_attachments()
    (row,) = csv.DictReader(io.StringIO(table.get_content()))
    assert row["scanner"] == "'=HYPERLINK(1)"
    db.close()


def test_a_quiet_night_is_told_to_who_wants_to_hear_of_it(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_with(tmp_path, MailPolicy(quiet_nights=False))
    put_operation(db, "E1", **HIGH)
    run_night(db, settings, night=NIGHT, now=NOW)
    assert set(mails(db)) == {PLAIN, OWN}
    day = timedelta(days=1)
    run_night(db, settings, night=NIGHT + day, now=NOW + day)
    assert set(mails(db, "2026-03-03")) == {PLAIN}
    again = plain_text(mails(db, "2026-03-03")[PLAIN])
    assert "Nothing new tonight." in again
    assert "- E1, operation 2026-03-10 (in 7 days): FLAGGED\n" in again, "in every mail, not in the first one only"
    put_operation(db, "E2", vbq=None, status="held", reasons=("two patients under one number",))
    run_night(db, settings, night=NIGHT + 2 * day, now=NOW + 2 * day)
    assert set(mails(db, "2026-03-04")) == {PLAIN}, "some operation always waits for something"
    run_night(db, settings, night=NIGHT + 6 * day, now=NOW + 6 * day)
    assert set(mails(db, "2026-03-08")) == {PLAIN, OWN}, "a flagged operation is two days away"
    db.close()


def test_each_surgeon_gets_the_own_operations_and_those_of_nobody(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    for episode, number, name in (("E1", "4711", "Meyer, <Anna>"), ("E2", "0815", "Roe, Jo"), ("E3", None, None)):
        put_operation(db, episode, **HIGH)
        with writing(db):
            sql = "UPDATE derived_operation SET surgeon_number = ?, surgeon = ? WHERE booking = ?"
            db.execute(sql, [number, name, episode])
    run_night(db, settings_with(tmp_path, MailPolicy(surgeons=("meyer",), attach=("csv",))), night=NIGHT, now=NOW)
    own = plain_text(mails(db)[OWN])
    assert ("- E1, op" in own, "- E2, op" in own, "- E3, op" in own) == (True, False, True)
    assert "2 flagged, 0 intermediate, 0 lower; 2 new, 0 changed" in str(mails(db)[OWN]["Subject"])
    assert "Meyer, <Anna>" in own
    html = mails(db)[OWN].get_body(("html",))
    assert html is not None
    assert "Meyer, &lt;Anna&gt;" in html.get_content(), "what HL7 brings stays text"
    (table,) = mails(db)[OWN].iter_attachments()
    assert [row["id"] for row in csv.DictReader(io.StringIO(table.get_content()))] == ["E1", "E3"]
    assert "- E2, op" in plain_text(mails(db)[PLAIN])
    db.close()


def test_a_reading_that_changed_a_score_is_told_with_its_reader_and_a_link_leads_to_the_page(tmp_path: Path) -> None:
    db = open_world(tmp_path)
    put_operation(db, "E1", **HIGH)
    with writing(db):
        put_unread_series(db, "1.2.3", "2026-02-01T07:00:00Z")
        db.execute("UPDATE derived_link SET series_instance_uid = '1.2.3' WHERE episode = 'E1'")
    put_automatic(db, "1.2.3", 2.65)
    settings = settings_with(tmp_path, MailPolicy()).model_copy(update={"web": Web(url="https://vbq.example/")})
    run_night(db, settings, night=NIGHT, now=NOW)
    assert "ann read it" not in plain_text(mails(db)[PLAIN])
    put_readings(db, "1.2.3", ("ann", 3.4))
    with writing(db):
        db.execute("DROP TRIGGER fact_reading_no_update")
        db.execute("UPDATE fact_reading SET added_at = '2026-03-02T09:00:00+00:00'")
    day = timedelta(days=1)
    for days, told in ((1, True), (2, False)):
        run_night(db, settings, night=NIGHT + days * day, now=NOW + days * day)
        text = plain_text(mails(db, str(NIGHT + days * day))[PLAIN])
        assert ("ann read it on 2026-03-02: VBQ 2.65 (auto) -> 3.40" in text) == told
        assert "https://vbq.example/patients/E1\n" in text
    db.close()


def test_what_is_an_engineers_goes_to_the_administrator_once_and_not_to_surgeons(tmp_path: Path) -> None:
    db, mail = open_world(tmp_path, rows=5), Mail(port=1, recipients=RECIPIENTS, administrator="admin@site.invalid")
    settings = settings_for(tmp_path, mail=mail)
    with writing(db):
        note_problem(db, "interpret", "message", "1", "odd", [Reason("procedure-missing")])
    for days in range(2):
        run_night(db, settings, night=NIGHT + timedelta(days=days), now=NOW + timedelta(days=days))
    told = db.execute("SELECT r.night, m.recipient FROM record_mail AS m JOIN record_report AS r USING (report_id) "
                      "WHERE r.kind = 'engineer'").fetchall()  # fmt: skip
    assert told == [("2026-03-02", "admin@site.invalid")]
    assert "interpret: odd" not in plain_text(mails(db)[PLAIN])
    assert "interpret: odd" in db.execute("SELECT text FROM record_report WHERE kind = 'nightly'").fetchone()[0]
    db.close()


def test_what_a_recipient_was_sent_is_shown_again(tmp_path: Path) -> None:
    db = open_world(tmp_path, rows=5)
    run_night(db, settings_with(tmp_path, MailPolicy(tiers=("flagged",))), night=NIGHT, now=NOW)
    sent = plain_text(mails(db)[OWN])
    db.close()
    config = tmp_path / "node.toml"
    config.write_text('[storage]\nfolder = "."\n')
    command = [
        sys.executable,
        "-m",
        "node",
        "report",
        "show",
        "2026-03-02",
        "--recipient",
        OWN,
        "--config",
        str(config),
    ]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == sent


def test_a_policy_for_nobody_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"'chief@site\.invalid' is not one of the recipients"):
        Mail(recipients=RECIPIENTS, policies={"chief@site.invalid": MailPolicy()})
    with pytest.raises(ValidationError, match="at least 1 item"):
        MailPolicy(tiers=())
