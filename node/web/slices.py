"""The slices of a series in their order along the spine's sides, and those of the same place in a T2 beside it."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from analytics.vbq.header import ImageHeader
from node.dicom.header import Slice, header_from_json
from node.measure.decoding import read_slice
from node.store.archive import Archive
from node.store.removed import STANDS

IMAGES = f"""
SELECT o.sha256, i.instance_number, i.headers FROM derived_instance AS i JOIN fact_object AS o USING (object_id)
WHERE i.series_instance_uid = ? AND i.modality = 'MR'
  AND NOT EXISTS (SELECT 1 FROM fact_removal WHERE key = o.sha256 AND {STANDS})
ORDER BY i.instance_number, o.sha256
"""
T2_ECHO_MS = 60.0
"""Echo time from which a spin echo is T2-weighted."""
SAGITTAL = 0.8
"""Least share of the normal that points from side to side."""
SAME_PLACE_MM = 6.0


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One slice: its file, its number (and frame, 1-based), and where it lies along the normal (mm)."""

    sha256: str
    instance_number: int | None
    frame_number: int | None
    image: ImageHeader

    @cached_property
    def normal(self) -> NDArray[np.float64] | None:
        """Unit vector across the slice."""
        given = self.image.orientation
        return np.cross(given[:3], given[3:]) if given and len(given) == 6 else None

    @property
    def along_mm(self) -> float:
        """Where it lies; 0 where the images do not say."""
        position = self.image.position_mm
        if self.normal is None or not position or len(position) != 3:
            return 0.0
        return float(np.dot(self.normal, position))

    def pixels(self, archive: Archive) -> Slice:
        """Its signal, as the measurement sees it."""
        return read_slice(archive.path(self.sha256), frame=self.frame_number)


def slices_of(db: Database, series_uid: str) -> list[Placed]:
    """All slices of a series whose files are here, from one side to the other."""
    return list(_placed(tuple(db.execute(IMAGES, [series_uid]).fetchall())))


# A page asks for each slice by itself, and none of them is found without the headers of all.
@lru_cache(maxsize=8)
def _placed(rows: tuple[tuple[str, int | None, str], ...]) -> tuple[Placed, ...]:
    found = []
    for sha256, number, headers in rows:
        header = header_from_json(headers)
        for frame, image in enumerate(header.images, start=1):
            found.append(
                Placed(
                    sha256=sha256,
                    instance_number=number,
                    frame_number=frame if header.frames else None,
                    image=image,
                )
            )
    return tuple(
        sorted(found, key=lambda one: (round(one.along_mm, 1), one.instance_number or 0, one.frame_number or 0))
    )


def find_series(db: Database, public: str) -> str | None:
    """The series that an address of the pages names."""
    found = db.execute("SELECT series_instance_uid FROM derived_series WHERE public_id = ?", [public]).fetchall()
    # Of two under one address nobody can say which is meant.
    return str(found[0][0]) if len(found) == 1 else None


def t2_beside(db: Database, series_uid: str) -> str | None:
    """The sagittal T2 series of the same study, with the most images where there are several."""
    for (uid,) in db.execute(
        "SELECT o.series_instance_uid FROM derived_series AS o JOIN derived_series AS s USING (study_instance_uid) "
        "WHERE s.series_instance_uid = ? AND o.series_instance_uid <> ? AND o.modality = 'MR' "
        "ORDER BY o.instances DESC, o.series_instance_uid",
        [series_uid, series_uid],
    ).fetchall():
        first = next(iter(slices_of(db, uid)), None)
        if first is not None and _is_sagittal_t2(first):
            return str(uid)
    return None


def _is_sagittal_t2(one: Placed) -> bool:
    echo = one.image.echo_time_ms
    return echo is not None and echo >= T2_ECHO_MS and one.normal is not None and abs(one.normal[0]) >= SAGITTAL


def same_place(slices: list[Placed], other: list[Placed]) -> list[int | None]:
    """For each slice the number (0-based) of the one of the other series in the same place; ``None``: there is none."""
    found: list[int | None] = []
    for one in slices:
        near = min(range(len(other)), key=lambda n: abs(other[n].along_mm - one.along_mm), default=None)
        apart = None if near is None else abs(other[near].along_mm - one.along_mm)
        found.append(near if apart is not None and apart <= SAME_PLACE_MM else None)
    return found
