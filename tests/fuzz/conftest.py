"""The whole server in this process, as its settings build it, with models and images made up."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests
import stamina
import uvicorn
from hypothesis import HealthCheck, settings
from tests.server.conftest import FakePredictor, basic

from prelabel.assembly import server as assembly
from prelabel.assembly.parts import limits
from prelabel.media.addresses import AddressPolicy
from prelabel.media.fetch import Fetcher
from prelabel.predictors import registry
from prelabel.server.app import make_app
from prelabel.settings import Settings

USER, PASSWORD = "ann", "a-password"
AUTH = basic(USER, PASSWORD)
NOWHERE = "http://127.0.0.1:9"
"""A Label Studio that never answers: the discard port."""

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""How many examples each property gets; 0 leaves that to the property."""


def tried(times: int) -> settings:
    """So many examples of a property, or as many as FUZZ_EXAMPLES says."""
    return settings(
        max_examples=EXAMPLES or times,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def offline(host, port):
    """No name resolves, so that nothing is ever connected to."""
    raise OSError("no network in this test")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The application with its password, its database, its jobs and a Label Studio that is away.

    It ends with its module: nothing of it may draw by chance while others make up examples.
    """
    folder = tmp_path_factory.mktemp("fuzz")
    chosen = Settings(
        _env_file=None,
        data_dir=folder,
        local_files_document_root=folder,
        label_studio_url=NOWHERE,
        label_studio_api_key="0" * 40,
        basic_auth_user=USER,
        basic_auth_pass=PASSWORD,
        predict_deadline_seconds=5,
        fetch_timeout_seconds=0.5,
        sequence_train_on_annotation_events=True,
        sequence_event_delay_seconds=3600,
    )
    held_to = replace(limits(chosen), fetch_timeout_s=0.5)
    with pytest.MonkeyPatch.context() as patch, stamina.set_testing(True, attempts=1):
        patch.setattr(registry, "create", lambda name, _: FakePredictor(name))
        patch.setattr(
            assembly,
            "fetcher",
            lambda _: Fetcher(held_to, AddressPolicy(), folder, resolve=offline),
        )
        yield make_app(assembly.service(chosen), chosen)


@pytest.fixture(scope="module")
def served(app):
    """The address of the application, behind the real web server in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.run)
        deadline = time.monotonic() + 30
        while not server.started:
            assert not running.done(), running.result()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (listening,) = (one for server in server.servers for one in server.sockets)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True


@pytest.fixture(scope="module")
def session():
    with requests.Session() as kept_open:
        kept_open.trust_env = False
        yield kept_open
