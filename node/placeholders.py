"""Numbers, names and birth dates that stand for nobody: what systems write where they know nothing.

A number of this kind identifies no patient, as an empty one does; a name or a birth date is missing. Compared are
letters and digits only, in lower case and without accents, so that ``N/A`` and ``n.a.`` are the same.
"""

import unicodedata
from collections.abc import Collection
from datetime import date

NUMBERS = frozenset((
    "unknown", "unknownpatient", "unkn", "unk", "notfound", "notknown", "nomatch", "none", "null", "nil", "nan", "na",
    "nd", "notavailable", "notapplicable", "notassigned", "unassigned", "undefined", "missing", "empty", "blank",
    "anonymous", "anonymized", "anonymised", "anonym", "anon", "deidentified", "noid", "nopid", "nopatientid",
    "nonumber",
    "test", "testpatient", "testpat", "dummy", "dummypatient", "demo", "phantom", "tbd", "tba", "temp", "emergency",
    "pending", "invalid", "error", "default", "patient", "patientid", "pid", "mrn", "id", "johndoe", "janedoe",
    "notaufnahme", "ambulanz", "extern", "neu", "nn", "qc", "control", "kontrolle", "calibrator", "pool", "无", "無",
    "新病人", "1234567890", "123456789", "987654321",
    "unbekannt", "unbek", "keine", "ohne", "anonymisiert", "nichtbekannt", "inconnu", "inconnue", "aucun",
    "desconocido",
    "desconocida", "ninguno", "desconhecido", "sconosciuto", "sconosciuta", "ignoto", "onbekend", "okand", "ukjent",
    "ukendt",
    "tuntematon", "nieznany", "neznamy", "ismeretlen", "necunoscut", "bilinmiyor", "неизвестно", "неизвестный",
    "未知", "不明",
    "不詳", "不详", "无名氏", "無名氏", "匿名", "미상",
))  # fmt: skip
"""As systems of several languages write them; the setting ``identity.placeholders`` adds a site's own."""

NAMES = frozenset((
    *NUMBERS - {"phantom", "default", "temp", "id", "mrn", "pid", "error", "test", "demo", "na", "nan", "nil", "nd",
    "anon", "tba", "neu", "pool", "extern", "control", "qc"},
    "noname", "nameless", "unnamed", "namenlos", "unidentified", "doe", "xxx", "xx", "mustermann", "trauma",
))  # fmt: skip

LONGEST_REAL_RUN = 3
"""A number of one sign only, longer than this, is no patient's; ``7``, ``22`` and ``999`` may be."""

EARLIEST_BIRTH = date(1900, 1, 2)
"""1 January 1900 and before it is what systems write for none (1850-01-01, 1899-12-30, 1900-01-01); nobody who is
operated on was born then."""


def folded(text: str) -> str:
    """Letters and digits in lower case, without accents."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", "".join(sign for sign in decomposed if sign.isalnum()))


def stands_for_nobody(number: str, more: Collection[str] = ()) -> bool:
    """Whether a patient number is none: of the list or of ``more``, without a letter or digit, or one sign repeated."""
    plain = folded(number)
    if not plain or plain in NUMBERS or plain in {folded(one) for one in more}:
        return True
    return len(set(plain)) == 1 and (plain[0] in "0x" or len(plain) > LONGEST_REAL_RUN)


def known_birth_date(birth: date | None, *, on: date | None = None) -> date | None:
    """The birth date, unless it is one that stands for none or lies after the day ``on`` which it was said."""
    if birth is None or birth < EARLIEST_BIRTH or (on is not None and birth > on):
        return None
    return birth
