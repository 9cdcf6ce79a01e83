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
        path = (root / name).resolve(strict=True)
        if not path.is_relative_to(root.resolve(strict=True)):
            return None
        # Not every system has these flags; where they are, the path cannot be swapped for a
        # symlink or a pipe between the check and the opening.
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | flags)
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
