"""Every variable in a file that deploys something is a setting of ours, or known as another's."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from prelabel.settings import known_names

REPOSITORY = Path(__file__).resolve().parents[2]

FOREIGN = {
    # name, or the beginning of names: whose
    "PATH": "the system",
    "HOME": "the system",
    "USER": "the system",
    "LD_LIBRARY_PATH": "the system",
    "DEBIAN_FRONTEND": "Debian's apt",
    "PYTHON": "Python",
    "PIP_": "pip",
    "MALLOC_ARENA_MAX": "the C library: in how many pools it keeps memory",
    "HF_HOME": "Hugging Face's libraries: where weights are kept",
    "LABEL_STUDIO_EXECUTABLE": "`prelabel studio`, which reads it where it looks for the program",
    # Services beside ours
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "Label Studio",
    "LABEL_STUDIO_HOST": "Label Studio",
    "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "Label Studio",
    "USE_DEFAULT_BANNED_SUBNETS": "Label Studio",
    "USER_ADDITIONAL_BANNED_SUBNETS": "Label Studio",
    "COLLECT_ANALYTICS": "Label Studio",
    "LATEST_VERSION_CHECK": "Label Studio",
    "SENTRY_DSN": "Label Studio",
    "FRONTEND_SENTRY_DSN": "Label Studio",
    "CSRF_TRUSTED_ORIGINS": "Label Studio: Django",
    "SESSION_COOKIE_SECURE": "Label Studio: Django",
    "REQUESTS_CA_BUNDLE": "Label Studio: requests",
    "DJANGO_DB": "Label Studio's database",
    "POSTGRE_": "Label Studio's database",
    "PGSSL": "Label Studio's database: libpq",
    "LABEL_STUDIO_POSTGRES_PASSWORD": "PostgreSQL",
    "POSTGRES_": "PostgreSQL",
    "REDIS_PASSWORD": "Redis",
    "REDISCLI_AUTH": "Redis",
    "GF_": "Grafana",
    # What the compose files put into other places than an environment
    "LABEL_STUDIO_PORT": "Compose: where Label Studio is published",
    "LABEL_STUDIO_VERSION": "Compose: a tag",
    "PRELABEL_VERSION": "Compose: a tag",
    "NGINX_VERSION": "Compose: a tag",
    "REDIS_VERSION": "Compose: a tag",
    "GRAFANA_": "Compose: Grafana's tag, port and password",
    "PROMETHEUS_": "Compose: Prometheus' tag and port",
    "PUBLIC_HOST": "Compose: the name that browsers use",
    "HTTP_PORT": "Compose: where nginx is published",
    "HTTPS_PORT": "Compose: where nginx is published",
    "SHARED_DATA": "Compose: a folder",
    "TLS_FOLDER": "Compose: a folder",
    "COMPOSE_": "Docker Compose",
}


def whose(name):
    """Who reads a variable; "" where nobody is known to."""
    if name in known_names():
        return "prelabel"
    found = (owner for start, owner in FOREIGN.items() if start == name or _begins(name, start))
    return next(found, "")


def _begins(name, start):
    return start.endswith(("_", "PYTHON", "PGSSL")) and name.startswith(start)


def of_dockerfile(text) -> Iterator[str]:
    joined = re.sub(r"\\\n\s*", " ", text)
    for words in re.findall(r"^ENV (.+)$", joined, re.MULTILINE):
        yield from re.findall(r"(?:^|\s)([A-Z_]\w*)=", words)


def of_environment(value) -> Iterator[str]:
    """Names in an `environment` of Compose, or an `env` of Kubernetes or a workflow."""
    if isinstance(value, dict):
        yield from value
    for one in value if isinstance(value, list) else ():
        yield one["name"] if isinstance(one, dict) else one.partition("=")[0]


def walk(value) -> Iterator[dict]:
    """All mappings in a document."""
    if isinstance(value, dict):
        yield value
    inside = value.values() if isinstance(value, dict) else value
    for one in inside if isinstance(value, dict | list) else ():
        yield from walk(one)


def of_yaml(text) -> Iterator[str]:
    for document in yaml.safe_load_all(text):
        for mapping in walk(document):
            for key in ("env", "environment"):
                yield from of_environment(mapping.get(key))
            if mapping.get("kind") in {"ConfigMap", "Secret"}:
                yield from mapping.get("data", ())
                yield from mapping.get("stringData", ())
            for one in mapping.get("literals", ()):
                yield one.partition("=")[0]


def of_compose(text) -> Iterator[str]:
    yield from of_yaml(text)
    yield from re.findall(r"(?<!\$)\$\{(\w+)", text)


def of_lines(text) -> Iterator[str]:
    """Names in a file of `NAME=value` lines; what is commented out counts."""
    return iter(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))


def of_shell(text) -> Iterator[str]:
    """What a script gives to the programs that it starts."""
    for words in re.findall(r"^\s*export (.+)$", text, re.MULTILINE):
        yield from re.findall(r"(?:^|\s)([A-Z_]\w*)(?==|\s|$)", re.sub(r'"[^"]*"', "", words))


def of_modal(text) -> Iterator[str]:
    """Names in an app: the settings of its image, and the keys that its secret needs."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            yield from (key for key in keys if isinstance(key, str) and key.isupper())
        if isinstance(node, ast.keyword) and node.arg == "required_keys":
            yield from ast.literal_eval(node.value)


READ = {
    "Dockerfile*": of_dockerfile,
    "docker-compose*.yml": of_compose,
    "deploy/kubernetes/**/*.yaml": of_yaml,
    "deploy/kubernetes/**/*.yml": of_yaml,
    "deploy/**/*.env*": of_lines,
    "deploy/modal/*.py": of_modal,
    "deploy/**/*.sh": of_shell,
    ".github/workflows/*.yml": of_yaml,
    ".env.example": of_lines,
    ".envrc": of_shell,
    ".ci/run": of_shell,
    "scripts/*.sh": of_shell,
}
NAMED = [
    (path.relative_to(REPOSITORY).as_posix(), sorted(set(read(path.read_text("utf-8")))))
    for glob, read in READ.items()
    for path in sorted(REPOSITORY.glob(glob))
]


@pytest.mark.parametrize(("path", "names"), [pytest.param(*one, id=one[0]) for one in NAMED])
def test_every_variable_is_a_setting_or_somebody_elses(path, names):
    unknown = [name for name in names if not whose(name)]
    assert unknown == [], f"{path}: no settings of prelabel; correct them, or add them to FOREIGN"


def test_the_files_are_read():
    """A pattern that finds nothing would let everything pass."""
    named = {name for _, names in NAMED for name in names}
    assert {"BIND_ADDRESS", "DATABASE_URL", "API_TOKEN", "GROUNDING_DINO_DEVICE"} <= named
    for glob in ("Dockerfile*", "docker-compose*.yml", ".env.example", ".github/workflows/*.yml"):
        paths = {path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob(glob)}
        assert any(names for path, names in NAMED if path in paths), glob


def test_nothing_is_named_as_foreign_that_no_file_has():
    named = {name for _, names in NAMED for name in names}
    unused = [one for one in FOREIGN if not any(n == one or _begins(n, one) for n in named)]
    assert unused == []


def test_no_foreign_name_hides_a_setting():
    assert [name for name in known_names() if any(_begins(name, one) for one in FOREIGN)] == []
    assert [name for name in FOREIGN if name in known_names()] == []


@pytest.mark.parametrize(
    ("read", "text", "names"),
    [
        (of_dockerfile, "FROM x\nENV A=1 \\\n    B_C=2\nENV D=$A\nARG E=3\n", ["A", "B_C", "D"]),
        (of_yaml, "env:\n- name: A\n  value: B\n", ["A"]),
        (of_yaml, "environment:\n  A: b\n  C:\n", ["A", "C"]),
        (of_yaml, "environment: [A=b, C]\n", ["A", "C"]),
        (of_yaml, "kind: Secret\nstringData: {A: b}\n---\nkind: Service\ndata: {C: d}\n", ["A"]),
        (of_yaml, "configMapGenerator:\n- literals: [A=b]\n", ["A"]),
        (of_compose, 'image: "x:${A:-b}"\ncommand: $${B}\n', ["A"]),
        (of_lines, "A=1\n#B=\n# C=2 in a sentence\n", ["A", "B"]),
        (of_shell, 'export A="${B:-c D=e}" F\nG=1\n', ["A", "F"]),
        (of_modal, 'S = {"A": 1, "b": 2}\nf(required_keys=["C"])\n', ["A", "C"]),
    ],
)
def test_names_are_found_where_they_stand(read, text, names):
    assert list(read(text)) == names
