"""A plugin of pytest that listens to the whole suite and says in the end whether a secret was told.

It reads what every server in this process answers, what every passing test prints and logs, and
the log files of all programs that tests start. `test_leaks.py` searches one server for secrets
that it knows; this searches everything for what looks like one.
"""

import re
from pathlib import Path

import pytest

from prelabel.server.guard import Guard

ARTEFACTS = Path(__file__).resolve().parents[2] / "artefacts"
SECRETS = {
    "web token": re.compile(r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,}"),
    "authorization": re.compile(r"(?i)authorization\W{1,6}(basic|bearer|token) [\w.=+/-]{6,}"),
    "password in an address": re.compile(r"\w://[^/?#\s:@'\"]*:[^/?#\s:@'\"*…]{3,}@[\w\[]"),
    "signature of an address": re.compile(r"(?i)(x-amz-|x-goog-)?(signature|sig)=[\w%+/]{6,}"),
}
OF_OTHERS = ("label-studio", "postgres", "redis", "nginx", "prometheus", "command")
"""Beginnings of the names of log files that are not ours to keep clean."""


class Listener:
    """Remembers what sounded like a secret, and where; not the secret itself."""

    def __init__(self):
        self.told = []

    def hear(self, where, text):
        """Search a text."""
        for name, secret in SECRETS.items():
            if found := secret.search(text):
                self.told.append(f"{name} ({found[0][:12]}…) in {where}")

    def read(self, folder):
        """Search all log files below a folder."""
        for path in folder.rglob("*.log"):
            if path.is_file() and not path.name.startswith(OF_OTHERS):
                self.hear(str(path), path.read_bytes().decode("utf-8", "replace"))


def heard_by(listener, call):
    """The guard's work, with its answers overheard."""

    async def overheard(guard, scope, receive, send):
        async def heard(message):
            if message["type"] == "http.response.start":
                head = b"\n".join(b": ".join(pair) for pair in message["headers"])
                listener.hear(f"the head of {scope.get('path')}", head.decode("latin-1"))
            elif message["type"] == "http.response.body":
                body = message.get("body", b"").decode("utf-8", "replace")
                listener.hear(f"the answer of {scope.get('path')}", body)
            await send(message)

        await call(guard, scope, receive, heard if scope["type"] == "http" else send)

    return overheard


_listener = Listener()


def pytest_runtest_logreport(report):
    """Search what a passing test printed; a failing one shows what it looked at."""
    if report.passed:
        for name, text in report.sections:
            _listener.hear(f"{name} of {report.nodeid}", text)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_told(tmp_path_factory):
    """Fails at the end of the session if anything was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guard, "__call__", heard_by(_listener, Guard.__call__))
        yield
    _listener.read(tmp_path_factory.getbasetemp())
    _listener.read(ARTEFACTS)
    assert _listener.told == []
