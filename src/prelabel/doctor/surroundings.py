"""Checks of what is set, of the database, and of where the backend listens."""

import os
import time
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from prelabel import __version__
from prelabel.assembly.credentials import credentials
from prelabel.doctor.case import Case
from prelabel.doctor.diagnosis import Diagnosis, failure, ok, skipped, warning
from prelabel.doctor.machine import existing
from prelabel.errors import PrelabelError
from prelabel.jobs.runner import redis_version
from prelabel.launch import backend as backends
from prelabel.launch.processes import port_is_taken
from prelabel.media.references import shown
from prelabel.settings import known_names
from prelabel.store.database import open_database
from prelabel.store.transactions import transaction

OF_LABEL_STUDIO = frozenset(
    {"LABEL_STUDIO_USER_TOKEN", "LABEL_STUDIO_HOST", "LABEL_STUDIO_PORT", "LABEL_STUDIO_BASE_URL"}
)
"""Names of Label Studio's own that look like one of ours."""
OF_TLS = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR"})
"""Where OpenSSL and programs built on it look for the authorities that they trust."""
HEALTH_WAIT_S = 1.0
"""How long Label Studio waits for `/health` (its ML_TIMEOUT_HEALTH)."""

_SHORTEST_NAME = 8  # shorter names resemble those of other programs
_LIKENESS = 0.85
_DATABASE_FILE = "prelabel.db"
_TRIAL_TABLE = "prelabel_doctor"
_MEND_FALLBACK = "See the checks of packages and weights above, then start the backend again."


def setting_names(case: Case) -> Diagnosis:
    """Whether a name that was set is a misspelt name of ours."""
    known = sorted(name for name in known_names() if len(name) >= _SHORTEST_NAME)
    meant = {
        name: close[0]
        for name in sorted(case.machine.names - known_names() - OF_LABEL_STUDIO - OF_TLS)
        if len(name) >= _SHORTEST_NAME
        and (close := get_close_matches(name, known, n=1, cutoff=_LIKENESS))
    }
    if not meant:
        return ok("no name looks misspelt")
    return warning(
        f"unknown: {', '.join(meant)}",
        "prelabel does not read it, and the setting that was meant keeps its default.",
        "; ".join(f"rename {name} to {right}" for name, right in meant.items()),
    )


def database(case: Case) -> Diagnosis:
    """Whether the database opens and can be written.

    Raises:
        PrelabelError: It cannot.
    """
    url = case.settings.database_url.get_secret_value()
    folder = case.settings.data_folder
    if not url and not (folder / _DATABASE_FILE).exists():
        return _place_for(folder)
    begin = time.monotonic()
    engine = open_database(url, folder)
    try:
        with transaction(engine) as connection:
            connection.exec_driver_sql(f"CREATE TABLE IF NOT EXISTS {_TRIAL_TABLE} (x INTEGER)")
            connection.exec_driver_sql(f"DROP TABLE {_TRIAL_TABLE}")
    finally:
        engine.dispose()
    place = engine.url.render_as_string(hide_password=True)
    return ok(f"{place} written in {(time.monotonic() - begin) * 1000:.0f} ms")


def redis(case: Case) -> Diagnosis:
    """Whether the Redis that tells workers of jobs answers, where one is set.

    Raises:
        PrelabelError: It does not.
    """
    url = case.settings.redis_url.get_secret_value()
    if not url:
        return skipped("no REDIS_URL: servers do their jobs themselves")
    return ok(f"Redis {redis_version(url)} answers; `prelabel worker` does the jobs")


def open_door(case: Case) -> Diagnosis:
    """Whether others can reach a backend that asks for no password."""
    address = case.settings.bind_address
    if not case.settings.open_to_all:
        return ok(f"{address}, which only this machine or a password opens")
    return warning(
        f"{address}, without a password",
        "Anyone who can reach this address can use the backend and the images it may read.",
        "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, or BIND_ADDRESS=127.0.0.1.",
    )


def port(case: Case) -> Diagnosis:
    """Whether the backend's port is free, or its own."""
    number = case.settings.port
    if not port_is_taken(case.host, number):
        return ok(f"{number} is free")
    trust = backends.own_certificate(case.settings)
    if backends.is_running(case.own_url, credentials(case.settings), trust):
        return ok(f"prelabel answers at {case.own_url}")
    return failure(
        f"{number} is taken, and what answers is not prelabel, or asks for another password",
        "The backend cannot listen there.",
        f"lsof -i :{number}   # names the program: stop it, or set PORT to a free port",
    )


def backend(case: Case) -> Diagnosis:
    """Whether the backend answers from here, in time, in our version and with the models wanted."""
    url, auth = case.backend_url, credentials(case.settings)
    if not case.given_backend_url and not backends.is_running(url, auth, case.backend_trust):
        return skipped(f"none runs at {url}; `prelabel serve` starts it, --backend-url names it")
    begin = time.monotonic()
    try:
        health = backends.told(url, auth, case.backend_trust)
    except PrelabelError as error:
        return failure(
            f"{shown(url)}: {error.cause}",
            "Whoever asks there gets no predictions.",
            error.next_step,
        )
    if "model_loaded" not in health:
        return failure(
            f"{shown(url)} is not prelabel",
            "Whoever asks there gets no predictions.",
            "Give the address at which `prelabel serve` listens.",
        )
    return _judged(health, shown(url), time.monotonic() - begin)


def _judged(health: Mapping[str, Any], url: str, seconds: float) -> Diagnosis:
    """On what a backend says of itself, and how long it took to say it."""
    version, parts = health.get("version", "unknown"), health.get("predictors", {})
    answering = ", ".join(str(part["name"]) for part in parts.values())
    found = f"{version} at {url} in {seconds * 1000:.0f} ms: {answering or 'no predictors'}"
    if health.get("status") == "degraded":
        return failure(
            f"{found}; {health.get('reason')}",
            "Whoever asks there gets no predictions.",
            "prelabel serve   # stop that server and start it again",
        )
    if version != __version__:
        return warning(
            found,
            f"This is prelabel {__version__}; what it says of models and settings is not the "
            "backend's.",
            f"Install prelabel {__version__} there too, and start the backend again.",
        )
    reasons = "; ".join(str(part["reason"]) for part in parts.values() if part.get("reason"))
    if reasons:
        return warning(f"{found} ({reasons})", "Not what was asked for answers.", _MEND_FALLBACK)
    if seconds > HEALTH_WAIT_S:
        return warning(
            found,
            f"Label Studio waits {HEALTH_WAIT_S:g} s for it, and then shows Disconnected.",
            "Look at what keeps the machine busy, or set WORKERS to a higher number.",
        )
    return ok(found)


def _place_for(folder: Path) -> Diagnosis:
    """Whether a database that is not there yet can be made; doctor makes none."""
    above = existing(folder)
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return ok(f"not there yet, and will be made in {folder}")
    return failure(
        f"{above} cannot be written",
        "Jobs, what was learnt and the journal of runs have no place.",
        "Set DATA_DIR to a folder that prelabel may write to.",
    )
