"""The key of the node, and the study ids and signatures that only it can make."""

import base64
import hashlib
import hmac

from sqlite_utils import Database


def pseudonym_key(db: Database) -> bytes:
    """The key that this database was made with."""
    (key,) = db.execute("SELECT value FROM fact_site WHERE name = 'pseudonym_key'").fetchone()
    return bytes.fromhex(key)


def pseudonym(key: bytes, prefix: str, name: str) -> str:
    """A study id that only this node can make, and that nobody can turn back: 50 bits of an HMAC-SHA-256."""
    digest = hmac.new(key, name.encode("utf-8"), hashlib.sha256).digest()
    return prefix + base64.b32encode(digest).decode("ascii")[:10]
