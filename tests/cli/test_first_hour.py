"""What goes wrong in a first hour ends in words, never in a traceback: what, why, what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prelabel import cli
from prelabel.cli import options
from prelabel.cli.preview import _as_far_as_written
from prelabel.errors import OperatorError, SettingsError
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.launch import backend
from prelabel.settings import Settings, load

PRELABEL = Path(sys.executable).parent / "prelabel"
NOBODY = "http://127.0.0.1:9"  # the port of a service that no machine runs any more


def ended(folder, *command, **environment):
    """How a command ends in a folder without settings of its own."""
    plain = {name: value for name, value in os.environ.items() if "LABEL_STUDIO" not in name}
    return subprocess.run(
        [PRELABEL, *map(str, command)],
        env={**plain, "DATA_DIR": str(folder / "data"), **environment},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "exit_code", "says"),
    [
        ("warmup --url nonsense", 2, "Write it with its scheme"),
        ("warmup --url http://[::1", 2, "Write it with its scheme"),
        ("warmup .", 2, "is a directory"),
        ("studio --image .", 2, "is a directory"),
        ("connect --label-config utf16.xml", 2, "utf16.xml: is no text in UTF-8. Save it"),
        ("demo", 2, "Run `make demo` in a checkout of prelabel"),
        ("serve --port 99999", 2, "PORT: Input should be less than or equal to 65535. Correct the"),
    ],
)
def test_a_wrong_option_is_named_with_what_to_do(command, exit_code, says, tmp_path):
    (tmp_path / "utf16.xml").write_text("<View/>", encoding="utf-16")
    environment = {"LABEL_STUDIO_URL": NOBODY, "LABEL_STUDIO_API_KEY": "a" * 40}
    done = ended(tmp_path, *command.split(), **environment)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_label_studio_that_is_away_is_told_without_the_words_of_libraries(tmp_path):
    environment = {"LABEL_STUDIO_URL": NOBODY, "LABEL_STUDIO_API_KEY": "a" * 40}
    done = ended(tmp_path, "predictions", "list", "--project", 1, **environment)
    assert (done.returncode, done.stdout) == (4, "")
    *retries, last = done.stderr.splitlines()
    assert all("Label Studio does not answer" in line for line in retries)
    assert "stamina" not in done.stderr
    assert last.startswith(f"prelabel: Label Studio at {NOBODY}: no connection")


def test_a_value_of_the_environment_is_corrected_there(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABEL_STUDIO_URL", "studio.example")
    with pytest.raises(SettingsError) as refused:
        load()
    assert str(refused.value) == (
        "LABEL_STUDIO_URL: needs http:// or https:// in front. "
        "Correct it in the environment, .env or prelabel.toml."
    )


def test_a_label_config_of_a_windows_editor_is_read(tmp_path):
    (tmp_path / "config.xml").write_text("<View/>", encoding="utf-8-sig")
    assert options.text_of(tmp_path / "config.xml") == "<View/>"


def test_a_label_config_that_is_none_is_named_by_its_file(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(SettingsError, match=r"config\.json: is not XML"):
        options.label_config_of(tmp_path / "config.json")


@pytest.mark.parametrize("read", [options.text_of, options.bytes_of])
def test_a_file_that_cannot_be_read_is_named(read, tmp_path):
    with pytest.raises(SettingsError, match="Is a directory"):
        read(tmp_path)


def test_certificates_that_cannot_be_read_are_named(tmp_path):
    missing = tmp_path / "missing.pem"
    with pytest.raises(SettingsError, match="cannot be read as certificates"):
        LabelStudio(NOBODY, token="a" * 40, verify=str(missing))
    (tmp_path / "text.pem").write_text("hello")
    both = {"ssl_certfile": tmp_path / "text.pem", "ssl_keyfile": missing}
    with pytest.raises(SettingsError, match="cannot be read as a certificate"):
        backend.own_certificate(Settings(_env_file=None, **both))


def test_a_disk_that_fills_up_has_a_name_and_what_was_seen_before_is_told(tmp_path):
    def seen():
        yield "first"
        raise OSError(28, "No space left on device")

    told = _as_far_as_written(seen(), tmp_path)
    assert next(told) == "first"
    with pytest.raises(OperatorError, match="No space left on device"):
        next(told)


def test_a_package_that_is_not_installed_is_named_and_a_module_of_ours_is_a_defect(
    monkeypatch, capsys
):
    def lacking(name):
        def app():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return app

    monkeypatch.setattr(cli, "app", lacking("onnxruntime.capi"))
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert capsys.readouterr().err.startswith("prelabel: onnxruntime.capi: it is not installed. ")
    monkeypatch.setattr(cli, "app", lacking("prelabel.nothing"))
    with pytest.raises(ModuleNotFoundError):
        cli.main()


def test_a_full_disk_is_named_wherever_it_is_met(monkeypatch, capsys):
    def fail(error):
        def app():
            raise error

        return app

    monkeypatch.setattr(cli, "app", fail(OSError(28, "No space left on device", "/out/a.json")))
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert capsys.readouterr().err.startswith("prelabel: /out/a.json: the disk is full. Make room")
    monkeypatch.setattr(cli, "app", fail(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        cli.main()


@pytest.mark.parametrize(
    "command",
    [
        "warmup --timeout -1",
        "warmup --timeout 0",
        "studio --port 99999",
        "demo --port 0",
        "demo --backend-port 99999",
    ],
)
def test_a_number_that_there_cannot_be_is_refused_as_usage(command):
    assert CliRunner().invoke(cli.app, command.split()).exit_code == 2
