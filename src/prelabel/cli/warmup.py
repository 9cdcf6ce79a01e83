"""`prelabel warmup`: one prediction, so that the first annotator does not wait for the model."""

from pathlib import Path
from typing import Annotated

import typer

from prelabel.cli.options import bytes_of, ready


def warmup(
    image: Annotated[
        Path | None,
        typer.Argument(
            help="A frame to predict; left out, a plain picture.", exists=True, dir_okay=False
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="The backend. (default: http://127.0.0.1:9090, https where SSL_CERTFILE is set)"
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the model.", min=0.1)] = 900.0,
) -> None:
    """Have a running backend load its model, and say what answered and how long it took."""
    from prelabel.assembly.credentials import credentials
    from prelabel.launch import backend

    picture = bytes_of(image) if image else backend.plain_picture()
    settings = ready()
    warm = backend.warm_up(
        url or backend.own_url(settings),
        picture,
        auth=credentials(settings),
        verify=settings.verify_ssl if url else backend.own_certificate(settings),
        timeout_s=timeout,
    )
    for line in backend.story(warm):
        print(line)
