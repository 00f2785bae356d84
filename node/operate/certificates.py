"""The certificates that the settings name, and when they end."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from node.settings import Settings

FILES = ("certificate", "ca", "client_ca")
"""Settings of these names are files with certificates."""
SECRETS = ("key", "password_file", "token_file")
"""The same of secrets."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate file, and when the first certificate in it ends; ``None``: it cannot be read."""

    setting: str
    path: Path
    ends_at: datetime | None


def certificates(settings: Settings) -> Iterator[Certificate]:
    """All that the settings name, by the name of the setting."""
    for name, path in _files(settings, "", FILES):
        yield Certificate(setting=name, path=path, ends_at=_ends_at(path))


def secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The files of passwords and keys that the settings name, by the name of the setting."""
    return _files(settings, "", SECRETS)


def _files(value: object, name: str, wanted: Collection[str]) -> Iterator[tuple[str, Path]]:
    if isinstance(value, BaseModel):
        inner = [(field, getattr(value, field)) for field in type(value).model_fields]
    elif isinstance(value, dict):
        inner = list(value.items())
    else:
        return
    for field, one in inner:
        path = f"{name}.{field}" if name else str(field)
        if field in wanted and isinstance(one, Path):
            yield path, one
        else:
            yield from _files(one, path, wanted)


def _ends_at(path: Path) -> datetime | None:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None
    return min(one.not_valid_after_utc for one in found)
