"""Settings: where they come from, and what is wrong with a wrong one."""

import errno

import pytest

from prelabel.errors import SettingsError
from prelabel.settings import Settings, given_names, hand_down, load


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


def test_without_any_source_all_are_defaults():
    settings = load()
    assert settings.port == 9090
    assert settings.grounding_dino_box_threshold == 0.22
    assert settings.bind_address == "127.0.0.1"


def test_flags_go_before_the_environment_before_dotenv_before_toml(empty_folder, monkeypatch):
    (empty_folder / "prelabel.toml").write_text("port = 1\nworkers = 2\nmax_body_mb = 3\n")
    assert (load().port, load().workers) == (1, 2)
    (empty_folder / ".env").write_text("PORT=4\nWORKERS=5\n")
    assert (load().port, load().workers, load().max_body_mb) == (4, 5, 3)
    monkeypatch.setenv("PORT", "6")
    assert (load().port, load().workers) == (6, 5)
    assert load(port=7, workers=None).port == 7


@pytest.mark.parametrize(
    "name", ["LABEL_STUDIO_API_KEY", "LABEL_STUDIO_API_TOKEN", "LABEL_STUDIO_ACCESS_TOKEN"]
)
def test_the_token_has_the_names_that_users_know(monkeypatch, name):
    monkeypatch.setenv(name, "t0ken")
    assert load().label_studio_api_key.get_secret_value() == "t0ken"


def test_lists_are_written_with_commas(monkeypatch):
    monkeypatch.setenv("FETCH_ALLOWED_HOSTS", "minio, 10.0.0.0/8,")
    assert load().fetch_allowed_hosts == ("minio", "10.0.0.0/8")


def test_an_empty_variable_is_no_variable(monkeypatch):
    monkeypatch.setenv("PORT", "")
    assert load().port == 9090


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"),
        ("LOG_LEVEL", "LOUD"),
        ("GROUNDING_DINO_BOX_THRESHOLD", "2"),
        ("LABEL_STUDIO_URL", "label-studio:8080"),
        ("RATE_LIMIT", "often"),
        ("SECRET_PATH", "a/b"),
        ("SECRET_PATH", "/"),
        ("MAX_IMAGE_MEGAPIXELS", "inf"),
        ("PREDICT_DEADLINE_SECONDS", "inf"),
        ("PREDICT_DEADLINE_SECONDS", "nan"),
        ("LOCAL_FILES_DOCUMENT_ROOT", "/there/is/no/such/folder"),
    ],
)
def test_a_wrong_value_is_named_with_its_setting(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert caught.value.thing == name


def test_secrets_do_not_show(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "s3cret")
    monkeypatch.setenv("BASIC_AUTH_USER", "ann")
    monkeypatch.setenv("BASIC_AUTH_PASS", "s3cret")
    assert "s3cret" not in repr(load())


def test_flags_are_handed_down_to_worker_processes(monkeypatch):
    monkeypatch.setenv("PORT", "1")
    hand_down({"port": 8, "workers": None})
    assert load().port == 8


def test_predictors_get_the_settings_by_their_environment_names():
    assert load().options()["GROUNDING_DINO_DEVICE"] == "cpu"


@pytest.mark.parametrize(
    ("written", "read"), [("false", False), ("True", True), ("a.pem", "a.pem")]
)
def test_certificates_are_checked_or_not_or_against_a_file(monkeypatch, written, read):
    monkeypatch.setenv("VERIFY_SSL", written)
    assert load().verify_ssl == read


@pytest.mark.parametrize("name", ["BASIC_AUTH_USER", "BASIC_AUTH_PASS"])
def test_half_a_login_is_refused_because_it_would_leave_the_door_open(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    with pytest.raises(SettingsError, match="go together"):
        load()


def test_a_file_that_is_not_text_is_named(empty_folder):
    (empty_folder / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"^\.env: cannot be read .*UTF-8"):
        load()
    (empty_folder / ".env").unlink()
    (empty_folder / "prelabel.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"^prelabel\.toml: cannot be read"):
        load()
    (empty_folder / "prelabel.toml").write_text("port = [")
    with pytest.raises(SettingsError, match=r"^prelabel\.toml: cannot be read .*end of doc"):
        load()


def test_a_file_that_may_not_be_read_is_named(empty_folder, monkeypatch):
    (empty_folder / ".env").write_text("PORT=1")

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", ".env")

    monkeypatch.setattr("dotenv.main.open", refuse, raising=False)
    with pytest.raises(SettingsError, match=r"^\.env: cannot be read \(Permission denied\)"):
        load()


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1080", "socks4://h", "ftp://h"])
def test_a_proxy_that_nothing_can_go_through_is_refused_by_its_name(monkeypatch, name, address):
    monkeypatch.setattr("prelabel.settings.proxies.find_spec", lambda _: None)
    monkeypatch.setenv(name, address)
    with pytest.raises(SettingsError, match=f"^{name}: .* Set it to an http:// proxy"):
        load()
    monkeypatch.setenv("NO_PROXY", "*")
    assert load()


@pytest.mark.parametrize("address", ["http://u:p@h:3128", "h:3128", "HTTPS://h"])
def test_a_proxy_that_can_be_used_is_left_to_the_libraries(monkeypatch, address):
    monkeypatch.setenv("ALL_PROXY", address)
    assert load()


@pytest.mark.parametrize("name", [".env", "prelabel.toml"])
def test_doctor_looks_for_names_also_where_a_file_cannot_be_read(empty_folder, monkeypatch, name):
    monkeypatch.setenv("PORT", "1")
    (empty_folder / name).write_bytes(b"\xff\xfe\x00")
    assert "PORT" in given_names()
