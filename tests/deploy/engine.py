"""A container engine for tests: a machine of its own, as far as namespaces go.

Debian's Docker runs in its own mounts, processes and network, and so do the commands that are typed
beside it. It takes every port and every name that it wants, also those of the pages, and nobody
else notices: no engine that runs already is asked, and no image, container, network or rule of a
firewall stays. What ends the tests ends it, kill -9 too.

There is no way out of its network but one: a proxy for what is installed while an image is built.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import bare_root, compose
from .proxy import Proxy

PROXY_PORT = 3128
START_S = 60
CGROUP = "prelabel-tests-"
WANTS_PLUGIN = 23
"""From this version on the client builds with BuildKit through its plugin buildx."""
GATEWAY = "172.17.0.1"
"""Where containers that are being built find their machine."""
PUBLIC_HOST = compose.NEEDED["PUBLIC_HOST"]

# The first process of the machine. Docker keeps much in /run, whatever else it is told.
MACHINE = r"""
mount -t tmpfs none /run
mount -t proc proc /proc
mount --bind "$FOLDER/hosts" /etc/hosts
names=$(readlink -m /etc/resolv.conf) # which may lead into /run
mkdir -p "${names%/*}"
[ -e "$names" ] || : >"$names"
mount --bind "$FOLDER/resolv.conf" "$names"
"$PYTHON" -c "$LOOPBACK_UP"
dockerd --data-root "$FOLDER/data" --exec-root /run/docker --pidfile /run/docker.pid \
    --host "unix://$FOLDER/docker.sock" --cgroup-parent "$CGROUP" --bip "$GATEWAY/16" &
wait
"""
LISTEN = """
import socket, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[2])))
socket.send_fds(socket.socket(fileno=int(sys.argv[1])), [b"1"], [listener.fileno()])
"""


def require():
    """Skip where no engine can be started, with what is missing."""
    bare_root.require()
    for program, package in (
        ("dockerd", "docker.io"), ("containerd", "containerd"), ("iptables", "iptables"),
        ("nsenter", "util-linux"),
    ):  # fmt: skip
        if shutil.which(program, path=_path()) is None:
            pytest.skip(f"no {program}; install Debian's {package}")
    if not any(Path("/sys/fs/cgroup").iterdir()):
        pytest.skip("no control groups in /sys/fs/cgroup; install Debian's cgroupfs-mount")


@dataclass
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    output: str


class Engine:
    """The engine and its machine, from `with` to the end of it.

    Args:
        folder: Where all that it keeps is put; must be able to hold an overlay.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._cgroup = f"/{CGROUP}{os.getpid()}"
        self._environment = {
            "LANG": "C.UTF-8",
            "PATH": f"{folder / 'bin'}:{_path()}",
            "HOME": str(folder),
            "DOCKER_HOST": f"unix://{folder / 'docker.sock'}",
            "DOCKER_CONFIG": str(folder / "config"),
            "DOCKER_BUILDKIT": "1",
        }

    def __enter__(self):
        self._lay_out()
        self._log = (self.folder / "dockerd.log").open("wb")
        self._process = subprocess.Popen(
            [bare_root.path_of("setpriv"), "--pdeathsig", "KILL", *bare_root.namespaces(),
             "--net", "/bin/sh", "-euc", MACHINE],
            env={**self._environment, "FOLDER": str(self.folder), "PYTHON": sys.executable,
                 "LOOPBACK_UP": bare_root.LOOPBACK_UP, "CGROUP": self._cgroup,
                 "GATEWAY": GATEWAY},
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        try:
            self._wait()
            self._proxy = Proxy(self._listener())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_):
        self._proxy.close()
        self._end()

    def run(self, *words, code=0, folder=None, timeout_s=600, **variables) -> str:
        """What a command on the engine's machine writes; AssertionError where it ends otherwise."""
        ended = self.ends(*words, folder=folder, timeout_s=timeout_s, **variables)
        assert ended.code == code, f"{words}: {ended.code}\n{ended.output[-4000:]}"
        return ended.output

    def ends(self, *words, folder=None, timeout_s=600, stdin=None, **variables) -> Ended:
        """How a command on the engine's machine ends, and what it writes."""
        done = subprocess.run(
            self.command(*words, folder=folder), env={**self._environment, **variables},
            stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", timeout=timeout_s, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout)

    def start(self, *words, folder=None):
        """A running command on the engine's machine, as a `subprocess.Popen` with pipes."""
        return subprocess.Popen(
            self.command(*words, folder=folder), env=self._environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def command(self, *words, folder=None):
        """The words of a command that runs on the engine's machine."""
        inside = [bare_root.path_of("nsenter"), f"--target={self.first()}"]
        # Entering other mounts leads to their root, so the folder is entered again.
        begin = ["/bin/sh", "-c", 'cd "$0" && exec "$@"']
        return [*inside, "--mount", "--net", "--pid", *begin, str(folder or "/"), *map(str, words)]

    def import_image(self, tar_words, name, *changes):
        """Make an image of what a command writes as a tar archive."""
        archive = subprocess.Popen(tar_words, stdout=subprocess.PIPE)
        options = [word for change in changes for word in ("--change", change)]
        ended = self.ends("docker", "import", *options, "-", name, stdin=archive.stdout)
        archive.stdout.close()
        assert (archive.wait(), ended.code) == (0, 0), ended.output

    def export_image(self, name, folder) -> dict:
        """Put an image's files into a folder; what it says of how it is run."""
        made = self.run("docker", "create", name).strip()
        files = subprocess.Popen(
            self.command("docker", "export", made), env=self._environment, stdout=subprocess.PIPE
        )
        subprocess.run(
            ["tar", "-x", "--numeric-owner", "-p", "-C", folder], stdin=files.stdout, check=True
        )
        files.stdout.close()
        assert files.wait() == 0
        self.run("docker", "rm", made)
        return json.loads(self.run("docker", "image", "inspect", name))[0]["Config"]

    def _lay_out(self):
        """The folders and files that the engine and its clients find."""
        for name in ("data", "bin", "config"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost {PUBLIC_HOST}\n::1 localhost\n")
        (self.folder / "resolv.conf").write_text("# No name of another machine is known here.\n")
        (self.folder / "bin/python").symlink_to(sys.executable)
        (self.folder / "bin/docker").symlink_to(_client())
        self._lay_out_compose(self.folder / "config/cli-plugins")

    def _lay_out_compose(self, plugins):
        """Compose as a plugin, where the docker that was found does not bring it itself."""
        program = compose.program()
        here = Path(compose.environment_of_docker(self.folder)["DOCKER_CONFIG"]) / "cli-plugins"
        if len(program) == 1:
            plugins.mkdir()
            (plugins / "docker-compose").symlink_to(shutil.which(program[0]))
        elif here.is_dir():
            plugins.symlink_to(here)

    def _wait(self):
        """Return once the engine answers; skip where it gives up."""
        deadline = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if (self.folder / "docker.sock").exists():
                info = self.ends("docker", "info", "--format", "{{json .}}", timeout_s=START_S)
                if info.code == 0 and "Driver" in (told := json.loads(info.output)):
                    if told["Driver"] == "vfs":
                        pytest.skip(f"no overlay can be mounted in {self.folder}; set TMPDIR")
                    return
            time.sleep(0.2)
        said = (self.folder / "dockerd.log").read_text("utf-8", "replace").strip()
        pytest.skip(f"dockerd does not start: {said[-600:]}")

    def first(self) -> str:
        """The number of the machine's first process, as it is known out here."""
        number = self._process.pid
        return Path(f"/proc/{number}/task/{number}/children").read_text("utf-8").split()[0]

    def _listener(self):
        """A socket that listens in the machine's network, held out here."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            number = theirs.fileno()
            subprocess.run(
                self.command(sys.executable, "-c", LISTEN, number, PROXY_PORT),
                pass_fds=[number], check=True,
            )  # fmt: skip
            _, numbers, _, _ = socket.recv_fds(ours, 1, 1)
        return socket.socket(fileno=numbers[0])

    def _end(self):
        """Kill the machine's first process, and with it all others; mounts and network go too."""
        try:
            os.kill(int(self.first()), signal.SIGKILL)
        except (OSError, IndexError):  # it is not there yet, or no longer
            self._process.kill()
        self._process.wait()  # whose child is gone only when all others in its namespace are
        self._log.close()
        _remove_groups(self._cgroup)


def _client():
    """A docker that builds with BuildKit: an old one does by itself, a new one by a plugin."""
    for folder in _path().split(os.pathsep):
        program = shutil.which("docker", path=folder)
        version = re.search(r"version (\d+)\.", _said(program, "--version")) if program else None
        if version and (int(version[1]) < WANTS_PLUGIN or _said(program, "buildx", "version")):
            return program
    return pytest.skip("no docker that builds with BuildKit; install Debian's docker.io")


def _said(*words):
    """What a command says; nothing where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout


def _path():
    return f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


def _remove_groups(ours):
    """Remove our control groups, which are folders, and those of tests that were killed."""
    groups = Path("/sys/fs/cgroup")  # version 2; of version 1 each folder in it is one such
    for hierarchy in (groups, *groups.iterdir()):
        for group in hierarchy.glob(f"{CGROUP}*"):
            if (
                group.name == ours.strip("/")
                or not Path("/proc", group.name[len(CGROUP) :]).exists()
            ):
                for folder, _, _ in os.walk(group, topdown=False):
                    with contextlib.suppress(OSError):
                        Path(folder).rmdir()
