"""Whether a series is a T1-weighted spin echo, by its times and by all that tells one sequence from another."""

import re
from collections.abc import Sequence

from analytics.reasons import Reason, Value
from analytics.vbq.criterion import Criterion
from analytics.vbq.header import ImageHeader
from analytics.vbq.protocol import consensus_number
from analytics.vbq.told import OF_SEQUENCE

MAX_T1_TR_MS = 1200.0
MAX_T1_TE_MS = 30.0
"""Limits beyond which a spin echo is proton-density or T2-weighted. Wide on purpose: a narrower accepted range only
warns."""
LEAST_TR_MS, LEAST_TE_MS = 100.0, 1.0
"""Limits below which no spin echo makes a stack of the spine: headers that give less tell nothing (in seconds, say)."""
GRADIENT_ECHO = re.compile(r"\*?(?:q?t?fl|t?fi|me|de|ci|ep|swi|psif|fm|rd|petra)\w*?[23]d")
"""How names of sequences of gradient echoes begin (one maker's), whatever Scanning Sequence says."""
MIN_FLAIR_TI_MS = 400.0
"""Least inversion time of a T1 FLAIR, in ms: 600–1,200 at 1.5 and 3 T; that of a STIR, which nulls fat, is 110–250."""
NAMED_SO = re.compile(
    r"(?<![a-z])(?:gre|fgre|efgre|f?spgr|t?ffe|b-?ffe|tfe|b-?tfe|flash|turbo-?flash|fl[23]d|vibe|lava|e?-?thrive|mp-?rage|"
    r"bravo|fiesta|true-?fisp|tru-?fi|fisp|ssfp|dess|ciss|medic|cosmic|gradient|field[\s_-]?echo|epi)(?![a-z])"
)
"""Names of gradient echoes, of all makers, in the name of a series or of its sequence."""
INVERSION = re.compile(r"(?<![a-z0-9])(?:t1[\s_-]*)?flair(?![a-z])|dark[\s_-]?fluid")
"""Names of a T1 FLAIR, where no inversion time is given."""
TURBO_INVERSION = re.compile(r"\*?tir\d?[23]?d")
"""How names of sequences with an inversion begin (one maker's)."""
SPIN_ECHO = re.compile(r"(?<![a-z])(?:tse|fse|se|tir|spc|spin)(?:_?xl|r)?(?:[23]d\w*)?(?![a-z])")
STATED_SPIN_ECHO_DEG = 60.0
"""Smaller flip angles are none of a spin echo: it turns by 90° and refocuses by 60 to 180°, and headers give either."""
UNSTATED_SPIN_ECHO_DEG = 85.0
"""The same where nothing says that it is one: gradient echoes with T1 contrast turn by up to 80°."""
UNSTATED_SPIN_ECHO_TE_MS, UNSTATED_SPIN_ECHO_TR_MS = 5.0, 250.0
"""Times below which only a gradient echo gets a stack of the lumbar spine with T1 contrast."""
STEADY_STATE = frozenset({"SS", "TRSS"})
"""Values of Sequence Variant."""
OTHER_WEIGHTING = re.compile(r"(?<![a-z0-9])(?:t2|pd|flair|proton\w*|dwi|diff\w*|adc|swi|myelo\w*)(?![a-z0-9])")


def t1_weighted(images: Sequence[ImageHeader], texts: Sequence[str]) -> Criterion:
    """Whether the headers say that it is T1; ``texts`` are what names the series, in lower case."""
    if no_spin_echo := _no_spin_echo(images, texts):
        return Criterion(holds=False, reason=no_spin_echo)
    tr = consensus_number(image.repetition_time_ms for image in images)
    te = consensus_number(image.echo_time_ms for image in images)
    if (by_times := _by_times(tr, te)) is not None:
        return by_times
    if any((image.repetition_time_ms and not tr) or (image.echo_time_ms and not te) for image in images):
        return Criterion(holds=False, reason=Reason("several-weightings"))
    if found := sorted({match.group() for text in texts for match in OTHER_WEIGHTING.finditer(text)}):
        return Criterion(holds=False, reason=Reason("described-as-other-weighting", {"found": tuple(found)}))
    return Criterion(holds=False, silent=True, reason=Reason("weighting-unknown"))


def _by_times(tr_ms: float | None, te_ms: float | None) -> Criterion | None:
    """What the times say; ``None`` where they are not given."""
    times: dict[str, Value] = {"tr_ms": tr_ms, "te_ms": te_ms}
    if (tr_ms or 0.0) > MAX_T1_TR_MS or (te_ms or 0.0) > MAX_T1_TE_MS:
        limits: dict[str, Value] = {"max_tr_ms": MAX_T1_TR_MS, "max_te_ms": MAX_T1_TE_MS}
        return Criterion(holds=False, reason=Reason("not-t1-weighted", {**times, **limits}))
    if tr_ms is None or te_ms is None:
        return None
    if tr_ms < LEAST_TR_MS or te_ms < LEAST_TE_MS:
        return Criterion(holds=False, silent=True, reason=Reason("times-of-no-spin-echo", times))
    return Criterion(holds=True, reason=Reason("t1-weighted", times))


def _no_spin_echo(images: Sequence[ImageHeader], texts: Sequence[str]) -> Reason | None:
    """What they are instead, or ``None``."""
    sequences = {value.upper() for image in images for value in image.scanning_sequence}
    inversion = max((image.inversion_time_ms or 0.0 for image in images), default=0.0)
    if "IR" in sequences or inversion > 0:
        te = consensus_number(image.echo_time_ms for image in images)
        if inversion >= MIN_FLAIR_TI_MS and (te or 0.0) <= MAX_T1_TE_MS:
            return Reason("t1-flair", {"inversion_ms": inversion})
        return Reason("inversion-recovery", {"inversion_ms": inversion})
    if named := _named_inversion(images, texts):
        return Reason("described-as-other-weighting", {"found": named})
    names = {match.group() for image in images if (match := GRADIENT_ECHO.match((image.sequence_name or "").lower()))}
    described = {match.group() for text in _names(images, texts) for match in NAMED_SO.finditer(text)}
    found = sorted((sequences & {"GR", "EP"}) | names | described)
    return Reason("no-spin-echo", {"sequences": tuple(found)}) if found else None


def _named_inversion(images: Sequence[ImageHeader], texts: Sequence[str]) -> tuple[str, ...]:
    """What names an inversion that no element gives."""
    names = _names(images, texts)
    described = {match.group() for text in names for match in INVERSION.finditer(text)}
    sequences = {
        match.group() for image in images if (match := TURBO_INVERSION.match((image.sequence_name or "").lower()))
    }
    return tuple(sorted(described | sequences))


def _names(images: Sequence[ImageHeader], texts: Sequence[str]) -> set[str]:
    """What names the sequence; not a protocol that is that of the whole examination."""
    protocols = {name.lower() for image in images if (name := image.protocol_name)}
    sequences = {name.lower() for image in images if (name := image.sequence_name)}
    return {*texts, *sequences, *filter(OF_SEQUENCE.search, protocols)}


def perhaps_gradient_echo(images: Sequence[ImageHeader], texts: Sequence[str]) -> Reason | None:
    """What makes it look like a gradient echo, though nothing says that it is one; ``None`` where nothing does.

    Scanning Sequence RM (research mode) says no more than an empty one.
    """
    stated = any("SE" in map(str.upper, image.scanning_sequence) for image in images)
    flips = [image.flip_angle_deg for image in images if image.flip_angle_deg]
    if flips and min(flips) < (STATED_SPIN_ECHO_DEG if stated else UNSTATED_SPIN_ECHO_DEG):
        return Reason("flip-angle-small", {"flip_angle_deg": min(flips)})
    if stated or any(map(SPIN_ECHO.search, _names(images, texts))):
        return None
    te = consensus_number(image.echo_time_ms for image in images)
    tr = consensus_number(image.repetition_time_ms for image in images)
    variants = {value.upper() for image in images for value in image.sequence_variant}
    short = (te is not None and te < UNSTATED_SPIN_ECHO_TE_MS) or (tr is not None and tr < UNSTATED_SPIN_ECHO_TR_MS)
    return Reason("spin-echo-unsaid", {"tr_ms": tr, "te_ms": te}) if short or variants & STEADY_STATE else None
