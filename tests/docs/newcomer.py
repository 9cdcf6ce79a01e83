"""A newcomer at a terminal, who copies what a page says and looks how it ends."""

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prelabel.launch.label_studio import FIRST_START_TIMEOUT_S, FirstUser
from prelabel.launch.processes import Child, port_is_taken

from .engines import Order, engine_words, inside
from .pages import Block

PATIENCE_S = 400
GRACE_S = 60
POLL_S = 0.1
VARIABLES = r"^(?:[A-Z][A-Z0-9_]*=\S* )*"
LABEL_STUDIO = "label-studio start"
STAYS_UP = {
    LABEL_STUDIO: ("{label_studio}/health",),
    "prelabel serve": ("{backend}/ready",),
    "prelabel studio": ("{label_studio}/health", "{backend}/ready"),
    "prelabel worker": (),
}
"""Commands that do not end, and where they answer once they are up."""
WORKS = re.compile(r"\bworking\b")
"""What a worker, which answers nowhere, says once it is up."""
ONCE = ("python3 -m venv ", "pip install ")
"""What two pages may say alike; a second time it has nothing to do."""


@dataclass
class Newcomer:
    """A terminal: what one block exports holds for the next, and so does the folder.

    Attributes:
        folder: Where the terminal is: a checkout.
        environment: What is exported.
        label_studio: Where Label Studio is here; the port that pages name may be taken.
        backend: Where the backend is here, for the same reason.
        user: Who signs up in Label Studio.
        logs: Folder of what programs say that stay up.
        make_token: Makes a token in Label Studio.
        project: The number of the project that was connected last.
        instead: What a page has in place of what is each reader's own, and what that is here.
    """

    folder: Path
    environment: dict[str, str] = field(repr=False)
    label_studio: str
    backend: str
    user: FirstUser
    logs: Path
    make_token: Callable[[], str]
    project: int = 0
    instead: dict[str, str] = field(default_factory=dict, repr=False)
    running: dict[str, Child] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _tokens: list[str] = field(default_factory=list, repr=False)

    def copies(self, block: Block) -> str:
        """Type a block's commands and wait for those that stay up; what the others said.

        Of a command for a container engine or a cluster, what would run inside runs here.
        """
        some: list[str] = []
        said = ""
        for typed in block.commands.replace("\\\n", " ").splitlines():
            line = self._as_here(without_engine(typed))
            command = re.sub(r"\s+# .*$", "", line)
            if name := stays_up(command):
                said += self._run("\n".join(some), block)
                self._start(name, command)
                some = []
            elif command not in self._done:
                some.append(line)
                self._done |= {command} if command.startswith(ONCE) else set()
        return said + self._run("\n".join(some), block)

    @contextmanager
    def reading_a_page(self) -> Iterator[None]:
        """Inside, a page is read; after it all is ended that it started, but for Label Studio."""
        folder, environment, instead = self.folder, dict(self.environment), dict(self.instead)
        try:
            yield
        finally:
            self.folder, self.environment, self.instead = folder, environment, instead
            self.leave(keep=(LABEL_STUDIO,))

    def leave(self, keep: tuple[str, ...] = ()) -> None:
        """End what stays up."""
        with ExitStack() as stack:
            for name in [name for name in self.running if name not in keep]:
                # `prelabel studio` ends two programs itself, and must not be cut short in it.
                stack.callback(self.running.pop(name).stop, grace_s=GRACE_S)

    def token(self) -> str:
        """The token, made when it is first wanted."""
        if not self._tokens:
            self._tokens.append(self.make_token())
        return self._tokens[0]

    def _as_here(self, commands: str) -> str:
        """The commands with what each reader puts in: addresses, the token and the project."""
        addresses = {
            "http://localhost:8080": self.label_studio,
            "http://localhost:9090": self.backend,
            "https://localhost:9090": self.backend.replace("http:", "https:"),
        }
        for on_the_page, here in (self.instead | addresses).items():
            commands = commands.replace(on_the_page, here)
        project = r"(--project |--project-id |PROJECT_ID=)[37]\b"
        commands = re.sub(project, rf"\g<1>{self.project}", commands)
        port = self.label_studio.rpartition(":")[2]
        studio = f"prelabel studio --port {port} --backend-url {self.backend}"
        commands = re.sub(r"^prelabel studio$", studio, commands)
        commands = re.sub(r"^prelabel warmup$", f"prelabel warmup --url {self.backend}", commands)
        return commands.replace("=…", f"={self.token()}") if "=…" in commands else commands

    def _run(self, commands: str, block: Block) -> str:
        if not commands.strip():
            return ""
        state = self.logs / "terminal"
        script = (
            f"trap 'code=$?; {{ pwd; env -0; }} > {shlex.quote(str(state))}; exit $code' EXIT\n"
            f"set -eo pipefail\n{commands}\n"
        )
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, check=False,
            input="y\n", capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        shown = f"{block.page}\n$ {commands}\n{done.stdout}{done.stderr}"
        assert done.returncode in block.exit_codes, f"ended with {done.returncode}: {shown}"
        folder, _, exported = state.read_text("utf-8").partition("\n")
        self.folder = Path(folder)
        self.environment = dict(one.split("=", 1) for one in exported.split("\0") if "=" in one)
        connected = re.search(r"^project .*\(id (\d+)\)$", done.stdout, re.MULTILINE)
        self.project = int(connected[1]) if connected else self.project
        return done.stdout

    def _start(self, name: str, command: str) -> None:
        if name == LABEL_STUDIO and name in self.running:
            return  # since an earlier page
        assert name not in self.running, f"{command} is typed twice on one page"
        log_path = self.logs / f"{name.replace(' ', '-')}.log"
        with log_path.open("wb" if name == "prelabel worker" else "ab") as output:
            process = subprocess.Popen(
                ["bash", "-c", re.sub(VARIABLES, r"\g<0>exec ", command, count=1)],
                cwd=self.folder, env=self.environment | self._signs_up(name),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self.running[name] = Child(command, process, log_path)
        self._wait(name, command, self.running[name])

    def _wait(self, name: str, command: str, child: Child) -> None:
        """Return once a program is up that was typed just now."""
        with_tls = "SSL_CERTFILE" in command or self.environment.get("SSL_CERTFILE")
        if name == "prelabel worker":
            wait_until(child, lambda: WORKS.search(child.log_path.read_text("utf-8", "replace")))
        elif name == "prelabel serve" and with_tls:
            port = int(self.backend.rpartition(":")[2])  # to ask more, its authority must be known
            wait_until(child, lambda: port_is_taken("127.0.0.1", port))
        for address in () if with_tls else STAYS_UP[name]:
            url = address.format(label_studio=self.label_studio, backend=self.backend)
            child.wait_until_answers(url, timeout_s=FIRST_START_TIMEOUT_S)

    def _signs_up(self, name: str) -> Mapping[str, str]:
        """What stands for the form in the browser in which the first user signs up."""
        if name != LABEL_STUDIO:
            return {}
        return {
            "LABEL_STUDIO_USERNAME": self.user.username,
            "LABEL_STUDIO_PASSWORD": self.user.password,
        }


def stays_up(command: str) -> str:
    """The name in `STAYS_UP` of a command; "" where it ends by itself."""
    command = re.sub(VARIABLES, "", command, count=1)
    return next((name for name in STAYS_UP if command.startswith(name)), "")


def without_engine(line: str) -> str:
    """A line as it is; of one for an engine, the command of prelabel that it has run inside.

    Nothing is left where a container does not end by itself: other pages start servers and workers.
    """
    words = engine_words(line)
    if not words:
        return line
    command = shlex.join(inside(Order(line, words)))
    return command if command.startswith("prelabel ") and not stays_up(command) else ""


def wait_until(child: Child, there: Callable[[], object]) -> None:
    """Return once a program is there, by a sign that it gives."""
    until = time.monotonic() + FIRST_START_TIMEOUT_S
    while not there():
        assert child.running, child.last_lines()
        assert time.monotonic() < until, child.last_lines()
        time.sleep(POLL_S)
