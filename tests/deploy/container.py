"""Runs the built image as a container engine would: process 1, its user, volumes, read-only."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .image import Stage

VOLUMES = ("/data", "/app/models")

ASK = """
import http.client, ssl, sys
scheme, port, method, path = sys.argv[1:]
make = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[scheme]
context = {"context": ssl._create_unverified_context()} if scheme == "https" else {}
connection = make("127.0.0.1", int(port), timeout=60, **context)
body = sys.stdin.buffer.read()
connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
answer = connection.getresponse()
sys.stdout.buffer.write(b"%d\\n" % answer.status + answer.read())
"""


class Container:
    """The image, running, with nothing but its volumes and /tmp to write to and no way out.

    Args:
        image: The built image.
        folder: Where the volumes and the log are put.
        words: The command, if not the image's.
        environment: Variables beside the image's.
        user: Numbers, if not the image's.
        mounts: Further files, by where they are seen; not to be changed.

    Attributes:
        volumes: The folders of the volumes, by where they are seen.
        log: What it writes.
    """

    def __init__(self, image: Stage, folder: Path, words=None, environment=None, user=None,
                 mounts=None):  # fmt: skip
        self.log = folder / "container.log"
        self.volumes = {place: _volume(image, folder, place) for place in VOLUMES}
        self._image = image
        self._environment = {**image.environment, **(environment or {})}
        self._user = user or image.user
        program = image.program(
            words or image.command,
            environment=self._environment,
            user=self._user,
            mounts={**self.volumes, **(mounts or {})},
            read_only=frozenset({"/", *(mounts or {})}),
            scratch=("/tmp",),
            confined=True,
            alone=True,
        )
        with self.log.open("wb") as log:
            self._running = program.start(
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End it, whatever it does."""
        with contextlib.suppress(OSError):  # it has ended, or never began
            os.kill(self._process_1(), signal.SIGKILL)
        self._running.kill()
        self._running.wait()

    def ask(self, method, path, body=None, scheme="http"):
        """The status and the JSON of an answer of the server in it."""
        done = subprocess.run(
            [*self._inside("--net"), sys.executable, "-c", ASK,
             scheme, self._environment["PORT"], method, path],
            input=json.dumps(body).encode() if body else b"",
            capture_output=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise ConnectionError(done.stderr.decode())
        status, _, text = done.stdout.partition(b"\n")
        return int(status), json.loads(text)

    def wait_until(self, path, timeout_s=60, scheme="http"):
        """Return once a path is answered with 200, with the seconds it took since now."""
        began = time.monotonic()
        while time.monotonic() < began + timeout_s:
            assert self._running.poll() is None, self.log.read_text()
            try:
                if self.ask("GET", path, scheme=scheme)[0] == 200:
                    return time.monotonic() - began
            except ConnectionError:
                time.sleep(0.05)
        raise AssertionError(f"{path} is not answered:\n{self.log.read_text()}")

    def healthy(self):
        """The exit code and the words of the image's health check."""
        done = self._run(self._image.health)
        return done.returncode, done.stdout.decode().strip()

    def says(self, *words):
        """What a further program in the container writes, as the container's user."""
        done = self._run(words)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def terminate(self):
        """Send SIGTERM to process 1, as an engine does; gives the exit code of the whole."""
        os.kill(self._process_1(), signal.SIGTERM)
        return self.wait()

    def wait(self):
        """The exit code, once it has ended by itself."""
        return self._running.wait(timeout=30)

    def _run(self, words):
        """As `docker exec` does."""
        user, group = self._user
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        return subprocess.run(
            [*self._inside("--mount", "--pid", "--net", "--root"), "/usr/bin/setpriv",
             f"--reuid={user}", f"--regid={group}", "--clear-groups",
             "/usr/bin/env", "-i", *variables, *words],
            capture_output=True,
            check=False,
        )  # fmt: skip

    def _inside(self, *namespaces):
        return [shutil.which("nsenter"), f"--target={self._process_1()}", *namespaces]

    def _process_1(self):
        """The number out here of the process that is 1 in there."""
        number = self._running.pid
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        if not children:
            raise ConnectionError("process 1 is not there yet")
        return int(children[0])


def _volume(image, folder, place):
    """A new volume: it has the owner, the mode and the content of the place in the image."""
    volume = folder / place.strip("/").replace("/", "-")
    if not volume.exists():
        subprocess.run(["cp", "-a", image.root / place.lstrip("/"), volume], check=True)
    return volume
