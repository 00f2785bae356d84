"""The mutants of a module, as Cosmic Ray makes them: run in an environment that has it, and nothing of this project."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


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
            if mutated in seen or not _is_python(mutated):
                continue
            mutant = _described(name, source, mutated)
            if not NO_BEHAVIOUR.search(f"{mutant.old} → {mutant.new}"):
                seen.add(mutated)
                yield mutant


def _is_python(source: str) -> bool:
    """Not so where the stars of a call or a mapping were taken for an operator."""
    try:
        compile(source, "", "exec")
    except SyntaxError:
        return False
    return True


def _described(name: str, source: str, mutated: str) -> Mutant:
    before, after = source.splitlines(), mutated.splitlines()
    while before[-1] == after[-1]:
        del before[-1], after[-1]
    first = next(number for number, (one, other) in enumerate(zip(before, after, strict=False)) if one != other)
    old, new = (" ".join(line.strip() for line in lines[first:]) for lines in (before, after))
    return Mutant(operator=name, line=first + 1, old=old, new=new, source=mutated)


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


if __name__ == "__main__":
    for one in make_mutants(Path(sys.argv[1])):
        print(json.dumps(asdict(one)))
