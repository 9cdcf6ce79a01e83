"""A task is given in one answer of all that are made at a time; people go first."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from prelabel.jobs.retrieves import Scope
from prelabel.server.under_way import UnderWay

SCOPE = Scope(7, 1_700_000_000, "fake")


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


def begin(under_way, scope, tasks, updated_at="2026-01-02T03:04:05Z"):
    return under_way.begin(scope, dict.fromkeys(tasks, updated_at))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def under_way(clock):
    return UnderWay(clock)


@pytest.mark.parametrize(
    ("first", "second", "mine", "theirs"),
    [
        ([], [], set(), set()),
        ([1, 2], [], set(), set()),
        ([1, 2], [3, 4], {3, 4}, set()),
        ([1, 2], [1, 2], set(), {1, 2}),
        ([1, 2], [2, 3], {3}, {2}),
        ([1], [1, 2], {2}, {1}),
        ([1], [1], set(), {1}),
        ([1, 2], [1], {1}, set()),
    ],
)
def test_a_task_belongs_to_the_first_that_wants_it_unless_a_person_waits(
    under_way, first, second, mine, theirs
):
    assert begin(under_way, SCOPE, first).mine == set(first)
    claim = begin(under_way, SCOPE, second)
    assert (claim.mine, claim.theirs) == (mine, theirs)


@pytest.mark.parametrize(
    "other",
    [replace(SCOPE, project=8), replace(SCOPE, created=1), replace(SCOPE, version="fake.seq1")],
)
def test_projects_and_model_versions_are_apart(under_way, other):
    begin(under_way, SCOPE, [1, 2])
    assert begin(under_way, other, [1, 2]).mine == {1, 2}


def test_what_was_not_answered_is_free_at_once(under_way):
    first = begin(under_way, SCOPE, [1, 2, 3])
    waiting = begin(under_way, SCOPE, [1, 2, 3])
    (end,) = under_way.awaited(waiting)
    assert under_way.freed(waiting) == set()
    assert not end.done()
    assert under_way.end(first, [2]) == {2}
    assert end.done()
    assert under_way.freed(waiting) == {1, 3}
    assert (waiting.mine, waiting.theirs) == ({1, 3}, set())
    assert under_way.awaited(waiting) == set()


def test_what_was_answered_is_not_given_again_before_it_is_stored(under_way, clock):
    tasks = range(60)
    first = begin(under_way, SCOPE, tasks)
    under_way.end(first, tasks)
    clock.now_s += 20.9
    early = begin(under_way, SCOPE, tasks)
    assert (early.mine, early.theirs, early.again_in_s) == (set(), set(), 1)
    under_way.end(early)
    clock.now_s += 0.2
    assert begin(under_way, SCOPE, tasks).mine == set(tasks)


@pytest.mark.parametrize("tasks", [[1], [1, 2, 3]])
def test_what_label_studio_has_stored_since_and_asks_for_again_was_deleted_there(under_way, tasks):
    under_way.end(begin(under_way, SCOPE, [1, 2, 3]), [1, 2, 3])
    assert begin(under_way, SCOPE, tasks).mine == set()
    assert begin(under_way, SCOPE, tasks, "2026-01-02T03:04:06Z").mine == set(tasks)


def test_what_is_in_work_stays_so_whatever_label_studio_changes(under_way):
    begin(under_way, SCOPE, [1, 2])
    assert begin(under_way, SCOPE, [1, 2], "2026-01-02T03:04:06Z").theirs == {1, 2}


def test_who_waited_is_not_given_what_another_answered_however_late_it_looks(under_way, clock):
    first = begin(under_way, SCOPE, [1, 2])
    waiting = begin(under_way, SCOPE, [1, 2, 3])
    under_way.end(first, [1, 2])
    clock.now_s += 3600
    assert begin(under_way, SCOPE, [4]).mine == {4}
    assert under_way.freed(waiting) == set()
    assert under_way.end(waiting, [1, 2, 3]) == {3}
    assert waiting.again_in_s == 16


def test_a_request_for_many_does_not_answer_what_a_person_took(under_way, clock):
    many = begin(under_way, SCOPE, [1, 2])
    person = begin(under_way, SCOPE, [1])
    assert under_way.end(person, [1]) == {1}
    clock.now_s += 3600
    begin(under_way, SCOPE, [3])
    assert under_way.end(many, [1, 2]) == {2}


def test_a_person_still_waiting_keeps_the_task_when_the_request_for_many_ends(under_way):
    many = begin(under_way, SCOPE, [1, 2])
    person = begin(under_way, SCOPE, [1])
    assert under_way.end(many, [1, 2]) == {2}
    assert under_way.end(person, [1]) == {1}


def test_what_a_person_did_not_get_goes_back_to_the_request_for_many(under_way):
    many = begin(under_way, SCOPE, [1, 2])
    person = begin(under_way, SCOPE, [1])
    assert under_way.end(person) == set()
    assert begin(under_way, SCOPE, [1, 2]).theirs == {1, 2}
    assert under_way.end(many, [1, 2]) == {1, 2}


def test_what_neither_a_person_nor_the_request_for_many_answered_is_free(under_way):
    many = begin(under_way, SCOPE, [1, 2])
    person = begin(under_way, SCOPE, [1])
    under_way.end(many, [1, 2])
    under_way.end(person)
    assert begin(under_way, SCOPE, [1, 3]).mine == {1, 3}


def test_of_two_persons_the_second_gets_what_the_first_does_not(under_way):
    first, second = begin(under_way, SCOPE, [1]), begin(under_way, SCOPE, [1])
    assert under_way.awaited(second) == {first.end}
    under_way.end(first)
    assert under_way.freed(second) == {1}


@pytest.mark.parametrize(("answered", "held_s"), [(2, 0.6), (60, 3.5), (190, 10), (10_000, 10)])
def test_a_person_waits_ten_seconds_at_most_for_what_is_being_stored(
    under_way, clock, answered, held_s
):
    under_way.end(begin(under_way, SCOPE, range(answered)), range(answered))
    clock.now_s += held_s - 0.01
    early = begin(under_way, SCOPE, [1])
    assert early.mine == set()
    under_way.end(early)
    clock.now_s += 0.02
    assert begin(under_way, SCOPE, [1]).mine == {1}


@pytest.mark.parametrize(("asked", "held_s"), [(1, 1), (20, 0.05), (4000, 10), (50_000, 60)])
def test_a_single_answer_is_kept_from_requests_that_were_read_before_it_was_stored(
    under_way, clock, asked, held_s
):
    under_way.end(begin(under_way, SCOPE, [1]), [1])
    tasks = range(1, asked + 1)
    clock.now_s += held_s - 0.01
    early = begin(under_way, SCOPE, tasks)
    assert 1 not in early.mine
    under_way.end(early)
    clock.now_s += 0.02
    assert begin(under_way, SCOPE, tasks).mine == set(tasks)


def test_no_two_requests_wait_for_each_other(under_way):
    oldest = begin(under_way, SCOPE, [1, 2])
    older = begin(under_way, SCOPE, [1, 3])
    younger = begin(under_way, SCOPE, [1, 3])
    under_way.end(oldest)
    assert under_way.freed(younger) == {1}
    assert under_way.freed(older) == set()
    assert under_way.awaited(older) == set()
    assert under_way.awaited(younger) == {older.end}


def test_a_request_ends_once(under_way):
    claim = begin(under_way, SCOPE, [1, 2])
    assert under_way.end(claim, [1]) == {1}
    assert under_way.end(claim) == {1}
    assert begin(under_way, SCOPE, [1, 2]).mine == {2}


def test_nothing_is_left_of_what_is_stored_or_was_not_answered(under_way, clock):
    for number in range(50):
        scope = replace(SCOPE, project=number)
        under_way.end(begin(under_way, scope, [1, 2]), [1, 2])
        under_way.end(begin(under_way, scope, [1]), [1])
        under_way.end(begin(under_way, scope, [3, 4]))
    clock.now_s += 61
    under_way.end(begin(under_way, SCOPE, [1]))
    kept = under_way._holders, under_way._open, under_way._ended
    assert [len(one) for one in kept] == [0, 0, 0]
    assert under_way._kept == 0


def test_answers_beyond_the_room_are_forgotten_the_earliest_first(clock):
    under_way = UnderWay(clock, most_kept=25)
    for start in (0, 10, 20):
        tasks = range(start, start + 10)
        under_way.end(begin(under_way, SCOPE, tasks), tasks)
        clock.now_s += 1
    assert begin(under_way, SCOPE, range(30)).mine == set(range(10))


def test_what_is_under_way_is_never_forgotten(clock):
    under_way = UnderWay(clock, most_kept=0)
    first = begin(under_way, SCOPE, range(10))
    under_way.end(begin(under_way, SCOPE, [20, 21]), [20, 21])
    clock.now_s += 1e6
    assert begin(under_way, SCOPE, range(10)).mine == set()
    assert under_way.end(first, range(10)) == set(range(10))


def test_of_many_threads_each_task_is_answered_by_one(under_way):
    def one(seed):
        order = random.Random(seed)
        claim = begin(under_way, SCOPE, order.sample(range(200), order.choice([2, 5, 40])))
        got = set(claim.mine)
        for _ in range(20):
            got |= under_way.freed(claim)
        return under_way.end(claim, [task for task in got if order.random() < 0.3])

    with ThreadPoolExecutor(8) as threads:
        answered = [task for tasks in threads.map(one, range(400)) for task in tasks]
    assert sorted(answered) == sorted(set(answered))
    assert len(answered) > 100
    left = begin(under_way, SCOPE, range(200))
    assert left.mine == set(range(200)) - set(answered)
    assert left.theirs == set()
