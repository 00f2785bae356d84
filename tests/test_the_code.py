"""What the linter does not hold: a reason beside every check that is put off."""

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PUT_OFF = re.compile(r"#\s*(?:noqa|type:\s*ignore|nosec)")
WITH_REASON = re.compile(r"# (?:noqa: [A-Z]+\d+(?:, [A-Z]+\d+)*|type: ignore\[[a-z-]+(?:,[a-z-]+)*\])  # \S.*")


def files(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (REPOSITORY / room).rglob("*.py"))


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def test_a_check_that_is_put_off_says_which_and_why() -> None:
    """Of the tests, mypy reads nothing: there is nothing of it to put off."""
    without = [
        f"{path.relative_to(REPOSITORY)}:{line} {text}"
        for path in files("node", "analytics", "tests")
        for line, text in comments(path)
        if PUT_OFF.search(text)
        if not WITH_REASON.fullmatch(text) or ("type:" in text and "tests" in path.relative_to(REPOSITORY).parts[:1])
    ]
    assert without == []
