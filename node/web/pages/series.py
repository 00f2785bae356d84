"""The reading room: a series, its slices as the decoder gives them, circles, checks, and what a reader decides."""

import json

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from analytics.vbq.automatic import SagittalImage
from analytics.vbq.score import REGIONS
from node.clock import to_text
from node.errors import ReadingError
from node.measure.decoding import pixels_sha256
from node.measure.pictures import StoredReading, stored_reading
from node.people.reading_checks import seen_on
from node.people.readings import (
    SAGITTAL,
    add_reading,
    examine,
    parse_rois,
)
from node.people.readings import (
    approve as approve_reading,
)
from node.people.readings import (
    withdraw as withdraw_reading,
)
from node.people.two_readers import Standing, Step, hidden_from, may_settle, standings
from node.people.unreadable import set_unreadable, withdraw_unreadable
from node.store.public_id import public_id_of
from node.web.render import page
from node.web.slices import Placed, find_series, same_place, slices_of, t2_beside
from node.web.visit import Visit
from node.web.worklist import Asker, readings

READINGS = """
SELECT reading_id, reader, added_at, status, vbq_mean, vbq_sd, previous_source, previous_vbq_mean, in_effect,
       withdrawn_at, withdrawn_by, withdrawn_why
FROM readings WHERE series_instance_uid = ? ORDER BY reading_id DESC
"""
ABOUT = """
SELECT s.study_date, s.description, s.scanner_stratum, s.instances, s.accession_number, p.pseudonym,
       (SELECT min(o.planned_at) FROM derived_operation AS o
        WHERE o.person = i.person AND o.cancelled = 0 AND o.planned_at >= ?) AS operation
FROM derived_series AS s
LEFT JOIN derived_identifier AS i ON (i.authority, i.patient_id) = (s.patient_authority, s.patient_id)
LEFT JOIN derived_person AS p USING (person)
WHERE s.series_instance_uid = ?
"""
BESIDE = """
SELECT beside FROM derived_measurement
WHERE series_instance_uid = ? AND reading_id IS NULL AND current = 1 AND beside IS NOT NULL
"""
UNREADABLE = """
SELECT why, decided_at, decided_by FROM fact_series_decision
WHERE series_instance_uid = :uid AND decision = 'unreadable'
  AND decision_id = (SELECT max(decision_id) FROM fact_series_decision WHERE series_instance_uid = :uid)
"""


def show(visit: Visit) -> Response:
    """The page; what it draws comes from :func:`pixels`."""
    uid = _uid(visit)
    slices = slices_of(visit.db, uid)
    hidden = _hidden(visit, uid)
    reading = None if hidden else _in_effect(visit, uid)
    standing = None if hidden else standings(visit.db, visit.settings.readers, uid).get(uid)
    settled = standing if standing and standing.next is Step.SETTLING else None
    t2 = t2_beside(visit.db, uid)
    beside = slices_of(visit.db, t2) if t2 else []
    start = {
        "series": visit.parameter("series"),
        "regions": list(REGIONS),
        "slices": [_named(one) for one in slices],
        "spacing_mm": _spacing(slices),
        "start": _number_of(slices, reading),
        "circles": {name: [one.row, one.col, one.radius_px] for name, one in reading.circles.items()}
        if reading
        else {},
        "beside": {"series": public_id_of(t2), "slices": same_place(slices, beside)} if t2 else None,
        "given": _given(slices, settled),
        "token": visit.who.form_token,
    }
    visit.note("series opened blinded" if hidden else "series opened", visit.parameter("series"))
    row = visit.db.execute(UNREADABLE, {"uid": uid}).fetchone()
    return page(
        visit,
        "series.html",
        {
            "series": visit.parameter("series"),
            "about": _about(visit, uid),
            "scores_beside": [] if hidden else _beside(visit, uid),
            "next": _next(visit, uid),
            "start": json.dumps(start),
            "texts": json.dumps({name: text for name, text in visit.words.texts.items() if name.startswith("js_")}),
            "reading": reading,
            "readings": [] if hidden else list(visit.db.query(READINGS, [uid])),
            "hidden": hidden,
            "settled": settled,
            "may_settle": settled is not None and may_settle(visit.settings.readers, settled, visit.name),
            "unreadable": dict(zip(("why", "at", "by"), row, strict=True)) if row else None,
            "has_slices": bool(slices),
        },
    )


def _about(visit: Visit, uid: str) -> dict[str, object]:
    """What examination it is; the number by which the PACS knows it for those who may see the hospital's numbers."""
    row = next(visit.db.query(ABOUT, [to_text(visit.now)[:10], uid]), {})
    return {**row, "accession_number": row.get("accession_number") if visit.who.may("surgeon") else None}


def _beside(visit: Visit, uid: str) -> list[tuple[str, float]]:
    """S1 VBQ and end-plate bone quality by disc, of the automatic measurement."""
    row = visit.db.execute(BESIDE, [uid]).fetchone()
    told = json.loads(row[0]) if row else {}
    found = [("S1 VBQ", told["s1_vbq"])] if told.get("s1_vbq") is not None else []
    return found + [(f"EBQ {disc}", value) for disc, value in told.get("ebq", {}).items()]


def _next(visit: Visit, uid: str) -> str | None:
    """The address of the series that is to be read after this one."""
    found = readings(visit.db, now=visit.now, asker=Asker(name=visit.name, rule=visit.settings.readers))
    waiting = [one.about["series"] for one in found]
    after = waiting[waiting.index(uid) + 1 :] if uid in waiting else waiting
    left = [one for one in after + waiting if one != uid]
    return f"/series/{public_id_of(left[0])}" if left else None


def pixels(visit: Visit) -> Response:
    """The signal of a slice: raw numbers, little-endian, in the smallest type that holds them; shape in headers."""
    one = _slice(visit)
    signal = one.pixels(visit.stores.archive).signal
    packed, kind = _packed(signal)
    rows, columns = signal.shape
    return Response(
        packed.tobytes(),
        media_type="application/octet-stream",
        headers={
            "x-rows": str(rows),
            "x-columns": str(columns),
            "x-type": kind,
            "x-pixels": pixels_sha256(signal),
        },
    )


def outlines(visit: Visit) -> Response:
    """What the networks see on a slice: outlines as rows and columns, by name."""
    found = seen_on(_image(_slice(visit), visit))
    shown = {} if found.error is not None else found.result().outlines
    return JSONResponse({name: np.round(line, 2).tolist() for name, line in shown.items()})


def check(visit: Visit) -> Response:
    """The score of circles and the checks that they fail; nothing is stored."""
    uid = _uid(visit)
    found = examine(
        visit.db, visit.stores.archive, series_uid=uid, rois_text=_text(visit.body), hidden=_hidden(visit, uid)
    )
    return JSONResponse(
        {
            "vbq_mean": found.score.vbq_mean,
            "vbq_median": found.score.vbq_median,
            "rois": {
                name: {"mean": roi.mean, "sd": roi.sd, "pixels": roi.pixels} for name, roi in found.score.rois.items()
            },
            "levels": {
                name: found.score.rois[name].mean / found.score.rois["CSF"].mean for name in REGIONS if name != "CSF"
            },
            "doubts": [{"code": one.code, "words": one.words(visit.words.reasons)} for one in found.doubts],
        }
    )


def store(visit: Visit) -> Response:
    """Keep circles as the reading of who is logged in; failed checks must be confirmed by their codes."""
    content, confirmed, seen = _circles(visit.body)
    uid = _uid(visit)
    added = add_reading(
        visit.db,
        visit.stores.archive,
        series_uid=uid,
        reader=visit.name,
        rois_text=json.dumps(content),
        now=visit.now,
        confirmed=confirmed,
        rule=visit.settings.readers,
        hidden=_hidden(visit, uid),
        seen=seen,
    )
    visit.note("reading stored", visit.parameter("series"))
    return JSONResponse({"reading_id": added.reading_id, "vbq_mean": added.vbq_mean, "new": added.new})


def approve(visit: Visit) -> Response:
    """Take the automatic circles as they are, of the picture that the page showed."""
    uid = _uid(visit)
    approve_reading(
        visit.db,
        visit.stores.archive,
        series_uid=uid,
        reader=visit.name,
        now=visit.now,
        picture=visit.form.get("picture") or None,
        confirmed=visit.form.get("confirm", "").split(),
        rule=visit.settings.readers,
        hidden=_hidden(visit, uid),
    )
    return _done(visit, "reading approved")


def unreadable(visit: Visit) -> Response:
    """Say that the series cannot be read, or take that back."""
    if visit.form.get("do") == "withdraw":
        withdraw_unreadable(visit.db, _uid(visit), reader=visit.name, now=visit.now)
        return _done(visit, "unreadable withdrawn")
    set_unreadable(visit.db, _uid(visit), reader=visit.name, why=visit.form.get("why", ""), now=visit.now)
    return _done(visit, "series unreadable")


def withdraw(visit: Visit) -> Response:
    """Take a reading back."""
    number = visit.form.get("reading_id", "")
    if not number.isdecimal():
        raise ReadingError(visit.words("no_reading"))
    withdraw_reading(visit.db, reading_id=int(number), reader=visit.name, why=visit.form.get("why", ""), now=visit.now)
    return _done(visit, "reading withdrawn", f"/series/{visit.parameter('series')}")


def _done(visit: Visit, action: str, to: str = "/?done=reading") -> Response:
    visit.note(action, visit.parameter("series"))
    return RedirectResponse(to, 303)


def _uid(visit: Visit) -> str:
    uid = find_series(visit.db, visit.parameter("series"))
    if uid is None:
        raise HTTPException(404)
    return uid


def _hidden(visit: Visit, uid: str) -> bool:
    """Whether who asks may be the second reader, to whom score and circles are not shown."""
    return uid in hidden_from(visit.db, visit.settings.readers, visit.name, uid)


def _given(slices: list[Placed], settled: Standing | None) -> list[dict[str, object]]:
    """The two readings that are to be settled, as the page draws them."""
    found: list[dict[str, object]] = []
    for one in settled.pair if settled else ():
        read = parse_rois(one.rois)
        places = [n for n, at in enumerate(slices) if (at.instance_number, at.frame_number) == read.place]
        if places:
            circles = {name: [it.row, it.col, it.radius_px] for name, it in read.rois.items()}
            found.append({"reader": one.reader, "vbq": one.vbq, "slice": places[0], "circles": circles})
    return found


def _slice(visit: Visit) -> Placed:
    slices = slices_of(visit.db, _uid(visit))
    number = int(visit.parameter("number"))
    if number >= len(slices):
        raise HTTPException(404)
    return slices[number]


def _image(one: Placed, visit: Visit) -> SagittalImage:
    found = one.pixels(visit.stores.archive)
    return SagittalImage(
        signal=found.signal, spacing_mm=found.spacing_mm, position_mm=(0.0, 0.0, 0.0), orientation=SAGITTAL
    )


def _in_effect(visit: Visit, uid: str) -> StoredReading | None:
    try:
        return stored_reading(visit.db, uid)
    except ReadingError:
        return None


def _named(one: Placed) -> dict[str, int | None]:
    return {"slice": one.instance_number, "frame": one.frame_number}


def _spacing(slices: list[Placed]) -> list[float]:
    spacing = slices[0].image.pixel_spacing_mm if slices else None
    return list(spacing) if spacing and len(spacing) == 2 else [1.0, 1.0]


def _number_of(slices: list[Placed], reading: StoredReading | None) -> int:
    """The slice that was read, else the middle one."""
    if reading is not None:
        for number, one in enumerate(slices):
            if (one.instance_number, one.frame_number) == (reading.instance_number, reading.frame_number):
                return number
    return len(slices) // 2


def _packed(signal: NDArray[np.float64]) -> tuple[NDArray[np.generic], str]:
    whole = np.array_equal(signal, np.rint(signal))
    for kind in ("uint16", "int16"):
        limits = np.iinfo(kind)
        if whole and signal.min() >= limits.min and signal.max() <= limits.max:
            return signal.astype(np.dtype(kind).newbyteorder("<")), kind
    return signal.astype("<f4"), "float32"


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReadingError(str(error)) from error


def _circles(body: bytes) -> tuple[dict[str, object], list[str], str | None]:
    """Circles, the codes that are confirmed with them, and the digest of the pixels that were shown."""
    try:
        content = json.loads(_text(body))
    except (ValueError, RecursionError) as error:
        raise ReadingError(f"not JSON: {error}") from error
    confirmed = content.pop("confirm", []) if isinstance(content, dict) else None
    if not isinstance(confirmed, list):
        raise ReadingError("a JSON object is needed, with a list of what is confirmed")
    seen = content.pop("seen", None)
    return content, [str(code) for code in confirmed], None if seen is None else str(seen)
