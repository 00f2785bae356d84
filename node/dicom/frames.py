"""Frames of Enhanced and Legacy Converted Enhanced MR, each seen as the single-frame image it stands for.

A multi-frame object says per frame, for all frames, or at its top level what a single-frame image says at its top
level, partly in other elements. :func:`frames_of` gives one view a frame, with the elements of a single-frame image.

References
----------
DICOM PS3.3, C.7.6.16 (functional groups), C.8.13.5 (Enhanced MR) and A.70 (Legacy Converted Enhanced MR, whose
elements without a place of their own stand in the Unassigned Converted Attributes).
"""

from collections.abc import Callable, Mapping, Sequence

from pydicom.dataset import Dataset

PER_FRAME = "PerFrameFunctionalGroupsSequence"
SHARED = "SharedFunctionalGroupsSequence"
GROUPS = (
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelValueTransformationSequence",
    "MRImageFrameTypeSequence",
    "MRTimingAndRelatedParametersSequence",
    "MREchoSequence",
    "MRModifierSequence",
    "MRImagingModifierSequence",
    "MRReceiveCoilSequence",
    "FrameAnatomySequence",
    "ContrastBolusUsageSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)
"""The functional groups in which something is looked up, what has a place of its own first."""
SEQUENCES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
"""Echo Pulse Sequence (0018,9008) as the Scanning Sequence (0018,0020) of a single-frame image."""


class Frame:
    """The elements of one frame: its own, then those of all frames, then those of the object."""

    def __init__(self, layers: Sequence[Dataset], groups: Dataset) -> None:
        self._layers = layers
        self.groups = groups
        """Its own functional groups."""

    def get(self, keyword: str, /) -> object:
        """The value that a single-frame image would have, or ``None``."""
        value = self.first(keyword)
        if keyword in AS_SINGLE_FRAME and (value is None or keyword == "ImageType"):
            return AS_SINGLE_FRAME[keyword](self)
        return value

    def says(self, keyword: str) -> str:
        """The text of an element in capitals; empty where it is not given."""
        value = self.first(keyword)
        return "" if value is None else str(value).strip().upper()

    def first(self, keyword: str) -> object:
        """The value of the element itself where it is given first, or ``None``."""
        for layer in self._layers:
            value: object = layer.get(keyword)
            if value is not None:
                return value
        return None


def frames_of(dataset: Dataset) -> list[Frame]:
    """A view of each frame, in their order (frame 1 first); none for a single-frame image.

    Raises whatever pydicom raises for functional groups that it cannot make sense of.
    """
    shared = [layer for item in dataset.get(SHARED) or () for layer in _groups(item)]
    return [Frame([*_groups(item), *shared, dataset], item) for item in dataset.get(PER_FRAME) or ()]


def _groups(item: Dataset) -> list[Dataset]:
    return [group[0] for name in GROUPS if (group := item.get(name))]


def _image_type(frame: Frame) -> object:
    """Of the frame, with the component of the complex signal, which a single-frame image names there."""
    given = frame.first("FrameType") or frame.first("ImageType")
    values = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else []
    component = frame.says("ComplexImageComponent")
    return [*values, component] if component else values


def _scanning_sequence(frame: Frame) -> object:
    found = list(SEQUENCES.get(frame.says("EchoPulseSequence"), ()))
    if frame.says("EchoPlanarPulseSequence") == "YES":
        found.append("EP")
    if frame.says("InversionRecovery") == "YES":
        found.append("IR")
    return found


def _inversion_time(frame: Frame) -> object:
    return frame.first("InversionTimes") if frame.says("InversionRecovery") == "YES" else None


def _scan_options(frame: Frame) -> object:
    """Any spectral selection counts, of water too: it changes how marrow looks."""
    suppressed = frame.says("SpectrallySelectedSuppression") not in {"", "NONE"}
    excited = frame.says("SpectrallySelectedExcitation") not in {"", "NONE"}
    return [*(["FS"] if suppressed else []), *(["WE"] if excited else [])]


def _body_part(frame: Frame) -> object:
    region = frame.first("AnatomicRegionSequence")
    return region[0].get("CodeMeaning") if isinstance(region, Sequence) and region else None


AS_SINGLE_FRAME: Mapping[str, Callable[[Frame], object]] = {
    "ImageType": _image_type,
    "ScanningSequence": _scanning_sequence,
    "ScanOptions": _scan_options,
    "InversionTime": _inversion_time,
    "EchoTime": lambda frame: frame.first("EffectiveEchoTime"),
    "EchoTrainLength": lambda frame: frame.first("RFEchoTrainLength"),
    "SequenceName": lambda frame: frame.first("PulseSequenceName"),
    "BodyPartExamined": _body_part,
}
"""Elements of a single-frame image that a multi-frame one does not have, and what stands for them."""
