"""The parts of the READMEs that are made from the program itself: ``python -m tests.readme`` writes them anew."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from analytics.columns import CELLS, COHORT, INDICES
from node.cli import app
from node.conf import conf_path
from tests.conformance import codes_block, dicom_blocks, hl7_blocks

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
COMMANDS = ROOT / "node" / "commands" / "README.md"
VIEWS = ROOT / "node" / "store" / "README.md"
SETTINGS = ROOT / "conf" / "README.md"
DICOM = ROOT / "node" / "dicom" / "CONFORMANCE.md"
OUTGOING = ROOT / "node" / "outgoing" / "README.md"
HL7 = ROOT / "node" / "hl7" / "CONFORMANCE.md"
REQUIREMENTS = ROOT / "node" / "REQUIREMENTS.md"
METADATA = ROOT / "conf" / "datasette.json"


def blocks() -> dict[Path, dict[str, str]]:
    """Name and content of the generated blocks of each file."""
    settings = conf_path("node.toml").read_text(encoding="utf-8").strip()
    return {
        COMMANDS: {"help": _help()},
        SETTINGS: {"settings": f"```toml\n{settings}\n```"},
        VIEWS: {"views": _views()},
        DICOM: dicom_blocks(),
        HL7: hl7_blocks(),
        OUTGOING: {"codes": codes_block()},
        REQUIREMENTS: {"requirements": _requirements()},
    }


def requirements() -> list[dict[str, Any]]:
    """What the node must do, in groups, with the tests that show it."""
    text = (ROOT / "tests" / "requirements.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text)["group"])


def _requirements() -> str:
    parts = []
    for group in requirements():
        rows = [
            f"| {one['must']} | {', '.join(f'`{test}`' for test in one['tests'])} |" for one in group["requirements"]
        ]
        parts.append("\n".join([f"## {group['about']}", "", "| the node must | shown by |", "| --- | --- |", *rows]))
    return "\n\n".join(parts)


def metadata() -> str:
    """The Datasette metadata with the columns that ``analytics.columns`` describes."""
    content = json.loads(METADATA.read_text(encoding="utf-8"))
    tables = content["databases"]["node"]["tables"]
    tables["cohort"]["columns"] |= {one.name: one.meaning for one in COHORT}
    missing = "; null when it cannot be had honestly"
    tables["blood_counts"]["columns"] |= {f"{name}_10e9_per_l": f"{name.capitalize()} in 10⁹/L" for name in CELLS} | {
        one.name: one.meaning + missing for one in INDICES
    }
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def written(path: Path, contents: Mapping[str, str]) -> str:
    """A file with its generated blocks as they must be."""
    text = path.read_text(encoding="utf-8")
    for name, content in contents.items():
        before, begin, rest = text.partition(f"<!-- begin {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- end {name} -->")
        if not (begin and end):
            raise SystemExit(f"{path} has no block {name!r}")
        text = f"{before}{begin}{content}{end}{after}"
    return text


def _help() -> str:
    parts = []
    for path, command in commands():
        context = command.context_class(command, info_name=" ".join(("vbq-node", *path)), max_content_width=100)
        context.terminal_width = 100
        parts.append(f"### `{' '.join(('vbq-node', *path))}`\n\n```text\n{command.get_help(context).strip()}\n```")
    return "\n\n".join(parts)


def commands() -> list[tuple[tuple[str, ...], Any]]:
    """Every command with its path, such as ``("reading", "add")``."""
    return _commands(typer.main.get_command(app), ())


def _commands(command: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    """Every command under a group with its path; typer brings its own copy of click, so no class is asked for."""
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [found for name, inner in command.commands.items() for found in _commands(inner, (*path, name))]


def _views() -> str:
    tables = json.loads(conf_path("datasette.json").read_text(encoding="utf-8"))["databases"]["node"]["tables"]
    parts = []
    for name, view in tables.items():
        rows = "\n".join(f"| `{column}` | {text} |" for column, text in view["columns"].items())
        parts.append(f"**`{name}`** — {view['description']}\n\n| column | what it is |\n| --- | --- |\n{rows}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    METADATA.write_text(metadata(), encoding="utf-8")
    for path, contents in blocks().items():
        path.write_text(written(path, contents), encoding="utf-8")
