"""A newcomer at a terminal, who copies what a page says and looks how it ends."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prelabel.launch.label_studio import FIRST_START_TIMEOUT_S, FirstUser
from prelabel.launch.processes import Child

from .pages import Block

PATIENCE_S = 400
GRACE_S = 60
LABEL_STUDIO = "label-studio start"
STAYS_UP = {
    LABEL_STUDIO: ("{label_studio}/health",),
    "prelabel serve": ("{backend}/ready",),
    "prelabel studio": ("{label_studio}/health", "{backend}/ready"),
}
"""Commands that do not end, and where they answer once they are up."""
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
    """

    folder: Path
    environment: dict[str, str] = field(repr=False)
    label_studio: str
    backend: str
    user: FirstUser
    logs: Path
    make_token: Callable[[], str]
    project: int = 0
    running: dict[str, Child] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _tokens: list[str] = field(default_factory=list, repr=False)

    def copies(self, block: Block) -> str:
        """Type a block's commands and wait for those that stay up; what the others said."""
        some: list[str] = []
        said = ""
        for line in self._as_here(block.commands).splitlines():
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
        folder, environment = self.folder, dict(self.environment)
        try:
            yield
        finally:
            self.folder, self.environment = folder, environment
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
        commands = commands.replace("http://localhost:8080", self.label_studio)
        commands = commands.replace("http://localhost:9090", self.backend)
        commands = re.sub(r"(--project |PROJECT_ID=)[37]\b", rf"\g<1>{self.project}", commands)
        port = self.label_studio.rpartition(":")[2]
        studio = f"prelabel studio --port {port} --backend-url {self.backend}"
        commands = re.sub(r"^prelabel studio$", studio, commands, flags=re.MULTILINE)
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
        with log_path.open("ab") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder, env=self.environment | self._signs_up(name),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        child = Child(command, process, log_path)
        self.running[name] = child
        for address in STAYS_UP[name]:
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
    return next((name for name in STAYS_UP if command.startswith(name)), "")
