"""`prelabel serve`: the HTTP server."""

import errno
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prelabel.settings import Settings

GRACE_S = 12
"""Time for requests under way after SIGTERM; all in all the server is gone within 25 s, and
orchestrators kill after 30 s."""

KEEP_ALIVE_S = 75
"""How long a connection waits for its next request; nginx uses one for up to 60 s."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Those of TLS 1.2 that are still sound; TLS 1.3 has no others, and older versions are off."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port [9090].")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes [1].")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = None,
    ssl_certfile: Annotated[
        Path | None, typer.Option(help="Certificate, to serve HTTPS; read once, at the start.")
    ] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
) -> None:
    """Serve predictions to Label Studio."""
    import uvicorn

    from prelabel.logs import configure, warn
    from prelabel.server.processes import folder_of_children
    from prelabel.settings import hand_down, load

    flags = {
        "bind_address": host,
        "port": port,
        "workers": workers,
        "log_level": log_level,
        "ssl_certfile": ssl_certfile,
        "ssl_keyfile": ssl_keyfile,
    }
    settings = load(**flags)
    encrypted = _encrypted(settings)
    hand_down(flags)
    configure(settings.log_level, settings.log_format)
    _require_free(settings.bind_address, settings.port)
    warn(settings)
    with folder_of_children() if settings.workers > 1 else nullcontext():
        uvicorn.run(
            "prelabel.cli.serve:announced",
            factory=True,
            host=settings.bind_address,
            port=settings.port,
            workers=settings.workers,
            http=_protocol(),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=settings.proxies,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            **encrypted,
        )


def announced() -> Any:
    """The application, which says in its log where it serves once its start is done.

    Each of several server processes says so of itself.
    """
    from prelabel.assembly.server import app
    from prelabel.logs import say
    from prelabel.settings import load

    served = app()
    start_and_end = served.router.lifespan_context

    @asynccontextmanager
    async def told(of: Any) -> AsyncIterator[Any]:
        async with start_and_end(of) as state:
            say(load())
            yield state

    served.router.lifespan_context = told
    return served


def _require_free(host: str, port: int) -> None:
    """Look whether the address can be listened on, before anything is built.

    Raises:
        OperatorError: It cannot; uvicorn would say so only after the start of everything else, and
            not what to do.
    """
    from prelabel.errors import OperatorError

    try:
        for family, kind, number, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            with socket.socket(family, kind, number) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            thing, next_step = f"port {port}", "Stop what uses it, or choose a port with --port."
        elif error.errno == errno.EACCES:
            thing, next_step = f"port {port}", "Choose one above 1023 with --port."
        else:
            thing = f"address {host}"
            next_step = "Give --host one of this machine's addresses, or 0.0.0.0 for all."
        reason = error.strerror or error
        raise OperatorError(thing, f"cannot be listened on ({reason})", next_step) from error


def _protocol() -> Any:
    """What reads requests: as fast as there is, and patient only within bounds."""
    if find_spec("httptools") is None:
        return "h11"  # bounds heads, but not how long they take

    from prelabel.server.connections import Connection

    return Connection


def _encrypted(settings: "Settings") -> dict[str, Any]:
    """What uvicorn needs to serve HTTPS; nothing where no certificate is set.

    Raises:
        SettingsError: The certificate and the key cannot be used together.
    """
    from prelabel.errors import SettingsError

    certificate, key = settings.ssl_certfile, settings.ssl_keyfile
    if certificate is None or key is None:
        return {}
    try:
        # Without a password given, OpenSSL would ask the terminal for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            f"SSL_CERTFILE={certificate}, SSL_KEYFILE={key}",
            f"they cannot be used ({getattr(error, 'strerror', None) or error})",
            "Give PEM files of a certificate and its own key, unencrypted, that the server may "
            "read.",
        ) from error
    return {"ssl_certfile": str(certificate), "ssl_keyfile": str(key), "ssl_ciphers": CIPHERS}
