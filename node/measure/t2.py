"""The T2 beside a T1: its slice in the place of the one that is measured, read when it is asked for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from analytics.vbq.automatic import FluidOnT2, SagittalImage
from analytics.vbq.header import ImageHeader
from node.dicom.stack import Place, StoredImage, read_slice_beside
from node.errors import DecodingError
from node.measure.decoding import read_slices

USUAL_THICKNESS_MM = 4.0
"""Of the slices of a T1 that does not say it."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a series, and the headers of those that are not of its kind."""

    stored: Sequence[StoredImage]
    foreign: Collection[ImageHeader]


@dataclass(frozen=True, kw_only=True)
class T2Used:
    """A slice of a T2 series, and what it says of the circle of fluid."""

    series_uid: str
    place: Place
    fluid: FluidOnT2


class T2Slices:
    """:data:`analytics.vbq.automatic.T2At` of the T2 series beside a T1; the first that has a slice there is asked.

    ``within_mm``: half the thickness of the slices of the T1. A slice that cannot be read is none.
    """

    def __init__(self, series: Mapping[str, Images], *, within_mm: float) -> None:
        self._series, self._within_mm = series, within_mm
        self._given: tuple[str, Place] | None = None

    def __call__(self, t1: SagittalImage) -> SagittalImage | None:
        """The slice in the place of this one."""
        for uid, images in self._series.items():
            try:
                found = read_slice_beside(
                    images.stored, t1, read_slices, within_mm=self._within_mm, foreign=images.foreign
                )
            except DecodingError:
                continue
            if found is not None:
                image, place = found
                self._given = uid, place
                return image
        return None

    def used(self, fluid: FluidOnT2 | None) -> T2Used | None:
        """Which slice said this of the fluid; ``None`` where none did."""
        if fluid is None or self._given is None:
            return None
        uid, place = self._given
        return T2Used(series_uid=uid, place=place, fluid=fluid)
