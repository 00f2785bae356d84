"""What a result is by OBX-3: its codes and names against ``conf/analytes.toml``."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

from analytics.columns import Analyte
from analytics.counts.results import Method, Scale
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes, Term, code_key
from node.hl7.words import fold

LOINC = re.compile(r"\d{1,5}-\d")
_CODED_COMPONENTS = 6
_MAX_REMEMBERED = 300
"""Longest OBX-3, in characters, whose meaning is cached."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What OBX-3 says a result is; ``conflict`` when its parts disagree."""

    analyte: Analyte
    scale: Scale | None
    method: Method
    conflict: Reason | None
    certain: bool
    """Named by LOINC or in words, not by a short local code alone."""
    secondary: bool = False
    """A channel of its own: used only where no other row gives the quantity."""


def identify(components: list[str], analytes: Analytes) -> Identity | None:
    """What a result is, from the components of OBX-3; ``None`` when it is not part of a blood count."""
    told = tuple(components[:_CODED_COMPONENTS])
    if sum(map(len, told)) > _MAX_REMEMBERED:
        return _identified(told, analytes)
    return _remembered(told, analytes)


def _identified(components: tuple[str, ...], analytes: Analytes) -> Identity | None:
    lowered = [fold(one) for one in components] + [""] * _CODED_COMPONENTS
    names = [one for one in (lowered[1], lowered[4]) if one and not LOINC.fullmatch(one)] or [lowered[0]]
    loincs = [one for one in lowered if LOINC.fullmatch(one)]
    codes = [one for one in (lowered[0], lowered[1], lowered[3], lowered[4]) if one and one not in loincs]
    texts = [
        analytes.denominator.without(re.sub(r"\[[^]]*]", " ", one).replace("_", " "))
        for one in dict.fromkeys([*names, *codes])
    ]
    by_loinc = [analytes.by_loinc[one] for one in loincs if one in analytes.by_loinc]
    excluded = analytes.never.match(loincs, codes, texts) or analytes.flags.match(loincs, codes, texts)
    if excluded and not by_loinc:
        return None
    terms = [*by_loinc, *(analytes.by_code[key] for key in map(code_key, codes) if key in analytes.by_code)]
    by_name = _kinds_in_names(texts, analytes)
    kinds = {term.analyte for term in terms} | by_name
    if "segmented" in kinds:
        kinds.discard("neutrophils")
    coded_other = analytes.other.match(loincs, codes, [])
    other = excluded or coded_other or analytes.other.match([], [], texts)
    if not kinds or (other and not coded_other and not terms):
        denied = any(term.denied(text) for term in analytes.named for text in texts)
        suspect = not other and not denied and analytes.suspect.match([], [], texts)
        return _unknown(texts, analytes) if suspect else None
    share = analytes.share.match([], [], texts)
    if share and not by_loinc and (len(kinds) > 1 or kinds & {"platelets", "leukocytes"}):
        return None
    scales = {term.scale for term in terms if term.scale} | _scale_words([*texts, *names], analytes)
    if share and not scales:
        scales = {"percent"}
    return Identity(
        analyte=next(kind for kind in get_args(Analyte) if kind in (by_name & kinds or kinds)),
        scale=next(iter(scales)) if len(scales) == 1 else None,
        method=_method(terms, " ".join(names), analytes),
        conflict=_conflict(kinds, scales, other=other),
        certain=bool(by_loinc or by_name or len(set(names) - {lowered[0]}) == 0),
        secondary=any(term.secondary for term in terms),
    )


def is_foreign(components: list[str], analytes: Analytes) -> bool:
    """Whether what OBX-3 names is known to be something else than the quantities of a differential."""
    told = [fold(one) for one in components[:_CODED_COMPONENTS] if one]
    loincs = [one for one in told if LOINC.fullmatch(one)]
    return any(words.match(loincs, told, told) for words in (analytes.never, analytes.flags, analytes.other))


def _conflict(kinds: set[Analyte], scales: set[Scale], *, other: bool) -> Reason | None:
    """What the parts of OBX-3 disagree on."""
    if len(kinds) > 1 or other:
        named = sorted(kinds | ({"another"} if other else set()))
        return Reason("code-and-name-disagree", {"kinds": tuple(named)})
    return Reason("code-and-name-disagree-on-scale") if len(scales) > 1 else None


_remembered = lru_cache(maxsize=4096)(_identified)
"""A laboratory sends the same few hundred codes over and over."""


def _unknown(texts: list[str], analytes: Analytes) -> Identity:
    scales = _scale_words(texts, analytes)
    return Identity(
        analyte="unknown",
        scale=next(iter(scales)) if len(scales) == 1 else None,
        method="unknown",
        conflict=Reason("analyte-not-known"),
        certain=False,
    )


def _kinds_in_names(names: Iterable[str], analytes: Analytes) -> set[Analyte]:
    kinds: set[Analyte] = set()
    for name in names:
        found: set[Analyte] = {term.analyte for term in analytes.named if term.found(name)}
        if {"bands", "segmented"} <= found or analytes.together.found(name):
            found = (found - {"bands", "segmented"}) | {"neutrophils"}
        if found & {"bands", "segmented"}:
            found -= {"neutrophils", "granulocytes"}
        kinds |= found
    if kinds & {"bands", "segmented"}:
        kinds.discard("neutrophils")
    if len(kinds) > 1:
        kinds.discard("leukocytes")
    return kinds


def _scale_words(texts: Iterable[str], analytes: Analytes) -> set[Scale]:
    scales: set[Scale] = set()
    for text in texts:
        if analytes.scale_words.percent.found(text):
            scales.add("percent")
        elif analytes.scale_words.absolute.found(text):
            scales.add("absolute")
    return scales


def _method(terms: list[Term], words: str, analytes: Analytes) -> Method:
    known = {term.method for term in terms} - {"unknown"}
    if len(known) == 1:
        return known.pop()
    if analytes.method_words.manual.found(words):
        return "manual"
    return "automated" if analytes.method_words.automated.found(words) else "unknown"
