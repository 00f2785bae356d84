"""Every row of a person, out of every table: facts, records, state and what was derived; within one unit of work.

What is of others as well stays without the person: a frame with several patients, a fitted table, a list of images.
Reports and mails that name the person keep their subject and counts.
"""

import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.policy import SMTP
from secrets import token_hex
from typing import Any

from sqlite_utils import Database

from node.clock import to_text
from node.operate.frames import without_patient
from node.operate.person import Whole
from node.operate.words import seeking
from node.outgoing.mail import without_content
from node.people.imports import derive_again
from node.settings import Settings
from node.steps.identity import forget_unused_numbers, resolve_merges
from node.steps.interpret import forget_frame
from node.steps.stale import forget_empty, make_stale
from node.store.failures import forget_failures
from node.store.pending import touch_known
from node.store.problems import forget_problems
from node.store.removed import kept, without_persons

OF_OBJECTS = (
    ("fact_object_receipt", "object_id"),
    ("fact_correction", "object_id"),
    ("fact_correction", "corrected_id"),
    ("derived_instance", "object_id"),
    ("derived_superseded", "object_id"),
    ("derived_superseded", "replaced_by"),
    ("derived_rejection", "object_id"),
)
OF_SERIES = (
    "fact_series_decision", "record_measurement", "derived_measurement", "derived_measured_pixels",
    "derived_shared_pixels", "derived_series_names", "derived_undecided", "state_fetch", "fact_result_request",
    "state_first_measured",
)  # fmt: skip
OF_STUDIES = (
    "fact_study_query", "fact_study_withdrawal", "fact_study_decision", "derived_unsent_series", "derived_claim",
    "derived_undecided", "state_fetch",
)  # fmt: skip
OF_NUMBERS = (
    "fact_identity_decision", "fact_signs_decision", "fact_count_decision", "fact_hold", "derived_claim",
    "derived_doubt",
)  # fmt: skip
IN_RECORDS = (
    ("record_fit", "result"),
    ("record_threshold", "evidence"),
    ("record_report", "counts"),
)
"""Columns of JSON in which a study id may stand among much else."""
ERASED = "erased"
"""Stands in them for the study id of an erased person."""


@dataclass(kw_only=True)
class Gone:
    """How many of what went, and the SHA-256 of files and frames."""

    counts: dict[str, int] = field(default_factory=dict)
    hashes: list[str] = field(default_factory=list)
    result_files: list[str] = field(default_factory=list)
    nights: list[str] = field(default_factory=list)
    """Nights whose reports named the person."""

    def add(self, what: str, number: int) -> None:
        """Count some more."""
        self.counts[what] = self.counts.get(what, 0) + number


def erase_rows(db: Database, settings: Settings, whole: Whole, *, now: datetime) -> Gone:
    """Delete every row of a person; in a unit of work of :func:`node.store.unguarded.erasing`."""
    gone = Gone()
    _images(db, whole, gone)
    _messages(db, settings, whole, gone)
    if whole.imports:
        _imports(db, settings, whole, gone)
    for authority, patient_id in whole.numbers:
        for table in OF_NUMBERS:
            db.execute(f"DELETE FROM {table} WHERE authority = ? AND patient_id = ?", [authority, patient_id])
        db.execute(
            "DELETE FROM fact_identity_decision WHERE authority = ? AND other_patient_id = ?", [authority, patient_id]
        )
        touch_known(db, authority, patient_id)
    for kind in ("identity", "signs"):
        db.execute(
            f"DELETE FROM derived_{kind}_decision "
            f"WHERE decision_id NOT IN (SELECT decision_id FROM fact_{kind}_decision)"
        )
    forget_unused_numbers(db)
    resolve_merges(db)
    # Items are kept by a hash of what they are about, some of it a patient number: who was at which is told anew.
    db.execute("DELETE FROM state_worklist")
    _study_ids(db, settings, whole, gone, now=now)
    return gone


def _images(db: Database, whole: Whole, gone: Gone) -> None:
    ids = [object_id for object_id, _ in whole.objects]
    rows = {
        row
        for table in ("derived_instance", "derived_superseded")
        for one in ids
        for row in db.execute(
            f"SELECT study_instance_uid, series_instance_uid, sop_instance_uid FROM {table} WHERE object_id = ?", [one]
        ).fetchall()
    }
    for object_id, sha256 in whole.objects:
        for table, column in OF_OBJECTS:
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", [object_id])
        db.execute("DELETE FROM state_outgoing WHERE kind = 'forward' AND key = ?", [str(object_id)])
        db.execute("UPDATE derived_instance SET content_of = NULL WHERE content_of = ?", [object_id])
        db.execute("DELETE FROM state_archive WHERE sha256 = ?", [sha256])
        forget_problems(db, "index", "object", sha256)
        forget_failures(db, "index", "object", sha256)
        db.execute("DELETE FROM fact_removal WHERE kind = 'image' AND key = ?", [sha256])
        db.execute("DELETE FROM fact_object WHERE object_id = ?", [object_id])
    for study, series, sop in sorted(rows):
        db.execute("DELETE FROM derived_resent WHERE sop_instance_uid = ?", [sop])
        db.execute("DELETE FROM derived_rejection WHERE sop_instance_uid = ?", [sop])
        make_stale(db, study=study, series=series)
        forget_empty(db, study=study, series=series)
    _without_images(db, {sop for _, _, sop in rows})
    # A number that is used again would be taken for what was there before.
    db.execute(
        "UPDATE state_outgoing_peer SET enrolled_up_to = min(enrolled_up_to, (SELECT coalesce(max(object_id), 0) "
        "FROM fact_object)) WHERE kind = 'forward'"
    )
    db.execute(
        "UPDATE derived_receipts_read SET receipt_id = min(receipt_id, (SELECT coalesce(max(receipt_id), 0) "
        "FROM fact_object_receipt))"
    )
    for series in sorted({series for _, series, _ in rows}):
        if not _stands(db, "series_instance_uid", series):
            _series(db, series, gone)
    for study in sorted({study for study, _, _ in rows}):
        if not _stands(db, "study_instance_uid", study):
            _study(db, study)
            db.execute("DELETE FROM fact_removal WHERE kind = 'study' AND key = ?", [study])
    gone.add("images", len(ids))
    gone.hashes += [sha256 for _, sha256 in whole.objects]


def _stands(db: Database, column: str, uid: str) -> bool:
    """Whether images of others stand under the same UID."""
    return bool(db.execute(f"SELECT 1 FROM derived_instance WHERE {column} = ? LIMIT 1", [uid]).fetchone())


def _series(db: Database, series: str, gone: Gone) -> None:
    for table in ("fact_reading_check", "fact_reading_step", "fact_reading_pixels", "fact_reading_withdrawal"):
        db.execute(
            f"DELETE FROM {table} WHERE reading_id IN "
            "(SELECT reading_id FROM fact_reading WHERE series_instance_uid = ?)",
            [series],
        )
    gone.add("readings", db.execute("DELETE FROM fact_reading WHERE series_instance_uid = ?", [series]).rowcount)
    results = db.execute("SELECT result_id, sha256 FROM record_result WHERE subject = ?", [series]).fetchall()
    for result_id, sha256 in results:
        for table in ("state_result_commitment", "record_result_answer", "fact_result_request"):
            db.execute(f"DELETE FROM {table} WHERE result_id = ?", [result_id])
        # Of each sending, and of the question whether it is kept.
        db.execute(
            "DELETE FROM state_outgoing WHERE CAST(key AS INTEGER) = ? "
            "AND (kind = 'result_check' OR kind IN (SELECT queue FROM record_result))",
            [result_id],
        )
        gone.result_files.append(sha256)
    db.execute("DELETE FROM record_result WHERE subject = ?", [series])
    gone.add("results", len(results))
    for table in OF_SERIES:
        db.execute(f"DELETE FROM {table} WHERE series_instance_uid = ?", [series])
    for table in ("derived_problem", "state_failure"):
        db.execute(f"DELETE FROM {table} WHERE unit_kind = 'series' AND unit_key = ?", [series])


def _study(db: Database, study: str) -> None:
    for table in OF_STUDIES:
        db.execute(f"DELETE FROM {table} WHERE study_instance_uid = ?", [study])
    for name in ("study_query", "study_decision"):
        column = "query_id" if name == "study_query" else "decision_id"
        db.execute(f"DELETE FROM derived_{name} WHERE {column} NOT IN (SELECT {column} FROM fact_{name})")
    db.execute("DELETE FROM state_outgoing WHERE kind = 'study_query' AND key = ?", [study])
    for table in ("derived_problem", "state_failure"):
        db.execute(f"DELETE FROM {table} WHERE unit_kind = 'study' AND unit_key = ?", [study])


def _without_images(db: Database, uids: Collection[str]) -> None:
    """Lists of images in requests for Storage Commitment and the answers to them."""
    for table, column in (("fact_commitment_request", "instances"), ("record_commitment", "failed")):
        for request_id, text in db.execute(f"SELECT request_id, {column} FROM {table}").fetchall():
            named = json.loads(text)
            left = [one for one in named if one[1] not in uids]
            if len(left) < len(named):
                db.execute(f"UPDATE {table} SET {column} = ? WHERE request_id = ?", [json.dumps(left), request_id])


def _messages(db: Database, settings: Settings, whole: Whole, gone: Gone) -> None:
    for frame_id in whole.frames:
        sha256, raw = db.execute("SELECT sha256, raw FROM fact_frame WHERE frame_id = ?", [frame_id]).fetchone()
        forget_frame(db, frame_id, sha256)
        before = kept(db, "message", sha256)
        left: bytes | None = None
        named: str | None = None
        if whole.items:
            db.execute("DELETE FROM fact_removal WHERE kind = 'message' AND key = ?", [sha256])
        elif before is not None:
            left, named = _said_of_others(db, sha256, before, whole)
        else:
            left = without_patient(bytes(raw), settings, whole.numbers)
            named = None if left is None else hashlib.sha256(left).hexdigest()
        if left is None or named is None:
            db.execute("DELETE FROM fact_frame_receipt WHERE frame_id = ?", [frame_id])
            db.execute("DELETE FROM fact_frame WHERE frame_id = ?", [frame_id])
        else:
            _keep_of_others(db, frame_id, left, sha256=named)
        gone.hashes.append(sha256)
    gone.add("messages", len(whole.frames))


def _imports(db: Database, settings: Settings, whole: Whole, gone: Gone) -> None:
    """Imported tables as a whole; rows that no other table has leave what was fitted, too."""
    ids = "SELECT id FROM derived_import_row"
    before = {one for (one,) in db.execute(ids)}
    for import_id in whole.imports:
        (sha256,) = db.execute("SELECT sha256 FROM fact_import WHERE import_id = ?", [import_id]).fetchone()
        for table in ("fact_import_mapping", "fact_import"):
            db.execute(f"DELETE FROM {table} WHERE import_id = ?", [import_id])
        gone.hashes.append(sha256)
    gone.add("imported tables", len(whole.imports))
    derive_again(db, site=settings.site.name)
    left = before - {one for (one,) in db.execute(ids)}
    _without_rows(db, settings, left, gone)


def _said_of_others(db: Database, sha256: str, before: dict[str, Any], whole: Whole) -> tuple[bytes | None, str | None]:
    """The same of a frame whose text retention has removed: what had been read of it is all there is.

    The text of the others (none), and the name of what is left.
    """
    left = without_persons(before, whole.numbers)
    if left is None:
        db.execute("DELETE FROM fact_removal WHERE kind = 'message' AND key = ?", [sha256])
        return None, None
    said = json.dumps(left)
    named = hashlib.sha256(said.encode()).hexdigest()
    db.execute("UPDATE fact_removal SET key = ?, kept = ? WHERE kind = 'message' AND key = ?", [named, said, sha256])
    return b"", named


def _keep_of_others(db: Database, frame_id: int, left: bytes, *, sha256: str) -> None:
    """A frame of several patients as a frame of the others, under a new number, so that it is read anew."""
    (number,) = db.execute("SELECT max(frame_id) + 1 FROM fact_frame").fetchone()
    known = db.execute("SELECT frame_id FROM fact_frame WHERE sha256 = ?", [sha256]).fetchone()
    if known is None:
        db.execute("INSERT INTO fact_frame (frame_id, sha256, raw) VALUES (?, ?, ?)", [number, sha256, left])
    db.execute(
        "UPDATE fact_frame_receipt SET frame_id = ? WHERE frame_id = ?", [known[0] if known else number, frame_id]
    )
    db.execute("DELETE FROM fact_frame WHERE frame_id = ?", [frame_id])


def _study_ids(db: Database, settings: Settings, whole: Whole, gone: Gone, *, now: datetime) -> None:
    for one in whole.study_ids:
        gone.add("flags", db.execute("DELETE FROM record_flag WHERE episode = ?", [one]).rowcount)
        for table in ("derived_problem", "state_failure"):
            db.execute(f"DELETE FROM {table} WHERE unit_key = ?", [one])
        for table, column in IN_RECORDS:
            db.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", [one, ERASED])
    _without_rows(db, settings, whole.study_ids, gone)
    _reports(db, whole, gone, now=now)


def _without_rows(db: Database, settings: Settings, ids: Collection[str], gone: Gone) -> None:
    """Take rows of the cohort out of what was fitted, or their ids, as the site has decided; and out of exports."""
    if settings.retention.erased_from_fits == "erased":
        _fits(db, ids, gone)
    else:
        _fits_without_id(db, ids, gone)
    _exports(db, set(ids))


def _fits(db: Database, study_ids: Iterable[str], gone: Gone) -> None:
    """Take the person's row out of what was fitted; the numbers of the fit stay, and how many rows went is said."""
    ids = set(study_ids)
    for fit_id, text in db.execute("SELECT fit_id, snapshot FROM record_fit").fetchall():
        rows = list(csv.reader(io.StringIO(text, newline="")))
        left = [row for row in rows if not row or row[0] not in ids]
        if len(left) == len(rows):
            continue
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\n").writerows(left)
        db.execute(
            "UPDATE record_fit SET snapshot = ?, erased_rows = coalesce(erased_rows, 0) + ? WHERE fit_id = ?",
            [buffer.getvalue(), len(rows) - len(left), fit_id],
        )
        gone.add("rows of fits", len(rows) - len(left))


def _fits_without_id(db: Database, study_ids: Iterable[str], gone: Gone) -> None:
    """Leave the person's rows in what was fitted, under an id that leads to nobody: each fit can be computed again."""
    ids = {one: f"{ERASED}-{token_hex(8)}" for one in study_ids}
    for fit_id, text in db.execute("SELECT fit_id, snapshot FROM record_fit").fetchall():
        rows = list(csv.reader(io.StringIO(text, newline="")))
        left = [[ids.get(row[0], row[0]), *row[1:]] if row else row for row in rows]
        if left == rows:
            continue
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\n").writerows(left)
        db.execute("UPDATE record_fit SET snapshot = ? WHERE fit_id = ?", [buffer.getvalue(), fit_id])
        gone.add("rows of fits without their id", sum(one != other for one, other in zip(left, rows, strict=True)))


def _exports(db: Database, ids: Collection[str]) -> None:
    """Take the person out of what is known of the rows in given sums.

    A row without a name stays in the place of each, the same in all exports: the files that were given away hold the
    person's numbers still, and none given later may show by its difference to them what these were.
    """
    nameless: dict[str, str] = {}
    nobody = token_hex(16)
    for export_id, text in db.execute("SELECT export_id, members FROM record_pool_export").fetchall():
        members = json.loads(text)
        left = [
            {nameless.setdefault(row, token_hex(16)): nobody for row, who in one.items() if row in ids or who in ids}
            | {row: who for row, who in one.items() if row not in ids and who not in ids}
            for one in members
        ]
        if left != members:
            db.execute("UPDATE record_pool_export SET members = ? WHERE export_id = ?", [json.dumps(left), export_id])


def _reports(db: Database, whole: Whole, gone: Gone, *, now: datetime) -> None:
    pattern = seeking((*whole.study_ids, *whole.words))
    note = (
        f"This report named a person whose data were erased on {now:%Y-%m-%d}. What it said is gone; its subject and "
        "counts stay."
    )
    for report_id, night, text, html in db.execute("SELECT report_id, night, text, html FROM record_report").fetchall():
        mails = db.execute("SELECT mail_id, mime FROM record_mail WHERE report_id = ?", [report_id]).fetchall()
        said = "\n".join([text, html, *(_said(mime) for _, mime in mails)])
        if pattern is None or not pattern.search(said.encode()):
            continue
        db.execute(
            "UPDATE record_report SET text = ?, html = ? WHERE report_id = ?", [note, f"<p>{note}</p>", report_id]
        )
        for mail_id, mime in mails:
            db.execute("UPDATE record_mail SET mime = ? WHERE mail_id = ?", [without_content(mime, note), mail_id])
            db.execute(
                "DELETE FROM state_outgoing WHERE kind = 'mail' AND key = ? AND status <> 'done'", [str(mail_id)]
            )
        gone.add("reports", 1)
        gone.add("mails", len(mails))
        gone.nights.append(night)


def _said(mime: bytes) -> str:
    """All texts of a mail, its attachments too."""
    parts = message_from_bytes(mime, policy=SMTP).walk()
    contents = [one.get_payload(decode=True) for one in parts if not one.is_multipart()]
    return "\n".join(one.decode("utf-8", errors="replace") for one in contents if isinstance(one, bytes))


def tombstone(whole_hashes: list[str], gone: Gone, *, why: str, by: str, at: datetime) -> dict[str, object]:
    """The row that stays of a person; ``whole_hashes`` are keyed ones of the numbers."""
    return {
        "persons": json.dumps(whole_hashes),
        "hashes": json.dumps(sorted(gone.hashes)),
        "gone": json.dumps(gone.counts),
        "why": why,
        "erased_at": to_text(at),
        "erased_by": by,
    }
