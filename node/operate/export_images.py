"""The images of the export: the slices that were measured, or their series, de-identified."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlite_utils import Database

from node.operate.deidentify import Cover, KeptHereError, deidentified
from node.store.archive import Archive

Images = Literal["slice", "series"]
FOLDER = "images"
COLUMNS = {"patient": "TEXT", "series": "TEXT", "file": "TEXT", "sop_instance_uid": "TEXT", "measured": "INTEGER"}
MEANINGS = {
    "patient": "Id of the patient, of this export",
    "series": "Id of the series, of this export",
    "file": "Where the image lies, a DICOM file de-identified by the Basic Profile of PS3.15",
    "sop_instance_uid": "Its UID, of this export",
    "measured": "1: the slice on which the measurement in effect was made",
}

MEASURED = """
SELECT p.pseudonym AS patient, m.series_instance_uid AS series, m.sop_instance_uid AS sop
FROM measurements AS m
JOIN derived_identifier AS i ON i.authority = m.patient_authority AND i.patient_id = m.patient_id
JOIN derived_person AS p USING (person)
WHERE m.in_effect = 1 AND m.status = 'measured' AND m.sop_instance_uid IS NOT NULL
ORDER BY m.series_instance_uid
"""
SLICES = """
SELECT o.sha256, i.sop_instance_uid FROM derived_instance AS i JOIN fact_object AS o USING (object_id)
WHERE i.series_instance_uid = ? AND (? OR i.sop_instance_uid = ?) ORDER BY i.instance_number, o.sha256
"""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was written, and how many images stayed here, by why."""

    rows: Sequence[Mapping[str, Any]]
    kept_here: Mapping[str, int]


def write_images(
    db: Database,
    archive: Archive,
    folder: Path,
    which: Images,
    *,
    cover: Callable[[str], Cover],
    series_id: Callable[[str], str],
) -> Given:
    """Write images to ``images/`` of the folder of an export, each under ids of it.

    Parameters
    ----------
    which
        The measured slice of each series in effect, or all slices of the series.
    cover
        What stands for a patient (P…).
    series_id
        What stands for a SeriesInstanceUID in the other tables.
    """
    rows: list[dict[str, Any]] = []
    kept_here: Counter[str] = Counter()
    for patient, series, measured in db.execute(MEASURED).fetchall():
        disguise = cover(patient)
        found = db.execute(SLICES, [series, int(which == "series"), measured]).fetchall()
        for number, (sha256, sop) in enumerate(found, start=1):
            try:
                image = deidentified(archive.path(sha256), disguise)
            except FileNotFoundError:
                kept_here["its file was removed"] += 1
                continue
            except KeptHereError as error:
                kept_here[str(error)] += 1
                continue
            name = f"{FOLDER}/{disguise.patient}/{series_id(series)}-{number:03}.dcm"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            image.save_as(folder / name, enforce_file_format=True)
            rows.append(
                {
                    "patient": disguise.patient,
                    "series": series_id(series),
                    "file": name,
                    "sop_instance_uid": str(image.SOPInstanceUID),
                    "measured": int(sop == measured),
                }
            )
    return Given(rows=sorted(rows, key=lambda row: row["file"]), kept_here=dict(sorted(kept_here.items())))
