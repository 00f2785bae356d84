"""Who may read the data folder: its owner and its group, nobody else; and who may work in it: its owner."""

import grp
import os
import pwd
import stat
from pathlib import Path

from node.errors import StoreError

UMASK = 0o027
"""Umask of everything that the node writes: nothing for others, no writing for the group."""
FOLDER_MODE = 0o777 & ~UMASK
DATABASE_MODE = 0o666 & ~UMASK


def make_folder(folder: Path) -> None:
    """Make a data folder that others cannot read; one that is there stays as it is.

    Raises
    ------
    OSError
        It cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file that others cannot read, or take their rights away from one that is there.

    Raises
    ------
    OSError
        It cannot be made, or its rights cannot be changed.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, DATABASE_MODE)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & UMASK:
            os.fchmod(descriptor, mode & ~UMASK)
    finally:
        os.close(descriptor)


def require_owner(folder: Path) -> None:
    """Refuse to work in the data folder of another user.

    What is written there as root, say, the node could not change afterwards.

    Raises
    ------
    StoreError
        The folder belongs to somebody else.
    OSError
        It cannot be looked at.
    """
    owner, me = folder.stat().st_uid, os.geteuid()
    if owner != me:
        raise StoreError(
            f"the data folder {folder} belongs to user {_name(owner)}, and this command runs as {_name(me)}; "
            f"run it as that user: sudo -u {_name(owner)} vbq-node …"
        )


def open_to_others(*paths: Path) -> list[Path]:
    """Those of the paths which users can read or write that are neither the owner nor of the group."""
    return [path for path in paths if path.exists() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH)]


def share(path: Path, *, within: Path, group: str) -> str | None:
    """Let a group read one file of a data folder, and everybody pass the folders to it, which show nothing by that.

    Returns
    -------
    str or None
        Why it could not be done.
    """
    try:
        gid = grp.getgrnam(group).gr_gid
        if path.stat().st_gid != gid:
            os.chown(path, -1, gid)
        path.chmod(DATABASE_MODE)
        for folder in path.parents:
            mode = stat.S_IMODE(folder.stat().st_mode)
            if not mode & stat.S_IXOTH:
                folder.chmod(mode | stat.S_IXOTH)
            if folder == within:
                break
    except KeyError:
        return f"there is no group {group}"
    except OSError as error:
        return (
            f"{path} cannot be given to the group {group}, of which {_name(os.geteuid())} has to be: {error.strerror}"
        )
    return None


def not_shared(path: Path, *, within: Path, group: str) -> str | None:
    """Why a group cannot read a file that is shared with it; ``None``: it can, or the file is not made yet."""
    try:
        if not path.exists():
            return None
        if path.stat().st_gid != grp.getgrnam(group).gr_gid or not path.stat().st_mode & stat.S_IRGRP:
            return f"{path} is not readable for the group {group}"
        closed = [one for one in path.parents if one.is_relative_to(within) and not one.stat().st_mode & stat.S_IXOTH]
    except KeyError:
        return f"there is no group {group}"
    return f"the group {group} cannot pass {closed[-1]}: chmod o+x {closed[-1]}" if closed else None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
