"""The image as a root: an engine's, or built in bare roots by the Dockerfile's instructions."""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import bare_root, dockerfile

REPOSITORY = Path(__file__).resolve().parents[2]
BUILDS_WITH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass
class Stage:
    """A root and what is known of it so far; the last one is the image.

    Attributes:
        root: Its files.
        environment: What ENV has set.
        arguments: What ARG has set, for RUN alone.
        folder: WORKDIR.
        user: USER.
        command: CMD.
        health: HEALTHCHECK's command.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(BUILDS_WITH))
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: tuple[int, int] = (0, 0)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    @property
    def variables(self):
        return {**self.arguments, **self.environment}

    def path(self, place):
        """Where a place in the root lies outside of it."""
        return self.root / os.path.normpath(f"{self.folder}/{place}").lstrip("/")

    def program(self, words, **how):
        """A program in the root, started as USER, WORKDIR and ENV say unless told otherwise."""
        how.setdefault("environment", self.environment)
        how.setdefault("user", self.user)
        how.setdefault("folder", self.folder)
        return bare_root.Program(self.root, list(words), **how)


def built_by(machine, name: str, folder: Path) -> Stage:
    """An image that an engine has, as a root in a folder."""
    folder.mkdir()
    config = machine.export_image(name, folder)
    user, _, group = config["User"].partition(":")
    return Stage(
        folder,
        environment=dict(one.split("=", 1) for one in config["Env"]),
        folder=config["WorkingDir"],
        user=(int(user), int(group)),
        command=config["Cmd"],
        health=config["Healthcheck"]["Test"][1:],
    )


class Build:
    """Goes through a Dockerfile, instruction by instruction.

    Args:
        base: A root that stands for every image that FROM names.
        folder: Where the stages' roots are made.
        arguments: As `docker build --build-arg` gives them.
    """

    def __init__(self, base: Path, folder: Path, arguments: dict[str, str]):
        self._base = base
        self._folder = folder
        self._arguments = arguments
        self._stages: dict[str, Stage] = {}
        self._context = folder / "context"
        for name in dockerfile.context(REPOSITORY):
            target = self._context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target)

    def image(self) -> Stage:
        """The last stage, built."""
        stage, before_from = None, {}
        for one in dockerfile.read(REPOSITORY / "Dockerfile"):
            if one.name == "FROM":
                dockerfile.expanded(one.words[0], before_from)  # names nothing that is not set
                _, _, name = one.words
                stage = self._stages[name] = Stage(self._folder / name)
                _copy(self._base, stage.root)
            elif stage is None:
                before_from |= self._given(one)
            else:
                getattr(self, f"_{one.name.lower()}")(stage, one)
        return stage

    def _given(self, one):
        return {
            name: self._arguments.get(name, default or "")
            for name, default in one.assignments.items()
        }

    def _arg(self, stage, one):
        stage.arguments |= self._given(one)

    def _env(self, stage, one):
        before = stage.variables
        for name, value in one.assignments.items():
            stage.environment[name] = dockerfile.expanded(value, before)

    def _workdir(self, stage, one):
        stage.folder = os.path.normpath(f"{stage.folder}/{one.text}")
        stage.path(".").mkdir(parents=True, exist_ok=True)

    def _user(self, stage, one):
        user, _, group = one.text.partition(":")
        stage.user = int(user), int(group)

    def _cmd(self, stage, one):
        stage.command = one.words

    def _healthcheck(self, stage, one):
        kind, _, command = one.text.partition(" ")
        assert kind == "CMD"
        stage.health = json.loads(command)

    def _expose(self, stage, one): ...

    def _stopsignal(self, stage, one):
        assert one.text == "SIGTERM"

    def _label(self, stage, one):
        for value in one.assignments.values():
            dockerfile.expanded(value, stage.variables)

    def _copy(self, stage, one):
        *sources, target = one.words
        (origin,) = [self._stages[name].root for name in one.given("from")] or [self._context]
        into = stage.path(target)
        for source in sources:
            path = origin / source.lstrip("/")
            if path.is_dir():
                into.parent.mkdir(parents=True, exist_ok=True)
                _copy(path, into)
                continue
            to = into / path.name if target.endswith("/") else into
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to)
        subprocess.run(["chown", "-R", "--no-dereference", "0:0", into], check=True)

    def _run(self, stage, one):
        mounts, read_only = bare_root.names(), set()
        for words in one.given("mount"):
            options = dict(part.partition("=")[::2] for part in words.split(","))
            kind, target = options["type"], options["target"]
            if kind == "bind":
                mounts[target] = self._stages[options["from"]].root / options["source"].lstrip("/")
            elif kind == "cache":
                mounts[target] = self._folder / "cache"
                mounts[target].mkdir(exist_ok=True)
            elif (kind, options["id"]) == ("secret", "pip"):
                mounts |= of_pip(self._folder / "pip.conf", target)
            read_only |= {target} if kind != "cache" else set()
        stage.program(
            ["/bin/sh", "-c", one.text],
            environment=stage.variables,
            mounts=mounts,
            read_only=frozenset(read_only),
        ).run()


def _copy(folder, to):
    """A folder's content, as hard links: thousands of files that nothing here writes into.

    Programs that change a file of Debian's put a new one into its place.
    """
    subprocess.run(["cp", "-al", "--no-target-directory", folder, to], check=True)


def pip_settings() -> dict[str, str]:
    """How pip is configured out here, by the names of its options."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    settings = {}
    for line in listed.stdout.splitlines():  # global.index-url='…', then :env:.index-url='…'
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = ast.literal_eval(value)
    return settings


def of_pip(file, target):
    """Mounts that give pip in a root the configuration of pip out here, local indexes too."""
    settings = pip_settings()
    mounts = {target: file}
    lines = [f"{name} = {value}" for name, value in settings.items() if "\n" not in value]
    file.write_text("\n".join(["[global]", *lines, ""]))
    for word in " ".join(settings.values()).split():
        place = Path(word.removeprefix("file://"))
        if word.startswith("file:///"):  # the files of an index lie beside it
            place = place.parent
        if place.is_absolute() and place.exists():
            mounts[str(place)] = place.resolve()
    return mounts
