"""Command lines for Docker, Docker Compose and kubectl: what they name, and what runs inside."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .pages import code_spans, command_lines

ENGINES = ("docker", "docker-compose", "kubectl")

_RUN_ALONE = ("-d", "--detach", "--rm", "--read-only", "-i", "-t", "-it")
_COMPOSE_ALONE = ("-d", "-T", "--force-recreate", "--follow", "--volumes", "--build", "--wait")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*=.*")
_SIGNS = frozenset("|&;<>(){}")


@dataclass(frozen=True, slots=True)
class Order:
    """A command for an engine, as it stands on a page.

    Attributes:
        line: The line that it stands in.
        words: The program and what it is given.
        is_whole: Whether it is to be typed as it stands; text may name a beginning alone.
    """

    line: str
    words: tuple[str, ...]
    is_whole: bool = True

    def __str__(self) -> str:
        return " ".join(self.words[:6])

    @property
    def is_compose(self) -> bool:
        """Whether Compose is called, as a plugin or by itself."""
        return self.words[:2] == ("docker", "compose") or self.words[0] == "docker-compose"


@dataclass(frozen=True, slots=True)
class Compose:
    """What a command of Compose names.

    Attributes:
        files: The compose files.
        profiles: The profiles.
        services: The services, those whose files are copied and that are multiplied too.
        paths: What is copied out of or into a container, by service.
        inside: What runs in the container.
    """

    files: tuple[str, ...]
    profiles: tuple[str, ...]
    services: tuple[str, ...]
    paths: tuple[tuple[str, str], ...] = ()
    inside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """What `docker run` or `docker exec` names.

    Attributes:
        options: The options with their values, in order.
        name: The image, or the container.
        inside: What runs in it; empty: what the image runs by itself.
    """

    options: tuple[tuple[str, str], ...]
    name: str
    inside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a command of kubectl names.

    Attributes:
        files: After `-f`.
        folders: After `-k`.
        namespaces: After `--namespace`.
        objects: As KIND/NAME.
        inside: What runs in the pod.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]
    namespaces: tuple[str, ...]
    objects: tuple[str, ...]
    inside: tuple[str, ...]


def orders_on(page) -> list[Order]:
    """The commands for an engine in a page's blocks and in its text."""
    spans = [span for span in code_spans(page) if " " in span]
    lines = [(line, True) for line in command_lines(page)] + [(line, False) for line in spans]
    return [
        Order(line, words, is_whole)
        for line, is_whole in lines
        if (words := engine_words(line, anywhere=is_whole))
    ]


def engine_words(line: str, *, anywhere: bool = True) -> tuple[str, ...]:
    """The words of a line from an engine's name on, to the next sign of the shell; or none.

    Args:
        line: A line of a shell.
        anywhere: Whether the engine may stand behind such a sign, not only at the beginning.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:  # a quote that ends on another line
        return ()
    parts: list[list[str]] = [[]]
    for word in words:
        if set(word) <= _SIGNS:
            parts.append([])
        elif parts[-1] or not _VARIABLE.fullmatch(word):  # one for the command alone
            parts[-1].append(word)
    for part in parts if anywhere else parts[:1]:
        if part and part[0] in ENGINES:
            return tuple(word for word in part if word != "…")
    return ()


def inside(order: Order) -> tuple[str, ...]:
    """The command that runs in a container or a pod; none where it is the image's own."""
    if order.is_compose:
        return compose_of(order).inside
    if order.words[0] == "kubectl":
        return cluster_of(order).inside
    return container_of(order).inside if order.words[1] in {"run", "exec"} else ()


def compose_of(order: Order) -> Compose:
    """What a command of Compose names."""
    before, rest = _options(order.words[2 if order.words[0] == "docker" else 1 :], ())
    command, *rest = rest or [""]
    after, names = _options(rest, _COMPOSE_ALONE)
    scaled = [value.partition("=")[0] for name, value in after if name == "--scale"]
    paths = [tuple(name.split(":", 1)) for name in names if command == "cp" and ":" in name]
    if command == "exec":
        services, run = names[:1], names[1:]
    else:
        services, run = ([one for one, _ in paths] if command == "cp" else names), []
    return Compose(
        tuple(value for name, value in before if name in {"-f", "--file"}),
        tuple(value for name, value in before if name == "--profile"),
        (*scaled, *services), tuple(paths), tuple(run),
    )  # fmt: skip


def container_of(order: Order) -> Container:
    """What `docker run` or `docker exec` names."""
    options, rest = _options(order.words[2:], _RUN_ALONE)
    return Container(tuple(options), rest[0] if rest else "", tuple(rest[1:]))


def cluster_of(order: Order) -> Cluster:
    """What a command of kubectl names."""
    words = list(order.words[1:])
    run = words[words.index("--") + 1 :] if "--" in words else []
    words = words[: words.index("--")] if "--" in words else words

    def given(*names: str) -> tuple[str, ...]:
        return tuple(value for name, value in pairwise(words) if name in names)

    objects = tuple(word for word in words if word.startswith(("deployment/", "service/")))
    namespaces = given("--namespace", "-n")
    return Cluster(given("-f"), given("-k"), namespaces, objects, tuple(run))


def _options(words: Sequence[str], alone: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Options with their values up to the first word that is none, and what comes from there.

    Args:
        words: What a command is given.
        alone: The options that take no value.
    """
    options, rest = [], list(words)
    while rest and rest[0].startswith("-"):
        name, glued, value = rest.pop(0).partition("=")
        takes = not glued and name not in alone and rest
        options.append((name, rest.pop(0) if takes else value))
    return options, rest
