"""The writer: nothing twice, nothing lost, whatever Label Studio does."""

import itertools
import json

import httpx2
import pytest
from pydantic_core import to_json

from prelabel.batch.push import Manners, Writer, backoff_s
from prelabel.errors import LabelStudioError, LabelStudioUnreachable, RequestRefused
from prelabel.store.journal import Journal, Kept, State

IMPORT = "/import/predictions"


def failed(journal):
    known = journal.entries(0, 10**9)
    return sorted(task for task, entry in known.items() if entry.state is State.FAILED)


def kept(task, size=0):
    return Kept(task, 0.5, to_json([{"id": f"r{task}", "pad": "x" * size}]))


@pytest.fixture
def make_writer(target, journal, clock, tally, hasty, time_passes):
    def make(manners=hasty, **more):
        pause = time_passes.append
        return Writer(target, journal, manners, clock, tally, pause=pause, **more)

    return make


@pytest.fixture
def push(make_writer, journal):
    """Write predictions down and push them, as one run does."""

    def run(rows=(), manners=None):
        journal.keep(list(rows))
        writer = make_writer(manners) if manners else make_writer()
        writer.end()
        writer.run()

    return run


def test_nothing_is_pushed_where_nothing_waits(fake, push):
    push()
    assert fake.imports == []


def test_every_prediction_is_pushed_once_with_its_result(fake, push, journal, tally):
    ids = fake.add_tasks(30)
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert {row["result"][0]["id"] for row in fake.predictions} == {f"r{task}" for task in ids}
    assert journal.counts() == {State.PUSHED: 30}
    assert tally.counts().pushed == 30


def test_people_can_begin_early_and_later_chunks_are_large(fake, push):
    push(map(kept, fake.add_tasks(130)))
    assert [len(chunk) for chunk in fake.imports] == [20, 110]


def test_where_much_waits_already_the_first_chunk_is_large(fake, push):
    push(map(kept, fake.add_tasks(1300)))
    assert [len(chunk) for chunk in fake.imports] == [500, 500, 300]


def test_a_chunk_has_no_more_bytes_than_allowed_but_one_prediction_at_least(fake, push):
    ids = fake.add_tasks(6)
    manners = Manners(request_delay_s=0.0, chunk_bytes=2500)
    push([*(kept(task, 1000) for task in ids[:5]), kept(ids[5], 9000)], manners)
    assert [len(chunk) for chunk in fake.imports] == [2, 2, 1, 1]


def test_there_is_a_pause_between_two_writes_and_none_before_the_first(fake, push, time_passes):
    push(map(kept, fake.add_tasks(1030)), Manners(request_delay_s=2.0))
    assert len(fake.imports) == 3
    assert time_passes == pytest.approx([2.0, 2.0], abs=0.5)


@pytest.mark.parametrize(
    "fault",
    [
        *("cut_after", "cut_before", "no_connection", "locked"),
        *(pytest.param(status, id=str(status)) for status in (429, 502, 503, 504, 500)),
    ],
)
def test_a_push_that_breaks_off_is_made_again_without_duplicates(fake, push, faults, fault):
    ids = fake.add_tasks(50)
    broken = faults.status(fault) if isinstance(fault, int) else getattr(faults, fault)
    fake.faults = [("POST", IMPORT, broken)] * 2
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("looks", [1, 2, 4])
def test_a_push_that_is_applied_late_is_waited_for(fake, push, faults, looks):
    ids = fake.add_tasks(20)
    fake.faults = [("POST", IMPORT, faults.late(looks))]
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert len(fake.imports) == 1


def test_what_came_later_than_anyone_would_wait_is_taken_away_again(fake, push, faults):
    ids = fake.add_tasks(20)
    forgotten = []

    def forget(fake, request):
        forgotten.append(request)
        return faults.cut_before(fake, request)

    def remember(fake, request):
        fake.answer(forgotten[0])
        return fake.answer(request)

    fake.faults = [("POST", IMPORT, forget), ("POST", IMPORT, remember)]
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert len(fake.imports) == 2


def test_what_label_studio_stored_twice_by_itself_is_there_once_in_the_end(fake, push, faults):
    ids = fake.add_tasks(20)
    fake.hold(ids[0], "another@1")
    fake.faults = [("POST", IMPORT, faults.twice)]
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert fake.holding("another@1") == {ids[0]: 1}


def test_duplicates_are_told_from_versions_with_a_longer_name(fake, push, faults):
    ids = fake.add_tasks(20)
    for task in ids:
        fake.hold(task, "always@1.seq2")
    fake.faults = [("POST", IMPORT, faults.twice)]
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert fake.holding("always@1.seq2") == dict.fromkeys(ids, 1)


def test_pauses_between_attempts_grow_and_retry_after_is_honoured(fake, push, faults, time_passes):
    fake.add_tasks(1)
    fake.faults = [
        ("POST", IMPORT, faults.status(429)),
        ("POST", IMPORT, faults.status(429, Retry_After="17")),
        ("POST", IMPORT, faults.status(429)),
    ]
    push([kept(1)])
    first, second, third = time_passes
    assert 0.75 <= first <= 1.25
    assert second == 17
    assert 3 <= third <= 5


def test_a_label_studio_that_stays_away_ends_the_run_and_loses_nothing(fake, push, faults, journal):
    fake.add_tasks(3)
    fake.faults = [("POST", IMPORT, faults.no_connection)] * 10
    with pytest.raises(LabelStudioUnreachable):
        push(map(kept, (1, 2, 3)))
    assert len(fake.faults) == 10 - 4
    assert [row.task_id for row in journal.waiting(10, 10_000)] == [1, 2, 3]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_one_that_answers_every_push_with_an_error_ends_the_run_and_loses_nothing(
    fake, push, faults, journal, status
):
    fake.add_tasks(3)
    fake.faults = [("POST", IMPORT, faults.status(status))] * 10
    with pytest.raises(LabelStudioError):
        push(map(kept, (1, 2, 3)))
    assert len(fake.faults) == 10 - 4
    assert [row.task_id for row in journal.waiting(10, 10_000)] == [1, 2, 3]


def test_a_push_of_which_something_arrives_each_time_is_gone_on_with(fake, push):
    ids = fake.add_tasks(20)

    def cut_in_half(fake, request):
        rows = json.loads(request.read())
        for row in rows[: (len(rows) + 1) // 2]:
            fake.hold(row["task"], row["model_version"], row["result"])
        return httpx2.Response(500, json={"detail": "busy"})

    fake.faults = [("POST", IMPORT, cut_in_half)] * 10
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)


def test_a_token_that_may_not_write_ends_the_run(fake, push):
    fake.add_tasks(1)
    fake.forbidden = True
    with pytest.raises(RequestRefused):
        push([kept(1)])


def test_what_an_import_drops_is_sent_alone(fake, push, tally):
    ids = fake.add_tasks(20)
    fake.dropped = {3, 7}
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert tally.counts().failed == 0


def test_what_is_refused_alone_too_is_set_aside_with_the_reason(fake, push, journal, tally):
    ids = fake.add_tasks(20)
    fake.refused = {3, 7}
    push(map(kept, ids))
    assert fake.holding().keys() == set(ids) - {3, 7}
    assert failed(journal) == [3, 7]
    assert "label 'dog' is not known" in tally.failures[0].reason


def test_a_task_that_was_deleted_meanwhile_costs_only_itself(fake, push, journal):
    ids = fake.add_tasks(120)
    del fake.tasks[50], fake.tasks[77]
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(set(ids) - {50, 77}, 1)
    assert failed(journal) == [50, 77]


def killed_while_sending(journal, ids):
    journal.keep([kept(task) for task in ids])
    journal.sending(ids)


def test_after_a_kill_what_arrived_is_not_sent_again(fake, push, journal, tally):
    ids = fake.add_tasks(10)
    killed_while_sending(journal, ids)
    for task in ids:
        fake.hold(task)
    push()
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert tally.counts().already_there == 10


def test_after_a_kill_what_did_not_arrive_is_sent(fake, push, journal, time_passes):
    ids = fake.add_tasks(10)
    killed_while_sending(journal, ids)
    push()
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert sum(time_passes) >= 9  # the request of the killed process may still be at work


def test_after_a_kill_what_arrives_late_is_waited_for(fake, push, journal):
    ids = fake.add_tasks(10)
    killed_while_sending(journal, ids)
    fake.late.append((3, lambda: [fake.hold(task) for task in ids]))
    push()
    assert fake.holding() == dict.fromkeys(ids, 1)
    assert fake.imports == []


def test_what_a_chunk_replaces_is_taken_away_before_it_counts_as_being_sent(
    fake, make_writer, journal
):
    """A run that is killed in between must not take the old predictions for the new ones."""
    fake.add_tasks(2)
    journal.keep([kept(1), kept(2)])
    seen = []
    writer = make_writer(clear=lambda ids: seen.append((sorted(ids), journal.in_doubt())))
    writer.end()
    writer.run()
    assert seen == [([1, 2], {})]


def test_another_campaign_is_not_touched(fake, push, engine, campaign, journal):
    fake.add_tasks(2)
    other = Journal(engine, type(campaign)("http://elsewhere.test", 7, "2026", "always@1"))
    other.keep([kept(1)])
    push([kept(2)])
    assert other.counts() == {State.PREDICTED: 1}


@pytest.mark.parametrize("kind", ["cut_after", "cut_before", "locked", "no_connection", "twice"])
@pytest.mark.parametrize("place", range(3))
def test_any_fault_in_any_chunk_leaves_one_prediction_each(fake, push, faults, kind, place):
    ids = fake.add_tasks(200)
    counter = itertools.count()

    def fault_at(fake, request):
        if next(counter) == place:
            return getattr(faults, kind)(fake, request)
        return fake.answer(request)

    fake.faults = [("POST", IMPORT, fault_at)] * 10
    push(map(kept, ids))
    assert fake.holding() == dict.fromkeys(ids, 1)


def test_pauses_double_up_to_the_longest():
    pauses = [backoff_s(failures, 10.0) for failures in range(1, 8)]
    assert all(
        0.75 * 2**place <= pause <= 1.25 * 2**place for place, pause in enumerate(pauses[:3])
    )
    assert pauses[-1] == 10.0
