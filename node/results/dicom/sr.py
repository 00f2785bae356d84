"""The structured report: TID 1500 (Measurement Report) as Comprehensive SR.

A planar region of interest for each circle with mean and standard deviation of its signal, and a group with the score,
its interval, the confidence in the levels, the status and what is to be known. A withdrawn one has no number.
"""

import pydicom
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementProperties,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurement,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from analytics.reasons import SOURCE_LANGUAGE, load_language
from node.results.content import TWO_SIDED_95, Region, Result, Score
from node.results.dicom import scheme
from node.results.dicom.circles import graphic, in_order, scored, signal_of
from node.results.dicom.common import (
    MANUFACTURER,
    MODEL,
    Source,
    equipment,
    finished,
    lasting_uid,
    person_name,
    printed,
    quiet,
    source_of,
)
from node.results.records import Rendered
from node.results.scheme import SCHEME, SCHEME_UID

UNCERTAINTY_DIGITS = 6


def render_sr(result: Result) -> Rendered:
    """The report of a result.

    Raises
    ------
    DicomReadError
        The slice cannot be read, is not the one that was measured, or the report cannot be encoded.
    """
    with quiet():
        source = source_of(result)
        report = _report(result, source)
        approval = result.finding.approval
        earlier = result.replaces
        sr = ComprehensiveSR(
            evidence=[source.plain],
            content=report[0],
            is_complete=True,
            is_final=approval is not None,
            is_verified=approval is not None,
            verifying_observer_name=person_name(approval.name) if approval else None,
            verifying_organization=result.site if approval else None,
            previous_versions=[pydicom.dcmread(earlier.path)] if earlier and earlier.path else None,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            coding_schemes=[_private_scheme()],
            **equipment(result, series="sr"),
        )
        if approval is not None:
            at = approval.at.astimezone(result.made_at.tzinfo).strftime("%Y%m%d%H%M%S%z")
            sr.VerifyingObserverSequence[0].VerificationDateTime = at
        return finished(sr, source, result)


def _report(result: Result, source: Source) -> MeasurementReport:
    groups: list[PlanarROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations] = []
    if result.finding.score is not None:
        shape = signal_of(result).shape
        groups += [_circle(result, source, name, region, shape) for name, region in in_order(scored(result).regions)]
    groups.append(_summary(result, source))
    report = MeasurementReport(
        observation_context=_observers(result),
        procedure_reported=scheme.PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    said = TextContentItem(
        name=scheme.COMMENT, value=printed(result), relationship_type=RelationshipTypeValues.CONTAINS
    )
    report[0].ContentSequence.append(said)
    return report


def _private_scheme() -> CodingSchemeIdentificationItem:
    item = CodingSchemeIdentificationItem(
        designator=SCHEME, name=scheme.SCHEME_NAME, responsible_organization=MANUFACTURER
    )
    # As an argument it is dropped where there is no registry.
    item.CodingSchemeUID = SCHEME_UID
    return item


def _observers(result: Result) -> ObservationContext:
    device = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=lasting_uid("device", result.site),
            name=result.site,
            manufacturer_name=MANUFACTURER,
            model_name=MODEL,
        ),
    )
    if result.finding.approval is None:
        return ObservationContext(observer_device_context=device)
    person = ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(
            name=person_name(result.finding.approval.name)
        ),
    )
    return ObservationContext(observer_person_context=person, observer_device_context=device)


def _circle(
    result: Result, source: Source, name: str, region: Region, shape: tuple[int, ...]
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    values = ((region.mean, scheme.MEAN), (region.sd, scheme.STANDARD_DEVIATION))
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(result, name),
        referenced_region=ImageRegion(
            graphic_type=GraphicTypeValues.CIRCLE,
            graphic_data=graphic(region, shape),
            source_image=SourceImageForRegion.from_source_image(source.plain, _frames(result)),
        ),
        finding_type=scheme.FINDINGS[name],
        finding_sites=[FindingSite(anatomic_location=scheme.SITES[name])],
        algorithm_id=_algorithm(result),
        measurements=[
            Measurement(name=scheme.SIGNAL, value=float(value), unit=scheme.NO_UNIT, derivation=derivation)
            for value, derivation in values
        ],
    )


def _summary(result: Result, source: Source) -> MeasurementsAndQualitativeEvaluations:
    score = result.finding.score
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(result, "VBQ"),
        finding_type=codes.SCT.BoneMarrow,
        finding_sites=[FindingSite(anatomic_location=scheme.LUMBAR_SPINE)],
        algorithm_id=_algorithm(result),
        measurements=_numbers(result, source, score) if score is not None else None,
        qualitative_evaluations=_evaluations(result),
    )


def _numbers(result: Result, source: Source, score: Score) -> list[Measurement]:
    properties = None
    if score.vbq_sd is not None:
        half = round(TWO_SIDED_95 * score.vbq_sd, UNCERTAINTY_DIGITS)
        properties = MeasurementProperties(upper_measurement_uncertainty=half, lower_measurement_uncertainty=half)
    image = SourceImageForMeasurement.from_source_image(source.plain, _frames(result))
    numbers = [
        Measurement(
            name=scheme.VBQ,
            value=score.vbq_mean,
            unit=scheme.RATIO,
            derivation=scheme.MEAN,
            properties=properties,
            referenced_images=[image],
        ),
        Measurement(name=scheme.VBQ_MEDIAN, value=score.vbq_median, unit=scheme.RATIO, derivation=scheme.MEDIAN),
    ]
    if score.vbq_sd is not None:
        numbers.append(Measurement(name=scheme.VBQ_SD, value=float(score.vbq_sd), unit=scheme.RATIO))
    if score.levels_confidence is not None:
        confidence = float(score.levels_confidence)
        numbers.append(Measurement(name=scheme.LEVELS_CONFIDENCE, value=confidence, unit=scheme.NO_UNIT))
    return numbers


def _evaluations(result: Result) -> list[QualitativeEvaluation]:
    english = load_language(SOURCE_LANGUAGE)
    remarks = [scheme.reason_code(one.code, one.words(english)) for one in result.finding.reasons]
    status = QualitativeEvaluation(name=scheme.STATUS, value=scheme.STATUSES[result.status.value])
    return [status, *(QualitativeEvaluation(name=scheme.REMARK, value=one) for one in remarks)]


def _tracked(result: Result, name: str) -> TrackingIdentifier:
    series = result.finding.series_instance_uid
    return TrackingIdentifier(
        uid=lasting_uid("region", series, name), identifier=f"VBQ {name}" if name != "VBQ" else name
    )


def _algorithm(result: Result) -> AlgorithmIdentification:
    finding = result.finding
    circles = f"circles of {finding.circles_of}" if finding.circles_of else ""
    return AlgorithmIdentification(
        name=finding.algorithm_name or MODEL,
        version=finding.algorithm_version or "-",
        parameters=[circles] if circles else None,
    )


def _frames(result: Result) -> list[int] | None:
    frame = result.finding.frame_number
    return None if frame is None else [frame]
