"""Who goes first, who shares a batch, and who pays for a poison image."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.errors import MissingPackage, ModelError, NotReached, OutOfMemory
from prelabel.predictors.base import calls_at_once
from prelabel.predictors.fallback import Fallback
from prelabel.runtime.batch_queue import TURNS_IN_A_ROW, BatchQueue
from prelabel.runtime.batcher import Batcher, at
from prelabel.runtime.callers import Caller, Priority
from prelabel.runtime.deadline import Deadline
from prelabel.types import Ask, Detections, Phrase

from .tar_pit import CATS, images, until

DOGS = Ask((Phrase("dog", "dog"),))


class Remembering:
    """Answers each image with its own name; can be held, and breaks by the image's name."""

    name = "remembering"
    fingerprint = "f"
    wants_neighbours = True

    def __init__(self, batch_size=4, device="cpu", calls_at_once=1):
        self.batch_size = batch_size
        self.calls_at_once = calls_at_once
        self.device = device
        self.batches = []
        self.may_go_on = Event()
        self.may_go_on.set()
        self.room = 100
        self.lock = Lock()
        self.at_once = self.most_at_once = 0

    def check(self): ...

    def load(self):
        self.may_go_on.wait(5)

    def health(self):
        return {"loaded": True, "device": self.device}

    def predict(self, images, ask):
        with self.lock:
            self.batches.append([image.name for image in images])
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.may_go_on.wait(5)
        with self.lock:
            self.at_once -= 1
        if len(images) > self.room:
            raise OutOfMemory("cuda", "is full", "Take less.")
        if any("poison" in image.name for image in images):
            raise ModelError("model", "chokes", "Throw it away.")
        if any("odd" in image.name for image in images):
            raise ZeroDivisionError("a defect")
        if any("deadly" in image.name for image in images):
            raise SystemExit
        if any("short" in image.name for image in images):
            return []
        return [Detections.none(image.name) for image in images]


@pytest.fixture
def predictor():
    return Remembering()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as pool:
        yield pool


class Crowd:
    """Callers before one queue whose predictor is held until all of them stand in it."""

    def __init__(self, predictor, pool):
        self.predictor = predictor
        self.pool = pool
        self.batcher = Batcher(BatchQueue(predictor))
        self.answers = []
        predictor.may_go_on.clear()
        self.join(Priority.PERSON, "first", ask=Ask())
        until(lambda: predictor.batches)

    def join(self, priority, *names, ask=CATS, deadline=None):
        before = self.standing()
        caller = Caller(priority, deadline)
        view = self.batcher.at(caller)
        self.answers.append(self.pool.submit(view.predict, images(*names), ask))
        if self.predictor.batches:
            until(lambda: self.standing() == before + len(names))
        return caller, self.answers[-1]

    def standing(self):
        return sum(self.batcher.waiting().images.values())

    def go(self):
        self.predictor.may_go_on.set()
        for answer in self.answers:
            answer.result(60)
        return self.predictor.batches[1:]


@pytest.fixture
def crowd(predictor, pool):
    crowd = Crowd(predictor, pool)
    yield crowd
    predictor.may_go_on.set()


def names_of(answer):
    return [entry.source for entry in answer]


def test_no_images_have_no_answer_and_are_not_asked_about(predictor):
    assert list(Batcher(BatchQueue(predictor)).predict([], CATS)) == []
    assert predictor.batches == []


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 5), st.integers(1, 3))
def test_each_image_gets_its_own_answer_however_batches_fall(counts, batch_size, at_once):
    batcher = Batcher(BatchQueue(Remembering(batch_size, calls_at_once=at_once)))
    asked = [[f"{call}.{n}" for n in range(count)] for call, count in enumerate(counts)]
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda names: batcher.predict(images(*names), CATS), asked)
        assert [names_of(answer) for answer in answers] == asked


def test_a_person_goes_before_a_retrieve_and_a_retrieve_before_a_job(crowd):
    crowd.join(Priority.BACKGROUND, "job")
    crowd.join(Priority.BULK, "bulk")
    crowd.join(Priority.PERSON, "person")
    assert crowd.go() == [["person"], ["bulk"], ["job"]]


def test_callers_of_one_priority_share_batches_in_the_order_in_which_they_came(crowd):
    for name in "abcdef":
        crowd.join(Priority.PERSON, name)
    assert crowd.go() == [["a", "b", "c", "d"], ["e", "f"]]


def test_those_who_ask_for_something_else_do_not_share_a_batch(crowd):
    crowd.join(Priority.BULK, "a")
    crowd.join(Priority.BULK, "b", ask=DOGS)
    crowd.join(Priority.BULK, "c")
    assert crowd.go() == [["a", "c"], ["b"]]


def test_a_long_document_waits_between_its_batches_for_a_person(predictor, pool):
    crowd = Crowd(predictor, pool)
    crowd.join(Priority.BULK, *"abcdefgh")
    predictor.may_go_on.set()
    until(lambda: len(predictor.batches) > 1)
    assert all(len(batch) <= predictor.batch_size for batch in predictor.batches)
    crowd.go()


def test_a_person_waits_for_no_more_than_the_batch_that_runs(crowd):
    crowd.join(Priority.BULK, *[f"bulk {n}" for n in range(20)])
    crowd.join(Priority.PERSON, "person")
    assert crowd.go()[0] == ["person"]


def test_a_job_moves_however_many_retrieves_come(crowd):
    crowd.join(Priority.BACKGROUND, "job")
    for n in range(3 * TURNS_IN_A_ROW):
        crowd.join(Priority.BULK, *[f"{n}.{m}" for m in range(4)])
    assert crowd.go().index(["job"]) == TURNS_IN_A_ROW


def test_a_job_does_not_take_the_turn_of_a_person(crowd):
    crowd.join(Priority.BACKGROUND, *[f"job {n}" for n in range(8)])
    for n in range(TURNS_IN_A_ROW):
        crowd.join(Priority.BULK, *[f"{n}.{m}" for m in range(4)])
    crowd.join(Priority.PERSON, "person")
    assert crowd.go()[0] == ["person"]


@pytest.mark.parametrize("kind", ["poison", "odd", "short", "deadly"])
def test_an_image_that_breaks_a_batch_costs_no_other_its_answer(crowd, kind):
    good, bad = crowd.join(Priority.BULK, "a", "b")[1], crowd.join(Priority.BULK, kind)[1]
    more = crowd.join(Priority.BULK, "c")[1]
    crowd.go()
    assert names_of(good.result()) == ["a", "b"]
    assert names_of(more.result()) == ["c"]
    assert isinstance(bad.result()[0], ModelError)


def test_a_predictor_that_cannot_be_loaded_is_asked_once(predictor):
    class Missing(Remembering):
        def predict(self, images, ask):
            self.batches.append(len(images))
            raise MissingPackage("torch", "is not installed", "Install it.")

    missing = Missing()
    answer = Batcher(BatchQueue(missing)).predict(images("a", "b", "c"), CATS)
    assert [type(entry) for entry in answer] == [MissingPackage] * 3
    assert missing.batches == [3]


def test_a_device_that_ran_out_of_memory_is_given_smaller_batches(predictor):
    predictor.room = 2
    batcher = Batcher(BatchQueue(predictor))
    assert names_of(batcher.predict(images(*"abcd"), CATS)) == list("abcd")
    assert batcher.batch_size == 2
    batcher.predict(images(*"efgh"), CATS)
    assert [len(batch) for batch in predictor.batches] == [4, 2, 2, 2, 2]


def test_batches_that_were_made_smaller_are_not_made_larger_by_an_older_one(predictor):
    predictor.batch_size, predictor.room = 8, 1
    queue = BatchQueue(predictor)
    Batcher(queue).predict(images(*"abcdefgh"), CATS)
    assert queue.batch_size == 1


def test_a_predictor_that_cannot_say_how_it_is_keeps_nobody_waiting(predictor):
    def broken():
        raise ZeroDivisionError("a defect")

    caller = Caller(Priority.BULK, Deadline.after(5))
    batcher = Batcher(BatchQueue(predictor)).at(caller)
    predictor.health = broken
    assert [type(entry) for entry in batcher.predict(images("a", "b"), CATS)] == [ModelError] * 2
    del predictor.health
    assert [type(entry) for entry in batcher.predict(images("a", "b"), CATS)] == [Detections] * 2


def test_who_hangs_up_leaves_the_queue_and_nobody_else_does(crowd):
    gone, answer = crowd.join(Priority.BULK, "a", "b")
    other = crowd.join(Priority.BULK, "c")[1]
    gone.leave()
    assert [type(entry) for entry in answer.result(60)] == [NotReached] * 2
    assert crowd.go() == [["c"]]
    assert names_of(other.result()) == ["c"]


def test_who_has_hung_up_is_not_queued_at_all(crowd):
    caller = Caller(Priority.PERSON)
    caller.leave()
    (entry,) = crowd.batcher.at(caller).predict(images("late"), CATS)
    assert isinstance(entry, NotReached)
    assert crowd.go() == []


def test_at_the_deadline_waiting_images_leave_and_running_ones_are_waited_for(predictor, pool):
    predictor.may_go_on.clear()
    predictor.batch_size = 2
    view = Batcher(BatchQueue(predictor)).at(Caller(Priority.BULK, Deadline.after(0.2)))
    answer = pool.submit(view.predict, images("a", "b", "c"), CATS)
    time.sleep(0.4)
    assert not answer.done()
    predictor.may_go_on.set()
    first, second, third = answer.result(60)
    assert (first.source, second.source) == ("a", "b")
    assert isinstance(third, NotReached)


def test_no_more_batches_run_at_once_than_were_allowed(pool):
    for allowed in (1, 3):
        predictor = Remembering(batch_size=1, calls_at_once=allowed)
        batcher = Batcher(BatchQueue(predictor))
        predictor.may_go_on.clear()
        answers = [pool.submit(batcher.predict, images(str(n)), CATS) for n in range(8)]
        time.sleep(0.2)
        predictor.may_go_on.set()
        assert [names_of(answer.result(60)) for answer in answers] == [[str(n)] for n in range(8)]
        assert predictor.most_at_once == allowed


def test_a_predictor_that_says_nothing_of_it_is_given_one_batch_at_a_time():
    class Plain:
        name = "plain"

    class Busy(Plain):
        calls_at_once = 3

    assert calls_at_once(Plain()) == 1
    assert calls_at_once(Fallback(Busy(), Plain())) == 3


def test_a_device_that_gains_from_batches_is_given_a_moment_to_fill_one(pool):
    predictor = Remembering(batch_size=4, device="cuda")
    batcher = Batcher(BatchQueue(predictor))
    started = time.perf_counter()
    assert names_of(batcher.predict(images(*"abcd"), CATS)) == list("abcd")
    batcher.predict(images("alone"), CATS)
    assert time.perf_counter() - started < 10
    assert predictor.batches == [list("abcd"), ["alone"]]


def test_a_load_of_minutes_holds_up_neither_health_nor_a_look_at_the_queue(predictor, pool):
    predictor.may_go_on.clear()
    batcher = Batcher(BatchQueue(predictor))
    loading = pool.submit(batcher.load)
    assert batcher.health() == {"loaded": True, "device": "cpu"}
    assert batcher.waiting().running == 0
    assert not loading.done()
    predictor.may_go_on.set()


def test_a_view_is_named_as_the_predictor_behind_it(predictor):
    view = at(Batcher(BatchQueue(predictor)), Caller(Priority.PERSON))
    assert isinstance(view, Batcher)
    assert (view.name, view.fingerprint, view.wants_neighbours) == ("remembering", "f", True)
    assert view.batch_size == 4
    view.check()


def test_a_predictor_without_a_queue_answers_at_once(predictor):
    assert at(predictor, Caller(Priority.BULK)) is predictor


def test_what_waits_is_told_by_priority_and_age(crowd):
    crowd.join(Priority.BULK, "a", "b")
    crowd.join(Priority.PERSON, "c")
    time.sleep(0.05)
    waiting = crowd.batcher.waiting()
    assert waiting.images == {Priority.PERSON: 1, Priority.BULK: 2, Priority.BACKGROUND: 0}
    assert waiting.oldest_s >= 0.05
    assert waiting.running == 1
    crowd.go()


def test_every_batch_is_told_to_whoever_wants_to_know(predictor):
    seen = []
    batcher = Batcher(BatchQueue(predictor, lambda count, seconds: seen.append(count)))
    batcher.predict(images(*"abcdef"), CATS)
    assert seen == [4, 2]
