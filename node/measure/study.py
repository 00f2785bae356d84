"""A study as the database knows it: its images, its series, and how they stood each time it had become quiet."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

from sqlite_utils import Database

from analytics.reasons import to_dict
from node.clock import from_text
from node.dicom.header import header_from_json
from node.dicom.rejection import PATIENT_SAFETY, WRONG_WORKLIST_ENTRY
from node.dicom.stack import StoredImage
from node.measure.automatic import StudySeries, beside_candidates, doubts_of_order, in_order, series_of
from node.store.archive import Archive
from node.store.failures import tried

WITHDRAWING = frozenset({PATIENT_SAFETY, WRONG_WORKLIST_ENTRY})
"""Codes of rejection notes after which an image counts for nothing; after one for quality a person looks at it."""

FIRST_RECEIVED = (
    "(SELECT r.received_at FROM fact_object_receipt AS r WHERE r.object_id = i.object_id ORDER BY r.receipt_id LIMIT 1)"
)
"""When the object of ``i`` came: with its first receipt; a later one may say an earlier time (clock that was ahead)."""

MOST_STUDIES = 10
"""So many studies of one series are looked at together: a merge or a split leaves two or three. Of a sender that gives
all its series one UID, every study would read the images of all."""

PLACES = """
SELECT DISTINCT series_instance_uid, study_instance_uid FROM derived_instance
WHERE series_instance_uid IN (SELECT series_instance_uid FROM derived_instance WHERE study_instance_uid = ?)
ORDER BY 1, 2
"""
STUDY_IMAGES = f"""
SELECT o.sha256, i.headers,
       coalesce(i.known_since, {FIRST_RECEIVED}),
       coalesce((SELECT earlier.sha256 FROM fact_object AS earlier WHERE earlier.object_id = i.content_of), o.sha256),
       i.rejected
FROM derived_instance AS i JOIN fact_object AS o USING (object_id)
WHERE {{}} ORDER BY o.sha256
"""
OF_SERIES = STUDY_IMAGES.format("i.series_instance_uid IN (SELECT value FROM json_each(:series))")
OF_STUDIES = STUDY_IMAGES.format(
    "i.study_instance_uid IN (SELECT value FROM json_each(:studies)) AND "
    "i.series_instance_uid || ' ' || i.study_instance_uid IN (SELECT value FROM json_each(:places))"
)


Image = TypeVar("Image", bound=StoredImage)


@dataclass(frozen=True, kw_only=True)
class ReceivedImage(StoredImage):
    """An image of the archive, and when its pixels came first; again is no news.

    ``content`` is its SHA-256, or that of an earlier object which is the same but for whose it is.
    """

    received_at: str
    rejected: str | None = None
    """Code of the note by which a PACS has taken it back."""

    @property
    def in_doubt(self) -> bool:
        """A note has taken it back."""
        return self.rejected is not None

    @property
    def withdrawn(self) -> bool:
        """It counts for nothing: it is of another patient, or must not be used."""
        return self.rejected in WITHDRAWING


class ImageRow(NamedTuple):
    """An image as the database has it; plain values, which another process can be told."""

    sha256: str
    headers: str
    received_at: str
    content: str
    rejected: str | None


def image_rows(db: Database, study_uid: str) -> tuple[ImageRow, ...]:
    """All images of all series of a study, in an order that does not depend on how they came.

    Those of a series that say that they are of other studies as well, of the first :data:`MOST_STUDIES` of these.
    """
    studies: dict[str, list[str]] = defaultdict(list)
    for series, study in db.execute(PLACES, [study_uid]):
        studies[series].append(study)
    if all(len(found) <= MOST_STUDIES for found in studies.values()):
        rows = db.execute(OF_SERIES, {"series": json.dumps(list(studies))})
    else:
        kept = {uid: {*found[:MOST_STUDIES], study_uid} for uid, found in studies.items()}
        rows = db.execute(
            OF_STUDIES,
            {
                "studies": json.dumps(sorted({one for found in kept.values() for one in found})),
                "places": json.dumps([f"{uid} {one}" for uid, found in kept.items() for one in found]),
            },
        )
    return tuple(ImageRow(*row) for row in rows.fetchall())


def received(rows: Iterable[ImageRow], path: Callable[[str], Path]) -> list[ReceivedImage]:
    """Images with their headers; ``path`` says where the file of a SHA-256 lies."""
    return [
        ReceivedImage(
            path=path(row.sha256),
            content=row.content,
            header=header_from_json(row.headers),
            received_at=row.received_at,
            rejected=row.rejected,
        )
        for row in rows
    ]


def study_images(db: Database, archive: Archive, study_uid: str) -> list[ReceivedImage]:
    """All images of all series of a study; as :func:`image_rows`."""
    return received(image_rows(db, study_uid), archive.path)


def images_of(images: Iterable[Image]) -> dict[str, list[Image]]:
    """The images of each series, by its UID."""
    found: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        found[image.header.series_instance_uid].append(image)
    return found


def by_series(
    images: Iterable[StoredImage], *, left_out: MutableMapping[str, Exception] | None = None
) -> dict[str, StudySeries]:
    """The series of these images, by UID; one on which the judgement fails is left out, with what was raised."""
    found = sorted(images_of(images).items())
    judged = {uid: tried(partial(series_of, uid, members)) for uid, members in found}
    if left_out is not None:
        left_out.update({uid: one.error for uid, one in judged.items() if one.error is not None})
    return {uid: one.result() for uid, one in judged.items() if one.error is None}


def content_hash(images: Iterable[StoredImage]) -> str:
    """Changes with every image that comes, goes or differs, and with nothing else."""
    return hashlib.sha256("\n".join(sorted(image.content for image in images)).encode("ascii")).hexdigest()


def inputs_hash(series: Mapping[str, StudySeries]) -> str | None:
    """Of everything that an automatic measurement of the study looks at; ``None`` when nothing can be measured."""
    candidates = in_order(series)
    if not candidates:
        return None
    images = content_hash(image for one in candidates for image in one.images)
    if beside := [image for one in beside_candidates(series) for image in one.images]:
        images = hashlib.sha256(f"{images} {content_hash(beside)}".encode("ascii")).hexdigest()
    doubts = doubts_of_order(series)
    if not doubts:
        return images
    said = json.dumps([[uid, to_dict(doubts[uid])] for uid in sorted(doubts)])
    return hashlib.sha256(f"{images} {said}".encode("ascii")).hexdigest()


def versions(images: Sequence[ReceivedImage], study_uid: str, *, quiet_s: float) -> dict[str, dict[str, StudySeries]]:
    """The series of a study each time it had become quiet, by :func:`inputs_hash`, the oldest first.

    Taken from when the images came and not from when somebody looked, so that deriving everything again finds the
    same. What changes nothing that is measured is no version; the last is how the study stands.
    """
    moments = sorted({image.received_at for image in images if image.header.study_instance_uid == study_uid})
    quiet = timedelta(seconds=quiet_s)
    ends = [one for one, following in pairwise(moments) if from_text(following) - from_text(one) >= quiet]
    found: dict[str, dict[str, StudySeries]] = {}
    for end in [*ends, None]:
        series = by_series(image for image in images if end is None or image.received_at <= end)
        key = inputs_hash(series)
        if key is not None:
            # The newer one in the later place.
            found.pop(key, None)
            found[key] = series
    return found
