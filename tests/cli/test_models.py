"""The command `prelabel models`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from prelabel.cli.models import models
from prelabel.errors import SettingsError, WeightsUnavailable
from prelabel.predictors import modes
from prelabel.predictors.pose_models import embedded_folder

pytest.importorskip("filelock", reason="pip install 'prelabel[pose]'")


def run(*arguments, **environment):
    return CliRunner().invoke(models, arguments, env=environment)


def test_list_names_every_file_and_says_what_is_not_here(tmp_path):
    result = run("list", "--model-dir", str(tmp_path))

    assert result.exit_code == 0
    assert result.output.count("not here") == 6
    assert "nanodet_person.onnx" in result.output


def test_where_prints_the_folder_of_the_setting(tmp_path):
    result = run("where", MODEL_DIR=str(tmp_path))

    assert result.output.splitlines()[0] == str(tmp_path)


def test_the_folder_of_the_settings_files_is_the_one_that_the_server_uses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_DIR", raising=False)
    (tmp_path / "prelabel.toml").write_text('model_dir = "of-toml"')
    assert run("where").output.splitlines()[0] == "of-toml"

    (tmp_path / ".env").write_text("MODEL_DIR=~/of-env")

    assert run("where").output.splitlines()[0] == str(Path("~/of-env").expanduser())


def test_list_knows_an_archive_that_was_fetched_by_hand(tmp_path):
    (tmp_path / modes.weights_file(modes.MODES["lightweight"].pose).download_name).write_bytes(b"x")

    assert run("list", "--model-dir", str(tmp_path)).output.count("as .zip") == 1


def test_verify_names_what_cannot_be_read_and_goes_on(tmp_path):
    (tmp_path / "a.onnx").mkdir()
    (tmp_path / "b.onnx").write_bytes(b"model")

    result = run("verify", "--model-dir", str(tmp_path))

    assert isinstance(result.exception, WeightsUnavailable)
    assert f"UNREADABLE: {tmp_path / 'a.onnx'}" in result.output
    assert f"{tmp_path / 'b.onnx'} sha256" in result.output


def test_verify_accepts_what_is_whole_and_names_what_is_damaged(tmp_path):
    model = tmp_path / "pose.onnx"
    model.write_bytes(b"model")
    assert run("verify", "--model-dir", str(tmp_path)).exit_code == 0

    (tmp_path / "pose.onnx.sha256").write_text("0" * 64)
    result = run("verify", "--model-dir", str(tmp_path))

    assert isinstance(result.exception, WeightsUnavailable)
    assert str(model) in str(result.exception)


def test_download_takes_what_lies_in_the_folder_and_fetches_the_rest(tmp_path):
    for path in (modes.MODES["lightweight"].detector, modes.MODES["lightweight"].pose):
        (tmp_path / modes.weights_file(path).onnx_name).write_bytes(b"model")

    result = run("download", "lightweight", "--model-dir", str(tmp_path))

    assert result.exit_code == 0
    assert len(result.output.splitlines()) == 2


def test_models_of_ones_own_are_listed_fetched_and_verified(tmp_path):
    whole = embedded_folder() / "nanodet_person.onnx"
    fetched = tmp_path / "models" / "pose.onnx"
    fetched.parent.mkdir()
    fetched.write_bytes(b"model")
    for path in (modes.MODES["lightweight"].detector, modes.MODES["lightweight"].pose):
        (fetched.parent / modes.weights_file(path).onnx_name).write_bytes(b"model")
    given = {
        "MODEL_DIR": str(fetched.parent),
        "POSE_DETECTOR": str(whole),
        "POSE_MODEL": "http://nowhere.invalid/pose.zip",
    }

    listed = run("list", **given).output
    assert f"own detector     7.6 MB  {whole}" in listed
    assert "own pose         0.0 MB  pose.onnx" in listed
    assert run("download", "lightweight", **given).output.splitlines()[2:] == [
        str(whole),
        str(fetched),
    ]
    assert f"digest to compare with: {whole} sha256" in run("verify", **given).output

    fetched.unlink()
    assert "own pose       not here  pose.onnx" in run("list", **given).output
    failed = run("download", "lightweight", **given).exception
    assert isinstance(failed, WeightsUnavailable)
    assert failed.thing == str(fetched)


def test_verify_names_a_model_of_ones_own_that_is_not_there(tmp_path):
    gone = str(tmp_path / "yolox.onnx")
    result = run("verify", MODEL_DIR=str(tmp_path), POSE_DETECTOR=gone)
    assert isinstance(result.exception, WeightsUnavailable)
    assert result.exception.thing == gone


def test_a_mode_that_does_not_exist_is_named():
    result = run("download", "best")

    assert isinstance(result.exception, SettingsError)
