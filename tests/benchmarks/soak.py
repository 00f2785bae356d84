"""Thirty simulated days of a node: studies, messages, nights, and all that goes wrong, in minutes.

Run by hand: ``python -m tests.benchmarks.soak [--days 30] [--patients 1] [--seed 1]``. The node is the
real one in its own processes; its clock is moved (``moved_clock``), so that each day has its night. On every day drawn
patients of the demo come, with their messages; on some days also what is wrong (``tests/node/bad_things.py``), a
restart, a kill of all processes while the day's data come, connections that are cut in the middle, a full disk (a tmpfs
that is made small, where mounting is allowed; else ``storage.keep_free_mb``), a clock that jumps a day ahead and back.
Every third day is backed up, and backups and audit are verified; on some a person is erased, or one takes the scores
that wait for a person; once a week the node is upgraded (every other time a killed upgrade goes before) from a version
that derived otherwise; after a week retention removes what is done with, and the PACS sends some of that again.

At the end what was acknowledged is compared with what is stored, byte for byte; all views with those of a rebuild, and
with those of the last backup, restored to another folder and derived again; the audit with its seals; the counts with
each other; what became of each patient with what was sent; memory and descriptors of each role at the ends of the days;
and ``problems`` with the causes that were given. Exit code 1: something is not as it should be.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from pathlib import Path
from zoneinfo import ZoneInfo

from pydicom.dataset import Dataset

from node.demo import hospital as play
from node.demo.hospital import CAST, LivePatient, open_hospital
from node.demo.messages import AUTHORITY
from node.settings import Settings
from tests.acceptance.harness import Node, vbq_node
from tests.benchmarks.acknowledged import Ledger, compare, exchange, send_bad, until_acknowledged
from tests.benchmarks.kills import Target
from tests.node.dicom_samples import encode
from tests.node.hl7_world import Peer
from tests.node.raw_sender import raw_association, store_request

FIRST = date(2026, 3, 2)
ZONE = ZoneInfo("Europe/Vienna")
CLOCK = Path(__file__).with_name("moved_clock")
QUIET_S = 1.0
REMOVED_AFTER_DAYS = 7
ERASED_AFTER_DAYS = 4
"""The person who is erased came so many days before."""
PATIENCE_S = 900.0
MEMORY_ROOM_MIB, DESCRIPTORS_ROOM = 60.0, 12
"""By so much a role may be larger in the last third of the days than in the first third but one."""
SMALL_DISK = "256k"
"""How much of the tmpfs is left when it is full: less than an image."""

CAUSES = {
    "every patient": {"unidentified", "candidate", "review", "counts-of-nobody"},
    "bad": {
        "unreadable", "contradictory-patient", "too-many-frames", "other-name", "held", "refused", "unknown-procedure",
        "no-t1", "duplicate-uid", "appointment", "merge", "rejected", "held-blood-count", "sender-without-counts",
    },
    "clock": {"clock-ahead"},
    "full": {"not-stored"},
    "cut": {"no-association", "broken-off", "object-cut-off"},
}  # fmt: skip
"""Codes in ``problems`` by what brings them about."""


class Clock:
    """The node's clock: seconds beside that of the system."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._path.write_bytes(bytes(8))

    def environment(self) -> None:
        """Have every process that is started from here on follow it."""
        os.environ["VBQ_MOVED_CLOCK"] = str(self._path)
        os.environ["PYTHONPATH"] = os.pathsep.join([str(CLOCK), *filter(None, [os.environ.get("PYTHONPATH")])])

    def set(self, moment: datetime) -> None:
        """Show this time from now on."""
        with self._path.open("r+b") as file:
            file.write(struct.pack("<d", (moment - datetime.now(UTC)).total_seconds()))

    def now(self) -> datetime:
        """What the node takes for now."""
        return datetime.now(UTC) + timedelta(seconds=struct.unpack("<d", self._path.read_bytes())[0])


def at(day: date, hour: int, minute: int = 0) -> datetime:
    """A local time of the site."""
    return datetime.combine(day, day_time(hour, minute), ZONE).astimezone(UTC)


# ---- what comes ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Arriving:
    """A patient of a day: images and messages in their order, and what ought to come of it."""

    patient: LivePatient
    images: Sequence[Dataset]
    messages: Sequence[bytes]


def arriving(day: int, number: int, seed: int) -> Arriving:
    """A patient of the play under a number of their own, drawn anew."""
    night = FIRST + timedelta(days=day)
    part = CAST[(day * 7 + number * 5) % len(CAST)]
    key = f"P{day:03d}{number:02d}"
    # What names other patients in the play names them by number, which must be this day's.
    part = replace(
        part, key=key, mri_number=f"90{key[1:]}" if part.mri_number else None,
        count_number=f"4{part.number.lstrip('0')}{key[1:]}" if part.count_number else None,
    )  # fmt: skip
    patient = play._patient(part, number, seed * 1000 + day, night, ZONE)
    events = sorted(play._events(patient, night, ZONE), key=lambda event: (event.at, event.system))
    messages = []
    for count, event in enumerate(events):
        message = event.write(f"{event.system}{key[1:]}{count:03d}")
        messages += [message] * (2 if event.twice else 1)
    return Arriving(patient=patient, images=patient.images(patient.study()), messages=messages)


def send(one: Arriving, node: Node, ledger: Ledger) -> None:
    """Send a patient's images and messages, each until it is acknowledged."""
    images, messages = list(one.images), list(one.messages)

    def some_images() -> bool:
        with raw_association(node.dicom_port, calling="PACS") as association:
            while images:
                content = encode(images[0])
                ledger.offer(content)
                if association.store(images[0]) != 0x0000:
                    return False
                ledger.take_image(content, str(images.pop(0).SOPInstanceUID))
        return True

    def some_messages() -> bool:
        with Peer(node.hl7_port) as peer:
            while messages and exchange(peer, messages[0], ledger):
                messages.pop(0)
        return not messages

    until_acknowledged(some_images)
    until_acknowledged(some_messages)


def cut(one: Arriving, node: Node, ledger: Ledger) -> None:
    """Begin an object and a message, and cut the connections in the middle."""
    with contextlib.suppress(OSError), raw_association(node.dicom_port, calling="CUT") as association:
        content = store_request(one.images[0])
        ledger.offer(encode(one.images[0]))
        association.socket.sendall(content[: len(content) // 2])
    with contextlib.suppress(OSError), Peer(node.hl7_port) as peer:
        peer.send(b"\x0b" + one.messages[0][: len(one.messages[0]) // 2])


# ---- the disk ------------------------------------------------------------------------------------------------------
@dataclass
class Disk:
    """Where the data lie: a tmpfs that can be made full, or a folder."""

    folder: Path
    mounted: bool = False

    def mount(self, size_mib: int) -> None:
        """Make it a tmpfs where that is allowed."""
        self.folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={size_mib}m,mode=750", "vbq-soak", str(self.folder)]
        done = subprocess.run(["mount", *options], capture_output=True, check=False)
        self.mounted, self._size_mib = done.returncode == 0, size_mib

    @contextlib.contextmanager
    def full(self, node: Node) -> Iterator[None]:
        """Full for as long as the block takes."""
        if self.mounted:
            used = shutil.disk_usage(self.folder).used
            self._resize(f"{used // 1024 + int(SMALL_DISK[:-1])}k")
            try:
                yield
            finally:
                self._resize(f"{self._size_mib}m")
            return
        text = node.config.read_text()
        node.config.write_text(text.replace("[storage]\n", "[storage]\nkeep_free_mb = 1000000000\n"))
        restart(node)
        try:
            yield
        finally:
            node.config.write_text(text)
            restart(node)

    def _resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True, capture_output=True)

    def unmount(self) -> None:
        """Give it back."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)


def restart(node: Node) -> None:
    """In order."""
    assert node.stop() == 0
    node.start(PATIENCE_S)


# ---- a day ---------------------------------------------------------------------------------------------------------
@dataclass
class Soak:
    """The days, and what is noted of them."""

    node: Node
    clock: Clock
    disk: Disk
    seed: int
    patients: int
    ledger: Ledger = field(default_factory=Ledger)
    happened: Counter[str] = field(default_factory=Counter)
    sent: list[Arriving] = field(default_factory=list)
    erased: set[str] = field(default_factory=set)
    """Keys of the patients."""
    memory: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    descriptors: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    def day(self, number: int) -> None:
        """One day from eight in the morning until its report of the night after."""
        day = FIRST + timedelta(days=number)
        self.clock.set(at(day, 8))
        coming = [arriving(number, one, self.seed) for one in range(self.patients)]
        for happens, every, phase in (
            (self._bad, 5, 1), (self._restart, 3, 2), (self._cut, 6, 3), (self._clock_jump, 9, 4), (self._kill, 4, 3),
            (self._full_disk, 10, 5), (self._erase, 8, 6), (self._read, 4, 1), (self._upgrade, 7, 5),
            (self._removed_again, 6, 2),
        ):  # fmt: skip
            if number % every == phase:
                self.happened[happens.__name__.strip("_")] += 1
                happens(number, coming)
        for one in coming:
            send(one, self.node, self.ledger)
        self.sent += coming
        self.settle()
        self._night(day + timedelta(days=1))
        # The node does it by itself after a night, but looks once a minute, and the next day is here sooner.
        self.command("retention", allowed=(0, 3))
        if number % 3 == 0:
            self.happened["backup"] += 1
            self.command("backup", "make")
            self.command("backup", "verify", str(self.node.settings.backup.folder), of_node=False)
            self.command("audit", "verify")
        self._note_size()

    def _bad(self, number: int, coming: Sequence[Arriving]) -> None:
        send_bad(self.node.dicom_port, self.node.hl7_port, self.ledger, number)

    def _restart(self, number: int, coming: Sequence[Arriving]) -> None:
        restart(self.node)

    def _cut(self, number: int, coming: Sequence[Arriving]) -> None:
        cut(coming[0], self.node, self.ledger)

    def _kill(self, number: int, coming: Sequence[Arriving]) -> None:
        sending = threading.Thread(target=send, args=(coming[0], self.node, self.ledger))
        sending.start()
        self.ledger.more.clear()
        self.ledger.more.wait(PATIENCE_S)
        self.node.kill()
        self.node.start(PATIENCE_S)
        sending.join()

    def _clock_jump(self, number: int, coming: Sequence[Arriving]) -> None:
        """A day and an hour ahead while images come, then back."""
        before = self.clock.now()
        self.clock.set(before + timedelta(days=1, hours=1))
        send(coming[0], self.node, self.ledger)
        time.sleep(3)
        self.clock.set(before)

    def _full_disk(self, number: int, coming: Sequence[Arriving]) -> None:
        with self.disk.full(self.node):
            status: int | None = 0
            content = encode(coming[0].images[0])
            self.ledger.offer(content)
            with contextlib.suppress(OSError), raw_association(self.node.dicom_port, calling="PACS") as association:
                status = association.store(coming[0].images[0])
            if status == 0x0000:
                self.wrong.append("an image was acknowledged on a full disk")

    def _erase(self, number: int, coming: Sequence[Arriving]) -> None:
        """A person of some days before, of whom the sender's side is then forgotten too."""
        one = self.sent[(number - ERASED_AFTER_DAYS) * self.patients]
        # Exit code 3: the backups that may hold the person still are listed.
        self.command("erase", f"{AUTHORITY}|{one.patient.part.number}", "--by", "DPO", "--why", "soak", allowed=(0, 3))
        self.ledger.forget({str(image.SOPInstanceUID) for image in one.images}, one.messages)
        self.erased.add(one.patient.part.key)

    def _read(self, number: int, coming: Sequence[Arriving]) -> None:
        """A person takes the scores that wait for one."""
        waiting = "SELECT series_instance_uid AS uid FROM measurements WHERE in_effect = 1 AND status = 'review'"
        ours = {str(image.SeriesInstanceUID) for one in self.sent for image in one.images}
        for uid in [str(row["uid"]) for row in self.node.query(waiting)]:
            if uid in ours:
                # Exit code 3: not every doubt is settled by that.
                self.command("reading", "approve", uid, "--reader", "READER", allowed=(0, 3))
                self.happened["approved"] += 1

    def _upgrade(self, number: int, coming: Sequence[Arriving]) -> None:
        """From a version that derived otherwise, so that everything is derived again; killed first, now and then."""
        assert self.node.stop() == 0
        with self.node.database() as db:
            db.execute("UPDATE state_derivation SET definition_sha256 = 'of another version'")
            db.conn.commit()
        if number % 2:
            arguments = [sys.executable, "-m", "node", "upgrade", "--config", str(self.node.config)]
            begun = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while begun.poll() is None and not (self.node.data / "upgrade.json").exists():
                time.sleep(0.01)
            begun.kill()
            begun.wait()
        self.command("upgrade")
        self.node.start(PATIENCE_S)

    def _removed_again(self, number: int, coming: Sequence[Arriving]) -> None:
        """The PACS sends a study that retention has removed."""
        removed = {str(row["key"]) for row in self.node.query("SELECT key FROM fact_removal WHERE kind = 'study'")}
        of_studies = [one for one in self.sent if str(one.images[0].StudyInstanceUID) in removed]
        for one in [one for one in of_studies if one.patient.part.key not in self.erased][:1]:
            send(replace(one, messages=()), self.node, self.ledger)
            self.happened["removed study sent again"] += 1

    def command(self, *arguments: str, allowed: Sequence[int] = (0,), of_node: bool = True) -> None:
        """A command beside the running node, or one that asks no node for its settings; noted when it fails."""
        settings = ("--config", str(self.node.config)) if of_node else ()
        done = vbq_node(*arguments, *settings, check=False, timeout_s=PATIENCE_S)
        if done.returncode not in allowed:
            self.wrong.append(f"{arguments[0]} exited {done.returncode}: {(done.stdout + done.stderr)[-300:]}")

    def settle(self) -> None:
        """Wait until all is derived, also what its quiet time holds back."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.node.settle(30.0)
            except AssertionError as error:
                if time.monotonic() > deadline:
                    self.wrong.append(f"never settled: {str(error)[:200]}")
                    return
            else:
                return

    def _night(self, night: date) -> None:
        self.clock.set(at(night, 4, 30))
        deadline = time.monotonic() + PATIENCE_S
        sql = f"SELECT status FROM state_run WHERE kind = 'nightly' AND night = '{night}'"
        while not any(row["status"] in ("done", "failed") for row in self.node.query(sql)):
            if time.monotonic() > deadline:
                self.wrong.append(f"night {night} was not run")
                return
            time.sleep(0.2)

    def _note_size(self) -> None:
        target = Target(self.node)
        for role in ("dicom", "hl7", "steps", "outgoing", "nightly"):
            for pid in target.pids(role)[:1]:
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    (resident,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
                    self.memory[role].append(round(int(resident) / 1024, 1))
                    self.descriptors[role].append(len(list(Path(f"/proc/{pid}/fd").iterdir())))


# ---- what has to hold ----------------------------------------------------------------------------------------------
def judge(soak: Soak, days: int) -> dict[str, object]:
    """Compare everything; what is wrong is added to ``soak.wrong``."""
    node = soak.node
    soak.clock.set(at(FIRST + timedelta(days=days), 5))
    soak.settle()
    problems = Counter(str(row["code"]) for row in node.query("SELECT code FROM problems"))
    details = {str(row["code"]): str(row["detail"])[:160] for row in node.query("SELECT code, detail FROM problems")}
    caused = set().union(*CAUSES.values())
    soak.wrong += [f"a problem without a cause: {code}: {details[code]}" for code in problems if code not in caused]
    if node.stop() != 0:
        soak.wrong.append("the node did not stop in order")
    before = node.views()
    vbq_node("rebuild", "--config", str(node.config), timeout_s=4 * PATIENCE_S)
    after = node.views()
    for view, rows in before.items():
        lost, new = Counter(rows) - Counter(after[view]), Counter(after[view]) - Counter(rows)
        if lost or new:
            soak.wrong.append(f"rebuild: view {view}: {lost.total()} rows gone, {new.total()} new: {_first(lost, new)}")
    soak.command("audit", "verify")
    soak.command("backup", "make")
    _restored(soak, after)
    compared = compare(node.data, soak.ledger)
    soak.wrong += compared.wrong
    counts = _counts(soak, days)
    _flat(soak)
    return {
        "days": days, "happened": dict(soak.happened), "tmpfs": soak.disk.mounted,
        "acknowledged_images": len(soak.ledger.images), "acknowledged_messages": len(soak.ledger.messages),
        "stored_images": compared.images, "stored_messages": compared.messages, **counts,
        "problems_by_code": dict(problems), "memory_mib": dict(soak.memory), "descriptors": dict(soak.descriptors),
        "load_average": os.getloadavg(), "wrong": soak.wrong,
    }  # fmt: skip


def _restored(soak: Soak, views: dict[str, list[str]]) -> None:
    """The last backup in another folder, derived again, shows the same."""
    settings = soak.node.settings
    assert settings.backup.folder is not None
    place = soak.node.folder / "restored"
    text = soak.node.config.read_text().replace(f"folder = '{soak.node.data}'", f"folder = '{place}'")
    config = soak.node.folder / "restored.toml"
    config.write_text(text)
    vbq_node("restore", str(settings.backup.folder), "--config", str(config), timeout_s=PATIENCE_S)
    vbq_node("rebuild", "--config", str(config), timeout_s=4 * PATIENCE_S)
    other = Node(soak.node.folder, config=config).views()
    for view, rows in views.items():
        lost, new = Counter(rows) - Counter(other[view]), Counter(other[view]) - Counter(rows)
        if (lost or new) and view not in ("audit", "problems"):
            soak.wrong.append(f"restore: view {view}: {lost.total()} rows gone, {new.total()} new: {_first(lost, new)}")


def _first(lost: Counter[str], new: Counter[str]) -> str:
    """A row of each, or of two rows that are nearly alike what they differ in."""
    apart = (
        {name: (value, other.get(name)) for name, value in row.items() if other.get(name) != value}
        for row in map(json.loads, lost)
        for other in map(json.loads, new)
    )
    if nearest := min(apart, key=len, default=None):
        return str(nearest)[:600]
    return " | ".join(next(iter(one), "–")[:300] for one in (lost, new))


def _counts(soak: Soak, days: int) -> dict[str, object]:
    """Counts that have to add up: objects, messages, nights, and what became of each patient."""

    def number(sql: str) -> int:
        return int(str(soak.node.query(f"SELECT ({sql}) AS n")[0]["n"]))

    objects = number("SELECT count(*) FROM fact_object")
    placed = sum(
        number(f"SELECT count(*) FROM {where}")
        for where in ("derived_instance", "derived_superseded", "derived_problem WHERE step = 'index'")
    )
    if objects != placed:
        soak.wrong.append(f"{objects} objects, {placed} of them placed")
    unread = number("SELECT count(*) FROM fact_frame WHERE frame_id NOT IN (SELECT frame_id FROM derived_message)")
    if unread:
        soak.wrong.append(f"{unread} messages without a word about them")
    nights = Counter(str(row["status"]) for row in soak.node.query("SELECT status FROM state_run WHERE kind='nightly'"))
    if nights["done"] < days or set(nights) != {"done"}:
        soak.wrong.append(f"nights: {dict(nights)} of {days}")
    reports = number("SELECT count(DISTINCT night) FROM reports WHERE kind = 'nightly'")
    if reports < days:
        soak.wrong.append(f"{reports} reports of {days} nights")
    soak.wrong += _patients(soak)
    found = Counter(str(row["status"]) for row in soak.node.query("SELECT status FROM links"))
    if not found["linked"]:
        soak.wrong.append(f"nobody is linked: {dict(found)}")
    removed = Counter(str(row["kind"]) for row in soak.node.query("SELECT kind FROM fact_removal"))
    if days > 3 * REMOVED_AFTER_DAYS and not {"study", "image", "message", "report"} <= removed.keys():
        soak.wrong.append(f"retention removed {dict(removed)} only")
    return {
        "removed": dict(removed),
        "objects": objects,
        "nights": dict(nights),
        "reports": reports,
        "links": dict(found),
    }


def _patients(soak: Soak) -> list[str]:
    """What became of each patient otherwise than it ought to."""
    review = """
        SELECT i.person FROM measurements AS m
        JOIN derived_identifier AS i ON (i.authority, i.patient_id) = (m.patient_authority, m.patient_id)
        WHERE m.in_effect = 1 AND m.status = 'review'"""
    rows = soak.node.query(
        f"SELECT i.patient_id, l.status, i.person IN ({review}) AS waits FROM derived_identifier AS i "
        f"LEFT JOIN derived_link AS l USING (person) WHERE i.authority = '{AUTHORITY}'"
    )
    wrong = []
    for part in (one.patient.part for one in soak.sent):
        own = [row for row in rows if row["patient_id"] == part.number]
        waits = any(row["waits"] for row in own)
        # Of some the score is drawn so that it waits for a person, without whom nothing is linked, nor paired.
        without = {"linked": "incomplete", "provisional": None}
        expected = without.get(part.status, part.status) if waits else part.status
        found = [row["status"] for row in own if row["status"]]
        if found != [one for one in [expected] if one and part.key not in soak.erased]:
            wrong.append(f"{part.key} ({part.story}) is {found}, expected {expected}, waits for a person: {waits}")
    return wrong


def _flat(soak: Soak) -> None:
    for what, sizes, room in (
        ("MiB", soak.memory, MEMORY_ROOM_MIB), ("descriptors", soak.descriptors, float(DESCRIPTORS_ROOM)),
    ):  # fmt: skip
        for role, series in sizes.items():
            third = max(1, len(series) // 3)
            if len(series) >= 6 and max(series[-third:]) - max(series[1 : 1 + third]) > room:
                soak.wrong.append(f"{role} grows: {series} {what}")


def configured(folder: Path, data: Path, history: str, seed: int) -> Node:
    """A node on that data folder, with the imported history of the demo."""
    node = Node(folder)
    text = node.config.read_text().replace(str(folder / "data"), str(data))
    rules = "".join(f"{what}_days = {REMOVED_AFTER_DAYS}\n" for what in ("images", "messages", "reports"))
    text += f"[nightly]\nat = 04:10:00\n[retention]\n{rules}[backup]\nfolder = '{folder / 'backups'}'\n"
    node.config.write_text(text)
    node = Node(folder, config=node.config)
    table = folder / "history.csv"
    table.write_text(history, encoding="utf-8")
    vbq_node("migrate", "--config", str(node.config), timeout_s=PATIENCE_S)
    vbq_node("import", str(table), "--config", str(node.config), timeout_s=PATIENCE_S)
    assert isinstance(node.settings, Settings)
    return node


def run(folder: Path, days: int, *, patients: int, seed: int, say: Callable[[str], object]) -> dict[str, object]:
    """Play so many days in a folder."""
    clock, disk = Clock(folder / "clock"), Disk(folder / "disk")
    clock.environment()
    clock.set(at(FIRST, 7))
    disk.mount(size_mib=600 + 40 * days * patients)
    node = configured(folder, disk.folder / "data", open_hospital(seed).history, seed)
    soak = Soak(node=node, clock=clock, disk=disk, seed=seed, patients=patients)
    began = time.monotonic()
    try:
        node.start(PATIENCE_S)
        for number in range(days):
            soak.day(number)
            say(f"day {number + 1} after {time.monotonic() - began:.0f} s, wrong: {soak.wrong or 'nothing'}\n")
        return judge(soak, days) | {"seconds": round(time.monotonic() - began)}
    finally:
        if node.running:
            node.kill()
        disk.unmount()


def main() -> int:
    """Print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--patients", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vbq-soak-", ignore_cleanup_errors=True) as folder:
        found = run(Path(folder), asked.days, patients=asked.patients, seed=asked.seed, say=sys.stderr.write)
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
