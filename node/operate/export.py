"""``vbq-node export``: the cohort and what it was made of as files for a researcher, under study ids of their own.

Ids are keyed hashes under the key of the node and the name of the receiver: the same for each export to the same
receiver, and of no use to compare with those of another. All dates of a patient are shifted by the same number of days,
so that intervals, and with them the windows of the linkage, stay. Only columns that are named here leave; words of
reasons do not, as they quote dates and numbers, their codes do. Measurements that are of no known patient stay here.

References
----------
45 CFR 164.514(b)(2)(i): ages over 89 are one group, dates of a patient go (Safe Harbor); shifted dates are not enough
for it by themselves, which is why the receiver still needs an agreement.
"""

import csv
import fcntl
import hashlib
import hmac
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from analytics.reasons import in_use
from node import __version__
from node.analysis.cells import guarded
from node.clock import from_text, to_text
from node.conf import conf_path
from node.errors import InputError
from node.operate.deidentify import Cover
from node.operate.export_images import COLUMNS, FOLDER, MEANINGS, Given, Images, write_images
from node.store.archive import Archive
from node.store.pseudonym import pseudonym, pseudonym_key

Format = Literal["csv", "parquet", "jsonl"]
LONGEST_SHIFT_DAYS = 365
CODEBOOK = ("table", "column", "type", "meaning", "changed")
OLDEST = 90
"""Ages over 89 are given as this."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table of the export: a query whose columns are given away, by what is done with them."""

    view: str
    sql: str
    ids: tuple[str, ...]
    """Replaced by ids of the export; ``patient`` is whose the row is, and not given away where ``id`` stands for it."""
    dates: tuple[str, ...] = ()


PARTS = (
    Part(
        view="cohort",
        sql="""
        SELECT c.id, coalesce(l.patient, c.id) AS patient, c.vbq, c.vbq_sd, c.age, c.sex_male, c.smoking, c.diabetes,
               c.hypertension, c.calcium, c.diagnosis, c.bmi, c.neutrophils, c.lymphocytes, c.platelets, c.monocytes,
               c.nlr, c.plr, c.lmr, c.sii, c.siri, c.site, c.scanner_stratum, c.surgery_date, c.mri_date, c.cbc_date,
               c.eligible, c.exclusion_reason_codes, c.tier, c.t_score, c.bmd_g_per_cm2, c.hu, c.event
        FROM cohort AS c LEFT JOIN links AS l ON l.id = c.id""",
        ids=("id", "patient"),
        dates=("surgery_date", "mri_date", "cbc_date"),
    ),
    Part(
        view="blood_counts",
        sql="""
        SELECT patient, taken_at, date_only, status, basis, neutrophils_10e9_per_l, lymphocytes_10e9_per_l,
               platelets_10e9_per_l, leukocytes_10e9_per_l, monocytes_10e9_per_l, nlr, plr, lmr, sii, siri, reason_codes
        FROM blood_counts""",
        ids=("patient",),
        dates=("taken_at",),
    ),
    Part(
        view="measurements",
        sql="""
        SELECT p.pseudonym AS patient, m.series_instance_uid AS series,
               iif(m.source = 'auto', 'auto', 'reading') AS source,
               m.status, m.reason_codes, m.vbq_mean, m.vbq_median, m.vbq_sd, m.levels_confidence, m.l1_signal,
               m.l2_signal, m.l3_signal, m.l4_signal, m.csf_signal, m.algorithm_name, m.algorithm_version, m.study_date,
               m.scanner_stratum, m.current, m.in_effect
        FROM measurements AS m
        JOIN derived_identifier AS i ON i.authority = m.patient_authority AND i.patient_id = m.patient_id
        JOIN derived_person AS p USING (person)""",
        ids=("patient", "series"),
        dates=("study_date",),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: rows by table; and the images that stayed here, by why."""

    rows: Mapping[str, int]
    kept_here: Mapping[str, int]


def export(
    db: Database,
    folder: Path,
    *,
    receiver: str,
    form: Format,
    shift_dates: bool,
    now: datetime,
    archive: Archive | None = None,
    images: Images | None = None,
) -> Exported:
    """Write the tables, a codebook and what was exported to a new folder.

    Parameters
    ----------
    archive, images
        Where the images lie, and which of them go along, de-identified; none without either.

    Raises
    ------
    InputError
        The folder is there, or pyarrow is not installed and Parquet is asked for.
    OSError
        It cannot be written.
    """
    disguise = _Disguise(pseudonym_key(db), receiver, shift_dates=shift_dates)
    # Under its name when all of it is there: half an export looks like one.
    begun = folder.with_name(f".{folder.name}.new")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent):
        if folder.exists():
            raise InputError(f"{folder} is there already; name a folder that is not")
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir()
        try:
            done = _write(db, begun, form, disguise, receiver=receiver, now=now, archive=archive, images=images)
            begun.rename(folder)
        finally:
            shutil.rmtree(begun, ignore_errors=True)
    return done


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Wait for another export to the same place: both would write to one folder, under the ids of two receivers."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # of a file system that has no locks on folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(
    db: Database,
    folder: Path,
    form: Format,
    disguise: "_Disguise",
    *,
    receiver: str,
    now: datetime,
    archive: Archive | None,
    images: Images | None,
) -> Exported:
    write = _writer(form)
    hashes, counts = {}, {}
    for part in PARTS:
        rows = [disguise.row(part, row) for row in db.query(part.sql)]
        rows.sort(key=lambda row: [str(value) for value in row.values()])
        path = folder / f"{part.view}.{form}"
        write(path, columns(db, part), rows)
        counts[part.view] = len(rows)
        hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    given = Given(rows=(), kept_here={})
    if archive is not None and images is not None:
        given = write_images(db, archive, folder, images, cover=disguise.cover, series_id=disguise.series)
        counts[FOLDER] = len(given.rows)
        write(folder / f"{FOLDER}.{form}", COLUMNS, given.rows)
        for path in (folder / f"{FOLDER}.{form}", *(folder / str(row["file"]) for row in given.rows)):
            hashes[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    _write_csv(folder / "codebook.csv", CODEBOOK, list(_codebook(db, disguise, images=images)))
    _write_csv(folder / "codes.csv", ("code", "words"), list(_codes()))
    about = {
        "made_at": to_text(now),
        "version": __version__,
        "receiver": receiver,
        "dates": "shifted by a number of days for each patient" if disguise.shift_dates else "as they are",
        "ages": f"over {OLDEST - 1} are {OLDEST}",
        "images": "none" if images is None else f"DICOM, de-identified by the basic profile of PS3.15: {images}",
        "images_kept_here": given.kept_here,
        "rows": counts,
        "sha256": hashes,
    }
    (folder / "export.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Exported(rows=counts, kept_here=given.kept_here)


def columns(db: Database, part: Part) -> dict[str, str]:
    """Name and SQL type of each column that leaves."""
    declared = {row[1]: row[2] for row in db.execute(f"PRAGMA table_info({part.view})")}
    found = [column[0] for column in db.execute(f"SELECT * FROM ({part.sql}) LIMIT 0").description]
    kinds = {name: "TEXT" if name in part.ids or name in part.dates else declared.get(name, "") for name in found}
    return {
        name: kind if kind in ("TEXT", "INTEGER", "REAL") else _kind(db, part, name) for name, kind in kinds.items()
    }


def _kind(db: Database, part: Part, name: str) -> str:
    """Type of a column that is computed, by its values."""
    kinds = {kind for (kind,) in db.execute(f"SELECT DISTINCT typeof({name}) FROM ({part.sql})")} - {"null"}
    if kinds == {"integer"}:
        return "INTEGER"
    return "REAL" if kinds and kinds <= {"integer", "real"} else "TEXT"


class _Disguise:
    """Ids and dates as the receiver gets them."""

    def __init__(self, key: bytes, receiver: str, *, shift_dates: bool) -> None:
        self._key = hmac.new(key, f"export|{receiver}".encode(), hashlib.sha256).digest()
        self.shift_dates = shift_dates

    def row(self, part: Part, row: dict[str, Any]) -> dict[str, Any]:
        days = self._days(str(row["patient"]))
        found = dict(row)
        for name in part.dates:
            found[name] = self._moved(row[name], days)
        for name in part.ids:
            found[name] = pseudonym(self._key, "X", f"{'patient' if name == 'patient' else part.view}|{row[name]}")
        if "age" in row and row["age"] is not None:
            found["age"] = min(row["age"], OLDEST)
        return found

    def cover(self, patient: str) -> Cover:
        """What stands for a patient (P…) in images."""
        return Cover(
            patient=pseudonym(self._key, "X", f"patient|{patient}"),
            uid=lambda uid: hmac.new(self._key, f"uid|{uid}".encode(), hashlib.sha256).digest(),
            days_back=self._days(patient),
            shifted=self.shift_dates,
        )

    def series(self, uid: str) -> str:
        """What stands for a SeriesInstanceUID in the table of measurements."""
        return pseudonym(self._key, "X", f"measurements|{uid}")

    def _days(self, patient: str) -> timedelta:
        """At least a day and at most a year back, the same for all of a patient."""
        if not self.shift_dates:
            return timedelta()
        digest = hmac.new(self._key, f"days|{patient}".encode(), hashlib.sha256).digest()
        return timedelta(days=1 + int.from_bytes(digest[:8], "big") % LONGEST_SHIFT_DAYS)

    @staticmethod
    def _moved(value: str | None, days: timedelta) -> str | None:
        if not value:
            return None
        if len(value) == len("2026-03-01"):
            return (date.fromisoformat(value) - days).isoformat()
        return to_text(from_text(value) - days)


def _codebook(db: Database, disguise: _Disguise, *, images: Images | None) -> Iterator[dict[str, Any]]:
    tables = json.loads(conf_path("datasette.json").read_text(encoding="utf-8"))["databases"]["node"]["tables"]
    made = {"patient": "Id of the patient, of this export", "series": "Id of the series, of this export"}
    for part in PARTS:
        for name, kind in columns(db, part).items():
            changed = "id of this export" if name in part.ids else ""
            if name in part.dates and disguise.shift_dates:
                changed = "shifted, by the same days for all of a patient"
            elif name == "age":
                changed = f"over {OLDEST - 1} is {OLDEST}"
            meaning = made.get(name) or tables[part.view]["columns"][name]
            yield {"table": part.view, "column": name, "type": kind, "meaning": meaning, "changed": changed}
    for name, kind in COLUMNS.items() if images else ():
        changed = "id of this export" if name in ("patient", "series", "sop_instance_uid") else ""
        yield {"table": FOLDER, "column": name, "type": kind, "meaning": MEANINGS[name], "changed": changed}


def _codes() -> Iterator[dict[str, str]]:
    for code, words in sorted(in_use().words.items()):
        yield {"code": code, "words": words}


def _writer(form: Format) -> Callable[[Path, Mapping[str, str], Sequence[Mapping[str, Any]]], None]:
    if form == "csv":
        return lambda path, kinds, rows: _write_csv(path, tuple(kinds), rows)
    if form == "jsonl":
        return _write_jsonl
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'vbq-node[export]'") from error
    return partial(_write_parquet, pa, pq)


def _write_csv(path: Path, names: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([guarded(row[name]) for name in names] for row in rows)


def _write_jsonl(path: Path, _kinds: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_parquet(pa: Any, pq: Any, path: Path, kinds: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    types = {"TEXT": pa.string(), "INTEGER": pa.int64(), "REAL": pa.float64()}
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path)
