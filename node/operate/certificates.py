"""The certificates that the settings name: from when to when they hold, and whether their keys fit."""

import os
import ssl
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from node.settings import Settings
from node.tls import no_passphrase

FILES = ("certificate", "ca", "client_ca")
"""Settings of these names are files with certificates."""
SECRETS = ("key", "password_file", "token_file")
"""The same of secrets."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate file, when the first in it begins, and when the earliest ends; ``None``: it cannot be read."""

    setting: str
    path: Path
    begins_at: datetime | None
    ends_at: datetime | None


def certificates(settings: Settings) -> Iterator[Certificate]:
    """All that the settings name, by the name of the setting."""
    for name, path in _files(settings, "", FILES):
        begins_at, ends_at = _from_to(path)
        yield Certificate(setting=name, path=path, begins_at=begins_at, ends_at=ends_at)


def misfits(settings: Settings) -> Iterator[tuple[str, str]]:
    """Certificates that no connection can be made with by their key, by the name of the setting, and why.

    What cannot be read is left out: of it :func:`certificates` and :func:`secret_files` tell.
    """
    keys = dict(_files(settings, "", ("key",)))
    for name, certificate in _files(settings, "", ("certificate",)):
        key = keys.get(f"{name.rpartition('.')[0]}.key")
        if key is None or not (os.access(key, os.R_OK) and os.access(certificate, os.R_OK)):
            continue
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=no_passphrase)
        except ssl.SSLError as error:
            said = "is of another certificate" if error.reason == "KEY_VALUES_MISMATCH" else f"cannot be used: {error}"
            yield name, f"{key} {said}"
        except OSError as error:
            yield name, f"{key}: {error}"


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


def _from_to(path: Path) -> tuple[datetime, datetime] | tuple[None, None]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None, None
    return found[0].not_valid_before_utc, min(one.not_valid_after_utc for one in found)
