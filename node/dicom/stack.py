"""Stacks of sagittal slices: which images of a series lie parallel behind each other, and their pixels.

A series as it arrives may hold images twice, of several sizes, of several directions, several stacks one above the
other, and images that cannot be read. Every one that is left out is said.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analytics.reasons import Reason, Value
from analytics.vbq.automatic import SagittalImage
from analytics.vbq.foreign import PARALLEL_COSINE
from analytics.vbq.header import ImageHeader
from analytics.vbq.series import SAGITTAL_COSINE
from node.dicom.header import Header, Slice
from node.errors import DicomReadError

ReadSlices = Callable[[Path, Sequence[int | None]], list[Slice]]
""":func:`node.dicom.reader.read_slices`, or what does the same in a process of its own."""

SAME_PLACE_MM = 0.1
"""Centres nearer to each other than this along the normal are one place: headers round to tenths."""
SAME_STACK_MM = 20.0
"""Corners of the slices of one stack lie within this of each other in the plane; two blocks of a spine do not."""
SAME_SPACING = 0.01
"""Relative."""
SECOND_STACK_SHARE = 0.5
"""A further stack with at least this share of the largest one's slices may be the one that is meant."""


MAX_SLICES = 500
"""Most slices of a series whose pixels are read: a finely cut volume of the spine has about two hundred."""
MAX_STACK_PIXELS = 64 * 1024**2
"""Largest stack, in pixels; it is held in memory (half a gigabyte as float64): 250 slices of 512 × 512, 64 of 1,024 ×
1,024."""


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """A stored object: its file, what names its bytes (their SHA-256 where it is known), and its header."""

    path: Path
    content: str
    header: Header

    @property
    def in_doubt(self) -> bool:
        """Whether a person must look at it before it is used."""
        return False


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a slice is found: its instance, and the frame (1-based) of a multi-frame one."""

    sop_instance_uid: str
    instance_number: int | None
    frame_number: int | None


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Parallel slices in the order of their place, each with where it is found.

    ``doubts`` are what a person must know before the result is used, ``notes`` what is merely said.
    """

    images: tuple[SagittalImage, ...]
    places: tuple[Place, ...]
    doubts: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """A slice before its pixels are read."""

    path: Path
    place: Place
    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    position_mm: NDArray[np.float64]
    axes: NDArray[np.float64]
    """Direction of increasing column index, of increasing row index, and the normal, a row each."""
    lossy: bool

    @property
    def file(self) -> tuple[Path, int | None]:
        """What tells slices apart: two objects may bear one UID."""
        return self.path, self.place.frame_number

    @property
    def along_mm(self) -> float:
        return float(self.position_mm @ self.axes[2])

    @property
    def order(self) -> tuple[float, int, str, int]:
        number = self.place.instance_number
        return (
            round(self.along_mm, 1),
            number if number is not None else 2**31,
            self.place.sop_instance_uid,
            self.place.frame_number or 0,
        )


def read_stacks(
    images: Iterable[StoredImage], read: ReadSlices, *, foreign: Collection[ImageHeader] = ()
) -> list[Stack]:
    """The sagittal stacks of a series with their pixels, the largest first; usually one. ``read`` reads the pixels.

    ``foreign`` are headers of images that do not belong to the series; they are passed over.

    Further stacks are given only where they have at least half as many slices as the largest. One of which no image can
    be read says so and holds none. Without any sagittal slice the list is empty.
    """
    images = list(images)
    count = sum(image not in foreign for stored in images for image in stored.header.images)
    if count > MAX_SLICES:
        about: dict[str, Value] = {"slices": count, "limit": MAX_SLICES}
        return [Stack(images=(), places=(), doubts=(Reason("too-many-slices", about),))]
    given = _slices(images, foreign)
    slices = [one for one in given if isinstance(one, _Slice)]
    unplaced = len(given) - len(slices)
    groups = [group for group in _groups(slices) if abs(group[0].axes[2, 0]) >= SAGITTAL_COSINE]
    groups = sorted(groups, key=lambda group: (-len(group), group[0].order))
    if not groups:
        return []
    kept = [group for group in groups if len(group) >= SECOND_STACK_SHARE * len(groups[0])]
    lossy = sum(one.lossy for one in slices)
    doubts = (
        *([Reason("images-unplaced", {"images": unplaced})] if unplaced else []),
        *([Reason("images-lossy", {"images": lossy})] if lossy else []),
    )
    return [
        _read(
            group,
            doubts=doubts,
            notes=_apart(len(slices) - len(group)),
            read=read,
        )
        for group in kept
    ]


def read_slice_beside(
    images: Iterable[StoredImage],
    near: SagittalImage,
    read: ReadSlices,
    *,
    within_mm: float,
    foreign: Collection[ImageHeader] = (),
) -> tuple[SagittalImage, Place] | None:
    """The slice of a series that is parallel to a slice of another and nearest to it, along the normal of that.

    Both have their places in the same coordinates. ``None`` where none lies within ``within_mm``, or where it cannot be
    read.
    """
    normal = np.cross(near.orientation[:3], near.orientation[3:])
    given = [one for one in _slices(images, foreign) if one is not None]
    away = {one.file: abs(float((one.position_mm - near.position_mm) @ normal)) for one in given}
    fitting = [
        one
        for one in given
        if away[one.file] <= within_mm
        and abs(float(one.axes[2] @ normal)) >= PARALLEL_COSINE
        and one.size[0] * one.size[1] <= MAX_STACK_PIXELS
    ]
    if not fitting:
        return None
    nearest = min(fitting, key=lambda one: (round(away[one.file], 1), one.order))
    pixels, _ = _pixels([nearest], read)
    return (_image(nearest, pixels[nearest.file]), nearest.place) if pixels else None


def _apart(images: int) -> tuple[Reason, ...]:
    return (Reason("images-of-another-stack", {"images": images}),) if images else ()


# ---- geometry --------------------------------------------------------------------------------------------------
def _slices(images: Iterable[StoredImage], foreign: Collection[ImageHeader]) -> list[_Slice | None]:
    """Every slice of the objects; ``None`` for one that does not say how it lies."""
    found: list[_Slice | None] = []
    for stored in images:
        header = stored.header
        for number, image in enumerate(header.images, start=1):
            if image in foreign:
                continue
            place = Place(
                sop_instance_uid=header.sop_instance_uid,
                instance_number=header.instance_number,
                frame_number=number if header.frames else None,
            )
            found.append(_placed(stored.path, place, image, lossy=header.lossy))
    return found


def _placed(path: Path, place: Place, image: ImageHeader, *, lossy: bool) -> _Slice | None:
    spacing, position, direction = image.pixel_spacing_mm, image.position_mm, image.orientation
    if not image.rows or not image.columns or not spacing or len(spacing) != 2 or min(spacing) <= 0:
        return None
    if not position or len(position) != 3 or not direction or len(direction) != 6:
        return None
    axes = _axes(direction)
    if axes is None:
        return None
    return _Slice(
        path=path,
        place=place,
        size=(image.rows, image.columns),
        spacing_mm=(spacing[0], spacing[1]),
        position_mm=np.array(position),
        axes=axes,
        lossy=lossy,
    )


@lru_cache(maxsize=1024)
def _axes(direction: tuple[float, ...]) -> NDArray[np.float64] | None:
    """As of a slice; the images of a series lie in few directions. ``None`` where they are no unit vectors at right
    angles: a zeroed, skewed or scaled orientation gives other lengths."""
    across, down = np.array(direction[:3]), np.array(direction[3:])
    axes = np.stack([across, down, np.cross(across, down)])
    if any(abs(float(np.linalg.norm(vector)) - 1) > 0.01 for vector in axes):
        return None
    axes.setflags(write=False)
    return axes


def _groups(slices: Iterable[_Slice]) -> list[list[_Slice]]:
    """Slices of one size, direction and place in the plane, each group in the order of the places."""
    groups: list[list[_Slice]] = []
    for one in sorted(slices, key=lambda one: one.order):
        group = next((group for group in groups if _belong(group[0], one)), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return groups


def _belong(first: _Slice, other: _Slice) -> bool:
    if first.size != other.size or not np.allclose(first.spacing_mm, other.spacing_mm, rtol=SAME_SPACING):
        return False
    # Direction by direction: an image turned upside down is parallel, but no neighbour.
    if float((first.axes * other.axes).sum(axis=1).min()) < PARALLEL_COSINE:
        return False
    moved = first.axes[:2] @ (other.position_mm - first.position_mm)
    return float(np.abs(moved).max()) <= SAME_STACK_MM


# ---- pixels ----------------------------------------------------------------------------------------------------
def _read(group: Sequence[_Slice], *, doubts: tuple[Reason, ...], notes: tuple[Reason, ...], read: ReadSlices) -> Stack:
    pixels_of_all = len(group) * group[0].size[0] * group[0].size[1]
    if pixels_of_all > MAX_STACK_PIXELS:
        about: dict[str, Value] = {"slices": len(group), "pixels": pixels_of_all, "limit": MAX_STACK_PIXELS}
        return Stack(images=(), places=(), doubts=(*doubts, Reason("stack-too-large", about)), notes=notes)
    pixels, unread = _pixels(group, read)
    kept: list[tuple[_Slice, Slice]] = []
    again = 0
    for one, found in ((one, pixels[one.file]) for one in group if one.file in pixels):
        if not kept or abs(kept[-1][0].along_mm - one.along_mm) > SAME_PLACE_MM:
            kept.append((one, found))
        elif not np.array_equal(kept[-1][1].signal, found.signal, equal_nan=True):
            again += 1
    differing = [Reason("images-at-one-place", {"images": again})] if again else []
    return Stack(
        images=tuple(_image(one, found) for one, found in kept),
        places=tuple(one.place for one, _ in kept),
        doubts=(*doubts, *unread, *differing),
        notes=notes,
    )


def _pixels(group: Sequence[_Slice], read: ReadSlices) -> tuple[dict[tuple[Path, int | None], Slice], list[Reason]]:
    """The pixels by file and frame, and how many could not be read and why."""
    found: dict[tuple[Path, int | None], Slice] = {}
    failures: Counter[Reason] = Counter()
    by_path: dict[Path, list[_Slice]] = {}
    for one in group:
        by_path.setdefault(one.path, []).append(one)
    for path, slices in by_path.items():
        try:
            slices_read = read(path, [one.place.frame_number for one in slices])
        except FileNotFoundError:
            failures[Reason("file-gone")] += len(slices)
        except DicomReadError as error:
            failures[error.reason] += len(slices)
        else:
            found.update({one.file: pixels for one, pixels in zip(slices, slices_read, strict=True)})
    return found, [Reason("images-unreadable", {"images": number, "why": why}) for why, number in failures.items()]


def _image(one: _Slice, pixels: Slice) -> SagittalImage:
    x, y, z = (float(value) for value in one.position_mm)
    across, down = one.axes[0], one.axes[1]
    return SagittalImage(
        signal=pixels.signal,
        spacing_mm=one.spacing_mm,
        position_mm=(x, y, z),
        orientation=(
            float(across[0]), float(across[1]), float(across[2]), float(down[0]), float(down[1]), float(down[2])
        ),
    )  # fmt: skip
