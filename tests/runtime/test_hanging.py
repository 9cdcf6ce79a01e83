"""A model that does not come back: who is let go, what is said, and which image is to blame."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Queue
from threading import enumerate as enumerate_threads
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from prelabel.errors import ModelError, ModelHangs, NotReached, NotReady, consequence_of
from prelabel.runtime import ending
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher, at, hang
from prelabel.runtime.callers import Caller, Priority
from prelabel.runtime.deadline import Deadline
from prelabel.runtime.ending import EXIT_CODE, Ending
from prelabel.runtime.hanging import Hang, Watch
from prelabel.types import Detections

from .tar_pit import CATS, LIMIT_S, Model, images, kinds, until


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def watch(clock):
    return Watch(LIMIT_S, clock=lambda: clock.now, looks_by_itself=False)


@pytest.fixture
def model():
    model = Model()
    yield model
    model.may_go_on.set()


@pytest.fixture
def pool(model):
    with ThreadPoolExecutor(8) as pool:
        yield pool
        model.may_go_on.set()


@pytest.fixture
def batcher(model, watch):
    return Batcher(BatchQueue(model, watch=watch))


@pytest.fixture
def stick(model, watch, clock, pool):
    """Asks for images of which one is a tar pit, until it is known that the model hangs on it."""

    def ask(predictor, *names):
        answer = pool.submit(predictor.predict, images(*names), CATS)
        model.begun.get(timeout=5)
        clock.now += LIMIT_S
        watch.look()
        return answer.result(60)

    return ask


# Who is let go


def test_before_its_time_nothing_hangs_and_nobody_is_told(batcher, model, watch, clock, pool):
    answer = pool.submit(batcher.predict, images("tar"), CATS)
    model.begun.get(timeout=5)
    clock.now += LIMIT_S - 1
    with capture_logs() as logs:
        assert watch.look() == 1
    assert (hang(batcher), logs, answer.done()) == (None, [], False)
    model.may_go_on.set()
    assert kinds(answer.result(60)) == [Detections]


def test_those_in_a_batch_that_hangs_are_let_go_and_may_be_tried_again(batcher, stick):
    entries = stick(batcher, "a", "tar", "b")
    assert kinds(entries) == [ModelHangs] * 3
    assert all(consequence_of(entry).retry for entry in entries)
    assert "tar: model does not come back from it. Restart" in str(entries[1])


def test_those_behind_it_are_answered_at_once_before_and_after_it_is_known(
    batcher, model, watch, clock, pool
):
    stuck = pool.submit(batcher.predict, images("tar"), CATS)
    model.begun.get(timeout=5)
    behind = [
        pool.submit(at(batcher, Caller(priority)).predict, images("a", "b"), CATS)
        for priority in Priority
    ]
    until(lambda: sum(batcher.waiting().images.values()) == 6)
    clock.now += LIMIT_S
    watch.look()
    for answer in (*behind, stuck):
        assert all(isinstance(entry, NotReached) for entry in answer.result(60))
    (late,) = batcher.predict(images("c"), CATS)
    assert "model hangs on another image" in late.cause
    assert sum(batcher.waiting().images.values()) == 0


def test_who_had_given_up_already_is_let_go_as_well(batcher, model, watch, clock, pool):
    view = at(batcher, Caller(Priority.PERSON, Deadline.after(0.0)))
    answer = pool.submit(view.predict, images("tar"), CATS)
    model.begun.get(timeout=5)
    clock.now += LIMIT_S
    watch.look()
    assert kinds(answer.result(60)) == [ModelHangs]


def test_a_part_of_a_batch_that_failed_before_is_not_to_blame(batcher, model, watch, clock, pool):
    predict = model.predict

    def never_more_than_one(images, ask):
        if len(images) > 1:
            raise ModelError("model", "chokes", "Take less.")
        return predict(images, ask)

    model.predict = never_more_than_one
    answer = pool.submit(batcher.predict, images("a", "tar", "b"), CATS)
    assert [model.begun.get(timeout=5) for _ in range(2)] == [["a"], ["tar"]]
    clock.now += LIMIT_S
    watch.look()
    assert kinds(answer.result(60)) == [NotReached, ModelHangs, NotReached]
    assert hang(batcher).images == ("tar",)


def test_while_another_call_of_the_same_model_goes_on_others_get_their_turn(watch, clock, pool):
    model = Model(batch_size=1, calls_at_once=2)
    batcher = Batcher(BatchQueue(model, watch=watch))
    stuck = pool.submit(batcher.predict, images("tar"), CATS)
    model.begun.get(timeout=5)
    clock.now += LIMIT_S
    watch.look()
    assert kinds(stuck.result(60)) == [ModelHangs]
    assert kinds(batcher.predict(images("a", "b"), CATS)) == [Detections] * 2
    stuck = pool.submit(batcher.predict, images("tar 2"), CATS)
    until(lambda: model.begun.get(timeout=5) == ["tar 2"])
    clock.now += LIMIT_S
    watch.look()
    assert kinds(stuck.result(60)) == [ModelHangs]
    assert kinds(batcher.predict(images("a"), CATS)) == [NotReached]
    model.may_go_on.set()


def test_time_in_which_a_model_is_loaded_does_not_count(batcher, model, watch, clock, pool):
    model.is_loaded = False
    answer = pool.submit(batcher.predict, images("tar"), CATS)
    model.begun.get(timeout=5)
    clock.now += LIMIT_S
    assert watch.look() == LIMIT_S
    assert hang(batcher) is None
    model.is_loaded = True
    watch.look()
    clock.now += LIMIT_S - 1
    assert watch.look() == 1
    assert hang(batcher) is None
    clock.now += 1
    watch.look()
    assert kinds(answer.result(60)) == [ModelHangs]


def test_with_a_limit_of_nothing_no_call_hangs(model, clock, pool):
    watch = Watch(0.0, clock=lambda: clock.now, looks_by_itself=False)
    batcher = Batcher(BatchQueue(model, watch=watch))
    answer = pool.submit(batcher.predict, images("tar"), CATS)
    model.begun.get(timeout=5)
    clock.now += 1e9
    watch.look()
    assert hang(batcher) is None
    model.may_go_on.set()
    assert kinds(answer.result(60)) == [Detections]


# What is said


def test_it_is_said_once_with_what_and_since_when_and_what_to_do(batcher, watch, stick):
    with capture_logs() as logs:
        stick(batcher, "a", "tar", "b", "c")
        watch.look()
    (said,) = logs
    assert (said["log_level"], said["event"], said["model"]) == ("error", "model hangs", "model")
    assert said["cause"].startswith("has been at work on a, tar, b and 1 more since ")
    assert "does not come back (MODEL_HANG_SECONDS is 600)" in said["cause"]
    assert said["next_step"].startswith("Restart the process")


def test_a_model_that_comes_back_after_all_is_at_work_again_and_that_is_said(
    batcher, model, stick, pool
):
    stick(batcher, "tar")
    assert hang(batcher) is not None
    with capture_logs() as logs:
        model.may_go_on.set()
        until(lambda: hang(batcher) is None)
        assert kinds(batcher.predict(images("a"), CATS)) == [Detections]
    assert [(one["event"], one["after_s"]) for one in logs] == [("model came back", LIMIT_S)]


def test_a_thread_of_the_watch_looks_by_itself(model, pool):
    told = Queue()
    watch = Watch(0.02, hung=told.put)
    batcher = Batcher(BatchQueue(model, watch=watch))
    answer = pool.submit(batcher.predict, images("tar"), CATS)
    assert told.get(timeout=5).images == ("tar",)
    assert kinds(answer.result(60)) == [ModelHangs]
    assert watch.hangs
    watch.close()


# The end of the process


@pytest.fixture
def end():
    """Makes an `Ending` that writes down what it does."""

    def make(*, is_started_anew):
        did = Queue()
        return did, Ending(
            is_started_anew=is_started_anew,
            terminate=lambda: did.put("terminate"),
            leave=did.put,
            wait=lambda seconds: did.put(f"wait {seconds:g}"),
        )

    return make


def done(queue, count):
    return [queue.get(timeout=5) for _ in range(count)]


HANG = Hang("model", ("a",), None, LIMIT_S)


def test_where_somebody_starts_it_anew_it_ends_in_order_and_then_by_force(end):
    did, process = end(is_started_anew=True)
    process.hung(HANG)
    assert done(did, 3) == ["terminate", "wait 20", EXIT_CODE]
    assert process.is_due


def test_where_nobody_does_it_goes_on_and_ends_by_force_only_when_it_is_told_to_end(end):
    did, process = end(is_started_anew=False)
    process.hung(HANG)
    assert did.empty()
    assert not process.is_due
    process.closed(lambda: True)
    assert done(did, 2) == ["wait 3", EXIT_CODE]


def test_a_process_in_which_nothing_hangs_ends_by_itself(end):
    did, process = end(is_started_anew=True)
    process.closed(lambda: False)
    hangs = iter([True, False])  # it came back in the last moment
    process.closed(lambda: next(hangs))
    assert done(did, 1) == ["wait 3"]
    assert did.empty()


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 3), (NotReady("model", "is being loaded", "Look."), 5), (KeyError("x"), EXIT_CODE)],
)
def test_a_command_is_ended_with_the_code_that_it_would_have_ended_with(monkeypatch, error, code):
    left = Queue()
    monkeypatch.setattr(ending, "_LAST_S", 0.0)
    monkeypatch.setattr(ending.os, "_exit", left.put)
    with suppress(NotReady, KeyError), ending.ended_for_sure(lambda: True) as ended:
        if error:
            raise error
        ended.ends_with(3)
    assert left.get(timeout=5) == code


def test_a_command_in_which_nothing_hangs_ends_by_itself(monkeypatch):
    monkeypatch.setattr(ending.os, "_exit", pytest.fail)
    before = set(enumerate_threads())
    with ending.ended_for_sure(lambda: False) as ended:
        ended.ends_with(3)
    assert set(enumerate_threads()) <= before


def test_what_was_printed_is_not_lost_where_a_process_is_ended_by_force():
    program = (
        "from prelabel.runtime.ending import leave_at_once\n"
        "print('all is said', end='')\n"
        "leave_at_once(3)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (3, b"all is said")


def test_an_orderly_end_is_asked_for_by_the_signal_that_orchestrators_send(monkeypatch):
    sent = []
    monkeypatch.setattr(ending.os, "kill", lambda pid, number: sent.append((pid, number)))
    Ending(is_started_anew=True, leave=sent.append, wait=lambda _: None).hung(HANG)
    assert sent == [(ending.os.getpid(), signal.SIGTERM), EXIT_CODE]
