"""What the pages name is there: pages and headings, files, settings, commands and options."""

import re
from functools import cache

import pytest

from prelabel.settings import known_names

from .pages import (
    BESIDE,
    PAGES,
    REPOSITORY,
    anchors,
    code_spans,
    command_lines,
    links,
    path_of,
)
from .prelabel_commands import commands_on, wrong_with

FOREIGN = {
    "Label Studio": {
        "ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED", "USE_DEFAULT_BANNED_SUBNETS",
        "USER_ADDITIONAL_BANNED_SUBNETS", "ML_TIMEOUT_HEALTH", "ML_TIMEOUT_SETUP",
        "ML_TIMEOUT_PREDICT", "LABEL_STUDIO_HOST", "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED",
        "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "START_TRAINING", "ANNOTATIONS_CREATED",
    },
    "Compose files": {
        "PUBLIC_HOST", "POSTGRES_PASSWORD", "LABEL_STUDIO_POSTGRES_PASSWORD", "REDIS_PASSWORD",
        "TLS_FOLDER", "SHARED_DATA", "GRAFANA_PASSWORD", "PROMETHEUS_PORT", "GRAFANA_PORT",
        "GRAFANA_USER", "PROD", "GPU", "CHECK", "RTMLIB", "GROUNDING_DINO",
    },
    "image and app": {
        "VARIANT", "EXTRAS", "TORCH_VERSION", "TORCH_INDEX", "PYTHON_IMAGE", "REVISION",
        "MIN_CONTAINERS", "MAX_CONTAINERS", "IDLE_S", "HF_HOME",
    },
    "values, and what stands for one": {
        "DEBUG", "INFO", "IMAGE", "ANNOTATIONS", "COMMAND",
    },
    "programs and scripts": {
        "LABEL_STUDIO_EXECUTABLE",  # an option's variable
        "MODEL_S", "FAULT_SEEDS",
    },
    "libraries": {
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
        "REQUESTS_CA_BUNDLE", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK",
        "XDG_DATA_HOME",
    },
}  # fmt: skip
"""Names in capitals that are no settings of prelabel, by whose they are."""
KNOWN = known_names().union(*FOREIGN.values())

ROOTS = ("src", "tests", "docs", "deploy", "scripts", "examples", ".github")
AT_THE_ROOT = r"[\w.-]+\.(?:ya?ml|py|md|toml|example)|Dockerfile|Makefile|\.envrc|\.env\.example"
MADE = {".env", "prelabel.toml", "secret.yaml", "pip.conf"}
"""Files that readers make themselves."""


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=path_of)
def test_every_link_leads_to_a_file_and_a_heading(page):
    broken = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=path_of)
def test_every_setting_named_is_one(page):
    written = {re.sub(r"=.*", "", span) for span in code_spans(page)}
    named = {name for name in written if re.fullmatch(r"[A-Z][A-Z0-9]*_[A-Z0-9_]+|[A-Z]{4,}", name)}
    for line in command_lines(page):
        named |= set(re.findall(r"(?:^|[ \"'])([A-Z][A-Z0-9_]{3,})=", line))
    assert named - KNOWN == set()


@cache
def paths():
    """The files of the repository; environments that lie in it are none of it."""
    return [path.as_posix() for root in ROOTS for path in (REPOSITORY / root).rglob("*")]


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=path_of)
def test_every_file_named_exists(page):
    words = {word for span in code_spans(page) for word in span.split()}
    inside = {word for word in words if re.fullmatch(rf"(?:{'|'.join(ROOTS)})/[\w./-]+", word)}
    inside |= {word for word in words if re.fullmatch(AT_THE_ROOT, word)}
    gone = {
        name
        for name in inside - MADE
        if not (REPOSITORY / name).exists()
        and not any(path.endswith(f"/{name}") for path in paths())
    }
    assert gone == set()


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=path_of)
def test_every_prelabel_command_line_would_be_taken(page):
    wrong = {
        line: wrong_with(words, is_whole=is_whole) for line, words, is_whole in commands_on(page)
    }
    assert {line: why for line, why in wrong.items() if why} == {}


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=path_of)
def test_every_make_target_named_exists(page):
    lines = [*command_lines(page), *code_spans(page)]
    targets = {match[1] for line in lines if (match := re.match(r"make ([a-z.][\w.-]*)", line))}
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    makefile = makefile.replace("$(STUDIO_VENV)", ".venv-labelstudio")
    made = " ".join(re.findall(r"^([\w./ -]+):(?!=)", makefile, re.MULTILINE)).split()
    assert targets - set(made) == set()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("run --project 7 --limit=5 | tee log", ""),
        ("studio --some-option-of-label-studio", ""),
        ("run --projct 7", "there is no --projct"),
        ("run --project", "--project takes N"),
        ("run everything", "it takes no everything"),
        ("export --format voc", "--format takes coco-wholebody"),
        ("rum", "there is no such command"),
        ("models fetch", "there is no such command"),
    ],
)
def test_a_command_line_that_would_be_refused_is_found(line, why):
    found = wrong_with(line.split(), is_whole=True)
    assert found.startswith(why) if why else not found


def test_a_link_to_a_heading_that_is_not_there_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One `two`, three\n\n## One two three\n\n[a](other.md#b) [c](https://d)\n")
    assert anchors(page) == {"one-two-three", "one-two-three-1"}
    assert links(page) == [("other.md", "b")]


def test_every_picture_is_made_by_the_script_and_shown():
    folder = REPOSITORY / "docs" / "images"
    made = (REPOSITORY / "scripts" / "make_screenshots.py").read_text("utf-8")
    shown = "".join(page.read_text("utf-8") for page in PAGES)
    for picture in folder.iterdir():
        assert f'"{picture.name}"' in made
        assert f"images/{picture.name})" in shown


def test_the_table_of_contents_has_every_page():
    index = REPOSITORY / "docs" / "index.md"
    listed = {path for path, _ in links(index)}
    assert {page.name for page in PAGES[1:]} - {"index.md"} - listed == set()


def test_the_readme_leads_to_every_page():
    listed = {path for path, _ in links(REPOSITORY / "README.md")}
    assert {path_of(page) for page in PAGES[1:]} - listed == set()
