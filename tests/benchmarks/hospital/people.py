"""The patients of the made-up hospital: of five countries, each with names as its systems write them, and blood."""

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from math import exp, log
from random import Random

COUNTRIES = ("AT", "US", "CN", "BR", "JP")

FAMILIES = {
    "AT": "Müller Gruber Huber Bauer Wagner Groß Pichler Steiner Moser Mayer Hofer Böhm Weiß Köck Jäger Schäfer Lang",
    "US": "Smith Johnson Brown O'Neill McDonald Garcia Washington Lee Clark Young Hill Carter Baker Fisher Stone",
    "BR": "Conceição Gonçalves Araújo Souza Magalhães Simões Brandão Luís Ferrão Barbosa Teixeira Moraes Nóbrega",
}
GIVEN = {
    "AT": {
        "F": "Anna Jürgine Käthe Maria Ilse Gerda Ursula Brigitte Elfriede",
        "M": "Jörg Günther Franz Karl Götz Udo",
    },
    "US": {"F": "Mary Patricia Linda Susan Karen Dorothy Ruth", "M": "James Robert John William Frank Raymond Eugene"},
    "BR": {"F": "Antônia Inês Lúcia Beatriz Conceição Vera", "M": "João José Sebastião Otávio Márcio Raimundo"},
}
CHINESE = "王Wang 李Li 张Zhang 刘Liu 陈Chen 杨Yang 赵Zhao 黄Huang 周Zhou 吴Wu 徐Xu 孙Sun"
CHINESE_GIVEN = {
    "F": "秀英XiuYing 丽华LiHua 桂兰GuiLan 玉珍YuZhen 婷婷TingTing",
    "M": "建国JianGuo 志强ZhiQiang 伟Wei 军Jun 海涛HaiTao",
}
JAPANESE = "山田Yamada 佐藤Sato 鈴木Suzuki 高橋Takahashi 田中Tanaka 伊藤Ito 渡辺Watanabe 小林Kobayashi 大野Ohno"
JAPANESE_GIVEN = {
    "F": "花子Hanako 洋子Yoko 節子Setsuko 幸子Sachiko 和子Kazuko",
    "M": "太郎Taro 健一Kenichi 裕二Yuji 三郎Saburo",
}


@dataclass(frozen=True, kw_only=True)
class Name:
    """A name in the script of the country, and in plain Latin letters as scanners have it."""

    family: str
    given: str
    latin_family: str
    latin_given: str


@dataclass(frozen=True, kw_only=True)
class Blood:
    """True counts in 10⁹/L."""

    neutrophils: float
    lymphocytes: float
    monocytes: float
    eosinophils: float
    basophils: float
    platelets: float

    @property
    def leukocytes(self) -> float:
        """All white cells."""
        return self.neutrophils + self.lymphocytes + self.monocytes + self.eosinophils + self.basophils

    @property
    def ratios(self) -> tuple[float, float]:
        """NLR and PLR."""
        return self.neutrophils / self.lymphocytes, self.platelets / self.lymphocytes


@dataclass(frozen=True, kw_only=True)
class Patient:
    """One patient; ``number`` is the hospital's."""

    key: int
    number: str
    country: str
    name: Name
    birth_date: date
    sex: str
    usual: Blood
    unusual: str = ""
    """What is unusual, and right."""
    extra: dict[str, object] = field(default_factory=dict, compare=False)

    def renamed(self, name: Name) -> "Patient":
        """The same patient under another name."""
        return replace(self, name=name)


def draw_patient(random: Random, key: int, *, unusual: str = "") -> Patient:
    """A patient of the age of the paper's."""
    country = COUNTRIES[key % len(COUNTRIES)]
    sex = random.choice("FM")
    born = date(2026, 1, 1) - timedelta(days=int(365.25 * random.uniform(52, 88)))
    return Patient(
        key=key,
        number=f"{7_000_000 + key * 37}",
        country=country,
        name=draw_name(random, country, sex),
        birth_date=born,
        sex=sex,
        usual=draw_blood(random),
        unusual=unusual,
    )


def draw_name(random: Random, country: str, sex: str) -> Name:
    """A name of a country."""
    if country in FAMILIES:
        family, given = random.choice(FAMILIES[country].split()), random.choice(GIVEN[country][sex].split())
        return Name(family=family, given=given, latin_family=plain(family), latin_given=plain(given))
    families, givens = (CHINESE, CHINESE_GIVEN) if country == "CN" else (JAPANESE, JAPANESE_GIVEN)
    family, given = (_parted(random.choice(one.split())) for one in (families, givens[sex]))
    return Name(family=family[0], given=given[0], latin_family=family[1], latin_given=given[1])


def _parted(both: str) -> tuple[str, str]:
    split = next(place for place, letter in enumerate(both) if letter.isascii())
    return both[:split], both[split:]


def plain(name: str) -> str:
    """A name as a scanner's keyboard has it: German umlauts written out, other accents left away."""
    pairs = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ç": "c", "ã": "a", "õ": "o", "á": "a", "é": "e", "í": "i"}
    pairs |= {"ó": "o", "ú": "u", "ê": "e", "ô": "o", "â": "a"}
    return "".join(pairs.get(letter, letter) for letter in name.lower()).title()


def draw_blood(random: Random) -> Blood:
    """Usual counts of somebody of that age (medians and spread of adult reference populations)."""
    return Blood(
        neutrophils=_around(random, 4.0, 0.32),
        lymphocytes=min(max(_around(random, 1.8, 0.30), 0.7), 4.2),
        monocytes=_around(random, 0.5, 0.25),
        eosinophils=_around(random, 0.15, 0.4),
        basophils=_around(random, 0.04, 0.3),
        platelets=min(max(_around(random, 245, 0.22), 110), 480),
    )


def today(random: Random, usual: Blood) -> Blood:
    """What is counted on one day: around the patient's own."""
    spread = {"neutrophils": 0.16, "lymphocytes": 0.12, "monocytes": 0.15, "eosinophils": 0.25, "basophils": 0.25}
    return Blood(
        **{name: _around(random, value, {**spread, "platelets": 0.08}[name]) for name, value in vars(usual).items()}
    )


def after_surgery(random: Random, usual: Blood) -> Blood:
    """Hours to days after an operation: neutrophils up, lymphocytes down."""
    now = today(random, usual)
    return replace(
        now,
        neutrophils=now.neutrophils * random.uniform(1.8, 3),
        lymphocytes=now.lymphocytes * random.uniform(0.4, 0.7),
    )


ILL = ("lymphopenia", "sepsis", "steroids", "chronic lymphocytic leukaemia", "chronic myeloid leukaemia",
       "essential thrombocythaemia", "immune thrombocytopenia", "chemotherapy")  # fmt: skip


def very_ill(random: Random, usual: Blood, what: str) -> Blood:
    """True counts far from the usual."""
    draw = random.uniform
    changes: dict[str, float] = {
        "lymphopenia": {"lymphocytes": draw(0.2, 0.45)},
        "sepsis": {"neutrophils": draw(18, 32), "lymphocytes": draw(0.35, 0.8), "platelets": draw(60, 150)},
        "steroids": {"neutrophils": draw(10, 16), "lymphocytes": draw(0.5, 0.9)},
        "chronic lymphocytic leukaemia": {"lymphocytes": draw(25, 150), "platelets": draw(90, 200)},
        "chronic myeloid leukaemia": {
            "neutrophils": draw(70, 150), "monocytes": draw(2, 5), "basophils": draw(3, 8), "eosinophils": draw(2, 6),
            "lymphocytes": draw(3, 8), "platelets": draw(400, 1200),
        },
        "essential thrombocythaemia": {"platelets": draw(700, 1250)},
        "immune thrombocytopenia": {"platelets": draw(12, 50)},
        "chemotherapy": {"neutrophils": draw(0.6, 1.5), "lymphocytes": draw(0.3, 0.7), "monocytes": draw(0.1, 0.3),
                         "platelets": draw(40, 110)},
    }[what]  # fmt: skip
    return replace(usual, **changes)


def _around(random: Random, median: float, spread: float) -> float:
    return exp(random.gauss(log(median), spread))
