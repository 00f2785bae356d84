"""Which rows of a blood count make its numbers, and which must not touch them."""

from typing import Any

import pytest

from node.hl7.report import interpretation_json
from tests.node.test_hl7_names import HEAD, SETTINGS, count, obx, read

COUNT = [
    obx("751-8^N^LN", "4.0"),
    obx("731-0^L^LN", "2.0"),
    obx("777-3^P^LN", "250"),
    obx("6690-2^W^LN", "7.0"),
]
ABSOLUTE = {"status": "final", "nlr": 2.0, "plr": 125.0, "basis": "absolute", "notes": []}


def told(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ABSOLUTE}


@pytest.mark.parametrize(
    "row",
    [
        obx("15001^WBC Histogram. Left Line^99MRC", "12", ""),
        obx("15111^PLT Histogram. Left Line^99MRC", "3", ""),
        obx("15200^WBC DIFF Scattergram. Fsc dimension^99MRC", "255", ""),
        obx("15004^WBC Lym left line.^99MRC", "35", ""),
        obx("9^血小板直方图", "12", ""),
        obx("5^血小板比积", "0.25", "%"),
        obx("5^血小板容積", "0.25", "%"),
        obx("5^Plaquettocrite", "0.25", "%"),
        obx("5^Тромбокрит", "0.25", "%"),
        obx("5^大淋巴细胞", "3", "%"),
        obx("5^대형 거대혈소판", "3", "%"),
        obx("P-LCR^Proporción de plaquetas grandes", "24", "%"),
        obx("RE-LYMP#^RE-LYMP#^L", "0.05"),
        obx("AS-LYMP%^AS-LYMP%^L", "0.1", "%"),
        obx("NEUT-RI^NEUT-RI^L", "47.9", "FI"),
        obx("NEUT-GI^NEUT-GI^L", "150.1", "SI"),
        obx("NEUT#&^NEUT#&^L", "3.9"),
        obx("LYMPH#&^LYMPH#&^L", "1.95"),
        obx("PLT-I^PLT-I^L", "236"),
        obx("PLT-O^PLT-O^L", "", ""),
        obx("WBC-D^WBC-D^L", "6.9"),
        obx("UWBC^UWBC", "7.1"),
        obx("Abn_Lympho?^Abn_Lympho?", "0", ""),
        obx("WBC_Abn_Scattergram", "1", ""),
        obx("Thrombocytopenia", "1", ""),
        obx("f^Leukozytose", "1", ""),
        obx("f^白细胞增多", "1", ""),
        obx("WVF^WBC Viable Fraction", "0.98", ""),
        obx("100429^Neutr. Granulozyten", "57.0", "%"),
        obx("g^Granulocytes neutrophiles", "57", "%"),
        obx("r^Retikulozyten", "1.2", "%"),
        obx("r^Ретикулоциты", "1.2", "%"),
        obx("r^Hồng cầu lưới", "1.2", "%"),
        obx("r^網赤血球", "12", "‰"),
        obx("m^MID#", "0.6"),
        obx("x^LUC", "0.1"),
        obx("n^Neutrofilos", "57", ""),  # without a unit, beside the row that has one
        obx("n^Lymphocytes", "2,0"),
        obx("n^Platelet estimate", "adequate", ""),
        obx("a^Ferritin", "57", "ng/mL"),
        obx("p^Trombocyten xyz", "24", "%"),  # a share of the platelets, of the leukocytes, in whatever words
        obx("w^Bạch cầu xyz", "3", "%"),
        obx("q^Нейтрофилы/лимфоциты", "2.0", ""),
    ],
)
def test_what_makes_no_number_holds_none(row: str) -> None:
    found = told(count(*COUNT, row))
    unused = [note for note in found.pop("notes") if "not used" not in note]
    assert {**found, "notes": unused} == ABSOLUTE


@pytest.mark.parametrize("value", ["=^4.0", "^4.0", "4.0"])
def test_a_structured_number_wherever_it_stands(value: str) -> None:
    assert read(f"OBX|1|SN|751-8^N^LN||{value}|10*9/L|||||F", obx("731-0^L^LN", "2.0"))["cbcs"][0]["nlr"] == 2.0


def test_a_row_that_is_not_used_is_said() -> None:
    (note,) = count(*COUNT, obx("99^Neutrofilos", "57", ""))["notes"]
    assert note.startswith("neutrophils (99 Neutrofilos): not used")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (obx("9^Eosinophils^L^751-8^^LN", "0.5"), "9 Eosinophils"),  # LOINC by position
        (obx("777-3^MPV^LN", "9.8"), "777-3 MPV"),
        (obx("LYM#^Lymphocytes", "1.2"), "lymphocytes (10⁹/L): two different values"),
        (obx("6690-2^WBC Histogram^LN", "12", ""), "6690-2 WBC Histogram"),
    ],
)
def test_a_held_count_says_which_row_and_why(row: str, named: str) -> None:
    found = count(*COUNT, row)
    assert found["status"] == "held"
    assert any(named in note for note in found["notes"])


def test_mid_cells_with_the_code_of_the_lymphocytes_are_none() -> None:
    found = count(obx("6690-2^WBC^LN", "5.86"), obx("731-0^MID#^LN", "1.78"), obx("777-3^PLT^LN", "275"))
    assert (found["status"], found["lymphocytes_10e9_per_l"], found["plr"]) == ("held", None, None)
    mxd = count(obx("6690-2^WBC^LN", "5.86"), obx("736-9^MXD%^LN", "8", "%"), obx("777-3^PLT^LN", "275"))
    assert (mxd["status"], mxd["plr"]) == ("held", None)


@pytest.mark.parametrize(
    "names",
    [
        "Seg St Lymph WBC PLT",
        "Netrofil_Segmen Netrofil_Batang Limfosit Leukosit Trombosit",
        "Segmentados Cayados Linfocitos Leucocitos Plaquetas",
        "Segmenty Tyče Lymfocyty Leukocyty Trombocyty",
        "分葉核球 桿状核球 リンパ球 白血球数 血小板数",
        "분엽호중구 간상호중구 림프구 백혈구 혈소판",
        "Сегментоядерные Палочкоядерные Лимфоциты Лейкоциты Тромбоциты",
        "Segmentkärniga Stavkärniga Lymfocyter B-LPK B-TPK",
    ],
)
def test_bands_and_segmented_in_many_languages(names: str) -> None:
    """57.0 × 7 / 100 would be 3.99; with the bands 64 % of 7.0 are 4.48, and 4.48 / 1.995 is 2.2456."""
    segmented, bands, lymphocytes, leukocytes, platelets = (f"1^{name.replace('_', ' ')}" for name in names.split())
    found = count(
        obx(leukocytes, "7000", "/uL"),
        obx(segmented, "54.0", "%"),
        obx(bands, "10.0", "%"),
        obx(lymphocytes, "28.5", "%"),
        obx(platelets, "250"),
    )
    assert (found["status"], found["basis"]) == ("final", "derived")
    assert (found["nlr"], found["plr"]) == (pytest.approx(64 / 28.5), pytest.approx(250 / (7 * 0.285)))


SEGMENTED = [obx("w^WBC", "7.0"), obx("s^Seg", "54", "%"), obx("l^Lymph", "28.5", "%"), obx("p^PLT", "250")]


def test_segmented_beside_a_row_that_nothing_names_are_not_all_neutrophils() -> None:
    shown = read(*SEGMENTED, obx("4711^Xyqz", "10", "%"))
    (found,) = shown["cbcs"]
    assert (found["nlr"], found["plr"]) == (None, pytest.approx(250 / 1.995))
    assert any("4711 Xyqz may be the bands" in note for note in found["notes"])
    assert any("4711 Xyqz" in problem and "analytes.toml" in problem for problem in shown["problems"])


@pytest.mark.parametrize("value", ["24", "250"])
def test_platelets_in_percent_are_none_and_more_than_a_hundred_hold_the_count(value: str) -> None:
    alone = count(*COUNT[:2], COUNT[3], obx("p^Trombocyten", value, "%"))
    assert (alone["status"], alone["platelets_10e9_per_l"]) == ("held", None)
    beside = count(*COUNT, obx("p^Trombocyten", value, "%"))
    assert beside["status"] == ("final" if value == "24" else "held")


def test_segmented_beside_a_share_of_the_leukocytes_in_unknown_words_are_not_all_neutrophils() -> None:
    found = count(*SEGMENTED, obx("4711^Leukocyten xyz", "10", "%"))
    assert (found["nlr"], found["plr"]) == (None, pytest.approx(250 / 1.995))


@pytest.mark.parametrize(
    "row",
    [
        obx("m^Monocytes", "6", "%"),
        obx("RDW-CV", "13.1", "%"),
        obx("h^Hämatokrit", "41", "%"),
        obx("e^Eozinofily", "2", "%"),
        obx("r^RET%", "1", "%"),
        obx("g^Glucose", "95", "mg/dL"),
        obx("c^Comment", "none", ""),
    ],
)
def test_segmented_beside_rows_with_a_name_are_all_neutrophils(row: str) -> None:
    assert count(*SEGMENTED, row)["nlr"] == pytest.approx(54 / 28.5)


@pytest.mark.parametrize(
    "rows",
    [
        # 26505-8 is the percentage of the segmented ones, whatever its position in older tables.
        [
            obx("6690-2^WBC^LN", "7.0", "10*3/uL"),
            obx("26505-8^Segmented neutrophils/Leukocytes in Blood^LN", "54", "%"),
            obx("26508-2^Band form neutrophils/Leukocytes in Blood^LN", "3", "%"),
            obx("26478-8^Lymphocytes/Leukocytes in Blood^LN", "30", "%"),
            obx("26515-7^Platelets^LN", "252", "10*3/uL"),
        ],
        [
            obx("1^白细胞", "7.0", "10^9/L"),
            obx("2^中性细胞数", "3.99", "10^9/L"),
            obx("3^淋巴细胞数", "2.1", "10^9/L"),
            obx("4^血小板", "252", "10^9/L"),
            obx("5^中性细胞比率", "57", "%"),
        ],
        [
            obx("1^白血球數", "7.0", "10^3/uL"),
            obx("2^嗜中性球", "57", "%"),
            obx("3^淋巴球", "30", "%"),
            obx("4^血小板計數", "252", "10^3/uL"),
            obx("5^血小板體積分佈寬度", "11", "fL"),
        ],
        [
            obx("751-8^N^LN", "3.99"),
            obx("731-0^L^LN", "2.1"),
            obx("777-3^Numération des plaquettes^LN", "252", "G/L"),
            obx("6690-2^Numération leucocytaire^LN", "7.0", "G/L"),
        ],
        [
            obx("NPU02902^Neutrophilocytes; number concentration^NPU", "3.99"),
            obx("NPU02636^Lymphocytes; number concentration^NPU", "2.1"),
            obx("NPU03568^Thrombocytes; number concentration^NPU", "252"),
            obx("NPU02593^^NPU", "7.0"),
        ],
        [
            obx("N^Neutrofile", "3.99", "tys/µl"),
            obx("L^Limfocyty", "2.1", "tys/µl"),
            obx("P^Płytki krwi", "252", "tys/µl"),
        ],
        [
            obx("a^B-Neutrofila", "3.99"),
            obx("b^B-Lymfocyter", "2.1"),
            obx("c^B-TPK", "252"),
            obx("d^B-LPK", "7.0"),
        ],
        [
            obx("a^Bạch cầu", "7.0", "G/L"),
            obx("b^Bạch cầu trung tính", "57", "%"),
            obx("c^Bạch cầu lympho", "30", "%"),
            obx("d^Số lượng tiểu cầu", "252", "G/L"),
            obx("e^Bạch cầu ưa acid", "3", "%"),
        ],
        [
            obx("a^Leukozytenkonzentration", "7.0", "G/l"),
            obx("b^Neutrophile Granulozyten", "57", "%"),
            obx("c^Lymphozyten", "30", "%"),
            obx("d^Thrombozyten Anzahl/Volumen", "252", "/nl"),
        ],
        [
            obx("a^Nötrofil sayısı", "3.99", "10^3/uL"),
            obx("b^Lenfosit sayısı", "2.1", "10^3/uL"),
            obx("c^Trombosit sayısı", "252", "10^3/uL"),
            obx("d^Nötrofil oranı", "57", "%"),
        ],
    ],
    ids=["26505-8", "中性细胞", "traditional", "French", "NPU", "Polish", "Swedish", "Vietnamese", "German", "Turkish"],
)
def test_counts_of_many_countries(rows: list[str]) -> None:
    """57 % neutrophils and 30 % lymphocytes of 7.0, platelets 252: NLR 1.9, PLR 120."""
    found = count(*rows)
    assert found["status"] == "final"
    assert (found["nlr"], found["plr"]) == (pytest.approx(1.9), pytest.approx(120))


def test_a_channel_is_used_where_there_is_nothing_else() -> None:
    found = count(obx("NEUT#&", "4.0"), obx("LYMPH#&", "2.0"), obx("PLT-O", "250"))
    assert (found["nlr"], found["plr"]) == (2.0, 125.0)


BLOOD = """EDTA-Blut | Whole blood | Capillary blood | Sang total | Sangre venosa | Sangue intero EDTA | Krew żylna |
Venózní krev | Alvadásgátolt vér | Sânge venos | Ολικό αίμα | Кровь с ЭДТА | Tam kan | Máu toàn phần |
Darah vena | 全血 | 静脉血 | 末梢血 | 전혈 | دم وريدي | דם מלא | BLDV | Lavender top | Violettes Röhrchen"""
OTHER_MATERIAL = """Urin | Orina | Mocz |
Vizelet | Ούρα | Моча | Сеча | İdrar | Nước tiểu | Air kemih | 尿液 | 소변 | بول |
שתן | ปัสสาวะ | CSF | Líquido cefalorraquídeo | Liquide céphalorachidien | Płyn mózgowo-rdzeniowy |
Mozkomíšní mok | Beyin omurilik sıvısı | Dịch não tủy | 腦脊髓液 | 髄液 | 뇌척수액 | Gelenkpunktat |
Líquido sinovial | Liquido sinoviale | Płyn stawowy | Eklem sıvısı | Dịch khớp | 关节液 | 관절액 |
Синовиальная жидкость | Pleurapunktat | Liquido pleurico | Płyn opłucnowy | Plevral sıvı | 胸腔积液 |
흉수 | Aszites | Asit sıvısı | 腹水 | 복수 | Knochenmark | Moelle osseuse | Szpik | Csontvelő |
Kemik iliği | 骨髓 | 골수 | Fruchtwasser | Drainagesekret | Nabelschnurblut | Erythrozytenkonzentrat |
Platelet concentrate"""


def of_material(material: str, *, in_spm: bool) -> list[Any]:
    order = f"OBR|1|P1|F1|T^Cells^L|||202603020830{'|' * 8}{'' if in_spm else '^' + material}"
    specimen = [f"SPM|1|S1||X^{material}^L"] if in_spm else []
    text = "\r".join([HEAD[0], HEAD[1], order, *COUNT, *specimen, ""])
    (shown,) = interpretation_json(text.encode(), SETTINGS)
    return [found["nlr"] for found in shown["cbcs"] if found["nlr"] is not None]


@pytest.mark.parametrize("in_spm", [True, False], ids=["SPM-4", "OBR-15"])
def test_cells_of_another_material_are_no_blood_count(*, in_spm: bool) -> None:
    for material in BLOOD.split("|"):
        assert of_material(material.strip(), in_spm=in_spm) == [2.0], material
    for material in OTHER_MATERIAL.split("|"):
        assert of_material(material.strip(), in_spm=in_spm) == [], material
