"""What goes on after an answer: behind everybody, within bounds, and not once it is asked again."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from structlog.testing import capture_logs

from prelabel.errors import ModelError, NotReached
from prelabel.gathering import Access, Studio
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Prediction
from prelabel.plan import Predictors, make_plan
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.runtime.callers import Priority
from prelabel.server.afterwards import Afterwards

from .conftest import CONFIG, FakeImages, Held, until

LATE = NotReached("task", "its turn did not come", "Ask again.")


def tasks(*names):
    return [Task(id=number, data={"image": name}) for number, name in enumerate(names)]


def numbered(first, *names):
    return [(Task(id=first + n, data={"image": name}), LATE) for n, name in enumerate(names)]


def late(*names):
    return [(task, LATE) for task in tasks(*names)]


@pytest.fixture
def model():
    return Held(batch_size=1)


@pytest.fixture
def queue(model):
    return Batcher(BatchQueue(model))


@pytest.fixture
def images():
    return FakeImages()


@pytest.fixture
def plan(queue):
    return make_plan(CONFIG, Predictors(queue, queue))


@pytest.fixture
def make(images, model):
    made = []

    def make(*arguments):
        with ThreadPoolExecutor(1) as unused:
            made.append(Afterwards(Studio(images, unused, lambda _: ()), *arguments))
        return made[-1]

    yield make
    model.may_go_on.set()
    for one in made:
        one.stop()
        one._runners.shutdown()


def settled(afterwards):
    """Wait until all that was submitted has ended."""
    afterwards._runners.shutdown()


def test_only_what_was_not_reached_goes_on(make, plan, model):
    afterwards = make()
    known = Prediction([], 0.0, "fake"), ModelError("c", "breaks", "Throw it away.")
    answered = [*late("a"), *zip(tasks("b", "c"), known, strict=True), *late("d")]
    afterwards.go_on("7", answered, plan, Access())
    settled(afterwards)
    assert sorted(name for batch in model.batches for name in batch) == ["a", "d"]


def test_nothing_late_begins_nothing(make, plan, model):
    afterwards = make()
    afterwards.go_on("7", [], plan, Access())
    afterwards.give_way("7")
    settled(afterwards)
    assert model.batches == []


def test_it_stands_behind_jobs_and_all_others(make, plan, model, queue):
    model.may_go_on.clear()
    afterwards = make()
    afterwards.go_on("7", late("a"), plan, Access())
    afterwards.go_on("8", late("b"), plan, Access())
    assert model.is_at_work.wait(10)
    until(lambda: queue.waiting().images[Priority.BACKGROUND])
    assert queue.waiting().images == {
        Priority.PERSON: 0,
        Priority.BULK: 0,
        Priority.BACKGROUND: 1,
    }


def test_a_project_that_is_asked_for_again_is_left_to_the_request(make, plan, model):
    model.may_go_on.clear()
    afterwards = make()
    afterwards.go_on("7", late(*"abcdefgh"), plan, Access())
    assert model.is_at_work.wait(10)
    afterwards.give_way("7")
    model.may_go_on.set()
    settled(afterwards)
    assert len(model.batches) == 1


def test_a_newer_request_does_not_make_the_older_ones_forgotten(make, plan, model):
    model.may_go_on.clear()
    afterwards = make()
    afterwards.go_on("7", late("a", "b", "c"), plan, Access())
    assert model.is_at_work.wait(10)
    afterwards.give_way("7")
    afterwards.go_on("7", numbered(10, "x"), plan, Access())
    model.may_go_on.set()
    settled(afterwards)
    assert {name for batch in model.batches for name in batch} == {"a", "b", "c", "x"}


def test_what_was_left_goes_on_after_a_request_that_left_nothing(make, plan, model):
    model.may_go_on.clear()
    afterwards = make()
    afterwards.go_on("7", late("a", "b"), plan, Access())
    assert model.is_at_work.wait(10)
    afterwards.give_way("7")
    afterwards.go_on("7", [], plan, Access())
    model.may_go_on.set()
    settled(afterwards)
    assert {name for batch in model.batches for name in batch} == {"a", "b"}


def test_what_is_asked_for_again_is_not_looked_at_beside_that(make, plan, model):
    model.may_go_on.clear()
    afterwards = make()
    afterwards.go_on("7", late("a", "b"), plan, Access())
    assert model.is_at_work.wait(10)
    afterwards.give_way("7")
    asked = tasks("a", "b")
    afterwards.go_on("7", [(task, Prediction([], 0.0, "fake")) for task in asked], plan, Access())
    model.may_go_on.set()
    settled(afterwards)
    assert len(model.batches) == 1


def test_task_data_beyond_the_room_is_left_to_the_next_click(make, plan, model):
    afterwards = make(2500)
    afterwards.go_on("7", late("a", "b", "c"), plan, Access())
    settled(afterwards)
    assert sorted(model.batches) == [["a"], ["b"]]


def test_room_is_given_back(make, plan, model):
    afterwards = make(2500)
    for name in "abc":
        afterwards.go_on("7", late(name, "data:" + 9000 * "x"), plan, Access())
        until(lambda: not afterwards._at_work)
    settled(afterwards)
    assert sorted(model.batches) == [["a"], ["b"], ["c"]]


def test_a_server_that_ends_begins_nothing_more(make, plan, model):
    model.may_go_on.clear()
    afterwards = make()
    afterwards.go_on("7", late(*"abcd"), plan, Access())
    assert model.is_at_work.wait(10)
    afterwards.stop()
    afterwards.go_on("8", late("e"), plan, Access())
    model.may_go_on.set()
    settled(afterwards)
    assert len(model.batches) == 1


def test_a_defect_ends_it_and_is_said(make, plan, images):
    class Odd:
        def at(self, caller):
            raise ZeroDivisionError

    afterwards = make()
    with capture_logs() as logs:
        afterwards.go_on("7", late("a"), Odd(), Access())
        settled(afterwards)
    assert [log["event"] for log in logs] == ["defect"]
    assert afterwards._characters == 0
