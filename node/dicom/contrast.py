"""What an object says of a contrast agent, wherever it stands: in elements of its own, nested, or told in words.

Enhanced objects describe agent, route and profile in sequences, and say per frame whether it was given; single-frame
images may carry the same sequences. Whether an examination was one with contrast also stands in the codes and texts of
what was requested and performed, and in comments. Of texts only what they tell is kept: they may name a person.

References
----------
DICOM PS3.3, C.7.6.4 and C.7.6.4b (contrast and enhanced contrast), C.7.6.16.2.12 (usage per frame), C.7.3.1 and C.7.2.1
(series and study), C.4.13 and C.7.6.14 (performed step, acquisition context).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from analytics.vbq.contrast import AGENT, most
from analytics.vbq.told import told
from node.dicom.elements import sequence_of, text_of
from node.dicom.frames import PER_FRAME, SHARED

SAID: Mapping[str, str] = {
    "ContrastBolusAgent": AGENT,
    "ContrastBolusVolume": "volume",
    "ContrastBolusTotalDose": "total dose",
    "ContrastBolusRoute": "route",
    "ContrastBolusStartTime": "start time",
    "ContrastBolusStopTime": "stop time",
    "ContrastFlowRate": "flow rate",
    "ContrastFlowDuration": "flow duration",
    "ContrastBolusIngredient": "ingredient",
    "ContrastBolusIngredientConcentration": "concentration",
    "ContrastBolusT1Relaxivity": "relaxivity",
    "ContrastBolusAgentAdministered": "administered",
    "ContrastBolusAgentDetected": "detected",
}
"""Elements that tell of a contrast agent."""
CODED: Mapping[str, str] = {
    "ContrastBolusAgentSequence": AGENT,
    "ContrastBolusAdministrationRouteSequence": "route",
    "ContrastBolusIngredientCodeSequence": "ingredient",
}
"""The same by codes, the item itself being the code."""
TOLD: Mapping[str, str] = {
    "ImageComments": "image comments",
    "FrameComments": "image comments",
    "AcquisitionComments": "image comments",
    "InterventionDrugName": "drug",
    "PerformedProcedureStepDescription": "procedure step",
    "CommentsOnThePerformedProcedureStep": "procedure step",
    "StudyComments": "study comments",
    "PreMedication": "study comments",
    "RequestedProcedureDescription": "requested procedure",
    "RequestedProcedureComments": "requested procedure",
    "ScheduledProcedureStepDescription": "requested procedure",
    "RequestedContrastAgent": "requested procedure",
}
"""Texts that may tell of it, by what they are about."""
TOLD_IN_CODES: Mapping[str, str] = {
    "AcquisitionContextSequence": "image comments",
    "InterventionDrugCodeSequence": "drug",
    "PerformedProtocolCodeSequence": "procedure step",
    "ProcedureCodeSequence": "procedure codes",
    "RequestedProcedureCodeSequence": "requested procedure",
    "ScheduledProtocolCodeSequence": "requested procedure",
}
"""Sequences whose meanings do, those of their items and of what is nested in them, read as one text."""
MEANINGS = ("CodeMeaning", "TextValue")
DEEPEST = 8
"""Levels of nesting that are looked at; the standard needs four."""

Names = Mapping[int, tuple[str, str]]


def _by_tag(names: Mapping[str, str]) -> Names:
    return {int(tag_for_keyword(keyword) or 0): (keyword, what) for keyword, what in names.items()}


_SAID, _TOLD, _TOLD_IN_CODES = (_by_tag(names) for names in (SAID, TOLD, TOLD_IN_CODES))
_FRAMES = frozenset(int(tag_for_keyword(keyword) or 0) for keyword in (PER_FRAME, SHARED))


@dataclass(frozen=True, kw_only=True)
class OfContrast:
    """What stands of a contrast agent in a data set and all that is nested in it."""

    elements: tuple[tuple[str, str], ...] = ()
    """(what, text), such as the agent, its volume or route; what is empty is not here."""
    told: tuple[tuple[str, str], ...] = ()
    """(where, what it tells as a value of :class:`analytics.vbq.contrast.Contrast`)."""

    @property
    def agent(self) -> str | None:
        """The first agent that is named."""
        return next((text for what, text in self.elements if what == AGENT), None)

    def __add__(self, other: "OfContrast") -> "OfContrast":
        return OfContrast(elements=self.elements + other.elements, told=self.told + other.told)


def of_contrast(dataset: Dataset) -> OfContrast:
    """What a data set says and tells of a contrast agent; not what its frames say, which are data sets of their own."""
    elements: dict[tuple[str, str], None] = {}
    texts: list[tuple[str, str]] = []
    for holder, one in _within(dataset):
        elements |= dict.fromkeys((what, text) for what, text in _read(one, _SAID))
        texts += _read(one, _TOLD)
        if holder in CODED:
            elements[CODED[holder], text_of(one, "CodeMeaning") or "coded"] = None
        texts += ((where, _meanings(one, keyword)) for keyword, where in _there(one, _TOLD_IN_CODES))
    tells = [(where, said) for where, text in texts if (said := told(text)) is not None]
    places = sorted({where for where, _ in tells})
    return OfContrast(
        elements=tuple(elements),
        told=tuple((where, most(said for other, said in tells if other == where).value) for where in places),
    )


def _within(dataset: Dataset, holder: str = "", depth: int = 0) -> Iterator[tuple[str, Dataset]]:
    """The data set and all that is nested in it, each with the keyword of the sequence that holds it."""
    yield holder, dataset
    for tag in sorted(dataset.keys() - _FRAMES) if depth < DEEPEST else ():
        if _is_sequence(dataset, tag):
            keyword = keyword_for_tag(tag)
            for item in sequence_of(dataset, keyword):
                yield from _within(item, keyword, depth + 1)


def _is_sequence(dataset: Dataset, tag: BaseTag) -> bool:
    """By what stands in the file, so that no other element is converted; private ones are passed over."""
    if not dictionary_has_tag(tag):
        return False
    vr = getattr(dataset.get_item(tag), "VR", None)
    return vr == "SQ" or (vr is None and dictionary_VR(tag) == "SQ")


def _meanings(dataset: Dataset, keyword: str) -> str:
    """All that the codes of a sequence mean, as one text: "Contrast agent" and "None" belong together."""
    nested = (one for item in sequence_of(dataset, keyword) for _, one in _within(item))
    return " ".join(text for one in nested for name in MEANINGS if (text := text_of(one, name)))


def _there(dataset: Dataset, names: Names) -> list[tuple[str, str]]:
    return [names[tag] for tag in sorted(dataset.keys() & names.keys())]


def _read(dataset: Dataset, names: Names) -> list[tuple[str, str]]:
    """What the elements of these names hold: (what they are, text)."""
    return [(what, text) for keyword, what in _there(dataset, names) if (text := text_of(dataset, keyword))]
