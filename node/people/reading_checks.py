"""The checks that a reading passes before it is stored, against its slice, its series and the automatic measurement."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from sqlite_utils import Database

from analytics.reasons import Reason, codes
from analytics.records import Circle, MeasurementStatus, VbqScore
from analytics.vbq import quality
from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage
from analytics.vbq.reading_checks import (
    OF_THE_PICTURE,
    OF_THE_SERIES,
    OFF_MIDLINE,
    doubts_of_circles,
    doubts_of_picture,
    far_from,
    uncertain,
)
from analytics.vbq.uncertainty import reading_sd
from node.dicom.header import header_from_json
from node.errors import ReadingError
from node.measure.decoding import pixels_sha256
from node.store.failures import Tried, tried
from node.store.reasons import loaded

NEVER_LIFTED = OF_THE_PICTURE | OF_THE_SERIES
"""Codes that a second reader does not lift, either."""

AUTOMATIC = """
SELECT sop_instance_uid, frame_number, status, vbq_mean, vbq_sd, reasons FROM derived_measurement
WHERE series_instance_uid = ? AND source = 'auto' AND current = 1
"""


@dataclass(frozen=True, kw_only=True)
class ReadSlice:
    """The slice that was read, where it is (SOP Instance UID, frame), and the circles on it."""

    image: SagittalImage
    place: tuple[str, int | None]
    circles: Mapping[str, Circle]


def seen_on(image: SagittalImage) -> Tried[AutomaticMeasurement]:
    """What the networks see on a slice; remembered of the last few, as a reader moves circle after circle."""
    return _seen(_Pixels(image=image, digest=f"{pixels_sha256(image.signal)} {image.spacing_mm}"))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pixels:
    """An image that equals another of the same signal and spacing."""

    image: SagittalImage
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Pixels) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@lru_cache(maxsize=4)
def _seen(pixels: _Pixels) -> Tried[AutomaticMeasurement]:
    # The networks are loaded when somebody reads, not by every command.
    from analytics.vbq.measure import measure_stack

    return tried(partial(measure_stack, [pixels.image]))


def check_circles(
    db: Database, *, series_uid: str, read: ReadSlice, score: VbqScore, alone: bool = False
) -> list[Reason]:
    """Everything that a person's circles fail; empty when they pass.

    What the networks see is of the slice alone; where they see no spine, there is nothing to hold against a person.
    ``alone``: nor is anything compared with the automatic measurement, which a blinded reader must not learn of.
    """
    found = list(quality.doubts(score))
    seen = seen_on(read.image)
    sd = reading_sd(read.image.signal, read.image.spacing_mm, score)
    if seen.error is None and seen.result().score is not None:
        found += (one for one in doubts_of_circles(read.circles, seen.result()) if one not in found)
        found += doubts_of_picture(read.image, score, seen.result())
        found += uncertain(score.vbq_mean, sd)
    automatic = None if alone else db.execute(AUTOMATIC, [series_uid]).fetchone()
    if automatic is None:
        return found
    uid, frame, status, vbq, automatic_sd, _ = automatic
    if uid is not None:
        apart = slices_apart(db, series_uid, read.place, (uid, frame))
        if apart is not None and apart > OFF_MIDLINE:
            found.append(Reason("slice-off-midline", {"slices": apart}))
    if status == MeasurementStatus.MEASURED.value and vbq and automatic_sd:
        found += far_from(vbq, automatic_sd, score.vbq_mean, sd)
    return found


def check_approval(db: Database, series_uid: str) -> list[Reason]:
    """What approving the automatic measurement of a series cannot lift."""
    automatic = db.execute(AUTOMATIC, [series_uid]).fetchone()
    return [] if automatic is None else [one for one in loaded(automatic[5]) if one.code in NEVER_LIFTED]


def slices_apart(
    db: Database, series_uid: str, one: tuple[str, int | None], other: tuple[str, int | None]
) -> int | None:
    """How many slices lie from one place (SOP Instance UID, frame) to the other; ``None`` where that is not known."""
    along: dict[tuple[str, int | None], float] = {}
    for (headers,) in db.execute(
        "SELECT headers FROM derived_instance WHERE series_instance_uid = ?", [series_uid]
    ).fetchall():
        header = header_from_json(headers)
        for number, image in enumerate(header.images, start=1):
            if image.position_mm and image.orientation and len(image.orientation) == 6 and len(image.position_mm) == 3:
                normal = np.cross(image.orientation[:3], image.orientation[3:])
                place = header.sop_instance_uid, number if header.frames else None
                along[place] = round(float(np.dot(normal, image.position_mm)), 1)
    if one not in along or other not in along:
        return None
    order = sorted(set(along.values()))
    return abs(order.index(along[one]) - order.index(along[other]))


def require_confirmed(doubts: Iterable[Reason], confirmed: Iterable[str]) -> tuple[Reason, ...]:
    """The doubts, each once, when their reader has confirmed the code of every one.

    Raises
    ------
    ReadingError
        Some are not confirmed; says which, and how.
    """
    found = tuple({one.code: one for one in doubts}.values())
    left = [one for one in found if one.code not in set(confirmed)]
    if left:
        said = "; ".join(f"{one} ({one.code})" for one in left)
        options = " ".join(f"--confirm {code}" for code in codes(left))
        raise ReadingError(f"not stored: {said}. To store it with status review, add {options}")
    return found
