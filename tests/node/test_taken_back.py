"""Tiers made from the counts of a sender that is found to be off later: taken back in the next report, and named."""

import email
import email.policy
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path
from random import Random

from sqlite_utils import Database

from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.clock import to_text
from node.demo.messages import AUTHORITY, BloodCountResult, Booking, Facts, Person, admission, blood_count, booking
from node.nightly.night import run_night
from node.settings import Settings
from node.steps.interpret import interpret_frames
from node.steps.link import link_persons
from node.steps.senders import judge_senders
from node.store.database import insert, writing
from node.store.pending import touch
from tests.node.night_world import NIGHT, NOW, open_world, settings_for

TAKEN = datetime(2026, 2, 25, 8, tzinfo=UTC)
PLANNED = datetime(2026, 3, 20, 9, tzinfo=UTC)
FACTS = Facts(
    height_cm=170, weight_kg=70, smoking=False, diabetes=False, hypertension=False, calcium=False,
    diagnoses=(("M48.06", "Spinal stenosis, lumbar region"),),
)  # fmt: skip


def patient(random: Random, key: int, *, factor: float) -> list[bytes]:
    """A patient with an operation and a blood count whose lymphocytes are ``factor`` times what they are."""
    who = Person(number=f"7{key:04}", name=f"NAME{key}^ANNA", birth_date=date(1955, 1, 1 + key % 28), sex="F")
    booked = Booking(placer=f"B{key}", filler=f"B{key}", starts_at=PLANNED, minutes=120, code="LDF",
                     procedure="Lumbar decompression and fusion L4/5")  # fmt: skip
    lymphocytes = round(factor * random.uniform(1.7, 1.9), 2)
    counts = {"neutrophils": 4.0, "lymphocytes": lymphocytes, "platelets": 240.0}
    result = BloodCountResult(order=f"O{key}", taken_at=TAKEN, status="F", counts=counts)
    at = TAKEN + timedelta(hours=1)
    return [
        admission("A04", who, control_id=f"A{key}", at=at, facts=FACTS),
        booking("S12", who, booked, control_id=f"S{key}", at=at),
        blood_count(who, result, control_id=f"O{key}", at=at),
    ]


def examined(db: Database, key: int) -> None:
    """A lumbar MRI of high VBQ."""
    series = {
        "series_instance_uid": f"1.{key}", "study_instance_uid": f"1.{key}.0", "patient_authority": AUTHORITY,
        "patient_id": f"7{key:04}", "study_date": "2026-02-10", "scanner_stratum": "A 1.5T", "instances": 15,
        "instances_sha256": "x", "role": "t1_sagittal", "chosen": 1, "reasons": "[]", "protocol": "{}",
        "last_received_at": to_text(TAKEN), "missing_slices": 0, "completeness": "complete",
        "completeness_reasons": "[]",
    }  # fmt: skip
    measured = {
        "series_instance_uid": f"1.{key}", "source": "auto", "instances_sha256": "x", "status": "measured",
        "reasons": "[]", "vbq_mean": 5.0, "vbq_median": 5.0, "rois": "{}", "algorithm_name": AUTOMATIC_NAME,
        "algorithm_version": AUTOMATIC_VERSION,
    }  # fmt: skip
    insert(db, "derived_series", [series])
    insert(db, "derived_measurement", [measured])
    touch(db, AUTHORITY, f"7{key:04}")


def receive(db: Database, settings: Settings, keys: range, *, factor: float = 0.22) -> None:
    random = Random(3)
    with writing(db):
        for key in keys:
            frames = patient(random, key, factor=factor)
            insert(db, "fact_frame", [{"sha256": sha256(raw).hexdigest(), "raw": raw} for raw in frames])
            examined(db, key)
    while interpret_frames(db, settings) + link_persons(db, settings) + judge_senders(db):
        pass


def mailed(db: Database, settings: Settings, days: int) -> tuple[str, str]:
    """Run a night; subject and text of the first mail."""
    night = NIGHT + timedelta(days=days)
    run_night(db, settings, night=night, now=NOW + timedelta(days=days))
    (mime,) = db.execute(
        "SELECT m.mime FROM record_mail AS m JOIN record_report AS r USING (report_id) WHERE r.night = ? "
        "ORDER BY m.mail_id LIMIT 1",
        [night.isoformat()],
    ).fetchone()
    mail = email.message_from_bytes(mime, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    body = mail.get_body(("plain",))
    assert body is not None
    return mail["Subject"], " ".join(body.get_content().split())


def test_flags_of_a_sender_that_is_found_to_be_off_are_taken_back_and_named(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    # Too few to tell a sender from a few ill patients, and none is beyond the limit alone.
    receive(db, settings, range(6))
    subject, _ = mailed(db, settings, 0)
    assert "6 flagged" in subject
    episodes = [episode for (episode,) in db.execute("SELECT id FROM flags WHERE tier = 'flagged' ORDER BY id")]
    assert len(episodes) == 6

    receive(db, settings, range(6, 30))
    subject, text = mailed(db, settings, 1)
    assert "0 flagged" in subject
    assert "6 resolved" in subject
    _, _, resolved = text.partition("RESOLVED")
    for episode in episodes:
        _, _, of_it = resolved.partition(f"{episode} (was flagged):")
        said = of_it.partition("(was flagged)")[0]
        assert "blood count of 2026-02-25 is held: all counts of this sender are off" in said
    assert db.execute("SELECT count(*) FROM cohort WHERE eligible = 1 AND mri_date = '2026-02-10'").fetchone() == (0,)
    ((source, detail),) = db.execute("SELECT source, detail FROM problems WHERE code = 'sender-counts-off'").fetchall()
    assert source == "sender LIS|DEMO"
    assert detail.startswith("30 of 30 patients")


def test_flags_of_a_few_ill_patients_of_a_usual_sender_stay(tmp_path: Path) -> None:
    db, settings = open_world(tmp_path), settings_for(tmp_path)
    receive(db, settings, range(6), factor=0.35)
    mailed(db, settings, 0)
    receive(db, settings, range(6, 30), factor=1.0)
    subject, _ = mailed(db, settings, 1)
    assert "0 resolved" in subject
