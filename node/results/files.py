"""The bytes of results that are files: durable before they are recorded, under their SHA-256, never changed."""

import hashlib
import os
from pathlib import Path

from node.store.private import FOLDER_MODE
from node.store.whole_file import sync_folder

RESULTS_FOLDER = "results"
FILE_MODE = 0o440


class ResultFiles:
    """The folder ``results/`` under the data folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / RESULTS_FOLDER

    def path(self, sha256: str) -> Path:
        """Where the bytes with this digest are, or would be."""
        return self._root / sha256[:2] / sha256

    def put(self, content: bytes) -> str:
        """Keep some bytes; when this returns they survive power loss. Returns their SHA-256.

        Raises
        ------
        OSError
            The disk is full or fails.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        final = self.path(sha256)
        final.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        temporary = final.with_name(f".{sha256}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), FILE_MODE)
            os.fsync(file.fileno())
        temporary.replace(final)
        for folder in (final.parent, self._root, self._root.parent):
            sync_folder(folder)
        return sha256
