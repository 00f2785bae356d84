"""Reasons: why something is held, left out or only to be known, as a code with values; the words are made at the edge.

Whatever the node doubts, refuses or passes over carries a :class:`Reason`: a code that never changes, and the values
that belong to it. No logic reads words. They are made where somebody reads them (a command, a mail, a page) by
:meth:`Reason.words`, from the catalogue ``reasons.toml`` beside this module or from a file of another language.

To add a code: give it a table in ``reasons.toml`` (words with named values, ``does``, ``do``; ``short`` where its
particulars must not split the counts) and its words in ``reasons.de.toml``; where it arises, write
``Reason("the-code", {"name": value})`` with the code as a literal. ``tests/analytics/test_reasons.py`` walks code and
catalogue both ways. Where a part of a sentence is a reason itself (why a ratio is missing: why its cell is), give the
inner :class:`Reason` as a value. Derived tables keep reasons as ``node.store.reasons.stored`` writes them; views show
the words and the codes of that.

The words are format strings. Beyond the usual format specifications a value may ask for:

``{analyte:term}``
    The word of the language for it, from ``[terms]``; itself where there is none.
``{levels:list}``, ``{columns:and}``, ``{kinds:or}``, ``{against:sentences}``
    Several values or reasons, each value as a term, with commas, the language's word or semicolons between them.
``{images:one|image was|images were}``
    The first words for a single one, the second for any other number.
``{more:some| and 1 more| and # more}``
    The first words for a single one, the second for others, with the value at ``#``; nothing for 0, a blank or nothing.
``{tr_ms:ms}``
    A time in milliseconds, or the term ``unknown`` where there is none.
"""

import json
import string
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Union

CATALOGUE_FILE = Path(__file__).with_name("reasons.toml")
SOURCE_LANGUAGE = "en"
"""The language of the catalogue itself."""

Does = Literal["holds", "excludes", "informs"]
"""``holds``: a person must look before the thing is used; ``excludes``: it is not used; ``informs``: it is used."""

Value = Union[str, int, float, None, tuple[str, ...], tuple["Reason", ...], "Reason"]


@dataclass(frozen=True)
class Reason:
    """A code of the catalogue with the values that its words name. Hashable; equal by content."""

    code: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(json.dumps(to_dict(self), sort_keys=True))

    def __str__(self) -> str:
        return self.words()

    def words(self, language: "Language | None" = None) -> str:
        """The sentence; a code that the catalogue does not know (of another version) is shown as it is."""
        language = language or in_use()
        template = language.words.get(self.code)
        return self._unknown() if template is None else language.fill(template, self.values)

    def short(self, language: "Language | None" = None) -> str:
        """The words without particulars, so that alike reasons are counted together."""
        language = language or in_use()
        template = language.short.get(self.code)
        return self.words(language) if template is None else language.fill(template, self.values)

    @property
    def transient(self) -> bool:
        """Later data can take it away."""
        entry = load_catalogue().get(self.code)
        return entry is not None and entry.transient

    def _unknown(self) -> str:
        values = ", ".join(f"{name} {value}" for name, value in sorted(self.values.items()))
        return f"{self.code} ({values})" if values else self.code


NOBODY = "none"
"""Action of reasons about which nothing is to be done."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the catalogue says of a code, in its own language."""

    words: str
    short: str | None
    does: Does
    do: str
    """Name of the action that is for a person; the languages have its sentence."""
    transient: bool
    """Later data can take it away: who is kept out for nothing else is waited for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Language:
    """The words of one language: templates by code, sentences by action, and terms by the value that they stand for."""

    name: str
    words: Mapping[str, str]
    short: Mapping[str, str]
    actions: Mapping[str, str]
    terms: Mapping[str, str]
    decimal_mark: str = "."

    def fill(self, template: str, values: Mapping[str, Value]) -> str:
        """A template with its values."""
        return _Filler(self).vformat(template, (), values)

    def term(self, value: object) -> str:
        """The language's word for a value."""
        return self.terms.get(str(value), str(value))


class _Filler(string.Formatter):
    """Fills a template of a language."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Reason):
            return value.words(self.language)
        if format_spec == "term":
            return self.language.term(value)
        if format_spec.startswith(("one|", "some|")):
            return _counted(value, *format_spec.split("|"))
        if format_spec == "ms":
            return self._number(f"{value:g}") + " ms" if value else self.language.term("unknown")
        if format_spec in ("list", "and", "or", "sentences"):
            between = {"list": ", ", "sentences": "; "}.get(format_spec, f" {self.language.term(format_spec)} ")
            said = (one.words(self.language) if isinstance(one, Reason) else self.language.term(one) for one in value)
            return between.join(said)
        text = str(super().format_field(value, format_spec))
        return self._number(text) if isinstance(value, float) else text

    def _number(self, text: str) -> str:
        return text.replace(".", self.language.decimal_mark)


def _counted(value: object, kind: str, one: str, many: str) -> str:
    if kind == "some" and not value:
        return ""
    return one if value == 1 else many.replace("#", str(value))


def placeholders(template: str) -> frozenset[str]:
    """The names of the values that a template has a place for."""
    found = [(name, spec or "") for _, name, spec, _ in string.Formatter().parse(template) if name is not None]
    return frozenset(name for name, _ in found).union(*(placeholders(spec) for _, spec in found if "{" in spec))


@lru_cache(maxsize=1)
def load_catalogue() -> dict[str, Entry]:
    """Every code of the catalogue."""
    return {
        code: Entry(
            words=one["words"],
            short=one.get("short"),
            does=one["does"],
            do=one["do"],
            transient=one.get("transient", False),
        )
        for code, one in _read(CATALOGUE_FILE)["reason"].items()
    }


@lru_cache(maxsize=8)
def load_language(name_or_file: str = SOURCE_LANGUAGE) -> Language:
    """A shipped language by its name (``en``, ``de``), or one that a site gives as a file.

    Raises
    ------
    OSError
        There is no such file.
    ValueError
        The file is not TOML, or its words name values that a reason has not.
    """
    if name_or_file == SOURCE_LANGUAGE:
        catalogue = load_catalogue()
        content = _read(CATALOGUE_FILE)
        return Language(
            name=name_or_file,
            words={code: entry.words for code, entry in catalogue.items()},
            short={code: entry.short for code, entry in catalogue.items() if entry.short is not None},
            actions=content["actions"],
            terms=content.get("terms", {}),
        )
    shipped = CATALOGUE_FILE.parent / f"reasons.{name_or_file}.toml"
    content = _read(shipped if name_or_file.isalpha() and shipped.is_file() else Path(name_or_file))
    source = load_language()
    for code, template in content.get("words", {}).items():
        if code in source.words and not placeholders(template) <= placeholders(source.words[code]):
            raise ValueError(f"{code}: its words name a value that it has not")
    # What a file does not translate is read in the language of the catalogue.
    return Language(
        name=name_or_file,
        words={**source.words, **content.get("words", {})},
        short={**source.short, **content.get("short", {})},
        actions={**source.actions, **content.get("actions", {})},
        terms={**source.terms, **content.get("terms", {})},
        decimal_mark=content.get("decimal_mark", source.decimal_mark),
    )


_IN_USE = [SOURCE_LANGUAGE]


def use_language(name_or_file: str) -> None:
    """Make the words of this process in a language, from here on; raises as :func:`load_language`."""
    load_language(name_or_file)
    _IN_USE[0] = name_or_file


def in_use() -> Language:
    """The language of this process."""
    return load_language(_IN_USE[0])


def words(reasons: Iterable[Reason], language: Language | None = None) -> list[str]:
    """The sentence of each."""
    return [reason.words(language) for reason in reasons]


def actions(reasons: Iterable[Reason], language: Language | None = None) -> list[str]:
    """What a person does about reasons, each sentence once; codes that need nobody have none."""
    language, catalogue = language or in_use(), load_catalogue()
    names = [catalogue[one.code].do for one in reasons if one.code in catalogue]
    return [language.actions[name] for name in dict.fromkeys(names) if name != NOBODY]


def codes(reasons: Iterable[Reason]) -> list[str]:
    """The code of each."""
    return [reason.code for reason in reasons]


def to_dict(reason: Reason) -> dict[str, Any]:
    """Code and values as plain dicts, lists, strings and numbers."""
    return {
        "code": reason.code,
        "values": {
            name: [_plain(one) for one in value] if isinstance(value, tuple) else _plain(value)
            for name, value in reason.values.items()
        },
    }


def _plain(value: Any) -> Any:
    return to_dict(value) if isinstance(value, Reason) else value


def from_dict(content: Mapping[str, Any]) -> Reason:
    """The reason that :func:`to_dict` has written; what else stands there is not looked at."""
    return Reason(content["code"], {name: _value(value) for name, value in content.get("values", {}).items()})


def _value(content: Any) -> Value:
    if isinstance(content, dict):
        return from_dict(content)
    return tuple(_value(one) for one in content) if isinstance(content, list) else content  # type: ignore[return-value]  # JSON


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
