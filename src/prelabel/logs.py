"""How the server logs: one event a line, on standard error.

What is logged comes from outside too: addresses, labels, names of files, what servers answer. None
of it may begin a line of its own, or reach a terminal as a command.
"""

import logging
import sys
from typing import Literal

import stamina
import structlog

from prelabel.settings import Settings

_MARGIN = "    | "
"""What stands before each line of a traceback, so that none can be taken for an event."""


def configure(level: str, style: Literal["console", "json"]) -> None:
    """Set up structlog, and standard logging for the libraries, once per process."""
    rendered: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if style == "json"
        else [
            _harmless,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Plain tracebacks: the pretty ones print local variables, and with them tokens.
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelNamesMapping()[level]), handlers=[handler]
    )
    # Pillow warns of odd files, which would be lines of no form among the events.
    logging.captureWarnings(True)
    # A retry is no news: what failed in the end is said once, with its reason.
    stamina.instrumentation.set_on_retry_hooks([])
    # Its messages name every address that is fetched, with the signatures in their queries.
    logging.getLogger("httpx2").setLevel(logging.WARNING)


def say(settings: Settings) -> None:
    """Say where the server listens."""
    log = structlog.get_logger("prelabel")
    scheme = "https" if settings.ssl_certfile else "http"
    log.info("serving", address=f"{scheme}://{settings.bind_address}:{settings.port}")


def warn(settings: Settings) -> None:
    """Warn of an open door."""
    if settings.open_to_all:
        structlog.get_logger("prelabel").warning(
            "anyone who can reach this address can use it; "
            "set BASIC_AUTH_USER and BASIC_AUTH_PASS, or listen on 127.0.0.1"
        )


def _harmless(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """What the console shows: each text one line, a traceback with a margin."""
    shown = {key: _Quoted(value) if _is_harmful(value) else value for key, value in event.items()}
    shown["event"] = _one_line(str(event["event"]))
    if "exception" in event:
        lines = str(event["exception"]).split("\n")
        shown["exception"] = "\n".join(_MARGIN + _one_line(line) for line in lines)
    return shown


class _Quoted:
    """A text that the console shows as Python writes it: with escapes, in quotes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return repr(self._text)


def _is_harmful(value: object) -> bool:
    return isinstance(value, str) and not value.isprintable()


def _one_line(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
