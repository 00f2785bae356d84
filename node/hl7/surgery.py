"""``conf/procedures.toml``: what codes and words say of a booked procedure; whether it is an operation of the study."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

from node.conf import conf_path
from node.hl7.catalogue import Pattern, Table, Words, load_table
from node.hl7.words import fold

Level = Literal["lumbar", "thoracic", "cervical"]
Kind = Literal["decompression", "fusion", "disc replacement", "interspinous", "spine", "injection", "other"]
Understood = Literal["operation", "repeat", "other", "unclear", "unknown"]
"""``operation`` of the study; ``repeat``: a revision or removal at the lumbar spine; ``other``: known to be something
else; ``unclear``: an operation on the spine whose level is not known, or whose code and text disagree; ``unknown``: of
no known code and no known word."""

STUDY_KINDS: tuple[Kind, ...] = ("decompression", "fusion", "disc replacement", "interspinous")
_WEIGHTIEST: tuple[Understood, ...] = ("repeat", "operation", "unclear")
_CLAUSES = re.compile(r"[;,+\n]|\b(?:und|and|et|e|y|og|och)\b|、|；|，")
_PARTS = re.compile(r"[;,+\n(]| [-–] |、|；|，")
_EDITION = re.compile(r"(?:V|REV|REVISION|VERSION)?\d*|[\d\u3400-\u9fff]+")
_LEAST_NAME = 3
"""Letters of a system's name, from which on it is known with an edition behind it."""
LONGEST_TEXT = 1_000
"""Signs of one text, and"""
LONGEST_TOGETHER = 10_000
"""of all, that are read; what names a procedure stands before."""
MOST_FURTHER = 20
"""Texts beside the services that are read, one after the other."""
_AROUND = " \t-–*.:;,/()[]<>!#=_"
_LEFT = re.compile(r"\bl [1-5](?![/0-9])(\s?-\s?[1-5])?\b")
_REACH_OF_PURPOSE = 30
"""Signs between "for" and an operation, at most."""
_SEVERAL_CODES = re.compile(r"[\s,;/+&]+")
_MODIFIER_OF_CPT = re.compile(r"(?<=^[CGS\d]\d{4})-?[A-Z0-9]{2}(-?[A-Z0-9]{2})*$|(?<=^\d{4}T)-?[A-Z0-9]{2}$")


class Group(Table):
    """Codes of one system that say the same."""

    codes: tuple[str, ...]
    level: Level | None = None
    kind: Kind | None = None
    addon: bool = False
    repeat: bool = False

    @cached_property
    def searched(self) -> re.Pattern[str]:
        """What the codes look like, without dots."""
        return re.compile("|".join(translate(code.upper().replace(".", "")) for code in self.codes))


class System(Table):
    """One code system."""

    name: str
    country: str
    source: str
    identifiers: tuple[str, ...]
    form: Pattern
    bare: Pattern = ""
    group: tuple[Group, ...]

    def group_of(self, code: str) -> Group | None:
        """What a code says; ``None`` when it is not listed."""
        key = _MODIFIER_OF_CPT.sub("", code).replace(".", "").partition(":")[0]
        return next((group for group in self.group if group.searched.match(key)), None)


class ProcedureWords(Table):
    """Words of what is done and where."""

    lumbar: Words
    implied_lumbar: Words
    thoracic: Words
    cervical: Words
    fusion: Words
    decompression: Words
    disc_replacement: Words
    interspinous: Words
    repeat: Words
    visit: Words
    errand: Words
    beside: Words
    called_off: Words
    admission: Words
    class_of_admission: Words = Words()
    purpose: Words
    operative: Words
    injection: Words
    other_disease: Words
    elsewhere: Words
    any_operation: Words

    def levels(self, text: str) -> set[Level]:
        """The parts of the spine that a folded text names."""
        parts: tuple[tuple[Level, Words], ...] = (
            ("lumbar", self.lumbar),
            ("thoracic", self.thoracic),
            ("cervical", self.cervical),
        )
        named: set[Level] = {level for level, words in parts if words.found(text)}
        return named or ({"lumbar"} if self.implied_lumbar.found(text) else set())

    def is_operation(self, text: str) -> bool:
        """Whether a folded text names one of the operations of the study, at whatever part of the spine."""
        return any(words.found(text) for words in self._kinds) and not self.injection.found(text)

    @property
    def _kinds(self) -> tuple[Words, ...]:
        return self.fusion, self.decompression, self.disc_replacement, self.interspinous

    def before_operation(self, text: str) -> str:
        """What stands before the first operation of the study that a folded text names; all of it without one."""
        places = [found.start() for one in self._kinds if one.searched and (found := one.searched.search(text))]
        return text[: min(places, default=len(text))]

    def is_called_off(self, text: str) -> bool:
        """Whether a folded text begins or ends with the word that nothing will happen."""
        told = text.strip(_AROUND)
        found = self.called_off.searched.finditer(told) if self.called_off.searched else ()
        return any(one.start() == 0 or one.end() == len(told) for one in found) and not self.called_off.denied(told)

    def is_admission(self, text: str) -> bool:
        """Whether a folded text names an admission before any operation, on a day that need not be that of it."""
        return self.admission.found(self.before_operation(text)) and not self.admission.denied(text)

    def is_called_otherwise(self, text: str) -> bool:
        """Whether a folded text calls an appointment a visit, or an admission on a day that need not be the same."""
        return self.visit.found(text) or (self.is_admission(text) and not self.class_of_admission.found(text))

    def is_for_operation(self, clause: str) -> bool:
        """Whether a folded clause is about something before, after or for the operation that it names."""
        before = self.before_operation(clause)
        said = list(self.purpose.searched.finditer(before)) if self.purpose.searched else []
        if not said or len(before) - said[-1].end() > _REACH_OF_PURPOSE:
            return False
        head = self.purpose.without(self.operative.without(self.lumbar.without(before[: said[-1].start()])))
        return re.search(r"[^\W\d_]{3,}", head) is not None


class Procedures(Table):
    """``conf/procedures.toml``."""

    local: dict[str, Literal["lumbar", "other"]]
    system: tuple[System, ...]
    cancelled: Words
    words: ProcedureWords

    def __hash__(self) -> int:
        """By identity: the tables are read once and never change, so what they say can be remembered."""
        return id(self)

    @cached_property
    def by_identifier(self) -> dict[str, System]:
        """The system of each of its names."""
        return {_identifier(one): system for system in self.system for one in (system.name, *system.identifiers)}

    @cached_property
    def _local_keys(self) -> dict[str, Literal["lumbar", "other"]]:
        return {fold(code): meaning for code, meaning in self.local.items()}

    def groups(self, code: str, identifier: str) -> list[Group]:
        """What a code, or several in one component, says; empty when nothing is known of it."""
        if meaning := self._local_keys.get(fold(code)):
            lumbar = meaning == "lumbar"
            return [Group(codes=(code,), level="lumbar" if lumbar else None, kind="fusion" if lumbar else "other")]
        told = code.upper().strip()
        system = self._system_of(_identifier(identifier))
        if system is not None and re.fullmatch(system.form, told):
            return [system.group_of(told) or Group(codes=(code,), kind="other")]
        found = []
        for part in _SEVERAL_CODES.split(told):
            token = re.sub(r"^(CPT|OPS|CCAM)[-:]?(?=\d|L)", "", part)
            found += [group for one in ([system] if system else self.system) if (group := _listed(one, token, system))]
        return found

    def _system_of(self, identifier: str) -> System | None:
        """The system of a name, whatever edition is named behind it (``OPS2025``, ``ICD-9-CM-3(国家临床版)``)."""
        if identifier in self.by_identifier:
            return self.by_identifier[identifier]
        begun = [one for one in self.by_identifier if len(one) >= _LEAST_NAME and identifier.startswith(one)]
        longest = max(begun, key=len, default="")
        known = longest and _EDITION.fullmatch(identifier.removeprefix(longest))
        return self.by_identifier[longest] if known else None

    def is_addon(self, service: "Service") -> bool:
        """Whether a service is known by codes that never decide alone: accesses, instrumentation, segments."""
        groups = [group for code, system in service.codes for group in self.groups(code, system)]
        return bool(groups) and all(group.addon for group in groups)

    def is_visit(self, service: "Service") -> bool:
        """Whether a service is a visit or an admission and names no operation."""
        text, words = _folded(service.text), self.words
        named = (words.visit.found(text), words.errand.found(text), words.is_admission(text))
        return any(named) and not words.is_operation(text)

    def bare_groups(self, text: str) -> list[Group]:
        """What codes within a text say."""
        return [group for word in re.split(r"[\s^~,;()|/]+", text) if word for group in self.groups(word, "")]


def _listed(system: System, token: str, named: System | None) -> Group | None:
    form = system.form if named else system.bare
    return system.group_of(token) if form and re.fullmatch(form, token) else None


def _identifier(text: str) -> str:
    return re.sub(r"[\W_]", "", text).upper()


@dataclass(frozen=True, kw_only=True)
class Service:
    """A procedure as one segment gives it: codes with the names of their systems, and its text."""

    codes: tuple[tuple[str, str], ...]
    text: str
    shown: str = ""
    """All of it, as sent."""

    @classmethod
    def of(cls, components: Sequence[str], more: Sequence[str] = ()) -> "Service":
        """From the components of a coded field (CE, CWE) and those of a further description."""
        told = [*components, *[""] * 6]
        codes = tuple((told[place], told[place + 2]) for place in (0, 3) if told[place])
        texts = [told[1], told[4], *more] if told[1] or told[4] or any(more) else [told[0]]
        shown = " ".join([*components, *more]).strip()
        return cls(codes=codes, text=" ".join(one for one in texts if one)[:LONGEST_TEXT], shown=shown)


def understand(
    services: Iterable[Service], further: Sequence[str], procedures: Procedures, *, kinds: Sequence[str] = ()
) -> Understood:
    """What is booked: by codes and texts of the services, else with the further texts, one after the other.

    Parameters
    ----------
    further
        The places where systems put what the services do not say (the reason of the appointment, notes), the most
        telling first.
    kinds
        What an appointment is called as a whole: where that is a visit or an admission, whose day need not be that of
        the operation, it is for a person.
    """
    told = tuple(services)
    verdict = _remembered(told, procedures)
    if verdict in ("other", "unclear") and 1 < len(told) <= MOST_FURTHER:
        # A visit or an admission booked with an operation, as a service of its own.
        others = tuple(one for one in told if not procedures.is_visit(one))
        alone = _remembered(others, procedures) if 0 < len(others) < len(told) else verdict
        verdict = alone if alone in ("operation", "repeat") else verdict
    for count in range(1, min(len(further), MOST_FURTHER) + 1):
        if verdict not in ("unclear", "unknown"):
            break
        added = tuple(Service(codes=(), text=text[:LONGEST_TEXT]) for text in further[:count] if text)
        verdict = _remembered((*told, *added), procedures)
    if verdict == "operation" and further and procedures.words.repeat.found(_folded(further[0][:LONGEST_TEXT])):
        return "repeat"
    called = [_folded(kind[:LONGEST_TEXT]) for kind in kinds]
    if verdict in ("operation", "repeat") and any(map(procedures.words.is_called_otherwise, called)):
        return "unclear"
    return verdict


def _folded(text: str) -> str:
    """A text folded, with one blank between its words, as the tables have them."""
    return re.sub(r"[^\S\n]+", " ", fold(text))


def _understood(services: tuple[Service, ...], procedures: Procedures) -> Understood:
    words = procedures.words
    groups = _groups_of(services, procedures)
    text = words.beside.without(_folded("; ".join(one.text for one in services)[:LONGEST_TOGETHER]))
    named = words.levels(text)
    levels = named | {group.level for group in groups if group.addon and group.level}
    coded = [_coded(group, named, levels) for group in groups if group.kind and not group.addon]
    in_words = [_in_words(clause, named, groups, words) for clause in _CLAUSES.split(text)]
    if other := _about_something_else(text, words, coded):
        return other
    spine = bool(levels) or bool({*coded, *in_words} - {"other", None})
    if spine and "repeat" not in coded and words.repeat.found(text):
        return _repeated(levels | {group.level for group in groups if group.level})
    if "operation" in (*coded, *in_words) and words.is_admission(text):
        return "unclear"
    return _weightiest(coded, in_words) or _otherwise(groups, levels, text, words)


_remembered = lru_cache(maxsize=1024)(_understood)
"""A hospital books the same few hundred procedures over and over."""


def _about_something_else(text: str, words: ProcedureWords, coded: Sequence[Understood]) -> Understood | None:
    """What is said of another disease or of a visit, whatever else is named."""
    if words.other_disease.found(text):
        return "other"
    if words.visit.found(text):
        return "unclear" if "operation" in coded or _is_beside(text, words) else "other"
    if words.errand.found(text):
        behind = not words.errand.found(words.before_operation(text))
        return "unclear" if "operation" in coded or behind else "other"
    return None


def _is_beside(text: str, words: ProcedureWords) -> bool:
    """Whether a visit is named only behind the clause of an operation: it may be about what goes with it."""
    clauses = _PARTS.split(text)
    first = next((place for place, clause in enumerate(clauses) if words.is_operation(clause)), len(clauses))
    return not words.visit.found(";".join(clauses[: first + 1])) and first < len(clauses)


def _groups_of(services: Iterable[Service], procedures: Procedures) -> list[Group]:
    """The groups of codes that the services name, as codes or in their texts."""
    groups = [group for one in services for code, system in one.codes for group in procedures.groups(code, system)]
    return groups + procedures.bare_groups(" ".join(one.text for one in services)[:LONGEST_TOGETHER])


def _weightiest(coded: Sequence[Understood], in_words: Sequence[Understood | None]) -> Understood | None:
    """The weightiest of what codes and words say; beside a code, unclear words say nothing."""
    for verdict in _WEIGHTIEST:
        if verdict in coded or (verdict in in_words and not (verdict == "unclear" and coded)):
            return verdict
    return None


def _coded(group: Group, named: set[Level], levels: set[Level]) -> Understood:
    """What a listed code says, with the levels that the text and the codes of accesses name."""
    if group.kind in ("other", "injection") and not group.repeat:
        return "other"
    at = {group.level} if group.level else levels
    if group.level and named and group.level not in named:
        return "unclear"
    if not at:
        return "unclear"
    if "lumbar" not in at:
        return "other"
    return "repeat" if group.repeat else ("unclear" if group.kind == "spine" else "operation")


def _in_words(clause: str, named: set[Level], groups: list[Group], words: ProcedureWords) -> Understood | None:
    """What a clause of the text says; a code for another part of the spine speaks for its whole service."""
    if not words.is_operation(clause):
        return None
    at = words.levels(clause) or named
    if any(group.kind and group.level and not group.addon for group in groups) and not words.levels(clause):
        return None
    if not at:
        return None if words.elsewhere.found(clause) else "unclear"
    if "lumbar" not in at:
        return "other"
    return "unclear" if words.is_for_operation(clause) or _may_be_left(clause, words) else "operation"


def _may_be_left(clause: str, words: ProcedureWords) -> bool:
    """Whether L before a number may stand for the left side of another part of the body (``L 2 toe``)."""
    return words.elsewhere.found(clause) and not words.levels(_LEFT.sub(" ", clause))


def _repeated(levels: set[Level]) -> Understood:
    if not levels:
        return "unclear"
    return "repeat" if "lumbar" in levels else "other"


def _otherwise(groups: list[Group], levels: set[Level], text: str, words: ProcedureWords) -> Understood:
    """Of what is no operation of the study: whether it is known to be something else."""
    known = (words.injection, words.elsewhere)
    if any(one.found(text) for one in known) or any(group.kind for group in groups):
        return "other"
    if "lumbar" in levels or groups:
        return "unclear"
    if words.any_operation.found(text):
        return "other"
    return "other" if levels else "unknown"


@lru_cache(maxsize=4)
def load_procedures(path: Path | None = None) -> Procedures:
    """Read ``conf/procedures.toml``, once per process.

    Raises
    ------
    SettingsError
        The file cannot be read, or holds an unknown key or an impossible pattern.
    """
    return load_table(path or conf_path("procedures.toml"), Procedures.model_validate)
