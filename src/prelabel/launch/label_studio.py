"""Label Studio as a child process: where it is, what it needs to work with a backend beside it."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from prelabel.errors import MissingPackage, OperatorError
from prelabel.launch.processes import PROBE_TIMEOUT_S, Child, port_is_taken

NAME = "Label Studio"
BESIDE_US = Path(".venv-labelstudio/bin/label-studio")
FIRST_START_TIMEOUT_S = 300.0
"""A first start runs every migration: 30 to 100 s on two cores, several times that when busy."""

SETTINGS_FOR_A_LOCAL_BACKEND: Mapping[str, str] = {
    # Since 1.23.1 both default to true, and then no backend or webhook on a loopback or private
    # address is allowed (label_studio/core/settings/base.py).
    "ML_BLOCK_LOCAL_IP": "false",
    "SSRF_PROTECTION_ENABLED": "false",
    # Nothing about the user goes to anybody else.
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    # Pages reload themselves for ever when they are opened under another name than this one, say
    # localhost for 127.0.0.1. Empty: any name works, and a HOST of the shell is not taken for it.
    "LABEL_STUDIO_HOST": "",
}


@dataclass(frozen=True, slots=True)
class FirstUser:
    """The account that Label Studio makes at its start, unless it is there already."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Installation:
    """A Label Studio program and how to run it.

    Attributes:
        executable: The `label-studio` program.
        data_dir: Where its database and uploads go; None: where it puts them by itself.
        files_root: The folder whose files it may serve as Local Files storage; None: none.
        first_user: The account to make at the first start; None: none.
        arguments: More arguments for `label-studio start`.
    """

    executable: Path
    data_dir: Path | None = None
    files_root: Path | None = None
    first_user: FirstUser | None = None
    arguments: Sequence[str] = ()

    def environment(self) -> dict[str, str]:
        """The environment variables that this installation is started with."""
        variables = dict(SETTINGS_FOR_A_LOCAL_BACKEND)
        if self.data_dir is not None:
            variables["LABEL_STUDIO_BASE_DATA_DIR"] = str(self.data_dir.resolve())
        if self.files_root is not None:
            variables["LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"] = "true"
            variables["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = str(self.files_root.resolve())
        if self.first_user is not None:  # as variables: everybody can read the arguments
            variables["LABEL_STUDIO_USERNAME"] = self.first_user.username
            variables["LABEL_STUDIO_PASSWORD"] = self.first_user.password
        return variables

    def start(self, url: str, *, log_path: Path) -> Child:
        """Start it on the host and port of `url`; it answers there only after a while.

        Raises:
            OperatorError: The port is taken (Label Studio itself would quietly take the next
                one), or the program cannot be started.
        """
        host, port = free_place(url)
        command = [str(self.executable), "start", "--no-browser"]
        command += ["--internal-host", host, "--port", str(port), *self.arguments]
        return Child.start(NAME, command, log_path=log_path, environment=self.environment())

    @contextmanager
    def running(self, url: str, *, log_path: Path) -> Iterator[Child]:
        """Start it, wait until it answers, and stop it in the end.

        Raises:
            OperatorError: As `start`; or it ended, or did not answer in time.
        """
        with self.start(url, log_path=log_path) as child:
            child.wait_until_answers(f"{url}/health", timeout_s=FIRST_START_TIMEOUT_S)
            yield child


def find_executable(given: Path | None) -> Path:
    """The `label-studio` program: the one given, else `.venv-labelstudio`'s, else PATH's.

    Raises:
        MissingPackage: There is none.
    """
    on_path = shutil.which("label-studio")
    candidates = [given] if given else [BESIDE_US, *([Path(on_path)] if on_path else [])]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.absolute()
    raise MissingPackage(
        "Label Studio",
        f"is not at {' or '.join(str(path) for path in candidates)}",
        "Install it in an environment of its own (`pipx install label-studio`; in a checkout of "
        "prelabel `make .venv-labelstudio`), or name the program with --label-studio PATH.",
    )


def is_running(url: str) -> bool:
    """Whether a Label Studio answers at `url`."""
    try:
        answer = httpx2.get(f"{url.rstrip('/')}/api/version", timeout=PROBE_TIMEOUT_S)
        return "label-studio-os-package" in answer.json()
    except (httpx2.TransportError, ValueError):
        return False


def free_place(url: str) -> tuple[str, int]:
    """The address to listen on for a URL.

    Raises:
        OperatorError: Another program listens there.
    """
    host, port = host_and_port(url)
    if port_is_taken(host, port):
        raise OperatorError(
            f"port {port}", "another program uses it", "Stop that program or choose a port."
        )
    return host, port


def host_and_port(url: str) -> tuple[str, int]:
    """The address to listen on for a URL; names of this machine become 127.0.0.1."""
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    usual_port = 443 if parts.scheme == "https" else 80
    return ("127.0.0.1" if host == "localhost" else host), parts.port or usual_port
