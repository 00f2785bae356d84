"""Who is to be erased, and all that is of that person: numbers, study ids, images, messages, words."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from dataclasses import dataclass

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from sqlite_utils import Database

from node.dicom.twice import UpToPixels, first_of
from node.errors import InputError
from node.hl7.context import PatientNumber
from node.operate.frames import names_of, names_patient, numbers_of
from node.operate.words import name_forms, seeking, telling
from node.settings import Settings
from node.store.archive import Archive
from node.store.pending import person_key
from node.store.pseudonym import pseudonym, pseudonym_key
from node.store.public_id import public_id_sql
from node.store.removed import names_one_of, removed_messages

NOT_INDEXED = """
SELECT o.object_id, o.sha256 FROM fact_object AS o
WHERE NOT EXISTS (SELECT 1 FROM derived_instance AS i WHERE i.object_id = o.object_id)
  AND NOT EXISTS (SELECT 1 FROM derived_superseded AS s WHERE s.object_id = o.object_id)
ORDER BY o.object_id
"""

MESSAGE, SERIES, OBJECT, TABLE = "message ", "series ", "object ", "imported table "
"""How something alone is named that is not of the person by its number, before its id."""

IDENTIFYING: list[BaseTag | int] = [Tag(keyword) for keyword in ("PatientID", "IssuerOfPatientID", "PatientName")]


@dataclass(frozen=True, kw_only=True)
class Whole:
    """All that is of one person."""

    numbers: tuple[PatientNumber, ...]
    study_ids: tuple[str, ...]
    """Of the person (P…) and of every episode (E…)."""
    objects: tuple[tuple[int, str], ...]
    """Number and SHA-256 of each object."""
    frames: tuple[int, ...]
    words: tuple[str, ...]
    """What a search must not find afterwards: numbers, and names as they were sent."""
    owners: tuple[PatientNumber, ...]
    """Whose it is: a legal hold on one of them forbids that it goes."""
    imports: tuple[int, ...] = ()
    items: tuple[str, ...] = ()
    """What was named in the place of a person, and goes as a whole, whoever else is in it."""


def find(db: Database, archive: Archive, settings: Settings, patient: str) -> Whole:
    """The person of a patient number (``AUTHORITY|NUMBER``, or a number of the default authority) or study id (P…).

    Or a message, series, object or imported table alone, by what it is called.

    Raises
    ------
    InputError
        Nothing is known of it.
    """
    if patient.startswith((MESSAGE, SERIES, OBJECT, TABLE)):
        return _item(db, settings, patient)
    numbers = _numbers(db, settings, patient)
    without_text = {frame_id for frame_id, found in removed_messages(db).items() if names_one_of(found, numbers)}
    frames = tuple(
        frame_id
        for frame_id, raw in db.execute("SELECT frame_id, raw FROM fact_frame ORDER BY frame_id")
        if frame_id in without_text or names_patient(bytes(raw), settings, numbers)
    )
    objects = _objects(db, archive, settings, numbers)
    if not (frames or objects or _is_known(db, numbers)):
        elsewhere = db.execute("SELECT authority FROM derived_identifier WHERE patient_id = ? ORDER BY 1", [patient])
        meant = " or ".join(f"'{person_key(str(authority), patient)}'" for (authority,) in elsewhere.fetchall())
        raise InputError(
            f"nothing is known of this patient; did you mean {meant}?"
            if meant
            else "nothing is known of this patient; write AUTHORITY|NUMBER where it is not the default one"
        )
    words = _words(db, archive, settings, numbers, objects, frames)
    objects |= _without_header(db, archive, numbers, words, objects)
    return Whole(
        numbers=numbers,
        study_ids=_study_ids(db, numbers),
        objects=tuple(sorted(objects.items())),
        frames=frames,
        words=words,
        owners=numbers,
    )


def _item(db: Database, settings: Settings, named: str) -> Whole:
    kind, _, key = named.rpartition(" ")
    frames: list[int] = []
    imports: list[int] = []
    objects: dict[int, str] = {}
    owners: list[PatientNumber] = []
    if kind == MESSAGE.strip():
        rows = db.execute(f"SELECT frame_id, raw FROM fact_frame WHERE {public_id_sql('sha256')} = ?", [key]).fetchall()
        frames = [frame_id for frame_id, _ in rows]
        of_it = f"SELECT DISTINCT authority, patient_id FROM derived_extract WHERE frame_id IN ({_marks(frames)})"
        owners = [*db.execute(of_it, frames).fetchall(), *(one for _, raw in rows for one in numbers_of(raw, settings))]
    elif kind == TABLE.strip():
        rows = db.execute("SELECT import_id FROM fact_import WHERE CAST(import_id AS TEXT) = ?", [key]).fetchall()
        imports = [import_id for (import_id,) in rows]
    elif kind == SERIES.strip():
        for table in ("derived_instance", "derived_superseded"):
            objects |= dict(
                db.execute(
                    f"SELECT t.object_id, o.sha256 FROM {table} AS t JOIN fact_object AS o USING (object_id) "
                    "WHERE t.series_instance_uid = ?",
                    [key],
                ).fetchall()
            )
    else:
        with_id = f"SELECT object_id, sha256 FROM fact_object WHERE {public_id_sql('sha256')} = ?"
        objects = dict(db.execute(with_id, [key]).fetchall())
    if objects:
        _corrections(db, objects)
        of_it = (
            "SELECT DISTINCT s.patient_authority, s.patient_id FROM derived_series AS s "
            f"JOIN derived_instance AS i USING (series_instance_uid) WHERE i.object_id IN ({_marks(objects)})"
        )
        owners = list(db.execute(of_it, [*objects]).fetchall())
    if not (frames or objects or imports):
        raise InputError(f"no {named} is known")
    return Whole(
        numbers=(), study_ids=(), objects=tuple(sorted(objects.items())), frames=tuple(frames), words=(),
        owners=tuple((authority, number) for authority, number in owners if number is not None),
        imports=tuple(imports), items=(named,),
    )  # fmt: skip


def _marks(values: Sized) -> str:
    return ", ".join("?" * len(values))


def items(db: Database) -> Iterator[str]:
    """Every message, object, series and imported table, as an erasure is told of it."""
    for kind, sql in (
        (MESSAGE, f"SELECT {public_id_sql('sha256')} FROM fact_frame"),
        (OBJECT, f"SELECT {public_id_sql('sha256')} FROM fact_object"),
        (SERIES, "SELECT series_instance_uid FROM derived_series"),
        (TABLE, "SELECT import_id FROM fact_import"),
    ):
        yield from (f"{kind}{key}" for (key,) in db.execute(sql).fetchall())


def _numbers(db: Database, settings: Settings, patient: str) -> tuple[PatientNumber, ...]:
    """Every number of the person, that which was given first."""
    by_id = db.execute("SELECT person FROM derived_person WHERE pseudonym = ?", [patient]).fetchone()
    authority, _, number = patient.rpartition("|")
    given = (settings.identity.authority(authority), number)
    person = (
        by_id
        or db.execute(
            "SELECT person FROM derived_identifier WHERE authority = ? AND patient_id = ?", list(given)
        ).fetchone()
    )
    if person is None:
        return (given,)
    rows = db.execute("SELECT authority, patient_id FROM derived_identifier WHERE person = ? ORDER BY 1, 2", person)
    return tuple((authority, number) for authority, number in rows)


def _is_known(db: Database, numbers: Iterable[PatientNumber]) -> bool:
    return any(
        db.execute("SELECT 1 FROM derived_identifier WHERE authority = ? AND patient_id = ?", list(one)).fetchone()
        for one in numbers
    )


def _objects(db: Database, archive: Archive, settings: Settings, numbers: tuple[PatientNumber, ...]) -> dict[int, str]:
    """Objects whose header has one of the numbers, those without any in a series of the person, and corrections."""
    found: dict[int, str] = {}
    of_person = {
        series
        for number in numbers
        for (series,) in db.execute(
            "SELECT series_instance_uid FROM derived_series WHERE patient_authority = ? AND patient_id = ?",
            list(number),
        )
    }
    for table in ("derived_instance", "derived_superseded"):
        for object_id, sha256, series, patient_id, issuer in db.execute(
            f"SELECT t.object_id, o.sha256, t.series_instance_uid, t.headers ->> '$.patient_id', "
            f"t.headers ->> '$.issuer' FROM {table} AS t JOIN fact_object AS o USING (object_id)"
        ):
            if patient_id is None:
                mine = series in of_person
            else:
                mine = (settings.identity.authority(issuer), patient_id) in numbers
            if mine:
                found[object_id] = sha256
    # What could not be read as an image may still say whose it is.
    for object_id, sha256 in not_indexed(db):
        if any(_names_one_of(said, settings, numbers) for said in _said(archive, sha256)):
            found[object_id] = sha256
    _corrections(db, found)
    return found


def _corrections(db: Database, found: dict[int, str]) -> None:
    """Add what was corrected by one of these objects, or corrects it."""
    for object_id, corrected_id in db.execute("SELECT object_id, corrected_id FROM fact_correction").fetchall():
        if object_id in found or corrected_id in found:
            for one in (object_id, corrected_id):
                (found[one],) = db.execute("SELECT sha256 FROM fact_object WHERE object_id = ?", [one]).fetchone()


def _without_header(
    db: Database, archive: Archive, numbers: Iterable[PatientNumber], words: Iterable[str], objects: Mapping[int, str]
) -> dict[int, str]:
    """Objects whose header cannot be read, and in whose bytes a number of the person and a name stand."""
    digits = {number for _, number in numbers}
    both = seeking(digits), seeking(telling(set(words) - digits))
    found = {}
    for object_id, sha256 in not_indexed(db):
        if object_id in objects or any("PatientID" in said for said in _said(archive, sha256)):
            continue
        with suppress(FileNotFoundError):
            content = archive.path(sha256).read_bytes()
            if all(pattern is not None and pattern.search(content) for pattern in both):
                found[object_id] = sha256
    return found


def not_indexed(db: Database) -> list[tuple[int, str]]:
    """Number and SHA-256 of the objects that are not, or not yet, images of a series."""
    return [(int(object_id), str(sha256)) for object_id, sha256 in db.execute(NOT_INDEXED).fetchall()]


def _said(archive: Archive, sha256: str) -> list[dict[str, str]]:
    """Number, authority and name in an object, as far as it can be read: by the last elements, and by the first."""
    try:
        content = archive.path(sha256).read_bytes()
        noted = UpToPixels()
        head = read_partial(io.BytesIO(content), stop_when=noted, force=True, specific_tags=IDENTIFYING)
        found = [_texts(head)]
        repeated = noted.repeated.keys() & set(IDENTIFYING)
        for tag, element in first_of(lambda: io.BytesIO(content), repeated, force=True).items():
            head[tag] = element
        return found if not repeated else [*found, _texts(head)]
    except (OSError, InvalidDicomError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError):
        return []


def _names_one_of(said: Mapping[str, str], settings: Settings, numbers: Iterable[PatientNumber]) -> bool:
    return (settings.identity.authority(said.get("IssuerOfPatientID")), said.get("PatientID", "")) in numbers


def _texts(head: Dataset) -> dict[str, str]:
    return {keyword_for_tag(tag): str(head[tag].value).strip() for tag in IDENTIFYING if tag in head}


def _study_ids(db: Database, numbers: tuple[PatientNumber, ...]) -> tuple[str, ...]:
    """As they are now, and as they were before numbers were joined or bookings moved."""
    key = pseudonym_key(db)
    keys = [person_key(*number) for number in numbers]
    marks = ", ".join("?" * len(keys))
    rows = db.execute(f"SELECT DISTINCT person FROM derived_identifier WHERE person IN ({marks})", keys)
    persons = sorted({*keys, *(person for (person,) in rows)})
    marks = ", ".join("?" * len(persons))
    bookings = {
        booking
        for (booking,) in db.execute(f"SELECT booking FROM derived_operation WHERE person IN ({marks})", persons)
    }
    found = {
        episode for (episode,) in db.execute(f"SELECT episode FROM derived_link WHERE person IN ({marks})", persons)
    }
    found |= {pseudonym(key, "P", person) for person in persons}
    found |= {pseudonym(key, "E", f"{person}|{one}") for person in persons for one in (*bookings, "provisional")}
    return tuple(sorted(found))


def _words(
    db: Database,
    archive: Archive,
    settings: Settings,
    numbers: tuple[PatientNumber, ...],
    objects: Mapping[int, str],
    frames: tuple[int, ...],
) -> tuple[str, ...]:
    found = {number for _, number in numbers if len(number) > 2}
    for sha256 in objects.values():
        said = _said(archive, sha256)
        for one in said:
            if len(said) == 1 or _names_one_of(one, settings, numbers):
                found |= name_forms(one.get("PatientName", ""))
    for frame_id in frames:
        (raw,) = db.execute("SELECT raw FROM fact_frame WHERE frame_id = ?", [frame_id]).fetchone()
        found |= {form for name in names_of(bytes(raw), settings, numbers) for form in name_forms(name)}
    return tuple(sorted(found))
