"""What the checks look at, as a value, so that tests can make one up."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from prelabel.predictors.cores import usable_cores
from prelabel.server.gauges import memory_limit_bytes
from prelabel.settings import given_names

_TRIAL_TIMEOUT_S = 120.0  # torch alone takes half a minute from a cold disk


@dataclass(frozen=True, slots=True)
class Trial:
    """How a few lines of Python went.

    Attributes:
        ok: Whether they ran to their end.
        said: What they printed, else the last line of the error.
    """

    ok: bool
    said: str


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine and the Python that prelabel runs in.

    Attributes:
        python: Version of Python.
        executable: Its program.
        packages: Version of each installed distribution, by its name as PyPI normalises it.
        names: Names of environment variables and of settings in files, in upper case.
        run: Runs lines of Python in a process of their own, which may crash.
        free_bytes: Room on the disk of a folder that exists.
        cores: How many this process may run on.
        memory_bytes: What there is in all, or what the container may use of it.
    """

    python: tuple[int, ...]
    executable: str
    packages: Mapping[str, str]
    names: frozenset[str]
    run: Callable[[str], Trial]
    free_bytes: Callable[[Path], int]
    cores: int
    memory_bytes: int

    def pip(self, arguments: str) -> str:
        """The command that runs pip for this Python."""
        return f"{shlex.quote(self.executable)} -m pip {arguments}"


def this_machine() -> Machine:
    """The machine that this runs on."""
    found = [(d.metadata["Name"], d.version) for d in distributions()]
    return Machine(
        python=sys.version_info[:3],
        executable=sys.executable,
        # A folder on the path may hold remains of a package, with no name.
        packages={re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found if name},
        names=given_names(),
        run=_run,
        free_bytes=lambda folder: shutil.disk_usage(folder).free,
        cores=usable_cores(),
        memory_bytes=memory_limit_bytes(),
    )


def existing(place: Path) -> Path:
    """The place, or the nearest one above it that exists."""
    return next(one for one in (place.absolute(), *place.absolute().parents) if one.exists())


def _run(lines: str) -> Trial:
    command = [sys.executable, "-P", "-c", lines]
    try:
        done = subprocess.run(  # noqa: S603 - our own lines, and no shell
            command, capture_output=True, text=True, timeout=_TRIAL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial(ok=False, said=f"no answer within {_TRIAL_TIMEOUT_S:.0f} s")
    if done.returncode == 0:
        return Trial(ok=True, said=done.stdout.strip())
    errors = done.stderr.strip().splitlines()
    return Trial(ok=False, said=errors[-1] if errors else f"it ended with {done.returncode}")
