"""A server whose every attempt to reach something is written down, by Python and by the kernel."""

import json
import re
import shutil
import sys

_WITNESS = """
import json, os, sys
record = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")

def witness(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        seen = ["connect", *arguments[1][:2]]
    elif event in LOOK_UPS:
        seen = ["look up", str(arguments[0]), 0]
    elif event in ("socket.sendto", "socket.sendmsg") and isinstance(arguments[1], tuple):
        seen = ["send", *arguments[1][:2]]
    else:
        return
    os.write(record, (json.dumps(seen) + "\\n").encode())

sys.addaudithook(witness)
from prelabel.cli import main
sys.argv[0] = "prelabel"
main()
"""
"""Runs the command line under an audit hook, which no code of Python's can take off again."""

_INET = re.compile(r"sin6?_port=htons\((\d+)\).*?\"([0-9a-fA-F.:]+)\"")


class Observed:
    """What a program under observation tried to reach.

    Args:
        folder: Where the records go.
    """

    def __init__(self, folder):
        self._seen = folder / "seen-by-python.jsonl"
        self._connected = folder / "seen-by-the-kernel.txt"
        self.sees_all = shutil.which("strace") is not None

    def command(self, *arguments):
        """The command that runs `prelabel` with these arguments."""
        python = [sys.executable, "-c", _WITNESS, str(self._seen), *map(str, arguments)]
        return [*self.strace, *python] if self.sees_all else python

    @property
    def strace(self):
        """The beginning of a command that the kernel is to watch."""
        return ["strace", "-f", "-qq", "-e", "trace=connect", "-o", str(self._connected)]

    @property
    def reached(self):
        """(address, port) of all that a connection was tried to."""
        return self._by_python("connect", "send") | self._by_kernel()

    @property
    def looked_up(self):
        """The names that were asked for, those of this machine left out."""
        return {name for name, _ in self._by_python("look up")}

    def _by_python(self, *kinds):
        if not self._seen.exists():
            return set()
        lines = [json.loads(line) for line in self._seen.read_text().splitlines()]
        return {(where, port) for kind, where, port in lines if kind in kinds}

    def _by_kernel(self):
        """Native code too: model libraries could speak for themselves."""
        if not self._connected.exists():
            return set()
        found = _INET.findall(self._connected.read_text())
        return {(address, int(port)) for port, address in found if int(port)}
