"""``vbq-node measure``: files and folders in, one result per series out; no database and no settings.

Folders mix studies, hold other files and lists of contents (DICOMDIR), and bear no names that mean anything: what a
file is, its content says.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path

from analytics.reasons import Reason, codes, words
from analytics.records import MeasurementStatus
from analytics.vbq.protocol import to_json_dict as protocol_json
from analytics.vbq.score import segmental
from analytics.vbq.version import AUTOMATIC_NAME, AUTOMATIC_VERSION
from node.dicom.reader import read_header
from node.dicom.stack import StoredImage
from node.errors import DicomReadError, InputError
from node.measure.automatic import Measure, SeriesMeasurement, StudySeries, doubted, in_order, measure_study, series_of
from node.measure.rois import beside_json, t2_json
from node.store.failures import in_words, tried

Progress = Callable[[int, int], None]
"""Told how many are done, of how many."""


OTHER_PATIENTS = (Reason("several-patients"),)
HEAD = 512
"""Bytes by which a file that is no DICOM image is known."""
MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10"
DICOMDIR = "the list of contents of a medium (DICOMDIR): give the folder in which it lies"
ARCHIVE = "an archive: unpack it and give the folder"
BEGINNINGS = (
    (b"PK\x03\x04", ARCHIVE),
    (b"\x1f\x8b", ARCHIVE),
    (b"7z\xbc\xaf", ARCHIVE),
    (b"Rar!", ARCHIVE),
    # Group 0008 in little endian: a data set, as some archives keep it.
    (b"\x08\x00", "DICOM without the header of a file (Part 10), which DCMTK's `dcmconv FILE NEW` writes"),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies in the files: the studies with their series, and what could not be read and why, by path."""

    studies: Mapping[str, Mapping[str, StudySeries]]
    unread: Mapping[Path, str]
    named: frozenset[Path] = field(default_factory=frozenset)
    """The files that were named themselves and not found in a folder."""

    @property
    def series(self) -> int:
        """How many there are."""
        return sum(len(study) for study in self.studies.values())


def find(paths: Sequence[Path], progress: Progress = lambda done, of: None) -> Found:
    """Read the headers of all DICOM files among these files and below these folders.

    Raises
    ------
    InputError
        A path does not exist, or a folder cannot be listed.
    """
    files = list(dict.fromkeys(file for path in paths for file in _files(path)))
    by_series: dict[str, list[StoredImage]] = defaultdict(list)
    unread: dict[Path, str] = {}
    for number, file in enumerate(files):
        progress(number, len(files))
        if not file.is_file():
            unread[file] = "a pipe, a device or a link to nowhere"
            continue
        try:
            header = read_header(file)
        except (DicomReadError, OSError) as error:
            unread[file] = _what_it_is(file) or (error.strerror if isinstance(error, OSError) else "") or str(error)
        else:
            image = StoredImage(path=file, content=str(file), header=header)
            by_series[header.series_instance_uid].append(image)
    progress(len(files), len(files))
    studies: dict[str, dict[str, StudySeries]] = defaultdict(dict)
    judged = [(images, tried(partial(series_of, uid, images))) for uid, images in by_series.items()]
    for images, series in judged:
        if series.error is not None:
            unread.update({image.path: f"its series cannot be judged ({in_words(series.error)})" for image in images})
    for one in sorted((series.result() for _, series in judged if series.error is None), key=_as_made):
        # A series whose images name several studies stands with each of them in the node; here it is said once.
        studies[min(one.studies)][one.uid] = one
    return Found(studies=studies, unread=unread, named=frozenset(path for path in paths if path.is_file()))


def _as_made(series: StudySeries) -> tuple[str, float, str]:
    """Study by study, in the order in which the scanner numbered them."""
    number = series.verdict.series_number
    return min(series.studies), number if number is not None else float("inf"), series.uid


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise InputError(f"{path}: there is no such file or folder")

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot list {error.filename}: {error.strerror}") from error

    for folder, folders, names in os.walk(path, onerror=refuse):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def _what_it_is(path: Path) -> str | None:
    """What a file is that cannot be read as a DICOM image, and what to do; ``None`` where that is not known."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    if not head:
        return "an empty file"
    if head[128:132] == b"DICM":
        return DICOMDIR if MEDIA_DIRECTORY in head else None
    if path.name.endswith((".nii", ".nii.gz")) or head[344:347] in {b"n+1", b"ni1"}:
        return "NIfTI, which does not hold how the images were made: the DICOM images are needed"
    return next((words for beginning, words in BEGINNINGS if head.startswith(beginning)), None)


def measure_all(found: Found, measure: Measure) -> Iterator[tuple[StudySeries, SeriesMeasurement]]:
    """Every series with what came of it, study by study: those that are not the one are rejected, and say why."""
    for study in found.studies.values():
        measured = {result.series_uid: result for result in measure_study(study, measure, picked=True)}
        order = [one.uid for one in in_order(study)]
        patients = {image.header.patient_id for series in study.values() for image in series.images}
        for uid, series in study.items():
            result = measured.get(uid) or _not_measured(series, order, list(measured))
            result = doubted(result, _missing(series) if uid in measured else ())
            yield series, doubted(result, OTHER_PATIENTS if len(patients) > 1 else ())


def _missing(series: StudySeries) -> tuple[Reason, ...]:
    """What the node holds a series for, too: gaps between its slices. Only a sagittal stack is known to be even."""
    room = series.verdict.missing_slices
    if not room or not series.verdict.sagittal_t1:
        return ()
    return (Reason("images-missing"), Reason("gaps-between-slices", {"room": room}))


def _not_measured(series: StudySeries, candidates: Sequence[str], measured: Sequence[str]) -> SeriesMeasurement:
    if len(series.studies) > 1:
        reasons = [Reason("several-studies")]
    elif series.uid in candidates:
        reasons = [Reason("not-chosen", {"series": measured[-1]})]
    else:
        said = [one.reason for one in series.verdict.criteria if one.holds is False and not one.silent]
        reasons = [Reason("not-the-series"), *said]
    return SeriesMeasurement(series_uid=series.uid, status=MeasurementStatus.REJECTED, reasons=tuple(reasons))


# ---- what is shown ---------------------------------------------------------------------------------------------
def to_json_dict(series: StudySeries, result: SeriesMeasurement) -> dict[str, object]:
    """The promised fields of one series; rows and columns are 0-based native pixels of the instance."""
    place, score = result.place, result.score
    protocol = protocol_json(series.verdict.protocol)
    if place and place.frame_number is not None:
        # Of a multi-frame image the instance does not say which slice; 1-based.
        protocol["frame_number"] = place.frame_number
    return {
        "series_instance_uid": series.uid,
        "sop_instance_uid": place.sop_instance_uid if place else None,
        "instance_number": place.instance_number if place else None,
        "status": result.status.value,
        "reasons": words(result.reasons),
        "reason_codes": codes(result.reasons),
        "vbq_mean": _number(score.vbq_mean) if score else None,
        "vbq_median": _number(score.vbq_median) if score else None,
        "rois": {
            name: {
                **asdict(roi.circle),
                "radius_mm": roi.radius_mm,
                "mean": roi.mean,
                "sd": _number(roi.sd),
                "pixels": roi.pixels,
            }
            for name, roi in (score.rois if score else {}).items()
        },
        "uncertainty": {"vbq_sd": _number(result.vbq_sd)},
        "levels_confidence": _number(result.levels_confidence),
        "protocol": protocol,
        "algorithm": {"name": AUTOMATIC_NAME, "version": AUTOMATIC_VERSION},
        "beside_the_score": {
            "validated": False,
            "segmental_vbq": segmental(score) if score else {},
            **beside_json(result.beside),
        },
        **t2_json(result.t2),
    }


def _number(value: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if value is not None and isfinite(value) else None


def picture(result: SeriesMeasurement) -> tuple[str, bytes] | None:
    """The overlay as PNG with its file name, the SOP Instance UID of the slice; ``None`` when no slice was chosen."""
    from analytics.vbq.overlay import Measured, overlay

    if result.image is None or result.place is None:
        return None
    shown = Measured(
        status=result.status,
        reasons=words(result.reasons),
        score=result.score,
        vbq_sd=_number(result.vbq_sd),
        levels_confidence=result.levels_confidence,
        outlines=result.outlines,
        beside=result.beside,
        made_by=f"{AUTOMATIC_NAME} {AUTOMATIC_VERSION}",
    )
    return f"{result.place.sop_instance_uid}.png", overlay(result.image, shown)


def needs_a_person(results: Iterable[tuple[str, MeasurementStatus]]) -> bool:
    """Whether some study, by (study, status) of each series, has no series that is ``measured``."""
    by_study: dict[str, bool] = {}
    for study, status in results:
        by_study[study] = by_study.get(study, False) or status is MeasurementStatus.MEASURED
    return not all(by_study.values())
