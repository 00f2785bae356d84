"""Whether fat was suppressed, as series are named by scanners and people, in their languages."""

import time

import pytest

from analytics.vbq.fat import words_of_fat_suppression

SUPPRESSED = """
t1 tse sag fs|t1fs sag|sag t1 fat sat|t1 spir sag
t1_spair|t1_tse_dixon_w|water: sag t1|t1 sag opp|t1 sag opposed phase
t1 sag out of phase|t1 in-phase|t1 sag suppr. graisse|t1 sag sat graisse|t1 sag supp. de graisse|t1 sag sat grasa
t1 sag supresion grasa|t1 sag con supresión de grasa
t1 sag saturacion grasa|t1 sag sopp. grasso|t1 sag sat. del grasso
t1 sag soppressione del grasso|t1 sag sat gordura
t1 sag com supressão de gordura|t1 sag mit fettsättigung|t1 sag fettgesättigt
t1 sag fettsupprimiert|t1 sag fettunterdrückt|t1 sag fettsat|t1 sag vetsuppressie|t1 sag vetsat|t1 sag fettsaturering
t1 sag fettmättnad|t1 sag fettundertryckt|t1 sag fedtsupprimeret
t1 sag fedtmættet|t1 sag rasvasaturaatio|t1 sag rasvasuppressio
t1 sag z saturacją tłuszczu|t1 sag z supresją tłuszczu|t1 sag s potlačením tuku|t1 sag sat tuku|t1 sag supresija masti
t1 sag cu supresie grăsime|t1 sag zsírelnyomás|t1 sag zsírszupp
t1 sag yağ baskılı|t1 sag yag baskili|т1 саг жироподавление
т1 саг с подавлением жира|т1 саг жиросатурация|t1 sag με καταστολή λίπους
t1 sag 脂肪抑制|t1 sag 压脂|t1 抑脂 矢状|t1 sag 지방억제
t1 sag xóa mỡ|t1 sag דיכוי שומן|t1 sag مع كبت الدهون|t1 sag กดไขมัน
"""
NOTHING = """
t1 sag|t1_tse_sag_320|t1 sag without fatsat
t1 sag no fs|t1 sag w/o fat sat|t1 sag ohne fettsättigung|t1 sag sans suppr. graisse
t1 sag sans sat graisse|t1 sag sin saturacion grasa
t1 sag sin grasa|t1 sag senza sopp. del grasso|t1 sag sem sat gordura
t1 sag zonder vetsuppressie|t1 sag bez saturacji tłuszczu
t1 sag bez potlačení tuku|т1 саг без жироподавления|т1 саг без подавления жира
t1 sag 非压脂|t1 sag 脂肪抑制なし|t1 sag post op|t1 sag oppdalen
t1 sag fast|t1 sag fse|t1 sag satellite|t1 sag superior|t1 sag supine
t1 sag mast|t1 sag vet 1|t1 sag sat1|t1 sag upper sat|t1 sag sat ant|t1 sag fett|t1 tukholma|sag t1 stirling
"""


def of(text: str) -> list[str]:
    return [one for line in text.strip("\n").splitlines() for one in line.split("|")]


def test_fat_suppression_is_read_as_people_write_it():
    assert [text for text in of(SUPPRESSED) if not words_of_fat_suppression(text)] == []


def test_what_denies_it_or_speaks_of_something_else_is_none():
    assert {text: found for text in of(NOTHING) if (found := words_of_fat_suppression(text))} == {}


@pytest.mark.parametrize("text", ["fat" + "a" * 30_000, "sat " * 8_000, "no sat" + " " * 30_000, "supp" + "." * 30_000])
def test_the_effort_grows_with_the_length_of_a_text(text: str):
    """Seconds, and minutes with the square of the length."""
    began = time.process_time()
    words_of_fat_suppression(text)
    assert time.process_time() - began < 1
