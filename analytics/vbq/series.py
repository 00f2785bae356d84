"""Which series of a study is the sagittal T1 of the lumbar spine, from headers alone, with every reason.

Nothing is taken from a description that the physics can say: orientation comes from direction cosines, weighting from
repetition and echo time. Descriptions add what headers do not hold (a post-contrast series whose agent nobody
entered), and can only speak against a series or for its body part.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.reasons import Reason, Value
from analytics.vbq.contrast import AGENT, Contrast, agent_of, contrast_of, most
from analytics.vbq.criterion import Criterion
from analytics.vbq.fat import words_of_fat_suppression
from analytics.vbq.foreign import PARALLEL_COSINE, foreign_images, not_original, stack_normal, unit_normal
from analytics.vbq.header import MR_IMAGES, ImageHeader
from analytics.vbq.parts import named_parts
from analytics.vbq.protocol import SAME, Protocol, consensus, consensus_number, protocol_of
from analytics.vbq.reworked import doubts_of_pixels
from analytics.vbq.told import (
    OF_IMAGE,
    OF_SEQUENCE,
    examination_with,
    given_in,
    told,
    told_of_series,
    words_of_contrast,
)
from analytics.vbq.weighting import perhaps_gradient_echo, t1_weighted

MIN_T2_TR_MS, MIN_T2_TE_MS = 1500.0, 70.0
"""From these times on a spin echo is T2-weighted: proton density has TE of 10 to 50 ms."""
SAGITTAL_COSINE = 0.8
"""A slice normal within 37° of the patient's left-right axis makes a series sagittal: scoliosis and careless
positioning stay far below it, axial and coronal series far above."""
MINIMUM_SLICES = 5
"""A lumbar stack has 11–17 slices; fewer than 5 positions are a localiser or a fragment."""

FAT_SUPPRESSING_OPTIONS = frozenset({"FS", "SFS", "FATSAT", "FAT_SAT", "SPIR", "SPAIR", "SPECIR", "WE", "WATER_EXC"})
"""Values of Scan Options. Not among them: SAT1, SAT2, SP, SAT_GEMS, the regional presaturation."""

LOCALISER_WORDS = frozenset({"loc", "localizer", "localiser", "scout", "survey", "surview", "topogram", "planscan"})
T1_WORD = re.compile(r"(?<![a-z0-9])t1(?![0-9])")
DOUBTS = frozenset({"contrast-unknown", "contrast-told", "images-foreign"})
"""Codes of what speaks neither for nor against a series, but for a person to look at it."""
WIDE_STEP = 1.5
"""A step this many times the usual one has room for a slice that is not there."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one series is, and what spoke for and against."""

    sagittal_t1: bool
    criteria: tuple[Criterion, ...]
    protocol: Protocol
    slices: int
    missing_slices: int
    """As many as the gaps between the slices have room for; what is missing at either end leaves no gap."""
    lumbar_stated: bool
    t1_stated: bool
    weighting_stated: bool
    """The headers hold the times by which it is T1; otherwise the image has to show it."""
    series_number: int | None
    foreign: frozenset[ImageHeader] = frozenset()
    """Images that are not of its kind; nothing else here looks at them, and none is measured."""
    doubts: tuple[Reason, ...] = ()
    """What a person must know before a score of it is used."""
    examined_with_contrast: tuple[str, ...] = ()
    """Where it is told that the examination was one with contrast, of which the series itself says nothing."""

    @property
    def ranked(self) -> tuple[Criterion, ...]:
        """The criteria, those against first."""
        order = {False: 0, None: 1, True: 2}
        return tuple(sorted(self.criteria, key=lambda criterion: order[criterion.holds]))

    @property
    def image_decides(self) -> bool:
        """Nothing speaks against it but the silence of its headers: only the image can say what it is."""
        return not self.sagittal_t1 and all(one.holds is not False or one.silent for one in self.criteria)


def judge(images: Sequence[ImageHeader]) -> Verdict:
    """Whether the images of one series are a sagittal T1 stack of the lumbar spine without fat saturation or contrast.

    The order of the images does not matter.

    Raises
    ------
    ValueError
        There are no images.
    """
    if not images:
        raise ValueError("a series without images cannot be judged")
    foreign, in_all = foreign_images(images), len(images)
    images = [image for image in images if image not in foreign]
    left_out = Reason("images-foreign", {"images": in_all - len(images), "of": in_all})
    texts = _own_texts(images)
    words = frozenset(word for text in texts for word in re.split(r"[^a-z0-9]+", text) if word)
    fat = _fat_saturation(images, texts)
    told_at = _told(images)
    contrast = _contrast(images, texts, told_at)
    positions = _positions_mm(images)
    missing = missing_slices(
        positions,
        thickness_mm=consensus_number(image.slice_thickness_mm for image in images),
        stated_step_mm=consensus_number(image.spacing_between_slices_mm for image in images),
    )
    lumbar, weighting = _lumbar(images), t1_weighted(images, texts)
    criteria = (
        _image_kind(images),
        _original(images, words),
        _sagittal(images),
        weighting,
        fat,
        contrast,
        lumbar,
        _slices(positions),
        *_gaps(missing),
        *([Criterion(holds=None, reason=left_out)] if foreign else []),
    )
    return Verdict(
        sagittal_t1=all(criterion.holds is not False for criterion in criteria),
        criteria=criteria,
        protocol=protocol_of(
            images, fat_saturation=fat.holds is False, contrast=contrast.holds is False, positions_mm=positions
        ),
        slices=len(positions),
        missing_slices=missing,
        lumbar_stated=lumbar.holds is True,
        t1_stated=any(T1_WORD.search(text) for text in texts),
        weighting_stated=weighting.holds is True,
        series_number=consensus(image.series_number for image in images),
        foreign=foreign,
        doubts=(
            *(one.reason for one in criteria if one.holds is None and one.reason.code in DOUBTS),
            *([perhaps] if (perhaps := perhaps_gradient_echo(images, texts)) else []),
            *doubts_of_pixels(images),
        ),
        examined_with_contrast=() if _contrast_denied(images, texts, told_at) else examination_with(told_at),
    )


def choose(verdicts: Mapping[str, Verdict]) -> str | None:
    """The one series to measure of a study: the first of its :func:`candidates`, or ``None``."""
    return next(iter(candidates(verdicts)), None)


def candidates(verdicts: Mapping[str, Verdict]) -> list[str]:
    """The series of a study that may be its sagittal T1, the best first.

    Better is, in this order: said by the headers rather than left to the image, not :func:`after_contrast` and not
    :func:`maybe_after_contrast`, without
    doubts, stated to be lumbar, within the accepted protocol, called T1, with more slices, earlier in the
    examination (an unlabelled series after contrast comes later), the smaller UID.
    """
    late = after_contrast(verdicts).keys() | maybe_after_contrast(verdicts).keys()
    found = [uid for uid, verdict in verdicts.items() if verdict.sagittal_t1 or verdict.image_decides]
    return sorted(found, key=lambda uid: (verdicts[uid].image_decides, uid in late, *_rank(uid, verdicts[uid])))


def fluid_series(verdicts: Mapping[str, Verdict]) -> list[str]:
    """The sagittal T2 series of a study that show where fluid is, those with the most slices first.

    Spin echoes by their times, without fat saturation, inversion or a contrast agent, of no other part of the body, and
    without a doubt about their pixels: nobody compared others with readers.
    """
    found = [uid for uid, verdict in verdicts.items() if _shows_fluid(verdict)]
    return sorted(found, key=lambda uid: (-verdicts[uid].slices, uid))


def _shows_fluid(verdict: Verdict) -> bool:
    against = {one.reason.code for one in verdict.criteria if one.holds is False and not one.silent}
    tr, te = verdict.protocol.repetition_time_ms or 0.0, verdict.protocol.echo_time_ms or 0.0
    return against == {"not-t1-weighted"} and not verdict.doubts and tr >= MIN_T2_TR_MS and te >= MIN_T2_TE_MS


def after_contrast(verdicts: Mapping[str, Verdict]) -> dict[str, int]:
    """The series of a study without a word of contrast that come after one with a contrast agent, by UID.

    The agent may be in them as well, and no image tells: marrow and roots take it up, each in its measure. The value
    is the number of the first series with the agent; scanners number the series as they are made.
    """
    first = _first_after_contrast(verdicts)
    if first is None:
        return {}
    return {
        uid: first
        for uid, verdict in verdicts.items()
        if not verdict.protocol.contrast and verdict.series_number is not None and verdict.series_number > first
    }


def maybe_after_contrast(verdicts: Mapping[str, Verdict]) -> dict[str, tuple[str, ...]]:
    """The series of an examination with contrast that do not say whether they were made before it, by UID.

    The value is where it is told. One that comes before the first series with the agent was made before it.
    """
    first = _first_after_contrast(verdicts)
    return {
        uid: verdict.examined_with_contrast
        for uid, verdict in verdicts.items()
        if verdict.examined_with_contrast
        and not verdict.protocol.contrast
        and (first is None or verdict.series_number is None or verdict.series_number > first)
    }


def _first_after_contrast(verdicts: Mapping[str, Verdict]) -> int | None:
    numbers = [
        verdict.series_number
        for verdict in verdicts.values()
        if verdict.protocol.contrast and verdict.series_number is not None
    ]
    return min(numbers, default=None)


def _rank(uid: str, verdict: Verdict) -> tuple[bool, bool, int, bool, int, float, str]:
    number = verdict.series_number
    return (
        bool(verdict.doubts),
        not verdict.lumbar_stated,
        len(verdict.protocol.warnings),
        not verdict.t1_stated,
        -verdict.slices,
        number if number is not None else float("inf"),
        uid,
    )


def _texts(images: Sequence[ImageHeader], *names: str) -> list[str]:
    return sorted({getattr(image, name).lower() for image in images for name in names if getattr(image, name)})


def _own_texts(images: Sequence[ImageHeader]) -> list[str]:
    """What describes the series itself; the protocol name only where there is no description, for some makers name
    the protocol of the whole examination there."""
    return _texts(images, "series_description") or _texts(images, "protocol_name")


def _image_kind(images: Sequence[ImageHeader]) -> Criterion:
    classes = {image.sop_class_uid for image in images}
    if not classes <= frozenset(MR_IMAGES) or {image.modality for image in images} - {"MR", None}:
        return Criterion(holds=False, reason=Reason("not-mr-images"))
    if len(classes) > 1:
        return Criterion(holds=False, reason=Reason("single-and-multi-frame"))
    if any((image.samples_per_pixel or 1) != 1 for image in images):
        return Criterion(holds=False, reason=Reason("colour-images"))
    if {image.photometric for image in images} - {"MONOCHROME2", None}:
        return Criterion(holds=False, reason=Reason("not-monochrome2"))
    return Criterion(holds=True, reason=Reason("mr-images"))


def _original(images: Sequence[ImageHeader], words: frozenset[str]) -> Criterion:
    if against := sorted({value for image in images for value in not_original(image)}):
        return Criterion(holds=False, reason=Reason("image-type-not-original", {"values": tuple(against)}))
    if found := sorted(words & LOCALISER_WORDS):
        return Criterion(holds=False, reason=Reason("described-as-localiser", {"found": tuple(found)}))
    if not any(image.image_type for image in images):
        return Criterion(holds=None, reason=Reason("no-image-type"))
    return Criterion(holds=True, reason=Reason("original-images"))


def _sagittal(images: Sequence[ImageHeader]) -> Criterion:
    normals = [unit_normal(image) for image in images]
    stack = stack_normal(images)
    given = [normal for normal in normals if normal is not None]
    if stack is None or len(given) < len(images):
        return Criterion(holds=False, reason=Reason("orientation-missing"))
    if min(abs(float(normal @ stack)) for normal in given) < PARALLEL_COSINE:
        return Criterion(holds=False, reason=Reason("images-not-parallel"))
    off_axis = float(np.degrees(np.arccos(min(1.0, abs(float(stack[0]))))))
    if abs(stack[0]) < SAGITTAL_COSINE:
        return Criterion(holds=False, reason=Reason("not-sagittal", {"off_axis_deg": off_axis}))
    return Criterion(holds=True, reason=Reason("sagittal", {"off_axis_deg": off_axis}))


def _fat_saturation(images: Sequence[ImageHeader], texts: Sequence[str]) -> Criterion:
    options = {value.upper().replace(" ", "_") for image in images for value in image.scan_options}
    if found := sorted(options & FAT_SUPPRESSING_OPTIONS):
        return Criterion(holds=False, reason=Reason("fat-suppressing-options", {"options": tuple(found)}))
    if found := sorted({word for text in texts for word in words_of_fat_suppression(text)}):
        return Criterion(holds=False, reason=Reason("described-as-fat-saturated", {"found": tuple(found)}))
    return Criterion(holds=True, reason=Reason("no-fat-saturation"))


def _contrast(images: Sequence[ImageHeader], texts: Sequence[str], told_at: Mapping[str, Contrast]) -> Criterion:
    said = most(map(contrast_of, {_said(image) for image in images}))
    if said is Contrast.GIVEN:
        return Criterion(holds=False, reason=Reason("contrast-agent-given"))
    if found := sorted({word for text in texts for word in words_of_contrast(text)}):
        return Criterion(holds=False, reason=Reason("described-as-after-contrast", {"found": tuple(found)}))
    if said is Contrast.UNKNOWN or told_of_series(texts) is Contrast.UNKNOWN:
        return Criterion(holds=None, reason=Reason("contrast-unknown"))
    if (places := given_in(told_at, OF_IMAGE)) and not _contrast_denied(images, texts, told_at):
        return Criterion(holds=None, reason=Reason("contrast-told", {"where": places}))
    return Criterion(holds=True, reason=Reason("no-contrast-agent"))


def _said(image: ImageHeader) -> tuple[tuple[str, str], ...]:
    return ((AGENT, image.contrast_agent or ""), *image.contrast_elements)


def _contrast_denied(images: Sequence[ImageHeader], texts: Sequence[str], told_at: Mapping[str, Contrast]) -> bool:
    """Whether the series says of itself that there is none: by the agent, its name, or comments on its images."""
    agents = {text for image in images for text in (image.contrast_agent, *_agents(image)) if text}
    of_itself = [told_of_series(texts), *(told_at.get(place) for place in OF_IMAGE)]
    return Contrast.NONE in of_itself or any(agent_of(text) is Contrast.NONE for text in agents)


def _agents(image: ImageHeader) -> list[str]:
    return [text for what, text in image.contrast_elements if what == AGENT]


def _told(images: Sequence[ImageHeader]) -> dict[str, Contrast]:
    """What texts beside the description of the series tell of a contrast agent, by where they stand."""
    # The images of a series tell the same: each pair once, in the order in which it comes first.
    pairs = [
        (where, Contrast(value)) for where, value in dict.fromkeys(p for image in images for p in image.contrast_told)
    ]
    pairs += [("study description", said) for text in _texts(images, "study_description") if (said := told(text))]
    if any(image.series_description for image in images):
        for text in _texts(images, "protocol_name"):
            of_series = OF_SEQUENCE.search(text) is not None
            if (said := told(text, of_series=of_series)) is not None:
                pairs.append(("protocol name" if of_series else "procedure codes", said))
    return {where: most(said for other, said in pairs if other == where) for where, _ in pairs}


def _lumbar(images: Sequence[ImageHeader]) -> Criterion:
    """The most particular text that names a part of the body decides: of the series, its body part, the study."""
    series = named_parts(_texts(images, "series_description", "protocol_name"))
    body_part = named_parts(_texts(images, "body_part"))
    study = named_parts(_texts(images, "study_description"))
    named = series or body_part or study
    if "lumbar" in named:
        return Criterion(holds=True, reason=Reason("lumbar-named"))
    if not named:
        return Criterion(holds=None, reason=Reason("no-part-named"))
    others = tuple(sorted(named))
    if not series and study == {"lumbar"}:
        return Criterion(holds=None, reason=Reason("other-part-in-lumbar-study", {"parts": others}))
    return Criterion(holds=False, reason=Reason("other-part-named", {"parts": others}))


def _positions_mm(images: Sequence[ImageHeader]) -> tuple[float, ...]:
    """Distinct positions along the common normal, ascending, in mm."""
    normal = stack_normal(images)
    if normal is None:
        return ()
    located = [image.position_mm for image in images if image.position_mm and len(image.position_mm) == 3]
    return tuple(sorted({round(float(np.dot(position, normal)), 1) for position in located}))


def _slices(positions: Sequence[float]) -> Criterion:
    about: dict[str, Value] = {"slices": len(positions)}
    if len(positions) >= MINIMUM_SLICES:
        return Criterion(holds=True, reason=Reason("enough-slices", about))
    return Criterion(holds=False, silent=bool(positions), reason=Reason("few-slices", about))


def missing_slices(
    positions_mm: Sequence[float], *, thickness_mm: float | None = None, stated_step_mm: float | None = None
) -> int:
    """How many slices the gaps of a stack have room for.

    Parameters
    ----------
    positions_mm
        Distinct positions along the normal, ascending, in mm.
    thickness_mm
        Of the slices. Positions nearer to each other than half of it are one place, imaged twice.
    stated_step_mm
        What the images say is the step from centre to centre. Where every second slice is missing, nothing else
        tells; where it is larger than the steps found, these count. Less than the thickness it is not believed:
        some makers give the free gap there.
    """
    steps = np.diff(positions_mm)
    steps = steps[steps > (thickness_mm or 0.0) / 2]
    if not steps.size:
        return 0
    usual = float(np.median(steps))
    if stated_step_mm and thickness_mm and stated_step_mm >= thickness_mm * (1 - SAME):
        usual = min(usual, stated_step_mm)
    return int(sum(round(step / usual) - 1 for step in steps if step > WIDE_STEP * usual))


def _gaps(missing: int) -> Sequence[Criterion]:
    if not missing:
        return []
    return [Criterion(holds=None, reason=Reason("slices-seem-missing", {"room": missing}))]
