"""Numbers, names and birth dates that stand for nobody: what systems write where they know nothing.

A number of this kind identifies no patient, as an empty one does; a name or a birth date is missing. Compared are
letters and digits only, in lower case and without accents, so that ``N/A`` and ``n.a.`` are the same.
"""

import re
import unicodedata
from collections.abc import Collection
from datetime import date


def folded(text: str) -> str:
    """Letters and digits in lower case, without accents."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", "".join(sign for sign in decomposed if sign.isalnum()))


NUMBERS = frozenset(map(folded, (
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
    "nomrn", "noread", "sansnumero", "sansipp", "unidentified", "newborn", "trauma", "doe",
    "nichtzugeordnet", "nichtvergeben", "ohnenummer", "keinenummer", "keineangabe", "desconhecida",
    "desconegut", "desconeguda", "nieznana", "neznama", "nepoznat", "nepoznata", "neznan", "neznana",
    "necunoscuta", "okant", "oþekktur", "oþekkt", "tundmatu", "nezinomas", "nezinams", "kimliksiz", "khongro",
    "khongten", "khongxacđinh", "vodanh", "tidakdiketahui", "tanpanama", "αγνωστος", "αγνωστη", "неизвестен",
    "неизвестна", "неизвестная", "невідомий", "невідома", "невідомо", "непознат", "непозната", "مجهول",
    "مجهولة", "مجهولالهوية", "مجهولةالهوية", "غيرمعروف", "غيرمعروفة", "ناشناس", "אלמוני", "אלמונית", "לאידוע",
    "不明者", "身元不明", "氏名不詳", "未登録", "未登録患者", "미확인", "무명", "무명남", "무명녀", "불명",
    "신원미상", "临时", "急诊", "没有",
    "未知", "不明",
    "不詳", "不详", "无名氏", "無名氏", "匿名", "미상", "ไม่ทราบชื่อ", "bilinmeyen",
)))  # fmt: skip
"""As systems of several languages write them; the setting ``identity.placeholders`` adds a site's own."""

NAMES = frozenset((
    *NUMBERS - {"phantom", "default", "temp", "id", "mrn", "pid", "error", "test", "demo", "na", "nan", "nil", "nd",
    "anon", "tba", "neu", "pool", "extern", "control", "qc", "临时", "急诊", "没有"},
    "noname", "nameless", "unnamed", "namenlos", "xxx", "xx", "mustermann",
))  # fmt: skip

LONGEST_REAL_RUN = 3
"""A number of one sign only, longer than this, is no patient's; ``7``, ``22`` and ``999`` may be."""

EARLIEST_BIRTH = date(1900, 1, 2)
"""1 January 1900 and before it is what systems write for none (1850-01-01, 1899-12-30, 1900-01-01); nobody who is
operated on was born then."""


def stands_for_nobody(number: str, more: Collection[str] = ()) -> bool:
    """Whether a patient number is none: of a list, below zero, without a letter or digit, or one sign repeated."""
    plain = folded(number)
    listed = plain in NUMBERS or plain in {folded(one) for one in more}
    if not plain or listed or re.fullmatch(r"-\d+", number.strip()):
        return True
    return len(set(plain)) == 1 and (plain[0] in "0x" or len(plain) > LONGEST_REAL_RUN)


def known_birth_date(birth: date | None, *, on: date | None = None) -> date | None:
    """The birth date, unless it is one that stands for none or lies after the day ``on`` which it was said."""
    if birth is None or birth < EARLIEST_BIRTH or (on is not None and birth > on):
        return None
    return birth
