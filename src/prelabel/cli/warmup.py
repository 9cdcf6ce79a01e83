"""`prelabel warmup`: one prediction, so that the first annotator does not wait for the model."""

from pathlib import Path
from typing import Annotated

import typer


def warmup(
    image: Annotated[
        Path | None,
        typer.Argument(help="A frame to predict; left out, a plain picture.", exists=True),
    ] = None,
    url: Annotated[str, typer.Option(help="The backend.")] = "http://127.0.0.1:9090",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the model.")] = 900.0,
) -> None:
    """Have a running backend load its model, and say what answered and how long it took."""
    from prelabel.assembly.credentials import credentials
    from prelabel.launch import backend
    from prelabel.settings import load

    picture = image.read_bytes() if image else backend.plain_picture()
    settings = load()
    warm = backend.warm_up(
        url.rstrip("/"),
        picture,
        auth=credentials(settings),
        verify=settings.verify_ssl,
        timeout_s=timeout,
    )
    for line in backend.story(warm):
        print(line)
