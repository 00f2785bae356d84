"""What a result is by its code, name and unit, as laboratories of many countries and makes write them."""

from typing import Any

import pytest

from node.hl7.report import interpretation_json
from node.settings import Hl7, Sender, Settings, Site

SETTINGS = Settings(site=Site(time_zone="Europe/Vienna"))
HEAD = (
    "MSH|^~\\&|LAB|H|NODE|V|20260302120000||ORU^R01|C1|P|2.5.1",
    "PID|1||0042^^^H^MR||Doe^Jane||19600229|F",
    "OBR|1|P1|F1|CBC^Blood count|||202603020830",
)


def obx(code: str, value: str, unit: str = "10*9/L", *, status: str = "F", limits: str = "") -> str:
    return f"OBX|1|ST|{code}||{value}|{unit}|{limits}||||{status}"


def read(*rows: str, settings: Settings = SETTINGS) -> dict[str, Any]:
    (shown,) = interpretation_json("\r".join([*HEAD, *rows, ""]).encode(), settings)
    return shown


def count(*rows: str, settings: Settings = SETTINGS) -> dict[str, Any]:
    (found,) = read(*rows, settings=settings)["cbcs"]
    return dict(found)


@pytest.mark.parametrize(
    "names",
    [
        "n^Neutrofielen l^Lymfocyten p^Trombocyten w^Leukocyten",
        "n^B-Neutrofile l^B-Lymfocytter p^B-Trombocytter w^B-Leukocytter",
        "n^Neutrófilos l^Linfocitos p^Plaquetas w^Leucocitos",
        "n^Neutrófilos_absolutos l^Linfócitos_absolutos p^Plaquetas w^Leucócitos",
        "n^Neutrofili l^Linfociti p^Piastrine w^Globuli_bianchi",
        "n^Polynucléaires_neutrophiles l^Lymphocytes p^Plaquettes w^Globules_blancs",
        "n^PNN l^LYMPHO p^PLQ w^GB",
        "n^Neutrofily l^Lymfocyty p^Trombocyty w^Leukocyty",
        "n^Neutrofil_granulociták l^Limfociták p^Trombociták w^Fehérvérsejt",
        "n^Nötrofil l^Lenfosit p^Trombosit w^Lökosit",
        "n^Нейтрофилы l^Лимфоциты p^Тромбоциты w^Лейкоциты",
        "n^好中球 l^リンパ球 p^血小板数 w^白血球数",
        "n^中性粒细胞数目 l^淋巴细胞数目 p^血小板数目 w^白细胞数目",
        "n^Neutrophil_count l^Lymphocyte_count p^Platelet_count w^Total_white_cell_count",
        "n^Neutrophils_(Absolute) l^Lymphs_(Absolute) p^Platelets w^WBC",
        "n^Abs_Neut l^Abs_Lymph p^Plt_Ct w^Wbc_Count",
        "n^segmentkernige_Granulozyten l^Lymphozyten p^Thrombozyten w^Leukozyten",
        "n^Neutrophils+Bands l^Lymphocytes p^Platelets w^WBC",
        "n^Neutrophils_(incl._bands) l^Lymphocytes p^Platelets w^WBC",
        "#NEUT #LYMPH PLT WBC",
        "ABS.NEUT ABS.LYMPH PLT WBC",
        "NEUT_ABS LYMPH_ABS PLT-F WBC",
        "^^^751-8^^LN ^^^731-0^^LN ^^^777-3^^LN ^^^6690-2^^LN",
        "NEU^^L^^751-8 LYM^^L^^731-0 PLT WBC",
        "42J..^Neutrophil_count^RC 42M..^Lymphocyte_count^RC 42P..^Platelet_count^RC w^White_cells",
    ],
)
def test_counts_by_name(names: str) -> None:
    neutrophils, lymphocytes, platelets, leukocytes = (one.replace("_", " ") for one in names.split())
    found = count(obx(neutrophils, "4.2"), obx(lymphocytes, "1.4"), obx(platelets, "210"), obx(leukocytes, "7.0"))
    assert (found["nlr"], found["plr"]) == (pytest.approx(3), pytest.approx(150))
    assert (found["leukocytes_10e9_per_l"], found["basis"], found["notes"]) == (7.0, "absolute", [])


@pytest.mark.parametrize(
    "names",
    [
        "%NEUT %LYMPH",
        "%N %L",
        "NEUTPCT LYMPCT",
        "n^中性粒细胞比率 l^淋巴细胞比率",
        "n^Neutrófilos_% l^Linfocitos_%",
        "n^Neutrophils_Relative l^Lymphocytes_Relative",
        "n^Polys l^Lymphs",
    ],
)
def test_percents_by_name(names: str) -> None:
    neutrophils, lymphocytes = (one.replace("_", " ") for one in names.split())
    found = count(obx(neutrophils, "60", "%"), obx(lymphocytes, "20", "%"), obx("WBC", "7.0"))
    assert (found["nlr"], found["basis"]) == (pytest.approx(3), "derived")
    assert found["neutrophils_10e9_per_l"] == pytest.approx(4.2)


@pytest.mark.parametrize(
    "code",
    [
        "751-8^Monocytes^LN",  # LOINC by position
        "751-8^EOS#^LN",
        "742-7^Neutrophils^LN",
        "NEU#^Monocytes",
        "751-8^Globules rouges^LN",
        "6690-2^Neutrophils^LN",
        "731-0^NEUT#^LN",
    ],
)
def test_a_code_and_a_name_that_disagree_are_held(code: str) -> None:
    found = count(obx(code, "4.2"), obx("731-0^Lymphocytes^LN", "1.4"), obx("777-3^Platelets^LN", "210"))
    assert (found["status"], found["nlr"]) == ("held", None)
    assert any("disagree" in note for note in found["notes"])


@pytest.mark.parametrize(
    "code",
    [
        "x^Immature Granulocytes",
        "x^未成熟粒细胞",
        "x^Neutrophil bands",
        "x^Lymphocytes+Monocytes",
        "x^Atypical lymphocytes",
        "x^T淋巴细胞",
        "x^NLR",
        "x^Neutrophil/Lymphocyte ratio",
        "x^Eosinophils",
        "x^中性粒细胞碱性磷酸酶",
        "x^Neutrophil elastase",
        "x^Neutrófilos en banda",
        "x^Anti-Neutrophile zytoplasmatische Ak",
        "x^Unreife Granulozyten",
    ],
)
def test_what_is_not_the_neutrophils(code: str) -> None:
    found = count(obx(code, "4.2"), obx("LYM#", "1.4"), obx("PLT", "210"))
    assert (found["neutrophils_10e9_per_l"], found["nlr"], found["plr"]) == (None, None, pytest.approx(150))


@pytest.mark.parametrize("code", ["x^大血小板比率", "x^血小板压积", "777-3^MPV^LN", "x^Platelet factor 4"])
def test_what_is_not_the_platelets(code: str) -> None:
    found = count(obx("NEU#", "4.2"), obx("LYM#", "1.4"), obx(code, "210"))
    assert (found["platelets_10e9_per_l"], found["plr"]) == (None, None)


def test_an_unknown_code_that_looks_like_a_blood_count_is_held_and_listed() -> None:
    shown = read(obx("XNEUTX^PMNs", "4.2"), obx("LYM#", "1.4"), obx("PLT", "210"))
    (found,) = shown["cbcs"]
    assert (found["status"], found["nlr"]) == ("held", None)
    assert any("XNEUTX" in problem for problem in shown["problems"])
    complete = read(obx("NEU#", "4.2"), obx("LYM#", "1.4"), obx("PLT", "210"), obx("XNEUTX^PMNs", "4.2"))
    assert complete["cbcs"][0]["status"] == "final", "beside a complete count it is listed only"
    assert any("XNEUTX" in problem for problem in complete["problems"])


def test_a_percentage_by_its_code_needs_no_unit_but_a_count_does() -> None:
    found = count(obx("770-8^Neutrophils^LN", "60", ""), obx("LYM%", "20", ""), obx("PLT", "210", ""))
    assert (found["nlr"], found["platelets_10e9_per_l"]) == (pytest.approx(3), None)
    assert count(obx("NEU%", "0.6", ""), obx("LYM%", "0.2", ""), obx("WBC", "7"))["nlr"] is None, "or a fraction"


@pytest.mark.parametrize(
    ("value", "unit"), [("4.2 10*9/L", ""), ("4.2 x10E9/L", "10*9/L"), ("4.2 H", "G/L"), ("4.2↑", "G/L")]
)
def test_a_number_with_its_unit_or_its_mark(value: str, unit: str) -> None:
    assert count(obx("NEU#", value, unit), obx("LYM#", "1.4"))["nlr"] == pytest.approx(3)


def test_a_number_with_another_unit_than_its_own() -> None:
    assert count(obx("NEU#", "4.2 cells/uL", "10*9/L"), obx("LYM#", "1.4"))["nlr"] is None


def test_counts_that_look_like_percentages_are_held() -> None:
    found = count(obx("NEU#", "60"), obx("LYM#", "20"), obx("PLT", "210"))
    assert found["status"] == "held"
    assert any("look like percentages" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("bands", "segmented"),
    [
        ("a^Neutrophile stabk.", "b^Neutrophile segm."),
        ("a^Neutrophiles non segm.", "b^Neutrophiles segm."),
        ("a^Neutro. non-segmentés", "b^Neutro. segmentés"),
        ("a^Stabkernige Granulozyten", "b^Segmentkernige Granulozyten"),
        ("a^中性杆状核粒细胞", "b^中性分叶核粒细胞"),
        ("a^Bastones", "b^Segmentados"),
    ],
)
def test_neutrophils_are_bands_and_segmented(bands: str, segmented: str) -> None:
    found = count(obx(bands, "0.4"), obx(segmented, "3.8"), obx("LYM#", "1.4"))
    assert (found["neutrophils_10e9_per_l"], found["nlr"]) == (pytest.approx(4.2), pytest.approx(3))
    assert count(obx(bands, "0.4"), obx("LYM#", "1.4"))["nlr"] is None


def test_a_total_that_is_less_than_its_segmented_part_is_none() -> None:
    found = count(obx("n^Neutrophils", "0.4"), obx("s^Segmented neutrophils", "3.8"), obx("LYM#", "1.4"))
    assert (found["status"], found["nlr"]) == ("held", None)


def test_methods_are_not_mixed_and_the_reason_is_said() -> None:
    found = count(obx("751-8^Neut^LN", "4.2"), obx("737-7^Lymphs^LN", "20", "%"), obx("WBC", "7"), obx("PLT", "210"))
    assert (found["nlr"], found["plr"]) == (None, pytest.approx(150))
    assert any("different methods" in note for note in found["notes"])


def test_a_result_of_no_method_that_contradicts_the_automated_one_is_held() -> None:
    rows = [obx("751-8^Neutrophils^LN", "4.2"), obx("731-0^Lymphocytes^LN", "1.4")]
    assert count(*rows, obx("NEU#", "4.2"), obx("LYM#", "1.4"))["status"] == "final"
    assert count(*rows, obx("NEU#", "6.0"), obx("LYM#", "1.0"))["status"] == "held"


@pytest.mark.parametrize(("sent", "status"), [("", "final"), ("Z", "preliminary"), ("Y", "held")])
def test_statuses_of_a_sender(sent: str, status: str) -> None:
    rules = Sender(statuses={"": "F", "Z": "P"})
    ruled = SETTINGS.model_copy(update={"hl7": Hl7(senders={"LAB|H": rules})})
    found = count(obx("NEU#", "4.2", status=sent), obx("LYM#", "1.4", status=sent), settings=ruled)
    assert found["status"] == status


@pytest.mark.parametrize("time", ["202603020830", "20260302", ""])
def test_one_count_in_parts_with_an_order_number_each(time: str) -> None:
    parts = [
        row
        for number, result in enumerate([obx("NEU#", "4.2"), obx("LYM#", "1.4"), obx("PLT", "210")])
        for row in (f"OBR|{number}|P|F.{number}|CBC|||{time}", result)
    ]
    (found,) = read(*parts)["cbcs"]
    assert (found["nlr"], found["plr"]) == (pytest.approx(3), pytest.approx(150))


def test_two_counts_of_one_day_are_not_mixed() -> None:
    first = [obx("NEU#", "4.2"), obx("LYM#", "1.4")]
    second = [obx("NEU#", "6.0"), obx("LYM#", "1.0")]
    timed = read("OBR|1|||CBC|||202603020830", *first, "OBR|2|||CBC|||202603021630", *second)["cbcs"]
    assert sorted(one["nlr"] for one in timed) == [pytest.approx(3), pytest.approx(6)]
    dated = read("OBR|1||A|CBC|||20260302", *first, "OBR|2||B|CBC|||20260302", *second)["cbcs"]
    assert sorted(one["nlr"] for one in dated) == [pytest.approx(3), pytest.approx(6)]


def test_the_time_of_the_observation_is_said_to_stand_for_the_specimen() -> None:
    rows = [f"{obx(code, value)}|||20260302083000" for code, value in (("NEU#", "4.2"), ("LYM#", "1.4"))]
    raw = "\r".join([*HEAD[:2], *rows, ""]).encode()
    (found,) = interpretation_json(raw, SETTINGS)[0]["cbcs"]
    assert found["specimen_time"] == "2026-03-02T08:30:00+01:00"
    assert any("OBX-14" in note for note in found["notes"])


def test_chinese_without_a_declared_character_set() -> None:
    rows = [obx("a^中性粒细胞绝对值", "4.2"), obx("b^淋巴细胞绝对值", "1.4"), obx("c^血小板计数", "210")]
    raw = "\r".join([*HEAD, *rows, ""]).encode("gbk")
    (found,) = interpretation_json(raw, SETTINGS)[0]["cbcs"]
    assert (found["nlr"], found["plr"]) == (pytest.approx(3), pytest.approx(150))


@pytest.mark.parametrize(
    "panel",
    [
        "LCR citologia", "Líquido cefalorraquídeo", "Płyn mózgowo-rdzeniowy", "Likvor", "Ликвор",
        "Εγκεφαλονωτιαίο υγρό", "Dịch não tủy", "髄液検査", "Szpik kostny", "Костный мозг",
        "Myélogramme", "骨髄像", "Tủy xương", "Orina completa", "Moč chemicky", "Badanie ogólne moczu",
        "İdrar tahlili", "Общий анализ мочи", "Nước tiểu", "尿常规", "ECBU", "U-Status",
        "Liquido pleurico", "BAL Differential", "관절액검사", "关节液常规", "Feces leukocytes", "粪便常规",
        "Spermiogramm", "Vaginal smear", "Cord blood CBC", "Nabelschnurblut", "Apheresis product",
        "Dialysate cell count",
    ],
)  # fmt: skip
def test_another_material_is_no_blood_count(panel: str) -> None:
    raw = "\r".join([*HEAD[:2], f"OBR|1||F|X^{panel}|||20260302", obx("NEU#", "4.2"), obx("LYM#", "1.4")])
    assert interpretation_json(raw.encode(), SETTINGS)[0]["cbcs"] == []


@pytest.mark.parametrize(
    "panel",
    [
        "血常规+尿素", "血常规,尿酸", "Hemograma, urea", "Blutbild, Harnstoff", "Blutbild Dialyseprofil",
        "CBC dialysis unit", "OAK, мочевина", "Morfologia krwi", "Ascites clinic FBC",
        "Knochenmarkstransplantation: Blutbild", "Gelenkersatz OP: Blutbild",
        "Joint replacement preop labs", "Gelenkersatz Routinelabor",
        "Analítica de sangre y orina", "FBC - Urology", "CBC, joint clinic",
    ],
)  # fmt: skip
def test_a_blood_count_of_a_clinic_for_another_material_is_one(panel: str) -> None:
    raw = "\r".join([*HEAD[:2], f"OBR|1||F|X^{panel}|||20260302", obx("NEU#", "4.2"), obx("LYM#", "1.4")])
    assert interpretation_json(raw.encode(), SETTINGS)[0]["cbcs"][0]["nlr"] == pytest.approx(3)


def test_a_body_fluid_is_no_blood_count() -> None:
    raw = "\r".join([*HEAD[:2], "OBR|1||F|BM^Bone marrow|||20260302", obx("NEU%", "60", "%"), obx("LYM%", "20", "%")])
    assert interpretation_json(raw.encode(), SETTINGS)[0]["cbcs"] == []
