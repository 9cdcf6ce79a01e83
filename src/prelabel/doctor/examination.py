"""Makes the checks one after the other, each for itself: none ends another, none takes for ever."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Thread
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr

from prelabel.doctor.case import Case
from prelabel.doctor.diagnosis import Diagnosis, failure, ok, skipped
from prelabel.doctor.machine import Machine
from prelabel.errors import PrelabelError, SettingsError
from prelabel.settings import Settings

log = structlog.get_logger(__name__)

SHOWN_INSTEAD = "***"
_SHORTEST_SECRET = 4  # the letters of a shorter one are in every other word
_UNKNOWN = "Whether all is well there is not known."


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    Attributes:
        name: What it is called, in reports and in the documentation.
        group: Under which heading it is printed.
        look: Looks; a `PrelabelError` that it raises counts as a failure.
        needs: Names of earlier checks without which it has nothing to look at.
        limit_s: How long it may take.
    """

    name: str
    group: str
    look: Callable[[Case], Diagnosis]
    needs: tuple[str, ...] = ()
    limit_s: float = 20.0


def examine(
    machine: Machine,
    checks: Sequence[Check],
    read_settings: Callable[[], Settings],
    *,
    backend_url: str = "",
) -> Iterator[Diagnosis]:
    """Make every check, in order; where the settings cannot be read, with the defaults.

    Args:
        machine: Where prelabel runs.
        checks: What to look at.
        read_settings: Gives the settings, or raises `SettingsError`.
        backend_url: Where the backend is, where it is not where the settings have it.

    Yields:
        One diagnosis for the settings, then one for each check.
    """
    try:
        settings = read_settings()
        yield replace(ok("readable"), name="settings")
    except SettingsError as error:
        settings = Settings.model_construct()
        why = "prelabel does not start; the other checks go by the defaults."
        yield replace(
            failure(f"{error.thing}: {error.cause}", why, error.next_step), name="settings"
        )
    case = Case(machine, settings, backend_url)
    judged: set[str] = set()
    try:
        for check in checks:
            lacking = [name for name in check.needs if name not in judged]
            found = skipped(f"not without “{lacking[0]}”") if lacking else _in_time(check, case)
            if found.status in ("ok", "warning"):
                judged.add(check.name)
            yield _without_secrets(replace(found, name=check.name), settings)
    finally:
        case.close()


def _in_time(check: Check, case: Case) -> Diagnosis:
    """What a check says, or that it said nothing."""
    answer: Future[Diagnosis] = Future()

    def look() -> None:
        try:
            answer.set_result(check.look(case))
        except Exception as error:  # noqa: BLE001 - told below, by whoever waits for the answer
            answer.set_exception(error)

    Thread(target=look, name=check.name, daemon=True).start()
    try:
        return answer.result(check.limit_s)
    except PrelabelError as error:
        return failure(
            f"{error.thing}: {error.cause}", "prelabel cannot work with it.", error.next_step
        )
    except Exception as error:
        if not answer.done():
            return failure(
                f"no answer within {check.limit_s:g} s",
                _UNKNOWN,
                "Run prelabel doctor again; if it takes as long, look at what is slow there.",
            )
        log.exception("defect", check=check.name, exc_info=error)
        return failure(
            f"the check itself failed ({type(error).__name__})",
            _UNKNOWN,
            "This is a defect of prelabel: please report it with the log on the error output.",
        )


def _without_secrets(diagnosis: Diagnosis, settings: Settings) -> Diagnosis:
    """A second guard: what other programs say of their troubles may quote what they were given."""
    secrets = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    secrets += filter(None, [urlsplit(secret).password for secret in secrets if "://" in secret])
    finding, why, mend = diagnosis.finding, diagnosis.why, diagnosis.mend
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            finding, why, mend = (
                text.replace(secret, SHOWN_INSTEAD) for text in (finding, why, mend)
            )
    return replace(diagnosis, finding=finding, why=why, mend=mend)
