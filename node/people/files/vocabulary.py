"""``conf/cohort.toml``: the words in which people write a cohort table."""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import Field

from node.conf import conf_path
from node.hl7.catalogue import Table, load_table
from node.hl7.words import fold

_PLAIN = re.compile(r"[\W_]+")


def key(text: str) -> str:
    """A name or word as it is compared: folded, without blanks and punctuation."""
    return _PLAIN.sub("", fold(text))


def word(text: str) -> str:
    """A cell as it is compared: folded, with single blanks; signs stay, for they are the answer in some tables."""
    return " ".join(fold(text).split())


class SexWords(Table):
    """One language's words."""

    male: tuple[str, ...]
    female: tuple[str, ...]


class Sex(Table):
    """Names of columns that do not say which sex is 1, or that it is the other one, and the words in them."""

    neutral: tuple[str, ...]
    female: tuple[str, ...]
    neither: tuple[str, ...]
    words: tuple[SexWords, ...]


class Answers(Table):
    """Words for yes and for no."""

    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()


class YesNo(Answers):
    """The words of every column and those of single columns."""

    of: dict[str, Answers]


class Words(Table):
    """A list of words."""

    words: tuple[str, ...]


class Vocabulary(Table):
    """The whole file."""

    names: dict[str, tuple[str, ...]]
    sex: Sex
    yes_no: YesNo
    diagnoses: dict[str, tuple[str, ...]]
    missing: Words
    summary: Words
    units: dict[str, dict[str, int | str]]
    months: dict[int, tuple[str, ...]] = Field(default_factory=dict)

    @cached_property
    def neither_sex(self) -> frozenset[str]:
        """Words for a sex that the model has not; a matter of their rows, as the classes are understood."""
        return _folded(self.sex.neither)

    @cached_property
    def column_of(self) -> Mapping[str, str]:
        """Column by folded name; ``sex`` and ``sex_female`` for those columns of sex that are not ``sex_male``."""
        found = {key(name): column for column, names in self.names.items() for name in (column, *names)}
        found |= {key(name): "sex" for name in self.sex.neutral}
        return found | {key(name): "sex_female" for name in self.sex.female}

    @cached_property
    def missing_words(self) -> frozenset[str]:
        """Folded words for a missing value."""
        return _folded(self.missing.words)

    @cached_property
    def summary_words(self) -> frozenset[str]:
        """Folded ids of rows that sum up others."""
        return _folded(self.summary.words)

    @cached_property
    def month_of(self) -> Mapping[str, int]:
        """Number of a month by its folded name."""
        return {word(name): number for number, names in self.months.items() for name in names}

    def answers(self, column: str) -> Mapping[str, int]:
        """1 or 0 by folded word, for a yes/no column."""
        own = self.yes_no.of.get(column, Answers())
        no = {word(text): 0 for text in (*self.yes_no.no, *own.no)}
        return no | {word(text): 1 for text in (*self.yes_no.yes, *own.yes)}

    def factor(self, column: str, unit: str) -> Fraction | None:
        """What turns a number with this unit into the column's unit; ``None`` for a unit that is not known."""
        wanted = unit_key(unit)
        for name, factor in self.units.get(column, {}).items():
            if unit_key(name) == wanted:
                return Fraction(factor)
        return None


def unit_key(unit: str) -> str:
    """A unit of :attr:`Vocabulary.units` as it is compared."""
    return re.sub(r"[\s._^*·]+", "", fold(unit)).replace("²", "2")


def _folded(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word(text) for text in words)


@lru_cache(maxsize=4)
def load_vocabulary(path: Path | None = None) -> Vocabulary:
    """Read ``conf/cohort.toml``, once per process.

    Raises
    ------
    SettingsError
        The file cannot be read or holds an unknown key.
    """
    return load_table(path or conf_path("cohort.toml"), Vocabulary.model_validate)
