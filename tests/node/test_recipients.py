"""Each recipient's mail by its policy: attachments, tiers, patient numbers, quiet nights."""

import csv
import email
import email.policy
import io
import json
import subprocess
import sys
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlite_utils import Database

from node.errors import InputError
from node.nightly import recipients
from node.nightly.attachments import report_pdf
from node.nightly.night import run_night
from node.nightly.report import Rendered
from node.nightly.reports import stored_mail
from node.nightly.sections.section import Figure
from node.settings import Mail, MailPolicy, Settings
from node.store.database import open_database, writing
from tests.node.night_world import NIGHT, NOW, RECIPIENTS, open_world, put_operation, settings_for

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
    assert plain_text(found[PLAIN]).split() == stored.split()
    assert "[E1]" not in stored
    assert "- E2, operation" in stored
    own = plain_text(found[OWN])
    assert "- E1 [E1], operation 2026-03-10: FLAGGED" in own
    assert "E2" not in own
    assert "Changes are listed for you where they concern flagged" in own
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

    def while_others_write(rendered: Rendered, figures: tuple[Figure, ...]) -> bytes:
        with writing(listener):
            listener.execute(
                "INSERT INTO fact_frame (sha256, raw) VALUES (?, x'00')",
                [f"{len(drawn):064}"],
            )
        if not drawn:
            put_operation(listener, "E2", **HIGH)
        drawn.append(rendered.subject)
        return report_pdf(rendered, figures)

    monkeypatch.setattr(recipients, "report_pdf", while_others_write)
    run_night(db, settings_with(tmp_path, MailPolicy(attach=("pdf",))), night=NIGHT, now=NOW)
    assert [subject.partition(": ")[2].partition(",")[0] for subject in drawn] == ["1 flagged", "2 flagged"]
    assert db.execute("SELECT count(*) FROM fact_frame").fetchone() == (2,)
    # The operation belongs into the night, the message that came while it was drawn again into the next one's counts.
    text, counts = db.execute("SELECT text, counts FROM record_report").fetchone()
    assert "- E2, operation" in text
    assert json.loads(counts)["frames"] == 1
    assert plain_text(mails(db)[OWN]).split() == text.split()
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
    assert "Nothing new tonight (n = 121" in plain_text(mails(db, "2026-03-03")[PLAIN])
    put_operation(db, "E2", vbq=None, status="held", reasons=("two patients under one number",))
    run_night(db, settings, night=NIGHT + 2 * day, now=NOW + 2 * day)
    assert set(mails(db, "2026-03-04")) == {PLAIN, OWN}, "somebody waits for a person"
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
