"""The commands of docs/containers.md, and what is looked at where they have been typed."""

import re
import time

from ..docs.pages import REPOSITORY, blocks, code_spans  # noqa: TID252 - tests have no package name

PAGE = REPOSITORY / "docs/containers.md"
PATIENCE_S = 300


def block(begin):
    """The one block of commands on the page that begins like this."""
    (found,) = [one.commands for one in blocks(PAGE) if one.commands.startswith(begin)]
    return found


def in_the_text(begin):
    """The one command in the page's text that begins like this."""
    (found,) = {one for one in code_spans(PAGE) if one.startswith(begin)}
    return found


def assert_all_is_well(said):
    """What test_backend.py says is that all checks held."""
    assert re.search(r"^in all +ok +0 checks failed$", said, re.MULTILINE), said


def assert_no_trouble(logs):
    """Nothing in a log is an error."""
    assert "Traceback" not in logs
    assert not [line for line in logs.splitlines() if re.search(r"\berror\b", line, re.IGNORECASE)]


def asked(machine, what, name):
    """What `docker inspect` knows of something."""
    return machine.run("docker", "inspect", "--format", what, name).strip()


def until(machine, what, name, expected):
    """Wait for a container to be in a state."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := asked(machine, what, name)) != expected:
        log = machine.run("docker", "logs", name)
        assert time.monotonic() < deadline, f"{name}: {found}\n{log}"
        assert not found.startswith(("unhealthy", "exited", "dead")), f"{name}: {found}\n{log}"
        time.sleep(0.5)


def until_it_answers(machine, name):
    """Wait for a container of prelabel by its own health check, sooner than an engine asks it."""
    check = ["python3", "-I", "-S", "/usr/local/lib/prelabel/healthcheck.py"]
    deadline = time.monotonic() + PATIENCE_S
    while (ended := machine.ends("docker", "exec", name, *check)).code:
        assert time.monotonic() < deadline, ended.output + machine.run("docker", "logs", name)
        time.sleep(0.5)
