"""The short name of an object or a message: one length, in Python and in every SQL file."""

import re

import pytest

from node.store import schema
from node.store.public_id import DIGITS, public_id


def test_a_short_name_is_twelve_digits() -> None:
    """NIST's SHA-256 of "abc" begins with ba7816bf8f01."""
    assert public_id("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == "ba7816bf8f01"


@pytest.mark.parametrize("name", ["views.sql", "derived.sql"])
def test_the_sql_cuts_every_sha256_at_the_same_digit(name: str) -> None:
    text = (schema.FOLDER / name).read_text(encoding="utf-8")
    lengths = re.findall(r"substr\((?:\w+\.)?sha256, 1, (\d+)\)", text)
    assert set(lengths) <= {str(DIGITS)}
    assert lengths or name != "views.sql"


def test_no_python_cuts_a_sha256_by_itself() -> None:
    found = [
        path.name
        for path in schema.FOLDER.parent.rglob("*.py")
        if path.name != "public_id.py" and re.search(r"sha256\[:12\]|sha256, 1, 12\)", path.read_text(encoding="utf-8"))
    ]
    assert not found
