"""Files of a backup as they lie on its disk: copied, or sealed by age for whoever holds the key, and hashed on the way.

age (https://age-encryption.org/v1) seals for a public key; what it sealed is opened with the secret one, by this
software or by the program ``age`` alone, and what was altered or cut off does not open. The node needs only the public
key.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyrage

from node.errors import InputError, SettingsError, StoreError
from node.store.private import make_file

SEALED = ".age"
"""Suffix of a sealed file."""
CHUNK_BYTES = 1024 * 1024
CLONE = 0x40049409
"""FICLONE of ioctl_ficlone(2): both files share their blocks until one is written."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file that has been stored: its size and SHA-256 as it lies there, sealed where it is."""

    size_bytes: int
    sha256: str


class _Hashing:
    """A file that hashes what is read or written, and keeps the error of its disk: age says it in its own way."""

    def __init__(self, file: IO[bytes], *digests: "hashlib._Hash") -> None:
        self._file, self._digests = file, digests
        self.count_bytes = 0
        self.error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        with self._kept():
            piece = self._file.read(size)
        self._take(piece)
        return piece

    def write(self, piece: bytes) -> int:
        self._take(piece)
        with self._kept():
            return self._file.write(piece)

    def flush(self) -> None:
        with self._kept():
            self._file.flush()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            raise

    def _take(self, piece: bytes) -> None:
        self.count_bytes += len(piece)
        for digest in self._digests:
            digest.update(piece)


def recipient(text: str) -> Any:
    """The public key ``age1…`` for which files are sealed.

    Raises
    ------
    SettingsError
        It is none.
    """
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise SettingsError(f"backup.encrypt_to: no public key of age ({error}); make one: backup key FILE") from error


def new_key(path: Path) -> str:
    """Write a new secret key to a file that must not be there yet; returns the public one.

    Raises
    ------
    InputError
        The file is there, or cannot be written.
    """
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    except OSError as error:
        raise InputError(f"cannot write the key {path}: {error.strerror}; name a file that is not there yet") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"# public key: {public}\n{identity}\n")
    return public


def identities(path: Path | None) -> list[Any]:
    """The secret keys of a file as ``age-keygen`` or :func:`new_key` writes it; none without a file.

    Raises
    ------
    InputError
        The file cannot be read, or holds no key.
    """
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="ascii").split()
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line.startswith("AGE-SECRET-KEY-")]
    except OSError as error:
        raise InputError(f"cannot read the key {path}: {error.strerror}") from error
    except (UnicodeDecodeError, ValueError, pyrage.IdentityError) as error:
        raise InputError(f"{path} holds no secret key of age") from error
    if not found:
        raise InputError(f"{path} holds no secret key of age")
    return found


def put(source: Path, final: Path, *, sealed_for: Any, link: bool = False, digests: Sequence[Any] = ()) -> Written:
    """Store a file under its name, whole or not at all; durable once the disk is synchronised.

    Parameters
    ----------
    sealed_for
        The public key; ``None``: as it is.
    link
        The file is never written again: on the same file system it need not be copied.
    digests
        Hashes that take what is read of the source.

    Raises
    ------
    OSError
        It cannot be read or written; nothing is left under the name.
    """
    temporary = final.with_name(f".{final.name}.new")
    temporary.unlink(missing_ok=True)
    digest = hashlib.sha256()
    try:
        with source.open("rb") as file:
            reader = _Hashing(file, *digests)
            if sealed_for is not None:
                with _made(temporary) as target:
                    writer = _Hashing(target, digest)
                    _seal(reader, writer, sealed_for)
                written = Written(size_bytes=writer.count_bytes, sha256=digest.hexdigest())
            else:
                shared = link and _shared(source, file, temporary)
                reader = _Hashing(file, digest, *digests)
                _copy(reader, None if shared else temporary)
                written = Written(size_bytes=reader.count_bytes, sha256=digest.hexdigest())
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _seal(reader: _Hashing, writer: _Hashing, sealed_for: Any) -> None:
    try:
        pyrage.encrypt_io(reader, writer, [sealed_for])
        writer.flush()
    except (pyrage.EncryptError, OSError) as error:
        raise reader.error or writer.error or error from error


def get(stored: Path, target: Path | None, *, expected: Written, keys: Sequence[Any]) -> None:
    """Bring a stored file back, or with no target only see that it is what was stored.

    Raises
    ------
    StoreError
        It is missing, not what was stored, or not for one of the keys.
    OSError
        The target cannot be written.
    """
    digest = hashlib.sha256()
    try:
        file = stored.open("rb")
    except OSError as error:
        raise StoreError(f"{stored}: {error.strerror}") from error
    with file:
        reader = _Hashing(file, digest)
        if stored.suffix == SEALED and target is not None:
            _open_sealed(reader, stored, target, keys)
        _copy(reader, None if stored.suffix == SEALED else target)
    if (reader.count_bytes, digest.hexdigest()) != (expected.size_bytes, expected.sha256):
        if target is not None:
            target.unlink(missing_ok=True)
        raise StoreError(f"{stored} is not what was stored: altered, or cut off")


def _open_sealed(reader: _Hashing, stored: Path, target: Path, keys: Sequence[Any]) -> None:
    if not keys:
        raise StoreError(f"{stored} is encrypted; name the file of the secret key with --key")
    try:
        with _made(target) as file:
            writer = _Hashing(file)
            pyrage.decrypt_io(reader, writer, list(keys))
            writer.flush()
    except (pyrage.DecryptError, OSError) as error:
        target.unlink(missing_ok=True)
        if disk := reader.error or writer.error:
            raise disk from error
        if isinstance(error, pyrage.DecryptError):
            raise StoreError(f"{stored} does not open ({error}); is it the key of this backup?") from error
        raise StoreError(f"{stored} is not what was stored: altered, or cut off") from error


def _copy(reader: _Hashing, target: Path | None) -> None:
    """Read to the end, and write what is read where there is a target."""
    if target is None:
        while reader.read(CHUNK_BYTES):
            pass
        return
    with _made(target) as file:
        while piece := reader.read(CHUNK_BYTES):
            file.write(piece)


def _made(path: Path) -> IO[bytes]:
    make_file(path)
    return path.open("wb")


def _shared(source: Path, file: IO[bytes], target: Path) -> bool:
    """Whether both files could be made to share their blocks, or be one."""
    if file.fileno() and os.fstat(file.fileno()).st_dev != target.parent.stat().st_dev:
        return False
    with suppress(OSError):
        with _made(target) as clone:
            fcntl.ioctl(clone.fileno(), CLONE, file.fileno())
        return True
    target.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(source, target)
        return True
    return False
