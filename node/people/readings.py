"""Readings: the circles that a person placed on a series, checked and kept as facts."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from sqlite_utils import Database

from analytics.reasons import Reason, Value
from analytics.records import Circle, VbqScore
from analytics.vbq.automatic import SagittalImage
from analytics.vbq.score import REGIONS, ScoreError, score
from node.clock import to_text
from node.dicom.header import Slice
from node.errors import DicomReadError, ReadingError, SliceError
from node.measure.decoding import pixels_sha256, read_slice
from node.measure.rois import FRAME, SLICE, picture_name
from node.people.read_pixels import Place, pixels_read
from node.people.reading_checks import ReadSlice, check_approval, check_circles, require_confirmed
from node.people.two_readers import Step, step_of
from node.settings import Readers
from node.store.archive import Archive
from node.store.database import insert, writing
from node.store.pending import touch
from node.store.reasons import stored
from node.store.removed import removed_since

ONE = Readers()
"""One reader is enough."""
READER_LENGTH = 64
WHY_LENGTH = 500
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
"""Rows from head to foot, columns from front to back, as every scanner shows a sagittal slice."""
MAX_INSTANCE_NUMBER = 2**31 - 1
"""Largest of DICOM's integer strings (PS3.5, table 6.2-1)."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A slice (its InstanceNumber, so 1-based) and a circle for each region, in 0-based native pixels.

    In a multi-frame image the InstanceNumber names the image, and ``frame`` (1-based) the slice in it.
    """

    instance_number: int
    frame_number: int | None = None
    rois: Mapping[str, Circle]

    @property
    def place(self) -> tuple[int, int | None]:
        """The slice: number of the image, and of the frame."""
        return self.instance_number, self.frame_number


@dataclass(frozen=True, kw_only=True)
class AddedReading:
    """A reading as stored. ``new`` is false when it is in effect already: the same one of the same reader."""

    reading_id: int
    new: bool
    vbq_mean: float
    vbq_median: float
    doubts: tuple[Reason, ...] = ()
    """Checks that it failed and with which its reader has confirmed it."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A reading, the score of its circles, and the checks that they fail."""

    reading: Reading
    score: VbqScore
    doubts: tuple[Reason, ...]
    pixels_sha256: str
    """Of the slice that was read."""


@dataclass(frozen=True, kw_only=True)
class Approved:
    """The automatic measurement that a reader takes as it is: name and version, and the name of its picture."""

    algorithm: str
    picture: str


@dataclass(frozen=True, kw_only=True)
class FoundSlice:
    """The one image of a series that bears an InstanceNumber, and the frame (1-based) of a multi-frame one."""

    sha256: str
    sop_instance_uid: str
    frame_number: int | None


def parse_rois(text: str) -> Reading:
    """A reading from ``{"slice": 8, "L1": [row, col, radius_px], …, "L4": […], "CSF": […]}``.

    For a slice of a multi-frame image also ``"frame": 5``, the number of the frame.

    Raises
    ------
    ReadingError, SliceError
        Names what is wrong, and where.
    """
    try:
        content = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ReadingError(f"not JSON: {error}") from error
    expected = (SLICE, *REGIONS)
    if not isinstance(content, dict):
        raise ReadingError(f"a JSON object with the keys {', '.join(expected)} is needed")
    if missing := [key for key in expected if key not in content]:
        raise ReadingError(f"missing: {', '.join(missing)}")
    if unknown := [key for key in content if key not in (*expected, FRAME)]:
        raise ReadingError(f"unknown: {', '.join(unknown)}; the keys are {', '.join(expected)}, {FRAME} if needed")
    return Reading(
        instance_number=_whole(f"{SLICE}: a whole number is needed (the InstanceNumber)", content[SLICE]),
        frame_number=_whole(f"{FRAME}: a whole number is needed", content[FRAME]) if FRAME in content else None,
        rois={name: _circle(name, content[name]) for name in REGIONS},
    )


def _whole(needed: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_INSTANCE_NUMBER:
        raise ReadingError(f"{needed}, not {json.dumps(value)}")
    return value


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    if doubled := sorted({key for key in keys if keys.count(key) > 1}):
        raise ReadingError(f"given twice: {', '.join(doubled)}")
    return dict(pairs)


def _circle(name: str, value: object) -> Circle:
    if not isinstance(value, list) or len(value) != 3 or not all(_is_number(item) for item in value):
        raise ReadingError(f"{name}: [row, col, radius_px] as three finite numbers is needed, not {json.dumps(value)}")
    row, col, radius = (float(item) for item in value)
    if radius <= 0:
        raise ReadingError(f"{name}: the radius is {radius:g} pixels; it must be positive")
    return Circle(row=row, col=col, radius_px=radius)


def _is_number(value: object) -> bool:
    # bool is an int to Python; NaN, Infinity and whole numbers beyond every float are numbers to its JSON reader.
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return isfinite(value)
    except OverflowError:
        return False


def to_canonical_json(reading: Reading) -> str:
    """The same text for the same reading, however it was written; :func:`parse_rois` reads it."""
    rois = {name: [circle.row, circle.col, circle.radius_px] for name, circle in sorted(reading.rois.items())}
    frame = {} if reading.frame_number is None else {FRAME: reading.frame_number}
    return json.dumps({SLICE: reading.instance_number, **frame, **rois}, separators=(",", ":"))


def find_slice(db: Database, series_uid: str, reading: Reading) -> FoundSlice:
    """The slice of a series that a reading is of.

    Raises
    ------
    SliceError
        There is none, or more than one (of different content): nobody can say which one the reader saw. Or retention
        has removed it.
    """
    number = reading.instance_number
    found = db.execute(
        "SELECT o.sha256, i.sop_instance_uid, json_array_length(i.headers, '$.frames'), "
        "(SELECT max(u.why <> 'peer') FROM derived_undecided AS u WHERE u.sop_instance_uid = i.sop_instance_uid) "
        "FROM derived_instance AS i JOIN fact_object AS o USING (object_id) "
        "WHERE i.series_instance_uid = ? AND i.instance_number = ? ORDER BY i.settled_at IS NULL, o.object_id",
        [series_uid, number],
    ).fetchall()
    if not found:
        raise SliceError(Reason("no-such-slice", {"slice": number}))
    # Versions of one image from several senders show the same: the reader saw these pixels, whichever it was.
    if len(found) > 1 and {(uid, others) for _, uid, _, others in found} != {(found[0][1], 0)}:
        raise SliceError(Reason("slice-ambiguous", {"slice": number, "images": len(found)}))
    sha256, sop_instance_uid, frames, _ = found[0]
    if (date := removed_since(db, sha256)) is not None:
        raise SliceError(Reason("images-removed", {"date": date[:10]}))
    if reading.frame_number is None and frames:
        raise SliceError(Reason("frame-not-named", {"slice": number, "frames": frames}))
    if reading.frame_number is not None and not 1 <= reading.frame_number <= frames:
        about: dict[str, Value] = {"slice": number, "frame": reading.frame_number, "frames": frames or "none"}
        raise SliceError(Reason("slice-without-frame", about))
    return FoundSlice(sha256=sha256, sop_instance_uid=sop_instance_uid, frame_number=reading.frame_number)


def load_slice(archive: Archive, found: FoundSlice) -> Slice:
    """The pixels of an image that was found.

    Raises
    ------
    DicomReadError
        The file is gone or cannot be decoded.
    DecodingError
        Its pixels end or stall whoever decodes them.
    """
    try:
        return read_slice(archive.path(found.sha256), frame=found.frame_number)
    except FileNotFoundError as error:
        raise DicomReadError(Reason("file-missing")) from error


def add_reading(
    db: Database,
    archive: Archive,
    *,
    series_uid: str,
    reader: str,
    rois_text: str,
    now: datetime,
    approves: Approved | None = None,
    confirmed: Collection[str] = (),
    rule: Readers = ONE,
    hidden: bool = False,
    seen: str | None = None,
) -> AddedReading:
    """Check a reading against its series and keep it as a fact; the steps make the measurement of it.

    Parameters
    ----------
    approves
        What the reader took as it was, where these are the circles of the automatic measurement.
    confirmed
        Codes of failed checks with which the reader wants it stored all the same, with status ``review``.
    rule, hidden
        How many people read a series, and whether this one was shown neither score nor circles of others: then it is
        not compared with the automatic measurement, which would tell.
    seen
        SHA-256 of the pixels that the reader was shown, where that is known.

    Raises
    ------
    ReadingError, SliceError
        The text is no reading, the reader no name or not the one whose turn it is, the series is not known, the slice
        is missing or ambiguous or has other pixels than were shown, the circles give no score, or fail a check that is
        not confirmed. Nothing is stored.
    """
    name = _reader_name(reader)
    examined = examine(
        db, archive, series_uid=series_uid, rois_text=rois_text, approves=approves is not None, hidden=hidden
    )
    result, doubts = examined.score, examined.doubts
    if seen is not None and seen != examined.pixels_sha256:
        raise ReadingError("the slice has other pixels than those that were shown; look at it again")
    kept = require_confirmed(doubts, confirmed)
    if approves is not None and hidden:
        raise ReadingError("the second reading is blinded: circles of one's own are needed")
    with writing(db):
        step = step_of(db, rule, series_uid=series_uid, reader=name, hidden=hidden)
        reading_id = None if step[0] is Step.SETTLING else _same_again(db, archive, series_uid, name, examined)
        new = reading_id is None
        if reading_id is None:
            reading_id = _store(db, series_uid, name, examined, step, approves, kept, now)
    return AddedReading(
        reading_id=reading_id, new=new, vbq_mean=result.vbq_mean, vbq_median=result.vbq_median, doubts=kept
    )


def examine(
    db: Database, archive: Archive, *, series_uid: str, rois_text: str, approves: bool = False, hidden: bool = False
) -> Examined:
    """What the circles of a reading give, and which checks they fail; nothing is stored.

    Raises
    ------
    ReadingError, SliceError
        As :func:`add_reading`, but that failed checks are returned.
    """
    reading = parse_rois(rois_text)
    if not db.execute("SELECT 1 FROM derived_instance WHERE series_instance_uid = ? LIMIT 1", [series_uid]).fetchone():
        raise ReadingError(
            f"no series {series_uid} is known; the view 'series' lists what has arrived (the steps must be running)"
        )
    try:
        found = find_slice(db, series_uid, reading)
        pixels = load_slice(archive, found)
        result = score(pixels.signal, reading.rois, spacing_mm=pixels.spacing_mm)
    except (DicomReadError, ScoreError) as error:
        raise ReadingError(f"slice {reading.instance_number}: {error}") from error
    if approves:
        doubts = check_approval(db, series_uid)
    else:
        read = _read(found, pixels, reading)
        doubts = check_circles(db, series_uid=series_uid, read=read, score=result, alone=hidden)
    return Examined(reading=reading, score=result, doubts=tuple(doubts), pixels_sha256=pixels_sha256(pixels.signal))


def _reader_name(reader: str) -> str:
    name = reader.strip()
    if not name or len(name) > READER_LENGTH or not name.isprintable():
        raise ReadingError(f"reader: a name of 1 to {READER_LENGTH} printable characters is needed")
    if name.casefold().startswith("auto"):
        raise ReadingError("reader: names that begin with auto are the software's own; a person's name is needed")
    return name


def _read(found: FoundSlice, pixels: Slice, reading: Reading) -> ReadSlice:
    image = SagittalImage(
        signal=pixels.signal, spacing_mm=pixels.spacing_mm, position_mm=(0.0, 0.0, 0.0), orientation=SAGITTAL
    )
    return ReadSlice(image=image, place=(found.sop_instance_uid, found.frame_number), circles=reading.rois)


def withdraw(db: Database, *, reading_id: int, reader: str, why: str, now: datetime) -> None:
    """Take a reading back, as a fact: what was in effect before it is so again.

    Raises
    ------
    ReadingError
        There is no such reading, it is withdrawn already, or nobody says who or why.
    """
    name, reason = _reader_name(reader), why.strip()
    if not reason or len(reason) > WHY_LENGTH or not reason.isprintable():
        raise ReadingError(f"--why: 1 to {WHY_LENGTH} printable characters are needed")
    row = db.execute("SELECT series_instance_uid FROM fact_reading WHERE reading_id = ?", [reading_id]).fetchone()
    if row is None:
        raise ReadingError(f"there is no reading {reading_id}; the view 'readings' lists them")
    if db.execute("SELECT 1 FROM fact_reading_withdrawal WHERE reading_id = ?", [reading_id]).fetchone():
        raise ReadingError(f"reading {reading_id} is withdrawn already")
    fact = {"reading_id": reading_id, "why": reason, "withdrawn_by": name, "withdrawn_at": to_text(now)}
    with writing(db):
        insert(db, "fact_reading_withdrawal", [fact])
        _measure_again(db, row[0])
        _touch_patient(db, row[0])


def _measure_again(db: Database, series_uid: str) -> None:
    """Have the steps judge the readings of a series anew: whether a second reader confirms one may have changed."""
    db.execute(
        "DELETE FROM derived_measurement WHERE series_instance_uid = ? AND reading_id IN "
        "(SELECT reading_id FROM fact_reading_check WHERE doubts <> '[]' "
        "UNION SELECT reading_id FROM fact_reading_withdrawal)",
        [series_uid],
    )


def approve(
    db: Database,
    archive: Archive,
    *,
    series_uid: str,
    reader: str,
    now: datetime,
    picture: str | None = None,
    confirmed: Collection[str] = (),
    rule: Readers = ONE,
    hidden: bool = False,
) -> AddedReading:
    """Take the circles of the automatic measurement of a series as a person's reading, and keep it as a fact.

    Parameters
    ----------
    picture
        Name of the picture that was looked at, as `reading show` gives it.
    confirmed, rule, hidden
        As :func:`add_reading`.

    Raises
    ------
    ReadingError, SliceError
        There is no automatic measurement of the series with a score, it is another one than on the picture, or as
        :func:`add_reading`. Nothing is stored.
    """
    found = db.execute(
        "SELECT m.instance_number, m.frame_number, m.rois, m.algorithm_name || ' ' || m.algorithm_version, "
        "m.instances_sha256 FROM derived_measurement AS m JOIN derived_series AS s USING (series_instance_uid) "
        "WHERE m.series_instance_uid = ? AND m.source = 'auto' AND m.current = 1 AND m.vbq_mean IS NOT NULL "
        # What was measured before a late image came is not what is there to be looked at.
        "AND s.stale = 0",
        [series_uid],
    ).fetchone()
    if found is None:
        raise ReadingError(
            f"series {series_uid} has no automatic measurement with a score that could be approved; the view "
            "'measurements' shows what there is, and `vbq-node reading add` takes circles of your own"
        )
    instance_number, frame_number, rois, algorithm, inputs = found
    if instance_number is None:
        raise ReadingError("the slice bears no InstanceNumber by which a reading could name it")
    shown = picture_name(inputs, algorithm, json.loads(rois))
    if picture is not None and picture.strip().lower() != shown:
        raise ReadingError(
            f"the picture that was looked at is {picture.strip()}, and the series is now shown by {shown}: images came "
            "since, or it was measured anew; look at it again (`vbq-node reading show --automatic --picture`)"
        )
    circles = {
        name: Circle(row=roi["row"], col=roi["col"], radius_px=roi["radius_px"])
        for name, roi in json.loads(rois).items()
    }
    reading = Reading(instance_number=instance_number, frame_number=frame_number, rois=circles)
    return add_reading(
        db,
        archive,
        series_uid=series_uid,
        reader=reader,
        rois_text=to_canonical_json(reading),
        now=now,
        approves=Approved(algorithm=algorithm, picture=shown),
        confirmed=confirmed,
        rule=rule,
        hidden=hidden,
    )


def _same_again(db: Database, archive: Archive, series_uid: str, reader: str, examined: Examined) -> int | None:
    """The number of the newest reading of the series, where it is this one: reader, circles, and what they lie on."""
    newest = db.execute(
        "SELECT reading_id, reader, rois FROM fact_reading WHERE series_instance_uid = ? "
        "AND reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal) ORDER BY reading_id DESC LIMIT 1",
        [series_uid],
    ).fetchone()
    if newest is None or newest[1:] != (reader, to_canonical_json(examined.reading)):
        return None
    number, frame = examined.reading.place
    place = Place(series_uid=series_uid, instance_number=number, frame_number=frame)
    read = pixels_read(db, archive, reading_id=newest[0], place=place)
    return int(newest[0]) if read == examined.pixels_sha256 else None


def _store(
    db: Database,
    series_uid: str,
    reader: str,
    examined: Examined,
    step: tuple[Step, bool],
    approves: Approved | None,
    doubts: Sequence[Reason],
    now: datetime,
) -> int:
    rois = to_canonical_json(examined.reading)
    (reading_id,) = db.execute(
        "INSERT INTO fact_reading (series_instance_uid, reader, rois, approves, added_at) VALUES (?, ?, ?, ?, ?) "
        "RETURNING reading_id",
        [series_uid, reader, rois, approves.algorithm if approves else None, to_text(now)],
    ).fetchone()
    check = {"reading_id": reading_id, "doubts": stored(doubts), "picture": approves.picture if approves else None}
    insert(db, "fact_reading_check", [check])
    insert(db, "fact_reading_step", [{"reading_id": reading_id, "step": step[0].value, "independent": int(step[1])}])
    insert(db, "fact_reading_pixels", [{"reading_id": reading_id, "pixels_sha256": examined.pixels_sha256}])
    _measure_again(db, series_uid)
    _touch_patient(db, series_uid)
    return int(reading_id)


def _touch_patient(db: Database, series_uid: str) -> None:
    for authority, patient_id in db.execute(
        "SELECT patient_authority, patient_id FROM derived_series "
        "WHERE series_instance_uid = ? AND patient_authority IS NOT NULL",
        [series_uid],
    ).fetchall():
        touch(db, authority, patient_id)
