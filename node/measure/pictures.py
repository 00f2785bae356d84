"""The picture of a stored reading, drawn from the archive whenever a person asks for it.

The score and the circles are those that are stored; only what surrounds them (outlines) is found anew.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from analytics.records import Circle, MeasurementStatus, VbqScore
from analytics.vbq.automatic import AutomaticMeasurement, SagittalImage
from analytics.vbq.overlay import TWO_SIDED_95, Measured, overlay, overlay_pixels, small
from analytics.vbq.score import REGIONS, ScoreError, score
from node.dicom.stack import StoredImage, read_stacks
from node.errors import InputError, ReadingError
from node.measure.automatic import AUTO
from node.measure.decoding import read_slices
from node.measure.rois import FRAME, SLICE, picture_name
from node.store.archive import Archive
from node.store.failures import tried
from node.store.whole_file import write_whole

SAME = 1e-9
"""The score of the pixels under the stored circles is the stored one, but for how it was added up."""

STORED = """
SELECT source, status, reasons, reason_codes, sop_instance_uid, instance_number, frame_number, vbq_mean, vbq_median,
       vbq_sd, levels_confidence, rois, algorithm_name || ' ' || algorithm_version, approved_algorithm, in_effect,
       (SELECT r.reader FROM derived_measurement AS p JOIN fact_reading AS r USING (reading_id)
        WHERE p.series_instance_uid = m.series_instance_uid AND p.source = m.source AND p.current = 1
        ORDER BY p.reading_id DESC),
       (SELECT a.instances_sha256 FROM derived_measurement AS a WHERE a.series_instance_uid = m.series_instance_uid
        AND a.reading_id IS NULL AND a.current = 1)
FROM measurements AS m WHERE series_instance_uid = ? AND current = 1 AND iif(?, source = 'auto', in_effect = 1)
"""


@dataclass(frozen=True, kw_only=True)
class StoredReading:
    """A current measurement of a series, automatic or a person's, as the view ``measurements`` has it."""

    series_uid: str
    source: str
    status: MeasurementStatus
    reasons: tuple[str, ...]
    """Reasons in words, and their codes in the same order."""
    reason_codes: tuple[str, ...]
    sop_instance_uid: str | None
    instance_number: int | None
    frame_number: int | None
    vbq_mean: float | None
    vbq_median: float | None
    vbq_sd: float | None
    levels_confidence: float | None
    circles: Mapping[str, Circle]
    made_by: str
    """Who placed the circles, in words."""
    in_effect: bool
    picture: str | None = None
    """Name of the picture of an automatic measurement, by which `reading approve` says which was looked at."""

    def words(self) -> list[str]:
        """What a person reads on a terminal."""
        at = "no slice" if self.instance_number is None else f"slice {self.instance_number}"
        at += f" frame {self.frame_number}" if self.frame_number is not None else ""
        lines = [f"{self.status.value}, {at}, by {self.made_by}" + ("" if self.in_effect else "; not in effect")]
        if self.vbq_mean is not None and self.vbq_median is not None:
            interval = f" ± {TWO_SIDED_95 * self.vbq_sd:.2f} (95 %)" if self.vbq_sd is not None else ""
            lines.append(f"VBQ {self.vbq_mean:.3f}{interval} (mean form), {self.vbq_median:.3f} (median form)")
        lines += [f"- {reason}" for reason in self.reasons]
        return [*lines, f"picture {self.picture}"] if self.picture else lines

    def rois_text(self) -> str:
        """The circles as ``vbq-node reading add --rois`` takes them, a line each, to be moved by a person.

        Raises
        ------
        ReadingError
            There are no circles, or the slice bears no number by which a reading could name it.
        """
        if not self.circles or self.instance_number is None:
            why = "no circles" if not self.circles else "no InstanceNumber by which a reading could name its slice"
            raise ReadingError(f"the reading of series {self.series_uid} has {why}")
        frame = {} if self.frame_number is None else {FRAME: self.frame_number}
        rois = {name: [circle.row, circle.col, circle.radius_px] for name, circle in self.circles.items()}
        content: dict[str, object] = {SLICE: self.instance_number, **frame, **rois}
        lines = (f'  "{key}": {json.dumps(value)}' for key, value in content.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"


def stored_reading(db: Database, series_uid: str, *, automatic: bool = False) -> StoredReading:
    """The reading of a series that is in effect, or (``automatic``) what the node has measured by itself.

    Raises
    ------
    ReadingError
        There is none.
    """
    row = db.execute(STORED, [series_uid, automatic]).fetchone()
    if row is None:
        raise ReadingError(
            f"series {series_uid} has no {'automatic measurement' if automatic else 'reading'} (yet); the view "
            "'series' says what it is and waits for"
        )
    source, status, reasons, codes, sop_uid, number, frame, mean, median, sd, confidence, rois, *last = row
    algorithm, approved, effect, reader, inputs = last
    by_person = f"{algorithm} under the circles of {approved}, approved by {reader}" if approved else None
    return StoredReading(
        series_uid=series_uid,
        source=source,
        status=MeasurementStatus(status),
        reasons=tuple(json.loads(reasons)),
        reason_codes=tuple(json.loads(codes)),
        sop_instance_uid=sop_uid,
        instance_number=number,
        frame_number=frame,
        vbq_mean=mean,
        vbq_median=median,
        vbq_sd=sd,
        levels_confidence=confidence,
        circles=_circles(json.loads(rois)),
        made_by=algorithm if source == AUTO else by_person or f"{algorithm} under circles placed by {reader}",
        in_effect=bool(effect),
        picture=picture_name(inputs, algorithm, json.loads(rois)) if source == AUTO and rois != "{}" else None,
    )


def _circles(rois: Mapping[str, Mapping[str, float]]) -> dict[str, Circle]:
    """In the order in which they are shown."""
    found = ((name, rois[name]) for name in REGIONS if name in rois)
    return {name: Circle(row=roi["row"], col=roi["col"], radius_px=roi["radius_px"]) for name, roi in found}


def draw(db: Database, archive: Archive, reading: StoredReading) -> bytes:
    """The picture of a stored reading as PNG: its slice, its circles and values, its status and reasons.

    Raises
    ------
    ReadingError
        No slice was chosen, its file is gone or cannot be placed, or its pixels do not give the stored score.
    """
    image, found = _slice(db, archive, reading)
    seen = _seen(image)
    shown = Measured(
        status=reading.status,
        reasons=reading.reasons,
        score=found,
        vbq_sd=reading.vbq_sd,
        levels_confidence=reading.levels_confidence,
        outlines=seen.outlines if seen else {},
        # Of S1 and the end plates over the fluid of the automatic circles, which a person may have moved.
        beside=seen.beside if seen and reading.source == AUTO else None,
        made_by=reading.made_by,
    )
    return overlay(image, shown)


def draw_result(
    path: Path, frame_number: int | None, circles: Mapping[str, Circle], shown: Measured
) -> NDArray[np.uint8]:
    """The picture of circles on the slice in a file as pixels (rows, columns, 3), with the outlines found on it now.

    Parameters
    ----------
    shown
        All that stands beside it; its score and outlines are put in here.

    Raises
    ------
    ReadingError
        The slice cannot be placed.
    ScoreError
        The circles give no score on it.
    """
    image = _image(path, frame_number)
    if image is None:
        raise ReadingError("the slice is missing or does not say how it lies")
    found = score(image.signal, circles, spacing_mm=image.spacing_mm)
    seen = _seen(image)
    return overlay_pixels(image, replace(shown, score=found, outlines=seen.outlines if seen else {}))


def draw_small(db: Database, archive: Archive, reading: StoredReading) -> bytes:
    """The part of the slice around the circles of a stored reading, small and without words, as PNG.

    Raises
    ------
    ReadingError
        As :func:`draw`.
    """
    image, _ = _slice(db, archive, reading)
    return small(image, reading.circles)


def write_picture(path: Path, png: bytes) -> None:
    """Write a picture whole or not at all: a kill leaves what was there before.

    Raises
    ------
    InputError
        There is no such folder.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    write_whole(path, png)


def _slice(db: Database, archive: Archive, reading: StoredReading) -> tuple[SagittalImage, VbqScore | None]:
    """The slice and the score of the stored circles on it; of several objects under its UID, the one that has it."""
    if reading.sop_instance_uid is None:
        raise ReadingError(f"series {reading.series_uid}: no slice was chosen ({'; '.join(reading.reasons)})")
    for (sha256,) in db.execute(
        "SELECT o.sha256 FROM derived_instance AS i JOIN fact_object AS o USING (object_id) "
        "WHERE i.series_instance_uid = ? AND i.sop_instance_uid = ? ORDER BY o.sha256",
        [reading.series_uid, reading.sop_instance_uid],
    ).fetchall():
        image = _image(archive.path(sha256), reading.frame_number)
        if image is None:
            continue
        if reading.vbq_mean is None:
            return image, None
        try:
            found = score(image.signal, reading.circles, spacing_mm=image.spacing_mm)
        except ScoreError:
            continue
        if abs(found.vbq_mean - reading.vbq_mean) <= SAME * reading.vbq_mean:
            return image, found
    raise ReadingError(
        f"series {reading.series_uid}: its slice is missing, does not say how it lies, or has other pixels than when "
        "it was measured; `vbq-node problems` may say why"
    )


def _image(path: Path, frame_number: int | None) -> SagittalImage | None:
    if not path.is_file():
        return None
    # The pages list readings without DICOM's library; it is loaded when one is drawn.
    from node.dicom.reader import read_header

    stored = StoredImage(path=path, content=str(path), header=read_header(path))
    for stack in read_stacks([stored], read_slices):
        for image, place in zip(stack.images, stack.places, strict=True):
            if place.frame_number == frame_number:
                return image
    return None


def _seen(image: SagittalImage) -> AutomaticMeasurement | None:
    """What the networks see on the slice, whoever placed the circles; ``None`` where they fail."""
    from analytics.vbq.measure import measure_stack

    found = tried(partial(measure_stack, [image]))
    return None if found.error is not None else found.result()
