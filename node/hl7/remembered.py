"""What codes, names and units mean, remembered: a laboratory sends the same few hundred over and over."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

LONGEST = 300
"""Signs in all texts together; what is longer is read anew each time, so that what is remembered stays small."""
MOST = 4096

Tables = TypeVar("Tables")
Meaning = TypeVar("Meaning")


def remembered(read: Callable[[tuple[str, ...], Tables], Meaning]) -> Callable[[tuple[str, ...], Tables], Meaning]:
    """Remember the last answers of a function of a few texts and of tables of ``conf/``, which never change."""
    known = lru_cache(maxsize=MOST)(read)

    @wraps(read)
    def find(texts: tuple[str, ...], tables: Tables) -> Meaning:
        return read(texts, tables) if sum(map(len, texts)) > LONGEST else known(texts, tables)

    return find
