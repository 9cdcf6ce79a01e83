"""Label Studio as a child: where it is found and what it is told."""

import os
import socket
from pathlib import Path

import pytest

from prelabel.errors import MissingPackage, OperatorError
from prelabel.launch.label_studio import (
    FirstUser,
    Installation,
    find_executable,
    host_and_port,
    is_running,
)
from prelabel.launch.processes import free_port

ECHO = """#!/bin/sh
echo "$@"
env | grep -E '^(ML_BLOCK|SSRF_|LABEL_STUDIO_|COLLECT_)' | sort
"""


def program(path, text="#!/bin/sh\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def empty_machine(tmp_path, monkeypatch):
    """A working directory with nothing in it, and no Label Studio on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_without_any_label_studio_the_next_step_is_told(empty_machine):
    with pytest.raises(MissingPackage, match=r"make .venv-labelstudio"):
        find_executable(None)


def test_the_one_on_the_path_is_found(empty_machine):
    on_path = program(empty_machine / "bin" / "label-studio")
    assert find_executable(None) == on_path


def test_the_checkouts_own_goes_before_the_one_on_the_path(empty_machine):
    program(empty_machine / "bin" / "label-studio")
    own = program(empty_machine / ".venv-labelstudio/bin/label-studio")
    assert find_executable(None) == own


def test_the_one_given_goes_before_all_and_is_not_replaced_when_it_is_missing(empty_machine):
    program(empty_machine / "bin" / "label-studio")
    given = program(empty_machine / "elsewhere" / "label-studio")
    assert find_executable(given) == given
    with pytest.raises(MissingPackage, match="nowhere"):
        find_executable(Path("nowhere"))


def test_it_is_told_to_talk_to_a_backend_on_this_machine_and_to_nobody_else(tmp_path):
    installation = Installation(
        program(tmp_path / "label-studio", ECHO),
        data_dir=tmp_path / "data",
        files_root=tmp_path / "files",
        first_user=FirstUser("anna@example.com", "secret-word"),
        arguments=("--debug",),
    )
    port = free_port()
    with installation.start(f"http://localhost:{port}", log_path=tmp_path / "log") as child:
        child._process.wait(10)
    command, *variables = child.last_lines().splitlines()
    assert command == f"start --no-browser --internal-host 127.0.0.1 --port {port} --debug"
    assert variables == [
        "COLLECT_ANALYTICS=false",
        f"LABEL_STUDIO_BASE_DATA_DIR={tmp_path}/data",
        "LABEL_STUDIO_HOST=",
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={tmp_path}/files",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true",
        "LABEL_STUDIO_PASSWORD=secret-word",
        "LABEL_STUDIO_USERNAME=anna@example.com",
        "ML_BLOCK_LOCAL_IP=false",
        "SSRF_PROTECTION_ENABLED=false",
    ]


def test_a_taken_port_is_refused_because_label_studio_would_quietly_take_the_next_one(tmp_path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(OperatorError, match=f"port {port}: another program uses it"):
            Installation(program(tmp_path / "label-studio")).start(
                f"http://localhost:{port}", log_path=tmp_path / "log"
            )


def test_nothing_on_the_port_is_no_label_studio():
    assert not is_running(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8080", ("127.0.0.1", 8080)),
        ("http://127.0.0.1:9090", ("127.0.0.1", 9090)),
        ("http://0.0.0.0:81/", ("0.0.0.0", 81)),
        ("http://studio.example.com", ("studio.example.com", 80)),
    ],
)
def test_an_address_is_split_into_what_to_listen_on(url, expected):
    assert host_and_port(url) == expected


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch):
    for name in list(os.environ):
        if name.startswith("LABEL_STUDIO_"):
            monkeypatch.delenv(name)
