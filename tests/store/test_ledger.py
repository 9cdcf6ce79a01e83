"""The ledger: a task that Label Studio asks for belongs to whoever wrote it down first."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from prelabel.store.journal import Campaign, Failed, Kept, State
from prelabel.store.ledger import Ledger, Seen, failed_since, forget, owing

CAMPAIGN = Campaign("http://studio.test", 7, "1700000000", "always@1")
NEXT = Campaign("http://studio.test", 7, "1700000000", "always@1.seq1")
LONG_S = 10_000.0


@pytest.fixture
def ledger(engine, clock):
    return Ledger(engine, CAMPAIGN, clock)


def kept(task):
    return Kept(task, 0.5, b"[%d]" % task)


def test_nothing_is_due_of_what_was_never_asked(ledger, engine):
    assert ledger.claim([], 0) == set()
    assert ledger.due(0, 10) == []
    assert ledger.number_due() == 0
    assert ledger.next_due() is None
    assert owing(engine, CAMPAIGN.url, CAMPAIGN.project) == []


def test_a_second_retrieve_gets_nothing_that_the_first_has_in_work(ledger, clock):
    assert ledger.claim([1, 2, 3], clock.now + 90) == {1, 2, 3}
    assert ledger.claim([2, 3, 4], clock.now + 90) == {4}


def test_ten_thousand_tasks_asked_by_four_processes_at_once_are_each_given_once(open_again):
    ids = range(1, 10_001)
    ledgers = [Ledger(open_again(), CAMPAIGN) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda one: one.claim(ids, 0), ledgers))
    assert sum(map(len, got)) == len(ids)
    assert set().union(*got) == set(ids)


def test_a_job_gets_what_was_not_reached_at_once_and_the_rest_when_its_server_is_gone(
    ledger, clock
):
    ledger.claim([1, 2, 3], clock.now + 90)
    assert ledger.due(0, 10) == []
    ledger.put_off([2])
    assert ledger.due(0, 10) == [2]
    clock.now += 90
    assert ledger.due(0, 10) == [1, 2, 3]
    assert ledger.due(1, 1) == [2]


def test_what_was_answered_is_looked_at_when_label_studio_should_hold_it(ledger, clock):
    ledger.claim([1, 2], clock.now + 90)
    assert ledger.answered([1, 2], clock.now + 15) == {1, 2}
    assert ledger.claim([1, 2], clock.now + 90) == set()
    assert (ledger.due(0, 10), ledger.next_due()) == ([], clock.now + 15)
    clock.now += 15
    assert ledger.due(0, 10) == [1, 2]
    ledger.pushed([1])
    ledger.ask([2])
    assert ledger.counts() == {State.PUSHED: 1, State.ASKED: 1}


def test_what_was_answered_and_is_asked_for_again_is_looked_at_soon(ledger, clock):
    ledger.claim([1, 2], clock.now + 90)
    ledger.answered([1, 2], clock.now + 1015)
    assert ledger.claim([2, 3], clock.now + 90) == {3}
    clock.now += 15
    assert ledger.due(0, 10) == [2]
    assert ledger.number_answered() == 1


def test_what_was_pushed_a_moment_ago_is_a_jobs_and_later_a_retrieves_again(ledger, clock):
    ledger.claim([1], clock.now)
    ledger.keep([kept(1)])
    ledger.pushed([1])
    ledger._change([1], (State.PUSHED,), changed=clock.now)
    assert ledger.claim([1], clock.now + 90) == set()
    assert ledger.due(0, 10) == [1]
    ledger.pushed([1])
    ledger._change([1], (State.PUSHED,), changed=clock.now)
    clock.now += LONG_S
    assert ledger.claim([1], clock.now + 90) == {1}


def test_a_failed_task_may_be_asked_again(ledger, clock):
    ledger.claim([1], clock.now)
    ledger.fail([Failed(1, "ImageMissing", "names no image", retry=False)])
    assert ledger.due(0, 10) == []
    assert ledger.claim([1], clock.now + 90) == {1}


def test_what_is_due_is_cut_into_ranges_by_ids(ledger, clock):
    ledger.claim(range(10, 100, 10), clock.now)
    ledger.claim([200], clock.now + 90)
    assert ledger.due(0, 3) == [10, 20, 30]
    assert ledger.due(29, 10, last_id=50) == [30, 40, 50]
    assert ledger.due(50, 10, last_id=50) == []
    assert (ledger.number_left(0), ledger.number_left(50)) == (9, 4)


def test_what_is_being_sent_is_not_made_anew_by_a_slower_worker(ledger, clock):
    ledger.claim([1], clock.now)
    ledger.keep([kept(1)])
    ledger.sending([1])
    ledger.keep([kept(1)])
    assert ledger.counts() == {State.SENDING: 1}
    ledger.pushed([1])
    ledger.keep([kept(1)])
    ledger.fail([Failed(1, "ImageUnreachable", "is gone", retry=False)])
    assert ledger.counts() == {State.PUSHED: 1}


def test_an_answer_that_is_still_being_stored_is_looked_at_later(ledger, clock):
    ledger.claim([1, 2, 3], clock.now)
    ledger.answered([1, 2], clock.now)
    ledger.answered([3], clock.now + 90)
    assert ledger.number_answered() == 2
    ledger.look_later(15)
    assert (ledger.number_answered(), ledger.next_due()) == (0, clock.now + 15)
    clock.now += 15
    assert ledger.due(0, 10) == [1, 2]


def test_failures_are_told_since_a_time_with_whatever_their_reasons_hold(ledger, engine, clock):
    def since(seconds):
        found = failed_since(engine, CAMPAIGN.url, CAMPAIGN.project, seconds)
        return [(failed.task_id, failed.reason) for failed in found]

    ledger.claim([1, 2], clock.now)
    ledger.fail([Failed(1, "ImageUnreachable", "a\0b \ud83d", retry=False)])
    clock.now += 10
    ledger.fail([Failed(2, "ImageUnreachable", "is gone", retry=False)])
    assert since(clock.now - 10) == [(1, "ab ?"), (2, "is gone")]
    assert since(clock.now) == [(2, "is gone")]
    assert failed_since(engine, CAMPAIGN.url, 8, 0) == []


def test_a_person_is_given_what_a_job_has_made_and_it_is_not_sent(ledger, clock):
    ledger.claim([1, 2], clock.now)
    ledger.keep([kept(1), kept(2)])
    assert ledger.take(1) == kept(1)
    assert ledger.sending([1, 2]) == {2}
    assert ledger.take(2) is Seen.SENT


def test_what_a_person_was_given_meanwhile_is_not_kept_by_the_job_that_made_it_too(ledger, clock):
    assert ledger.take(1) is Seen.UNKNOWN
    ledger.claim([1], clock.now)
    assert ledger.take(1) is Seen.OPEN
    assert ledger.answered([1], clock.now + 15) == {1}
    ledger.keep([kept(1)])
    assert ledger.waiting(10, 1000) == []


def test_a_person_is_not_given_what_a_job_was_faster_with(ledger, clock):
    ledger.claim([1], clock.now)
    ledger.keep([kept(1)])
    ledger.sending([1])
    assert ledger.answered([1], clock.now + 15) == set()
    assert ledger.take(1) is Seen.SENT


def test_what_nobody_made_yet_goes_on_under_the_next_model_version(ledger, engine, clock):
    ledger.claim([1, 2, 3], clock.now)
    ledger.keep([kept(1)])
    following = Ledger(engine, NEXT, clock)
    following.claim([3], clock.now + 90)
    following.adopt()
    assert following.due(0, 10) == [2]
    assert following.claim([3], clock.now) == set()
    assert ledger.counts() == {State.PREDICTED: 1}
    assert {one.model_version for one in owing(engine, NEXT.url, NEXT.project)} == {
        CAMPAIGN.model_version,
        NEXT.model_version,
    }


def test_what_is_cancelled_is_asked_for_no_more_but_what_is_being_answered_is(engine):
    ledger = Ledger(engine, CAMPAIGN)
    ledger.claim([1], 0)
    ledger.claim([2], 4e9)
    forget(engine, CAMPAIGN.url, CAMPAIGN.project)
    assert ledger.claim([1, 2], 0) == {1}
    ledger.drop([1])
    ledger.drop_all()
    assert ledger.counts() == {}
