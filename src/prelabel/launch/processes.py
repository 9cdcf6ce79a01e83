"""Child processes: started with their output in a log file, awaited over HTTP, stopped in order."""

import os
import signal
import socket
import ssl
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Never, Self, TypeAlias

import httpx2
import structlog

from prelabel.errors import OperatorError

log = structlog.get_logger(__name__)

Trust: TypeAlias = ssl.SSLContext | str | bool
"""Which certificates are trusted: those of a context, of authorities in a file, all known, none."""

POLL_S = 0.2
PROBE_TIMEOUT_S = 2.0
TAIL_LINES = 15


class Child:
    """A program that we started, in a process group of its own.

    Its own group keeps a Ctrl-C in the terminal away from it: we receive that, and stop the
    children one after the other, so that none writes to one that is already gone.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._process = process

    @classmethod
    def start(
        cls, name: str, command: Sequence[str], *, log_path: Path, environment: Mapping[str, str]
    ) -> Self:
        """Start a program with all its output in a new log file.

        Args:
            name: What to call it in messages, for example "Label Studio".
            command: The program and its arguments.
            log_path: Where its output goes; an earlier log there is replaced.
            environment: Added to, and stronger than, our own environment.

        Raises:
            OperatorError: The program cannot be started, or has no place for its log.
        """
        try:
            log_path.parent.mkdir(parents=True, exist_ok=True)
            output = log_path.open("wb")
        except OSError as error:
            step = "Go to a folder that you may write to, or name another for logs and data."
            raise OperatorError(
                f"{name}'s log {log_path}", f"cannot be written ({error.strerror})", step
            ) from error
        try:
            with output:
                process = subprocess.Popen(  # noqa: S603 - a command of ours, and no shell
                    command,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise OperatorError(
                name, f"{command[0]} cannot be started ({error})", "Check that it is installed."
            ) from error
        log.debug("started", name=name, pid=process.pid, log=str(log_path))
        return cls(name, process, log_path)

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the program is still there."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the program ended, None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def last_lines(self) -> str:
        """The end of its log, for a message about its death."""
        with self.log_path.open(errors="replace") as lines:
            return "".join(deque(lines, maxlen=TAIL_LINES)).rstrip()

    def wait_until_answers(self, url: str, *, timeout_s: float, verify: Trust = True) -> None:
        """Return once `url` answers without a server error.

        Raises:
            OperatorError: The program ended first, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not answers(url, verify):
            if not self.running:
                raise self.death()
            if time.monotonic() > deadline:
                raise OperatorError(
                    self.name,
                    f"does not answer at {url} after {timeout_s:.0f} s",
                    f"Its log is {self.log_path}; the last lines are:\n{self.last_lines()}",
                )
            time.sleep(POLL_S)
        if not self.running:  # then it was another program that answered on this port
            raise self.death()

    def death(self) -> OperatorError:
        """The error for its having ended by itself."""
        return OperatorError(
            self.name,
            f"ended with exit code {self.exit_code}",
            f"Its log is {self.log_path}; the last lines are:\n{self.last_lines()}",
        )

    def stop(self, *, grace_s: float = 10.0) -> None:
        """Ask the whole process group to end, and end it by force after `grace_s` seconds."""
        if self.running:
            self._signal_group(signal.SIGTERM)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                log.warning("killed", name=self.name, after_s=grace_s)
        self._signal_group(signal.SIGKILL)  # whatever it started and left behind
        self._process.wait()
        log.debug("stopped", name=self.name, exit_code=self.exit_code)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with undisturbed():
            self.stop()

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            log.debug("already gone", name=self.name)


def watch(children: Sequence[Child]) -> None:
    """Return never, while all of them run.

    Raises:
        OperatorError: One of them ended by itself.
    """
    while True:
        for child in children:
            if not child.running:
                raise child.death()
        time.sleep(POLL_S)


def answers(url: str, verify: Trust = True) -> bool:
    """Whether something at `url` answers in time and without a server error."""
    try:
        return (
            httpx2.get(url, timeout=PROBE_TIMEOUT_S, verify=verify).status_code
            < httpx2.codes.INTERNAL_SERVER_ERROR
        )
    except httpx2.TransportError:
        return False


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_taken(host: str, port: int) -> bool:
    """Whether something already listens on this port."""
    with socket.socket() as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Inside, SIGTERM and a closed terminal end the program as Ctrl-C does: KeyboardInterrupt."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def await_signal() -> Never:
    """Do nothing until a signal raises KeyboardInterrupt, in the main thread.

    It looks now and then: Python runs handlers in the main thread only, and one that waits without
    an end does not hear of a signal that came just before it began, or to another thread.
    """
    while True:
        time.sleep(POLL_S)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM wait: an impatient second Ctrl-C leaves no child behind."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
