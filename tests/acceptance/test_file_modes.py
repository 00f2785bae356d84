"""Who may read and change what a running node writes."""

import os
from pathlib import Path

from tests.acceptance.harness import Node


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_a_running_node_writes_is_closed_to_others(node: Node) -> None:
    before = os.umask(0o022)
    try:
        node.start()
        node.settle()
    finally:
        os.umask(before)
    open_paths = [path for path in (node.data, *node.data.rglob("*")) if mode(path) & 0o007]
    writable = [path for path in (node.data, *node.data.rglob("*")) if mode(path) & 0o020]
    assert node.stop() == 0
    assert (open_paths, writable) == ([], [])
    assert (mode(node.data), mode(node.data / "node.db")) == (0o750, 0o640)
