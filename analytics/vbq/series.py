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
from analytics.vbq.contrast import AGENT, Contrast, contrast_of, most
from analytics.vbq.criterion import Criterion
from analytics.vbq.foreign import PARALLEL_COSINE, foreign_images, not_original, stack_normal, unit_normal
from analytics.vbq.header import MR_IMAGES, ImageHeader
from analytics.vbq.parts import named_parts
from analytics.vbq.protocol import SAME, Protocol, consensus, consensus_number, protocol_of
from analytics.vbq.reworked import doubts_of_pixels

SAGITTAL_COSINE = 0.8
"""A slice normal within 37° of the patient's left-right axis makes a series sagittal: scoliosis and careless
positioning stay far below it, axial and coronal series far above."""
MAX_T1_TR_MS = 1200.0
MAX_T1_TE_MS = 30.0
"""Limits beyond which a spin echo is proton-density or T2-weighted. Wide on purpose: a narrower accepted range only
warns."""
GRADIENT_ECHO = re.compile(r"\*?(?:t?fl|t?fi|me|de|ep|swi)[23]d")
"""How names of sequences of gradient echoes begin (one maker's), whatever Scanning Sequence says."""
MIN_FLAIR_TI_MS = 400.0
"""Least inversion time of a T1 FLAIR, in ms: 600–1,200 at 1.5 and 3 T; that of a STIR, which nulls fat, is 110–250."""
MINIMUM_SLICES = 5
"""A lumbar stack has 11–17 slices; fewer than 5 positions are a localiser or a fragment."""

FAT_SUPPRESSING_OPTIONS = frozenset({"FS", "SFS", "FATSAT", "FAT_SAT", "SPIR", "SPAIR", "SPECIR", "WE", "WATER_EXC"})
"""Values of Scan Options. Not among them: SAT1, SAT2, SP, SAT_GEMS, the regional presaturation."""

FAT_SUPPRESSED = re.compile(
    r"(?<![a-z])(?:fs|fat\w*|fsat|spair|spir|stir|tirm|m?dixon|ideal|flex|water\w*|wats?|(?:in|out|opp?)_?phase)(?![a-z])"
)
"""Also the parts of a chemical-shift series: water alone is marrow without its fat."""
NOT_FAT_SUPPRESSED = re.compile(r"(?<![a-z])(?:no|non|without|w/?o|ohne|sans|sin|senza)[\s_.-]*(?:fs|fat\w*)(?![a-z])")
LOCALISER_WORDS = frozenset({"loc", "localizer", "localiser", "scout", "survey", "surview", "topogram", "planscan"})
AFTER_CONTRAST = re.compile(
    r"(?<![a-z])(?:gd|gad|gado\w*|dotarem|magnevist|prohance|clariscan|km|mdc|civ|ce|inj|inject\w*|enhanced|tehoste\w*|"
    r"post(?:[\s_.-]*(?:gd|gad\w*|con\w*|kon\w*|km|iv))?|po[\s_.-]*kl|kontra[sś]\w*|contr(?:ast\w*)?)"
    r"(?![a-z])|контраст|(?<!без )(?<!\w)ку(?!\w)|造影|增强|増強|조영|"
    r"\+\s*(?:c|k|gd|gad|km)(?![a-z])|(?<![a-z])c\s?\(?\+"
)
NOT_AFTER_CONTRAST = re.compile(
    r"(?<![a-z])(?:no|non|without|w/?o|ohne|sans|sin|senza|sem|zonder|bez|uten|utan|uden|pre)[\s_.-]*(?:iv[\s_.-]*)?"
    r"(?:contrast\w*|kontrast\w*|con|contr|gado\w*|gad|gd|km|kl|mdc|inj\w*|c)(?![a-z])|(?<![a-z])post[\s_.-]*op|"
    r"(?<![a-z])(?:km|kontrast\w*|contrast)[\s_.-]*(?:frei|arm|free|optimi[sz]ed)(?![a-z])|kontrastarm|"
    r"без (?:контраст\w*|ку)|造影(?:なし|前)|造影剤なし|비조영|未增强|无增强"
)
T1_WORD = re.compile(r"(?<![a-z0-9])t1(?![0-9])")
OTHER_WEIGHTING = re.compile(r"(?<![a-z0-9])(?:t2|pd|flair|proton\w*|dwi|diff\w*|adc|swi|myelo\w*)(?![a-z0-9])")
DOUBTS = frozenset({"contrast-unknown", "images-foreign"})
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
    contrast = _contrast(images, texts)
    positions = _positions_mm(images)
    missing = missing_slices(
        positions,
        thickness_mm=consensus_number(image.slice_thickness_mm for image in images),
        stated_step_mm=consensus_number(image.spacing_between_slices_mm for image in images),
    )
    lumbar, weighting = _lumbar(images), _t1_weighted(images, texts)
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
            *doubts_of_pixels(images),
        ),
    )


def choose(verdicts: Mapping[str, Verdict]) -> str | None:
    """The one series to measure of a study: the first of its :func:`candidates`, or ``None``."""
    return next(iter(candidates(verdicts)), None)


def candidates(verdicts: Mapping[str, Verdict]) -> list[str]:
    """The series of a study that may be its sagittal T1, the best first.

    Better is, in this order: said by the headers rather than left to the image, not :func:`after_contrast`, without
    doubts, stated to be lumbar, within the accepted protocol, called T1, with more slices, earlier in the
    examination (an unlabelled series after contrast comes later), the smaller UID.
    """
    late = after_contrast(verdicts)
    found = [uid for uid, verdict in verdicts.items() if verdict.sagittal_t1 or verdict.image_decides]
    return sorted(found, key=lambda uid: (verdicts[uid].image_decides, uid in late, *_rank(uid, verdicts[uid])))


def after_contrast(verdicts: Mapping[str, Verdict]) -> dict[str, int]:
    """The series of a study without a word of contrast that come after one with a contrast agent, by UID.

    The agent may be in them as well, and no image tells: marrow and roots take it up, each in its measure. The value
    is the number of the first series with the agent; scanners number the series as they are made.
    """
    numbers = [
        verdict.series_number
        for verdict in verdicts.values()
        if verdict.protocol.contrast and verdict.series_number is not None
    ]
    if not numbers:
        return {}
    first = min(numbers)
    return {
        uid: first
        for uid, verdict in verdicts.items()
        if not verdict.protocol.contrast and verdict.series_number is not None and verdict.series_number > first
    }


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


def _t1_weighted(images: Sequence[ImageHeader], texts: Sequence[str]) -> Criterion:
    if no_spin_echo := _no_spin_echo(images):
        return Criterion(holds=False, reason=no_spin_echo)
    tr = consensus_number(image.repetition_time_ms for image in images)
    te = consensus_number(image.echo_time_ms for image in images)
    times: dict[str, Value] = {"tr_ms": tr, "te_ms": te}
    if (tr or 0.0) > MAX_T1_TR_MS or (te or 0.0) > MAX_T1_TE_MS:
        limits: dict[str, Value] = {"max_tr_ms": MAX_T1_TR_MS, "max_te_ms": MAX_T1_TE_MS}
        return Criterion(holds=False, reason=Reason("not-t1-weighted", {**times, **limits}))
    if tr and te:
        return Criterion(holds=True, reason=Reason("t1-weighted", times))
    if any((image.repetition_time_ms and not tr) or (image.echo_time_ms and not te) for image in images):
        return Criterion(holds=False, reason=Reason("several-weightings"))
    if found := sorted({match.group() for text in texts for match in OTHER_WEIGHTING.finditer(text)}):
        return Criterion(holds=False, reason=Reason("described-as-other-weighting", {"found": tuple(found)}))
    return Criterion(holds=False, silent=True, reason=Reason("weighting-unknown"))


def _no_spin_echo(images: Sequence[ImageHeader]) -> Reason | None:
    """What they are instead, or ``None``."""
    sequences = {value.upper() for image in images for value in image.scanning_sequence}
    inversion = max((image.inversion_time_ms or 0.0 for image in images), default=0.0)
    if "IR" in sequences or inversion > 0:
        te = consensus_number(image.echo_time_ms for image in images)
        if inversion >= MIN_FLAIR_TI_MS and (te or 0.0) <= MAX_T1_TE_MS:
            return Reason("t1-flair", {"inversion_ms": inversion})
        return Reason("inversion-recovery", {"inversion_ms": inversion})
    names = {match.group() for image in images if (match := GRADIENT_ECHO.match((image.sequence_name or "").lower()))}
    found = sorted((sequences & {"GR", "EP"}) | names)
    return Reason("no-spin-echo", {"sequences": tuple(found)}) if found else None


def _fat_saturation(images: Sequence[ImageHeader], texts: Sequence[str]) -> Criterion:
    options = {value.upper().replace(" ", "_") for image in images for value in image.scan_options}
    if found := sorted(options & FAT_SUPPRESSING_OPTIONS):
        return Criterion(holds=False, reason=Reason("fat-suppressing-options", {"options": tuple(found)}))
    with_fat_removed = [NOT_FAT_SUPPRESSED.sub(" ", text) for text in texts]
    if found := sorted({match.group() for text in with_fat_removed for match in FAT_SUPPRESSED.finditer(text)}):
        return Criterion(holds=False, reason=Reason("described-as-fat-saturated", {"found": tuple(found)}))
    return Criterion(holds=True, reason=Reason("no-fat-saturation"))


def _contrast(images: Sequence[ImageHeader], texts: Sequence[str]) -> Criterion:
    said = most(contrast_of({AGENT: image.contrast_agent or "", **dict(image.contrast_elements)}) for image in images)
    if said is Contrast.GIVEN:
        return Criterion(holds=False, reason=Reason("contrast-agent-given"))
    native_removed = [NOT_AFTER_CONTRAST.sub(" ", text) for text in texts]
    if found := sorted({match.group().strip() for text in native_removed for match in AFTER_CONTRAST.finditer(text)}):
        return Criterion(holds=False, reason=Reason("described-as-after-contrast", {"found": tuple(found)}))
    if said is Contrast.UNKNOWN:
        return Criterion(holds=None, reason=Reason("contrast-unknown"))
    return Criterion(holds=True, reason=Reason("no-contrast-agent"))


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
