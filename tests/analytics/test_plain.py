"""Results as plain dicts: words where words were, and the codes beside them."""

import json
from dataclasses import dataclass

from analytics.methods.plain import to_plain
from analytics.methods.rows import Refusal
from analytics.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Whole:
    part: Refusal | None
    parts: tuple[Refusal, ...]
    instead: Reason | None
    alerts: tuple[Reason, ...]


FEW = Reason("too-few-pairs", {"pairs": 3, "needed": 5})
LACKING = Reason("no-finite-value", {"columns": ("nlr", "plr")})
REFUSAL = Refusal(reason=FEW, n_rows=4, n_used=3, omitted={LACKING: 1})
PLAIN = {
    "reason": "insufficient: 3 pairs, 5 are needed",
    "reason_code": "too-few-pairs",
    "n_rows": 4,
    "n_used": 3,
    "omitted": {"no finite value of nlr, plr": 1},
    "omitted_codes": [{"code": "no-finite-value", "values": {"columns": ["nlr", "plr"]}, "n": 1}],
}


def test_a_reason_has_its_words_and_its_code() -> None:
    assert REFUSAL.to_json_dict() == PLAIN


def test_reasons_are_found_in_every_part() -> None:
    found = to_plain(Whole(part=REFUSAL, parts=(REFUSAL,), instead=FEW, alerts=(FEW, LACKING)))
    assert found == {
        "part": PLAIN,
        "parts": [PLAIN],
        "instead": "insufficient: 3 pairs, 5 are needed",
        "instead_code": "too-few-pairs",
        "alerts": ["insufficient: 3 pairs, 5 are needed", "no finite value of nlr, plr"],
        "alert_codes": ["too-few-pairs", "no-finite-value"],
    }
    assert json.loads(json.dumps(found)) == found


def test_what_is_not_there_has_its_keys() -> None:
    assert to_plain(Whole(part=None, parts=(), instead=None, alerts=())) == {
        "part": None, "parts": [], "instead": None, "instead_code": None, "alerts": [], "alert_codes": [],
    }  # fmt: skip
