"""The barrier: whatever one unit of work raises costs that unit, all others arrive, and it is tried again."""

import errno
import hashlib
import importlib
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from sqlite_utils import Database

from node.dicom.part10 import file_header
from node.dicom.reader import read_header, read_slice
from node.errors import DicomReadError
from node.measure.files import find, measure_all
from node.nightly.check import check
from node.operate.rebuild import rebuild
from node.operate.status import status
from node.people.imports import import_cohort
from node.people.quarantine import quarantined
from node.people.readings import add_reading
from node.settings import Settings
from node.steps.index import index_objects
from node.steps.pending import pending
from node.steps.worker import run_pending
from node.store.archive import Archive
from node.store.database import insert, open_database, writing
from node.store.failures import ask_again
from node.store.public_id import public_id
from node.store.reasons import loaded
from tests.node.dicom_samples import NOON, encode, mr_image, receive, write_file
from tests.node.known_circles import KnownCircles
from tests.node.test_cohort_import import HEADER, A, B
from tests.node.world import CIRCLES, painted

LATER = NOON + timedelta(hours=1)
BAD, GOOD = "0002", ("0001", "0003")
STUDY = "1.2.826.0.1.3680043.8.498.7"
Raise = Callable[..., bool]


def series_of(number: str) -> str:
    return f"{STUDY}.{int(number)}.1"


def images(number: str) -> list[Dataset]:
    """The T1 of a patient; one pixel tells it from the others."""
    values = {"PatientID": number, "IssuerOfPatientID": "H", "PatientBirthDate": "19560229"}
    uids = {"StudyInstanceUID": f"{STUDY}.{int(number)}", "SeriesInstanceUID": series_of(number)}
    found = painted(**values, **uids)
    for image in found:
        pixels = bytearray(image.PixelData)
        pixels[:2] = struct.pack("<H", 1000 * int(number))
        image.PixelData = bytes(pixels)
    return found


def messages(number: str) -> list[bytes]:
    """A planned operation and two blood counts."""
    pid = f"PID|1||{number}^^^H^MR||||19560229|F"

    def hl7(kind: str, name: str, *segments: str) -> bytes:
        head = f"MSH|^~\\&|LAB|H|NODE|V|20260303090000||{kind}|{name}{number}|P|2.5"
        return "\r".join([head, *segments, ""]).encode()

    def cbc(name: str, day: str, neutrophils: float) -> bytes:
        values = {"NEUT#": neutrophils, "LYM#": 1.4, "PLT": 210}
        lines = [f"OBX|1|NM|{code}||{value}|10*9/L|||||F" for code, value in values.items()]
        return hl7("ORU^R01", name, pid, f"OBR|1||{name}{number}|CBC|||{day}0830", *lines)

    booking = f"SCH|B{number}|F{number}"
    return [
        hl7("SIU^S12", "S", booking, pid, "AIS|1|A|22633^Fusion^CPT|20260320080000"),
        cbc("X", "20260310", 2.8),
        cbc("Y", "20260312", 4.2),
    ]


class Node:
    """Three patients who are each complete, read by a person, and an imported table of two rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.settings = Settings.model_validate({"storage": {"folder": self.folder}})
        self.archive = Archive(self.folder)
        self.db: Database = open_database(self.folder, create=True, pseudonym_key="00" * 32)
        for number in ("0001", BAD, "0003"):
            receive(self.folder, *images(number))
            frames = [{"sha256": hashlib.sha256(raw).hexdigest(), "raw": raw} for raw in messages(number)]
            with writing(self.db):
                insert(self.db, "fact_frame", frames)
        table = folder / "cohort.csv"
        table.write_text("\n".join([HEADER, A, B, ""]), encoding="utf-8")
        import_cohort(self.db, table, site="Testville", now=NOON)
        with writing(self.db):
            self.db.execute("DELETE FROM derived_import_row")

    @classmethod
    def reopened(cls, other: "Node") -> "Node":
        """The same node in another process."""
        again = cls.__new__(cls)
        again.folder, again.settings, again.archive = other.folder, other.settings, other.archive
        again.db = open_database(other.folder)
        return again

    def run(self) -> None:
        for _ in range(20):
            if not run_pending(self.db, self.archive, self.settings, at=LATER):
                return
        raise AssertionError("it never ends")

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.db.execute(sql).fetchall()

    def complete(self) -> dict[str, tuple[Any, ...]]:
        """The complete patients, by number."""
        found = self.rows(
            "SELECT person, status, series_instance_uid, vbq, specimen, nlr FROM derived_link WHERE vbq IS NOT NULL "
            "AND nlr IS NOT NULL AND status = 'linked'"
        )
        return {person.partition("|")[2]: rest for person, *rest in found}

    def failed(self) -> list[tuple[str, str]]:
        return [(step, source) for step, source in self.rows("SELECT step, source FROM problems ORDER BY 1, 2")]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr("node.steps.worker.measure_stack", KnownCircles(CIRCLES))
    one = Node(tmp_path)
    yield one
    one.db.close()


def break_unit(patched: pytest.MonkeyPatch, target: str, wrong: Raise, error: Exception) -> None:
    """Make a function of the software raise where its arguments are those of the bad unit."""
    module, name = target.rsplit(".", 1)
    real = getattr(importlib.import_module(module), name)

    def broken(*given: Any, **named: Any) -> Any:
        if wrong(*given, **named):
            raise error
        return real(*given, **named)

    patched.setattr(target, broken)


def of_bad_pixels(stack: Any, **_: Any) -> bool:
    return bool(stack[0].signal[0, 0] == 2000)


def named_bad(*given: Any, **named: Any) -> bool:
    """Whether an argument names the bad patient, study or series."""
    return any(BAD in str(one) or f"{STUDY}.2" in str(one) for one in (*given, *named.values()))


UNITS = {
    "object": ("node.steps.index._insert_instance", lambda db, _, header: header.patient_id == BAD, 6),
    "series": ("node.measure.study.series_of", named_bad, 1),
    "study": ("node.steps.index._patient", named_bad, 1),
    "study to measure": ("node.measure.task.versions", named_bad, 1),
    "series to measure": ("node.steps.worker.measure_stack", of_bad_pixels, 1),
    "storing a measurement": ("node.steps.measure_automatic._replace", named_bad, 1),
    "message": ("node.hl7.interpret._read", lambda header, *_: header.control_id == f"S{BAD}", 1),
    "frame": ("node.hl7.interpret.read_frame", lambda raw, *_: f"S{BAD}".encode() in raw, 1),
    "storing a message": ("node.steps.interpret._store_extracts", lambda db, frame, *_: frame == 4, 1),
    "person": ("node.steps.link.read_person", lambda db, settings, person: BAD in person, 1),
    "demographics": ("node.steps.link.demographics", lambda person: BAD in person.key, 1),
    "operation": ("node.steps.link.match", lambda operation, *_, **__: BAD in operation.booking, 1),
}


ERRORS = (Exception("x"), OSError("x"), MemoryError(), AssertionError("x"))


@pytest.mark.parametrize("unit", UNITS)
def test_what_a_unit_raises_costs_that_unit_and_it_is_tried_again(node: Node, unit: str) -> None:
    target, wrong, units = UNITS[unit]
    error = ERRORS[list(UNITS).index(unit) % len(ERRORS)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("node.steps.worker.measure_stack", KnownCircles(CIRCLES))
        break_unit(patched, target, wrong, error)
        node.run()
        assert sorted(node.complete()) == list(GOOD)
        assert len(node.rows("SELECT id FROM derived_import_row")) == 2
        failed = node.rows("SELECT unit_kind, unit_key, reasons FROM state_failure")
        assert len(failed) == units
        shown = [
            source for (source,) in node.rows("SELECT source FROM problems WHERE code IN ('failed', 'unreadable')")
        ]
        for kind, key, reasons in failed:
            assert any(one.startswith(f"{kind} {public_id(key) if len(key) == 64 else key}") for one in shown)
            ((code, fault),) = [(one.code, str(one.values["fault"])) for one in loaded(reasons)]
            assert code == "unit-failed"
            assert type(error).__name__ in fault
            assert "'x'" not in fault
        assert not any(number for name, number in pending(node.db).items() if name != "studies arriving")
        counted = status(node.db, node.settings, now=LATER)["counts"]
        assert isinstance(counted, dict)
        assert counted["units of work failed"] == units
        # Not over and over: the same version leaves it alone.
        before = node.db.conn.total_changes
        node.run()
        assert node.db.conn.total_changes == before
    assert ask_again(node.db) == units
    node.run()
    assert sorted(node.complete()) == sorted([BAD, *GOOD])
    assert node.rows("SELECT step FROM state_failure") == []
    assert node.rows("SELECT source FROM problems WHERE code IN ('failed', 'unreadable')") == []


@pytest.mark.parametrize("unit", UNITS)
def test_another_version_of_the_software_tries_it_again(node: Node, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, wrong, _ = UNITS[unit]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("node.steps.worker.measure_stack", KnownCircles(CIRCLES))
        break_unit(patched, target, wrong, Exception("x"))
        node.run()
    node.run()
    assert sorted(node.complete()) == list(GOOD)
    monkeypatch.setattr("node.store.failures.__version__", "0.2.0")
    node.run()
    assert sorted(node.complete()) == sorted([BAD, *GOOD])
    assert node.rows("SELECT step FROM state_failure") == []


def test_a_failure_leaves_nothing_of_before_in_effect(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late image makes the study another; the score of the old one must not stand for it."""
    node.run()
    assert sorted(node.complete()) == sorted([BAD, *GOOD])
    late = images(BAD)[0]
    late.SOPInstanceUID, late.ImagePositionPatient = "1.2.3.4", [4.8 * 7, -10, 10]
    receive(node.folder, late)
    break_unit(monkeypatch, "node.steps.index._patient", named_bad, Exception("x"))
    node.run()
    assert sorted(node.complete()) == list(GOOD)
    assert node.rows("SELECT source, code FROM problems WHERE step = 'catalogue'") == [(f"study {STUDY}.2", "failed")]


def test_a_reading_that_fails_is_rejected_and_not_the_automatic_score_in_its_place(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.run()
    for number in (BAD, *GOOD):
        text = json.dumps({"slice": 3, **CIRCLES})
        add_reading(node.db, node.archive, series_uid=series_of(number), reader="A", rois_text=text, now=LATER)
    break_unit(monkeypatch, "node.steps.measure.find_slice", named_bad, Exception("x"))
    node.run()
    sql = "SELECT series_instance_uid, status FROM measurements WHERE in_effect = 1 ORDER BY 1"
    states = [(series_of(number), "rejected" if number == BAD else "measured") for number in ("0001", BAD, "0003")]
    assert node.rows(sql) == states
    assert sorted(node.complete()) == list(GOOD)


def test_a_specimen_that_fails_leaves_the_others_of_the_person(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(results: Any) -> bool:
        return any(f"Y{BAD}" in one.specimen for one in results)

    break_unit(monkeypatch, "node.steps.person.combine", wrong, Exception("x"))
    node.run()
    # NLR of the counts of 12 March, 4.2 / 1.4, and of the one of 10 March, 2.8 / 1.4.
    assert {number: round(rest[4], 9) for number, rest in node.complete().items()} == {"0001": 3, BAD: 2, "0003": 3}
    ((kind, key, part),) = node.rows("SELECT unit_kind, unit_key, unit_part FROM state_failure")
    assert (kind, part) == ("patient", f"order:Y{BAD}@2026-03-12T08:30:00+00:00")
    assert BAD not in key
    assert ("link", f"patient {key}, specimen {part}") in node.failed()


def test_a_line_of_a_table_that_fails_leaves_the_other_lines(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patched:
        break_unit(patched, "node.people.imports.check_row", lambda row: row["id"] == "A1", Exception("x"))
        node.run()
        assert node.rows("SELECT id FROM derived_import_row") == [("B2",)]
        assert node.rows("SELECT source, code FROM problems WHERE step = 'import'") == [("import 1 line 2", "failed")]
        assert sorted(node.complete()) == sorted([BAD, *GOOD])
    monkeypatch.setattr("node.store.failures.__version__", "0.2.0")
    node.run()
    assert node.rows("SELECT id FROM derived_import_row ORDER BY 1") == [("A1",), ("B2",)]
    assert node.rows("SELECT source FROM problems WHERE step = 'import'") == []


def test_merges_that_fail_leave_every_number_where_it_was_and_the_messages_are_read(node: Node) -> None:
    """A40: the count of 0001 came under 0009. Nothing of it is in effect until it can be, and all else is."""
    line = "MSH|^~\\&|ADM|H|NODE|V|20260313090000||ADT^A40|M1|P|2.5\rPID|1||0001^^^H^MR\rMRG|0009^^^H^MR\r"
    raw = messages("0009")[2].replace(b"4.2", b"7.0").replace(b"20260312", b"20260313")
    frames = [line.encode(), raw]
    with writing(node.db):
        insert(node.db, "fact_frame", [{"sha256": hashlib.sha256(one).hexdigest(), "raw": one} for one in frames])
    with pytest.MonkeyPatch.context() as patched:
        break_unit(patched, "node.steps.identity._statements", lambda *_: True, Exception("x"))
        node.run()
        assert {number: rest[4] for number, rest in node.complete().items()} == pytest.approx(
            {"0001": 3, BAD: 3, "0003": 3}
        )
        assert ("identity", "number merges") in node.failed()
        assert pending(node.db)["messages to interpret"] == 0
    ask_again(node.db)
    node.run()
    assert node.complete()["0001"][4] == pytest.approx(5)  # 7.0 / 1.4
    assert node.rows("SELECT step FROM state_failure") == []


def test_a_step_that_fails_as_a_whole_does_not_keep_the_others_from_their_work(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        break_unit(patched, "node.steps.worker.index_objects", lambda *_: True, Exception("x"))
        node.run()
        assert len(node.rows("SELECT booking FROM derived_operation")) == 3
        assert ("objects", "all") in node.failed()
    node.run()
    assert sorted(node.complete()) == sorted([BAD, *GOOD])
    assert ("objects", "all") not in node.failed()


def test_a_full_disk_is_no_fault_of_a_unit(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    break_unit(monkeypatch, "node.steps.index.read_header", lambda _: True, full)
    with pytest.raises(OSError, match="No space left"):
        index_objects(node.db, node.archive)
    assert node.rows("SELECT step FROM state_failure") == []


def test_after_a_rebuild_everything_is_tried_again(node: Node) -> None:
    with pytest.MonkeyPatch.context() as patched:
        break_unit(patched, "node.steps.link.read_person", lambda db, settings, person: BAD in person, Exception("x"))
        node.run()
    rebuild(node.db, node.archive, node.settings)
    assert sorted(node.complete()) == sorted([BAD, *GOOD])
    assert node.rows("SELECT step FROM state_failure") == []


# ---- content that pydicom stumbles over --------------------------------------------------------------------------
def cut_off_sequence() -> bytes:
    """An MR object whose sequence of undefined length ends after its first item."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    start = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    head = Dataset()
    head.SOPClassUID, head.SOPInstanceUID, head.Modality = MRImageStorage, "1.2.3", "MR"
    return encode(head) + start + item


def odd_length(keyword_tag: int) -> bytes:
    """An MR object of which an integer (US) has three bytes."""
    content = encode(mr_image(PatientID="0009", StudyInstanceUID=f"{STUDY}.9", SeriesInstanceUID=f"{STUDY}.9.1"))
    at = content.index(struct.pack("<HH", 0x28, keyword_tag) + b"US")
    return content[: at + 6] + struct.pack("<H", 3) + b"\x10\0\0" + content[at + 10 :]


def test_a_sequence_that_is_cut_off_is_a_read_error_in_quarantine_and_the_others_arrive(node: Node) -> None:
    (sha256,) = receive(node.folder, cut_off_sequence())
    with pytest.raises(DicomReadError, match=r"cannot be read as DICOM \(cut off, OSError\)"):
        read_header(node.archive.path(sha256))
    node.run()
    assert [row["id"] for row in quarantined(node.db)] == [sha256[:12]]
    assert sorted(node.complete()) == sorted([BAD, *GOOD])


@pytest.mark.parametrize("element", [0x10, 0x100], ids=["Rows", "BitsAllocated"])
def test_an_integer_of_three_bytes_costs_its_image(node: Node, element: int) -> None:
    (sha256,) = receive(node.folder, odd_length(element))
    read_header(node.archive.path(sha256))
    with pytest.raises(DicomReadError):
        read_slice(node.archive.path(sha256))
    node.run()
    assert sorted(node.complete()) == sorted([BAD, *GOOD])


def test_the_measure_command_measures_the_others(tmp_path: Path) -> None:
    for number, image in enumerate(images("0001")):
        write_file(tmp_path / f"{number}.dcm", image)
    header = file_header(
        sop_class_uid=MRImageStorage, sop_instance_uid="1.2.3", transfer_syntax_uid=ExplicitVRLittleEndian
    )
    (tmp_path / "bad.dcm").write_bytes(header + cut_off_sequence())
    (tmp_path / "odd.dcm").write_bytes(header + odd_length(0x100))
    found = find([tmp_path])
    assert found.unread == {tmp_path / "bad.dcm": "cannot be read as DICOM (cut off, OSError)"}
    results = {series.uid: result.status for series, result in measure_all(found, KnownCircles(CIRCLES))}
    assert results == {series_of("0001"): "measured", f"{STUDY}.9.1": "rejected"}


# ---- the other roles -------------------------------------------------------------------------------------------------
def test_a_night_that_fails_keeps_no_mail_and_no_report_back(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("node.nightly.check.run_night", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("node.nightly.check.due", lambda *_: date(2026, 3, 2))
    monkeypatch.setattr("node.nightly.check.publish_report", lambda *_, **__: done.append("report"))
    monkeypatch.setattr("node.nightly.check.deliver", lambda *_, **__: done.append("mails"))
    started_at = datetime(2026, 1, 1, tzinfo=UTC)
    node.run()
    check(node.settings, started_at)
    assert done == ["report", "mails"]
    assert ("nightly", "night") in node.failed()
    monkeypatch.setattr("node.nightly.check.run_night", lambda *_, **__: None)
    check(node.settings, started_at)
    assert ("nightly", "night") not in node.failed()
