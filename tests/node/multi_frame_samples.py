"""Multi-frame MR objects made of the single-frame images of a series, for the tests."""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, generate_uid

PER_SLICE = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "RepetitionTime", "EchoTime", "EchoTrainLength", "FlipAngle", "ScanningSequence", "SequenceVariant",
    "ScanOptions", "SequenceName", "PixelBandwidth", "ReceiveCoilName", "BodyPartExamined", "InstanceNumber",
)  # fmt: skip


def group(**values: object) -> list[Dataset]:
    """A functional group: a sequence of one item."""
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return [item]


def _object(images: Sequence[Dataset], sop_class: str, stored: np.ndarray) -> Dataset:
    """The images of a series as one object, without what each slice says by itself."""
    one = deepcopy(images[0])
    for name in (*PER_SLICE, "RescaleSlope", "RescaleIntercept"):
        if name in one:
            delattr(one, name)
    one.SOPClassUID = sop_class
    one.SOPInstanceUID = generate_uid(entropy_srcs=[sop_class, str(images[0].SOPInstanceUID)])
    one.InstanceNumber = 1
    one.NumberOfFrames = len(images)
    one.PixelData = stored.tobytes()
    return one


def _pixels(images: Sequence[Dataset]) -> np.ndarray:
    return np.stack([np.frombuffer(i.PixelData, np.uint16).reshape(i.Rows, i.Columns) for i in images])


def enhanced(
    images: Sequence[Dataset], *, offset: Callable[[int], int] = lambda _: 0, change: dict[str, object] | None = None
) -> Dataset:
    """Enhanced MR as a scanner writes it. Frame ``n`` is stored higher by ``offset(n)``, which its rescale takes away.

    ``change`` gives other values of elements, wherever they stand.
    """
    stored = _pixels(images)
    for number in range(len(images)):
        stored[number] += np.uint16(offset(number + 1))
    one = _object(images, EnhancedMRImageStorage, stored)
    first = images[0]
    values = {
        "EchoPulseSequence": "SPIN", "ComplexImageComponent": "MAGNITUDE", "SpectrallySelectedSuppression": "NONE",
        "EchoPlanarPulseSequence": "NO", "FrameType": ["ORIGINAL", "PRIMARY", "T1", "NONE"],
        "InversionRecovery": "NO", "SpectrallySelectedExcitation": "NONE",
        "EffectiveEchoTime": float(first.EchoTime), "CodeMeaning": "Lumbar spine", **(change or {}),
    }  # fmt: skip
    one.ImageType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
    one.PulseSequenceName = "tse2d1_3"
    for name in ("EchoPulseSequence", "ComplexImageComponent", "SpectrallySelectedSuppression"):
        setattr(one, name, values[name])
    one.EchoPlanarPulseSequence = values["EchoPlanarPulseSequence"]
    shared = Dataset()
    shared.PixelMeasuresSequence = group(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=first.ImageOrientationPatient)
    shared.MRTimingAndRelatedParametersSequence = group(
        RepetitionTime=float(first.RepetitionTime), RFEchoTrainLength=int(first.EchoTrainLength), FlipAngle=150.0
    )
    inversion = {"InversionTimes": [200.0]} if values["InversionRecovery"] == "YES" else {}
    shared.MRModifierSequence = group(
        InversionRecovery=values["InversionRecovery"],
        SpectrallySelectedExcitation=values["SpectrallySelectedExcitation"], **inversion,
    )  # fmt: skip
    shared.FrameAnatomySequence = group(
        FrameLaterality="U",
        AnatomicRegionSequence=group(
            CodeValue="122496007", CodingSchemeDesignator="SCT", CodeMeaning=values["CodeMeaning"]
        ),
    )
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = [
        _enhanced_frame(image, values, offset(number)) for number, image in enumerate(images, start=1)
    ]
    return one


def _enhanced_frame(image: Dataset, values: dict[str, object], offset: int) -> Dataset:
    item = Dataset()
    item.PlanePositionSequence = group(ImagePositionPatient=image.ImagePositionPatient)
    item.MREchoSequence = group(EffectiveEchoTime=values["EffectiveEchoTime"])
    item.MRImageFrameTypeSequence = group(
        FrameType=values["FrameType"], ComplexImageComponent=values["ComplexImageComponent"]
    )
    item.PixelValueTransformationSequence = group(RescaleIntercept=-offset, RescaleSlope=1, RescaleType="US")
    return item


def legacy_converted(images: Sequence[Dataset]) -> Dataset:
    """Legacy Converted Enhanced MR as an archive makes it of single-frame images (PS3.3, A.70)."""
    one = _object(images, LegacyConvertedEnhancedMRImageStorage, _pixels(images))
    own = {"ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"}
    one.SharedFunctionalGroupsSequence = [Dataset()]
    one.PerFrameFunctionalGroupsSequence = []
    for image in images:
        item = Dataset()
        item.PlanePositionSequence = group(ImagePositionPatient=image.ImagePositionPatient)
        item.PlaneOrientationSequence = group(ImageOrientationPatient=image.ImageOrientationPatient)
        item.PixelMeasuresSequence = group(PixelSpacing=image.PixelSpacing, SliceThickness=image.SliceThickness)
        item.MRImageFrameTypeSequence = group(FrameType=image.ImageType)
        item.UnassignedPerFrameConvertedAttributesSequence = group(
            **{name: image[name].value for name in PER_SLICE if name in image and name not in own}
        )
        one.PerFrameFunctionalGroupsSequence.append(item)
    return one
