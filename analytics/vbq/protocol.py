"""How a series was acquired: what the score depends on, and what lies outside the range in which it is known."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from analytics.reasons import Reason, words
from analytics.vbq.header import ImageHeader

T = TypeVar("T")

ACCEPTED_TR_MS = (350.0, 850.0)
ACCEPTED_TE_MS = (8.0, 20.0)
"""A normative VBQ study admitted TR 400–850 and TE 8–20; the paper that this software follows used TR 350, TE 13.6.
Outside, a series is measured all the same, with a warning."""
CHECKED_FIELD_T = 1.5
"""The field of the paper, of all T1 that the networks were shown and of all that readers were compared on."""
ACCEPTED_THICKNESS_MM = (3.0, 5.0)
"""Slice thickness in mm: the paper used 4; beyond 5 a slice mixes the midline with what lies beside it, below 3 noise
grows."""
COARSEST_PIXEL_MM = 1.5
"""The paper's pixels were 0.97 × 1.46 mm (280 mm over 288 × 192); coarser ones mix marrow with cortex, and fluid with
roots."""

SAME = 0.05
"""Values of one series that differ by no more than this part of their median are one value (some scanners give the
repetition time of each package of slices)."""

NOMINAL_FIELDS_T = (0.2, 0.23, 0.25, 0.3, 0.35, 0.4, 0.5, 0.55, 0.6, 1.0, 1.2, 1.5, 3.0, 7.0)
FIELD_TOLERANCE = 0.06
"""Scanners give the field they have (2.89 T, 1.494 T); strata use the nominal one."""
GAUSS_PER_TESLA = 10_000.0

NORMALISATIONS = frozenset({"NORM", "PURE", "SCIC", "CLEAR"})
"""Values of Image Type that say that the coil's shading was corrected. Not every maker says it there."""


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
    """Distance from centre to centre, measured from the positions."""
    pixel_spacing_mm: tuple[float, ...] | None
    field_strength_t: float | None
    fat_saturation: bool
    contrast: bool
    prescan_normalisation: tuple[str, ...]
    sequence_name: str | None
    coil: str | None
    rescaled: bool
    """The images bring a modality rescale with an intercept or a slope other than 0 and 1."""
    warnings: tuple[Reason, ...]


def protocol_of(
    images: Sequence[ImageHeader], *, fat_saturation: bool, contrast: bool, positions_mm: Sequence[float]
) -> Protocol:
    """The protocol of a series, from all its images; the order of the images does not matter."""
    protocol = Protocol(
        repetition_time_ms=consensus_number(image.repetition_time_ms for image in images),
        echo_time_ms=consensus_number(image.echo_time_ms for image in images),
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
        warnings=(),
    )
    return replace(protocol, warnings=tuple(_warnings(protocol)))


def to_json_dict(protocol: Protocol) -> dict[str, Any]:
    """Plain lists, strings and numbers; the warnings in words."""
    return {**asdict(protocol), "warnings": words(protocol.warnings)}


def scanner_stratum(images: Sequence[ImageHeader]) -> str | None:
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


def _warnings(protocol: Protocol) -> Iterator[Reason]:
    """What lies outside the range in which the score is known, and what the headers do not say."""
    yield from _outside("repetition time", protocol.repetition_time_ms, ACCEPTED_TR_MS)
    yield from _outside("echo time", protocol.echo_time_ms, ACCEPTED_TE_MS)
    field = protocol.field_strength_t
    if field is not None and field != CHECKED_FIELD_T:
        yield Reason("field-strength-unchecked", {"field_t": field, "checked_t": CHECKED_FIELD_T})
    thickness, (low, high) = protocol.slice_thickness_mm, ACCEPTED_THICKNESS_MM
    if thickness is not None and not low <= thickness <= high:
        yield Reason("slice-thickness-outside", {"thickness_mm": thickness, "low_mm": low, "high_mm": high})
    pixel = max(protocol.pixel_spacing_mm or (0.0,))
    if pixel > COARSEST_PIXEL_MM:
        yield Reason("pixels-coarse", {"pixel_mm": pixel, "limit_mm": COARSEST_PIXEL_MM})
    unsaid = {
        "repetition time": protocol.repetition_time_ms,
        "echo time": protocol.echo_time_ms,
        "field strength": field,
        "slice thickness": thickness,
    }
    if missing := tuple(name for name, value in unsaid.items() if value is None):
        yield Reason("headers-silent", {"what": missing})
    if not protocol.prescan_normalisation:
        yield Reason("no-prescan-normalisation")


def _outside(name: str, value_ms: float | None, accepted_ms: tuple[float, float]) -> tuple[Reason, ...]:
    low, high = accepted_ms
    if value_ms is None or low <= value_ms <= high:
        return ()
    return (Reason("time-outside-protocol", {"what": name, "value_ms": value_ms, "low_ms": low, "high_ms": high}),)
