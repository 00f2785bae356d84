"""Files that are there whole or not at all; those that must be, also after a loss of power."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from node.store.whole_file import write_whole


def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the disk is asked for, in its order."""
    found: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted(descriptor: int) -> None:
        of_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        found.append("sync of the folder" if of_folder else f"sync of {os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        found.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", renamed)
    return found


@pytest.mark.parametrize(
    ("durable", "order"), [(True, ["sync of 3 bytes", "rename", "sync of the folder"]), (False, ["rename"])]
)
def test_what_must_outlive_a_loss_of_power_is_on_the_disk_before_and_after_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, order: list[str]
) -> None:
    asked = seen(monkeypatch)
    write_whole(tmp_path / "a", b"abc", durable=durable)
    assert asked == order
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a", b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    fails: Callable[[int], None] = full
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left") as raised:
        write_whole(tmp_path / "a", b"after", durable=True)
    assert raised.value.filename == str(tmp_path / "a")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
