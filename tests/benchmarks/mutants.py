"""Would the tests of a module notice if it were wrong? Run by hand: ``python -m tests.benchmarks.mutants [NAME …]``.

Cosmic Ray makes the mutants, in an environment of its own. It changes constants, properties and class bodies as well,
where the rules of these modules are; mutmut 3 changes the bodies of undecorated functions only. Two operators join its
own: a number moved by 10 %, and a condition of an SQL text left out or its bound moved.

Each mutant is tested by the tests of its module alone, the short before the long, until one fails. Where the body of a
function differs it is put into a fork of a process that has collected the tests: some hundredths of a second for most.
All others, and those that nothing noticed there, are written into a copy of the tree whose tests are collected anew, in
a fork of a process that has loaded whatever does not depend on the module. What no test notices is shown, with the
reason why nothing could notice it where mutants.toml has one. The exit code is 1 where fewer than 90 % of a module's
mutants are noticed.
"""

import argparse
import gc
import importlib
import inspect
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import hypothesis
import pytest

from tests.benchmarks import mutations
from tests.benchmarks.mutations import Mutant

REPOSITORY = Path(__file__).resolve().parents[2]
COSMIC_RAY = "cosmic-ray==8.7.0"
GOAL = 0.9
EXPLAINED = Path(__file__).with_name("mutants.toml")

COUNTS, NODE = "tests/analytics", "tests/node"
MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tiers": ("analytics/episodes/tiers.py", (f"{COUNTS}/test_tiers.py", f"{COUNTS}/test_edges.py")),
    "cuts": ("analytics/episodes/cuts.py", (f"{COUNTS}/test_thresholds.py", f"{COUNTS}/test_calibration.py")),
    "matching": ("analytics/episodes/matching.py", (f"{COUNTS}/test_matching.py", f"{COUNTS}/test_edges.py")),
    "blood": (
        "analytics/counts/blood.py",
        (f"{COUNTS}/test_blood.py", f"{COUNTS}/test_blood_rows.py", f"{COUNTS}/test_edges.py"),
    ),
    "thresholds": ("node/people/thresholds.py", (f"{NODE}/test_thresholds.py",)),
    "flags": ("node/nightly/flags.py", (f"{NODE}/test_flags.py", f"{NODE}/test_adopted_offsets.py")),
    "acknowledge": ("node/hl7/acknowledge.py", (f"{NODE}/test_hl7_acknowledge.py",)),
    "archive": ("node/store/archive.py", (f"{NODE}/test_archive.py", f"{NODE}/test_durability.py")),
}
"""By name: the module, and the tests that are its own."""

# What fails on a mutant need not be made small, nor kept for the next one.
QUICK = "fails at once"
hypothesis.settings.register_profile(
    QUICK, deadline=None, database=None, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
)


def of_cosmic_ray(folder: Path, module: Path) -> list[Mutant]:
    """The mutants of a module, made in an environment that has Cosmic Ray and nothing else."""
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(python.parents[1], with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", "--no-compile", COSMIC_RAY], check=True)
    made = subprocess.run([python, mutations.__file__, module], capture_output=True, text=True, check=True)
    return [Mutant(**json.loads(line)) for line in made.stdout.splitlines()]


def copy_of_the_tree(folder: Path) -> Path:
    """What the tests need, beside the same reference data."""
    tree = folder / "tree"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        source = REPOSITORY / name
        if name and source.is_file() and not name.startswith("findings/"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, tree / name)
    (folder / "shared").symlink_to(REPOSITORY.parent / "shared")
    return tree


@dataclass(frozen=True, kw_only=True)
class Course:
    """How the tests ran without any mutant."""

    durations_s: Mapping[str, float]
    """Processor's time by the name of the test."""
    loaded: Sequence[str]
    """All modules."""


class Recorder:
    """Plugin of pytest that writes the :class:`Course`."""

    def __init__(self, to: Path) -> None:
        self.to = to
        self.durations_s: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Time a test with its fixtures."""
        began = time.process_time()
        try:
            return (yield)
        finally:
            self.durations_s[item.nodeid] = time.process_time() - began

    def pytest_sessionfinish(self) -> None:
        """Write it."""
        course = Course(durations_s=self.durations_s, loaded=list(sys.modules))
        self.to.write_text(json.dumps(asdict(course)), encoding="utf-8")


class ShortFirst:
    """Plugin of pytest that orders the tests."""

    def __init__(self, course: Course) -> None:
        self.durations_s = course.durations_s

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put short ones first."""
        items.sort(key=lambda item: self.durations_s.get(item.nodeid, math.inf))


def forked(*, within_s: float, cpu_s: float) -> Callable[[], bool] | None:
    """Fork; in the child that is ``None``, in the parent what waits for it and says whether it ended with 0 in time.

    ``cpu_s``, the processor's time, ends an endless loop however busy the machine is; ``within_s`` one that waits.
    """
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(cpu_s), math.ceil(cpu_s) + 1))
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        return None

    def passes() -> bool:
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            time.sleep(0.01)
        else:
            status = 1
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if not ended:
            os.waitpid(child, 0)
        return status == 0

    return passes


def run_tests(tree: Path, tests: Sequence[str], plugin: object = None, *, within_s: float, cpu_s: float) -> bool:
    """Whether all of them pass, in a fork of this process; one that does not end in time has not passed."""
    passes = forked(within_s=within_s, cpu_s=cpu_s)
    if passes:
        return passes()
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    # Only what is loaded without any mutant may be kept: of a mutant neither size nor second need differ.
    sys.dont_write_bytecode = not isinstance(plugin, Recorder)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1" if sys.dont_write_bytecode else ""
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=1", "--hypothesis-profile", QUICK]
    options += ["--basetemp", str(tree.parent / "tmp")]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is loaded already
    os._exit(pytest.main([*options, *tests], plugins=[plugin] if plugin else []))


def bodies(code: CodeType) -> dict[str, CodeType]:
    """The functions and methods of a module, by qualified name; not those within functions."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType) and "<" not in one.co_qualname]
    found = {one.co_qualname: one for one in inner if one.co_flags & inspect.CO_NEWLOCALS}
    for body in inner:
        if body.co_qualname not in found:  # of a class
            found |= bodies(body)
    return found


def changed_body(mutant: Mutant, unchanged: str, module: ModuleType) -> tuple[FunctionType, CodeType] | None:
    """The function that a mutant changes, with its new body; ``None`` for a constant, a default or a decorator."""
    old, new = (bodies(compile(source, module.__file__ or "", "exec")) for source in (unchanged, mutant.source))
    differing = [name for name in new if old[name] != new[name]]
    if len(differing) != 1:
        return None
    (name,) = differing
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part)
        found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    found = inspect.unwrap(found) if callable(found) else None
    return (found, new[name]) if isinstance(found, FunctionType) else None


class Forks(ShortFirst):
    """Plugin of pytest that tests mutants of functions in forks of a process that has collected the tests.

    What called such a function before, as for the parameter of a test, called the old one: mutants that nothing
    notices here are to be tested anew.
    """

    def __init__(
        self, file: Path, mutants: Sequence[Mutant], course: Course, to: Path, *, within_s: float, cpu_s: float
    ) -> None:
        super().__init__(course)
        self.file, self.mutants, self.to = file, mutants, to
        self.limits = {"within_s": within_s, "cpu_s": cpu_s}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Test all, and write the numbers of those that are noticed."""
        unchanged = self.file.read_text(encoding="utf-8")
        module = next(one for one in [*sys.modules.values()] if getattr(one, "__file__", None) == str(self.file))
        noticed = []
        for number, mutant in enumerate(self.mutants):
            changed = changed_body(mutant, unchanged, module)
            if changed is None:
                continue
            self.file.write_text(mutant.source, encoding="utf-8")
            passes = forked(**self.limits)
            if passes is None:
                changed[0].__code__ = changed[1]
                os._exit(self.first_failure(session))
            elif not passes():
                noticed.append(number)
                self.to.write_text(json.dumps(noticed), encoding="utf-8")
            unmount(self.to.parent)
        return True

    @staticmethod
    def first_failure(session: pytest.Session) -> int:
        """Run the tests until one fails."""
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                break
        return session.testsfailed


class UnderTest:
    """Finder of modules that refuses those under test; what imports one of them is not loaded then either."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.names = {module.removesuffix(".py").replace("/", ".") for module in modules}

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Never one of its own."""
        if name in self.names:
            raise ImportError(name)
        return None


def load_what_stays(tree: Path, names: Sequence[str], under_test: Sequence[str]) -> None:
    """Load, of some modules, the libraries and what of the project depends on no module under test.

    A module that a function imports is loaded in the forks, with whatever the mutant is.
    """
    refuse = UnderTest(under_test)
    sys.path.insert(0, str(tree))
    sys.meta_path.insert(0, refuse)
    try:
        for name in names:
            if name.partition(".")[0] not in {"tests", "__main__", "__mp_main__", "conftest"}:
                with suppress(ImportError):
                    importlib.import_module(name)
    finally:
        sys.meta_path.remove(refuse)
        sys.path.remove(str(tree))


def survivors(
    tree: Path, module: str, tests: Sequence[str], mutants: Sequence[Mutant], *, under_test: Sequence[str]
) -> list[Mutant]:
    """Those that no test notices.

    Parameters
    ----------
    under_test
        All modules of which this process tests mutants.
    """
    file, written = tree / module, tree.parent / "course.json"
    unchanged = file.read_text(encoding="utf-8")
    for options in (["--collect-only"], []):
        began, before = time.monotonic(), os.times()
        if not run_tests(tree, [*options, *tests], Recorder(written), within_s=1800, cpu_s=600):
            raise SystemExit(f"{module}: its tests fail without any mutant")
        course = Course(**json.loads(written.read_text(encoding="utf-8")))
        load_what_stays(tree, course.loaded, under_test)
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
        compiled.unlink()
    gc.freeze()  # the forks' collections of garbage need not look at it
    after = os.times()
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    within_s, cpu_s = 600 + 8 * (time.monotonic() - began), 5 + 3 * used_s
    found = []
    noticed = tree.parent / "noticed.json"
    noticed.write_text("[]", encoding="utf-8")
    forks = Forks(file, mutants, course, noticed, within_s=within_s, cpu_s=cpu_s)
    if not run_tests(tree, tests, forks, within_s=math.inf, cpu_s=3600):
        raise SystemExit(f"{module}: its tests cannot be run in forks")
    known = set(json.loads(noticed.read_text(encoding="utf-8")))
    anew = [mutant for number, mutant in enumerate(mutants) if number not in known]
    print(f"{module}: {len(known)} of {len(mutants)} noticed at once", file=sys.stderr, flush=True)
    try:
        for mutant in anew:
            file.write_text(mutant.source, encoding="utf-8")
            if run_tests(tree, tests, ShortFirst(course), within_s=within_s, cpu_s=cpu_s):
                found.append(mutant)
                print(f"  {mutant}", file=sys.stderr, flush=True)
            unmount(tree.parent)
    finally:
        file.write_text(unchanged, encoding="utf-8")
    # What a mutant leaves behind may fail every test after it, which then notices nothing.
    if not run_tests(tree, tests, within_s=within_s, cpu_s=cpu_s):
        raise SystemExit(f"{module}: after the mutants its tests fail without any: not to be believed")
    return found


def unmount(folder: Path) -> None:
    """Free what tests that did not end have left mounted: nobody can delete a folder in use."""
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=True)


def explained() -> dict[tuple[str, str, str], str]:
    """Why a mutant cannot be noticed, by module and the lines that differ."""
    listed = tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))
    return {(name, one["old"], one["new"]): one["why"] for name, ones in listed.items() for one in ones}


def main() -> int:
    """Run the mutants of some modules or of all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(MODULES)}; all unless given")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th mutant")
    parser.add_argument("--cosmic-ray", type=Path, metavar="FOLDER", help="keep its environment there for the next run")
    options = parser.parse_args()
    if unknown := set(options.names) - set(MODULES):
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    reached = True
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folder = Path(temporary)
        tree = copy_of_the_tree(folder)
        chosen = {name: MODULES[name] for name in options.names or MODULES}
        for name, (module, tests) in chosen.items():
            mutants = of_cosmic_ray(options.cosmic_ray or folder / "cosmic-ray", tree / module)[:: options.every]
            left = survivors(tree, module, tests, mutants, under_test=[one for one, _ in chosen.values()])
            noticed = 1 - len(left) / len(mutants)
            reached &= noticed >= GOAL
            print(f"{name}: {len(mutants) - len(left)} of {len(mutants)} noticed ({noticed:.1%})", flush=True)
            known = explained()
            for mutant in left:
                why = known.get((name, mutant.old, mutant.new), "NOT EXPLAINED")
                print(f"  {mutant}\n      {why}", flush=True)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
