"""The signature of a pool file (Ed25519): it has not been changed since somebody with that key signed it.

Who holds the key nobody can see from the file. The fingerprint is compared over another way (by telephone) once, and
given to ``pool combine --signer`` from then on.
"""

import base64
import binascii
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from node.errors import InputError, StoreError

KEY_FILE = "pool.key"
"""In the data folder; a site that loses it signs with another one from then on."""
ALGORITHM = "ed25519"


def site_key(folder: Path) -> Ed25519PrivateKey:
    """The key of the node in this data folder; made when it is first needed, readable by its owner alone.

    Raises
    ------
    StoreError
        The file is not such a key.
    OSError
        It cannot be read or written.
    """
    path = folder / KEY_FILE
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        made = Ed25519PrivateKey.generate()
        content = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        unfinished = folder / f".{KEY_FILE}.{os.getpid()}"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(unfinished)  # unlike a rename, never over a key that was made meanwhile
        except FileExistsError:
            return site_key(folder)
        finally:
            unfinished.unlink()
        return made
    except ValueError as error:
        raise StoreError(f"{path} is not a key of this node: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(f"{path} is not an Ed25519 key")
    return key


def signed(content: dict[str, Any], key: Ed25519PrivateKey) -> str:
    """The text of a file: the content and its signature, readable JSON."""
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = {
        "algorithm": ALGORITHM,
        "public_key": base64.b64encode(public).decode(),
        "value": base64.b64encode(key.sign(_canonical(content))).decode(),
    }
    return json.dumps({"content": content, "signature": signature}, ensure_ascii=False, indent=1) + "\n"


def verified(text: str) -> tuple[dict[str, Any], str]:
    """The content of such a file, and the fingerprint of the key that signed it.

    Raises
    ------
    InputError
        The text is no such file, or was changed after it was signed.
    """
    try:
        file = json.loads(text)
        content, signature = file["content"], file["signature"]
        if signature["algorithm"] != ALGORITHM or not isinstance(content, dict):
            raise InputError("it is not signed as this version signs")
        public = base64.b64decode(signature["public_key"], validate=True)
        value = base64.b64decode(signature["value"], validate=True)
        Ed25519PublicKey.from_public_bytes(public).verify(value, _canonical(content))
    except InvalidSignature:
        raise InputError("it was changed after it was signed") from None
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise InputError("it is not a file of `vbq-node pool export`") from None
    return content, hashlib.sha256(public).hexdigest()


def fingerprint(key: Ed25519PrivateKey) -> str:
    """SHA-256 of the public key, 64 hex digits."""
    return hashlib.sha256(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def _canonical(content: dict[str, Any]) -> bytes:
    """The bytes that are signed: keys in order, no layout; a number as Python writes it, which reads back the same."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode(
        "utf-8"
    )
