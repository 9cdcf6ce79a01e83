"""Images in a folder that prelabel shares with Label Studio."""

import os
import stat
from pathlib import Path

from prelabel.media.limits import Limits


def read_below(root: Path, name: str, limits: Limits, thing: str) -> bytes | None:
    """The bytes of a regular file below a folder, or None where the folder holds no such file.

    Symlinks are followed first: what counts is where they end. Devices, pipes and folders are no
    files, and opening one never blocks.

    Args:
        root: The folder.
        name: A path below it, or an absolute path that leads into it.
        limits: What the file is held to.
        thing: What to call it in an error.

    Raises:
        ImageTooLarge: The file is over the limit.
    """
    try:
        top = root.resolve(strict=True)
        path = (root / name).resolve(strict=True)
        if not path.is_relative_to(top):
            return None
        descriptor = _opened(top, path)
    except (OSError, ValueError, RuntimeError):  # missing, NUL in the name, loop of symlinks
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(limits.max_bytes + 1)
    if len(data) > limits.max_bytes:
        raise limits.over_bytes(thing)
    return data


def _opened(top: Path, path: Path) -> int:
    """A descriptor of a file below a folder; both are free of symlinks, and stay it.

    Between the check of a path and its opening, whoever may write below the folder could swap one
    of its parts for a symlink. So each part is opened in the one before, following none. Not
    every system has these flags.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    if os.open not in os.supports_dir_fd:
        return os.open(path, flags | getattr(os, "O_BINARY", 0))
    *folders, file = path.relative_to(top).parts or (".",)
    above = os.open(top, flags | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, flags | os.O_DIRECTORY, dir_fd=above)
            os.close(above)
            above = inner
        return os.open(file, flags, dir_fd=above)
    finally:
        os.close(above)
