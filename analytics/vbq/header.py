"""The header of one image, as far as the choice of a series, its protocol and its geometry need it."""

from dataclasses import dataclass

MR_IMAGES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""SOP Classes MR, Enhanced MR and Legacy Converted Enhanced MR; of the latter two each frame is an image here."""


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """What the choice, the protocol and the geometry need of one image; ``None`` or empty where not given.

    ``orientation`` holds the direction cosines of increasing column index, then of increasing row index, in patient
    coordinates (x to the left, y to the back, z to the head); ``position_mm`` the centre of pixel (0, 0).
    """

    sop_class_uid: str
    modality: str | None
    image_type: tuple[str, ...]
    orientation: tuple[float, ...] | None
    position_mm: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    rows: int | None
    columns: int | None
    samples_per_pixel: int | None
    photometric: str | None
    slice_thickness_mm: float | None
    spacing_between_slices_mm: float | None
    repetition_time_ms: float | None
    echo_time_ms: float | None
    inversion_time_ms: float | None
    echo_train_length: float | None
    flip_angle_deg: float | None
    pixel_bandwidth_hz: float | None
    field_strength_t: float | None
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    scan_options: tuple[str, ...]
    sequence_name: str | None
    contrast_agent: str | None
    body_part: str | None
    study_description: str | None
    series_description: str | None
    protocol_name: str | None
    series_number: int | None
    manufacturer: str | None
    model: str | None
    station: str | None
    device_serial: str | None
    coil: str | None
    rescale_slope: float | None
    rescale_intercept: float | None
    contrast_elements: tuple[tuple[str, str], ...] = ()
    """What elements say of a contrast agent: (what, text), such as its volume; what is empty is not here."""
    contrast_told: tuple[tuple[str, str], ...] = ()
    """What comments and procedures tell of one: (where, value of :class:`analytics.vbq.contrast.Contrast`)."""
    bits_stored: int | None = None
    derivation: str | None = None
    """Derivation Description: what was done to the pixels."""
    conversion_type: str | None = None
    """Of a secondary capture: how its pixels came to be."""
    lossy_ratio: float | None = None
    """Lossy Image Compression Ratio, the product of all that are given; ``None`` where it is not said."""
    burned_in: str | None = None
    """Burned In Annotation."""
    frame_of_reference_uid: str | None = None
    """Series of one have their places in the same coordinates."""
