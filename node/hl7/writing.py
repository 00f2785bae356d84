"""Segments of HL7 v2 as this node writes them, with the usual delimiters."""

from collections.abc import Iterable, Mapping
from datetime import datetime

ENCODING = "^~\\&"
_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": " ", "\n": " "})


def escaped(text: str) -> str:
    """A text as a value: delimiters escaped, line ends and other control characters as blanks."""
    return "".join(one if one.isprintable() else " " for one in text.translate(_ESCAPES)).strip()


def components(*texts: str) -> str:
    """Texts as the components of a field."""
    return "^".join(escaped(one) for one in texts).rstrip("^")


def segment(name: str, fields: Mapping[int, str]) -> str:
    """A segment from its fields by number (of MSH from 3 on), each escaped already."""
    first, head = (3, f"MSH|{ENCODING}") if name == "MSH" else (1, name)
    return "|".join([head, *(fields.get(number, "") for number in range(first, max(fields) + 1))]).rstrip("|")


def message(segments: Iterable[str]) -> str:
    """The segments as a message."""
    return "".join(f"{one}\r" for one in segments)


def time_text(at: datetime, *, date_only: bool = False) -> str:
    """An aware time as DTM, to the second and with its offset; or its date."""
    return f"{at:%Y%m%d}" if date_only else f"{at:%Y%m%d%H%M%S%z}"
