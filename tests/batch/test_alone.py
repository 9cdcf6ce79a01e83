"""Who holds a project: a second run is refused, what goes on after a click is waited for."""

from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from prelabel.assembly import run
from prelabel.errors import NotReady
from prelabel.settings import Settings
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs
from prelabel.store.lock import held, run_lock

URL = "http://studio.test"


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def opened(folder):
    engine = open_database("", folder)
    yield engine
    engine.dispose()


@pytest.fixture
def alone(folder, opened):
    settings = Settings(_env_file=None, data_dir=folder)
    return lambda: run._alone(settings, opened, SimpleNamespace(url=URL), 7)


@pytest.fixture
def taken(folder):
    with ExitStack() as stack:
        stack.enter_context(held(run_lock(folder, URL, 7), "project 7"))
        yield stack


def test_a_second_run_is_refused_at_once(alone, taken):
    with pytest.raises(NotReady, match="another process is at it"), alone():
        pass


def test_a_backfill_of_the_project_is_waited_for(alone, taken, opened, monkeypatch):
    jobs = Jobs(opened)
    jobs.submit("backfill", f"{URL}#7")
    jobs.claim("server", ("backfill",), 60)
    until_it_ends = SimpleNamespace(monotonic=lambda: 0, sleep=lambda _: taken.close())
    monkeypatch.setattr(run, "time", until_it_ends)
    with alone():
        pass


def test_a_backfill_of_another_project_is_not(alone, taken, opened):
    jobs = Jobs(opened)
    jobs.submit("backfill", f"{URL}#8")
    jobs.claim("server", ("backfill",), 60)
    with pytest.raises(NotReady), alone():
        pass
