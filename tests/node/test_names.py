"""Names: the same person's in all their spellings, other people's, and none in what is kept."""

import pytest

from node.names import PersonName, compare, sign
from node.placeholders import known_birth_date, stands_for_nobody

KEY = bytes(32)


def signed(*names: str, key: bytes = KEY) -> object:
    return sign(
        [PersonName(family=one.partition("^")[0], given=one.partition("^")[2].replace("^", " ")) for one in names], key
    )


def relation(one: str, other: str) -> str:
    return compare(signed(*one.split("~")), signed(*other.split("~")))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller^Anna", "MUELLER^ANNA"), ("Müller^Anna", "MULLER^Anna"), ("Strauß^Jörg", "STRAUSS^JOERG"),
        ("Mueller^Anna", "Muller^Anna"), ("MUELLER^ANNA", "ANNA^MUELLER"), ("Mueller^Anna Maria", "Mueller^Maria"),
        ("Mueller^Anna^Maria", "MUELLER^ANNA"), ("Mueller^Anna", "Mueller^Anan"),
        ("Mueller^Katharina", "Mueller^Catarina"),
        ("Dr. Mueller^Anna", "Mueller^Anna"), ("Mueller^Prof. Dr. Anna", "Mueller^Anna"),
        ("von Mueller^Anna", "Mueller^Anna"),
        ("Mueller-Schmidt^Anna", "Schmidt^Anna"), ("Łukasz^Wałęsa", "LUKASZ^WALESA"),
        ("Sørensen^Åse", "SOERENSEN^AASE"),
        ("Yılmaz^Çağla", "YILMAZ^CAGLA"), ("山田^太郎~Yamada^Taro", "YAMADA^TARO"),
        ("山田^太郎~Yamada^Taro", "山田^太郎"),
        ("やまだ^たろう", "ヤマダ^タロウ"), ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ^タロウ"), ("王^伟", "王伟"), ("김^철수", "김철수"),
        ("Иванова^Анна", "ИВАНОВА^АННА"),
        ("Mueller", "Mueller^Anna"), ("MUELLER ANNA", "Mueller^Anna"), ("Mueller^A.", "Mueller^Anna"),
        ("O'Brien^Sean", "OBRIEN^SEAN"),
        ("Maier^Eva~Huber^Eva", "Huber^Eva"), ("Stephan^Karl", "Stefan^Carl"), ("Alexander^Ivan", "Aleksandr^Ivan"),
        ("Nguyễn^Thị Hoa", "NGUYEN^HOA"), ("Kim^Young-Hee", "KIM^YOUNGHEE"), ("Kim^Young-Hee", "KIM YOUNG HEE"),
        ("Đorđević^Đorđe", "Djordjevic^Djordje"), ("Lindqvist^Britt-Marie", "Lindquist^Brittmarie"),
        ("فاطمة^علي", "فاطمه^على"), ("陳^小紅", "陈^小红"), ("髙橋^惠子", "高橋^恵子"),
        ("García^Mª del Carmen", "García^María"), ("Ali^Muhammad", "Ali^Mohamed"),
        ("MÃ¼ller^JÃ¼rgen", "Müller^Jürgen"), ("Mueller^Anna M.", "Mueller^Anna Maria"),
        ("THI HOA^NGUYEN", "Nguyen^Thi Hoa"),
    ],
)  # fmt: skip
def test_the_same(one: str, other: str) -> None:
    assert relation(one, other) == relation(other, one) == "same"


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("Mueller^Anna", "Schmidt^Anna", "given"), ("Mueller^Anna", "Mueller^Klara", "family"),
        ("Test^One", "Test^Two", "family"),
        ("Mueller^Anna", "Other^Person", "different"), ("A^A", "B^B", "different"),
        ("MUELLER ANNA", "Mueller^Klara", "family"),
        ("王^伟", "王^芳", "family"), ("山田^花子", "佐藤^花子", "given"), ("山田^太郎", "山田^次郎", "family"),
        ("Zimmer^Klara", "Mueller^Anna", "different"),
        ("Nguyễn^Thị Hoa", "Nguyễn^Thị Lan", "family"), ("Kim^Young-Hee", "Kim^Young-Soo", "family"),
        ("Chen^Mei Ling", "CHEN^MEI FANG", "family"), ("NGUYEN THI HOA", "Nguyen^Thi Lan", "family"),
        ("THI HOA^NGUYEN", "Nguyen^Thi Lan", "different"), ("Mueller^Anna Maria", "Mueller^Anna Sophie", "family"),
        ("Smith^Mary Ann", "Jones^Mary Smith", "given"),
        ("Mueller^Jan", "Mueller^Jon", "family"),
    ],
)  # fmt: skip
def test_not_the_same(one: str, other: str, wanted: str) -> None:
    assert relation(one, other) == relation(other, one) == wanted


@pytest.mark.parametrize(
    ("one", "other"),
    [("山田^太郎", "Yamada^Taro"), ("Иванова^Анна", "Ivanova^Anna"), ("UNKNOWN^UNKNOWN", "Mueller^Anna"),
     ("", "Mueller^Anna"),      ("Anonymous", "Mueller^Anna"), ("^", "^"), ("Doe^John", "Mueller^Anna")],
)  # fmt: skip
def test_what_cannot_be_compared_contradicts_nothing(one: str, other: str) -> None:
    assert relation(one, other) == "unknown"


def test_only_keyed_hashes_are_left_of_a_name() -> None:
    text = repr(signed("Müller^Anna")).casefold()
    assert "muller" not in text and "mueller" not in text and "anna" not in text
    assert signed("Müller^Anna") != signed("Müller^Anna", key=b"\1" * 32)
    assert "Anna" not in repr(PersonName(family="Müller", given="Anna"))
    assert compare(signed("Müller^Anna"), signed("Müller^Anna", key=b"\1" * 32)) == "different"


@pytest.mark.parametrize(
    "number",
    ["UNKNOWN", "0", "0000", "000000", "999999999", "123456789", "Notaufnahme", "EXTERN", "QC", "无", "N.N.",
    "NOTFOUND", "ANONYMOUS", "TEST", "N/A", ".", "-", "?",
     "XXXX", "n.a.", "Unbekannt", "ＵＮＫＮＯＷＮ", "不明", " ", "---",
     "-1", "No MRN", "ΑΓΝΩΣΤΟΣ", "Невідомий", "Неизвестный", "KHÔNG RÕ", "BİLİNMEYEN",
     "غير معروف", "ไม่ทราบชื่อ", "身元不明",
     "Not Found", "1111", "xxx-xxx", "inconnu", "SITE-DUMMY"],
)  # fmt: skip
def test_numbers_that_stand_for_nobody(number: str) -> None:
    assert stands_for_nobody(number, ["site dummy"])


@pytest.mark.parametrize(
    "number", ["0012345", "7", "22", "42", "1000000", "TEST4711", "X1", "N1", "99999998", "A", "U0001", "10"]
)
def test_numbers_of_patients(number: str) -> None:
    assert not stands_for_nobody(number, ["site dummy"])


def test_birth_dates_that_stand_for_none() -> None:
    from datetime import date

    assert known_birth_date(date(1900, 1, 1)) is None and known_birth_date(date(1899, 12, 30)) is None
    assert known_birth_date(date(2030, 1, 1), on=date(2026, 1, 1)) is None
    assert known_birth_date(date(1930, 1, 1), on=date(2026, 1, 1)) == date(1930, 1, 1)
