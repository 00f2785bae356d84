"""No logic reads the words that this software makes for people: what it asks about is a code, a kind or a number.

Looked for are the ways in which words have been read: a text method that is given a phrase, a comparison with one, and
SQL that searches in a text. A phrase has a letter beside a space or a colon; names, codes and keys have neither. What
others say (SQLite, pydantic, a scanner's operator) is named with its reason.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PHRASE = re.compile(r"[A-Za-z][:,]? |[A-Za-z]: ?$| [A-Za-z]")
CUTTING = {"removeprefix", "removesuffix", "partition", "rpartition", "split", "rsplit"}
METHODS = {"startswith", "endswith", "find", "index", *CUTTING}
SEARCHED = re.compile(r"\b(?:LIKE|GLOB|REGEXP)\s+('[^']*'|\S+)|\binstr\s*\(([^)]*)")

SQL = (".py", ".sql")

EXCEPTIONS = {
    ("node/operate/doctor.py", "*** in database main ***"): "SQLite's answer to PRAGMA quick_check",
    ("node/settings.py", "Value error, "): "pydantic's own words, taken from before ours",
    ("node/store/earlier.py", "CREATE "): "SQL",
    ("node/store/earlier.py", "UNIQUE "): "SQL",
    ("node/store/earlier.py", "SELECT 1 FROM sqlite_schema WHERE name = ?"): "SQL, whose answer is compared",
    ("node/store/snapshot.py", " AS"): "SQL",
    ("node/store/snapshot.py", "WITH "): "SQL",
    ("node/nightly/report.py", "cid:"): "the address of a picture within a mail (RFC 2392)",
    ("node/nightly/sections/upcoming.py", "reading:"): "the form of a score's source",
    ("node/backfill/cluster_worker.py", "model name"): "a line of /proc/cpuinfo",
    ("node/operate/components.py", "License ::"): "a classifier in the metadata of packages",
    ("node/operate/components.py", "OSI Approved"): "a classifier in the metadata of packages",
    ("node/operate/deidentify.py", " or "): "DICOM's dictionary: kinds of an element that has several",
    ("analytics/vbq/contrast.py", "n a"): "what a scanner's operator writes: n/a",
    ("analytics/vbq/contrast.py", "w o"): "what a scanner's operator writes: w/o",
    ("analytics/vbq/contrast.py", "o km"): "what a scanner's operator writes: o. KM",
    ("analytics/vbq/contrast.py", "s c"): "what a scanner's operator writes: s/c",
    ("node/nightly/drift.py", "new scanner"): "a kind of shift, by the name that records of nights have",
    ("node/nightly/drift.py", "scanner share"): "a kind of shift, by the name that records of nights have",
}
"""By file and phrase, with the reason."""

SQL_EXCEPTIONS = {
    ("node/nightly/retention.py", "r.text || r.html, p.pseudonym"): "study ids, of which a report has the text alone",
    ("node/nightly/retention.py", "r.text || r.html, l.episode"): "study ids, of which a report has the text alone",
    ("node/outgoing/forward.py", "'*[^0-9.]*'"): "the form of a UID",
    ("node/store/snapshot.py", "'reading:%'"): "the form of a score's source",
}
"""What SQL may search for, by file, with the reason."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in ("analytics", "node"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def texts(node: ast.expr) -> Iterator[str]:
    """The literals that an expression holds, of an f-string its fixed parts."""
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def phrases_read(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and phrase wherever a text is asked for a phrase."""
    for node in ast.walk(tree):
        asked: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            asked = list(node.args)
        elif isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        for expression in asked:
            yield from ((node.lineno, text) for text in texts(expression) if PHRASE.search(text))


def words_compared(tree: ast.AST) -> Iterator[int]:
    """Lines on which the words of a reason are compared."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for one in ast.walk(node):
                if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr == "words":
                    yield node.lineno


def test_no_text_is_asked_for_a_phrase() -> None:
    found = {(path, phrase): line for path, tree in sources() for line, phrase in phrases_read(tree)}
    assert {key: line for key, line in found.items() if key not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() - found.keys() == set(), "an exception that is none any more"


def test_no_words_of_reasons_are_compared() -> None:
    assert [f"{path}:{line}" for path, tree in sources() for line in words_compared(tree)] == []


def test_sql_searches_in_no_text() -> None:
    """A migration may: that is how words of before become codes."""
    files = [path for package in ("analytics", "node") for path in (ROOT / package).rglob("*") if path.suffix in SQL]
    found = {
        (str(path.relative_to(ROOT)), one[1] or one[2])
        for path in files
        if path.parent.name != "migrations"
        for one in SEARCHED.finditer(path.read_text(encoding="utf-8"))
    }
    assert found == SQL_EXCEPTIONS.keys()


@pytest.mark.parametrize(
    "code",
    [
        "if reason.startswith('held for '): pass",
        "name = sender.removeprefix('peer ')",
        "name = source.removeprefix('reading:')",
        "held = 'no patient' in detail",
        "held = detail == f'no ratio: {why}'",
        "match detail:\n    case 'no ratio': pass",
    ],
)
def test_what_reads_words_is_found(code: str) -> None:
    assert [line for line, _ in phrases_read(ast.parse(code))]


@pytest.mark.parametrize("code", ["one.startswith('derived_')", "one.code == 'no-ratio'", "'auto' in sources"])
def test_codes_and_keys_are_no_words(code: str) -> None:
    assert list(phrases_read(ast.parse(code))) == []


def test_words_that_are_compared_are_found() -> None:
    assert list(words_compared(ast.parse("if why in reason.words(): pass"))) == [1]
