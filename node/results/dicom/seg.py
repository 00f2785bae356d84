"""The masks of the circles as a binary segmentation: the very pixels that were measured."""

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes

from analytics.reasons import Reason
from analytics.records import CSF
from node.errors import DicomReadError
from node.results.content import Result
from node.results.dicom import scheme
from node.results.dicom.circles import in_order, inside, scored, signal_of
from node.results.dicom.common import equipment, finished, lasting_uid, printed, quiet, source_of
from node.results.records import Rendered


def render_seg(result: Result) -> Rendered:
    """The masks of a result that has a score.

    Raises
    ------
    DicomReadError
        The slice cannot be read, is not the one that was measured, or does not say in which frame of reference it lies.
    """
    with quiet():
        source = source_of(result)
        if not source.plain.get("FrameOfReferenceUID"):
            raise DicomReadError(Reason("element-missing", {"keyword": "FrameOfReferenceUID"}))
        shape = signal_of(result).shape
        regions = in_order(scored(result).regions)
        masks = np.stack([inside(region, shape) for _, region in regions], axis=-1)[np.newaxis]
        frames = int(source.plain.get("NumberOfFrames") or 1)
        if frames > 1:
            # Empty frames are left out of what is written.
            everywhere = np.zeros((frames, *masks.shape[1:]), dtype=bool)
            everywhere[(result.finding.frame_number or 1) - 1] = masks[0]
            masks = everywhere
        seg = Segmentation(
            source_images=[source.plain],
            pixel_array=masks.astype(np.uint8),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(result, number, name) for number, (name, _) in enumerate(regions, start=1)],
            content_description=printed(result)[: scheme.MEANING_LENGTH],
            content_label="VBQ",
            **equipment(result, series="seg"),
        )
        return finished(seg, source, result)


def _segment(result: Result, number: int, name: str) -> SegmentDescription:
    finding = result.finding
    of_fluid = name == CSF
    automatic = finding.approval is None or finding.circles_of is not None
    algorithm = AlgorithmIdentificationSequence(
        name=finding.algorithm_name, version=finding.algorithm_version, family=codes.DCM.ArtificialIntelligence
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=f"VBQ {name}",
        segmented_property_category=codes.SCT.BodySubstance if of_fluid else codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.CerebrospinalFluid if of_fluid else scheme.SITES[name],
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC if automatic else SegmentAlgorithmTypeValues.MANUAL,
        algorithm_identification=algorithm if automatic else None,
        tracking_uid=lasting_uid("region", finding.series_instance_uid, name),
        tracking_id=f"VBQ {name}",
    )
