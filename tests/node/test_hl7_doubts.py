"""What the laboratory does not stand by is not used for the ratio that it spoils; what it denies is no doubt."""

from typing import Any

import pytest

from node.settings import Hl7, Sender, Settings
from tests.node.test_hl7_names import HEAD, obx, read

ROWS = (obx("751-8^N^LN", "4.0"), obx("731-0^L^LN", "2.0"), obx("777-3^P^LN", "85"))
BOTH, NO_PLR, NO_NLR, NEITHER = (2.0, 42.5), (2.0, None), (None, 42.5), (None, None)


def ratios(*rows: str, settings: Settings | None = None) -> tuple[Any, Any]:
    (found,) = read(*rows, **({"settings": settings} if settings else {}))["cbcs"]
    assert found["status"] == "final", found
    return found["nlr"], found["plr"]


@pytest.mark.parametrize(
    "text",
    [
        "Platelet clumps present, count unreliable",
        "PLT aggregates seen on smear",
        "Thrombozyten verklumpt",
        "Thrombozytenaggregate im Ausstrich, bitte Citratblut",
        "EDTA-induzierte Pseudothrombozytopenie",
        "Amas plaquettaires: numération non fiable",
        "Agrégats plaquettaires présents",
        "Agregados plaquetarios",
        "Aggregati piastrinici",
        "Agregação plaquetária",
        "Plaatjesaggregaten aanwezig",
        "Agregaty płytek krwi",
        "Shluky trombocytů",
        "Trombosyttien aggregaatteja",
        "Trombosit kümeleri izlendi",
        "Агрегаты тромбоцитов",
        "血小板聚集，建议枸橼酸钠抗凝复查",
        "血小板凝集あり",
        "혈소판 응집 관찰됨",
        "Tiểu cầu kết tụ",
        "Agregasi trombosit positif",
        "Platelet count unreliable",
        "Bloedplaatjes geaggregeerd",
        "Plaquettes agglutinées",
        "Trombosyyttikasaumia",
        "Trombocyti nahlučené",
        "Αθροίσεις αιμοπεταλίων",
        "Platelet count may be underestimated",
        "Large platelets, count may be inaccurate",
        "Trombotsüütide agregaadid",
        "Blóðflögukekkir",
        "Trombosit aqreqatları",
        "تكتلات الصفائح الدموية",
        "צברי טסיות",
        "พบเกล็ดเลือดจับกลุ่ม",
        "血小板成团",
        "PLT kümeli",
        "تجمعات الصفائح الدموية",
        "Suspected EDTA-induced thrombocytopenia",
        # What is denied beside it is something else.
        "Platelet clumps present, no blasts seen",
        "Thrombozytenaggregate, Blasten nicht nachweisbar",
        "Shluky trombocytů přítomny, blasty nenalezeny",
        "Agrégats plaquettaires, blastes non retrouvés",
        "Агрегаты тромбоцитов, бласты не обнаружены",
        "血小板聚集，未见幼稚细胞",
        "血小板凝集あり、芽球なし",
        "Not a clean draw: platelet clumps",
        # What cannot be counted for it, or cannot be excluded.
        "Không đếm được do tiểu cầu kết tụ",
        "Not counted because of platelet clumps",
        "Platelet clumping cannot be excluded",
        "No se descartan agregados plaquetarios",
        "Nie można wykluczyć agregatów płytek",
        "不排除血小板聚集",
        # What is said of other cells, or asked for, beside it.
        "Leukozyten kontrolliert, Thrombozyten aggregiert",
        "New citrate tube ordered, platelets clumped",
        "Platelet clumps, test repeated",
    ],
)
def test_clumped_platelets_make_no_plr(text: str) -> None:
    assert ratios(*ROWS, f"NTE|1|L|{text}") == NO_PLR
    assert ratios(ROWS[0], f"NTE|1|L|{text}", *ROWS[1:]) == NO_PLR, "wherever it stands"
    assert ratios(f"NTE|1|L|{text}", *ROWS) == NO_PLR, "below the order"
    assert ratios(*ROWS, f"OBX|9|TX|C^Comment||{text}||||||F") == NO_PLR


@pytest.mark.parametrize(
    "text",
    [
        "Specimen clotted",
        "Sample partially clotted, please repeat",
        "Probe geronnen",
        "Gerinnsel in der Probe",
        "Prélèvement coagulé",
        "Muestra coagulada",
        "Campione coagulato",
        "Amostra coagulada",
        "Skrzep w próbce",
        "Vzorek sražený",
        "Numune pıhtılı",
        "Образец со сгустками",
        "标本有凝块",
        "検体凝固",
        "검체 응고",
        "Haemolysed sample",
        "Probe stark hämolytisch",
        "Échantillon hémolysé",
        "标本溶血",
        "Wrong tube: serum received",
        "Falsches Röhrchen",
        "Tubo incorrecto",
        "采血管错误",
        "Quantity not sufficient",
        "Probenmenge nicht ausreichend",
        "Quantité de sang insuffisante, volume insuffisant",
        "标本量不足",
        "Sample diluted by infusion",
        "Mit Infusion verdünnt",
        "No clumps, sample clotted",
        "Sample mislabelled at source",
        "Wrong blood in tube suspected",
        "Probenverwechslung",
        "Prélèvement d'un autre patient",
        "Muestra mal etiquetada",
        "Campione di un altro paziente",
        "Próbka innego pacjenta",
        "検体取り違えの疑い",
        "다른 환자 검체",
        "Sample too old for differential",
        "Probe überaltert",
        "标本放置过久",
        "Blood frozen on arrival",
        "Taken from drip arm",
        "Proov hüübinud",
        "Mėginys sukrešėjęs",
        "Paraugs sarecējis",
        "Vzorec koaguliran",
        "عينة متجلطة",
        "דגימה קרושה",
        "نمونه لخته شده",
        "IV contamination, please repeat collection",
        "Probe mit Infusion verdünnt, bitte Kontrolle",
        "输液稀释,建议复查",
        "輸液混入の疑い 再検お願いします",
        "Specimen drawn above IV",
        "Пробата е коагулирала",
    ],
)
def test_a_spoilt_specimen_makes_no_ratio(text: str) -> None:
    assert ratios(*ROWS, f"NTE|1|L|{text}") == NEITHER
    assert ratios(f"NTE|1|L|{text}", *ROWS) == NEITHER
    assert ratios(*ROWS, "OBX|4|NM|787-2^MCV^LN||88|fL|||||F", f"NTE|1|L|{text}") == NEITHER


@pytest.mark.parametrize(
    "text",
    [
        "No platelet clumps seen",
        "No clumps. No clots.",
        "no clots, platelet clumps or fibrin",
        "Checked for platelet clumps: none",
        "Platelet aggregates not observed",
        "keine Gerinnsel",
        "Keine Thrombozytenaggregate nachweisbar",
        "Nicht hämolytisch",
        "sans agrégats",
        "Absence d'amas plaquettaires",
        "Sin agregados plaquetarios",
        "Assenza di aggregati piastrinici",
        "Sem agregados plaquetários",
        "Geen stolsels",
        "Bez skrzepów",
        "Agregáty trombocytů: neprokázány. Bez shluků",
        "Trombosit kümesi görülmedi",
        "Агрегаты тромбоцитов не обнаружены",
        "未见聚集",
        "未见血小板聚集，无凝块",
        "血小板凝集なし",
        "혈소판 응집 없음",
        "Không thấy tiểu cầu kết tụ",
        "Patient on anticoagulants",
        "History of blood clots",
        "Renal insufficiency, haemolytic anaemia",
        "slight haemolysis",
        "Sample diluted 1:10 for count",
        "Leukozytenaggregate",
        "结果仅供参考",
        "Results verified by repeat analysis. Large platelets seen.",
        "If platelet clumps are present the count may be too low",
        "Platelet function test not ordered",
        "Aggregation study ordered separately",
        "No sample mix-up found",
        "Probenidentität geprüft, keine Verwechslung",
        "Serum frozen for later testing",
        "Fresh frozen plasma given yesterday",
        "Mixed connective tissue disease",
        "凝血时间过长",
        "Clot activator tube for serum also received",
        "Unlabelled antibodies",
        "Trombotsüütide agregaate ei esine",
        "Trombocitų agregatų nerasta",
        "Fără agregate trombocitare",
        "Trombocitni agregati niso prisotni",
        "لا توجد تكتلات صفائح",
        "ללא צברי טסיות",
        "לא נצפו צברי טסיות",
        "Agregatów płytek nie obserwowano",
        "Nie stwierdzono blastów ani agregatów płytkowych",
        "Shluky trombocytů nenalezeny",
        "Nu se observă agregate trombocitare",
        "Агрегатів тромбоцитів не виявлено",
        "血小板凝集は認められません",
        "未见异常细胞及血小板聚集",
        "Aggregate: nein",
        "Agregaty: nie",
        "Clumps? No",
        "Platelet clumps [-]",
        "Clot check OK",
        "RBC agglutination",
        "Verdünnt nachgemessen",
    ],
)
def test_a_denial_or_something_else_is_no_doubt(text: str) -> None:
    for rows in ((*ROWS, f"NTE|1|L|{text}"), (f"NTE|1|L|{text}", *ROWS), (*ROWS, f"OBX|9|TX|C^Comment||{text}||||||F")):
        assert ratios(*rows) == BOTH


def test_a_sentence_over_several_lines_is_one() -> None:
    assert ratios(*ROWS, "NTE|1|L|No evidence of", "NTE|2|L|platelet clumps") == BOTH
    assert ratios(*ROWS, "NTE|1|L|Many platelet", "NTE|2|L|clumps") == NO_PLR


@pytest.mark.parametrize(
    "lines",
    [
        ["Platelet clumps present", "No blasts seen"],
        ["No blasts seen", "Platelet clumps present"],
        ["Blasten: keine", "Thrombozyten aggregiert"],
        ["Agrégats plaquettaires", "Blastes absents"],
        ["血小板聚集", "未见幼稚细胞"],
        ["No haemolysis, platelet clumps on smear"],
        ["Plaquettes", "agrégées"],
    ],
)
def test_a_denial_of_another_line_or_statement_denies_nothing(lines: list[str]) -> None:
    assert ratios(*ROWS, *(f"NTE|{number}|L|{line}" for number, line in enumerate(lines, start=1))) == NO_PLR


@pytest.mark.parametrize(
    "lines",
    [
        ["Nie stwierdzono", "agregatów płytek"],
        ["No fibrin strands", "or platelet clumps"],
        ["Platelet clumps", "not seen"],
        ["Smear shows no", "platelet clumps"],
        ["No clots,", "platelet clumps or fibrin"],
    ],
)
def test_a_denial_goes_on_where_its_sentence_does(lines: list[str]) -> None:
    assert ratios(*ROWS, *(f"NTE|{number}|L|{line}" for number, line in enumerate(lines, start=1))) == BOTH


STATED = (
    "Platelet clumps present",
    "Thrombozyten verklumpt",
    "Агрегаты тромбоцитов",
    "血小板凝集あり",
    "Agregados plaquetarios",
)
BESIDE = (
    "no blasts seen",
    "Blasten: keine",
    "blastes absents",
    "бласты не обнаружены",
    "芽球なし",
    "WBC verified",
    "no haemolysis",
)


@pytest.mark.parametrize("stated", STATED)
def test_whatever_is_said_beside_it_a_doubt_stands(stated: str) -> None:
    for text in (
        first + gap + second
        for gap in (", ", "; ", ". ", "\\.br\\")
        for one in BESIDE
        for first, second in ((stated, one), (one, stated))
    ):
        assert ratios(*ROWS, f"NTE|1|L|{text}") == NO_PLR, text


def test_all_lines_of_a_text_result_are_read() -> None:
    assert ratios(*ROWS, "OBX|9|TX|C^Comment||Smear reviewed~Platelets clumped||||||F") == NO_PLR
    assert ratios(*ROWS, "OBX|9|FT|C^Comment||No blasts\\.br\\Platelets clumped||||||F") == NO_PLR


def test_a_general_doubt_is_about_the_result_above_it() -> None:
    assert ratios(ROWS[0], ROWS[1], "NTE|1|L|result not reliable", ROWS[2]) == NEITHER, "PLR has lymphocytes as well"
    assert ratios(*ROWS, "NTE|1|L|result not reliable") == NO_PLR
    assert ratios(*ROWS, "OBX|4|NM|787-2^MCV^LN||88|fL|||||F", "NTE|1|L|questionable") == BOTH, "of the MCV"
    assert ratios(*ROWS, "NTE|1|L|Differential unreliable") == NEITHER
    assert ratios("NTE|1|L|Differentialblutbild nicht verwertbar", *ROWS) == NEITHER


@pytest.mark.parametrize(
    "text",
    [
        "Specimen received more than 48 hours after collection, results may be unreliable",
        "Ergebnisse fraglich",
        "Résultats non interprétables",
        "标本不可靠",
        "Результаты недостоверны",
        "Sample questionable",
    ],
)
def test_a_general_doubt_of_the_sample_or_its_results_is_about_all_of_them(text: str) -> None:
    assert ratios(*ROWS, f"NTE|1|L|{text}") == NEITHER
    assert ratios(*ROWS, "OBX|4|NM|787-2^MCV^LN||88|fL|||||F", f"NTE|1|L|{text}") == BOTH, "of what stands above it"


def test_leukocytes_times_percent_does_not_bring_a_spoilt_count_back() -> None:
    rows = (*ROWS, "NTE|1|L|Differential unreliable", obx("26478-8^LY^LN", "28.5", "%"), obx("6690-2^W^LN", "7.0"))
    assert ratios(*rows)[1] is None


def test_a_manual_differential_stands_beside_a_doubtful_automated_one() -> None:
    manual = (obx("751-8^N^LN", "4.0"), obx("731-0^L^LN", "2.0"), obx("777-3^P^LN", "85"))
    by_hand = tuple(row.replace("751-8^N", "753-4^N manual").replace("731-0^L", "732-8^L manual") for row in manual[:2])
    assert ratios(*manual, "NTE|1|L|Automated differential unreliable", *by_hand)[0] == 2.0


@pytest.mark.parametrize(
    ("flags", "expected"), [("~A", NO_PLR), ("L~A", NO_PLR), ("A", BOTH), ("L", BOTH), ("*", BOTH)]
)
def test_suspect_flags_of_analysers(flags: str, expected: tuple[Any, Any]) -> None:
    assert ratios(ROWS[0], ROWS[1], f"OBX|3|NM|777-3^P^LN||85|10*9/L||{flags}|||F") == expected


def flagged(*rows: tuple[str, str, str, str]) -> tuple[Any, Any]:
    """Rows of name, value, range and flags."""
    return ratios(
        *(
            f"OBX|{n}|NM|{name}||{value}|10*9/L|{limits}|{flags}|||F"
            for n, (name, value, limits, flags) in enumerate(rows)
        )
    )


def test_a_flag_at_all_values_outside_the_range_says_no_more_than_the_range() -> None:
    """As a BC-5380 and a BC-6800 send them: ~N at values inside, H~A and L~A at those outside."""
    neutrophils = ("751-8^N^LN", "9.0", "2.00-7.00", "H~A")
    usual = (("731-0^L^LN", "2.0", "0.80-4.00", "~N"), ("777-3^P^LN", "250", "100-300", "~N"))
    assert flagged(neutrophils, *usual) == (4.5, 125.0)
    few = ("777-3^P^LN", "60", "100-300", "L~A")
    assert flagged(neutrophils, usual[0], few) == (4.5, None), "few platelets may be clumps"
    assert flagged(neutrophils, usual[0], ("777-3^P^LN", "60", "100-300", "L~N")) == (None, 30.0), "N beside L"
    assert flagged(neutrophils, ("731-0^L^LN", "2.0", "0.80-4.00", "~A"), usual[1]) == (None, None)


@pytest.mark.parametrize(("limits", "expected"), [("0.8-4.0", NEITHER), ("2.5-4.0", BOTH), ("", BOTH), ("< 4", BOTH)])
def test_abnormal_inside_the_range_is_a_doubt(limits: str, expected: tuple[Any, Any]) -> None:
    assert ratios(ROWS[0], f"OBX|2|NM|731-0^L^LN||2.0|10*9/L|{limits}|A|||F", ROWS[2]) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("OBX|9|IS|12014^Platelet Clump^99MRC||T||||||F", NO_PLR),
        ("OBX|9|NM|PLT_Clumps?^PLT_Clumps?||160||||||F", NO_PLR),
        ("OBX|9|NM|PLT_Clumps?^PLT_Clumps?||20||||||F", BOTH),
        ("OBX|9|IS|12014^Platelet Clump^99MRC||F||||||F", BOTH),
        ("OBX|9|ST|x^Platelet clumps||negative||||||F", BOTH),
        ("OBX|9|ST|x^Thrombozytenaggregate||positiv||||||F", NO_PLR),
        ("OBX|9|ST|x^Blutgerinnsel||nein||||||F", BOTH),
    ],
)
def test_flags_by_name(row: str, expected: tuple[Any, Any]) -> None:
    assert ratios(*ROWS, row) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (24, "CLOT^Clotted^HL70493", NEITHER),
        (21, "RC^Clotting^HL70490", NEITHER),
        (24, "X9^Geronnen^L", NEITHER),
        (24, "LIVE~X9^凝血", NEITHER),
        (24, "^Not clotted", BOTH),
        (14, "Clotted specimen", NEITHER),
        (14, "Venous blood, EDTA, no clots", BOTH),
        (24, "COOL^Cool^HL70493", BOTH),
        (24, "", BOTH),
        (24, "FROZ^Frozen^HL70493", NEITHER),
        (11, "Q^Control specimen^HL70369", NEITHER),
        (11, "P^Patient^HL70369", BOTH),
    ],
)
def test_the_state_of_the_specimen(field: int, value: str, expected: tuple[Any, Any]) -> None:
    spm = ["SPM", "1", "S1", "", "BLD", *[""] * 20]
    spm[field] = value
    assert ratios(*ROWS, "|".join(spm)) == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [(39, "^Sample clotted", NEITHER), (39, "^Easy draw", BOTH), (13, "DVT, blood clot left leg", BOTH)],
)
def test_the_collectors_comment_is_heard_and_what_the_clinic_says_of_the_patient_is_not(
    field: int, value: str, expected: tuple[Any, Any]
) -> None:
    obr = ["OBR", "1", "P1", "F1", "CBC", "", "", "202603020830", *[""] * 32]
    obr[field] = value
    assert ratios("|".join(obr), *ROWS) == expected


def test_another_tube_of_the_same_message_says_nothing_of_this_one() -> None:
    chemistry = ("OBR|2|P1|F2|CHEM|||202603020830", "OBX|1|NM|K||6.9|mmol/L|||||F", "NTE|1|L|Haemolysed")
    assert ratios(*ROWS, *chemistry) == BOTH


def test_below_a_row_of_another_tube_its_state_says_nothing_of_this_one() -> None:
    serum = ("OBX|9|NM|2823-3^Potassium^LN||6.9|mmol/L|||||F", "NTE|1|L|Sample haemolysed")
    assert ratios(*ROWS, *serum) == BOTH
    assert ratios(*ROWS, serum[0], "NTE|1|L|Platelet clumps") == NO_PLR


def test_the_reason_is_said() -> None:
    (found,) = read(*ROWS, "NTE|1|L|Platelet clumps of Mrs Doe")["cbcs"]
    (note,) = found["notes"]
    assert "platelets clumped" in note
    assert "Doe" not in str(found["notes"])


# Numbers with marks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "H 2.0",
        "2.0 H",
        "2.0+",
        "2.0 ↑",
        "L 2.0",
        "2.0-",
        "2.0 (L)",
        "2.0 10^9/L",
        "2.0▼",
        "2.0 low",
        "2.0 Niedrig",
        "2.0 偏低",
    ],
)
def test_marks_of_high_and_low_are_read(value: str) -> None:
    assert ratios(ROWS[0], obx("731-0^L^LN", value), ROWS[2]) == BOTH


@pytest.mark.parametrize("value", ["2.0*", "*2.0", "2.0!", "R 2.0", "2.0 @", "2.0?", "2.0 &", "2.0 see below"])
def test_other_marks_hold_the_count(value: str) -> None:
    (found,) = read(ROWS[0], obx("731-0^L^LN", value), ROWS[2])["cbcs"]
    assert (found["status"], found["nlr"], found["plr"]) == ("held", None, None)
    assert any("mark" in note for note in found["notes"])


def test_a_decimal_comma_with_a_mark_is_read_where_the_sender_writes_commas() -> None:
    row = obx("731-0^L^LN", "2,0 ↓")
    (found,) = read(ROWS[0].replace("4.0", "4,0"), row, ROWS[2])["cbcs"]
    assert found["status"] == "held"
    commas = Settings(hl7=Hl7(senders={"LAB|H": Sender(decimal_comma=True)}))
    assert ratios(ROWS[0].replace("4.0", "4,0"), row, ROWS[2], settings=commas) == BOTH


@pytest.mark.parametrize("value", ["-----", "pending", "<0.1", "n/a", "clumped"])
def test_what_is_no_number_stays_none_and_holds_nothing(value: str) -> None:
    assert ratios(ROWS[0], ROWS[1], obx("777-3^P^LN", value)) == NO_PLR


# The code in OBX-4 -------------------------------------------------------------------------------------------------


def test_an_analyser_that_has_its_code_in_obx_4() -> None:
    rows = [f"OBX||NM|0|{code}|{value}|10*9/L||||F" for code, value in (("NEUT#", 4), ("LYM#", 2), ("PLT", 85))]
    assert ratios(*rows) == BOTH
    assert ratios(*(row.replace("|0|", "||") for row in rows)) == BOTH
    (found,) = read(*(row.replace("||||F", "||||X") for row in rows))["cbcs"]
    assert found["status"] == "withdrawn"


def test_obx_4_of_a_named_row_is_no_code() -> None:
    assert HEAD
    assert ratios(*(row.replace("||", "|LYM#|", 1) for row in ROWS)) == BOTH
