"""The mapping of a file: what a person says about its columns; TOML, proposed by the command, kept with the import."""

import json
import tomllib
from collections.abc import Mapping as Dict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from analytics.episodes.cohort import DIAGNOSES
from analytics.reasons import Reason
from node.errors import CohortError
from node.people.files.days import ORDERS
from node.people.files.header import NAMES, factor

OPEN = "?"
"""What stands in a proposal for what only a person can say."""

MEANINGS = ("0", "1", "missing", "other", *DIAGNOSES)
"""What a code of a mapping may stand for; ``other``: a diagnosis that is none of the three."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class FilePart(_Part):
    """How the file is opened; found by itself where nothing stands here."""

    encoding: str = ""
    separator: str = ""
    sheet: str = ""


class ColumnPart(_Part):
    """What one column of the cohort table is made from."""

    source: Annotated[str, Field(alias="from")]
    unit: str = ""
    factor: str = ""
    """What the numbers are multiplied by, as `10`, `0.001`, `1/12` or `-1`."""
    codes: dict[str, str] = Field(default_factory=dict)
    dates: str = ""
    missing: tuple[str, ...] = ()
    checked: bool = False
    """A person has looked: what is odd about the column as a whole is as it should be."""

    @field_validator("factor", mode="before")
    @classmethod
    def _number_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value

    @field_validator("factor")
    @classmethod
    def _is_factor(cls, value: str) -> str:
        try:
            zero = bool(value) and Fraction(value) == 0
        except ZeroDivisionError as error:
            raise ValueError("is no number") from error
        if zero:
            raise ValueError("is 0, which makes nothing of the numbers")
        return value

    @field_validator("codes", mode="before")
    @classmethod
    def _codes_as_text(cls, value: object) -> object:
        return {str(code): str(meaning) for code, meaning in value.items()} if isinstance(value, dict) else value

    @field_validator("missing", mode="before")
    @classmethod
    def _missing_as_text(cls, value: object) -> object:
        return tuple(str(one) for one in value) if isinstance(value, list) else value

    @field_validator("dates")
    @classmethod
    def _is_order(cls, value: str) -> str:
        if value and value not in ORDERS:
            raise ValueError(f"is none of {', '.join(ORDERS)}")
        return value


class Mapping(_Part):
    """The whole mapping; columns that are not in it are found by their names."""

    file: FilePart = FilePart()
    columns: dict[str, ColumnPart] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    """Columns of the file that mean nothing here, though they are named like one that does."""


def read_mapping(text: str) -> Mapping:
    """Read a mapping.

    Raises
    ------
    CohortError
        It is not TOML, names something that is not there, or has a question that nobody has answered.
    """
    try:
        mapping = Mapping.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise CohortError(Reason("mapping-not-toml", {"fault": str(error)})) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise CohortError(Reason("mapping-not-valid", {"faults": faults})) from error
    for name, part in mapping.columns.items():
        _check(name, part)
    return mapping


def read_mapping_file(path: Path) -> tuple[str, Mapping]:
    """The text of a mapping and what it says.

    Raises
    ------
    CohortError
        As for :func:`read_mapping`, or the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CohortError(Reason("mapping-unreadable", {"path": str(path), "fault": str(error)})) from error
    return text, read_mapping(text)


def _check(name: str, part: ColumnPart) -> None:
    if name not in NAMES | {"leukocytes"}:
        raise CohortError(Reason("mapping-of-no-column", {"column": name}))
    for code, meaning in part.codes.items():
        if meaning == OPEN:
            raise CohortError(Reason("mapping-code-open", {"code": code, "column": name}))
        if meaning not in MEANINGS:
            raise CohortError(
                Reason("mapping-meaning-unknown", {"column": name, "meaning": meaning, "known": ", ".join(MEANINGS)})
            )
    if OPEN in (part.source, part.unit, part.dates):
        raise CohortError(Reason("mapping-open", {"column": name}))
    if part.unit and factor(name, part.unit) is None:
        raise CohortError(Reason("mapping-unit-unknown", {"column": name, "unit": part.unit}))


def to_toml(mapping: Mapping, notes: Dict[str, list[str]]) -> str:
    """A mapping as a file for a person; ``notes`` are comments by column."""
    lines = ["# What the columns of this file mean. Answer what is marked '?', then give it with --mapping.", ""]
    opened = [(name, value) for name, value in mapping.file.model_dump().items() if value]
    if mapping.ignore:
        lines += [f"ignore = [{', '.join(_quoted(one) for one in mapping.ignore)}]", ""]
    if opened:
        lines += ["[file]", *(f"{name} = {_quoted(value)}" for name, value in opened), ""]
    for name, part in mapping.columns.items():
        lines += [f"[columns.{name}]", *(f"# {' '.join(note.split())}" for note in notes.get(name, []))]
        lines.append(f"from = {_quoted(part.source)}")
        lines += [
            f"{field} = {_quoted(value)}" for field in ("unit", "factor", "dates") if (value := getattr(part, field))
        ]
        if part.missing:
            lines.append(f"missing = [{', '.join(_quoted(one) for one in part.missing)}]")
        if part.codes:
            codes = ", ".join(f"{_quoted(code)} = {_quoted(meaning)}" for code, meaning in part.codes.items())
            lines.append(f"codes = {{ {codes} }}")
        if part.checked:
            lines.append("checked = true")
        lines.append("")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
