"""The parts of the README that are made from the program itself: ``python -m tests.readme`` writes them anew."""

import json
import re
from pathlib import Path
from typing import Any

import typer

from node.cli import app
from node.conf import conf_path

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks() -> dict[str, str]:
    """Each generated block by its name, as it must stand between its markers."""
    settings = conf_path("node.toml").read_text(encoding="utf-8").strip()
    return {"help": _help(), "settings": f"```toml\n{settings}\n```", "views": _views()}


def written(text: str) -> str:
    """The README with its generated blocks as they must be."""
    for name, content in blocks().items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(\n<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"the README has no block {name!r}")
        text = pattern.sub(lambda found, content=content: found[1] + content + found[2], text)
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
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
