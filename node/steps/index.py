"""The index step: what the stored objects are, and which series of a quiet study is the one to measure.

:func:`index_objects` reads the header of every object; :func:`catalogue_studies` judges the series of each study on
which nothing new has come for the set time. That time is counted from the database, so a restart loses nothing.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from itertools import combinations

from sqlite_utils import Database

from analytics.episodes.postoperative import is_postoperative
from analytics.reasons import Reason
from analytics.vbq.criterion import Criterion
from analytics.vbq.header import ImageHeader
from analytics.vbq.protocol import consensus, scanner_stratum, to_json_dict
from node.clock import from_text, to_text
from node.dicom.header import MAX_FRAMES, Header, header_from_json, header_to_json
from node.dicom.part10 import misnamed
from node.dicom.reader import read_header
from node.dicom.rejection import MAX_INSTANCES, Rejection
from node.errors import DicomReadError
from node.measure.automatic import StudySeries, doubts_of_order, in_order
from node.measure.study import (
    FIRST_RECEIVED,
    MOST_STUDIES,
    ReceivedImage,
    by_series,
    content_hash,
    images_of,
    inputs_hash,
    study_images,
)
from node.names import SignedName, compare, sign
from node.people.quarantine import CORRECTED, OWN_RESULT
from node.placeholders import known_birth_date
from node.settings import Settings
from node.steps.completeness import completeness
from node.steps.pending import UNINDEXED
from node.steps.rejections import STRENGTH, note_rejections, reasons_of
from node.steps.resent import contested_with, settle_resent
from node.steps.signs import names_to_list
from node.steps.stale import make_named_stale, make_stale, take_away, take_claims_away
from node.steps.unsent import note_unsent
from node.store.archive import Archive
from node.store.database import insert, writing
from node.store.failures import Unit, barrier, forget_failure, note_failure, tried
from node.store.pending import touch, touch_known
from node.store.problems import forget_problems, note_problem
from node.store.pseudonym import pseudonym_key
from node.store.public_id import public_id_of
from node.store.reasons import loaded, stored, stored_verdict
from node.store.removed import kept_header, put_back_measurements

ONE_DAY = timedelta(days=1)
MOST_NAMES = 50
"""Names of a study that are compared with each other."""
BATCH = 64
"""Headers read between two units of work: enough to be cheap, few enough that other writers never wait long."""

# Cheap, and so spares the search through all objects when there is nothing to find.
PENDING_OBJECTS = """
SELECT o.object_id, o.sha256, o.sop_class_uid, o.sop_instance_uid,
       (SELECT c.corrected_id FROM fact_correction AS c WHERE c.object_id = o.object_id
        ORDER BY c.correction_id DESC LIMIT 1)
FROM fact_object AS o
WHERE NOT EXISTS (SELECT 1 FROM derived_instance AS i WHERE i.object_id = o.object_id)
  AND NOT EXISTS (SELECT 1 FROM derived_superseded AS i WHERE i.object_id = o.object_id)
  AND NOT EXISTS (SELECT 1 FROM derived_problem AS p WHERE p.step = 'index'
                  AND p.unit_kind = 'object' AND p.unit_key = o.sha256)
ORDER BY o.object_id LIMIT ?
"""

NOT_ALONE = """
INSERT OR IGNORE INTO derived_resent
SELECT :uid WHERE EXISTS (SELECT 1 FROM derived_instance WHERE sop_instance_uid = :uid AND object_id <> :object)
               OR EXISTS (SELECT 1 FROM derived_superseded WHERE sop_instance_uid = :uid)
"""

# Goes from study to study through the index instead of over every image. What has come in the future has come before
# the clock, which was ahead, was set right.
QUIET_STUDIES = f"""
WITH RECURSIVE study (uid) AS (
    SELECT min(study_instance_uid) FROM derived_instance
    UNION ALL
    SELECT (SELECT min(study_instance_uid) FROM derived_instance WHERE study_instance_uid > uid)
    FROM study WHERE uid IS NOT NULL
)
SELECT uid FROM study
WHERE uid IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.study_instance_uid = uid AND s.stale = 0)
  AND NOT EXISTS (SELECT 1 FROM derived_problem AS p WHERE p.step = 'catalogue' AND p.unit_kind = 'study'
                  AND p.unit_key = uid)
  AND NOT EXISTS (SELECT 1 FROM state_failure AS f
                  WHERE f.step = 'catalogue' AND f.unit_kind = 'study' AND f.unit_key = uid AND f.final = 1)
  AND NOT EXISTS (SELECT 1 FROM derived_instance AS i JOIN derived_resent USING (sop_instance_uid)
                  WHERE i.study_instance_uid = uid)
  AND (SELECT max(coalesce(i.settled_at, {FIRST_RECEIVED}))
       FROM derived_instance AS i WHERE i.study_instance_uid = uid) NOT BETWEEN :quiet_since AND :now
"""


@dataclass(frozen=True, kw_only=True)
class _Patient:
    """Whose a study is, as its images say with one voice."""

    authority: str | None = None
    patient_id: str | None = None
    birth_date: date | None = None
    sex: str | None = None
    names: tuple[SignedName, ...] = ()
    contradictions: tuple[str, ...] = ()
    """What the images contradict each other in."""
    contested_with: tuple[str, ...] = ()
    """Studies in which the same images stand under another patient."""

    @property
    def withheld(self) -> bool:
        """The images name patients, but none can be taken for the one."""
        return bool(self.contradictions or self.contested_with)


# ---- objects ---------------------------------------------------------------------------------------------------
def index_objects(db: Database, archive: Archive, *, most: int | None = None) -> int:
    """Read the header of every object that has none yet, or of about ``most``; returns how many were dealt with."""
    done = 0
    while (
        (most is None or done < most)
        and db.execute(UNINDEXED).fetchone()[0]
        and (rows := db.execute(PENDING_OBJECTS, [BATCH]).fetchall())
    ):
        read = [
            (object_id, sha256, tried(partial(_judge, db, archive, object_id, sha256, *rest)))
            for object_id, sha256, *rest in rows
        ]
        named = {object_id: rest for object_id, _, *rest in rows}
        with writing(db):
            for object_id, sha256, header in read:
                with barrier(db, "index", Unit("object", sha256), instead=partial(_note_unreadable, db, sha256)):
                    _store(db, object_id, sha256, header.result())
                    if header.value is not None:
                        _note_other_names(db, sha256, header.value, *named[object_id])
        done += len(rows)
    return done


def _store(db: Database, object_id: int, sha256: str, header: Header | Reason | None) -> None:
    if header is None:
        note_problem(db, "index", "object", sha256, CORRECTED, [Reason("corrected")])
    elif isinstance(header, Header) and _is_own_result(db, header.sop_instance_uid):
        note_problem(db, "index", "object", sha256, OWN_RESULT, [Reason("own-result")])
    elif isinstance(header, Header):
        _insert_instance(db, object_id, header)
        _note_unfollowed(db, sha256, header.rejection)
    else:
        _note_unreadable(db, sha256, header)


def _is_own_result(db: Database, sop_instance_uid: str) -> bool:
    """Whether it is a result of this node that came back, by its record: no study changes by that."""
    found = db.execute("SELECT 1 FROM record_result WHERE identifier = ?", [sop_instance_uid]).fetchone()
    return found is not None


def _note_unreadable(db: Database, sha256: str, reason: Reason) -> None:
    note_problem(db, "index", "object", sha256, "unreadable", [reason])


def _note_unfollowed(db: Database, sha256: str, rejection: Rejection | None) -> None:
    """A rejection note that cannot be followed, or not in whole: nobody can tell what else it takes back."""
    if rejection is None or rejection.code not in STRENGTH:
        return
    if not rejection.instances:
        reason = Reason("rejection-names-no-image", {"title": rejection.code})
    elif len(rejection.instances) > MAX_INSTANCES:
        reason = Reason("rejection-names-too-many", {"title": rejection.code, "limit": MAX_INSTANCES})
    else:
        return
    note_problem(db, "receive", "object", sha256, reason.code, [reason])


def _note_other_names(
    db: Database,
    sha256: str,
    header: Header | Reason,
    sop_class_uid: str,
    sop_instance_uid: str,
    corrected_id: int | None,
) -> None:
    """The command that brought an object may name another one than its data set does; that goes by the latter."""
    if not isinstance(header, Header) or corrected_id is not None:
        return
    said = {
        "SOP Instance UID": (sop_instance_uid, header.sop_instance_uid),
        "SOP Class UID": (sop_class_uid, header.image.sop_class_uid),
    }
    other = tuple(
        Reason("named-otherwise", {"what": name, "by_sender": by_sender, "own": own})
        for name, (by_sender, own) in said.items()
        if own and own != by_sender
    )
    if other:
        note_problem(db, "receive", "object", sha256, "other-name", [Reason("other-name", {"names": other})])


def _judge(
    db: Database,
    archive: Archive,
    object_id: int,
    sha256: str,
    sop_class_uid: str,
    sop_instance_uid: str,
    corrected_id: int | None,
) -> Header | Reason | None:
    """The header, or why there is none; ``None`` where another object stands in its place.

    Whoever takes an object in as it came says with it that its data set names it, not its sender.
    """
    if corrected_id is not None and corrected_id != object_id:
        return None
    reason = misnamed(sop_class_uid, sop_instance_uid) if corrected_id is None else None
    return reason or _read(db, archive, sha256)


def _read(db: Database, archive: Archive, sha256: str) -> Header | Reason:
    """The header, of a removed image that which it had, or why there is none."""
    try:
        return read_header(archive.path(sha256))
    except FileNotFoundError:
        header = kept_header(db, sha256)
        return Reason("file-missing") if header is None else header_from_json(header)
    except DicomReadError as error:
        return error.reason


def _insert_instance(db: Database, object_id: int, header: Header) -> None:
    # A header that was kept has its names hashed already.
    signed = header.signed_names or sign(header.names, pseudonym_key(db))
    row = {
        "object_id": object_id,
        "sop_instance_uid": header.sop_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "modality": header.image.modality,
        "instance_number": header.instance_number,
        "headers": header_to_json(replace(header, signed_names=signed)),
    }
    insert(db, "derived_instance", [row])
    db.execute(NOT_ALONE, {"uid": header.sop_instance_uid, "object": object_id})
    make_stale(db, study=header.study_instance_uid, series=header.series_instance_uid)
    if header.rejection is not None:
        _insert_rejection(db, object_id, header.rejection)


def _insert_rejection(db: Database, object_id: int, rejection: Rejection) -> None:
    """Note what is taken back, and have the studies that it lies in judged again."""
    rows = [(object_id, uid, rejection.code) for uid in rejection.instances]
    db.conn.executemany("INSERT OR IGNORE INTO derived_rejection VALUES (?, ?, ?)", rows)
    make_named_stale(db, note=object_id)


# ---- studies ---------------------------------------------------------------------------------------------------
def catalogue_studies(db: Database, settings: Settings, *, now: datetime) -> int:
    """Judge the series of every study that has been quiet for ``dicom.quiet_s``; returns how many studies.

    Only the first receipt of an object counts: the same bytes sent again are no news.
    """
    settle_resent(db, Archive(settings.storage.folder), settings)
    quiet_since = to_text(now - timedelta(seconds=settings.dicom.quiet_s) + timedelta(microseconds=1))
    studies = [uid for (uid,) in db.execute(QUIET_STUDIES, {"quiet_since": quiet_since, "now": to_text(now)})]
    for uid in studies:
        with barrier(db, "catalogue", Unit("study", uid), instead=partial(_forget_series, db, uid)):
            _catalogue(db, settings, uid)
    return len(studies)


def _catalogue(db: Database, settings: Settings, uid: str) -> None:
    with writing(db):
        note_rejections(db, uid, settings.dicom)
    images = study_images(db, Archive(settings.storage.folder), uid)
    received_at = {image.content: image.received_at for image in images}
    members = images_of(images)
    failed: dict[str, Exception] = {}
    series = by_series((image for image in images if not image.withdrawn), left_out=failed)
    withdrawn = by_series(
        (image for image in images if image.header.series_instance_uid not in series), left_out=failed
    )
    if failed and not series:
        raise next(iter(failed.values()))
    patient = _patient(uid, series.values(), settings, contested_with=contested_with(db, uid))
    candidates = {one.uid: place for place, one in enumerate(in_order(series))}
    inputs, doubts = inputs_hash(series), doubts_of_order(series)
    with writing(db):
        _store_problems(db, uid, series.values(), patient, images, settings)
        _store_claims(db, settings, uid, series.values(), patient)
        for one in filter(_has_row, series.values()):
            stale = _stale(db, uid, one)
            take_away(db, one.uid)
            row = _row(one, patient, candidates, doubts, settings) | {
                "inputs_sha256": inputs if one.uid in candidates else None,
                "stale": stale,
            }
            newest = max(received_at[image.content] for image in one.images)
            taken_back = _taken_back(members[one.uid])
            insert(db, "derived_series", [row | taken_back | _completeness(db, one, last_received_at=newest)])
            if patient.names and len(one.studies) == 1:
                names = json.dumps(names_to_list(patient.names), separators=(",", ":"))
                insert(db, "derived_series_names", [{"series_instance_uid": one.uid, "names": names}])
        for one in filter(_has_row, withdrawn.values()):
            _store_withdrawn(db, settings, uid, one, members[one.uid])
        for series_uid, error in failed.items():
            take_away(db, series_uid)
            note_failure(db, "catalogue", Unit("series", series_uid), error)
        study = Unit("study", uid)
        forget_failure(db, "catalogue", study, *(Unit("series", one) for one in series))
        forget_failure(db, "measure", study, *(Unit("reading", str(one)) for one in _readings(db, series)))
        note_unsent(db, uid)
        _forget_measurements(db, [*series, *withdrawn], candidates)
        put_back_measurements(db, uid, inputs)
        if patient.authority is not None and patient.patient_id is not None:
            touch(db, patient.authority, patient.patient_id)


def _has_row(one: StudySeries) -> bool:
    """Whether its row is that of the study by which it is looked at; of many studies it is that of the first."""
    return len(one.studies) <= MOST_STUDIES


def _stale(db: Database, study_uid: str, one: StudySeries) -> int:
    """1 where the row is of another study that has yet to be judged: by a row that holds it would be for judged."""
    home = min(one.studies)
    if home == study_uid:
        return 0
    judged = db.execute(
        "SELECT EXISTS (SELECT 1 FROM derived_series WHERE study_instance_uid = :study AND stale = 0) "
        "OR EXISTS (SELECT 1 FROM derived_problem WHERE step = 'catalogue' AND unit_kind = 'study' "
        "AND unit_key = :study)",
        {"study": home},
    ).fetchone()[0]
    return int(not judged)


def _taken_back(members: Iterable[ReceivedImage], *, withdrawn: bool = False) -> dict[str, str | int]:
    return {"rejections": stored(reasons_of(members)), "withdrawn": int(withdrawn)}


def _store_withdrawn(
    db: Database, settings: Settings, study_uid: str, one: StudySeries, members: Sequence[ReceivedImage]
) -> None:
    """The row of a series of which every image is taken back: shown with the reason, measured and linked never."""
    stale = _stale(db, study_uid, one)
    take_away(db, one.uid)
    owner = _patient(study_uid, [one], settings)
    newest = max(image.received_at for image in members)
    row = _row(one, owner, {}, {}, settings) | {"inputs_sha256": None} | _taken_back(members, withdrawn=True)
    why = [Criterion(holds=False, reason=reason) for reason in loaded(str(row["rejections"]))]
    row["reasons"] = stored_verdict([*why, *one.verdict.ranked])
    row |= _completeness(db, one, last_received_at=newest) | {"fewer": "[]", "stale": stale}
    insert(db, "derived_series", [row])
    if owner.authority is not None and owner.patient_id is not None:
        touch(db, owner.authority, owner.patient_id)


def _store_claims(
    db: Database, settings: Settings, study_uid: str, series: Iterable[StudySeries], patient: _Patient
) -> None:
    """Have the patients know, whose number stands in MR images of the study that are linked to nobody."""
    take_claims_away(db, study_uid)
    for one in series:
        if not patient.withheld and len(one.studies) == 1:
            continue
        reason = Reason("mri-of-several-patients") if patient.withheld else Reason("mri-of-several-studies")
        headers = [image.header for image in one.images if image.header.image.modality == "MR"]
        numbers = dict.fromkeys((header.issuer, _number(header, settings)) for header in headers)
        owners = [(settings.identity.authority(issuer), number) for issuer, number in numbers if number is not None]
        for owner in owners:
            db.execute("INSERT OR IGNORE INTO derived_claim VALUES (?, ?, ?, ?)", [study_uid, *owner, stored([reason])])
    for authority, patient_id in db.execute(
        "SELECT authority, patient_id FROM derived_claim WHERE study_instance_uid = ?", [study_uid]
    ).fetchall():
        touch_known(db, authority, patient_id)


def _readings(db: Database, series: Iterable[str]) -> list[int]:
    sql = "SELECT reading_id FROM fact_reading WHERE series_instance_uid = ?"
    return [reading_id for uid in series for (reading_id,) in db.execute(sql, [uid]).fetchall()]


def _forget_series(db: Database, study_uid: str, _: Reason) -> None:
    """Nothing of an earlier judgement stands for a study that could not be judged with all that it has now."""
    for (uid,) in db.execute(
        "SELECT series_instance_uid FROM derived_series WHERE study_instance_uid = ?", [study_uid]
    ).fetchall():
        take_away(db, uid)


def _forget_measurements(db: Database, series: Iterable[str], candidates: Collection[str]) -> None:
    """Automatic ones of series that are none to measure any more; all where there is nothing left to measure."""
    for uid in series:
        if uid not in candidates:
            db.execute(
                "DELETE FROM derived_measurement WHERE series_instance_uid = ? AND source = 'auto' AND current >= ?",
                [uid, 1 if candidates else 0],
            )


def _patient(
    study_uid: str, series: Collection[StudySeries], settings: Settings, *, contested_with: Collection[str] = ()
) -> _Patient:
    """Whose the study is: what its MR images say; other objects only where there is no MR image."""
    headers = _deciding(study_uid, series)
    # An image without a number contradicts one that has one; what else is missing contradicts nothing.
    numbers = {_number(header, settings) for header in headers}
    issuers = {header.issuer for header in headers} - {None}
    births = {known_birth_date(header.birth_date, on=header.study_date) for header in headers} - {None}
    sexes = {header.sex for header in headers} - {None}
    names = list(dict.fromkeys(header.signed_names for header in headers if header.signed_names))
    said: Mapping[str, Collection[object]] = {
        "patient numbers": numbers, "issuers of them": issuers, "birth dates": births, "sexes": sexes,
    }  # fmt: skip
    contradictions = [name for name, values in said.items() if len(values) > 1]
    # Each with each: what cannot be compared with one (another script, a part only) contradicts a third.
    pairs = combinations(names[:MOST_NAMES], 2)
    contradictions += ["names"] if any(compare(one, other) == "different" for one, other in pairs) else []
    if contradictions or contested_with:
        return _Patient(contradictions=tuple(contradictions), contested_with=tuple(contested_with))
    number = consensus(numbers)
    return _Patient(
        authority=settings.identity.authority(consensus(issuers)) if number else None,
        patient_id=number,
        birth_date=consensus(births),
        sex=consensus(sexes),
        names=tuple(sorted({one for told in names for one in told}, key=repr)),
    )


def _deciding(study_uid: str, series: Iterable[StudySeries]) -> list[Header]:
    headers = [image.header for one in series for image in one.images if image.header.study_instance_uid == study_uid]
    return [header for header in headers if header.image.modality == "MR"] or headers


def _number(header: Header, settings: Settings) -> str | None:
    """The patient number of an image; one that stands for nobody is none."""
    return (
        None if header.patient_id is None or settings.identity.is_placeholder(header.patient_id) else header.patient_id
    )


def _store_problems(
    db: Database,
    study_uid: str,
    series: Iterable[StudySeries],
    patient: _Patient,
    images: Iterable[ReceivedImage],
    settings: Settings,
) -> None:
    forget_problems(db, "catalogue", "study", study_uid)
    found: list[Reason] = []
    if patient.contradictions:
        found.append(Reason("contradictory-patient", {"what": tuple(patient.contradictions), "study": study_uid}))
    if patient.contested_with:
        found.append(Reason("contested-images", {"studies": tuple(patient.contested_with), "study": study_uid}))
    for one in series:
        if len(one.studies) > 1:
            found.append(Reason("contradictory-series", {"series": one.uid, "study": study_uid}))
        frames = sum(image.header.frames_left_out for image in one.images)
        if frames and any(image.header.image.modality == "MR" for image in one.images):
            found.append(Reason("too-many-frames", {"series": one.uid, "frames": frames, "limit": MAX_FRAMES}))
    found += _dated_ahead(images, settings)
    for reason in found:
        note_problem(db, "catalogue", "study", study_uid, reason.code, [reason])


def _dated_ahead(images: Iterable[ReceivedImage], settings: Settings) -> list[Reason]:
    """That MR images say they were made on a day after that on which they came: the window goes by what they say."""
    ahead = [
        (image.header.study_date, came)
        for image in images
        if image.header.image.modality == "MR" and image.header.study_date is not None
        # A day between two time zones is no contradiction.
        if (came := from_text(image.received_at).astimezone(settings.site.zone).date()) + ONE_DAY
        < image.header.study_date
    ]
    if not ahead:
        return []
    said, came = min(ahead)
    return [Reason("study-after-receipt", {"date": str(said), "received": str(came)})]


def _row(
    one: StudySeries, patient: _Patient, candidates: Mapping[str, int], doubts: Mapping[str, Reason], settings: Settings
) -> dict[str, str | int | None]:
    owner = _Patient() if len(one.studies) > 1 else patient
    headers = [image.header for image in one.images]
    images = [image for header in headers for image in header.images]
    study_date = consensus(header.study_date for header in headers)
    began = _began(headers, settings)
    return {
        "series_instance_uid": one.uid,
        "public_id": public_id_of(one.uid),
        "study_instance_uid": min(one.studies),
        "patient_authority": owner.authority,
        "patient_id": owner.patient_id,
        "birth_date": owner.birth_date.isoformat() if owner.birth_date else None,
        "sex": owner.sex,
        "accession_number": consensus(header.accession_number for header in headers),
        "study_date": study_date.isoformat() if study_date else None,
        "began_at": to_text(began) if began else None,
        "postoperative": int(is_postoperative(text for image in set(images) for text in _descriptions(image))),
        "modality": consensus(image.modality for image in images),
        "description": consensus(image.series_description for image in images),
        "scanner_stratum": scanner_stratum(images),
        "instances": _instances(one),
        "instances_sha256": content_hash(one.images),
        "role": _role(one, candidates),
        "chosen": int(candidates.get(one.uid) == 0),
        "reasons": stored_verdict(_reasons(one, candidates, doubts)),
        "protocol": json.dumps(to_json_dict(one.verdict.protocol), ensure_ascii=False),
        "protocol_warnings": stored(one.verdict.protocol.warnings),
        "withheld": int(
            (patient.withheld or len(one.studies) > 1) and any(_number(header, settings) for header in headers)
        ),
    }


def _began(headers: Iterable[Header], settings: Settings) -> datetime | None:
    """When the first image was made; where versions of one image contradict each other, by the one that says later:
    what may be from after an operation is not from before it."""
    by_image: dict[str, datetime] = {}
    for header in headers:
        if header.began_at is not None:
            moment, uid = _aware(header.began_at, settings), header.sop_instance_uid
            by_image[uid] = max(moment, by_image.get(uid, moment))
    return min(by_image.values(), default=None)


def _aware(moment: datetime, settings: Settings) -> datetime:
    return moment.replace(tzinfo=settings.site.zone) if moment.tzinfo is None else moment


def _descriptions(image: ImageHeader) -> tuple[str | None, ...]:
    return image.study_description, image.series_description, image.protocol_name


def _role(one: StudySeries, candidates: Collection[str]) -> str:
    if one.uid not in candidates:
        return "other"
    return "t1_sagittal" if one.verdict.sagittal_t1 else "undecided"


def _completeness(db: Database, one: StudySeries, *, last_received_at: str) -> dict[str, str | int | None]:
    # Only a sagittal stack is known to be even; the blocks of an axial one lie at the discs.
    sagittal = one.verdict.sagittal_t1 and len(one.studies) == 1
    missing_slices = one.verdict.missing_slices if sagittal else 0
    return {
        "last_received_at": last_received_at,
        "missing_slices": missing_slices,
        **completeness(
            db,
            study_uid=min(one.studies),
            series_uid=one.uid,
            instances=_instances(one),
            missing_slices=missing_slices,
            last_received_at=last_received_at,
        ),
    }


def _instances(one: StudySeries) -> int:
    return len({image.header.sop_instance_uid for image in one.images})


def _reasons(one: StudySeries, candidates: Mapping[str, int], doubts: Mapping[str, Reason]) -> list[Criterion | Reason]:
    reasons: list[Criterion | Reason] = list(one.verdict.ranked)
    if one.uid in doubts:
        reasons.insert(0, Criterion(holds=None, reason=doubts[one.uid]))
    if len(one.studies) > 1:
        reasons.insert(0, Criterion(holds=False, reason=Reason("several-studies")))
    if one.uid not in candidates:
        return reasons
    if candidates[one.uid] > 0:
        reasons.insert(0, Reason("not-chosen", {"series": next(iter(candidates))}))
    elif one.verdict.image_decides:
        reasons.insert(0, Reason("chosen-by-image"))
    elif len(candidates) > 1:
        reasons.insert(0, Reason("chosen-of-several", {"candidates": len(candidates)}))
    else:
        reasons.insert(0, Reason("chosen-alone"))
    return reasons
