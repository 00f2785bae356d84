"""The list of threats names tests that exist."""

import re

from tests.readme import ROOT

LIST = ROOT / "node" / "operate" / "THREATS.md"


def test_every_test_that_the_list_names_exists() -> None:
    rows = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line.startswith("|")][2:]
    named = [re.search(r"`([\w/]+\.py)(?:::(\w+))?` \|$", row) for row in rows]
    assert all(named), [row for row, one in zip(rows, named, strict=True) if one is None]
    for one in named:
        assert one is not None
        text = (ROOT / "tests" / one[1]).read_text(encoding="utf-8")
        assert one[2] is None or f"def {one[2]}(" in text, one[0]
