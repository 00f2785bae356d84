"""Where the files of ``conf/`` are, in a checkout and in an installed package."""

from pathlib import Path


def conf_path(name: str) -> Path:
    """The path of a file of ``conf/``: inside the installed package, else beside it in the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf" / name
    return installed if installed.is_file() else package.parent / "conf" / name
