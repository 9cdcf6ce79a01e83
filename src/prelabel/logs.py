"""How the server logs: one event a line, on standard error."""

import logging
import sys
from typing import Literal

import stamina
import structlog

from prelabel.settings import Settings


def configure(level: str, style: Literal["console", "json"]) -> None:
    """Set up structlog, and standard logging for the libraries, once per process."""
    # Plain tracebacks: the pretty ones print local variables, and with them tokens.
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if style == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelNamesMapping()[level]),
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # A retry is no news: what failed in the end is said once, with its reason.
    stamina.instrumentation.set_on_retry_hooks([])
    # Its messages name every address that is fetched, with the signatures in their queries.
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def say(settings: Settings) -> None:
    """Say where the server listens, and warn of an open door."""
    log = structlog.get_logger("prelabel")
    log.info("serving", address=f"http://{settings.bind_address}:{settings.port}")
    if settings.open_to_all:
        log.warning(
            "anyone who can reach this address can use it; "
            "set BASIC_AUTH_USER and BASIC_AUTH_PASS, or listen on 127.0.0.1"
        )
