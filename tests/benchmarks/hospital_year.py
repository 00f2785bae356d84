"""A year of a made-up hospital with five laboratories, in which 3 % of everything is wrong, through the real steps.

    python -m tests.benchmarks.hospital_year [--patients 3000] [--seed 1] [--days 365] [--wrong 0.03] [--json]

Every night the messages of the day are stored as the listener stores them, the examinations as the steps leave
them once measured, and :func:`node.steps.worker.run_pending` derives what is missing, on a database on disk. Then
it is counted, against what is true as far as anybody who hears all messages can know it that night:

- wrong numbers in the model: rows that were eligible on any night with ratios, age, sex or a day that are not the
  patient's (goal 0), and how many of them are so at the end;
- wrong people: linked rows of a count, an examination or an operation of somebody else (goal 0);
- right counts that wait: of the counts about which nothing is wrong, those that the sender's next ones have to confirm
  (``count-awaits-next``) on the night of their arrival, and at the end of the year; nobody has to do anything;
- right counts held: of the counts about which nothing is wrong, those that are held on the night of their arrival, and
  at the end of the year (goal at most 0.5 %);
- errors said, but for slips that were read as what they should have been: a reason at the count or the operation, or
  a new problem that names the patient, the message or the sender, on the night of the error (goal 100 %).

The errors are made by ``tests.benchmarks.hospital``, which knows nothing of the rules of the product. What the rules
were fitted to and what they were measured on has to be told apart by the seed.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from math import isclose
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog
from sqlite_utils import Database

from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.clock import to_text
from node.names import sign
from node.settings import Settings, Site, Storage
from node.steps.signs import names_to_list
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import insert, open_database, writing
from node.store.pending import touch
from node.store.pseudonym import pseudonym, pseudonym_key
from tests.benchmarks.hospital.truth import Fault, Frame, Image, Story
from tests.benchmarks.hospital.year import DAYS, FIRST, WRONG, Hospital

ZONE = ZoneInfo("Europe/Vienna")
TOLERANCE = 0.05
"""Relative; more than what a report rounds away: lymphocytes of 1.2 % come with one decimal."""
AUTHORITY = "KH"
SHOWN = 40
"""Lines of what fell short that are printed."""


@dataclass(kw_only=True)
class Outcome:
    """What was counted."""

    seed: int
    patients: int
    messages: int = 0
    images: int = 0
    wrong_numbers: dict[str, str] = field(default_factory=dict)
    wrong_people: dict[str, str] = field(default_factory=dict)
    right_counts: int = 0
    right_held_at_first: dict[str, str] = field(default_factory=dict)
    right_held_at_the_end: dict[str, str] = field(default_factory=dict)
    right_waiting_at_first: int = 0
    right_waiting_at_the_end: int = 0
    wrong_numbers_at_the_end: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    harmless: Counter[str] = field(default_factory=Counter)
    """Errors in numbers that were read as what they should have been."""
    unsaid: dict[str, list[str]] = field(default_factory=dict)
    rows_in_model: int = 0
    rows_expected: int = 0
    rows_lost: dict[str, str] = field(default_factory=dict)
    """Operations of patients about whom nothing is wrong that are not in the model at the end."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """The figures, and the first of what fell short."""
        faults, unsaid = sum(self.faults.values()), sum(map(len, self.unsaid.values()))
        return {
            "seed": self.seed,
            "patients": self.patients,
            "messages": self.messages,
            "images": self.images,
            "errors": faults,
            "wrong_numbers_in_the_model": len(self.wrong_numbers),
            "wrong_numbers_at_the_end": self.wrong_numbers_at_the_end,
            "wrong_people_linked": len(self.wrong_people),
            "right_counts": self.right_counts,
            "right_counts_held_at_first": len(self.right_held_at_first),
            "right_counts_held_at_the_end": len(self.right_held_at_the_end),
            "right_counts_waiting_at_first": self.right_waiting_at_first,
            "right_counts_waiting_at_the_end": self.right_waiting_at_the_end,
            "right_counts_held_share": round(len(self.right_held_at_first) / max(self.right_counts, 1), 5),
            "errors_said_within_a_night": faults - unsaid,
            "errors_said_share": round(1 - unsaid / max(faults, 1), 5),
            "rows_in_the_model": self.rows_in_model,
            "untouched_operations": self.rows_expected,
            "untouched_operations_not_in_the_model": len(self.rows_lost),
            "errors_by_kind": dict(sorted(self.faults.items())),
            "harmless_by_kind": dict(sorted(self.harmless.items())),
            "unsaid_by_kind": {kind: len(some) for kind, some in sorted(self.unsaid.items())},
            "seconds": round(self.seconds, 1),
            "shown": {
                "wrong_numbers": list(self.wrong_numbers.values())[:SHOWN],
                "wrong_people": list(self.wrong_people.values())[:SHOWN],
                "right_held": list(self.right_held_at_first.values())[:SHOWN],
                "unsaid": [one for some in self.unsaid.values() for one in some][:SHOWN],
                "lost": list(self.rows_lost.values())[:SHOWN],
            },
        }


class Year:
    """Plays a story on a node and counts."""

    def __init__(self, folder: Path, story: Story, outcome: Outcome) -> None:
        self.story, self.outcome = story, outcome
        self.settings = Settings(site=Site(time_zone=str(ZONE)), storage=Storage(folder=folder))
        self.db: Database = open_database(folder, create=True, pseudonym_key=(b"\x07" * 32).hex())
        self.archive = Archive(folder)
        self.lines: set[tuple[str, str, str]] = set()
        self.frames: dict[str, list[str]] = {}
        self.waiting = sorted(story.specimens.values(), key=lambda one: one.sent_at)
        self.faults = sorted((one for one in story.faults if one.to_say), key=lambda one: one.at)

    def play(self, days: int, *, progress: bool) -> None:
        """All nights, one after the other."""
        began, place = time.monotonic(), 0
        for day in range(days):
            night = FIRST + timedelta(days=day + 1)
            first = place
            while place < len(self.story.events) and self.story.events[place].at < night:
                self._receive(self.story.events[place])
                place += 1
            # Without anything new there is nothing to derive, and nothing else is true.
            if place > first:
                moment = night.replace(tzinfo=ZONE).astimezone(UTC)
                while run_pending(self.db, self.archive, self.settings, at=moment):
                    pass
                self._count(night)
            if progress and (day % 30 == 29 or day == days - 1):
                found = self.outcome
                print(
                    f"{night.date()}: {place} events, {len(found.wrong_numbers)} wrong numbers, "
                    f"{len(found.wrong_people)} wrong people, {len(found.right_held_at_first)} of {found.right_counts} "
                    f"right counts held, {sum(map(len, found.unsaid.values()))} of {sum(found.faults.values())} errors "
                    f"unsaid, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True,
                )  # fmt: skip
        self._end(FIRST + timedelta(days=days))
        self.outcome.seconds = time.monotonic() - began

    # What comes -------------------------------------------------------------------------------------------------

    def _receive(self, event: Frame | Image) -> None:
        if isinstance(event, Image):
            self.outcome.images += 1
            self._image(event)
            return
        self.outcome.messages += 1
        digest = sha256(event.raw).hexdigest()
        with writing(self.db):
            at = to_text(event.at.replace(tzinfo=ZONE))
            self.db.execute("INSERT OR IGNORE INTO fact_frame (sha256, raw) VALUES (?, ?)", [digest, event.raw])
            self.db.execute(
                "INSERT INTO fact_frame_receipt (frame_id, received_at, peer_address, ack) "
                "SELECT frame_id, ?, '10.0.0.1', 'AA' FROM fact_frame WHERE sha256 = ?",
                [at, digest],
            )

    def _image(self, image: Image) -> None:
        at = to_text(image.at.replace(tzinfo=ZONE))
        names = names_to_list(sign(image.names, pseudonym_key(self.db)))
        series = {
            "series_instance_uid": image.uid, "study_instance_uid": f"{image.uid}.0", "patient_authority": AUTHORITY,
            "patient_id": image.number, "birth_date": image.birth_date.isoformat() if image.birth_date else None,
            "sex": image.sex, "study_date": image.taken_at.date().isoformat(),
            "began_at": to_text(image.taken_at.replace(tzinfo=ZONE)), "postoperative": int(image.postoperative),
            "scanner_stratum": "A 1.5T", "instances": 15, "instances_sha256": "x", "inputs_sha256": "x",
            "role": "t1_sagittal", "chosen": 1, "reasons": "[]", "protocol": "{}", "last_received_at": at,
            "missing_slices": 0, "completeness": "complete", "completeness_reasons": "[]",
        }  # fmt: skip
        measured = {
            "series_instance_uid": image.uid, "source": "auto", "instances_sha256": "x", "current": 1,
            "status": "measured", "reasons": "[]", "vbq_mean": image.vbq, "vbq_median": image.vbq, "rois": "{}",
            "algorithm_name": AUTOMATIC_NAME, "algorithm_version": AUTOMATIC_VERSION,
        }  # fmt: skip
        signed = {"series_instance_uid": image.uid, "names": json.dumps(names)}
        with writing(self.db):
            insert(self.db, "derived_series", [series])
            insert(self.db, "derived_series_names", [signed])
            insert(self.db, "derived_measurement", [measured])
            touch(self.db, AUTHORITY, image.number)

    # What is counted --------------------------------------------------------------------------------------------

    def _count(self, night: datetime) -> None:
        for row in self._links():
            self._judge(row, night)
        self._right_counts(night)
        self._errors_said(night)

    def _links(self) -> list[dict[str, object]]:
        return list(
            self.db.query(
                "SELECT l.episode, l.person, l.booking, l.status, l.eligible, l.specimen, "
                "l.series_instance_uid AS uid, "
                "l.nlr, l.plr, l.vbq, l.age, l.sex_male, l.surgery_date, l.reasons "
                "FROM derived_link AS l WHERE l.status IN ('linked', 'provisional')"
            )
        )

    def _judge(self, row: dict[str, object], night: datetime) -> None:
        """One row that is linked: whether all in it is of one patient, and true."""
        operation = self.story.operations.get(_name(row["booking"]))
        specimen = self.story.specimens.get(_name(row["specimen"]))
        told = specimen.at(night) if specimen else None
        owners = {operation.patient} if operation else set()
        owners |= {told.patient} if told and told.patient is not None else set()
        owners |= {self.story.images[str(row["uid"])]} if row["uid"] else set()
        what = f"{night.date()} {row['person']} {row['booking']} {row['specimen']} {row['uid']}"
        if len(owners) > 1:
            self.outcome.wrong_people.setdefault(f"{row['episode']} {row['specimen']} {row['uid']}", what)
        if not row["eligible"]:
            return
        wrong = self._wrong_in(row, night)
        if wrong:
            key = f"{row['episode']} {row['specimen']} {row['uid']} {wrong}"
            unusual = f" ({specimen.unusual})" if specimen and specimen.unusual else ""
            self.outcome.wrong_numbers.setdefault(key, f"{what}: {', '.join(wrong)}{unusual}")

    def _wrong_in(self, row: dict[str, object], night: datetime) -> list[str]:
        operation = self.story.operations.get(_name(row["booking"]))
        specimen = self.story.specimens.get(_name(row["specimen"]))
        if operation is None or specimen is None:
            return ["operation" if operation is None else "specimen"]
        found, told, day = [], specimen.at(night), operation.at(night)
        if not operation.lumbar or day is None:
            found.append("operation")
        elif row["surgery_date"] != day.date().isoformat():
            found.append(f"day {row['surgery_date']} for {day.date()}")
        if told.ratios is None:
            kinds = ", ".join(one.kind for one in self.story.faults if one.specimen == specimen.name)
            found.append(f"count that may not be used: {kinds} (NLR {row['nlr']:.3g}, PLR {row['plr']:.4g})")
        else:
            kinds = ", ".join(one.kind for one in self.story.faults if one.specimen == specimen.name)
            found += [
                f"{name} {row[name]:.3g} for {true:.3g} ({kinds})"
                for name, true in zip(("nlr", "plr"), told.ratios, strict=True)
                if not _alike([row[name]], [true])
            ]
        if day is not None and specimen.taken_at >= day:
            found.append("count of after the operation")
        if str(row["uid"]) in self.story.after_surgery:
            found.append("examination of after the operation")
        patient = self.story.patients[operation.patient]
        found += ["sex"] if row["sex_male"] != int(patient.sex == "M") else []
        if row["age"] != _age(patient.birth_date, date.fromisoformat(str(row["surgery_date"]))):
            found.append("age")
        return found

    def _statuses(self, names: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            for status, notes in self.db.execute(
                "SELECT status, notes FROM derived_blood_count WHERE specimen GLOB ?", [f"*{name}*"]
            ):
                found.setdefault(name, []).append((status, notes))
        return found

    def _right_counts(self, night: datetime) -> None:
        arrived = []
        while self.waiting and self.waiting[0].sent_at < night:
            arrived.append(self.waiting.pop(0))
        right = {one.name: one for one in arrived if one.right}
        self.outcome.right_counts += len(right)
        known = self._statuses(right)
        for name, one in right.items():
            statuses = known.get(name, [("missing", "[]")])
            self.outcome.right_waiting_at_first += _waits(statuses)
            if any(status in ("held", "missing") for status, _ in statuses):
                self.outcome.right_held_at_first[name] = f"{night.date()} {name} {one.unusual} {statuses}"

    def _errors_said(self, night: datetime) -> None:
        lines = set(self.db.execute("SELECT source, code, detail FROM problems").fetchall())
        new, self.lines = lines - self.lines, lines
        while self.faults and self.faults[0].at < night:
            fault = self.faults.pop(0)
            if fault.specimen and self._is_true(fault.specimen):
                self.outcome.harmless[fault.kind] += 1
                continue
            self.outcome.faults[fault.kind] += 1
            if not self._said(fault, new):
                where = f"{fault.at} {fault.kind} {fault.numbers} {fault.specimen}"
                self.outcome.unsaid.setdefault(fault.kind, []).append(where)

    def _said(self, fault: Fault, new: set[tuple[str, str, str]]) -> bool:
        persons = self._persons(fault.numbers)
        names = {pseudonym(pseudonym_key(self.db), "P", person) for person in persons}
        if any(name in source or name in (detail or "") for source, _, detail in new for name in names):
            return True
        if fault.sender and any(source == f"sender {fault.sender}" for source, _, _ in new):
            return True
        if fault.specimen:
            statuses = self._statuses([fault.specimen]).get(fault.specimen, [])
            if any(status in ("held", "withdrawn") or notes != "[]" for status, notes in statuses):
                return True
            digests = self._messages(fault.specimen)
            if any(source.startswith(f"message {digest[:12]}") for source, _, _ in new for digest in digests):
                return True
        digests = [sha256(raw).hexdigest() for raw in fault.messages]
        if any(source.startswith(f"message {digest[:12]}") for source, _, _ in new for digest in digests):
            return True
        marks = ", ".join("?" * len(persons))
        held = f"SELECT 1 FROM derived_link WHERE person IN ({marks}) AND status IN ('held', 'cancelled') LIMIT 1"
        return self.db.execute(held, sorted(persons)).fetchone() is not None

    def _is_true(self, name: str) -> bool:
        """Whether a count that was sent wrongly is used with its true ratios, as of the patient whose it is."""
        specimen = self.story.specimens[name]
        true = specimen.told[0].ratios
        rows = self.db.execute(
            "SELECT person, nlr, plr FROM derived_blood_count "
            "WHERE specimen GLOB ? AND status IN ('final', 'corrected')",
            [f"*{name}*"],
        ).fetchall()
        if true is None or len(rows) != 1 or specimen.told[0].patient is None:
            return False
        person, *ratios = rows[0]
        owner = self.story.patients.get(specimen.told[0].patient)
        return owner is not None and person == f"{AUTHORITY}|{owner.number}" and _alike(ratios, true)

    def _messages(self, specimen: str) -> list[str]:
        found = self.db.execute("SELECT sha256 FROM fact_frame WHERE instr(raw, ?)", [specimen.encode()]).fetchall()
        return [digest for (digest,) in found]

    def _persons(self, numbers: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for number in numbers:
            found |= {
                person
                for (person,) in self.db.execute("SELECT person FROM derived_identifier WHERE patient_id = ?", [number])
            }
        return found

    def _end(self, night: datetime) -> None:
        right = [one for one in self.story.specimens.values() if one.right and one.sent_at < night]
        known = self._statuses([one.name for one in right])
        for one in right:
            statuses = known.get(one.name, [("missing", "[]")])
            self.outcome.right_waiting_at_the_end += _waits(statuses)
            if any(status in ("held", "missing") for status, _ in statuses):
                self.outcome.right_held_at_the_end[one.name] = f"{one.name} {statuses}"
        self.outcome.wrong_numbers_at_the_end = sum(
            bool(row["eligible"] and self._wrong_in(row, night)) for row in self._links()
        )
        eligible = self.db.execute("SELECT booking FROM derived_link WHERE eligible = 1").fetchall()
        in_model = {_name(booking) for (booking,) in eligible}
        self.outcome.rows_in_model = len(in_model)
        for name, operation in self.story.operations.items():
            day = operation.at(night)
            if operation.patient in self.story.touched or day is None or day >= night:
                continue
            self.outcome.rows_expected += 1
            if name not in in_model:
                row = self.db.execute(
                    "SELECT booking, status, reasons, exclusion_reasons FROM derived_link WHERE booking GLOB ?",
                    [f"{name}/*"],
                ).fetchall()
                unusual = self.story.patients[operation.patient].unusual
                self.outcome.rows_lost[name] = f"{self.story.patients[operation.patient].number} {unusual} {row}"


def _waits(statuses: Sequence[tuple[str, str]]) -> bool:
    return any(status == "preliminary" and "count-awaits-next" in notes for status, notes in statuses)


def _name(text: object) -> str:
    """The hospital's name of a booking (``B1/B1``) or a specimen (``order:X@time``, ``specimen:X``)."""
    return re.split(r"[/@]", str(text or "").rsplit("order:", maxsplit=1)[-1].rsplit("specimen:", maxsplit=1)[-1])[0]


def _alike(found: Sequence[object], true: Sequence[float]) -> bool:
    """Whether numbers are these but for what a report rounds away."""
    pairs = zip(found, true, strict=True)
    return all(isinstance(one, float) and isclose(one, other, rel_tol=TOLERANCE) for one, other in pairs)


def _age(birth: date, day: date) -> int:
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


def run(*, patients: int, seed: int, days: int = DAYS, wrong: float = WRONG, progress: bool = False) -> Outcome:
    """Play a hospital and count."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    story = Hospital(seed=seed, patients=patients, wrong=wrong).tell()
    outcome = Outcome(seed=seed, patients=patients)
    with tempfile.TemporaryDirectory(prefix="vbq-hospital-") as folder:
        year = Year(Path(folder), story, outcome)
        try:
            year.play(days, progress=progress)
        finally:
            year.db.close()
    return outcome


def main() -> int:
    """Print what was counted; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--wrong", type=float, default=WRONG)
    parser.add_argument("--json", action="store_true", help="everything, with what fell short")
    asked = parser.parse_args()
    outcome = run(patients=asked.patients, seed=asked.seed, days=asked.days, wrong=asked.wrong, progress=True)
    report = outcome.to_json()
    shown = report if asked.json else {name: value for name, value in report.items() if name != "shown"}
    json.dump(shown, sys.stdout, indent=2, ensure_ascii=False)
    print()
    share = len(outcome.right_held_at_first) / max(outcome.right_counts, 1)
    return int(bool(outcome.wrong_numbers or outcome.wrong_people or outcome.unsaid or share > 0.005))


if __name__ == "__main__":
    sys.exit(main())
