"""Manual pages, made of the same help as ``--help``: one for the program, one for each command.

References
----------
man(7), man-pages(7): sections and macros.
"""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from node import __version__
from node.commands.shell import out

app = typer.Typer()

NAME = "vbq-node"
EXIT_CODES = {
    0: "Done.",
    1: "A clear error, in one line.",
    2: "A wrong setting or argument.",
    3: "Done, and something in it needs a person.",
}
FILES = {
    "/etc/vbq-node/node.toml": "The settings, where the services read them; conf/node.toml explains every one.",
    "/var/lib/vbq-node": "The data, as storage.folder says.",
}


@app.command("man")
def write_pages(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where they are written; made if it is not there.")],
) -> None:
    """Write the manual pages; `man -l FOLDER/vbq-node.1` shows the first."""
    made = pages(context.find_root().command)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    out.print(f"{len(made)} pages in {folder}", markup=False, highlight=False, soft_wrap=True)


def pages(program: Any) -> dict[str, str]:
    """The pages by file name; typer brings its own copy of click, so no class is asked for."""
    all_commands = list(_commands(program, ()))
    listed = {_page(path): _short(command) for path, command in all_commands}
    made = {
        f"{NAME}.1": _written(
            NAME, program, {"COMMANDS": _items({f"\\fB{_roff(name)}\\fR(1)": text for name, text in listed.items()})}
        )
    }
    for path, command in all_commands:
        made[f"{_page(path)}.1"] = _written(" ".join((NAME, *path)), command, {})
    return made


def _commands(command: Any, path: tuple[str, ...]) -> Any:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in sorted(command.commands.items()):
        if not inner.hidden:
            yield from _commands(inner, (*path, name))


def _page(path: tuple[str, ...]) -> str:
    return "-".join((NAME, *path))


def _short(command: Any) -> str:
    """The first sentence of the help."""
    return re.split(r"(?<=\.)\s|\n\n", " ".join((command.help or "").split("\n\n")[0].split()), maxsplit=1)[0].rstrip(
        "."
    )


def _written(called: str, command: Any, more: dict[str, str]) -> str:
    context = command.context_class(command, info_name=called)
    usage = " ".join(command.collect_usage_pieces(context))
    shown = [record for one in command.get_params(context) if (record := one.get_help_record(context)) is not None]
    paragraphs = [" ".join(one.split()) for one in (command.help or "").split("\n\n")]
    sections = {
        "NAME": f"{_roff(called.replace(' ', '-'))} \\- {_roff(_short(command))}",
        "SYNOPSIS": f"\\fB{_roff(called)}\\fR {_roff(usage)}",
        "DESCRIPTION": "\n.PP\n".join(map(_roff, paragraphs)),
        "OPTIONS": _items({f"\\fB{_roff(name)}\\fR": text for name, text in shown}),
        **more,
        "EXIT STATUS": _items({str(code): text for code, text in EXIT_CODES.items()}),
        "FILES": _items({_roff(path): text for path, text in FILES.items()}),
        "SEE ALSO": "" if called == NAME else f"\\fB{_roff(NAME)}\\fR(1)",
    }
    title = f'.TH "{called.replace(" ", "-").upper()}" 1 "" "vbq-node {__version__}" "Research use only"'
    return "\n".join([title, *(f".SH {name}\n{text}" for name, text in sections.items() if text)]) + "\n"


def _items(shown: dict[str, str]) -> str:
    return "\n".join(f".TP\n{term}\n{_roff(' '.join(text.split()))}" for term, text in shown.items())


def _roff(text: str) -> str:
    """Plain text as it must stand in a page: no sign of it is a command, and a hyphen can be copied as one."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    ascii_only = re.sub(r"[^\x00-\x7f]", lambda sign: f"\\[u{ord(sign[0]):04X}]", escaped)
    return re.sub(r"^([.'])", r"\\&\1", ascii_only, flags=re.MULTILINE)
