"""How a series was acquired: what the score depends on, and what lies outside the range in which it is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from analytics.vbq.series import ImageHeader

T = TypeVar("T")

ACCEPTED_TR_MS = (350.0, 850.0)
ACCEPTED_TE_MS = (8.0, 20.0)
"""A normative VBQ study admitted TR 400–850 and TE 8–20; the paper that this software follows used TR 350, TE 13.6.
Outside, a series is measured all the same, with a warning."""
ACCEPTED_SOURCE = "a normative VBQ study admitted TR 400–850, TE 8–20; the paper used 350 and 13.6"

SAME = 0.05
"""Values of one series that differ by no more than this part of their median are one value (some scanners give the
repetition time of each package of slices)."""

NOMINAL_FIELDS_T = (0.2, 0.23, 0.25, 0.3, 0.35, 0.4, 0.5, 0.55, 0.6, 1.0, 1.2, 1.5, 3.0, 7.0)
FIELD_TOLERANCE = 0.06
"""Scanners give the field they have (2.89 T, 1.494 T); strata use the nominal one."""
GAUSS_PER_TESLA = 10_000.0

NORMALISATIONS = frozenset({"NORM", "PURE", "SCIC", "CLEAR"})
"""Values of Image Type that say that the coil's shading was corrected."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is stored with a series. ``None`` where the images do not say, or not with one voice."""

    repetition_time_ms: float | None
    echo_time_ms: float | None
    inversion_time_ms: float | None
    echo_train_length: float | None
    flip_angle_deg: float | None
    pixel_bandwidth_hz: float | None
    slice_thickness_mm: float | None
    slice_step_mm: float | None
    """From centre to centre: measured from the positions."""
    pixel_spacing_mm: tuple[float, ...] | None
    field_strength_t: float | None
    fat_saturation: bool
    contrast: bool
    prescan_normalisation: tuple[str, ...]
    sequence_name: str | None
    coil: str | None
    rescaled: bool
    """The images bring a modality rescale with an intercept or a slope other than 0 and 1."""
    warnings: tuple[str, ...]


def protocol_of(
    images: "Sequence[ImageHeader]", *, fat_saturation: bool, contrast: bool, positions_mm: Sequence[float]
) -> Protocol:
    """The protocol of a series, from all its images; the order of the images does not matter."""
    tr = consensus_number(image.repetition_time_ms for image in images)
    te = consensus_number(image.echo_time_ms for image in images)
    return Protocol(
        repetition_time_ms=tr,
        echo_time_ms=te,
        inversion_time_ms=consensus_number(image.inversion_time_ms for image in images),
        echo_train_length=consensus_number(image.echo_train_length for image in images),
        flip_angle_deg=consensus_number(image.flip_angle_deg for image in images),
        pixel_bandwidth_hz=consensus_number(image.pixel_bandwidth_hz for image in images),
        slice_thickness_mm=consensus_number(image.slice_thickness_mm for image in images),
        slice_step_mm=round(float(np.median(np.diff(positions_mm))), 2) if len(positions_mm) > 1 else None,
        pixel_spacing_mm=consensus(image.pixel_spacing_mm for image in images),
        field_strength_t=nominal_field_t(consensus_number(image.field_strength_t for image in images)),
        fat_saturation=fat_saturation,
        contrast=contrast,
        prescan_normalisation=tuple(
            sorted({value.upper() for image in images for value in image.image_type} & NORMALISATIONS)
        ),
        sequence_name=consensus(image.sequence_name for image in images),
        coil=consensus(image.coil for image in images),
        rescaled=any(
            (image.rescale_slope or 1.0) != 1.0 or (image.rescale_intercept or 0.0) != 0.0 for image in images
        ),
        warnings=(*_outside("repetition time", tr, ACCEPTED_TR_MS), *_outside("echo time", te, ACCEPTED_TE_MS)),
    )


def scanner_stratum(images: "Sequence[ImageHeader]") -> str | None:
    """Maker, model and nominal field, such as ``SIEMENS MAGNETOM_ESSENZA 1.5T``; ``None`` when nothing is known."""
    maker = consensus(image.manufacturer for image in images)
    model = consensus(image.model for image in images)
    field = nominal_field_t(consensus_number(image.field_strength_t for image in images))
    if maker is None and model is None and field is None:
        return None
    names = ("_".join(name.upper().split()) if name else "UNKNOWN" for name in (maker, model))
    return " ".join((*names, f"{field:g}T" if field else "UNKNOWN"))


def consensus(values: Iterable[T | None]) -> T | None:
    """The one value that all give, or ``None``: nobody gives one, or they differ."""
    distinct = {value for value in values if value is not None}
    return distinct.pop() if len(distinct) == 1 else None


def consensus_number(values: Iterable[float | None]) -> float | None:
    """The median of what is given, or ``None``: nobody gives a value, or they differ by more than :data:`SAME`."""
    given = sorted(value for value in values if value is not None)
    if not given:
        return None
    middle = float(np.median(given))
    return middle if given[-1] - given[0] <= SAME * abs(middle) else None


def nominal_field_t(field: float | None) -> float | None:
    """The nominal field of a scanner; old headers give it in gauss."""
    if not field or field <= 0:
        return None
    tesla = field / GAUSS_PER_TESLA if field > 100 else field
    nearest = min(NOMINAL_FIELDS_T, key=lambda nominal: abs(nominal - tesla))
    return nearest if abs(nearest - tesla) <= FIELD_TOLERANCE * nearest else round(tesla, 2)


def _outside(name: str, value_ms: float | None, accepted_ms: tuple[float, float]) -> tuple[str, ...]:
    low, high = accepted_ms
    if value_ms is None or low <= value_ms <= high:
        return ()
    return (f"{name} {value_ms:g} ms is outside {low:g}–{high:g} ms ({ACCEPTED_SOURCE})",)
