"""Names of patients: read apart, folded, turned into keyed hashes, and compared; no name is ever stored or shown.

A name becomes, for each of its words, hashes under the key of the node: of the folded word, of its first letter, and of
the word with each of its letters left out. Two words that share one of the latter differ by one slip of the pen
(Garbe's symmetric deletion). Without the key nobody can tell which word a hash is of, and with it only by guessing.

Folding makes the same of what is the same name: umlauts and their transliterations (Müller, Mueller, MULLER), accents,
double letters, the spellings of one sound (Stephan, Stefan), full-width letters, simplified and traditional
characters, titles. Names in different scripts cannot be compared, which is no contradiction.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Literal

from node.placeholders import NAMES, folded

Relation = Literal["unknown", "same", "given", "family", "different"]
"""How two names compare: not at all, as the same, in the given or the family name only, in nothing."""

RANK: dict[Relation, int] = {"same": 4, "given": 3, "family": 2, "different": 1, "unknown": 0}

TITLES = frozenset((
    "dr", "drs", "dra", "prof", "professor", "univ", "med", "habil", "rer", "nat", "phil", "dent", "ing", "dipl",
    "mag", "msc", "bsc",
    "phd", "md", "mba", "ba", "ma", "bc", "mudr", "mr", "mrs", "ms", "miss", "sir", "frau", "herr", "fr", "hr",
    "mme", "mlle", "sig",
    "sra", "srta", "dott", "dottssa", "doc", "dir", "jr", "sr", "jun", "sen", "ii", "iii", "von", "van", "vom",
    "zu", "zur", "zum", "de",
    "del", "della", "di", "da", "dos", "das", "do", "du", "des", "la", "le", "les", "der", "den", "het", "ten",
    "ter", "und", "y", "e",
    "el", "al", "bin", "ibn", "bint", "abu", "af", "av", "geb", "geborene", "nee", "so",
))  # fmt: skip
"""Titles and particles: left out, unless nothing else is there."""

SOUNDS = (
    ("ae", "a"), ("oe", "o"), ("qu", "kv"), ("ue", "u"), ("dj", "d"), ("ph", "f"), ("th", "t"),
    ("dh", "d"), ("kh", "h"), ("gh", "g"), ("ck", "k"), ("x", "ks"), ("q", "k"), ("c", "k"), ("w", "v"),
    ("y", "i"), ("j", "i"), ("z", "s"),
)  # fmt: skip
"""Spellings of one sound in Latin letters, applied in this order."""

LETTERS = str.maketrans({
    "ß": "ss", "ø": "o", "æ": "a", "œ": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "t", "ı": "i", "ħ": "h", "ŋ": "n",
    "ə": "a", "ĸ": "k", "ة": "ه", "ى": "ي", "ی": "ي", "ک": "ك", "ء": None,
})  # fmt: skip

VARIANTS = (
    "陳陈張张劉刘黃黄趙赵吳吴楊杨孫孙馬马鄭郑謝谢韓韩馮冯鄧邓許许葉叶蔣蒋盧卢蘇苏呂吕賈贾鍾钟鐘钟龍龙萬万"
    "蕭萧羅罗錢钱湯汤閻阎顧顾賀贺龔龚陸陆魯鲁韋韦鄒邹譚谭賴赖龐庞顏颜嚴严歐欧畢毕鄺邝莊庄費费項项閔闵饒饶"
    "鮑鲍麥麦齊齐斉齐齋斋斎斋澤泽沢泽濱滨浜滨邊边邉边辺边國国廣广広广櫻樱桜樱髙高﨑崎恵惠眞真榮荣栄荣徳德"
    "豊丰豐丰島岛嶋岛瀨濑瀬濑関关關关蔵藏壽寿靜静慶庆麗丽紅红華华偉伟軍军強强勝胜傑杰輝辉鳳凤蘭兰蓮莲貴贵"
    "賢贤寶宝連连義义遠远進进業业達达飛飞鵬鹏鶴鹤銀银鈴铃錦锦鋒锋鋼钢鐵铁長长開开陽阳雲云雙双順顺風风鴻鸿"
    "齡龄倫伦傳传儀仪兒儿剛刚劍剑勳勋單单園园圓圆堅坚壯壮夢梦嬌娇學学寧宁實实將将帥帅師师愛爱憲宪應应懷怀"
    "揚扬曉晓書书會会東东棟栋楓枫樂乐樓楼橋桥權权歡欢漢汉潔洁潤润濤涛瀾澜煥焕煒炜燁烨爾尔獻献瑋玮瑩莹環环"
    "瓊琼碩硕禮礼禎祯穎颖節节簡简紀纪純纯紹绍絲丝維维綱纲綺绮緒绪繼继聖圣聰聪聯联興兴蔭荫薩萨藍蓝蘊蕴衛卫"
    "見见觀观計计訓训詩诗詠咏誠诚語语誼谊諾诺謙谦譽誉讓让貞贞財财資资賓宾躍跃軒轩輔辅農农邁迈釗钊鈞钧銘铭"
    "銳锐鎮镇際际雋隽韻韵領领頤颐顯显馳驰駒驹駿骏騰腾鳴鸣鶯莺鷹鹰黨党"
)
"""Characters as another country or an old register writes them, each before the one that stands for both.

Those usual in names, of the table of simplified characters (简化字总表) and the old forms in the Japanese 常用漢字表.
"""

ONE_OF_VARIANTS = dict(zip(map(ord, VARIANTS[::2]), VARIANTS[1::2], strict=True))

SLIPS_FROM = 4
"""Letters from which on a word may differ by a slip; shorter ones would all be alike (Jan, Jon, Ian)."""

UNPARTED = ("CJK", "HANGUL")
"""Scripts of which a letter is a syllable: no two names are one slip apart."""

LONGEST = 24
"""Letters of a word that are looked at."""

MOST = 6
"""Words and names that are looked at; nobody has more."""

DIGEST_BYTES = 5


@dataclass(frozen=True, kw_only=True)
class PersonName:
    """One name as a message or an image gives it: for the time of its reading only."""

    family: str = field(repr=False)
    given: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SignedName:
    """The keyed hashes of one name: for each word its own, that of its first letter, those of its slips."""

    script: str
    whole: str
    """Of the whole name without gaps: some systems do not part names of East Asia."""
    family: tuple[tuple[str, ...], ...]
    given: tuple[tuple[str, ...], ...]


def sign(names: Iterable[PersonName], key: bytes) -> tuple[SignedName, ...]:
    """The hashes of these names, each once, in an order that does not depend on theirs; none of placeholders."""
    signed = {one for name in list(names)[:MOST] for one in _signed(name, key)}
    return tuple(sorted(signed, key=repr))


def compare(ours: Sequence[SignedName], theirs: Sequence[SignedName]) -> Relation:
    """How the names of two statements compare: by the pair that is most alike."""
    found = [_compare(one, other) for one, other in product(ours, theirs) if one.script == other.script]
    return max(found, key=RANK.__getitem__, default="unknown")


def _signed(name: PersonName, key: bytes) -> list[SignedName]:
    family, given = _words(name.family), _words(name.given)
    if folded(name.family + name.given) in NAMES or any(word in NAMES for word in family + given):
        return []
    scripts = dict.fromkeys(_script(word) for word in family + given)
    found = []
    for script in scripts:
        first, second = ([word for word in words if _script(word) == script] for words in (family, given))
        found.append(
            SignedName(
                script=script,
                whole=_hash(f"{script} whole {''.join(_folded(word, script) for word in first + second)}", key),
                family=tuple(_hashes(word, key) for word in first),
                given=tuple(_hashes(word, key) for word in second),
            )
        )
    return found


def _words(text: str) -> list[str]:
    """The words of a part of a name in lower case, without titles."""
    whole = re.sub(r"\bm\.?ª", "maria", _mended(text).casefold())
    plain = unicodedata.normalize("NFKC", whole).casefold().replace("'", "").replace("’", "")
    words = [word for word in re.split(r"[\W\d_]+", plain) if word][:MOST]
    return [word for word in words if word not in TITLES] or words


def _mended(text: str) -> str:
    """A name of which UTF-8 was read as Latin-1 on the way (``MÃ¼ller``), as it was; every other one as it is."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


@lru_cache(maxsize=4096)
def _script(word: str) -> str:
    name = unicodedata.name(word[0], "").split(" ")[0]
    # Katakana and hiragana write the same sounds.
    return {"HIRAGANA": "KANA", "KATAKANA": "KANA"}.get(name, name)


def _hashes(word: str, key: bytes) -> tuple[str, ...]:
    script = _script(word)
    plain = _folded(word, script)
    slips = (
        [plain[:place] + plain[place + 1 :] for place in range(len(plain))]
        if len(word) >= SLIPS_FROM and script not in UNPARTED
        else []
    )
    return tuple(_hash(f"{script} {one}", key) for one in (plain, plain[:1], *dict.fromkeys(slips)))


def _folded(word: str, script: str) -> str:
    if script == "KANA":
        return "".join(chr(ord(one) - 96) if "ァ" <= one <= "ヶ" else one for one in word)[:LONGEST]
    plain = "".join(one for one in unicodedata.normalize("NFKD", word) if not unicodedata.combining(one))
    plain = unicodedata.normalize("NFC", plain.translate(LETTERS)).translate(ONE_OF_VARIANTS)
    if script == "LATIN":
        for spelling, sound in SOUNDS:
            plain = plain.replace(spelling, sound)
        plain = re.sub(r"(?<=\w)h$", "", plain)
        # The most frequent given name of the world is spelt in a dozen ways.
        plain = re.sub(r"^m[uo]h[ae]m+[ae]d$", "muhamad", plain)
    return re.sub(r"(.)\1+", r"\1", plain)[:LONGEST]


@lru_cache(maxsize=16384)
def _hash(text: str, key: bytes) -> str:
    # A key of any length: blake2b takes 64 bytes.
    digest = hashlib.blake2b(text.encode("utf-8"), key=hashlib.sha256(key).digest(), digest_size=DIGEST_BYTES)
    return digest.hexdigest()


def _compare(one: SignedName, other: SignedName) -> Relation:
    if one.whole == other.whole:
        return "same"
    if not (one.family and one.given and other.family and other.given):
        return _compare_unparted(one, other)
    family = _alike(one.family, other.family)
    if family and _all_alike(one.given, other.given):
        return "same"
    if _all_alike(one.family, other.given) and _all_alike(one.given, other.family):
        return "same"
    if family:
        return "family"
    # Where the family name has changed, a further given name may be the old one.
    return "given" if _alike(one.given, other.given) else "different"


def _compare_unparted(one: SignedName, other: SignedName) -> Relation:
    """Of names of which one is not parted, or lacks a part: what is missing contradicts nothing."""
    parted, whole = (one, other) if one.family and one.given else (other, one)
    words = whole.family + whole.given
    if not (parted.family and parted.given):
        return "same" if _alike(parted.family + parted.given, words) else "different"
    family, given = _alike(parted.family, words), _alike(parted.given, words)
    rest = [word for word in words if not _alike([word], parted.family)]
    if (family and given and _all_alike(parted.given, rest)) or ((family or given) and len(words) == 1):
        return "same"
    if family:
        return "family"
    return "given" if given else "different"


def _alike(ours: Sequence[tuple[str, ...]], theirs: Sequence[tuple[str, ...]]) -> bool:
    return any(_same_word(one, other) for one, other in product(ours, theirs))


def _all_alike(ours: Sequence[tuple[str, ...]], theirs: Sequence[tuple[str, ...]]) -> bool:
    """Whether each word of the shorter one has its like in the longer one.

    Brothers and sisters share one of two given names in Korea, China and Viet Nam (Young-Hee, Young-Soo; Thi Hoa, Thi
    Lan); of one person either both are written or one is left out.
    """
    fewer, more = sorted((ours, theirs), key=len)
    return all(_alike([word], more) for word in fewer)


def _same_word(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Equal, one slip apart, or one is the initial of the other (a word of one letter is its own initial)."""
    word, letter, *slips = one
    other_word, other_letter, *other_slips = other
    if word == other_word or word in other_slips or other_word in slips or set(slips) & set(other_slips):
        return True
    return letter == other_letter and (word == letter or other_word == other_letter)
