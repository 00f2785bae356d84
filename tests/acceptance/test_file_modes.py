"""Who may read and change what a running node writes."""

import os
from contextlib import suppress
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
    modes = {}
    for path in (node.data, *node.data.rglob("*")):
        with suppress(FileNotFoundError):  # a snapshot in the making has its name by now
            modes[path] = mode(path)
    assert node.stop() == 0
    assert [path for path, bits in modes.items() if bits & 0o027] == []
    assert (mode(node.data), mode(node.data / "node.db")) == (0o750, 0o640)
