"""Moves the node's clock in every process that has this folder on its ``PYTHONPATH``, also while it runs.

``VBQ_MOVED_CLOCK`` names a file of eight bytes: seconds to add to the system's clock (a little-endian double).
:func:`node.clock.now` is the one place where the node reads the clock for what it stores; it is replaced before any
module has taken it. Nights are looked for each second instead of each minute.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import mmap
import os
import struct
import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType

SCHEDULE = "node.nightly.schedule"
CHECK_EVERY_S = 1


class _Schedule(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the schedule of the nights, then has it look more often, and wake by the system's clock."""

    def find_spec(self, fullname, path, target=None):
        if fullname != SCHEDULE:
            return None
        self._real = importlib.machinery.PathFinder.find_spec(fullname, path)
        return importlib.util.spec_from_loader(fullname, self, origin=self._real.origin if self._real else None)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        assert self._real is not None
        assert self._real.loader is not None
        module.__file__ = self._real.origin
        self._real.loader.exec_module(module)
        module.CHECK_EVERY_S = CHECK_EVERY_S

        class Scheduler(module.BackgroundScheduler):
            """Wakes by the system's clock: every second since another year would be made up for at once."""

            def add_job(self, *given, **named):
                return super().add_job(*given, **{**named, "next_run_time": datetime.now(UTC)})

        module.BackgroundScheduler = Scheduler


def _move() -> None:
    with open(os.environ["VBQ_MOVED_CLOCK"], "rb") as file:  # noqa: PTH123  # as little as possible is loaded here
        shown = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=struct.unpack("<d", shown[:8])[0])

    import node.clock

    node.clock.now = now
    sys.meta_path.insert(0, _Schedule())


if "VBQ_MOVED_CLOCK" in os.environ:
    _move()
