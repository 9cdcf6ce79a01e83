"""`prelabel serve`: the ML backend."""

from typing import Annotated

import typer

GRACE_S = 12
"""Time for requests under way after SIGTERM; all in all the server is gone within 25 s, and
orchestrators kill after 30 s."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port [9090].")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes [1].")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = None,
    ssl_certfile: Annotated[str | None, typer.Option(help="Certificate, to serve HTTPS.")] = None,
    ssl_keyfile: Annotated[str | None, typer.Option(help="Its private key.")] = None,
) -> None:
    """Serve predictions to Label Studio."""
    import uvicorn

    from prelabel.logs import configure, say
    from prelabel.settings import hand_down, load

    flags = {
        "bind_address": host,
        "port": port,
        "workers": workers,
        "log_level": log_level,
    }
    settings = load(**flags)
    hand_down(flags)
    configure(settings.log_level, settings.log_format)
    say(settings)
    uvicorn.run(
        "prelabel.assembly.server:app",
        factory=True,
        host=settings.bind_address,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_S,
    )
