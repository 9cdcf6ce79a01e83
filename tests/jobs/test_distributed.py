"""What only jobs on Redis can meet: a Redis that goes, forgets, or says a thing twice."""

import threading
import time

import pytest
from structlog.testing import capture_logs

from prelabel.errors import SettingsError
from prelabel.store.database import open_database

from .conftest import until

dramatiq = pytest.importorskip("dramatiq", reason="pip install 'prelabel[scale]'")
from prelabel.jobs.distributed import DistributedRunner, open_queue  # noqa: E402 - needs it


@pytest.fixture
def engine(postgres, tmp_path):
    opened = open_database(postgres, tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture
def run(redis, table):
    started = []

    def begin(work=None, *, threads=1, poll_s=0.02, **how):
        """A worker where it is given work, else a server that only tells of jobs."""
        work = {"training": work}
        queue = open_queue(redis.url, "training")
        runner = DistributedRunner(table, work, queue, threads=threads, poll_s=poll_s, **how)
        runner.start()
        started.append(runner)
        return runner

    yield begin
    for runner in started:
        runner.stop(5)


def done(table, job):
    return until(lambda: table.get(job.id).status == "done", 20)


def test_a_server_tells_workers_of_jobs_and_does_none(table, run, redis):
    run(threads=0)
    job = table.submit("training", "ls#1")
    until(lambda: redis.client.llen("prelabel:training:jobs") == 1)
    time.sleep(0.2)
    assert table.get(job.id).status == "queued"
    assert redis.client.llen("prelabel:training:jobs") == 1  # told once, not at each look
    run(lambda job, report: {})
    done(table, job)


def test_a_submit_while_redis_is_away_is_done_when_it_is_back(table, run, redis):
    with capture_logs() as logs:
        server = run(threads=0)
        run(lambda job, report: {})
        redis.stop()
        try:
            job = table.submit("training", "ls#1")
            server.wake()
            until(lambda: len(logs) == 2)
            time.sleep(0.5)
            said = [(entry["event"], entry["thing"]) for entry in logs]
            assert said == [("jobs wait", "Redis")] * 2  # the server and the worker, each once
            assert table.get(job.id).status == "queued"
        finally:
            redis.start()
        done(table, job)


def test_what_redis_forgot_is_told_of_again(table, run, redis):
    server = run(threads=0)
    jobs = [table.submit("training", f"ls#{number}") for number in range(5)]
    server.wake()
    until(lambda: redis.client.llen("prelabel:training:jobs") == 5)
    redis.client.flushall()
    run(lambda job, report: {})
    for job in jobs:
        done(table, job)


def test_a_job_goes_on_while_redis_is_away_and_back(table, run, redis):
    may_end = threading.Event()
    run(lambda job, report: may_end.wait(20) and {})
    job = table.submit("training", "ls#1")
    until(lambda: table.get(job.id).status == "running")
    redis.stop()
    try:
        may_end.set()
        done(table, job)
    finally:
        redis.start()
    assert table.get(job.id).attempts == 1
    done(table, table.submit("training", "ls#1"))


def test_a_message_that_comes_again_is_harmless(table, run, redis):
    begun = []
    may_end = threading.Event()
    queue = open_queue(redis.url, "training")

    def tell(job):
        for _ in range(5):
            queue.enqueue(dramatiq.Message("jobs", "do-job", (job.id,), {}, {}))

    def heard():
        return redis.client.hlen("prelabel:training:jobs.msgs") == 0

    def work(job, report):
        begun.append(job.id)
        may_end.wait(20)
        return {}

    run(work)
    run(work)
    job = table.submit("training", "ls#1")
    delayed = table.submit("training", "ls#2", delay_s=3600)
    until(lambda: begun)
    tell(job)  # at work
    tell(delayed)  # not due
    tell(table.submit("training", "ls#1"))  # has to wait for the first
    time.sleep(0.5)
    assert begun == [job.id]
    may_end.set()
    done(table, job)
    tell(job)  # done
    until(lambda: len(begun) == 2 and heard())
    assert table.get(delayed.id).status == "queued"
    assert table.get(job.id).attempts == 1


def test_a_busy_worker_does_not_hold_what_an_idle_one_could_do(table, run):
    may_end = threading.Event()
    run(lambda job, report: (job.project == "ls#0" and may_end.wait(20)) or {})
    first = table.submit("training", "ls#0")
    until(lambda: table.get(first.id).status == "running")
    others = [table.submit("training", f"ls#{number}") for number in range(1, 6)]
    time.sleep(0.3)
    run(lambda job, report: {})
    for job in others:
        done(table, job)
    assert table.get(first.id).status == "running"
    may_end.set()


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://host:port"])
def test_an_address_that_is_none_is_refused_with_the_name_of_the_setting(url):
    with pytest.raises(SettingsError, match="REDIS_URL"):
        open_queue(url, "training")
