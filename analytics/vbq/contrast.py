"""Whether a contrast agent was given, from what the contrast elements of an image say.

Contrast/Bolus Agent (0018,0010) is of type 2: it may be empty although an agent was given, and volume, route, time or
concentration tell (PS3.3, C.7.6.4). Technologists write there that none was given, in their language; anonymisers
write a placeholder, also where nothing stood.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from enum import Enum
from pathlib import Path

AGENT = "agent"
"""Key of the agent's name among the elements; the others are amounts, routes, times and answers."""


class Contrast(Enum):
    """What the elements say of an agent."""

    NONE = "none"
    UNKNOWN = "unknown"
    GIVEN = "given"


WORDS = {
    name: frozenset(word for words in by_kind.values() for word in words.split())
    for name, by_kind in tomllib.loads(Path(__file__).with_name("contrast.toml").read_text(encoding="utf-8")).items()
}
"""``nothing``: by which none was given; ``beside``: that say nothing against it beside such a word; ``with``: by which
one was."""
NOT_SAID = re.compile(
    r"anon|pseudonym|de-?identif|redact|remov|replac|delet|clear|mask|hidden|private|confiden|protected|dummy|"
    r"place ?holder|unknown|unspecif|not (?:known|specified|available|recorded|stated|entered|documented|reported)|"
    r"unbekannt|inconnu|desconocid|sconosciut|desconhecid|onbekend|ukendt|okand|nicht bekannt|k ?a$|undefined|default|"
    r"gelosch|supprim|borrad|анон|удал|неизвест|匿名|不明|"
    r"no (?:value|data|information|info|entry)|^x+$|^z+$|^tbd$|^nan$|^null$|^empty$|"
    r"^na[nv]$|^[0-9a-f]{16,}$|^[0-9.]{20,}$"
)
"""Placeholders, and that nobody knows."""
AGENTS = re.compile(
    r"\b(?:gado(?!l)\w+|gada\w+|gd ?dtpa|dota\w*|magne\w*|pro ?hance|clari\w*|multi ?hance|omnis\w*|optimark|"
    r"vueway|eluci\w*|eov\w*|primov\w*|ablav\w*|vasov\w*|cycl\w*|artirem|feru\w*|fera\w*|mangaf\w*|coded|"
    r"гадо\w*|гада\w*|магнев\w*|дотар\w*|омнис\w*)\b|ガド|钆|"
    r"[1-9]\d*(?:[.,]\d+)? ?(?:ml|mmol|cc)\b"
)
"""Agents by name, and amounts."""
CONTRAST = re.compile(
    r"\b(?:ga?d\w*|gbca|ce|y|given|contrast\w*|kontrast\w*|контраст\w*|km|mdc|enhanced|iv|intraven\w*|post\w*|"
    r"tehoste\w*|varjoaine\w*)\b|造影|增强|増強|조영"
)
"""Words of one that is not named; beside a denial nobody knows which of the two is meant."""


MASK = re.compile(r"[?*#]|_{2}")
"""Signs that stand for what somebody does not know, or has taken out."""
WITHOUT_MARK = str.maketrans("đłøı", "dloi")
"""Letters whose mark Unicode does not take apart."""


def contrast_of(elements: Iterable[tuple[str, str]]) -> Contrast:
    """What the contrast elements of one image say, each with its name; those that are empty are left out.

    An agent that is denied while another element tells of one is unknown: one of the two was forgotten.
    """
    pairs = list(elements)
    agents = [text for name, text in pairs if name == AGENT]
    agent = most(map(agent_of, agents))
    others = [_other(text) for name, text in pairs if name != AGENT]
    if Contrast.GIVEN in others and agent is Contrast.NONE and any(map(_plain, agents)):
        return Contrast.UNKNOWN
    return most((agent, *others))


def most(found: Iterable[Contrast]) -> Contrast:
    """One image with an agent makes it one of the series; one of which nobody knows makes it unknown."""
    said = set(found)
    return next((one for one in (Contrast.GIVEN, Contrast.UNKNOWN) if one in said), Contrast.NONE)


def agent_of(text: str) -> Contrast:
    """What the name of an agent says: a word that is neither an agent nor a denial is unknown, and so is a denial
    beside its contrary ("with and without contrast" names an examination, not what this series is)."""
    plain = _plain(text)
    words = re.sub(r"\bnon con\b", "noncontrast", re.sub(r"\bw o\b", "wo", plain)).split()
    # n/a, w/o, o. KM, s/c
    if plain in {"n a", "na", "w o", "o km", "s c"}:
        return Contrast.NONE
    if words and NOT_SAID.search(plain):
        return Contrast.UNKNOWN
    rest = [word for word in words if word not in WORDS["nothing"]]
    denied, said = len(rest) < len(words), "+" in text or any(word in WORDS["with"] for word in rest)
    if not words or _is_zero(plain) or (denied and not said and all(word in WORDS["beside"] for word in rest)):
        return Contrast.UNKNOWN if MASK.search(text) else Contrast.NONE
    if AGENTS.search(plain):
        return Contrast.GIVEN
    return Contrast.GIVEN if not denied and (said or CONTRAST.search(plain)) else Contrast.UNKNOWN


def _other(text: str) -> Contrast:
    """Of an amount, a route, a time or an answer: whatever stands there was entered for an agent."""
    plain = _plain(text)
    if not plain or _is_zero(plain) or agent_of(text) is Contrast.NONE:
        # Times of zeros are what anonymisers leave.
        return Contrast.UNKNOWN if re.fullmatch(r"0{4,}(?: 0+)?", plain) else Contrast.NONE
    return Contrast.UNKNOWN if NOT_SAID.search(plain) and not re.fullmatch(r"[\d ]+", plain) else Contrast.GIVEN


def _is_zero(plain: str) -> bool:
    return re.fullmatch(r"[0 ]+(?:ml|mmol|mg|cc)?", plain) is not None


def _plain(text: str) -> str:
    """Words and numbers in lower case without accents, a space between them."""
    decomposed = unicodedata.normalize("NFKD", text.casefold()).translate(WITHOUT_MARK)
    # Only Latin letters lose their marks: in other scripts the marks make the letter.
    bare = "".join(sign for sign in decomposed if not "\u0300" <= sign <= "\u036f")
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFC", bare)))
