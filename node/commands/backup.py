"""Back up and restore."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from node.commands.shell import AsJson, Config, err, open_node, out, print_json
from node.errors import InputError, StoreError
from node.run.program import read_settings
from node.settings import Settings

if TYPE_CHECKING:
    from rich.status import Status


class _MakeUnlessNamed(TyperGroup):
    """``backup DIR`` is ``backup make DIR``: everything that names no command of the group is for that one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["make", *args])


app = typer.Typer()
backup_app = typer.Typer(cls=_MakeUnlessNamed, help="Back up the node while it works, and check its backups.")
app.add_typer(backup_app, name="backup")

KeyFile = Annotated[Path | None, typer.Option("--key", help="File of the secret key, of an encrypted backup.")]
Name = Annotated[str | None, typer.Option("--at", help="Name of the backup (its time, UTC); the newest without it.")]


@backup_app.command("make")
def make(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the backups; without it backup.folder of the settings.")
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="The folder is empty although backups were made there: another disk, say.")
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Back up everything that cannot be derived again, while the node writes: `backup DIR` for short.

    Images and files that an earlier backup in the folder has are not stored again. Exit code 3: done, but the archive
    has lost images, or older backups could not be deleted; `problems` says which and why.
    """
    from node.operate.backup import back_up

    settings = read_settings(config)
    place = _place(folder, settings)
    db, _ = open_node(settings, action="backup")
    with err.status("copying the database") as shown:
        done = back_up(db, settings, place, anew=anew, progress=_progress(shown, "storing"))
    one = done.generation
    lacking = len(one.manifest.lacking)
    if as_json:
        print_json(
            {"backup": one.name, "folder": str(place), "files": one.manifest.files, "new_files": done.new_files,
             "bytes": one.manifest.bytes, "lacking": lacking, "deleted": list(done.pruned),
             "not_deleted": done.not_pruned}
        )  # fmt: skip
    else:
        lines = [
            f"backed up to {place} as {one.name}: {one.manifest.files} files ({one.manifest.bytes / 1e6:.0f} MB) and "
            f"the database ({one.manifest.database_bytes / 1e6:.1f} MB); {done.new_files} files are new",
            *([f"deleted, as backup.keep says: {', '.join(done.pruned)}"] if done.pruned else []),
            *([f"{lacking} images are not in it: their files are missing or damaged"] if lacking else []),
            *([f"older backups were not deleted: {done.not_pruned}"] if done.not_pruned else []),
        ]
        for line in lines:
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    if lacking or done.not_pruned:
        raise typer.Exit(3)


@backup_app.command("verify")
def verify_backup(
    folder: Annotated[Path, typer.Argument(help="Folder of the backups.")],
    at: Name = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Every backup in the folder, not only one.")] = False,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Read every stored byte and see that it is what was stored. With --key an encrypted database is opened too.

    Exit code 1 when something is missing, altered or cut off.
    """
    from node.operate.restore import verify

    with err.status("reading") as shown:
        found = verify(folder, name=at, all_of_them=all_of_them, key=key, progress=_progress(shown, "reading"))
    if as_json:
        print_json(
            [{"backup": one.name, "files": one.manifest.files, "version": one.manifest.version} for one in found]
        )
        return
    for one in found:
        out.print(
            f"{one.name}: whole, {one.manifest.files} files, of vbq-node {one.manifest.version}, schema "
            f"{one.manifest.schema}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


@backup_app.command("list")
def list_backups(
    folder: Annotated[Path | None, typer.Argument(help="Folder of the backups; without it backup.folder.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the backups in a folder."""
    from node.operate.generations import about, generation, names

    place = _place(folder, read_settings(config))
    about(place)
    found = [generation(place, name) for name in names(place)]
    if as_json:
        print_json([{"backup": one.name, "files": one.manifest.files, "bytes": one.manifest.bytes} for one in found])
        return
    for one in found:
        line = f"{one.name}  {one.manifest.files} files, {one.manifest.bytes / 1e6:.0f} MB"
        out.print(line, markup=False, highlight=False)


@backup_app.command("key")
def key(
    file: Annotated[Path, typer.Argument(help="Where the secret key is written; it must not be there yet.")],
) -> None:
    """Make a key for encrypted backups: the secret one to a file, the public one (backup.encrypt_to) is printed.

    The node needs the public one only. Keep the secret one away from the node, twice: without it no backup opens.
    """
    from node.operate.sealing import new_key

    out.print(f'encrypt_to = "{new_key(file)}"', markup=False, highlight=False, soft_wrap=True)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="Folder of the backups.")],
    at: Name = None,
    key: KeyFile = None,
    config: Config = None,
) -> None:
    """Bring a backup back to the data folder of the settings, which must be empty or not there; all of it or nothing.

    Afterwards start the node; an older schema is migrated then. `vbq-node rebuild` derives everything again.
    """
    from node.operate.restore import restore as bring_back

    settings = read_settings(config)
    data = settings.storage.folder
    with err.status("bringing back") as shown:
        done = bring_back(folder, data, name=at, key=key, settings=settings, progress=_progress(shown, "bringing back"))
    # A database of an earlier schema is not opened before it is migrated; its audit then begins with the next look.
    with suppress(StoreError):
        open_node(settings, action="restore", subject=done.name)
    out.print(
        f"restored to {data}: {done.manifest.files} files and the database as of {done.manifest.made_at}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _place(folder: Path | None, settings: Settings) -> Path:
    place = folder or settings.backup.folder
    if place is None:
        raise InputError("name the folder of the backups, or set backup.folder")
    return place


def _progress(shown: "Status", verb: str) -> Callable[[int, int], None]:
    return lambda done, of: shown.update(f"{verb}: {done} of {of} files")
