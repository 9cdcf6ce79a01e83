"""A newcomer's walk: the commands of the pages, copied and run, against a real Label Studio.

What is other than on the page: the ports, the token, the number of the project, and that no
weights are downloaded.
"""

from dataclasses import replace

import pytest

from prelabel.labelstudio_api.client import LabelStudio

from .newcomer import LABEL_STUDIO, Newcomer
from .pages import PAGES, REPOSITORY, Block, blocks, console_count, path_of

ALONE = ("docs/quick_start.md", "README.md", "docs/attach.md")
"""Pages that begin with nothing."""
IN_AN_ENVIRONMENT = ("docs/write_a_predictor.md",)
"""Pages for people who have installed prelabel and have a Label Studio."""
BESIDE_A_BACKEND = ("docs/faq.md", "docs/doctor.md", "docs/pose.md", "docs/batch.md")
"""Pages for people whose project is attached, and has tasks."""
WALKED = (*ALONE, *IN_AN_ENVIRONMENT, *BESIDE_A_BACKEND)

ELSEWHERE = {
    "docs/boxes.md": "needs PyTorch, and the weights of Grounding DINO",
    "docs/cloud_gpu.md": "needs an account at Modal",
    "docs/containers.md": "needs a container engine; tests/deploy does what can be done without",
    "docs/kubernetes.md": "needs a cluster; tests/deploy does what can be done without",
    "docs/operate.md": "needs a cluster or containers; tests/deploy/test_operate.py runs the rest",
    "docs/scale.md": "needs PostgreSQL and Redis; tests/server/test_replicas.py starts them",
    "docs/security.md": "needs a certificate; tests/security does what it says",
}
"""Why the blocks of a page are not walked that have no note of their own."""

NOTES = {
    ("docs/batch.md", "prelabel serve --host"): {
        "not_run": "needs two machines; tests/batch/test_remote.py has two programs"
    },
    ("docs/doctor.md", "prelabel doctor"): {"exit_codes": (0, 5)},
    ("docs/pose.md", "prelabel models list"): {"not_run": "fetches the weights of RTMLib"},
    ("docs/pose.md", "pip uninstall"): {"not_run": "mends an environment that is not broken"},
    ("docs/pose.md", "prelabel preview photo.jpg"): {
        "not_run": "needs files of the reader's own; docs/quick_start.md has some"
    },
}
"""What would stand above a block, by how that begins, on pages without such notes."""

FRAMES = sorted((REPOSITORY / "examples" / "demo" / "frames").glob("*.jpg"))
INSTALL = Block("the set-up", "python3 -m venv .venv\nsource .venv/bin/activate\n"
    "pip install '.[pose]'\n")  # fmt: skip
ATTACH = (
    Block("the set-up", "export ML_BLOCK_LOCAL_IP=false SSRF_PROTECTION_ENABLED=false\n"
        "label-studio start\n"),
    Block("the set-up", "export LABEL_STUDIO_URL=http://localhost:8080\n"
        "export LABEL_STUDIO_API_KEY=…\n"),
)  # fmt: skip
SERVE = (
    Block("the set-up", "prelabel serve\n"),
    Block("the set-up", 'prelabel connect --project-title "My frames" '
        "--backend-url http://localhost:9090\n"),
    Block("the set-up", by_hand="import the frames"),
)  # fmt: skip
RUN = Block("the end", "prelabel run --project 7\n")
"""Whatever was deleted on a page, each frame has its prediction again."""


def client(newcomer: Newcomer) -> LabelStudio:
    return LabelStudio(newcomer.label_studio, token=newcomer.token())


def import_the_frames(newcomer: Newcomer) -> None:
    with client(newcomer) as studio:
        if not list(studio.tasks(newcomer.project)):
            studio.upload_files(newcomer.project, FRAMES)


def retrieve_predictions(newcomer: Newcomer) -> None:
    with client(newcomer) as studio:
        studio.retrieve_predictions(newcomer.project)


BY_HAND = {
    "import the frames": import_the_frames,
    "retrieve predictions": retrieve_predictions,
}
"""What is done in the browser, done through the API that the browser uses."""


def walk(newcomer: Newcomer, steps) -> str:
    said = ""
    for step in steps:
        if step.by_hand:
            BY_HAND[step.by_hand](newcomer)
        elif not step.not_run:
            said += newcomer.copies(step)
    return said


def steps_of(page: str) -> list[Block]:
    """What a reader of a page does, with what is noted here."""
    noted = []
    for block in blocks(REPOSITORY / page):
        notes = [
            note
            for (name, start), note in NOTES.items()
            if name == page and block.commands.startswith(start)
        ]
        noted.append(replace(block, **notes[0]) if notes else block)
    return noted


def prediction_counts(newcomer: Newcomer) -> list[int]:
    with client(newcomer) as studio:
        return [len(studio.predictions(task["id"])) for task in studio.tasks(newcomer.project)]


@pytest.mark.e2e
@pytest.mark.parametrize("page", ALONE)
def test_a_newcomer_gets_predictions_by_copying_what_the_page_says(newcomer, page):
    with newcomer.reading_a_page():
        walk(newcomer, steps_of(page))
        assert prediction_counts(newcomer) == [1] * len(FRAMES)


@pytest.mark.e2e
def test_the_example_predictor_answers_whoever_follows_its_page(newcomer):
    with newcomer.reading_a_page():
        walk(newcomer, (INSTALL, *ATTACH))
        said = walk(newcomer, steps_of("docs/write_a_predictor.md"))
    assert "colour-blobs answers" in said
    assert "model version colour-blobs" in said


@pytest.mark.e2e
def test_who_has_a_project_can_copy_what_the_other_pages_say(newcomer):
    with newcomer.reading_a_page():
        walk(newcomer, (INSTALL, *ATTACH, *SERVE))
        for page in BESIDE_A_BACKEND:
            walk(newcomer, (*steps_of(page), RUN))
            assert (page, prediction_counts(newcomer)) == (page, [1] * len(FRAMES))


@pytest.mark.parametrize("page", PAGES, ids=path_of)
def test_each_block_of_commands_is_walked_or_says_why_not(page):
    steps = [block for block in blocks(page) if block.commands]
    assert len(steps) == console_count(page), "a block that is indented, or not closed"
    if path_of(page) not in WALKED and path_of(page) not in ELSEWHERE:
        assert all(block.not_run for block in steps), [str(one) for one in steps]


@pytest.mark.parametrize("page", PAGES, ids=path_of)
def test_what_is_done_by_hand_is_known(page):
    assert {block.by_hand for block in blocks(page)} <= {"", *BY_HAND}


def test_the_pages_named_here_exist():
    assert {*WALKED, *ELSEWHERE} <= {path_of(page) for page in PAGES}
    assert not {*WALKED} & {*ELSEWHERE}


def test_what_is_noted_here_is_on_its_page():
    for page, start in NOTES:
        assert [one for one in blocks(REPOSITORY / page) if one.commands.startswith(start)]


def test_the_walk_starts_what_the_pages_start():
    started = "".join(block.commands for page in ALONE for block in blocks(REPOSITORY / page))
    assert LABEL_STUDIO in started
    assert "prelabel serve" in started
