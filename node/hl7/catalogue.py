"""The site's tables: ``conf/analytes.toml`` (codes, names, units) and ``conf/eligibility.toml`` (criteria)."""

import re
import tomllib
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, field_validator

from analytics.columns import Analyte
from analytics.counts.results import Method, Scale
from node.conf import conf_path
from node.errors import SettingsError
from node.hl7.extracts import ObservationName
from node.hl7.words import fold, names_pattern


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class Table(BaseModel):
    """A part of a file of ``conf/``: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __hash__(self) -> int:
        """By identity: the tables are read once and never change, so what they say can be remembered."""
        return id(self)


ATC = re.compile(r"[A-Z]\d\d[A-Z]{2}(\d\d)?")
"""An ATC code of a chemical subgroup or substance."""


def _found(pattern: str, text: str) -> bool:
    return bool(pattern) and re.search(pattern, text) is not None


def code_key(code: str) -> str:
    """A local code as it is compared: lower case, without blanks, hyphens, dots and underscores."""
    return re.sub(r"[\s._-]", "", fold(code))


class Words(Table):
    """Words that settle what a result is, in names or as codes."""

    loinc: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    names: dict[str, tuple[str, ...]] = {}
    """Names by language or maker, as :func:`node.hl7.words.names_pattern` reads them."""
    pattern: Pattern = ""
    unless: Pattern = ""

    def match(self, loincs: Iterable[str], codes: Iterable[str], texts: Iterable[str]) -> bool:
        """Whether a LOINC code, a local code (whole) or a word in a text, all folded, is one of these."""
        return (
            any(one in self.loinc for one in loincs)
            or any(code_key(one) in self._code_keys for one in codes)
            or any(self.found(text) for text in texts)
        )

    def found(self, text: str) -> bool:
        """Whether a folded text has one of the words, and nothing that speaks against them."""
        searched = self.searched
        if searched is None or searched.search(text) is None:
            return False
        return not self.denied(text)

    def denied(self, text: str) -> bool:
        """Whether a folded text says that it is none of these."""
        return bool(self.unless) and re.search(self.unless, text) is not None

    def without(self, text: str) -> str:
        """A folded text without these words."""
        return self.searched.sub(" ", text) if self.searched else text

    @cached_property
    def searched(self) -> re.Pattern[str] | None:
        """What the names and the pattern are together."""
        parts = [self.pattern, names_pattern(name for told in self.names.values() for name in told)]
        return re.compile("|".join(part for part in parts if part)) if any(parts) else None

    @cached_property
    def _code_keys(self) -> frozenset[str]:
        return frozenset(map(code_key, self.codes))


class Term(Words):
    """One way to name one quantity."""

    analyte: Analyte
    scale: Scale | None = None
    method: Method = "unknown"
    secondary: bool = False
    """A channel of its own or an intermediate result, used only where no other row gives the quantity."""


class ScaleWords(Table):
    """Words of the two scales."""

    percent: Words
    absolute: Words


class MethodWords(Table):
    """Words of the two methods of a differential."""

    manual: Words
    automated: Words


class Units(Table):
    """How units are spelt: a multiplier and a volume (how many make a litre), or a percentage."""

    multipliers: dict[str, float]
    per_litre: dict[str, float]
    percent: tuple[str, ...]

    def without_cells(self, head: str) -> str:
        """What stands before the volume without the word for cells: ``10^3个`` is ``10^3``."""
        words = [word for word, factor in self.multipliers.items() if word and factor == 1.0]
        return next((head.removesuffix(word) for word in words if head.endswith(word)), head)


class ObservationTerm(Table):
    """How one fact about the patient is named, and how its value is read."""

    name: ObservationName
    loinc: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    pattern: Pattern = ""
    factors: dict[str, float] = {}
    range: tuple[float, float] | None = None
    """Values outside are not plausible and are not taken."""
    yes: Pattern = ""
    no: Pattern = ""

    def matches(self, codes: list[str], names: list[str]) -> bool:
        """Whether a code or a name of OBX-3 means this fact; both in lower case."""
        known = {one.casefold() for one in (*self.loinc, *self.codes)}
        return any(code in known for code in codes) or any(_found(self.pattern, name) for name in names)


class Analytes(Table):
    """``conf/analytes.toml``."""

    never: Words
    not_blood: Words
    blood_count: Words
    other: Words
    suspect: Words
    flags: Words
    share: Words
    denominator: Words
    plateletcrit: Words = Words()
    together: Words
    scale_words: ScaleWords
    method_words: MethodWords
    units: Units
    term: tuple[Term, ...]
    observation: tuple[ObservationTerm, ...]

    @cached_property
    def by_loinc(self) -> dict[str, Term]:
        """The term of each LOINC code."""
        return {code: term for term in self.term for code in term.loinc}

    @cached_property
    def named(self) -> tuple[Term, ...]:
        """The terms that have names, not codes only."""
        return tuple(term for term in self.term if term.searched)

    @cached_property
    def by_code(self) -> dict[str, Term]:
        """The term of each local code, as :func:`code_key` writes it."""
        return {code_key(code): term for term in self.term for code in term.codes}


def _key(code: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", code.upper())


class Drugs(Table):
    """Drugs whose use excludes."""

    reason: str
    atc: tuple[str, ...]
    names: Pattern
    local_routes: Pattern

    def lists(self, named: Iterable[str]) -> bool:
        """Whether a drug, by its ATC code or a name among what names it, is one of them."""
        return any(
            _found(self.names, one.casefold()) or (ATC.fullmatch(one.upper()) and one.upper().startswith(self.atc))
            for one in named
        )

    def is_local(self, routes: Iterable[str]) -> bool:
        """Whether a route of administration is one on which the drug acts only where it is applied."""
        return any(_found(self.local_routes, one.casefold()) for one in routes)


class Comorbidities(Table):
    """ICD-10 codes of the comorbidities among the covariates."""

    diabetes: tuple[str, ...]
    hypertension: tuple[str, ...]


class Eligibility(Table):
    """``conf/eligibility.toml``: the paper's criteria as codes."""

    diagnosis_groups: dict[Literal["LDH", "LSS", "LS"], tuple[str, ...]]
    exclusions: dict[str, tuple[str, ...]]
    drugs: Drugs
    comorbidities: Comorbidities

    @field_validator("diagnosis_groups", "exclusions")
    @classmethod
    def _known_forms(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, codes in value.items():
            for code in codes:
                if not re.fullmatch(r"=?[A-Z]\d[0-9A-Z](\.?[0-9A-Z]{1,4})?|[A-Z]\d\d-[A-Z]\d\d", code):
                    raise ValueError(f"{name}: {code!r} is neither an ICD-10 code nor a range such as C00-C97")
        return value

    def diagnosis_group(self, code: str) -> str | None:
        """The paper's group of an ICD-10 code: LDH, LSS, LS, or none of them."""
        for group, codes in self.diagnosis_groups.items():
            if _covered(code, codes):
                return group
        return None

    def exclusion(self, code: str) -> str | None:
        """The criterion, as the file names it, by which a diagnosis excludes the patient; ``None`` when none does."""
        for reason, codes in self.exclusions.items():
            if _covered(code, codes):
                return reason
        return None

    def is_diabetes(self, code: str) -> bool:
        """Whether an ICD-10 code is diabetes mellitus."""
        return _covered(code, self.comorbidities.diabetes)

    def is_hypertension(self, code: str) -> bool:
        """Whether an ICD-10 code is a hypertensive disease."""
        return _covered(code, self.comorbidities.hypertension)


def _covered(code: str, entries: tuple[str, ...]) -> bool:
    key = _key(code)
    return bool(re.match(r"[A-Z]\d", key)) and any(_covers(entry, key) for entry in entries)


def _covers(entry: str, key: str) -> bool:
    if entry.startswith("="):
        return _key(entry) == key
    first, dash, last = entry.partition("-")
    if dash:
        return first <= key[:3] <= last
    return key.startswith(_key(entry))


Model = TypeVar("Model", bound=BaseModel)


def load_table(path: Path, validate: Callable[[dict[str, object]], Model]) -> Model:
    """Read a file of ``conf/``.

    Raises
    ------
    SettingsError
        The file cannot be read, or is not what ``validate`` takes.
    """
    try:
        return validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise SettingsError(f"{path}: {faults}") from error


@lru_cache(maxsize=4)
def load_eligibility(path: Path | None = None) -> Eligibility:
    """Read ``conf/eligibility.toml``, once per process.

    Raises
    ------
    SettingsError
        The file cannot be read or holds an unknown key or an impossible code.
    """
    return load_table(path or conf_path("eligibility.toml"), Eligibility.model_validate)


@lru_cache(maxsize=4)
def load_analytes(path: Path | None = None) -> Analytes:
    """Read ``conf/analytes.toml``, once per process.

    Raises
    ------
    SettingsError
        The file cannot be read, or holds an unknown key or an impossible pattern.
    """
    return load_table(path or conf_path("analytes.toml"), Analytes.model_validate)
