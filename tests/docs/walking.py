"""What the walks have in common: who has set up what, what is done by hand, what is left out."""

from dataclasses import replace

from prelabel.labelstudio.templates import boxes_config
from prelabel.labelstudio_api.client import LabelStudio

from .newcomer import Newcomer
from .pages import REPOSITORY, Block, blocks

NOTES = {
    ("docs/batch.md", "prelabel serve --host"): {
        "not_run": "needs two machines; tests/batch/test_remote.py has two programs"
    },
    ("docs/cloud_gpu.md", "pip install modal"): {"not_run": "needs an account at Modal"},
    ("docs/cloud_gpu.md", 'python -c "import modal'): {"not_run": "needs an account at Modal"},
    ("docs/containers.md", "deploy/tls/make_certificates.sh"): {
        "not_run": "without containers, and so walked by itself"
    },
    ("docs/containers.md", "docker compose -f docker-compose.prod.yml cp"): {
        "not_run": "needs containers; tests/deploy/test_compose_up_team.py types it"
    },
    ("docs/containers.md", "docker run --rm -v prelabel-models"): {
        "not_run": "fetches the weights of RTMLib and Grounding DINO"
    },
    ("docs/containers.md", "docker run --rm -v prelabel-data"): {"exit_codes": (0, 5)},
    ("docs/doctor.md", "prelabel doctor"): {"exit_codes": (0, 5)},
    (
        "docs/kubernetes.md",
        "kubectl --namespace prelabel exec deployment/prelabel-server -- prelabel connect",
    ): {"exit_codes": (0, 5)},
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
PROJECT = (
    Block("the set-up", by_hand="make a project"),
    Block("the set-up", by_hand="import the frames"),
)
RUN = Block("the end", "prelabel run --project 7\n")
"""Whatever was deleted on a page, each frame has its prediction again."""


def client(newcomer: Newcomer) -> LabelStudio:
    return LabelStudio(newcomer.label_studio, token=newcomer.token())


def make_a_project(newcomer: Newcomer) -> None:
    with client(newcomer) as studio:
        newcomer.project = studio.create_project("A walk", boxes_config())["id"]


def import_the_frames(newcomer: Newcomer) -> None:
    with client(newcomer) as studio:
        if not list(studio.tasks(newcomer.project)):
            studio.upload_files(newcomer.project, FRAMES)


def retrieve_predictions(newcomer: Newcomer) -> None:
    with client(newcomer) as studio:
        studio.retrieve_predictions(newcomer.project)


BY_HAND = {
    "make a project": make_a_project,
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
