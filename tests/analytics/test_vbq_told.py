"""What the names of series, the texts of examinations and comments tell of a contrast agent, as people write them."""

import time

import pytest

from analytics.vbq.contrast import Contrast
from analytics.vbq.told import examination_with, told, words_of_contrast

AFTER = """
t1_tse_sag KM|T1 SAG +C|SAG T1 C+|T1 sag post KM|T1 sag nach KM|t1_tse_sag_nKM|T1 SAG POST GAD|SAG T1 GD+|T1 SAG +GD
T1 SAG GADO|sag T1 gadovist|SAG T1 W/GAD|SAG T1 W CONTRAST|SAG T1 WITH CONTRAST|SAG T1 W/ CON|SAG T1 W/C|T1 CE SAG
CE-T1 SAG|T1CE SAG|T1C SAG|SAG T1 CONTRAST|SAG T1 FSE POST|SAG T1 POST-CON|SAG T1 POSTCON|POST SAG T1|POST-GD SAG T1
SAG T1 IV+|SAG T1 IV C+|T1 SAG INJ|T1 sag apres gado|T1 SAG GADO+|T1 sag avec injection|T1 SAG PDC|T1 sag + PDC
T1 SAG CON CONTRASTE|T1 SAG C/CONTRASTE|T1 SAG C/C|T1 SAG CIV|T1 sag con mdc|T1 SAG COM CONTRASTE|T1 SAG PÓS
T1 SAG PÓS GADOLINIO|T1 sag po kontraście|T1 sag z kontrastem|T1 SAG +K|T1 sag po KL|T1 sag po k.l.|T1 SAG +KL
T1 sag kontrastni|T1 sag met contrast|T1 sag na gado|T1 sag efter kontrast|T1 SAG +kontrast|t1 sag tehoste
T1 sag varjoaine|T1 sag m/kontrast|T1 SAG KONTRASTLI|T1 SAG IVKM|т1 саг с контрастом|Т1 САГ С КУ|т1 саг к/у|т1 саг +К
T1 SAG KONTRASZTOS|T1 SAG 造影後|T1 SAG 打药|T1 SAG 注药后|T1 SAG 增强
T1 SAG 增強|T1 SAG C＋|T1 SAG 조영증강|SAG T1 ENHANCED|T1+C|t1_tse_sag+c
T1_sag_postGd|T1_sag_GdDTPA|T1 SAG Gd-DTPA|t1 sag dotarem|T1 SAG MULTIHANCE|T1 SAG OMNISCAN|T1 SAG GADAVIST
T1 SAG ELUCIREM|T1 SAG VUEWAY|T1 SAG p.inj|T1 SAG KM-Gabe|T1 SAG i.v. KM|T1TSESAGKM|T1_SAG_POSTKM|SAG T1 +|T1+ SAG
SAG T1 GAD 10ML|T1 SAG με σκιαγραφικό|T1 SAG עם חומר ניגוד|T1 SAG مع صبغة|T1 sag có thuốc
"""
NATIVE = """
T1 SAG W/O CONTRAST|t1 sag ohne KM|T1 sag pre-contrast|T1 SAG nativ
T1 SAG native|T1 SAG plain|T1 SAG PRE|T1 SAG PRE GAD
SAG T1 W/O GAD|SAG T1 WO CON|SAG T1 WO|SAG T1 W/O|SAG T1 NON CON|SAG T1 NONCON|T1 sag sans injection|T1 sag sans gado
T1 sag avant injection|T1 sag sin contraste|T1 SAG S/C|T1 SAG S/CONTRASTE|T1 sag senza mdc|T1 sag basale
T1 SAG SEM CONTRASTE|T1 sag bez kontrastu|T1 sag przed kontrastem|T1 sag zonder contrast|T1 sag voor contrast
T1 sag utan kontrast|T1 sag före kontrast|T1 sag uden kontrast|T1 sag før kontrast|T1 SAG ilman tehostetta
T1 SAG KONTRASTSIZ|T1 SAG unenhanced|T1 SAG non-enhanced|T1 SAG C-|T1 SAG GD-|т1 саг без контраста|T1 SAG 平扫
T1 SAG 造影なし|T1 SAG 造影前|T1 SAG 単純|T1 SAG 비조영|T1 SAG 增强前|T1 SAG 未增强|T1 sag vor KM|T1 SAG KM-frei
T1 SAG KM: nein|T1 SAG kein KM|T1 SAG before contrast|T1 SAG no contrast|T1 SAG contrast: none|T1 SAG CONTRAST NO
T1 SAG prior to gad|T1 SAG ללא חומר ניגוד|T1 SAG بدون صبغة|t1 sag o. KM
"""
OF_SOMETHING_ELSE = """
T1 SAG|t1_tse_sag_320|T1 SAG MAGNETOM|T1 SAG POST OP
T1 SAG postop|T1 SAG post laminectomy|T1 SAG POSTERIOR|T1 SAG conus
T1 SAG CONTROL|T1 SAG Contour|T1 SAG C7-L5|T1 SAG LS+SI|T1+T2 SAG|T1 SAG COMP|T1 SAG pos 2|T1 TSE SAG IPAT2
T1 SAG high contrast
"""
EXAMINED_WITH = """
MRT LWS mit KM|IRM RACHIS LOMBAIRE AVEC INJECTION DE GADOLINIUM
RM COLUMNA LUMBAR CON CONTRASTE|RM LOMBAR COM CONTRASTE
RM RACHIDE LOMBOSACRALE CON MDC|MR lumbar spine with IV contrast|MRI LUMBAR SPINE W CONTRAST|MR L-SPINE W/CONT
MRT der LWS nach i.v. KM|8 ml Gadovist i.v.|RM kręgosłupa z kontrastem|МРТ поясничного отдела с контрастом|腰椎增强
요추 MRI 조영증강|MR ländrygg med kontrast|contrast administered|post gadolinium
"""
EXAMINED_WITH_AND_WITHOUT = """
MRI LUMBAR SPINE W WO CONTRAST|MR L-SPINE W/O & W CONTRAST
with and without contrast|WITH & WITHOUT|MRT mit und ohne KM
nativ + KM|IRM sans et avec injection|RM con y sin contraste|con e senza mdc|com e sem contraste|z i bez kontrastu
WO/W CONTRAST|+/- contrast|±KM|vor und nach KM|avant et après injection|sans puis avec injection|до и после контраста
с и без контраста|met en zonder contrast|pre/post gad|W AND W/O CON|с контрастом и без
"""
OTHER_COMMENTS = """
Gehstrecke 2 km|walks 500 m then 3,5 km pain|Schmerz ++|bilan de ce jour|after epidural steroid injection|post trauma
Z.n. post OP|Kontrastmittelallergie|KM-Allergie|allergic to gadolinium|no contrast (eGFR)|KM abgelehnt
refus du contraste|patient refused contrast|contrast not given|MRI with sedation|contralateral|Kontrolle
kein i.v. Kontrastmittel
"""


def of(text: str) -> list[str]:
    return [one for line in text.strip("\n").splitlines() for one in line.split("|")]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (AFTER, {Contrast.GIVEN}),
        (NATIVE, {Contrast.NONE}),
        (OF_SOMETHING_ELSE, {None, Contrast.NONE}),
        (EXAMINED_WITH_AND_WITHOUT, {Contrast.UNKNOWN}),
    ],
    ids=["after", "native", "of something else", "both"],
)
def test_names_of_series_are_read_as_people_write_them(texts: str, said: set[Contrast | None]):
    assert {text: found for text in of(texts) if (found := told(text, of_series=True)) not in said} == {}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (EXAMINED_WITH, {Contrast.GIVEN}),
        (EXAMINED_WITH_AND_WITHOUT, {Contrast.UNKNOWN}),
        (OTHER_COMMENTS, {None, Contrast.NONE}),
    ],
    ids=["with", "both", "neither"],
)
def test_examinations_and_comments_are_read_as_people_write_them(texts: str, said: set[Contrast | None]):
    assert {text: found for text in of(texts) if (found := told(text)) not in said} == {}


def test_short_words_are_contrast_in_the_name_of_a_series_only():
    assert words_of_contrast("T1 SAG CE") == ("ce",)
    assert told("T1 SAG CE", of_series=True) is Contrast.GIVEN
    assert told("bilan de ce jour") is None


def test_what_was_done_goes_before_what_it_is_called_and_that_before_what_was_asked():
    asked = {"requested procedure": Contrast.GIVEN}
    assert examination_with(asked) == ("requested procedure",)
    assert examination_with({**asked, "procedure step": Contrast.NONE}) == ()
    assert examination_with({**asked, "study description": Contrast.UNKNOWN}) == ()
    called = {"study description": Contrast.GIVEN, "procedure codes": Contrast.NONE}
    assert examination_with({**asked, **called}) == ("study description",)


@pytest.mark.parametrize("text", ["contrast" + "a" * 30_000, "w" + " " * 30_000, "allerg" * 5_000, "gado" * 8_000])
def test_the_effort_grows_with_the_length_of_a_text(text: str):
    """Seconds, and minutes with the square of the length."""
    began = time.process_time()
    told(text)
    assert time.process_time() - began < 2
