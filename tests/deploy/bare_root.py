"""Bare Debian roots and programs that run in them as in a container, without a container engine.

Each program gets a mount namespace and process ids of its own. What is mounted for it is seen by
nobody else and is gone with it, whatever happens, so that a root may be deleted at any time.
"""

import os
import shlex
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

RELEASE = "bookworm"
# What the official slim Python images have beside Debian's minimum, with Debian's own Python.
PACKAGES = "python3,python3-venv,ca-certificates,netbase,tzdata"
DEVICES = ("null", "zero", "full", "random", "urandom")
SEES_NAMES = ("/etc/resolv.conf", "/etc/hosts")

# What `ip link set lo up` does, where there is no iproute2: sets the flags UP and RUNNING.
LOOPBACK_UP = """
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14s", b"lo", 0x41, b""))
"""


def require():
    """Skip where bare roots cannot be made, with what is missing."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("bare roots are made by root; run as root, in a virtual machine if need be")
    for program, package in (
        ("debootstrap", "debootstrap"), ("unshare", "util-linux"), ("setpriv", "util-linux"),
        ("chroot", "coreutils"),
    ):  # fmt: skip
        if path_of(program) is None:
            pytest.skip(f"no {program}; install Debian's {package}")
    tried = subprocess.run(
        [*namespaces(), "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"no mounts in a namespace of one's own: {tried.stderr.decode().strip()}")


def debian(folder: Path, mirror: str) -> Path:
    """A Debian in a folder, with little more than Python. Takes most of a minute."""
    try:
        urllib.request.urlopen(f"{mirror}/dists/{RELEASE}/InRelease", timeout=20).close()
    except OSError as error:
        pytest.skip(f"no Debian mirror at {mirror}: {error}; set PRELABEL_TEST_DEBIAN")
    command = [
        path_of("debootstrap"),
        "--variant=minbase",
        f"--include={PACKAGES}",
        RELEASE,
        folder,
        mirror,
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    shutil.rmtree(folder / "var/cache/apt/archives")
    shutil.rmtree(folder / "var/lib/apt/lists")
    return folder


@dataclass
class Program:
    """How a program runs in a root.

    Attributes:
        root: The folder that is "/" to it.
        words: The program and its arguments.
        environment: All of its variables.
        user: Numbers of the user and its group.
        folder: Where it begins.
        mounts: Files and folders from outside, by where it sees them.
        read_only: Among those, which it cannot change; all of the root where "/" is among them.
        scratch: Where it gets empty folders in memory.
        confined: Whether it is without any privilege and cannot gain one.
        alone: Whether it has a network of its own, with no way out.
    """

    root: Path
    words: list[str]
    environment: dict[str, str]
    user: tuple[int, int] = (0, 0)
    folder: str = "/"
    mounts: dict[str, Path] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()
    scratch: tuple[str, ...] = ()
    confined: bool = False
    alone: bool = False

    def start(self, **how):
        """The running program: a `subprocess.Popen` whose only child is it, as process 1."""
        self._make_mount_points()
        # Whoever started it may be killed; then it is, and with it all of its namespace.
        command = [path_of("setpriv"), "--pdeathsig", "KILL", *namespaces()]
        command += ["--net"] if self.alone else []
        return subprocess.Popen([*command, "/bin/sh", "-euc", self._script()], **how)

    def run(self):
        """What it writes, once it is done; AssertionError where it fails."""
        running = self.start(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        written, _ = running.communicate()
        assert running.returncode == 0, f"{shlex.join(self.words)}\n{written[-3000:]}"
        return written

    def _script(self):
        """Shell lines that mount what is needed, and become the program."""
        root, lines = str(self.root), []
        if self.alone:
            lines.append(shlex.join([sys.executable, "-c", LOOPBACK_UP]))

        def mount(*words):
            lines.append(shlex.join(["mount", *words]))

        mount("--bind", root, root)
        mount("-t", "proc", "proc", f"{root}/proc")
        mount("--bind", "/sys", f"{root}/sys")
        mount("-o", "remount,bind,ro", f"{root}/sys")
        mount("-t", "tmpfs", "-o", "mode=755", "none", f"{root}/dev")
        lines.append(f"mkdir -m 1777 {shlex.quote(root)}/dev/shm")
        lines.append(f"ln -s /proc/self/fd {shlex.quote(root)}/dev/fd")
        for name in DEVICES:
            lines.append(f": > {shlex.quote(root)}/dev/{name}")
            mount("--bind", f"/dev/{name}", f"{root}/dev/{name}")
        for place in self.scratch:
            mount("-t", "tmpfs", "-o", "mode=1777", "none", f"{root}{place}")
        for place, source in self.mounts.items():
            mount("--bind", str(source), f"{root}{place}")
            if place in self.read_only:
                mount("-o", "remount,bind,ro", f"{root}{place}")
        if "/" in self.read_only:
            mount("-o", "remount,bind,ro", root)
        lines.append("exec " + shlex.join(self._entered(root)))
        return "\n".join(lines)

    def _entered(self, root):
        user, group = self.user
        # Who becomes another user forgets to die with its parent, unless told again.
        privileges = ["/usr/bin/setpriv", "--pdeathsig", "KILL"]
        privileges += [f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        if self.confined:
            privileges += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        begin = ["/usr/bin/env", "-i", "-C", self.folder, *variables]
        return [path_of("chroot"), root, *privileges, *begin, *self.words]

    def _make_mount_points(self):
        for place, source in self.mounts.items():
            point = self.root / place.lstrip("/")
            if point.exists():
                continue
            if Path(source).is_dir():
                point.mkdir(parents=True)
            else:
                point.parent.mkdir(parents=True, exist_ok=True)
                point.touch()


def namespaces() -> list[str]:
    """Words before a command that give it mounts and process ids of its own, which end with it."""
    return [
        path_of("unshare"), "--mount", "--propagation", "private", "--pid", "--fork",
        "--kill-child",
    ]  # fmt: skip


def names() -> dict[str, Path]:
    """What a program needs to find other machines by name, as a container engine gives it."""
    return {place: Path(place).resolve() for place in SEES_NAMES if Path(place).exists()}


def path_of(name: str) -> str | None:
    """Where a program is; some PATHs lack the folders of root's."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
