"""A newcomer's walk: the commands of the pages, copied and run, against a real Label Studio.

What is other than on the page: the ports, the token, the number of the project, and that no
weights are downloaded.
"""

from pathlib import Path

import pytest

from .newcomer import LABEL_STUDIO
from .pages import PAGES, REPOSITORY, blocks, console_count, path_of
from .walking import (
    ATTACH,
    BY_HAND,
    FRAMES,
    INSTALL,
    NOTES,
    RUN,
    SERVE,
    prediction_counts,
    steps_of,
    walk,
)

ALONE = ("docs/quick_start.md", "README.md", "docs/attach.md")
"""Pages that begin with nothing."""
IN_AN_ENVIRONMENT = ("docs/write_a_predictor.md",)
"""Pages for people who have installed prelabel and have a Label Studio."""
BESIDE_A_BACKEND = ("docs/faq.md", "docs/doctor.md", "docs/pose.md", "docs/batch.md")
"""Pages for people whose project is attached, and has tasks."""
DEPLOYED = (
    "docs/boxes.md",
    "docs/cloud_gpu.md",
    "docs/containers.md",
    "docs/kubernetes.md",
    "docs/operate.md",
    "docs/scale.md",
    "docs/security.md",
)
"""Pages for people who run it for others, each with a walk of its own: test_walk_deployed.py."""
WALKED = (*ALONE, *IN_AN_ENVIRONMENT, *BESIDE_A_BACKEND, *DEPLOYED)


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
    if path_of(page) not in WALKED:
        assert all(block.not_run for block in steps), [str(one) for one in steps]


@pytest.mark.parametrize("page", PAGES, ids=path_of)
def test_what_is_done_by_hand_is_known(page):
    assert {block.by_hand for block in blocks(page)} <= {"", *BY_HAND}


def test_the_pages_named_here_exist():
    assert {*WALKED} <= {path_of(page) for page in PAGES}
    assert len({*WALKED}) == len(WALKED)


def test_each_page_on_a_deployment_has_its_walk():
    walks = Path(__file__).with_name("test_walk_deployed.py").read_text("utf-8")
    assert [page for page in DEPLOYED if f'steps_of("{page}")' not in walks] == []


def test_what_is_noted_here_is_on_its_page():
    for page, start in NOTES:
        assert [one for one in blocks(REPOSITORY / page) if one.commands.startswith(start)]


def test_the_walk_starts_what_the_pages_start():
    started = "".join(block.commands for page in ALONE for block in blocks(REPOSITORY / page))
    assert LABEL_STUDIO in started
    assert "prelabel serve" in started
