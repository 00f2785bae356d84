"""The list of a backup in parts, so that the next one takes over what has not changed without reading it.

Each part is a gzip member of its own in the list; the list is read as one file all the same. A second file says where
each part ends and what it is of. Without that file, or when it is not what was stored, nothing is taken over.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from node.operate.sealing import Written

OBJECTS = 1024
"""How many numbers of objects a part is of; a day changes the last part or two."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file of the data folder, and where it is stored."""

    path: str
    """In the data folder."""
    stored: str
    """In the folder of the backups."""
    size_bytes: int
    sha256: str
    """Both of the stored file."""
    source_bytes: int
    changed_ns: int
    """When its content was changed last, by the file system; 0 for a file that never is."""

    @property
    def written(self) -> Written:
        """What the stored file must be."""
        return Written(size_bytes=self.size_bytes, sha256=self.sha256)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some files of a list."""

    key: str
    """Of exactly these objects, stored in this way; empty: to be looked at again each time."""
    files: int
    source_bytes: int
    """Of all its files as they lie in the data folder."""
    stored_bytes: int
    content: bytes = field(repr=False)

    def entries(self) -> Iterator[Entry]:
        """Its files."""
        for line in gzip.decompress(self.content).splitlines():
            path, stored, size, sha256, source, changed = json.loads(line)
            yield Entry(
                path=path, stored=stored, size_bytes=size, sha256=sha256, source_bytes=source, changed_ns=changed
            )


def part_of(key: str, entries: Iterable[Entry]) -> Part:
    """These files as a part."""
    found = list(entries)
    lines = "".join(
        json.dumps([one.path, one.stored, one.size_bytes, one.sha256, one.source_bytes, one.changed_ns]) + "\n"
        for one in found
    )
    return Part(
        key=key,
        files=len(found),
        source_bytes=sum(one.source_bytes for one in found),
        stored_bytes=sum(one.size_bytes for one in found),
        content=gzip.compress(lines.encode(), compresslevel=1, mtime=0),
    )


def key_of(sha256s: Iterable[str], *, suffix: str) -> str:
    """The key of a part that holds all of these objects, stored with this suffix."""
    return hashlib.sha256("\n".join([suffix, *sha256s]).encode()).hexdigest()


def index_of(parts: Iterable[Part]) -> str:
    """What a second file says of the parts of a list."""
    rows = [_about(one) for one in parts]
    return json.dumps({"sha256": _sha256(rows), "parts": rows})


def undivided(content: bytes) -> Part:
    """A list of which it is not known where its parts end: one without a key."""
    return Part(key="", files=0, source_bytes=0, stored_bytes=0, content=content)


def split(content: bytes, index: str | None) -> list[Part] | None:
    """A list in its parts; ``None`` when it is not known where they end."""
    try:
        found = json.loads(index or "")
        whole = found["sha256"] == _sha256(found["parts"])
        parts, start = [], 0
        for row in found["parts"]:
            length = row.pop("length")
            parts.append(Part(**row, content=content[start : start + length]))
            start += length
    except (ValueError, KeyError, TypeError):
        whole, parts, start = False, [], 0
    return parts if whole and start == len(content) else None


def _about(part: Part) -> dict[str, Any]:
    return {name: value for name, value in asdict(part).items() if name != "content"} | {"length": len(part.content)}


def _sha256(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
