"""Would the tests of a module notice if it were wrong? Run by hand: ``python -m tests.benchmarks.mutants [NAME …]``.

Cosmic Ray makes the mutants, in an environment of its own. It changes constants, properties and class bodies as well,
where the rules of these modules are; mutmut 3 changes the bodies of undecorated functions only. Two operators join its
own: a number moved by 10 %, and a condition of an SQL text left out or its bound moved.

Each mutant is written into a copy of the tree and tested by the tests of its module alone, in a fork of a process that
has loaded the libraries: a second or two each instead of the many that a new process takes. What no test notices is
shown, with the reason why nothing could notice it where mutants.toml has one. The exit code is 1 where fewer than 90 %
of a module's mutants are noticed.
"""

import argparse
import difflib
import importlib
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
COSMIC_RAY = "cosmic-ray==8.7.0"
GOAL = 0.9
EXPLAINED = Path(__file__).with_name("mutants.toml")

COUNTS, NODE = "tests/analytics", "tests/node"
MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "tiers": ("analytics/episodes/tiers.py", (f"{COUNTS}/test_tiers.py", f"{COUNTS}/test_edges.py")),
    "cuts": ("analytics/episodes/cuts.py", (f"{COUNTS}/test_thresholds.py", f"{COUNTS}/test_calibration.py")),
    "matching": ("analytics/episodes/matching.py", (f"{COUNTS}/test_matching.py", f"{COUNTS}/test_edges.py")),
    "blood": ("analytics/counts/blood.py", (f"{COUNTS}/test_blood.py", f"{COUNTS}/test_edges.py")),
    "thresholds": ("node/people/thresholds.py", (f"{NODE}/test_thresholds.py",)),
    "flags": ("node/nightly/flags.py", (f"{NODE}/test_flags.py", f"{NODE}/test_adopted_offsets.py")),
    "acknowledge": ("node/hl7/acknowledge.py", (f"{NODE}/test_hl7_acknowledge.py",)),
    "archive": ("node/store/archive.py", (f"{NODE}/test_archive.py", f"{NODE}/test_durability.py")),
}
"""By name: the module, and the tests that are its own."""

LIBRARIES = (
    "numpy", "pandas", "scipy.stats", "hypothesis", "pytest", "pydantic", "structlog", "dateutil.relativedelta",
    "sqlite_utils", "pydicom", "pynetdicom", "jinja2",
)  # fmt: skip
"""What forks need not load again; nothing of this project."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A changed module; ``old`` and ``new`` are the lines that differ."""

    operator: str
    line: int
    old: str
    new: str
    source: str

    def __str__(self) -> str:
        return f"{self.line}: {self.old}  →  {self.new}  ({self.operator})"


# ---- in the environment of Cosmic Ray ------------------------------------------------------------------------------
ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_FloorDiv", "Pow_Mul", "BitAnd_BitOr")
COMPARISONS = (
    "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE",
    "GtE_Gt", "GtE_Lt",
)  # fmt: skip
"""The bound moved, and the opposite; others are the same as these wherever words or a counter are compared."""
OPERATORS = (
    "NumberReplacer", "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "ZeroIterationForLoop",
    "ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Not",
    *(f"ReplaceBinaryOperator_{pair}" for pair in ARITHMETIC),
    *(f"ReplaceComparisonOperator_{pair}" for pair in COMPARISONS),
)  # fmt: skip
NO_BEHAVIOUR = re.compile(r"@dataclass\(|[(, ]\*[,)].* → .*/[,)]")
"""How a class or function may be written by who calls it: the type checker and the reader notice these."""


def make_mutants(module: Path) -> Iterator[Mutant]:
    """All mutants of a module, each once."""
    plugins = importlib.import_module("cosmic_ray.plugins")
    mutating = importlib.import_module("cosmic_ray.mutating")
    operators = [(name, plugins.get_operator(f"core/{name}")()) for name in OPERATORS]
    source = module.read_text(encoding="utf-8")
    seen = {source}
    for name, operator in [*operators, ("TenPercent", TenPercent()), ("SqlCondition", SqlCondition())]:
        for occurrence in range(10_000):
            mutated = mutating.mutate_code(source, operator, occurrence)
            if mutated is None:
                break
            mutant = _described(name, source, mutated)
            if mutated not in seen and not NO_BEHAVIOUR.search(f"{mutant.old} → {mutant.new}"):
                seen.add(mutated)
                yield mutant


def _described(name: str, source: str, mutated: str) -> Mutant:
    changed = [line for line in difflib.ndiff(source.splitlines(), mutated.splitlines()) if line[:2] in {"- ", "+ "}]
    old = " ".join(line[2:].strip() for line in changed if line[0] == "-")
    new = " ".join(line[2:].strip() for line in changed if line[0] == "+")
    pairs = enumerate(zip(source.splitlines(), mutated.splitlines(), strict=False), start=1)
    first = next((number for number, (one, other) in pairs if one != other), 0)
    return Mutant(operator=name, line=first, old=old, new=new, source=mutated)


class TenPercent:
    """A number with a decimal point, a tenth more and a tenth less."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Two for each number."""
        if node.type == "number" and re.fullmatch(r"[\d_]*\.[\d_]+(e-?\d+)?", node.value) and float(node.value):
            for _ in range(2):
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The changed node."""
        node.value = repr(float(node.value) * (1.1, 0.9)[index])
        return node


class SqlCondition:
    """A condition that AND adds to an SQL text is left out; a bound that belongs to a range no longer does."""

    AND = re.compile(r"(?: |^)AND [^()]*?(?=\)? AND | ORDER | GROUP | LIMIT |[)\"]|$)", re.MULTILINE)
    BOUND = re.compile(r"(?<=[<>])=")

    def _found(self, node: Any) -> list[re.Match[str]]:
        if node.type not in {"string", "fstring_string"} or not re.search(r"\b(?:WHERE|AND)\b", node.value):
            return []
        return [*self.AND.finditer(node.value), *self.BOUND.finditer(node.value)]

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """One for each condition and bound."""
        for _ in self._found(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """The changed node."""
        found = self._found(node)[index]
        node.value = node.value[: found.start()] + node.value[found.end() :]
        return node


# ---- in the environment of the tests -------------------------------------------------------------------------------
def of_cosmic_ray(folder: Path, module: Path) -> list[Mutant]:
    """The mutants of a module, made in an environment that has Cosmic Ray and nothing else."""
    python = folder / "cosmic-ray" / "bin" / "python"
    if not python.is_file():
        venv.create(python.parents[1], with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", COSMIC_RAY], check=True)
    made = subprocess.run([python, Path(__file__), "--make", module], capture_output=True, text=True, check=True)
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


def run_tests(tree: Path, tests: Sequence[str], *, within_s: float, cpu_s: float) -> bool:
    """Whether all of them pass, in a fork of this process; one that does not end in time has not passed.

    ``cpu_s``, the processor's time, ends an endless loop however busy the machine is; ``within_s`` one that waits.
    """
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(cpu_s), math.ceil(cpu_s) + 1))
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=1", "--basetemp", str(tree.parent / "tmp")]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is loaded already
        os._exit(importlib.import_module("pytest").main([*options, *tests]))
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    else:
        status = 1
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return status == 0
    if not ended:
        os.waitpid(child, 0)
    return status == 0


def survivors(tree: Path, module: str, tests: Sequence[str], mutants: Sequence[Mutant]) -> list[Mutant]:
    """Those that no test notices."""
    file = tree / module
    unchanged = file.read_text(encoding="utf-8")
    began, before = time.monotonic(), os.times()
    if not run_tests(tree, tests, within_s=1800, cpu_s=600):
        raise SystemExit(f"{module}: its tests fail without any mutant")
    after = os.times()
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    within_s, cpu_s = 120 + 8 * (time.monotonic() - began), 10 + 4 * used_s
    found = []
    try:
        for number, mutant in enumerate(mutants, start=1):
            file.write_text(mutant.source, encoding="utf-8")
            if run_tests(tree, tests, within_s=within_s, cpu_s=cpu_s):
                found.append(mutant)
            unmount(tree.parent)
            if sys.stderr.isatty():
                print(f"\r{module}: {number} of {len(mutants)}, {len(found)} unnoticed", end="", file=sys.stderr)
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
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        for mutant in make_mutants(options.make):
            print(json.dumps(asdict(mutant)))
        return 0
    if unknown := set(options.names) - set(MODULES):
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for library in LIBRARIES:
        importlib.import_module(library)
    reached = True
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folder = Path(temporary)
        tree = copy_of_the_tree(folder)
        for name in options.names or MODULES:
            module, tests = MODULES[name]
            mutants = of_cosmic_ray(folder, tree / module)[:: options.every]
            left = survivors(tree, module, tests, mutants)
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
