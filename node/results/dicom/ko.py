"""The rejection note (IHE Imaging Object Change Management): which objects of this node no longer hold."""

from collections.abc import Sequence

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.sr.codedict import codes

from node.results.content import Earlier, Result
from node.results.dicom.common import MANUFACTURER, MODEL, equipment, finished, lasting_uid, printed, quiet, read_source
from node.results.records import Rendered


def render_ko(result: Result, rejected: Sequence[Earlier]) -> Rendered:
    """A note about objects that newer ones have replaced (quality), or that must not be used (patient safety).

    Raises
    ------
    DicomReadError
        One of them cannot be read.
    """
    with quiet():
        sources = [read_source(one.path) for one in rejected if one.path is not None]
        title = (
            codes.DCM.RejectedForPatientSafetyReasons
            if result.finding.score is None
            else codes.DCM.RejectedForQualityReasons
        )
        device = ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=lasting_uid("device", result.site),
                name=result.site,
                manufacturer_name=MANUFACTURER,
                model_name=MODEL,
            ),
        )
        note = KeyObjectSelectionDocument(
            evidence=[one.plain for one in sources],
            content=KeyObjectSelection(
                document_title=title,
                referenced_objects=[one.plain for one in sources],
                observer_device_context=device,
                description=printed(result),
            ),
            **equipment(result, series="ko"),
        )
        return finished(note, sources[-1], result)
