"""A run in this process whose model does not come back: it ends, and says what to do."""

from threading import Event

import numpy as np
import pytest

from prelabel.batch.local import until_it_hangs
from prelabel.batch.preflight import check_loaded
from prelabel.errors import ImageUnreachable, NotReached, NotReady, OperatorError
from prelabel.plan import Predictors, make_plan
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.runtime.hanging import Watch
from prelabel.types import Ask, Image

from .conftest import CONFIG


class Model:
    """Does not come back from whatever it is told to do until it may."""

    name, fingerprint, wants_neighbours, batch_size = "model", "", False, 4

    def __init__(self, *, is_loaded):
        self.is_loaded = is_loaded
        self.may_go_on = Event()

    def check(self): ...

    def load(self):
        if not self.is_loaded:
            self.may_go_on.wait()

    def health(self):
        return {"loaded": self.is_loaded, "device": "cpu"}

    def predict(self, images, ask):
        self.may_go_on.wait()
        return [NotReached(image.name, "is of no interest", "Go on.") for image in images]


@pytest.fixture
def begin():
    """Gives a plan and its queue, with a model in it that is loaded already, or is not."""
    models = []

    def plan(*, is_loaded):
        models.append(Model(is_loaded=is_loaded))
        queue = Batcher(BatchQueue(models[-1], watch=Watch(0.05, 0.05)))
        return make_plan(CONFIG, Predictors(queue, queue)), queue

    yield plan
    for model in models:
        model.may_go_on.set()


@pytest.fixture
def picture():
    return Image(np.zeros((2, 2, 3), np.uint8), "a")


def test_a_run_ends_with_the_first_task_whose_model_hangs(begin, picture):
    plan, queue = begin(is_loaded=True)
    gone = ImageUnreachable("b", "is gone", "Look.")

    def predict(tasks):
        yield 0, gone
        yield 1, queue.predict([picture], Ask())[0]
        pytest.fail("nobody asks for more")

    outcomes = until_it_hangs(predict, plan)(())
    assert next(outcomes) == (0, gone)
    with pytest.raises(OperatorError, match="Run the same command again") as raised:
        next(outcomes)
    assert "has been at work on a since" in raised.value.cause


def test_a_task_that_was_not_reached_for_another_reason_ends_nothing(begin):
    plan, _ = begin(is_loaded=True)
    late = NotReached("a", "there was no time", "Wait.")
    predict = until_it_hangs(lambda _: iter([(0, late), (1, late)]), plan)
    assert [*predict(())] == [(0, late), (1, late)]


def test_a_run_does_not_begin_with_a_model_that_hangs_while_it_is_loaded(begin):
    plan, queue = begin(is_loaded=False)
    check_loaded(plan)
    queue.load()
    with pytest.raises(NotReady, match="then run the same command again") as raised:
        check_loaded(plan)
    assert "is being loaded, and has not got on since" in raised.value.cause
