"""A model that does not get on with being loaded: what is a sign of life, and who is let go."""

from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Event
from threading import enumerate as enumerate_threads
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from prelabel.errors import NotReached, WeightsUnavailable, consequence_of
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher, at, first_hang, hang
from prelabel.runtime.callers import Caller, Priority
from prelabel.runtime.deadline import Deadline
from prelabel.runtime.hanging import Watch
from prelabel.runtime.memory import Memory
from prelabel.runtime.noted import Noted
from prelabel.runtime.remembered import Remembered
from prelabel.store.database import open_database
from prelabel.store.findings import Findings
from prelabel.types import Detections

from .tar_pit import CATS, Model, images, kinds, until

LIMIT_S = 900.0
LOOK_S = LIMIT_S / 10


class Slow(Model):
    """Is not ready until it may be; then it is, or raises."""

    def __init__(self):
        super().__init__()
        self.is_loaded = False
        self.loads = Queue()
        self.may_be_ready = Event()
        self.refusal = None
        self.fetched = 0

    def health(self):
        return {**super().health(), "fetched": self.fetched}

    def load(self):
        self.loads.put("load")
        self.may_be_ready.wait()
        if self.refusal:
            raise self.refusal
        self.is_loaded = True


@pytest.fixture
def model():
    model = Slow()
    yield model
    model.may_be_ready.set()
    model.may_go_on.set()


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def arrived():
    return SimpleNamespace(bytes=0)


@pytest.fixture
def watch(clock, arrived):
    return Watch(
        600.0,
        LIMIT_S,
        arrived=lambda: arrived.bytes,
        clock=lambda: clock.now,
        looks_by_itself=False,
    )


@pytest.fixture
def batcher(model, watch):
    return Batcher(BatchQueue(model, watch=watch))


@pytest.fixture(autouse=True)
def said(model):
    """What a test leaves behind says in its own time that it came back, not in that of the next."""
    with capture_logs() as logs:
        yield logs
        model.may_be_ready.set()
        model.may_go_on.set()
        for thread in enumerate_threads():
            if thread.name == "load":
                thread.join(5)
        hung = sum(one["event"] == "model hangs" for one in logs)
        until(lambda: sum(one["event"] == "model came back" for one in logs) == hung)


@pytest.fixture
def pool(model):
    with ThreadPoolExecutor(8) as pool:
        yield pool
        model.may_be_ready.set()
        model.may_go_on.set()


@pytest.fixture
def begin(model, pool):
    """Begins to load a predictor."""

    def load(predictor):
        loading = pool.submit(predictor.load)
        model.loads.get(timeout=5)
        return loading

    return load


@pytest.fixture
def pass_time(clock, watch):
    """Lets time go by as it does for the thread of the watch; gives how much went by in the end."""

    def go_on(seconds, each_look=lambda: None):
        end = clock.now + seconds
        while clock.now < end:
            clock.now = min(clock.now + LOOK_S, end)
            each_look()
            watch.look()

    return go_on


# What a sign of life is


def test_a_load_that_nothing_is_seen_of_hangs_after_the_limit(batcher, begin, pass_time):
    loading = begin(batcher)
    pass_time(LIMIT_S - 1)
    assert hang(batcher) is None
    assert not loading.done()
    pass_time(1)
    assert hang(batcher).is_loading
    loading.result(60)


@pytest.mark.parametrize("where", ["folder", "health"])
def test_a_load_of_which_something_comes_may_take_hours(
    batcher, model, arrived, begin, pass_time, where
):
    def a_byte_comes():
        if where == "folder":
            arrived.bytes += 1
        else:
            model.fetched += 1

    loading = begin(batcher)
    pass_time(20 * LIMIT_S, each_look=a_byte_comes)
    assert hang(batcher) is None
    pass_time(LIMIT_S - 1)
    assert not loading.done()
    pass_time(1)
    assert hang(batcher) is not None


def test_a_load_is_looked_at_several_times_in_the_time_of_the_limit(batcher, begin, watch):
    begin(batcher)
    assert watch.look() == LOOK_S


def test_with_a_limit_of_nothing_no_load_hangs(model, clock, pool, begin):
    watch = Watch(600.0, clock=lambda: clock.now, looks_by_itself=False)
    batcher = Batcher(BatchQueue(model, watch=watch))
    loading = begin(batcher)
    clock.now += 1e9
    assert watch.look() == 600
    assert hang(batcher) is None
    model.may_be_ready.set()
    loading.result(60)


def test_a_model_that_is_loaded_as_late_as_in_its_first_batch_is_noticed_too(
    batcher, model, pool, pass_time
):
    answer = pool.submit(batcher.predict, images("tar"), CATS)
    model.begun.get(timeout=5)
    pass_time(LIMIT_S - 1)
    assert hang(batcher) is None
    pass_time(1)
    (entry,) = answer.result(60)
    assert "model hangs while it is loaded" in entry.cause
    batcher.load()  # does not wait for what does not come


# Who is let go


def test_all_who_wait_for_one_load_are_let_go_and_told_so_at_once(
    batcher, model, begin, pool, pass_time
):
    first = begin(batcher)
    second = pool.submit(batcher.load)
    waiting = pool.submit(batcher.predict, images("tar", "a"), CATS)
    model.begun.get(timeout=5)
    behind = pool.submit(batcher.predict, images("b"), CATS)
    until(lambda: sum(batcher.waiting().images.values()) == 1)
    pass_time(LIMIT_S)
    first.result(60)
    second.result(60)
    assert kinds(waiting.result(60) + behind.result(60)) == [NotReached] * 3
    batcher.load()
    (late,) = batcher.predict(images("c"), CATS)
    assert model.loads.empty()
    assert consequence_of(late).retry
    assert str(late).startswith("c: model hangs while it is loaded. Restart the process")


def test_who_leaves_and_whose_time_is_over_waits_for_no_load(batcher, begin, pool):
    begin(batcher)
    at(batcher, Caller(Priority.BULK, Deadline.after(0.0))).load()
    caller = Caller(Priority.BACKGROUND)
    waiting = pool.submit(at(batcher, caller).load)
    caller.leave()
    waiting.result(60)


def test_no_image_is_blamed(watch, pool, pass_time, tmp_path):
    engine = open_database("", tmp_path)
    memory = Memory(Findings(engine, 2**20))
    models = []
    for _ in range(2):  # whoever hangs twice by itself is left out
        models.append(Slow())
        predictor = Remembered(Batcher(BatchQueue(Noted(models[-1], memory), watch=watch)), memory)
        answer = pool.submit(predictor.predict, images("tar"), CATS)
        models[-1].begun.get(timeout=5)
        pass_time(LIMIT_S)
        assert kinds(answer.result(60)) == [NotReached]
    mended = Model()
    mended.may_go_on.set()
    predictor = Remembered(Batcher(BatchQueue(Noted(mended, memory))), memory)
    assert kinds(predictor.predict(images("tar"), CATS)) == [Detections]
    for model in models:
        model.may_go_on.set()
    until(lambda: not watch.hangs)
    memory.close()
    engine.dispose()


# What is said, and how it ends


def test_it_is_said_once_since_when_nothing_came_and_where_to_look(batcher, begin, pass_time, said):
    begin(batcher)
    pass_time(2 * LIMIT_S)
    (line,) = said
    assert (line["log_level"], line["event"], line["model"]) == ("error", "model hangs", "model")
    assert line["cause"].startswith("is being loaded, and has not got on since ")
    assert "(MODEL_LOAD_HANG_SECONDS is 900)" in line["cause"]
    assert "look at where its weights lie or come from" in line["next_step"]
    assert str(first_hang([batcher])) == f"model: {line['cause']}. {line['next_step']}"


def test_a_model_that_gets_ready_after_all_answers(batcher, model, begin, pass_time, said):
    begin(batcher)
    pass_time(LIMIT_S)
    model.may_be_ready.set()
    until(lambda: hang(batcher) is None)
    batcher.load()
    assert kinds(batcher.predict(images("a"), CATS)) == [Detections]
    until(lambda: said[-1]["event"] == "model came back")
    assert said[-1]["after_s"] == LIMIT_S


def test_who_waits_for_a_load_that_fails_is_told_why_and_the_next_one_tries_again(
    batcher, model, begin, pool
):
    model.refusal = WeightsUnavailable("weights", "the hub is away", "Wait.")
    waiting = [begin(batcher), pool.submit(batcher.load)]
    model.may_be_ready.set()
    for one in waiting:
        with pytest.raises(WeightsUnavailable, match="hub is away"):
            one.result(60)
    model.refusal = None
    batcher.load()
    assert model.health()["loaded"]


def test_a_load_that_hung_and_then_failed_is_tried_again(batcher, model, begin, pass_time):
    begin(batcher)
    pass_time(LIMIT_S)
    model.refusal = WeightsUnavailable("weights", "the lock was not to be had", "Wait.")
    model.may_be_ready.set()
    until(lambda: hang(batcher) is None)
    until(lambda: _refuses(batcher))
    model.refusal = None
    batcher.load()
    assert model.health()["loaded"]


def _refuses(batcher):
    try:
        batcher.load()
    except WeightsUnavailable:
        return True
    return False


def test_a_thread_of_the_watch_notices_it_by_itself(model, begin):
    told = Queue()
    watch = Watch(0.0, 0.05, hung=told.put)
    batcher = Batcher(BatchQueue(model, watch=watch))
    begin(batcher).result(60)
    assert told.get(timeout=5).is_loading
    assert watch.hangs
    watch.close()
