"""Words in the names that laboratories and hospitals give: letters folded, matched as words and not as substrings."""

import re
import unicodedata
from collections.abc import Iterable

# Letters that Unicode does not take apart into a base and an accent.
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ə": "a"}
)
_FIRST_UNFOLDED = "\u0400"
"""First letter whose marks are part of it: from Cyrillic on (й, が)."""

_ALPHABETS = "a-z0-9", "α-ω", "а-яёєіїґңғүұқөһәўҷ"  # each with the case folded
"""Scripts that write words apart; a name in any other script is looked for anywhere."""


def fold(text: str) -> str:
    """Lower case, full-width forms as usual ones, Latin and Greek letters without accents, strokes and ligatures."""
    if text.isascii():
        return text.lower()
    lowered = unicodedata.normalize("NFKC", text).casefold().translate(_LETTERS)
    folded = []
    for letter in lowered:
        base = unicodedata.normalize("NFD", letter)[0]
        if base < _FIRST_UNFOLDED and not unicodedata.combining(base):
            folded.append(base)
        elif not ("\u0300" <= letter <= "\u036f"):
            folded.append(letter)
    return "".join(folded)


def names_pattern(names: Iterable[str]) -> str:
    """A regular expression for names, to be searched in folded text.

    A name is one or more words; anything but letters and digits may stand between them. ``*`` stands for any letters,
    so ``plaquett*`` covers ``Plaquettes`` and ``*zytose`` covers ``Leukozytose``.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted({fold(one) for one in names}):
        # The same look back stands once before all of its names, so that each is tried by its first letter only.
        before = r"(?<!\w)\w*" if name[0] == "*" else _edge(name[0], before=True)
        groups.setdefault(before, []).append(_name(name.removeprefix("*")))
    return "|".join(f"{before}(?:{'|'.join(bodies)})" for before, bodies in groups.items())


def _name(name: str) -> str:
    words = [re.escape(word).replace(r"\*", r"\w*") for word in name.split()]
    return r"[\W_]+".join(words) + _edge(name[-1], before=False)


def _edge(letter: str, *, before: bool) -> str:
    """That no letter of the same script stands before (or behind) the first (last) letter of a name."""
    for alphabet in _ALPHABETS:
        if re.match(f"[{alphabet}]", letter):
            return f"(?<![{alphabet}])" if before else f"(?![{alphabet}])"
    return ""
