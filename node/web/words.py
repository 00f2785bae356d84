"""The words of the pages, in the language of the browser."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from analytics.reasons import Language, Reason, load_language

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "de")
LANGUAGE_COOKIE = "vbq_language"


@dataclass(frozen=True, kw_only=True)
class Words:
    """One language: texts by their key, and reasons."""

    name: str
    texts: dict[str, str]
    reasons: Language

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, with values in it."""
        return self.texts[key].format(**values)

    def of(self, reasons: Iterable[Reason]) -> list[str]:
        """Reasons in words."""
        return [one.words(self.reasons) for one in reasons]

    def number(self, value: float | None, digits: int = 2) -> str:
        """A number as the language writes it; a dash for none."""
        if value is None:
            return "–"
        written = f"{value:.{digits}f}"
        return written.replace(".", ",") if self.name == "de" else written


@cache
def load_words(name: str) -> Words:
    """The words of a language that is shipped."""
    texts = tomllib.loads((FOLDER / f"words.{name}.toml").read_text(encoding="utf-8"))
    return Words(name=name, texts=texts, reasons=load_language(name))


def preferred(accept_language: str, chosen: str | None) -> str:
    """The language of a browser: the one chosen on a page, else the first it asks for that there is."""
    if chosen in LANGUAGES:
        return str(chosen)
    for part in accept_language.split(","):
        name = part.split(";")[0].strip()[:2].lower()
        if name in LANGUAGES:
            return name
    return LANGUAGES[0]
