"""The rules of the layout that import-linter cannot say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "prelabel"
MODULES = sorted(PACKAGE.rglob("*.py"))

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50

DETECTOR = ("predictors/grounding_dino", "benchmarks")
HOMES = {
    "onnxruntime": ("predictors",),
    "openvino": ("predictors",),
    "rtmlib": ("benchmarks",),
    "torch": DETECTOR,
    "transformers": DETECTOR,
    "httpx2": ("labelstudio_api", "media", "launch", "predictors/download.py", "batch/backend.py",
        "assembly/credentials.py"),
    "fastapi": ("server", "assembly/server.py"),
    "starlette": ("server",),
    "prometheus_client": ("server",),
    "pydantic_settings": ("settings",),
    "defusedxml": ("labelstudio",),
    "sqlalchemy": ("store",),
    "dramatiq": ("jobs/distributed.py",),
    "redis": ("jobs/distributed.py",),
    "scipy": ("learning",),
    "sklearn": ("learning",),
    "typer": ("cli",),
    "PIL": ("media", "launch", "predictors/grounding_dino_network.py", "benchmarks", "preview"),
}  # fmt: skip
"""Where each outside library may be imported; a prefix of the module's path."""

HEAVY = (
    *("torch", "transformers", "onnxruntime", "rtmlib", "cv2", "openvino"),
    *("scipy", "sklearn", "pandas"),
)


def name(path):
    return path.relative_to(PACKAGE).as_posix()


def tree(path):
    return ast.parse(path.read_text("utf-8"))


def imported(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_file_is_longer_than_a_person_reads_at_once(path):
    assert len(path.read_text("utf-8").splitlines()) <= MOST_LINES_OF_A_FILE


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_function_is_longer_than_a_screen(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            first = node.body[1 if documented else 0]
            assert (node.end_lineno or 0) - first.lineno < MOST_LINES_OF_A_FUNCTION, node.name


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_outside_library_has_its_home(path):
    for module in imported(path):
        library = module.partition(".")[0]
        homes = HOMES.get(library)
        assert homes is None or name(path).startswith(homes), f"{library} in {name(path)}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_settings_read_the_environment(path):
    reads = ("os.environ", "os.getenv", "getenv(")
    written = path.read_text("utf-8")
    if name(path).startswith("settings/") or not any(read in written for read in reads):
        return
    # A child process inherits the environment.
    assert name(path) == "launch/processes.py"


def test_importing_the_server_loads_no_model_library():
    script = (
        "import sys; import prelabel.assembly.server, prelabel.server.app; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_importing_makes_no_file(tmp_path):
    modules = [
        f"prelabel.{name(p)[:-3].replace('/', '.')}" for p in MODULES if p.stem != "__init__"
    ]
    script = "import importlib\nfor name in " + repr(modules) + ": importlib.import_module(name)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
