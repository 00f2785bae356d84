"""The list of threats and the list of requirements name tests that exist."""

import re
from typing import Any

import pytest

from tests.readme import ROOT, requirements

LIST = ROOT / "node" / "operate" / "THREATS.md"


def test_every_test_that_the_list_names_exists() -> None:
    rows = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line.startswith("|")][2:]
    named = [re.search(r"`([\w/]+\.py)(?:::(\w+))?` \|$", row) for row in rows]
    assert all(named), [row for row, one in zip(rows, named, strict=True) if one is None]
    for one in named:
        assert one is not None
        require(one[1], one[2])


@pytest.mark.parametrize("group", requirements(), ids=lambda group: str(group["about"]))
def test_every_requirement_is_shown_by_tests_that_exist(group: dict[str, Any]) -> None:
    for one in group["requirements"]:
        assert one["tests"], one["must"]
        for test in one["tests"]:
            file, _, name = test.partition("::")
            require(file, name)


def require(file: str, test: str | None) -> None:
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    assert not test or f"def {test}(" in text, f"{file}::{test}"
