"""`prelabel demo`: two pre-annotated projects in a Label Studio of their own, by `make demo`."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    frames: Annotated[
        Path, typer.Option(help="Folder of JPEG frames of one sequence.", exists=True)
    ] = Path("examples/demo/frames"),
    planted: Annotated[
        Path, typer.Option(help="What was planted in which frame, for --check.")
    ] = Path("examples/demo/planted.json"),
    people: Annotated[
        Path, typer.Option(help="Folder of JPEG photos of people.", exists=True)
    ] = Path("examples/demo/people"),
    visible: Annotated[Path, typer.Option(help="Whom each photo shows, for --check.")] = Path(
        "examples/demo/visible.json"
    ),
    data_dir: Annotated[Path, typer.Option(help="Label Studio's data and the logs.")] = Path(
        ".prelabel/demo"
    ),
    port: Annotated[int, typer.Option(help="Port of Label Studio.")] = 8080,
    backend_port: Annotated[int, typer.Option(help="Port of the backend.")] = 9090,
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
    label_studio: Annotated[
        Path | None,
        typer.Option(help="The label-studio program.", envvar="LABEL_STUDIO_EXECUTABLE"),
    ] = None,
) -> None:
    """Show prelabel at work: start everything, pre-annotate a clip and some photos, stay up."""
    from prelabel.launch.demo import Demo, check_once, keep_up
    from prelabel.launch.demo_projects import boxes_showcase, poses_showcase
    from prelabel.launch.label_studio import find_executable
    from prelabel.launch.processes import free_port
    from prelabel.logs import configure

    configure("WARNING", "console")

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
        keep_up(wanted, print)
    elif not check_once(wanted, planted, visible, print):
        raise typer.Exit(1)
