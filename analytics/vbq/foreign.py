"""Images of a series that are not of its kind: a localiser, a screenshot, one without a place among many with one.

A single such image must not cost the series: it is left out, with a word, and what is left is judged. Where several
kinds hold many images each, nobody can say which is the series, and nothing is left out.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analytics.vbq.header import MR_IMAGES, ImageHeader

PARALLEL_COSINE = 0.99
"""Slices of one stack are parallel to within 8°."""
MOST_FOREIGN = 0.25
"""Largest share of foreign images; beyond, a series is of several kinds (an echo of two is half, a plane of three a
third)."""
MOST_DIRECTIONS = 500
"""So many directions may be the usual one of a series; no stack that is measured has more slices."""
SAME_TIME = 0.05
"""Relative; repetition and echo times of one series differ by no more."""

NOT_AN_ORIGINAL = frozenset({"DERIVED", "SECONDARY", "LOCALIZER", "LOCALISER", "MPR", "REFORMATTED", "SUBTRACTION"})
NOT_MAGNITUDE = frozenset({"P", "PHASE", "PHASE MAP", "PHASE_MAP", "R", "REAL", "I", "IMAGINARY"})
CHEMICAL_SHIFT_PART = frozenset({"DIXON", "WATER", "FAT", "W", "F", "IP", "OP", "IN_PHASE", "OUT_PHASE", "OPP_PHASE"})
"""Values of Image Type."""


def foreign_images(images: Sequence[ImageHeader]) -> frozenset[ImageHeader]:
    """The images that are of another kind, direction or time than most; empty where they are too many.

    The order of the images does not matter.
    """
    foreign = _of_other_kinds(images)
    rest = [image for image in images if image not in foreign]
    for differs in (_not_parallel, _of_other_times):
        foreign |= (found := differs(rest))
        rest = [image for image in rest if image not in found]
    count = sum(image in foreign for image in images)
    return frozenset(foreign) if count <= MOST_FOREIGN * len(images) else frozenset()


def not_original(image: ImageHeader) -> tuple[str, ...]:
    """The values of its Image Type that an original magnitude image does not have."""
    values = [value.upper() for value in image.image_type]
    beyond_two = set(values[2:])
    return (*sorted(set(values) & NOT_AN_ORIGINAL), *sorted(beyond_two & (NOT_MAGNITUDE | CHEMICAL_SHIFT_PART)))


def unit_normal(image: ImageHeader) -> NDArray[np.float64] | None:
    """The normal of the slice; ``None`` where the image does not say how it lies."""
    return None if image.orientation is None else _normal(image.orientation)


@lru_cache(maxsize=1024)
def _normal(orientation: tuple[float, ...]) -> NDArray[np.float64] | None:
    """Most images of a series lie the same way; it is computed once."""
    if len(orientation) != 6:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    # Unit vectors at right angles span 1; a zeroed or skewed orientation does not.
    if not abs(length - 1) < 0.01:
        return None
    normal /= length
    normal.setflags(write=False)
    return normal


def stack_normal(images: Sequence[ImageHeader]) -> NDArray[np.float64] | None:
    """The normal of the image with the smallest orientation, so that it does not matter which image comes first."""
    return unit_normal(min(images, key=lambda image: image.orientation or ()))


def _kind(image: ImageHeader) -> tuple[object, ...]:
    position, spacing = image.position_mm, image.pixel_spacing_mm
    placed = unit_normal(image) is not None and position is not None and len(position) == 3 and spacing is not None
    return (
        image.sop_class_uid in MR_IMAGES,
        image.sop_class_uid,
        image.modality or "MR",
        image.samples_per_pixel or 1,
        image.photometric or "MONOCHROME2",
        not_original(image),
        placed,
    )


def _of_other_kinds(images: Sequence[ImageHeader]) -> set[ImageHeader]:
    kinds = Counter(map(_kind, images))
    usual = max(kinds, key=lambda kind: (kinds[kind], str(kind)))
    return {image for image in images if _kind(image) != usual}


def _not_parallel(images: Sequence[ImageHeader]) -> set[ImageHeader]:
    """Those that are not parallel to most; the direction with the most images is the usual one.

    Directions are compared, not images, and of more than :data:`MOST_DIRECTIONS` the commonest with all: the effort
    grows with the number of images alone.
    """
    lie = Counter(image.orientation or () for image in images if unit_normal(image) is not None)
    if not lie:
        return set()
    directions = sorted(lie, key=lambda one: (-lie[one], one))
    normals = np.array([_normal(one) for one in directions])
    alike = np.abs(normals[:MOST_DIRECTIONS] @ normals.T) >= PARALLEL_COSINE
    count = alike @ np.array([lie[one] for one in directions])
    usual = max(range(len(alike)), key=lambda at: (int(count[at]), directions[at]))
    others = {one for one, same in zip(directions, alike[usual], strict=True) if not same}
    return {image for image in images if image.orientation in others}


def _of_other_times(images: Sequence[ImageHeader]) -> set[ImageHeader]:
    found: set[ImageHeader] = set()
    for name in ("repetition_time_ms", "echo_time_ms"):
        given = [(image, value) for image in images if (value := getattr(image, name)) is not None]
        if given:
            usual = float(np.median([value for _, value in given]))
            found |= {image for image, value in given if abs(value - usual) > SAME_TIME * abs(usual)}
    return found
