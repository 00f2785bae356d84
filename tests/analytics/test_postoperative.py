"""Descriptions that say that an operation went before, and those that only look like it."""

import pytest

from analytics.episodes.postoperative import is_postoperative


@pytest.mark.parametrize(
    "text",
    [
        "MRI L-SPINE POSTOP", "LWS post-op", "post op. Kontrolle", "LWS postoperativ", "t1_sag_postop",
        "IRM postopératoire",
        "RM postoperatoria", "RM pós-operatório", "post surgical lumbar", "L-Spine s/p fusion",
        "Z.n. Spondylodese L4/5",
        "Zustand nach OP", "LWS nach Dekompression", "status post laminectomy", "RM kręgosłupa po operacji",
        "pooperacyjny",
        "腰椎术后", "腰椎MRI 術後", "요추 수술 후", "МРТ послеоперационный контроль", "lomber ameliyat sonrası",
        "POSTOP2",
        "Status post op", "MR efter operation", "POST FUSION L4-S1", "control postquirúrgico",
        "Lumbar status post L4-5 laminectomy", "Z.n. L4/5 Dekompression", "Lumbar hx of discectomy",
        "prior fusion L4-S1",
        "Failed back surgery syndrome", "FBSS", "Műtét utáni LS gerinc", "leikkauksen jälkeen",
    ],
)  # fmt: skip
def test_postoperative(text: str) -> None:
    assert is_postoperative([None, text])


@pytest.mark.parametrize(
    "text",
    [
        "t1 sag post", "T1 POST GD", "post contrast", "Postero-lateral", "LWS nativ", "pre/post op protocol",
        "L-SPINE PREOP",
        "post KM", "t1_tse_sag_POST", "Posture study", "LWS nach KM", "after contrast", "Z.n. Trauma", "posterior",
        "Portal op 3", "postop/preop", "LWS präoperativ", "腰椎术前", "Sag T1 po kontrastu", "Nachoperation", "",
        "OP 2 post", "after conservative therapy before surgery", "history of low back pain", "prior MRI",
        "nach Trauma L1",
    ],
)  # fmt: skip
def test_harmless(text: str) -> None:
    assert not is_postoperative([text])
