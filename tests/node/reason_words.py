"""Reasons of a derived table in words, for tests that read the tables themselves."""

import json
from collections.abc import Mapping


def in_words(stored: object) -> str:
    """The JSON of the sentences, as the views show them."""
    return json.dumps([one["words"] for one in json.loads(str(stored))], ensure_ascii=False)


def with_words(row: Mapping[str, object]) -> dict[str, object]:
    """A row of a derived table, its reasons in words."""
    return {name: in_words(value) if name.endswith("reasons") else value for name, value in row.items()}
