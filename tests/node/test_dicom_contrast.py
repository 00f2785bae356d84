"""A contrast agent that is told of anywhere in an object: what the judgement of its series makes of it."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node.dicom.header import header_to_json
from node.dicom.reader import read_header
from node.measure.automatic import doubts_of_order
from node.measure.files import find
from tests.node.dicom_samples import stack, write_file
from tests.node.multi_frame_samples import enhanced, legacy_converted

Values = dict[str, object]


def items(**values: object) -> list[Dataset]:
    """A sequence of one item."""
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return [item]


def code(meaning: str, **values: object) -> list[Dataset]:
    return items(CodeValue="1", CodingSchemeDesignator="99TEST", CodeMeaning=meaning, **values)


def context(name: str, value: str) -> list[Dataset]:
    return items(ValueType="CODE", ConceptNameCodeSequence=code(name), ConceptCodeSequence=code(value))


GIVEN: dict[str, Values] = {
    "usage": {"ContrastBolusUsageSequence": items(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered="YES")},
    "usage, detected": {"ContrastBolusUsageSequence": items(ContrastBolusAgentDetected="YES")},
    "usage, the second agent": {
        "ContrastBolusUsageSequence": [
            *items(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered="NO"),
            *items(ContrastBolusAgentNumber=2, ContrastBolusAgentAdministered="YES"),
        ]
    },
    "a second agent": {"ContrastBolusAgentSequence": [*code("None"), *code("Gadobutrol")]},
    "profile": {"ContrastAdministrationProfileSequence": items(ContrastBolusVolume=8.0)},
    "profile of an agent without a name": {
        "ContrastBolusAgentSequence": items(ContrastAdministrationProfileSequence=items(ContrastBolusVolume=8.0))
    },
}
NOT_GIVEN: dict[str, Values] = {
    "empty": {"ContrastBolusAgent": "", "ContrastBolusRoute": "", "ContrastBolusAgentSequence": []},
    "NONE": {"ContrastBolusAgent": "NONE", "ContrastBolusVolume": 0},
    "usage": {"ContrastBolusUsageSequence": items(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered="NO")},
    "code": {"ContrastBolusAgentSequence": code("No contrast")},
}
OF_IMAGES: dict[str, Values] = {
    "drug": {"InterventionSequence": items(InterventionDrugCodeSequence=code("Gadobutrol"))},
    "image comments": {"ImageComments": "post contrast"},
    "frame comments": {"FrameComments": "nach KM"},
    "protocol": {"ProtocolName": "t1_tse_sag_KM"},
    "acquisition context": {"AcquisitionContextSequence": context("Contrast agent", "Gadobutrol")},
}
OF_EXAMINATIONS: dict[str, Values] = {
    "study": {"StudyDescription": "MRT LWS mit KM"},
    "protocol of the examination": {"ProtocolName": "L-SPINE WITH CONTRAST"},
    "study comments": {"StudyComments": "MRT LWS nach KM-Gabe"},
    "step": {"PerformedProcedureStepDescription": "MRI L-SPINE W/ CONTRAST"},
    "comments on the step": {"CommentsOnThePerformedProcedureStep": "8 ml Gadovist i.v."},
    "premedication": {"PreMedication": "Gadovist"},
    "protocol code": {"PerformedProtocolCodeSequence": code("MR lumbar spine with IV contrast")},
    "protocol context": {
        "PerformedProtocolCodeSequence": code("MR", ProtocolContextSequence=context("Contrast agent", "Gadobutrol"))
    },
    "procedure code": {"ProcedureCodeSequence": code("IRM rachis lombaire avec injection")},
    "requested": {"RequestedProcedureDescription": "RM COLUMNA LUMBAR CON CONTRASTE"},
    "requested code": {"RequestedProcedureCodeSequence": code("RM lombare con mdc")},
    "request": {"RequestAttributesSequence": items(RequestedProcedureDescription="RM LOMBAR COM CONTRASTE")},
    "scheduled code": {"RequestAttributesSequence": items(ScheduledProtocolCodeSequence=code("MR lumbar W contrast"))},
    "requested agent": {"RequestedContrastAgent": "Gadovist"},
}
OF_NEITHER: dict[str, Values] = {
    "requested and not given": {
        "RequestedProcedureDescription": "MRT LWS mit KM", "PerformedProcedureStepDescription": "MRT LWS nativ",
    },
    "with and without": {"StudyDescription": "MRI LUMBAR SPINE W WO CONTRAST"},
    "without": {"RequestedProcedureDescription": "MRI LUMBAR SPINE W/O CONTRAST"},
    "codes": {"ProcedureCodeSequence": code("IRM sans injection"), "PerformedProtocolCodeSequence": code("MR w/o Gd")},
    "context": {"PerformedProtocolCodeSequence": code("MR", ProtocolContextSequence=context("Contrast agent", "None"))},
    "allergy": {"StudyComments": "Kontrastmittelallergie"},
    "on foot": {"StudyComments": "Gehstrecke 2 km"},
    "made before it, by its name": {"StudyDescription": "MRT LWS mit KM", "SeriesDescription": "t1_tse_sag nativ"},
    "made before it, by its agent": {"StudyDescription": "MRT LWS mit KM", "ContrastBolusAgent": "NONE"},
    "made before it, by comments": {"StudyDescription": "MRT LWS mit KM", "ImageComments": "nativ"},
}  # fmt: skip


def with_values(values: Values, **others: object) -> list[Dataset]:
    return stack(7, **{**values, **others})


def said(folder: Path, *images: Dataset) -> tuple[set[str], set[str]]:
    """Codes of what speaks against the series of UID 1 and of what is to be doubted of it."""
    for number, image in enumerate(images):
        write_file(folder / str(number), image)
    (study,) = find([folder]).studies.values()
    series = next(one for uid, one in study.items() if uid.endswith(".1"))
    against = {one.reason.code for one in series.verdict.criteria if one.holds is False}
    doubts = [*series.verdict.doubts, *(doubt for uid, doubt in doubts_of_order(study).items() if uid == series.uid)]
    return against, {one.code for one in doubts}


@pytest.mark.parametrize("case", GIVEN)
def test_an_agent_in_any_nested_element_rules_the_series_out(case: str, tmp_path: Path):
    assert said(tmp_path, *with_values(GIVEN[case])) == ({"contrast-agent-given"}, set())


@pytest.mark.parametrize("case", NOT_GIVEN)
def test_elements_that_are_empty_or_deny_it_do_not(case: str, tmp_path: Path):
    assert said(tmp_path, *with_values(NOT_GIVEN[case])) == (set(), set())


@pytest.mark.parametrize("case", OF_IMAGES)
def test_what_is_told_of_the_images_is_a_doubt(case: str, tmp_path: Path):
    assert said(tmp_path, *with_values(OF_IMAGES[case])) == (set(), {"contrast-told"})


@pytest.mark.parametrize("case", OF_EXAMINATIONS)
def test_what_is_told_of_the_examination_is_a_doubt(case: str, tmp_path: Path):
    assert said(tmp_path, *with_values(OF_EXAMINATIONS[case])) == (set(), {"contrast-of-examination"})


@pytest.mark.parametrize("case", OF_NEITHER)
def test_what_tells_of_none_or_of_something_else_is_no_doubt(case: str, tmp_path: Path):
    assert said(tmp_path, *with_values(OF_NEITHER[case])) == (set(), set())


@pytest.mark.parametrize(
    ("number", "doubts"), [(3, set()), (8, {"after-contrast"}), (None, {"contrast-of-examination"})]
)
def test_in_an_examination_with_contrast_a_series_before_the_first_with_it_is_plain(
    number: int | None, doubts: set[str], tmp_path: Path
):
    examination = {"StudyDescription": "MRT LWS mit KM"}
    after = stack(7, series="2", SeriesNumber=6, SeriesDescription="t1_tse_sag_KM", **examination)
    assert said(tmp_path, *with_values(examination, SeriesNumber=number), *after) == (set(), doubts)


@pytest.mark.parametrize("where", ["object", "all frames", "each frame", "one frame"])
@pytest.mark.parametrize("case", GIVEN)
def test_of_enhanced_objects_every_place_counts(case: str, where: str, tmp_path: Path):
    image = enhanced(stack(7))
    frames = list(image.PerFrameFunctionalGroupsSequence)
    places = {
        "object": [image], "all frames": [image.SharedFunctionalGroupsSequence[0]], "each frame": frames,
        "one frame": frames[3:4],
    }  # fmt: skip
    for place in places[where]:
        for name, value in GIVEN[case].items():
            setattr(place, name, value)
    assert said(tmp_path, image) == ({"contrast-agent-given"}, set())


def test_of_enhanced_objects_comments_on_a_frame_count(tmp_path: Path):
    image = enhanced(stack(7))
    assert said(tmp_path, image) == (set(), set())
    image.PerFrameFunctionalGroupsSequence[2].FrameContentSequence = items(FrameComments="post KM")
    assert said(tmp_path, image) == (set(), {"contrast-told"})


def test_of_converted_objects_nested_elements_count(tmp_path: Path):
    image = legacy_converted(stack(7))
    assert said(tmp_path, image) == (set(), set())
    group = image.PerFrameFunctionalGroupsSequence[2].UnassignedPerFrameConvertedAttributesSequence[0]
    group.ContrastBolusUsageSequence = items(ContrastBolusAgentAdministered="YES")
    assert said(tmp_path, image) == ({"contrast-agent-given"}, set())


def test_of_texts_only_what_they_tell_is_kept(tmp_path: Path):
    path = write_file(tmp_path / "image", stack(1, ImageComments="Herr Mustermann nach KM")[0])
    header = read_header(path)
    assert header.image.contrast_told == (("image comments", "given"),)
    assert "Mustermann" not in header_to_json(header)
