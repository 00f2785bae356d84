"""What a result is by OBX-3: its codes and names against ``conf/analytes.toml``."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import get_args

from analytics.columns import Analyte
from analytics.counts.results import Method, Scale
from analytics.reasons import Reason
from node.hl7.catalogue import Analytes, Term, Words, code_key
from node.hl7.remembered import remembered
from node.hl7.words import fold

LOINC = re.compile(r"\d{1,5}-\d")
_OVER = re.compile(r"[/:÷]")
_CODED_COMPONENTS = 6


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
    return _identified(tuple(components[:_CODED_COMPONENTS]), analytes)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The components of OBX-3 by what they are, folded."""

    first: str
    names: list[str]
    loincs: list[str]
    codes: list[str]
    """All that may be a code and is no LOINC."""
    texts: list[str]
    """Names and codes, to be searched for words."""

    @classmethod
    def of(cls, components: tuple[str, ...], analytes: Analytes) -> "_Parts":
        """As the components have them, original and alternate."""
        lowered = [fold(one) for one in components] + [""] * _CODED_COMPONENTS
        names = [one for one in (lowered[1], lowered[4]) if one and not LOINC.fullmatch(one)] or [lowered[0]]
        loincs = [one for one in lowered if LOINC.fullmatch(one)]
        codes = [one for one in (lowered[0], lowered[1], lowered[3], lowered[4]) if one and one not in loincs]
        texts = [
            re.sub(r"\s+", " ", analytes.denominator.without(re.sub(r"\[[^]]*]", " ", one).replace("_", " ")))
            for one in dict.fromkeys([*names, *codes])
        ]
        return cls(first=lowered[0], names=names, loincs=loincs, codes=codes, texts=texts)

    def match(self, words: Words, *, in_texts: bool = True) -> bool:
        """Whether a list of codes and words has one of these."""
        return words.match(self.loincs, self.codes, self.texts if in_texts else [])

    def have(self, words: Words) -> bool:
        """Whether a list of words has one of the texts, whatever the codes are."""
        return words.match([], [], self.texts)


@dataclass(frozen=True, kw_only=True)
class _Meaning:
    """The quantities that the parts of OBX-3 mean, one beside the other."""

    by_loinc: list[Term]
    coded: list[Term]
    """By LOINC and by local code."""
    by_name: set[Analyte]

    @classmethod
    def of(cls, parts: _Parts, analytes: Analytes) -> "_Meaning":
        """As the table of analytes has the parts."""
        by_loinc = [analytes.by_loinc[one] for one in parts.loincs if one in analytes.by_loinc]
        by_code = [analytes.by_code[key] for key in map(code_key, parts.codes) if key in analytes.by_code]
        return cls(by_loinc=by_loinc, coded=[*by_loinc, *by_code], by_name=_kinds_in_names(parts.texts, analytes))

    @property
    def kinds(self) -> set[Analyte]:
        """All of them; segmented neutrophils are also called neutrophils."""
        kinds = {term.analyte for term in self.coded} | self.by_name
        return kinds - {"neutrophils"} if "segmented" in kinds else kinds

    def scales(self, parts: _Parts, analytes: Analytes, *, share: bool) -> set[Scale]:
        """Whether it is a count or a percentage, by codes and words; of a share that says neither, a percentage."""
        scales = {term.scale for term in self.coded if term.scale} | _scale_words(
            [*parts.texts, *parts.names], analytes
        )
        return scales or ({"percent"} if share else set())


@remembered
def _identified(components: tuple[str, ...], analytes: Analytes) -> Identity | None:
    parts = _Parts.of(components, analytes)
    meaning = _Meaning.of(parts, analytes)
    excluded = any(parts.match(words) for words in (analytes.never, analytes.flags))
    if excluded and not meaning.by_loinc:
        return None
    coded_other = parts.match(analytes.other, in_texts=False)
    other = excluded or parts.match(analytes.other)
    kinds = meaning.kinds
    if not kinds or (other and not coded_other and not meaning.coded):
        return None if other else _unknown(parts, analytes)
    share = parts.have(analytes.share)
    if not meaning.by_loinc and _is_another_quantity(kinds, parts.texts, analytes, share=share):
        return None
    scales = meaning.scales(parts, analytes, share=share)
    return Identity(
        analyte=next(kind for kind in get_args(Analyte) if kind in (meaning.by_name & kinds or kinds)),
        scale=_only(scales),
        method=_method(meaning.coded, " ".join(parts.names), analytes),
        conflict=_conflict(kinds, scales, other=other),
        certain=bool(meaning.by_loinc or meaning.by_name or set(parts.names) <= {parts.first}),
        secondary=any(term.secondary for term in meaning.coded),
    )


def _is_another_quantity(kinds: Collection[Analyte], texts: Iterable[str], analytes: Analytes, *, share: bool) -> bool:
    """Whether it is a share of what is counted itself, or one kind of cell over another, in whatever language."""
    if share and (len(kinds) > 1 or "platelets" in kinds or "leukocytes" in kinds):
        return True
    return any(_OVER.search(text) and len(_kinds_in_names([text], analytes)) > 1 for text in texts)


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


def _unknown(parts: _Parts, analytes: Analytes) -> Identity | None:
    """What sounds like a quantity of a blood count and is none that is known."""
    denied = any(term.denied(text) for term in analytes.named for text in parts.texts)
    if denied or not parts.have(analytes.suspect):
        return None
    return Identity(
        analyte="unknown",
        scale=_only(_scale_words(parts.texts, analytes)),
        method="unknown",
        conflict=Reason("analyte-not-known"),
        certain=False,
    )


def _only(scales: set[Scale]) -> Scale | None:
    return next(iter(scales)) if len(scales) == 1 else None


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
