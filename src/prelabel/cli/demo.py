"""`prelabel demo`: two pre-annotated projects in a Label Studio of their own, by `make demo`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from prelabel.cli.options import Executable

_NOT_OF_THE_DEMO = (
    *("ssl_certfile", "ssl_keyfile"),
    *("basic_auth_user", "basic_auth_pass", "api_token", "secret_path"),
    *("database_url", "redis_url"),
)
"""Settings of a backend that others reach, or that keeps its data elsewhere."""


def demo(
    *,
    frames: Annotated[Path, typer.Option(help="Folder of JPEG frames of one sequence.")] = Path(
        "examples/demo/frames"
    ),
    planted: Annotated[
        Path, typer.Option(help="What was planted in which frame, for --check.")
    ] = Path("examples/demo/planted.json"),
    people: Annotated[Path, typer.Option(help="Folder of JPEG photos of people.")] = Path(
        "examples/demo/people"
    ),
    visible: Annotated[Path, typer.Option(help="Whom each photo shows, for --check.")] = Path(
        "examples/demo/visible.json"
    ),
    data_dir: Annotated[Path, typer.Option(help="Label Studio's data and the logs.")] = Path(
        ".prelabel/demo"
    ),
    port: Annotated[int, typer.Option(help="Port of Label Studio.", min=1, max=65535)] = 8080,
    backend_port: Annotated[
        int, typer.Option(help="Port of the backend.", min=1, max=65535)
    ] = 9090,
    check: Annotated[
        bool,
        typer.Option("--check", help="On free ports and new data: verify, report and end."),
    ] = False,
    boxes_predictor: Annotated[
        str, typer.Option(help="What finds the boxes; grounding-dino fetches its weights.")
    ] = "opencv-fallback",
    poses_predictor: Annotated[
        str, typer.Option(help="What finds the poses; rtmlib fetches its weights.")
    ] = "embedded-pose",
    label_studio: Executable = None,
) -> None:
    """Show prelabel at work: start everything, pre-annotate a clip and some photos, stay up."""
    from prelabel.launch.demo import Demo, check_once, keep_up
    from prelabel.launch.demo_projects import boxes_showcase, poses_showcase
    from prelabel.launch.label_studio import find_executable
    from prelabel.launch.processes import free_port
    from prelabel.logs import configure

    configure("WARNING", "console")
    _require_pictures(frames, people)
    _require_plain_backend()
    wanted = Demo(
        boxes=boxes_showcase(frames),
        poses=poses_showcase(people),
        data_dir=data_dir,
        logs_dir=data_dir / ("check-logs" if check else "logs"),
        label_studio=find_executable(label_studio),
        label_studio_url=f"http://localhost:{free_port() if check else port}",
        backend_url=f"http://127.0.0.1:{free_port() if check else backend_port}",
        boxes_predictor=boxes_predictor,
        poses_predictor=poses_predictor,
    )
    if not check:
        keep_up(wanted, partial(print, flush=True))  # into a file or a pipe as well
    elif not check_once(wanted, planted, visible, print):
        raise typer.Exit(1)


def _require_pictures(*folders: Path) -> None:
    from prelabel.errors import SettingsError

    for folder in folders:
        if not folder.is_dir():
            raise SettingsError(
                f"folder {folder}",
                "it is not here",
                "Run `make demo` in a checkout of prelabel, which has pictures for the demo, or "
                "name folders of yours with --frames and --people.",
            )


def _require_plain_backend() -> None:
    """Let the demo's backend be one of its own: open to its Label Studio, and with its own data.

    What the environment says otherwise does not hold for the demo; what a file says cannot be left
    out for it.

    Raises:
        SettingsError: A file says so.
    """
    from prelabel.errors import SettingsError
    from prelabel.settings import hand_down, load

    hand_down(dict.fromkeys(_NOT_OF_THE_DEMO, ""))
    settings = load()
    given = [name for name in _NOT_OF_THE_DEMO if getattr(settings, name)]
    if given:
        raise SettingsError(
            f"{given[0].upper()} in .env or prelabel.toml",
            "the demo's Label Studio could not use a backend with it",
            "Run the demo in another folder, or take the line out for as long.",
        )
