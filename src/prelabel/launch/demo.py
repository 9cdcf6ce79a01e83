"""The demo: a Label Studio with two pre-annotated projects, from nothing, without a browser."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from prelabel.labelstudio_api.backends import Connection
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.login import login_with_password
from prelabel.launch import backend, label_studio
from prelabel.launch.demo_projects import Say, Showcase, check_boxes, check_poses, show
from prelabel.launch.processes import Child, ending_on_signals, watch
from prelabel.launch.verify import table

USER = label_studio.FirstUser("demo@example.com", "prelabel-demo")
"""Known to everybody; both servers listen on this machine only."""
BOXES_WITHOUT_WEIGHTS = "opencv-fallback"
POSES_WITHOUT_WEIGHTS = "embedded-pose"


@dataclass(frozen=True, slots=True)
class Demo:
    """What to show, and where.

    Attributes:
        boxes: The project of boxes.
        poses: The project of poses.
        data_dir: Label Studio's database and uploads; made where it is missing.
        logs_dir: Where both logs go.
        label_studio: The `label-studio` program.
        label_studio_url: Where Label Studio is to answer.
        backend_url: Where the backend is to answer.
        boxes_predictor: What the backend finds boxes with: its setting BOXES_PREDICTOR.
        poses_predictor: What it finds poses with: its setting POSES_PREDICTOR.
    """

    boxes: Showcase
    poses: Showcase
    data_dir: Path
    logs_dir: Path
    label_studio: Path
    label_studio_url: str
    backend_url: str
    boxes_predictor: str = BOXES_WITHOUT_WEIGHTS
    poses_predictor: str = POSES_WITHOUT_WEIGHTS


@dataclass(frozen=True, slots=True)
class Running:
    """The demo, up and pre-annotated."""

    client: LabelStudio
    boxes: Connection
    poses: Connection
    children: Sequence[Child]


def keep_up(demo: Demo, say: Say) -> None:
    """Bring the demo up, say where it is, and stay until Ctrl-C."""
    with ending_on_signals(), ExitStack() as started:
        try:
            running = bring_up(demo, started, say)
            say(_where(demo, running))
            watch(running.children)
        except KeyboardInterrupt:
            say("stopping")


def check_once(demo: Demo, planted_file: Path, visible_file: Path, say: Say) -> bool:
    """Bring the demo up on new data, verify it, print a table per project, stop it.

    Args:
        demo: What to show, and where; its data folder is not used.
        planted_file: JSON: what was planted in which frame.
        visible_file: JSON: whom each photo shows.
        say: Takes each line of the story.

    Returns:
        Whether every picture has the prediction that it should have.
    """
    # A text-prompted model owes nothing to damage that was made for the OpenCV detector.
    must_find = planted_file if demo.boxes_predictor == BOXES_WITHOUT_WEIGHTS else None
    with (
        ending_on_signals(),
        TemporaryDirectory(prefix="prelabel-demo-") as data_dir,
        ExitStack() as started,
    ):
        running = bring_up(replace(demo, data_dir=Path(data_dir)), started, say)
        client = running.client
        boxes = check_boxes(client, running.boxes, demo.boxes, must_find)
        poses = check_poses(client, running.poses, demo.poses, visible_file)
    say(table(demo.boxes.title, boxes))
    say(table(demo.poses.title, poses))
    return not any(verdict.faults for verdict in (*boxes, *poses))


def bring_up(demo: Demo, started: ExitStack, say: Say) -> Running:
    """Start both servers, make the projects and have them pre-annotated.

    What is there already from an earlier demo in the same data folder is kept and used.

    Args:
        demo: What to show, and where.
        started: Takes the servers that were started; closing it stops them.
        say: Takes each line of the story.

    Raises:
        PrelabelError: Something did not work; what was started is in `started`.
    """
    showcases = (demo.boxes, demo.poses)
    first_pictures = [showcase.pictures()[0].read_bytes() for showcase in showcases]
    studio, token = _start_label_studio(demo, started, say)
    client = started.enter_context(LabelStudio(demo.label_studio_url, token=token))
    say(f"Label Studio {client.version()}: up, with the user {USER.username} and a token for it")
    server = _start_backend(demo, token, started, say)
    for showcase, picture in zip(showcases, first_pictures, strict=True):
        warm = backend.warm_up(demo.backend_url, picture, label_config=showcase.label_config)
        for line in backend.story(warm):
            say(line)
    boxes, poses = (show(client, demo.backend_url, showcase, say) for showcase in showcases)
    return Running(client, boxes, poses, (studio, server))


def _start_label_studio(demo: Demo, started: ExitStack, say: Say) -> tuple[Child, str]:
    """Label Studio, and a token for it."""
    installation = label_studio.Installation(
        demo.label_studio, data_dir=demo.data_dir, first_user=USER
    )
    say("Label Studio: starting (the first start makes its database: a minute or so)")
    log_path = demo.logs_dir / "label-studio.log"
    studio = started.enter_context(installation.running(demo.label_studio_url, log_path=log_path))
    token = login_with_password(demo.label_studio_url, USER.username, USER.password, replace=True)
    return studio, token


def _start_backend(demo: Demo, token: str, started: ExitStack, say: Say) -> Child:
    if demo.boxes_predictor == BOXES_WITHOUT_WEIGHTS:
        say("backend: boxes by OpenCV, without weights; GROUNDING_DINO=1 takes the real model")
    if demo.poses_predictor == POSES_WITHOUT_WEIGHTS:
        say("backend: poses by the nets in the package; RTMLIB=1 takes RTMLib's, which it fetches")
    environment = {
        "LABEL_STUDIO_URL": demo.label_studio_url,
        "LABEL_STUDIO_API_KEY": token,
        "BOXES_PREDICTOR": demo.boxes_predictor,
        "POSES_PREDICTOR": demo.poses_predictor,
        "DATA_DIR": str(demo.data_dir / "prelabel"),
    }
    return started.enter_context(
        backend.start(
            demo.backend_url, log_path=demo.logs_dir / "backend.log", environment=environment
        )
    )


def _where(demo: Demo, running: Running) -> str:
    return f"""
Boxes  {running.boxes.project_url}
Poses  {running.poses.project_url}
Login  {USER.username}  {USER.password}
Status {demo.backend_url}/
Logs   {demo.logs_dir}
Ctrl-C stops both."""
