"""What every test leaves as it found it, and what holds for a run of the tests as a whole."""

import fcntl
import gc
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import structlog

from tests.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from node.settings import Settings
    from tests.node.web_world import MakeNode

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the workers share the cores; NumPy is not imported yet

hypothesis.settings.register_profile("any machine", deadline=None)  # how long an example takes is the machine's load
hypothesis.settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
"""Real series, messages, readings and R's numbers; not part of the project."""

NOT_PERMITTED = ("mounting", "mount a small")
"""Reasons to skip that hold in CI too: a container without the right to mount."""


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """A command run inside the test process configures logging for the standard error it had; forget that."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """A command run inside the test process narrows its umask; forget that, too."""
    before = os.umask(0o077)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One set for all tests: making keys takes its time."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def make_node(tmp_path_factory: pytest.TempPathFactory) -> "MakeNode":
    """Makes a node with what the pages show, in a folder; derived once for all workers."""
    from tests.node.web_world import fill, settings_in

    own = tmp_path_factory.getbasetemp()
    place = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    made = place / "node-of-the-pages"
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            part = place / "node-of-the-pages.part"
            fill(part)
            part.rename(made)

    def make(folder: Path) -> "Settings":
        shutil.copytree(made, folder, dirs_exist_ok=True)
        return settings_in(folder)

    return make


def in_ci() -> bool:
    """Whether nothing may be skipped for want of a tool or of the reference data."""
    return os.environ.get("CI", "").lower() in {"true", "1"}


def pytest_configure() -> None:
    """Nothing of what is collected is garbage; to look for it took two fifths of the collection."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is there now stays until the end: thousands of tests need not be looked through each time for garbage."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores: a worker waits much of its time for other processes and peers, and sleeps."""
    return len(os.sched_getaffinity(0)) * 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a failure of each skip in CI."""
    report = yield
    if report.skipped and in_ci() and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(words in reason for words in NOT_PERMITTED):
            report.outcome, report.longrepr = "failed", f"in CI nothing is skipped: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last what could not be compared with anything."""
    if not SHARED.is_dir():
        terminalreporter.section("REFERENCE DATA MISSING", sep="!", red=True, bold=True)
        terminalreporter.line(
            f"{SHARED} is not there: no number was compared with R's, no real series was measured, no reader was met."
        )
