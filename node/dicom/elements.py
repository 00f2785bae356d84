"""Values of elements as plain ones: what is missing, empty, padded or makes no sense costs that value alone."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

T = TypeVar("T")
CODE_EXTENSION = re.compile(r"\x1b[\x20-\x2f]*[\x30-\x7e]")
"""An escape sequence of ISO 2022 that names a character set (PS3.5, 6.1.2.5): what is left of one says nothing."""


class Elements(Protocol):
    """Something that has elements: a data set, or a frame of one."""

    def get(self, keyword: str, /) -> object: ...


def value_of(dataset: Elements, keyword: str, convert: Callable[[object], T]) -> T | None:
    """The converted value of an element, or ``None`` where it is missing, empty or makes no sense."""
    try:
        value = dataset.get(keyword)
        return None if value is None else convert(value)
    except Exception:  # noqa: BLE001  # whatever pydicom raises for a value costs that value
        return None


def items_of(value: object) -> Iterable[object]:
    return value if isinstance(value, MultiValue | list) else [value]


def clean(value: object) -> str:
    if isinstance(value, bytes):
        raise TypeError("a text of more than 64 kB, of which the type is unknown")
    return CODE_EXTENSION.sub("", str(value)).replace("\0", "").strip()


def text_of(dataset: Elements, keyword: str) -> str | None:
    text = value_of(dataset, keyword, lambda value: "\\".join(clean(item) for item in items_of(value)))
    return text if text and text.strip("\\") else None


def texts_of(dataset: Elements, keyword: str) -> tuple[str, ...]:
    found = value_of(dataset, keyword, lambda value: tuple(clean(item) for item in items_of(value)))
    return tuple(item for item in found or () if item)


def sequence_of(dataset: Elements, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where pydicom cannot make sense of it."""
    found = value_of(dataset, keyword, lambda items: list(items) if isinstance(items, Sequence) else [])
    return found or []
