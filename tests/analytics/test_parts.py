"""Parts of the body by name, in the words of radiology departments."""

import pytest

from analytics.vbq.parts import named_parts

LUMBAR = [
    "MRI lumbar spine", "LSPINE", "L-Spine", "L/S SPINE", "LWS", "MRT Lendenwirbelsäule nativ", "IRM rachis lombaire",
    "RM colonna lombare", "RM coluna lombar", "Columna lumbosacra", "MR ländrygg", "MR lændehvirvelsøjle",
    "MR korsryggen",
    "lannerangan MRI", "MR kręgosłupa lędźwiowego", "MR kregoslupa ledzwiowego", "MR krgosupa ldwiowego",
    "MR bederní páteře", "ágyéki gerinc MR", "МРТ пояснично-крестцового отдела", "МРТ ПОП", "МРТ поперекового відділу",
    "lomber MR", "腰椎MRI", "腰骶椎", "요추 MRI", "MRI 腰椎 平扫", "Lumbale wervelkolom",
    "RM rachide L-S", "MR LS páteře", "MR LS-columna", "MR hrbtenica LS", "MRI LWK", "MRI ΟΜΣΣ", "LSS MRI", "TL SPINE",
    "Rug L1-S1", "MR lülisamba nimmeosa", "MRI กระดูกสันหลังส่วนเอว",
    "MR ländkotpelare", "MR Spine LS", "MRI L5S1",
]  # fmt: skip
OTHER = [
    "MRI C-spine", "HWS", "BWS", "颈椎", "頸椎MRI", "胸椎", "경추", "흉추", "IRM rachis cervical", "RM rachide dorsale",
    "МРТ шейного отдела", "МРТ головного мозга", "MR szyjny", "MRT Schädel", "IRM genou", "RM ginocchio", "MRT Knie",
    "MR Hüfte", "MRT Becken", "膝関節", "頭部MRI", "腹部", "МРТ коленного сустава", "RM cerebral", "Prostata MR",
    "RM columna torácica",
]  # fmt: skip
NEITHER = [
    "MR",
    "t1_tse_sag",
    "T2 TIRM cor",
    "localizer",
    "MRT",
    "sag t1 km",
    "plomb",
    "flash ls",
    "MR whole spine",
    "Ganze Wirbelsäule",
    "wls",
    "Wirbelsäule",
    "",
    "shipment",
    "columbia",
    "dors",
]


@pytest.mark.parametrize("text", LUMBAR)
def test_the_lumbar_spine_is_known(text: str) -> None:
    assert "lumbar" in named_parts([text.lower()])


@pytest.mark.parametrize("text", LUMBAR)
def test_it_is_no_other_part_as_well(text: str) -> None:
    assert named_parts([text.lower()]) == {"lumbar"}


@pytest.mark.parametrize("text", OTHER)
def test_another_part_is_known(text: str) -> None:
    found = named_parts([text.lower()])
    assert found
    assert "lumbar" not in found


@pytest.mark.parametrize("text", NEITHER)
def test_what_names_no_part_names_none(text: str) -> None:
    assert named_parts([text.lower()]) == frozenset()
