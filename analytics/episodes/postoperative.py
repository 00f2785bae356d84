"""Whether the descriptions of an examination say that an operation went before it.

"Post" alone is after contrast, and "pre/post" is a protocol that fits both: neither says it.
"""

import re
import unicodedata
from collections.abc import Iterable

POSTOPERATIVE = (
    # postop, post-op, postoperativ(e), postopératoire, postoperatorio, pós-operatório, pooperacyjny, pooperační
    r"\bp(?:ost|os)[\s._-]*op(?:\b|er|\d)",
    r"\bpoopera(?:cyjn|cni|tiv|ci)",
    # post surgery, postchirurgico, postquirúrgico, post fusion, post laminectomy …
    r"\bpost[\s._-]*(?:surg|chir|quir|cirur|fusion|lamin|disc[eo]ctom|decompr|dekompr|spondylodes|instrument|stabil)",
    # status post, s/p, Z.n., Zustand nach, nach, after, efter, après: followed by an operation
    r"(?:\bs/p\b|\bstatus[\s._-]*post\b|\bst\.?\s*p\.?\s|\bz\.?\s?n\.?\s|\bzust(?:and|\.)?\s*n(?:ach|\.)|\bnach\b|\bafter\b"
    r"|\befter\b|\bapres\b|\bdopo\b|\btras\b|\bpos\b|\bna\b|\bpo\b|\bstav\s+po\b)"
    r"[\s._-]*(?:(?:\w|[/-](?=\w))+[\s._-]+){0,2}(?:op\b|oper|surg|chirurg|intervent|fusion|spondylodes|lamin|dekompr|decompr|nukleotom"
    r"|disc[eo]ctom|diskektom|stabilis|instrument|zabieg|artrodes|arthrodes)",
    # a history of operations, the syndrome after them
    r"\b(?:hx|history|h/o|prior|previous|voroperiert)\b[\s._-]*(?:of\s+)?(?:\w+\s+)?(?:oper|surg|fusion|lamin|disc[eo]ctom"
    r"|decompr|spondylodes)",
    r"\bfailed\s+back\b|\bfbss\b|\bmutet\s+utan|\bleikkauksen\s+jalkeen",
    # Turkish, Indonesian, Vietnamese, Russian, Ukrainian, Greek
    r"\bameliyat\s+sonrasi", r"\bpasca\s*(?:op|bedah)", r"\bsau\s+mo\b",
    r"послеоперац|после\s+опер|післяопер|після\s+опер", r"μετεγχειρ",
)  # fmt: skip
"""Patterns over lower case letters without accents."""

POSTOPERATIVE_EAST_ASIAN = ("术后", "術後", "手术后", "手術後", "수술후", "수술 후")

_PATTERN = re.compile("|".join(POSTOPERATIVE))
_PREOPERATIVE = re.compile(
    r"\bpre[\s./_-]*(?:op|post|and|und|&|\+)|\bprae?[\s._-]*op|vor\s+op\b|before|术前|術前|수술전"
)


def is_postoperative(descriptions: Iterable[str | None]) -> bool:
    """Whether one of the descriptions says so, and does not name the time before an operation as well."""
    return any(_says_so(text) for text in set(descriptions) if text)


def _says_so(text: str) -> bool:
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold().replace("ı", "i"))
    # Marks of Latin, Greek and Cyrillic letters only: taken apart, Hangul would be lost.
    folded = unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", folded)).replace("_", " ")
    told = _PATTERN.search(folded) or any(word in folded for word in POSTOPERATIVE_EAST_ASIAN)
    return bool(told) and not _PREOPERATIVE.search(folded)
