"""Results as plain dicts, lists, strings and numbers, with the words of their reasons and the codes beside them."""

from dataclasses import fields, is_dataclass
from typing import Any

from analytics.reasons import Reason, codes, to_dict, words


def to_plain(result: Any) -> dict[str, Any]:
    """As :func:`dataclasses.asdict`, but for reasons.

    A field ``reason`` that is a :class:`Reason` becomes its words, with ``reason_code`` beside it; ``alerts``, several
    of them, their words, with ``alert_codes``; ``omitted``, numbers by reason, numbers by words, with
    ``omitted_codes``, a list of code, values and n.
    """
    content: dict[str, Any] = {}
    for field in fields(result):
        name, value = field.name, getattr(result, field.name)
        content[name] = _plain(value)
        if field.type in (Reason, Reason | None):
            content |= {name: None if value is None else value.words(), f"{name}_code": value and value.code}
        elif field.type == tuple[Reason, ...]:
            content |= {name: words(value), f"{name.removesuffix('s')}_codes": codes(value)}
        elif field.type == dict[Reason, int]:
            counted = [{**to_dict(reason), "n": number} for reason, number in value.items()]
            content |= {name: in_words(value), f"{name}_codes": counted}
    return content


def in_words(counted: dict[Reason, int]) -> dict[str, int]:
    """Numbers by reason as numbers by its words."""
    return {str(reason): number for reason, number in counted.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type | Reason):
        return to_plain(value)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
