"""Reads a Dockerfile and a .dockerignore: as much of both as ours use, and nothing is guessed."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

KNOWN = frozenset({
    "ARG", "CMD", "COPY", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL",
    "USER", "WORKDIR",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step.

    Attributes:
        name: In upper case, such as "RUN".
        flags: What stands before the rest, without the dashes: ("mount", "type=cache,…").
        text: The rest, on one line.
    """

    name: str
    flags: tuple[tuple[str, str], ...]
    text: str

    @property
    def words(self):
        """The rest as words; those of the exec form where it is one."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)

    @property
    def assignments(self):
        """The names and values of an ARG, ENV or LABEL; None for an ARG without a default."""
        pairs = (word.partition("=") for word in self.words)
        return {name: value if equals else None for name, equals, value in pairs}

    def given(self, flag):
        """The values of a flag, for example those of each `--mount`."""
        return [value for name, value in self.flags if name == flag]


def read(path: Path) -> list[Instruction]:
    """The steps of a Dockerfile, in their order."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not _is_comment(line)]
    logical = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [_instruction(line) for line in logical if line.strip()]


def expanded(text, variables):
    """`text` with `$NAME` and `${NAME}` replaced, as the builder does outside of RUN and CMD."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda m: variables[m.group(1) or m.group(2)], text)


def variables_in(instructions):
    """The names that ARG and ENV steps give, in their order."""
    return [name for one in instructions if one.name in ("ARG", "ENV") for name in one.assignments]


def context(folder: Path):
    """The files of a folder that its .dockerignore lets into a build, relative to the folder."""
    lines = (folder / ".dockerignore").read_text("utf-8").splitlines()
    written = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    rules = [(not rule.startswith("!"), _pattern(rule.lstrip("!"))) for rule in written]
    kept = [rule.lstrip("!") for rule in written if rule.startswith("!")]

    def is_ignored(path):
        ignored = False
        # A rule for a folder holds for all that is in it; the last rule that fits decides.
        names = [path, *list(path.parents)[:-1]]
        for ignores, pattern in rules:
            if any(pattern.fullmatch(name.as_posix()) for name in names):
                ignored = ignores
        return ignored

    def files(below):
        for path in sorted(below.iterdir()):
            name = PurePosixPath(path.relative_to(folder))
            ignored = is_ignored(name)
            if not path.is_dir() or path.is_symlink():
                yield from [] if ignored else [name]
            elif not ignored or any(rule.startswith(f"{name}/") for rule in kept):
                yield from files(path)

    return list(files(folder))


def _pattern(rule):
    """The regular expression of a .dockerignore rule."""
    kinds = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]*\])", rule.strip("/"))
    return re.compile(
        "".join(kinds.get(part, part if part[:1] == "[" else re.escape(part)) for part in parts)
    )


def _is_comment(line):
    return line.lstrip().startswith("#")


def _instruction(line):
    name, _, rest = line.strip().partition(" ")
    if name.upper() not in KNOWN:
        raise AssertionError(f"{name} is not known here; teach it to tests/deploy/dockerfile.py")
    flags = []
    rest = rest.strip()
    while found := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
        flags.append((found.group(1), found.group(2)))
        rest = rest[found.end() :]
    return Instruction(name.upper(), tuple(flags), rest)
