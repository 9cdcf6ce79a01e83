"""`prelabel studio`: the backend, warmed up, and Label Studio beside it, until Ctrl-C."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from prelabel.cli.options import Executable, bytes_of, ready


def studio(
    context: typer.Context,
    *,
    port: Annotated[
        int, typer.Option("--port", "-p", help="Port of Label Studio.", min=1, max=65535)
    ] = 8080,
    backend_url: Annotated[
        str | None,
        typer.Option(
            help="The backend, used if it answers and else started. "
            "(default: http://127.0.0.1:9090, https where SSL_CERTFILE is set)"
        ),
    ] = None,
    username: Annotated[
        str | None, typer.Option(help="First user of Label Studio; default LABEL_STUDIO_USERNAME.")
    ] = None,
    password: Annotated[
        str | None, typer.Option(help="Its password; default LABEL_STUDIO_PASSWORD.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Label Studio's data; default: where it puts it itself.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Frame to warm up with.", exists=True, dir_okay=False)
    ] = None,
    label_studio: Executable = None,
    logs: Annotated[Path, typer.Option(help="Folder for both logs.")] = Path(".prelabel/logs"),
) -> None:
    """Start or reuse backend and Label Studio; other options go to `label-studio start`."""
    from prelabel.labelstudio_api.refusals import base_address
    from prelabel.launch.backend import own_url
    from prelabel.launch.studio import Studio, keep_up

    settings = ready(label_studio_username=username, label_studio_password=password)
    keep_up(
        Studio(
            label_studio_url=f"http://localhost:{port}",
            backend_url=base_address(backend_url or own_url(settings)),
            label_studio=label_studio,
            data_dir=data_dir,
            logs_dir=logs,
            arguments=tuple(context.args),
        ),
        settings,
        bytes_of(image) if image else None,
        partial(print, flush=True),  # into a file or a pipe as well, while it stays up
    )
