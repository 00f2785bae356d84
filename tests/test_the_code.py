"""What the linter does not hold: functions that stay small, and a reason beside every check that is put off."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MOST_PATHS = 20
"""Cyclomatic complexity, counted as radon does: conditions inside comprehensions and every ``and`` are paths too."""
PATHS = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.comprehension, ast.ExceptHandler, ast.match_case,
    ast.Assert,
)  # fmt: skip
PUT_OFF = re.compile(r"#\s*(?:noqa|type:\s*ignore|nosec)")
WITH_REASON = re.compile(r"# (?:noqa: [A-Z]+\d+(?:, [A-Z]+\d+)*|type: ignore\[[a-z-]+(?:,[a-z-]+)*\])  # \S.*")


def files(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (REPOSITORY / room).rglob("*.py"))


def paths(function: ast.AST) -> int:
    """The independent paths through a function and what is defined in it."""
    found = 1
    for node in ast.walk(function):
        found += isinstance(node, PATHS)
        if isinstance(node, ast.comprehension):
            found += len(node.ifs)
        elif isinstance(node, ast.BoolOp):
            found += len(node.values) - 1
        elif isinstance(node, ast.For | ast.AsyncFor | ast.While | ast.Try):
            found += bool(node.orelse)
    return found


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(): return 1", 1),
        ("def f(a, b): return 1 if a and b else 2", 3),
        ("def f(a): return [x for x in a if x if x > 1]", 4),
        ("def f(a):\n for x in a: pass\n else: return 1", 3),
        ("def f(a):\n try:\n  for x in a: assert x\n except ValueError: pass\n", 4),
    ],
)
def test_paths_are_counted_as_radon_counts_them(text: str, expected: int) -> None:
    assert paths(ast.parse(text).body[0]) == expected


def test_functions_are_small_enough_to_be_read() -> None:
    large = {
        f"{path.relative_to(REPOSITORY)}:{function.lineno} {function.name}": count
        for path in files("node", "analytics")
        for function in functions(path)
        if (count := paths(function)) > MOST_PATHS
    }
    assert large == {}


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
