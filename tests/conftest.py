"""Fixtures that every room's tests may use."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina
import structlog

from .services.fixtures import (  # noqa: F401 - named here, so that every test may use them
    nginx,
    postgres,
    postgres_server,
    redis,
    redis_server,
    sleepy,
)

pytest_plugins = ["tests.security.whole_suite"]

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def data_dir(tmp_path_factory) -> Iterator[None]:
    """No test, and no program that one starts, writes into the user's own data folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(tmp_path_factory.mktemp("data")))
        # What one test's model found is no answer in the next; tests of the store switch it on,
        # and whoever sets it runs all tests with it.
        patch.setenv("PREDICTION_STORE_MB", os.environ.get("PREDICTION_STORE_MB", "0"))
        yield


@pytest.fixture(autouse=True)
def logs_as_they_were(monkeypatch) -> Iterator[None]:
    """How a command sets up logs is gone with its test, as the standard error is that it had."""
    configure, root = structlog.configure, logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(
        structlog,
        "configure",
        lambda **how: configure(**how | {"cache_logger_on_first_use": False}),
    )
    yield
    structlog.reset_defaults()
    stamina.instrumentation.set_on_retry_hooks(None)
    for handler in set(root.handlers) - set(before[0]):
        root.removeHandler(handler)
    root.setLevel(before[1])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of photos, weights and tracks that tests measure on, where it lies."""
    folder = Path(os.environ.get("PRELABEL_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "images").is_dir():
        pytest.skip(f"no test data in {folder}; set PRELABEL_TEST_DATA to a folder that holds it")
    return folder
