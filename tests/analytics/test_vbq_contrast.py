"""Whether a contrast agent was given: what technologists, scanners and anonymisers write, in their languages."""

import pytest

from analytics.vbq.contrast import AGENT, Contrast, agent_of, contrast_of, most

NONE = """
|-|--|no|NO|N|None|none|n/a|N/A|NA.|0|0 ml|0.0|NO CONTRAST|No contrast agent|no i.v. contrast|without|Without contrast
w/o|W/O contrast|w/o Gd|non-contrast|Pre-contrast|PLAIN|plain study|unenhanced|not given|none used|NONE ADMINISTERED
kein|keins|o. KM|o.KM|S/C
ohne|Ohne KM|kein Kontrastmittel|nicht gegeben|nativ|sans injection|Sans produit de contraste|non injecté|aucun
sin contraste|ninguno|senza mdc|senza m.d.c.|nessuno|sem contraste|não|geen contrast|zonder|uden kontrast|ingen
utan kontrastmedel|ei|bez kontrastu|žádný|brak|без контраста|Без контрастирования|нет|nincs|kontrastsız|無|なし
造影剤なし|不使用|平扫|없음|no gadolinium|NO GD|bez kontrasta|brez kontrasta|kontrastmedel ej givet|ei kontrastia
nessun mezzo di contrasto|no se administra contraste|sem injeção de contraste|nav kontrasta|ilman varjoainetta|non con
без контрастного усиления|χωρίς σκιαγραφικό|kontrasztanyag nélkül|không tiêm thuốc|无对比剂|조영제 없음|ללא חומר ניגוד
"""
UNKNOWN = """
ANONYMIZED|Anonymised|anon|REMOVED|removed by site|de-identified|Deidentified|REDACTED|XXXX|?|???|unknown|Unknown agent
not known|not specified|unbekannt|k.A.|inconnu|desconocido|NULL|PLACEHOLDER|a3f5c9d2e1b4a7c8d9e0
1.2.840.113619.2.55.3.2831|see protocol|***|___|none?|匿名|удалено|gelöscht
W/WO CONTRAST|W & W/O|with and without contrast|mit und ohne KM|con y sin contraste|avec et sans contraste
z i bez kontrastu|pre/post|native + KM|plain and contrast|contrast given, no reaction
"""
GIVEN = """
Gadovist|GADAVIST 7.5 ml|gadobutrol|Dotarem|ProHance|Magnevist|Clariscan|MultiHance|Gd-DTPA|Primovist|yes|8 ml|7,5 ml
Contrast|with contrast|KM|+C|IV|no reaction, Gadovist|Gadovist (no extravasation)|coded|гадовист|ガドビスト
с контрастом|造影|增强|조영제|tehosteaine|con contraste|med kontrast
"""


def of(text: str) -> list[str]:
    return [one for line in text.strip("\n").splitlines() for one in line.split("|")]


@pytest.mark.parametrize(
    ("texts", "said"), [(NONE, Contrast.NONE), (UNKNOWN, Contrast.UNKNOWN), (GIVEN, Contrast.GIVEN)]
)
def test_the_name_of_an_agent_is_read_as_people_write_it(texts: str, said: Contrast):
    assert {text: found for text in of(texts) if (found := agent_of(text)) is not said} == {}


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({}, Contrast.NONE),
        ({"volume": "8"}, Contrast.GIVEN),
        ({"volume": "0.5"}, Contrast.GIVEN),
        ({"volume": "0"}, Contrast.NONE),
        ({"volume": "0.0", "route": "NONE"}, Contrast.NONE),
        ({"route": "INTRAVENOUS"}, Contrast.GIVEN),
        ({"route": "ANONYMIZED"}, Contrast.UNKNOWN),
        ({"start time": "101010"}, Contrast.GIVEN),
        ({"start time": "000000.00"}, Contrast.UNKNOWN),
        ({"concentration": "1"}, Contrast.GIVEN),
        ({"administered": "NO"}, Contrast.NONE),
        ({"administered": "YES"}, Contrast.GIVEN),
        ({AGENT: "NO", "volume": "0"}, Contrast.NONE),
        ({AGENT: "NO CONTRAST", "volume": "8"}, Contrast.UNKNOWN),
        ({AGENT: "ANONYMIZED", "volume": "8"}, Contrast.GIVEN),
        ({AGENT: "Gadovist", "volume": "0"}, Contrast.GIVEN),
    ],
)
def test_every_element_of_contrast_counts(elements: dict[str, str], said: Contrast):
    assert contrast_of(elements.items()) is said


def test_one_image_decides_for_the_series():
    assert most([Contrast.NONE, Contrast.GIVEN, Contrast.UNKNOWN]) is Contrast.GIVEN
    assert most([Contrast.NONE, Contrast.UNKNOWN]) is Contrast.UNKNOWN
    assert most([]) is Contrast.NONE
