import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prelabel.errors import StoreUnavailable
from prelabel.store.jobs import MOST_ATTEMPTS, PART, Jobs, part_of

LEASE_S = 20.0


@pytest.fixture
def jobs(engine, clock):
    return Jobs(engine, clock)


def claim(jobs, owner="a"):
    return jobs.claim(owner, ["training"], LEASE_S)


def test_a_new_table_has_nothing_to_do(jobs):
    assert claim(jobs) is None
    assert jobs.recent() == []
    assert jobs.get("0" * 32) is None
    assert not jobs.cancel("0" * 32)
    assert jobs.prune(0) == 0


def test_a_job_goes_from_queued_over_running_to_done(jobs, clock):
    asked = jobs.submit("training", "ls#1", payload=b"what to learn")
    assert (asked.status, asked.progress, asked.attempts) == ("queued", 0.0, 0)
    assert asked.created == asked.due == datetime.fromtimestamp(clock.now, UTC)
    clock.now += 2
    taken = claim(jobs)
    assert (taken.id, taken.status, taken.owner, taken.attempts) == (asked.id, "running", "a", 1)
    assert taken.payload == b"what to learn"
    assert jobs.renew(taken.id, "a", LEASE_S, progress=0.5, message="half way")
    seen = jobs.get(asked.id)
    assert (seen.progress, seen.message, seen.payload) == (0.5, "half way", b"")
    clock.now += 3
    assert jobs.finish(taken.id, "a", {"version": 1}, "learnt")
    done = jobs.get(asked.id)
    assert (done.status, done.progress, done.message) == ("done", 1.0, "learnt")
    assert done.result == {"version": 1}
    assert (done.finished - done.started).total_seconds() == 3
    assert done.owner is None


def test_a_failed_job_keeps_its_reason(jobs):
    jobs.submit("training", "ls#1")
    job = claim(jobs)
    assert jobs.fail(job.id, "a", "no login. Set one.")
    assert (jobs.get(job.id).status, jobs.get(job.id).message) == ("failed", "no login. Set one.")


def test_requests_of_one_kind_and_project_become_one_job(jobs):
    first = jobs.submit("training", "ls#1", payload=b"old")
    second = jobs.submit("training", "ls#1", payload=b"new")
    third = jobs.submit("training", "ls#1")
    assert first.id == second.id == third.id
    others = {jobs.submit("training", "ls#2").id, jobs.submit("backfill", "ls#1").id}
    assert len(others | {first.id}) == 3
    assert claim(jobs).payload == b"new"


def test_a_request_during_the_work_becomes_a_job_of_its_own_that_waits(jobs):
    jobs.submit("training", "ls#1")
    first = claim(jobs)
    later = jobs.submit("training", "ls#1")
    assert later.id != first.id
    assert claim(jobs, "b") is None
    jobs.finish(first.id, "a", {})
    assert claim(jobs, "b").id == later.id


def test_projects_are_worked_on_beside_each_other_oldest_first(jobs, clock):
    for project in ("ls#3", "ls#1", "ls#2"):
        jobs.submit("training", project)
        clock.now += 1
    assert [claim(jobs, owner).project for owner in "abc"] == ["ls#3", "ls#1", "ls#2"]


def test_a_worker_gets_only_what_it_can_do(jobs):
    jobs.submit("backfill", "ls#1")
    assert claim(jobs) is None
    assert jobs.claim("a", ["training", "backfill"], LEASE_S).kind == "backfill"


def test_a_delayed_job_waits_for_its_time(jobs, clock):
    jobs.submit("training", "ls#1", delay_s=10)
    clock.now += 9
    assert claim(jobs) is None
    clock.now += 1
    assert claim(jobs) is not None


def test_a_stream_of_delayed_requests_never_keeps_a_job_from_its_turn(jobs, clock):
    for _ in range(12):
        jobs.submit("training", "ls#1", delay_s=10)
        clock.now += 1
    assert claim(jobs) is not None


def test_a_click_makes_a_delayed_job_due_now(jobs):
    delayed = jobs.submit("training", "ls#1", delay_s=3600)
    assert jobs.submit("training", "ls#1").id == delayed.id
    assert claim(jobs).id == delayed.id


def test_a_delayed_request_does_not_slow_a_click_down(jobs):
    jobs.submit("training", "ls#1")
    jobs.submit("training", "ls#1", delay_s=3600)
    assert claim(jobs) is not None


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(delays=st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_a_job_is_due_when_its_most_urgent_request_is(jobs, delays):
    for delay_s in delays:
        job = jobs.submit("training", "ls#1", delay_s=delay_s)
    assert (job.due - job.created).total_seconds() == min(delays)
    jobs.cancel(job.id)


@pytest.mark.parametrize(
    ("message", "kept"), [("", ""), ("gone: \0a.png", "gone: a.png"), ("half \ud83d", "half ?")]
)
def test_any_text_can_be_a_message(jobs, message, kept):
    job = jobs.submit("training", "ls#1")
    claim(jobs)
    assert jobs.renew(job.id, "a", LEASE_S, progress=0, message=message)
    assert jobs.get(job.id).message == kept
    assert jobs.finish(job.id, "a", {"message": message}, message)
    assert (jobs.get(job.id).message, jobs.get(job.id).result) == (kept, {"message": message})


@pytest.mark.parametrize("job_id", ["", "a\0b", "half \ud83d", "x" * 10_000])
def test_any_text_can_be_asked_for_as_a_job(jobs, job_id):
    jobs.submit("training", "ls#1")
    assert jobs.get(job_id) is None
    assert not jobs.cancel(job_id)


def test_a_killed_worker_keeps_no_job_by_a_clock_that_was_set_back(jobs, clock):
    jobs.submit("training", "ls#1")
    claim(jobs, "killed")
    clock.now -= 7200
    asked_again = jobs.submit("training", "ls#1")
    assert claim(jobs, "next").attempts == 2
    assert claim(jobs, "next") is None
    assert jobs.get(asked_again.id).status == "queued"


def test_a_job_whose_worker_was_killed_is_taken_over_when_its_lease_ends(jobs, clock):
    jobs.submit("training", "ls#1", payload=b"what to learn")
    killed = claim(jobs, "killed")
    clock.now += LEASE_S
    assert claim(jobs, "b") is None
    clock.now += 1
    taken = claim(jobs, "b")
    assert (taken.id, taken.attempts, taken.payload) == (killed.id, 2, b"what to learn")


def test_a_worker_that_renews_keeps_its_job_for_hours(jobs, clock):
    jobs.submit("training", "ls#1")
    job = claim(jobs)
    for _ in range(100):
        clock.now += LEASE_S - 1
        assert jobs.renew(job.id, "a", LEASE_S, progress=0.1, message="")
        assert claim(jobs, "b") is None


def test_a_worker_that_lost_its_job_can_write_nothing_any_more(jobs, clock):
    jobs.submit("training", "ls#1")
    job = claim(jobs, "slow")
    clock.now += LEASE_S + 1
    claim(jobs, "b")
    assert not jobs.renew(job.id, "slow", LEASE_S, progress=0.9, message="")
    assert not jobs.finish(job.id, "slow", {"version": 1})
    assert not jobs.fail(job.id, "slow", "too late")
    assert not jobs.hand_back(job.id, "slow")
    assert (jobs.get(job.id).status, jobs.get(job.id).owner) == ("running", "b")


def test_a_job_that_kills_its_workers_fails(jobs, clock):
    job = jobs.submit("training", "ls#1")
    for attempt in range(MOST_ATTEMPTS):
        assert claim(jobs, f"worker {attempt}").id == job.id
        clock.now += LEASE_S + 1
    assert claim(jobs) is None
    assert jobs.get(job.id).status == "failed"
    assert jobs.get(job.id).message == "its worker did not come back 3 times"
    assert jobs.submit("training", "ls#1").id != job.id


def test_a_cancelled_job_is_not_begun_and_a_running_one_stops(jobs):
    waiting = jobs.submit("training", "ls#1")
    assert jobs.cancel(waiting.id)
    assert claim(jobs) is None
    jobs.submit("training", "ls#1")
    running = claim(jobs)
    assert jobs.cancel(running.id)
    assert not jobs.renew(running.id, "a", LEASE_S, progress=0.5, message="")
    assert jobs.get(running.id).status == "cancelled"
    assert not jobs.cancel(running.id)


def test_a_job_that_is_handed_back_is_begun_anew_as_if_it_had_not_been(jobs):
    jobs.submit("training", "ls#1", payload=b"what to learn")
    for _ in range(2 * MOST_ATTEMPTS):
        job = claim(jobs)
        assert jobs.hand_back(job.id, "a")
    again = claim(jobs, "b")
    assert (again.id, again.attempts, again.payload) == (job.id, 1, b"what to learn")


def test_a_job_that_is_handed_back_gives_way_to_the_same_that_waits(jobs):
    jobs.submit("training", "ls#1")
    job = claim(jobs)
    later = jobs.submit("training", "ls#1")
    assert jobs.hand_back(job.id, "a")
    assert jobs.get(job.id).status == "cancelled"
    assert claim(jobs).id == later.id


def test_the_newest_jobs_come_first_of_all_or_of_one_project(jobs, clock):
    for project in ("ls#1", "ls#2", "ls#3"):
        jobs.submit("training", project)
        clock.now += 1
    assert [job.project for job in jobs.recent()] == ["ls#3", "ls#2", "ls#1"]
    assert [job.project for job in jobs.recent(limit=1)] == ["ls#3"]
    assert [job.project for job in jobs.recent("ls#2")] == ["ls#2"]


def test_pruning_forgets_the_oldest_that_ended_and_nothing_else(jobs, clock):
    for number in range(5):
        jobs.submit("training", f"ls#{number}")
        clock.now += 1
        jobs.finish(claim(jobs).id, "a", {})
    waiting = jobs.submit("training", "ls#0")
    assert jobs.prune(2) == 3
    assert {job.project for job in jobs.recent()} == {"ls#0", "ls#3", "ls#4"}
    assert jobs.get(waiting.id).status == "queued"


def test_a_database_that_is_away_has_a_name_and_a_next_step(jobs, take_away):
    take_away()
    for call in (
        lambda: jobs.submit("training", "ls#1"),
        lambda: claim(jobs),
        lambda: jobs.due(["training"], 1),
        lambda: jobs.renew("1", "a", 1, progress=0, message=""),
        lambda: jobs.finish("1", "a", {}),
        lambda: jobs.fail("1", "a", ""),
        lambda: jobs.hand_back("1", "a"),
        lambda: jobs.cancel("1"),
        lambda: jobs.get("1"),
        jobs.recent,
        lambda: jobs.prune(1),
    ):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            call()


CLAIM_ALL = """
import sys
from pathlib import Path
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

jobs = Jobs(open_database(sys.argv[1], Path(sys.argv[2])))
owner = sys.argv[3]
while (job := jobs.claim(owner, ["training"], 60)) is not None:
    jobs.finish(job.id, owner, {})
    print(job.id)
"""

SUBMIT = """
import sys
from pathlib import Path
from prelabel.store.database import open_database
from prelabel.store.jobs import Jobs

jobs = Jobs(open_database(sys.argv[1], Path(sys.argv[2])))
for number in range(20):
    print(jobs.submit("training", f"ls#{number}").id)
"""


def in_processes(script, *arguments):
    """What each of several processes printed that began together."""
    started = [
        subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE, text=True)
        for words in arguments
    ]
    answers = [process.communicate(timeout=60)[0].split() for process in started]
    assert [process.returncode for process in started] == [0] * len(started)
    return answers


def test_two_processes_never_get_one_job(engine, database_url, tmp_path):
    jobs = Jobs(engine)
    submitted = [jobs.submit("training", f"ls#{number}").id for number in range(60)]
    claimed = in_processes(CLAIM_ALL, *((database_url, str(tmp_path), name) for name in "abc"))
    assert Counter(chain(*claimed)) == Counter(submitted)


def test_processes_that_open_a_new_database_together_join_each_others_requests(
    database_url, tmp_path, open_again
):
    first, second, third = in_processes(SUBMIT, *[(database_url, str(tmp_path))] * 3)
    assert first == second == third
    assert len(Jobs(open_again()).recent(limit=100)) == 20


def test_what_was_submitted_survives_a_restart(engine, open_again):
    job = Jobs(engine).submit("training", "ls#1", payload=b"what to learn")
    engine.dispose()
    assert Jobs(open_again()).claim("a", ["training"], 1).id == job.id


def test_jobs_that_may_be_claimed_are_listed_those_due_longest_first(jobs, clock):
    assert jobs.due(["training"], 10) == []
    submitted = []
    for number in range(4):
        submitted.append(jobs.submit("training", f"ls#{number}").id)
        clock.now += 1
    jobs.submit("training", "ls#9", delay_s=10)
    jobs.submit("backfill", "ls#9")
    assert jobs.due(["training"], 10) == submitted
    assert jobs.due(["training"], 2) == submitted[:2]
    claim(jobs)
    jobs.submit("training", "ls#0")  # waits for the one that was claimed
    assert jobs.due(["training"], 10) == submitted[1:]
    clock.now += LEASE_S + 1  # its worker is gone, and the delayed one is due
    assert jobs.due(["training"], 10)[0] == submitted[0]
    assert len(jobs.due(["training"], 10)) == 5


def test_a_job_that_is_named_is_claimed_if_it_is_its_turn_and_no_other(jobs):
    first, second = (jobs.submit("training", f"ls#{number}") for number in range(2))
    delayed = jobs.submit("training", "ls#3", delay_s=10)

    def named(job, owner="a"):
        return jobs.claim(owner, ["training"], LEASE_S, job_id=job.id)

    assert named(delayed) is None
    assert named(second).id == second.id
    assert named(second, "b") is None
    assert jobs.claim("b", ["training"], LEASE_S, job_id="0" * 32) is None
    assert claim(jobs).id == first.id


@pytest.fixture
def cut(jobs):
    """A job at work with two parts, of which one is at work."""
    jobs.submit("training", "ls#1")
    whole = claim(jobs)
    for name in ("1-10", "11-20"):
        jobs.submit("training" + PART, part_of("ls#1", name))
    part = jobs.claim("b", ["training" + PART], LEASE_S)
    return whole, part


def test_parts_are_known_by_their_whole_and_listed_nowhere_else(jobs, cut):
    whole, part = cut
    others = jobs.submit("training", "ls#10")
    jobs.submit("training" + PART, part_of("ls#10", "1-10"))
    assert {one.status for one in jobs.parts(whole)} == {"running", "queued"}
    assert {one.project for one in jobs.parts(whole)} == {"ls#1|1-10", "ls#1|11-20"}
    assert {one.id for one in jobs.recent()} == {whole.id, others.id}
    jobs.forget([])
    jobs.forget([part.id])
    assert [one.status for one in jobs.parts(whole)] == ["queued"]
    assert not jobs.renew(part.id, "b", LEASE_S, progress=0, message="")


def test_a_cancelled_job_takes_its_parts_with_it_and_no_others(jobs, cut):
    whole, part = cut
    jobs.submit("backfill", "ls#1")
    jobs.submit("backfill" + PART, part_of("ls#1", "1-10"))
    assert jobs.cancel(whole.id)
    assert jobs.parts(whole) == []
    assert not jobs.finish(part.id, "b", {})
    assert jobs.claim("b", ["backfill" + PART], LEASE_S) is not None
    assert not jobs.cancel(whole.id)


def test_a_job_is_held_by_its_owner_until_it_ends(jobs, cut):
    whole, _ = cut
    assert jobs.is_held(whole.id, "a")
    assert not jobs.is_held(whole.id, "b")
    jobs.cancel(whole.id)
    assert not jobs.is_held(whole.id, "a")


def test_a_job_whose_workers_get_somewhere_is_not_given_up(jobs, clock):
    jobs.submit("training", "ls#1")
    for number in range(2 * MOST_ATTEMPTS):
        job = claim(jobs, f"worker-{number}")
        jobs.got_somewhere(job.id, f"worker-{number}")
        clock.now += LEASE_S + 1
    for number in range(MOST_ATTEMPTS):
        job = claim(jobs, f"last-{number}")
        clock.now += LEASE_S + 1
    assert job is None
    assert jobs.recent()[0].status == "failed"
