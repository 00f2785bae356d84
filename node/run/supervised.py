"""A role as the supervisor starts it: ``python -m node ROLE --supervised [--config FILE]``.

Not by way of the command line, whose libraries and other commands a role does not need: a fifth of the processor time
of its start, and 5 MB.
"""

from collections.abc import Sequence
from pathlib import Path

from node.run.program import read_settings, run_program
from node.run.roles import run_role
from node.store.database import open_database

MARK = "--supervised"


def command(name: str, config: Path | None) -> list[str]:
    """The arguments by which :func:`main` starts a role."""
    return [name, MARK, *([] if config is None else ["--config", str(config)])]


def main(arguments: Sequence[str]) -> None:
    """Run the role that the arguments name."""
    name, _, *named = arguments
    config = Path(named[1]) if named else None

    def work() -> None:
        settings = read_settings(config)
        # The supervisor has made the database: a role started again must not make another when the folder is gone.
        open_database(settings.storage.folder).close()
        run_role(name, settings, supervised=True)

    run_program(work)
