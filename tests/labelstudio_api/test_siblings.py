"""The tasks around a task, asked for seldom and within bounds."""

from threading import Event, Thread

import pytest

from prelabel.errors import LabelStudioUnreachable, LoginRefused
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api.siblings import Siblings


class Listing:
    """A Label Studio of one project that remembers what it was asked."""

    def __init__(self, ids=(), error=None):
        self.ids = ids
        self.error = error
        self.asked = []

    def tasks(self, project_id, *, after_id=0, page_size=500):
        self.asked.append((project_id, after_id))
        if self.error:
            raise self.error
        found = [number for number in self.ids if number > after_id]
        yield from ({"id": number, "data": {"image": f"{number}.png"}} for number in found)


def task(number, project=1):
    return Task(id=number, project=project, data={})


def ids(tasks):
    return [task.id for task in tasks]


def test_a_task_without_project_or_number_has_no_siblings():
    listing = Listing(range(10))
    assert Siblings(listing)(Task(id=1)) == ()
    assert Siblings(listing)(Task(id="x", project=1)) == ()
    assert listing.asked == []


def test_tasks_with_ids_before_and_behind_are_siblings():
    found = ids(Siblings(Listing(range(1, 1000)))(task(500)))
    assert {499, 500, 501} <= set(found)
    assert len(found) <= 300


def test_a_hundred_tasks_of_a_block_ask_once():
    listing = Listing(range(1, 1000))
    siblings = Siblings(listing)
    for number in range(500, 600):
        siblings(task(number))
    assert len(listing.asked) == 1
    siblings(task(500, project=2))
    assert len(listing.asked) == 2


def test_a_label_studio_that_does_not_answer_costs_one_wait_and_stores_nothing():
    listing = Listing(error=LabelStudioUnreachable("Label Studio", "is down", "Start it."))
    siblings = Siblings(listing)
    for number in (1, 2, 3):
        with pytest.raises(LabelStudioUnreachable):
            siblings(task(number))
    assert len(listing.asked) == 1


def test_a_label_studio_that_says_no_leaves_a_task_without_siblings():
    listing = Listing(error=LoginRefused("the token", "is old", "Make a new one."))
    assert Siblings(listing)(task(1)) == []


def test_tasks_of_an_unknown_shape_are_no_siblings():
    listing = Listing()
    listing.tasks = lambda *_, **__: iter(["no task"])
    assert Siblings(listing)(task(1)) == []


def test_a_defect_lets_nobody_wait_for_ever():
    is_asked, may_answer = Event(), Event()

    class Broken:
        def tasks(self, *_, **__):
            is_asked.set()
            assert may_answer.wait(10)
            raise TypeError("a defect")

    siblings = Siblings(Broken())

    def ask():
        with pytest.raises(TypeError):
            siblings(task(1))

    first, second = (Thread(target=ask, daemon=True) for _ in range(2))
    first.start()
    assert is_asked.wait(10)
    second.start()
    may_answer.set()
    for asking in (first, second):
        asking.join(10)
        assert not asking.is_alive()
