"""What every runner does: embedded over SQLite and PostgreSQL, and Dramatiq on Redis."""

import subprocess
import sys
import threading
import time

import pytest
from structlog.testing import capture_logs

from prelabel import jobs as jobs_package
from prelabel.errors import LabelStudioUnreachable, MissingPackage, StoreUnavailable
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.runner import Together, make_runner, redis_version
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

from .conftest import until

NEVER_S = 60.0
"""A poll that a test must not wait for."""


def ended(table, job):
    return until(lambda: (seen := table.get(job.id)).finished and seen)


@pytest.fixture(params=["embedded-sqlite", "embedded-postgres", "dramatiq"])
def kind(request):
    return request.param


@pytest.fixture
def database_url(kind, request):
    return "" if kind == "embedded-sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def redis_url(kind, request):
    if kind != "dramatiq":
        return ""
    pytest.importorskip("dramatiq", reason="pip install 'prelabel[scale]'")
    return request.getfixturevalue("redis").url


@pytest.fixture
def engine(database_url, tmp_path):
    opened = open_database(database_url, tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture
def make(redis_url, table):
    """Makes a runner that is not started yet."""

    def make_runner(work, jobs=table, poll_s=0.02, **how):
        if not redis_url:
            return LocalRunner(jobs, {"training": work}, poll_s, **how)
        from prelabel.jobs.distributed import (  # noqa: PLC0415 - the embedded runner needs none
            DistributedRunner,
            open_queue,
        )

        queue = open_queue(redis_url, "training")
        how = {"threads": 1} | how
        return DistributedRunner(jobs, {"training": work}, queue, poll_s=poll_s, **how)

    return make_runner


@pytest.fixture
def run(make):
    """Starts runners, and stops them after the test."""
    started = []

    def begin(work, *given, **how):
        runner = make(work, *given, **how)
        runner.start()
        started.append(runner)
        return runner

    yield begin
    for runner in started:
        runner.stop(5)


def at_work_until_stopped(job, report):
    while True:
        report(0.5, "at work")
        time.sleep(0.01)


def test_a_runner_that_was_never_started_stops(make):
    make(at_work_until_stopped).stop(1)


def test_jobs_are_done_in_order_and_their_results_recorded(table, run):
    submitted = [
        table.submit("training", f"ls#{number}", payload=bytes([number])) for number in range(3)
    ]
    seen = []

    def work(job, report):
        seen.append((job.project, job.payload))
        report(0.5, "half way")
        return {"project": job.project, "message": f"did {job.project}"}

    run(work)
    done = [ended(table, job) for job in submitted]
    assert [(job.status, job.message) for job in done] == [
        ("done", f"did ls#{number}") for number in range(3)
    ]
    assert done[2].result == {"project": "ls#2", "message": "did ls#2"}
    assert seen == [("ls#0", b"\0"), ("ls#1", b"\1"), ("ls#2", b"\2")]


def test_a_wake_begins_a_job_without_a_wait(table, run):
    begun = threading.Event()
    runner = run(lambda job, report: begun.set() or {}, poll_s=NEVER_S)
    time.sleep(0.1)  # it has looked, found nothing, and waits
    table.submit("training", "ls#1")
    runner.wake()
    assert begun.wait(2)


def test_a_delayed_job_waits_for_its_time(table, run):
    begun = []
    run(lambda job, report: begun.append(time.time()) or {})
    job = table.submit("training", "ls#1", delay_s=0.6)
    ended(table, job)
    assert begun[0] >= job.due.timestamp()


def test_a_request_during_the_work_becomes_a_job_that_is_done_afterwards(table, run):
    at_work, may_end = threading.Event(), threading.Event()
    seen = []

    def work(job, report):
        seen.append(job.id)
        at_work.set()
        assert may_end.wait(10)
        return {}

    first = table.submit("training", "ls#1")
    run(work)
    run(work)
    assert at_work.wait(5)
    second = table.submit("training", "ls#1")
    time.sleep(0.3)
    assert seen == [first.id]
    may_end.set()
    ended(table, second)
    assert seen == [first.id, second.id]


def test_progress_is_seen_while_the_work_goes_on(table, run):
    go_on = threading.Event()

    def work(job, report):
        report(0.25, "fetching 1 of 4")
        assert go_on.wait(10)
        return {}

    job = table.submit("training", "ls#1")
    run(work)
    seen = until(lambda: (now := table.get(job.id)).progress and now)
    assert (seen.status, seen.progress, seen.message) == ("running", 0.25, "fetching 1 of 4")
    go_on.set()
    assert ended(table, job).status == "done"


def test_a_long_step_without_a_report_does_not_cost_the_lease(table, run):
    def work(job, report):
        time.sleep(2)  # twice the lease
        return {"attempt": job.attempts}

    job = table.submit("training", "ls#1")
    run(work, lease_s=1)
    run(work, lease_s=1)
    assert ended(table, job).result == {"attempt": 1}


def test_a_failure_with_a_name_is_the_reason_of_the_job(table, run):
    def work(job, report):
        raise LabelStudioUnreachable("http://studio", "nobody answers", "Start Label Studio.")

    job = table.submit("training", "ls#1")
    run(work)
    failed = ended(table, job)
    assert failed.status == "failed"
    assert failed.message == "http://studio: nobody answers. Start Label Studio."


@pytest.mark.parametrize(
    ("work", "defect"),
    [
        (lambda job, report: 1 // 0, "ZeroDivisionError"),
        (lambda job, report: {"iou": float("nan")}, "ValueError"),
        (lambda job, report: {"array": object()}, "TypeError"),
    ],
)
def test_a_defect_fails_its_job_and_the_next_is_done(table, run, work, defect):
    def each(job, report):
        return work(job, report) if job.project == "ls#1" else {}

    with capture_logs() as logs:
        defective = table.submit("training", "ls#1")
        job = table.submit("training", "ls#2")
        run(each)
        assert ended(table, job).status == "done"
    failed = table.get(defective.id)
    assert failed.status == "failed"
    assert failed.message.endswith(
        f"met a defect of prelabel ({defect}). Please report what the log says of it."
    )
    assert [entry["job"] for entry in logs if entry["event"] == "defect"] == [defective.id]


def test_a_job_that_another_process_cancels_stops_at_its_next_report(
    table, run, database_url, tmp_path
):
    stopped = threading.Event()

    def work(job, report):
        try:
            at_work_until_stopped(job, report)
        finally:
            stopped.set()

    job = table.submit("training", "ls#1")
    run(work)
    until(lambda: table.get(job.id).status == "running")
    elsewhere = open_database(database_url, tmp_path)
    Jobs(elsewhere).cancel(job.id)
    elsewhere.dispose()
    assert stopped.wait(5)
    cancelled = table.get(job.id)
    assert (cancelled.status, cancelled.message) == ("cancelled", "was cancelled")


def test_stopping_hands_the_job_back_and_another_runner_does_it(table, run):
    job = table.submit("training", "ls#1")
    runner = run(at_work_until_stopped)
    until(lambda: table.get(job.id).status == "running")
    runner.stop(5)
    seen = table.get(job.id)
    assert (seen.status, seen.attempts, seen.owner) == ("queued", 0, None)
    run(lambda job, report: {"attempt": job.attempts})
    assert ended(table, job).result == {"attempt": 1}


def test_stopping_does_not_wait_for_work_that_does_not_listen(table, make):
    go_on = threading.Event()
    runner = make(lambda job, report: go_on.wait(10) and {})
    runner.start()
    job = table.submit("training", "ls#1")
    until(lambda: table.get(job.id).status == "running")
    started = time.monotonic()
    runner.stop(0.1)
    assert time.monotonic() - started < 8
    assert table.get(job.id).status == "queued"
    taken = table.claim("b", ["training"], 20)
    go_on.set()  # what it still finds out counts no more
    time.sleep(0.1)
    assert table.get(taken.id).status == "running"


class Interrupted(Jobs):
    """A table whose database can be taken away."""

    away = False

    def _fail(self):
        if self.away:
            raise StoreUnavailable("the database", "does not answer", "Wait.")

    def due(self, *given):
        self._fail()
        return super().due(*given)

    def claim(self, *given, **more):
        self._fail()
        return super().claim(*given, **more)

    def renew(self, *given, **more):
        self._fail()
        return super().renew(*given, **more)

    def finish(self, *given):
        self._fail()
        return super().finish(*given)


def test_a_database_that_is_away_is_waited_for_and_told_once(engine, run):
    jobs = Interrupted(engine)
    jobs.away = True
    job = jobs.submit("training", "ls#1")
    with capture_logs() as logs:
        run(lambda job, report: {}, jobs)
        until(lambda: logs)
        time.sleep(0.2)
        (said,) = logs
        assert (said["event"], said["thing"]) == ("jobs wait", "the database")
        assert said["reason"].startswith("the database: ")
        jobs.away = False
        assert ended(jobs, job).status == "done"
    assert "jobs go on" in [entry["event"] for entry in logs]


def test_what_nobody_thought_of_does_not_end_the_runner(engine, run, monkeypatch):
    jobs = Jobs(engine)
    job = jobs.submit("training", "ls#1")
    claim, seen = jobs.claim, []

    def damaged_once(*given, **more):
        seen.append(given)
        if len(seen) == 1:
            raise RuntimeError("database disk image is malformed")
        return claim(*given, **more)

    monkeypatch.setattr(jobs, "claim", damaged_once)
    with capture_logs() as logs:
        run(lambda job, report: {}, jobs)
        assert ended(jobs, job).status == "done"
    assert logs[0]["event"] == "defect"


def test_a_result_waits_for_a_database_that_went_away_meanwhile(engine, run):
    jobs = Interrupted(engine)
    at_work = threading.Event()

    def work(job, report):
        at_work.set()
        until(lambda: jobs.away)
        return {"version": 1}

    job = jobs.submit("training", "ls#1")
    run(work, jobs)
    assert at_work.wait(5)
    jobs.away = True
    time.sleep(0.2)
    assert jobs.get(job.id).status == "running"
    jobs.away = False
    assert ended(jobs, job).result == {"version": 1}
    assert jobs.get(job.id).attempts == 1


def test_work_that_the_database_broke_off_is_begun_anew(table, run):
    def work(job, report):
        if job.attempts == 1:
            raise StoreUnavailable("the database", "does not answer", "Wait.")
        return {"attempt": job.attempts}

    job = table.submit("training", "ls#1")
    run(work, lease_s=0.1)
    assert ended(table, job).result == {"attempt": 2}


def test_several_runners_share_the_jobs_and_none_is_done_twice(table, run):
    jobs = [table.submit("training", f"ls#{number}") for number in range(24)]
    done_by = {}

    def working_as(name):
        def work(job, report):
            assert job.id not in done_by
            done_by[job.id] = name
            time.sleep(0.05)
            return {}

        return work

    for name in "abc":
        run(working_as(name))
    for job in jobs:
        assert ended(table, job).status == "done"
        assert table.get(job.id).attempts == 1
    assert set(done_by.values()) == set("abc")


def test_a_runner_with_several_threads_does_jobs_beside_each_other(table, run):
    together = threading.Barrier(3, timeout=20)
    jobs = [table.submit("training", f"ls#{number}") for number in range(3)]

    def work(job, report):
        together.wait()
        return {}

    run(work, threads=3)
    assert {ended(table, job).status for job in jobs} == {"done"}


def test_idle_threads_of_a_runner_end_at_once(table, make):
    runner = make(at_work_until_stopped, threads=3, poll_s=NEVER_S)
    runner.start()
    begin = time.monotonic()
    runner.stop(10)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("kind", ["embedded-sqlite"], indirect=True)
def test_a_redis_without_the_packages_for_it_is_refused(table, monkeypatch):
    monkeypatch.delattr(jobs_package, "distributed", raising=False)
    monkeypatch.setitem(sys.modules, "prelabel.jobs.distributed", None)
    wanted = (
        r"^REDIS_URL: needs the package prelabel\.jobs\.distributed, which is not installed\. "
        r"Install it: pip install 'prelabel\[scale\]'\.$"
    )
    with pytest.raises(MissingPackage, match=wanted):
        make_runner("redis://localhost:1", table, {"training": lambda *_: {}})
    with pytest.raises(MissingPackage, match=wanted):
        redis_version("redis://localhost:1")


@pytest.mark.parametrize("kind", ["embedded-sqlite"], indirect=True)
def test_without_a_redis_this_process_does_the_jobs_so_many_at_a_time(table):
    both, order = threading.Barrier(2, timeout=10), []

    def meets_the_other(job, *_):
        both.wait()
        order.append(job.project)
        return {}

    runner = make_runner("", table, {"training": meets_the_other}, alone=2)
    jobs = [table.submit("training", project) for project in ("a", "b")]
    runner.start()
    for job in jobs:
        assert ended(table, job).status == "done"
    runner.stop(5.0)
    assert sorted(order) == ["a", "b"]


def test_runners_that_are_one_start_wake_and_stop_together(table, make):
    begun = []
    runners = Together([make(lambda job, report: begun.append(job) or {}) for _ in range(2)])
    runners.start()
    job = table.submit("training", "ls#1")
    runners.wake()
    ended(table, job)
    runners.stop(5)
    after = table.submit("training", "ls#2")
    runners.wake()
    assert table.get(after.id).status == "queued"
    assert [job.project for job in begun] == ["ls#1"]


HANG = """
import sys, time
from pathlib import Path
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

database_url, redis_url, folder, lease_s = sys.argv[1:]

def hang(job, report):
    (Path(folder) / "reached").touch()
    time.sleep(600)

jobs = Jobs(open_database(database_url, Path(folder)))
if redis_url:
    from prelabel.jobs.distributed import DistributedRunner, open_queue
    queue = open_queue(redis_url, "training")
    runner = DistributedRunner(
        jobs, {"training": hang}, queue, threads=1, poll_s=0.05, lease_s=float(lease_s)
    )
else:
    from prelabel.jobs.local import LocalRunner
    runner = LocalRunner(jobs, {"training": hang}, 0.05, lease_s=float(lease_s))
runner.start()
time.sleep(600)
"""


def test_a_job_whose_worker_is_killed_is_begun_anew_by_another(
    table, run, database_url, redis_url, tmp_path
):
    lease_s = 1.5
    job = table.submit("training", "ls#1", payload=b"what to learn")
    arguments = [database_url, redis_url, str(tmp_path), str(lease_s)]
    worker = subprocess.Popen([sys.executable, "-c", HANG, *arguments])
    try:
        until((tmp_path / "reached").exists, 30)
    finally:
        worker.kill()
        worker.wait()
    assert table.get(job.id).status == "running"
    run(lambda job, report: {"payload": job.payload.decode()}, lease_s=lease_s)
    done = ended(table, job)
    assert (done.status, done.attempts) == ("done", 2)
    assert done.result == {"payload": "what to learn"}
