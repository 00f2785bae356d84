"""The index step: what the stored objects are, and which series of a quiet study is the one to measure.

:func:`index_objects` reads the header of every object; :func:`catalogue_studies` judges the series of each study on
which nothing new has come for the set time. That time is counted from the database, so a restart loses nothing.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

from sqlite_utils import Database

from analytics.vbq.protocol import consensus, scanner_stratum
from analytics.vbq.series import Verdict, choose, judge
from node.archive import PUBLIC_ID_DIGITS, Archive
from node.clock import to_text
from node.dicom.reader import Header, header_from_json, header_to_json, read_header
from node.errors import DicomReadError
from node.settings import Settings
from node.steps.completeness import completeness
from node.steps.identity import touch
from node.store.database import insert, writing

BATCH = 64
"""Headers read between two units of work: enough to be cheap, few enough that other writers never wait long."""

# Cheap, and so spares the search through all objects when there is nothing to find.
UNINDEXED = """
SELECT (SELECT count(*) FROM fact_object) - (SELECT count(*) FROM derived_instance)
     - (SELECT count(*) FROM derived_problem WHERE step = 'index')
"""

PENDING_OBJECTS = f"""
SELECT o.object_id, o.sha256 FROM fact_object AS o
WHERE NOT EXISTS (SELECT 1 FROM derived_instance AS i WHERE i.object_id = o.object_id)
  AND NOT EXISTS (SELECT 1 FROM derived_problem AS p WHERE p.step = 'index'
                  AND p.source = 'object ' || substr(o.sha256, 1, {PUBLIC_ID_DIGITS}))
ORDER BY o.object_id LIMIT ?
"""

# Goes from study to study through the index instead of over every image.
QUIET_STUDIES = """
WITH RECURSIVE study (uid) AS (
    SELECT min(study_instance_uid) FROM derived_instance
    UNION ALL
    SELECT (SELECT min(study_instance_uid) FROM derived_instance WHERE study_instance_uid > uid)
    FROM study WHERE uid IS NOT NULL
)
SELECT uid FROM study
WHERE uid IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.study_instance_uid = uid AND s.stale = 0)
  AND NOT EXISTS (SELECT 1 FROM derived_problem AS p WHERE p.step = 'catalogue' AND p.source = 'study ' || uid)
  AND (SELECT max((SELECT min(r.received_at) FROM fact_object_receipt AS r WHERE r.object_id = i.object_id))
       FROM derived_instance AS i WHERE i.study_instance_uid = uid) <= ?
"""

# Every image of every series that has an image in the study, of whatever study that image says it is.
STUDY_IMAGES = """
SELECT o.sha256, i.headers,
       (SELECT min(r.received_at) FROM fact_object_receipt AS r WHERE r.object_id = o.object_id)
FROM derived_instance AS i JOIN fact_object AS o USING (object_id)
WHERE i.series_instance_uid IN (SELECT series_instance_uid FROM derived_instance WHERE study_instance_uid = ?)
ORDER BY o.sha256
"""


@dataclass(frozen=True, kw_only=True)
class _Image:
    sha256: str
    header: Header
    received_at: str


@dataclass(frozen=True, kw_only=True)
class _Patient:
    """Whose a study is, as its images say with one voice."""

    authority: str | None = None
    patient_id: str | None = None
    birth_date: date | None = None
    sex: str | None = None
    contradictions: Sequence[str] = ()
    """In what the images contradict each other."""


@dataclass(frozen=True, kw_only=True)
class _Series:
    uid: str
    study_uid: str
    images: Sequence[_Image]
    verdict: Verdict
    of_several_studies: bool


# ---- objects ---------------------------------------------------------------------------------------------------
def index_objects(db: Database, archive: Archive) -> int:
    """Read the header of every object that has none yet; returns how many objects were dealt with."""
    done = 0
    while db.execute(UNINDEXED).fetchone()[0] and (rows := db.execute(PENDING_OBJECTS, [BATCH]).fetchall()):
        read = [(object_id, sha256, _read(archive, sha256)) for object_id, sha256 in rows]
        with writing(db):
            for object_id, sha256, header in read:
                if isinstance(header, Header):
                    _insert_instance(db, object_id, header)
                else:
                    _insert_problem(db, "index", f"object {sha256[:PUBLIC_ID_DIGITS]}", "unreadable", header)
        done += len(rows)
    return done


def _read(archive: Archive, sha256: str) -> Header | str:
    """The header, or why there is none."""
    try:
        return read_header(archive.path(sha256))
    except FileNotFoundError:
        return "the file is missing from the archive"
    except DicomReadError as error:
        return str(error)


def _insert_instance(db: Database, object_id: int, header: Header) -> None:
    row = {
        "object_id": object_id,
        "sop_instance_uid": header.sop_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "modality": header.image.modality,
        "instance_number": header.instance_number,
        "headers": header_to_json(header),
    }
    insert(db, "derived_instance", [row])
    _make_stale(db, header)


def _make_stale(db: Database, header: Header) -> None:
    """Have the study (and that of the series, should the image say it is of another one) judged again when quiet.

    Until then what was derived of it holds: one late image must not unlink an operation in the meantime.
    """
    study, series = header.study_instance_uid, header.series_instance_uid
    studies = {study} | {
        uid
        for (uid,) in db.execute(
            "SELECT study_instance_uid FROM derived_series WHERE series_instance_uid = ?", [series]
        ).fetchall()
    }
    for uid in studies:
        db.execute("UPDATE derived_series SET stale = 1 WHERE study_instance_uid = ?", [uid])
        db.execute("DELETE FROM derived_problem WHERE step = 'catalogue' AND source = ?", [f"study {uid}"])


def _insert_problem(db: Database, step: str, source: str, code: str, detail: str) -> None:
    db.execute(
        "INSERT OR IGNORE INTO derived_problem (step, source, code, detail) VALUES (?, ?, ?, ?)",
        [step, source, code, detail],
    )


# ---- studies ---------------------------------------------------------------------------------------------------
def catalogue_studies(db: Database, settings: Settings, *, now: datetime) -> int:
    """Judge the series of every study that has been quiet for ``dicom.quiet_s``; returns how many studies.

    Only the first receipt of an object counts: the same bytes sent again are no news.
    """
    quiet_since = to_text(now - timedelta(seconds=settings.dicom.quiet_s))
    studies = [uid for (uid,) in db.execute(QUIET_STUDIES, [quiet_since])]
    for uid in studies:
        series = _judge_study(db, uid)
        patient = _patient(uid, series, settings)
        chosen = choose({one.uid: one.verdict for one in series if _is_t1(one)})
        with writing(db):
            _store_problems(db, uid, series, patient)
            for one in series:
                _replaced(db, one.uid)
                row = _row(one, patient, series, chosen)
                insert(db, "derived_series", [row | _completeness(db, one)])
            if patient.authority is not None and patient.patient_id is not None:
                touch(db, patient.authority, patient.patient_id)
    return len(studies)


def _replaced(db: Database, series_uid: str) -> None:
    """Take the row of an earlier judgement away; whoever the series belonged to by it is derived anew.

    There may be one although the study is new: a series whose images name two studies is judged with each of them.
    """
    for authority, patient_id in db.execute(
        "DELETE FROM derived_series WHERE series_instance_uid = ? RETURNING patient_authority, patient_id", [series_uid]
    ).fetchall():
        if authority is not None:
            touch(db, authority, patient_id)


def _judge_study(db: Database, study_uid: str) -> list[_Series]:
    by_series: dict[str, list[_Image]] = defaultdict(list)
    for sha256, headers, received_at in db.execute(STUDY_IMAGES, [study_uid]):
        header = header_from_json(headers)
        by_series[header.series_instance_uid].append(_Image(sha256=sha256, header=header, received_at=received_at))
    found = []
    for uid, images in sorted(by_series.items()):
        studies = {image.header.study_instance_uid for image in images}
        found.append(
            _Series(
                uid=uid,
                study_uid=min(studies),
                images=images,
                verdict=judge([image for stored in images for image in stored.header.images]),
                of_several_studies=len(studies) > 1,
            )
        )
    return found


def _is_t1(series: _Series) -> bool:
    return series.verdict.sagittal_t1 and not series.of_several_studies


def _patient(study_uid: str, series: Sequence[_Series], settings: Settings) -> _Patient:
    """Whose the study is: what its MR images say; other objects only where there is no MR image."""
    headers = [image.header for one in series for image in one.images if image.header.study_instance_uid == study_uid]
    headers = [header for header in headers if header.image.modality == "MR"] or headers
    # An image without a number contradicts one that has one; what else is missing contradicts nothing.
    numbers = {header.patient_id for header in headers}
    issuers = {header.issuer for header in headers} - {None}
    births = {header.birth_date for header in headers} - {None}
    sexes = {header.sex for header in headers} - {None}
    said: Mapping[str, Collection[object]] = {
        "patient numbers": numbers, "issuers of them": issuers, "birth dates": births, "sexes": sexes,
    }  # fmt: skip
    if contradictions := [name for name, values in said.items() if len(values) > 1]:
        return _Patient(contradictions=contradictions)
    number = consensus(numbers)
    return _Patient(
        authority=settings.identity.authority(consensus(issuers)) if number else None,
        patient_id=number,
        birth_date=consensus(births),
        sex=consensus(sexes),
    )


def _store_problems(db: Database, study_uid: str, series: Sequence[_Series], patient: _Patient) -> None:
    source = f"study {study_uid}"
    db.execute("DELETE FROM derived_problem WHERE step = 'catalogue' AND source = ?", [source])
    if patient.contradictions:
        _insert_problem(
            db, "catalogue", source, "contradictory-patient",
            f"its images carry different {', '.join(patient.contradictions)}; kept, but linked to nobody. "
            "Correct it in the PACS",
        )  # fmt: skip
    for one in series:
        if one.of_several_studies:
            _insert_problem(
                db, "catalogue", source, "contradictory-series",
                f"images of series {one.uid} name different studies; it is set aside. Correct it in the PACS",
            )  # fmt: skip


def _row(one: _Series, patient: _Patient, series: Iterable[_Series], chosen: str | None) -> dict[str, str | int | None]:
    owner = _Patient() if one.of_several_studies else patient
    headers = [image.header for image in one.images]
    images = [image for header in headers for image in header.images]
    study_date = consensus(header.study_date for header in headers)
    return {
        "series_instance_uid": one.uid,
        "study_instance_uid": one.study_uid,
        "patient_authority": owner.authority,
        "patient_id": owner.patient_id,
        "birth_date": owner.birth_date.isoformat() if owner.birth_date else None,
        "sex": owner.sex,
        "study_date": study_date.isoformat() if study_date else None,
        "modality": consensus(image.modality for image in images),
        "description": consensus(image.series_description for image in images),
        "scanner_stratum": scanner_stratum(images),
        "instances": _instances(one),
        "instances_sha256": _content_hash(one.images),
        "role": "t1_sagittal" if _is_t1(one) else "other",
        "chosen": int(one.uid == chosen),
        "reasons": json.dumps(_reasons(one, series, chosen), ensure_ascii=False),
        "protocol": json.dumps(asdict(one.verdict.protocol), ensure_ascii=False),
    }


def _completeness(db: Database, one: _Series) -> dict[str, str | int | None]:
    # Only a sagittal stack is known to be even; the blocks of an axial one lie at the discs.
    missing_slices = one.verdict.missing_slices if _is_t1(one) else 0
    last_received_at = max(image.received_at for image in one.images)
    return {
        "last_received_at": last_received_at,
        "missing_slices": missing_slices,
        **completeness(
            db,
            study_uid=one.study_uid,
            series_uid=one.uid,
            instances=_instances(one),
            missing_slices=missing_slices,
            last_received_at=last_received_at,
        ),
    }


def _instances(one: _Series) -> int:
    return len({image.header.sop_instance_uid for image in one.images})


def _content_hash(images: Iterable[_Image]) -> str:
    """Changes with every image that comes, goes or differs, and with nothing else."""
    return hashlib.sha256("\n".join(sorted(image.sha256 for image in images)).encode("ascii")).hexdigest()


def _reasons(one: _Series, series: Iterable[_Series], chosen: str | None) -> list[str]:
    reasons = list(one.verdict.reasons)
    if one.of_several_studies:
        reasons.insert(0, "against: its images name different studies")
    candidates = sum(_is_t1(other) for other in series)
    if one.uid == chosen and candidates > 1:
        reasons.insert(0, f"chosen: the best of {candidates} sagittal T1 series of the study")
    elif one.uid == chosen:
        reasons.insert(0, "chosen: the only sagittal T1 series of the study")
    elif _is_t1(one):
        reasons.insert(0, f"not chosen: series {chosen} of the study is better suited")
    return reasons
