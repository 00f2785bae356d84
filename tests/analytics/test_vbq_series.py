"""The choice of the sagittal T1 series, from headers as scanners write them."""

import math
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from itertools import permutations

import pytest

from analytics.reasons import words
from analytics.vbq.foreign import foreign_images
from analytics.vbq.header import ImageHeader
from analytics.vbq.protocol import consensus_number, nominal_field_t, scanner_stratum
from analytics.vbq.series import Verdict, after_contrast, candidates, choose, judge

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)

T1 = ImageHeader(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
    modality="MR",
    image_type=("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),
    orientation=SAGITTAL,
    position_mm=(0.0, -140.0, 140.0),
    pixel_spacing_mm=(0.875, 0.875),
    rows=320,
    columns=320,
    samples_per_pixel=1,
    photometric="MONOCHROME2",
    slice_thickness_mm=4.0,
    spacing_between_slices_mm=4.8,
    repetition_time_ms=620.0,
    echo_time_ms=9.2,
    inversion_time_ms=None,
    echo_train_length=3.0,
    flip_angle_deg=150.0,
    pixel_bandwidth_hz=235.0,
    field_strength_t=1.5,
    scanning_sequence=("SE",),
    sequence_variant=("SK", "SP", "OSP"),
    scan_options=("SAT1",),
    sequence_name="*tse2d1_3",
    contrast_agent=None,
    body_part="LSPINE",
    study_description="l-spine^clinical",
    series_description="t1_tse_sag_320",
    protocol_name="t1_tse_sag_320",
    series_number=3,
    manufacturer="SIEMENS",
    model="MAGNETOM ESSENZA",
    station=None,
    device_serial=None,
    coil=None,
    rescale_slope=None,
    rescale_intercept=None,
)


NAMELESS = {
    "scanning_sequence": ("RM",), "sequence_name": None, "series_description": "T1 SAG", "protocol_name": None,
    "flip_angle_deg": 90.0,
}  # fmt: skip
"""What nothing says to be a spin echo."""


def stack(slices: int = 11, **changes: object) -> list[ImageHeader]:
    """A stack along the left-right axis, 4.8 mm apart."""
    image = replace(T1, **changes)
    return [replace(image, position_mm=(4.8 * number, -140.0, 140.0)) for number in range(slices)]


def judged(slices: int = 11, **changes: object) -> Verdict:
    return judge(stack(slices, **changes))


def said(verdict: Verdict) -> list[str]:
    return [one.words() for one in verdict.ranked]


def test_a_sagittal_t1_is_one_and_says_why():
    verdict = judged()
    assert verdict.sagittal_t1
    assert said(verdict) == [
        "for: MR images of one sample per pixel",
        "for: original magnitude images",
        "for: sagittal: the slice normal is 0° off the left-right axis",
        "for: T1-weighted spin echo: TR 620 ms, TE 9.2 ms",
        "for: no fat saturation",
        "for: no contrast agent",
        "for: the lumbar spine is named",
        "for: 11 slice positions",
    ]
    assert verdict.protocol.slice_step_mm == 4.8
    assert verdict.protocol.prescan_normalisation == ("NORM",)
    assert verdict.protocol.warnings == ()


@pytest.mark.parametrize(
    ("changes", "against"),
    [
        ({"orientation": AXIAL}, "not sagittal: the slice normal is 90° off"),
        ({"orientation": CORONAL}, "not sagittal: the slice normal is 90° off"),
        ({"orientation": None}, "orientation of the images is missing"),
        ({"orientation": (0.0,) * 6}, "orientation of the images is missing or impossible"),
        ({"repetition_time_ms": 3500.0, "echo_time_ms": 110.0}, "not T1-weighted: TR 3500 ms, TE 110 ms"),
        ({"repetition_time_ms": 2600.0, "echo_time_ms": 12.0}, "not T1-weighted: TR 2600"),
        ({"repetition_time_ms": 700.0, "echo_time_ms": 80.0}, "not T1-weighted: TR 700"),
        ({"repetition_time_ms": None}, "weighting is unknown"),
        ({"inversion_time_ms": 160.0}, "an inversion recovery (inversion time 160 ms)"),
        ({"scanning_sequence": ("SE", "IR")}, "an inversion recovery"),
        ({"scanning_sequence": ("GR",)}, "scanning sequence is GR"),
        ({"sequence_name": "*fl2d1"}, "scanning sequence is "),
        ({"sequence_name": "tfl3d1_ns", "scanning_sequence": ()}, "scanning sequence is "),
        ({"series_description": "T1 VIBE SAG", "scanning_sequence": ("RM",)}, "scanning sequence is vibe"),
        ({"series_description": "SAG T1 FSPGR", "scanning_sequence": ()}, "scanning sequence is fspgr"),
        ({"series_description": "T1_FFE_SAG", "scanning_sequence": ("RM",)}, "scanning sequence is ffe"),
        ({"protocol_name": "t1_fl2d_sag", "scanning_sequence": ("RM",)}, "scanning sequence is fl2d"),
        ({"sequence_name": "fgre", "scanning_sequence": ("RM",)}, "scanning sequence is fgre"),
        ({"scan_options": ("SAT1", "FS")}, "fat-saturated: scan options FS"),
        ({"series_description": "T1 TSE SAG FS"}, "described as fat-saturated (fs)"),
        ({"series_description": "t1_tse_dixon_sag_W"}, "described as fat-saturated (dixon)"),
        ({"series_description": "SAG T1 FAT SAT"}, "described as fat-saturated (fat)"),
        ({"series_description": "T1FS SAG"}, "described as fat-saturated (fs)"),
        ({"series_description": "WATER: SAG T1 FSE"}, "described as fat-saturated (water)"),
        ({"photometric": "MONOCHROME1"}, "greater values do not mean more signal"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "M", "DIXON", "WATER")}, "image type says DIXON, WATER"),
        ({"contrast_agent": "Gadovist"}, "a contrast agent was given"),
        ({"series_description": "t1_tse_sag+KM"}, "described as after contrast"),
        ({"series_description": "SAG T1 POST"}, "described as after contrast (post)"),
        ({"series_description": "SAG T1 +C"}, "described as after contrast (+c)"),
        ({"series_description": "T1_SAG_GD"}, "described as after contrast (gd)"),
        ({"series_description": "T1 SAG C+"}, "described as after contrast (c+)"),
        ({"series_description": "t1 sag après inject."}, "described as after contrast (inject)"),
        ({"series_description": "T1 POSTGAD"}, "described as after contrast (postgad)"),
        ({"series_description": "т1 саг с контрастом"}, "described as after contrast (контраст)"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "image type says LOCALIZER"),
        ({"image_type": ("DERIVED", "SECONDARY", "MPR")}, "image type says DERIVED, MPR, SECONDARY"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "P", "ND")}, "image type says P"),
        ({"series_description": "3 plane scout"}, "described as a localiser (scout)"),
        ({"body_part": "CSPINE", "study_description": None}, "another part of the body is named"),
        ({"series_description": "t1 sag thoracic"}, "another part of the body is named (thorac)"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, "not MR images"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4.3"}, "not MR images"),
        ({"modality": "CT"}, "not MR images"),
        ({"samples_per_pixel": 3}, "colour images"),
    ],
)
def test_what_speaks_against(changes: dict[str, object], against: str):
    verdict = judged(**changes)
    assert not verdict.sagittal_t1
    assert any(reason.startswith("against: ") and against in reason for reason in said(verdict)), said(verdict)


@pytest.mark.parametrize(
    "changes",
    [
        {"scan_options": ("SAT1", "SAT2")},  # Siemens: regional presaturation
        {"scan_options": ("SP", "PFP")},  # spatial presaturation, partial Fourier
        {"orientation": (0.3, 0.954, 0.0, 0.0, 0.0, -1.0)},  # 17° off: scoliosis
        {"repetition_time_ms": 350.0, "echo_time_ms": 13.6},  # the paper's
        {"contrast_agent": "NONE"},
        {"series_description": "SAG T1 W/O CONTRAST"},
        {"series_description": "t1 sag ohne KM"},
        {"series_description": "T1 sag pre-contrast"},
        {"series_description": "T1 SAG without fatsat"},
        {"series_description": "T1 SAG POST OP"},
        {"series_description": "T1 SAG FLAIRLESS"},
        {"series_description": "T1 SAG sin saturacion grasa"},
        {"series_description": "SAG T1", "protocol_name": "L-SPINE W/WO CONTRAST"},  # the whole examination's
        {"series_description": "T1 SAG", "protocol_name": "LSPINE WITH GRE"},  # the whole examination's
        {"scanning_sequence": (), "sequence_variant": (), "scan_options": ()},
        {"image_type": ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE")},  # Philips
        {"body_part": "SPINE", "study_description": None},
        {"body_part": None, "study_description": None, "series_description": "T1 SAG"},
        {"body_part": "CSPINE", "series_description": "t1 sag lumbar"},
    ],
)
def test_what_does_not_speak_against(changes: dict[str, object]):
    verdict = judged(**changes)
    assert verdict.sagittal_t1, said(verdict)


def test_too_few_slices_and_mixed_orientations():
    assert not judged(slices=4).sagittal_t1
    assert judged(slices=5).sagittal_t1
    mixed = [*stack(5), *stack(5, orientation=AXIAL)]
    assert "against: the images are not parallel to each other" in said(judge(mixed))
    # Eleven images at one place are one slice position.
    assert not judge([T1] * 11).sagittal_t1


def test_a_missing_slice_is_said():
    images = stack(11)
    del images[5]
    verdict = judge(images)
    assert verdict.sagittal_t1
    assert "unknown: slices seem to be missing: the gaps between the others have room for 1" in said(verdict)


@pytest.mark.parametrize(
    ("kept", "changes", "missing"),
    [
        (range(11), {}, 0),
        ([0, 1, 2, 4, 5, 6, 7, 8, 9, 10], {}, 1),
        ([0, 1, 2, 6, 7, 8, 9, 10], {}, 3),
        ([0, 2, 3, 4, 5, 7, 8, 9], {}, 2),
        # What is missing at an end leaves no gap.
        (range(3, 11), {}, 0),
        # Every second one: only the stated step of 4.8 mm tells.
        (range(0, 11, 2), {}, 5),
        (range(0, 11, 2), {"spacing_between_slices_mm": None}, 0),
        # The free gap of 0.8 mm in its place is not believed.
        (range(11), {"spacing_between_slices_mm": 0.8}, 0),
        (range(11), {"spacing_between_slices_mm": 48.0}, 0),
    ],
)
def test_gaps_have_room_for_so_many_slices(kept: Iterable[int], changes: dict[str, object], missing: int):
    images = stack(11, **changes)
    verdict = judge([images[number] for number in kept])
    assert (verdict.sagittal_t1, verdict.missing_slices) == (True, missing)


def test_a_place_imaged_twice_is_no_narrow_step():
    moved = [
        replace(one, position_mm=(one.position_mm[0] + 0.3, -140.0, 140.0)) for one in stack(11) if one.position_mm
    ]
    assert judge([*stack(11), *moved]).missing_slices == 0
    del moved[5]
    assert judge([*stack(5), *stack(11)[6:], *moved]).missing_slices == 1


def test_values_outside_the_accepted_range_warn_and_name_the_source():
    verdict = judged(repetition_time_ms=1000.0, echo_time_ms=25.0)
    assert verdict.sagittal_t1
    assert [warning.split(" is ")[0] for warning in words(verdict.protocol.warnings)] == [
        "repetition time 1000 ms",
        "echo time 25 ms",
    ]
    assert all(
        "a normative VBQ study admitted TR 400–850, TE 8–20" in text for text in words(verdict.protocol.warnings)
    )


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"field_strength_t": 2.8936}, "field strength 3 T: checked at 1.5 T only"),
        ({"field_strength_t": 0.35}, "field strength 0.35 T: "),
        ({"slice_thickness_mm": 6.0}, "slice thickness 6 mm is outside 3–5 mm"),
        ({"slice_thickness_mm": 1.0}, "slice thickness 1 mm is outside 3–5 mm"),
        ({"pixel_spacing_mm": (0.875, 1.75)}, "pixels of 1.75 mm are coarser than 1.5 mm"),
        ({"field_strength_t": None, "slice_thickness_mm": None}, "the headers do not say the field strength, slice th"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "M", "ND")}, "no prescan normalisation is named"),
    ],
)
def test_what_else_the_score_depends_on_warns_once_and_refuses_nothing(changes: dict[str, object], begins: str):
    verdict = judged(**changes)
    assert verdict.sagittal_t1
    (warning,) = words(verdict.protocol.warnings)
    assert warning.startswith(begins)


def test_the_papers_own_protocol_warns_of_nothing():
    # Ma et al.: GE 1.5 T, TR 350, TE 13.6, 4 mm, 280 mm over 288 × 192. Its coil correction is called PURE or SCIC.
    paper = judged(
        repetition_time_ms=350.0, echo_time_ms=13.6, pixel_spacing_mm=(280 / 288, 280 / 192),
        image_type=("ORIGINAL", "PRIMARY", "OTHER", "PURE"),
    )  # fmt: skip
    assert paper.protocol.warnings == ()
    assert paper.protocol.prescan_normalisation == ("PURE",)


def test_nothing_depends_on_the_order_of_the_images():
    images = stack(5)
    images[2] = replace(images[2], orientation=(0.001, 0.9999995, 0.0, 0.0, 0.0, -1.0), repetition_time_ms=612.0)
    verdicts = {repr(judge(list(order))) for order in permutations(images)}
    assert len(verdicts) == 1


def test_the_best_of_several_is_chosen():
    good = judged()
    assert choose({}) is None
    assert choose({"1.1": judged(orientation=AXIAL)}) is None
    assert choose({"1.1": judged(body_part=None, study_description=None), "1.2": good}) == "1.2"
    assert choose({"1.1": judged(repetition_time_ms=1000.0), "1.2": good}) == "1.2"
    assert choose({"1.1": judged(slices=7), "1.2": good}) == "1.2"
    # A series after contrast that nobody labelled comes later in the examination.
    assert choose({"1.1": judged(series_number=9), "1.2": good}) == "1.2"
    assert choose({"1.2": good, "1.1": good}) == "1.1"


def test_a_series_after_one_with_contrast_comes_last_and_is_known():
    before, agent, unlabelled = (
        judged(series_number=n, contrast_agent=a) for n, a in ((3, None), (6, "Gd"), (7, None))
    )
    assert after_contrast({"3": before, "6": agent, "7": unlabelled}) == {"7": 6}
    assert candidates({"7": unlabelled, "6": agent, "3": judged(slices=7, series_number=3)}) == ["3", "7"]
    # Nothing is known of the order without a number, and nothing is to be known without an agent.
    assert after_contrast({"6": agent, "x": judged(series_number=None)}) == {}
    assert after_contrast({"3": before, "7": unlabelled}) == {}


def test_scanner_strata_use_the_nominal_field():
    assert scanner_stratum(stack()) == "SIEMENS MAGNETOM_ESSENZA 1.5T"
    assert scanner_stratum(stack(manufacturer="Philips Medical Systems", model="Ingenia", field_strength_t=3.0)) == (
        "PHILIPS_MEDICAL_SYSTEMS INGENIA 3T"
    )
    assert scanner_stratum(stack(model=None, field_strength_t=None)) == "SIEMENS UNKNOWN UNKNOWN"
    assert scanner_stratum(stack(manufacturer=None, model=None, field_strength_t=None)) is None
    # 2.89 T is what 3 T Siemens magnets have; GE wrote gauss.
    assert [nominal_field_t(field) for field in (2.8936, 1.494, 15000.0, 0.55, 0.0, None)] == [
        3.0, 1.5, 1.5, 0.55, None, None,
    ]  # fmt: skip


def test_values_that_nearly_agree_are_one_value():
    assert consensus_number([600.0, 610.0, None]) == 605.0
    assert consensus_number([600.0, 700.0]) is None
    assert consensus_number([None]) is None


def test_an_empty_series_cannot_be_judged():
    with pytest.raises(ValueError, match="without images"):
        judge([])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"contrast_elements": (("volume", "8"),)}, "contrast-agent-given"),
        ({"contrast_elements": (("route", "INTRAVENOUS"), ("concentration", "1"))}, "contrast-agent-given"),
        ({"inversion_time_ms": 860.0, "repetition_time_ms": 2100.0, "scanning_sequence": ("SE", "IR")}, "t1-flair"),
        ({"inversion_time_ms": 160.0, "scanning_sequence": ("SE", "IR")}, "inversion-recovery"),
        # A T1 FLAIR without a word of its inversion in the elements.
        ({"series_description": "SAG T1 FLAIR"}, "described-as-other-weighting"),
        ({"series_description": "OSag T1FLAIR FSE-XL"}, "described-as-other-weighting"),
        ({"series_description": "SAG", "protocol_name": "T1 FLAIR SAG"}, "described-as-other-weighting"),
        ({"series_description": "t1_sag_dark-fluid"}, "described-as-other-weighting"),
        ({"sequence_name": "*tir2d1_7"}, "described-as-other-weighting"),
        ({"series_description": "T1 SAG suppr. graisse"}, "described-as-fat-saturated"),
    ],
)
def test_the_reason_has_its_code(changes: dict[str, object], code: str):
    verdict = judged(**changes)
    assert not verdict.sagittal_t1
    assert code in [one.reason.code for one in verdict.criteria if one.holds is False]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        # Gradient echoes with T1 contrast: TR 100–250, TE 4–5 (in phase at 1.5 T), 70–80°, or 3D with 10–30°.
        ({"flip_angle_deg": 30.0}, "flip-angle-small"),
        ({"flip_angle_deg": 30.0, "scanning_sequence": ("RM",)}, "flip-angle-small"),
        ({"flip_angle_deg": 50.0}, "flip-angle-small"),
        ({"flip_angle_deg": 75.0, "scanning_sequence": ("RM",)}, "flip-angle-small"),
        ({"flip_angle_deg": 75.0, "scanning_sequence": (), "series_description": "t1_sag"}, "flip-angle-small"),
        ({**NAMELESS, "echo_time_ms": 4.8}, "spin-echo-unsaid"),
        ({**NAMELESS, "repetition_time_ms": 180.0}, "spin-echo-unsaid"),
        ({**NAMELESS, "sequence_variant": ("SS", "SP")}, "spin-echo-unsaid"),
    ],
)
def test_what_may_be_a_gradient_echo_waits_for_a_person(changes: dict[str, object], code: str):
    verdict = judged(**changes)
    assert verdict.sagittal_t1
    assert [one.code for one in verdict.doubts] == [code]


@pytest.mark.parametrize(("tr_ms", "te_ms"), [(0.62, 0.0092), (620.0, 0.0092), (1.5, 9.2), (99.9, 9.2), (620.0, 0.9)])
def test_times_that_no_spin_echo_has_leave_it_to_the_image(tr_ms: float, te_ms: float):
    """In seconds, say: 15 slices of a spin echo of 10 ms take 150 ms at the least."""
    verdict = judged(repetition_time_ms=tr_ms, echo_time_ms=te_ms)
    assert not verdict.sagittal_t1
    assert verdict.image_decides
    assert "times-of-no-spin-echo" in [one.reason.code for one in verdict.criteria if one.holds is False]
    assert judged(repetition_time_ms=100.0, echo_time_ms=1.0).sagittal_t1


def test_one_image_with_the_flip_angle_of_a_gradient_echo_is_enough():
    images = stack(10)
    images[4] = replace(images[4], flip_angle_deg=20.0)
    assert [one.code for one in judge(images).doubts] == ["flip-angle-small"]


@pytest.mark.parametrize(
    "changes",
    [
        {"flip_angle_deg": 180.0},
        {"flip_angle_deg": 90.0, "scanning_sequence": ("RM",)},
        {"flip_angle_deg": 70.0},  # Philips, 3 T: the excitation of a spin echo is reduced
        {"flip_angle_deg": 0.0},  # not filled in
        {"flip_angle_deg": None, "scanning_sequence": ()},
        {"echo_time_ms": 4.9},  # it is said to be a spin echo
        NAMELESS,
    ],
)
def test_flip_angles_and_times_of_spin_echoes_are_no_doubt(changes: dict[str, object]):
    assert judged(**changes).doubts == ()


@pytest.mark.parametrize("text", ["ANONYMIZED", "unknown", "REMOVED"])
def test_a_placeholder_for_the_agent_is_a_doubt_and_no_refusal(text: str):
    verdict = judged(contrast_agent=text)
    assert verdict.sagittal_t1
    assert [one.code for one in verdict.doubts] == ["contrast-unknown"]
    assert not verdict.protocol.contrast
    # One of which it is known is better.
    assert candidates({"1": verdict, "2": judged(slices=7)}) == ["2", "1"]


OTHERS = {
    "localiser": {"orientation": AXIAL},
    "without orientation": {"orientation": None},
    "without position": {"position_mm": None},
    "screenshot": {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7", "modality": "OT"},
    "colour": {"samples_per_pixel": 3, "photometric": "RGB"},
    "of a second echo": {"echo_time_ms": 90.0},
    "derived": {"image_type": ("DERIVED", "SECONDARY", "MPR")},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_one_image_of_another_kind_is_left_out_and_said(change: dict[str, object]):
    images = stack(10)
    images.insert(4, replace(T1, **change))
    verdict = judge(images)
    assert verdict.sagittal_t1, said(verdict)
    assert verdict.foreign == {images[4]}
    (doubt,) = verdict.doubts
    assert (doubt.code, doubt.values) == ("images-foreign", {"images": 1, "of": 11})
    assert (verdict.slices, verdict.missing_slices) == (10, 0)
    assert repr(judge(images[::-1])) == repr(verdict)


@pytest.mark.parametrize("change", [change for name, change in OTHERS.items() if name != "without position"])
def test_of_two_kinds_of_many_images_none_is_left_out(change: dict[str, object]):
    verdict = judge([*stack(6), *stack(4, **change)])
    assert not verdict.foreign
    assert not verdict.sagittal_t1


def turned(degrees: float) -> tuple[float, ...]:
    """A sagittal plane turned about the axis of the body."""
    angle = math.radians(90 + degrees)
    return (math.cos(angle), math.sin(angle), 0.0, 0.0, 0.0, -1.0)


def test_the_direction_with_the_most_images_within_eight_degrees_is_the_usual_one() -> None:
    """PARALLEL_COSINE, 0.99, is 8.1°. Of the nine images eight lie within that of 7°, and seven of 0°."""
    lie = [0.0] * 4 + [7.0] * 3 + [12.0] * 1 + [60.0]
    images = [replace(image, orientation=turned(degrees)) for image, degrees in zip(stack(len(lie)), lie, strict=True)]
    assert foreign_images(images) == {images[8]}


def test_the_effort_for_directions_grows_with_the_images_and_not_with_their_square() -> None:
    def peak(number: int) -> int:
        images = [replace(image, orientation=turned(at / 1000)) for at, image in enumerate(stack(number))]
        tracemalloc.start()
        try:
            foreign_images(images)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(3000) < 3 * peak(1500)
