"""Predicting in this process: the pipeline, with nothing to hurry for."""

from collections.abc import Iterable, Iterator

from prelabel.batch.predicting import Predict
from prelabel.errors import NotReached, OperatorError
from prelabel.gathering import Access, Studio
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome, predict_tasks
from prelabel.plan import Plan
from prelabel.runtime.batcher import first_hang
from prelabel.runtime.deadline import Deadline

_TEN_YEARS_S = 3.2e8


def local(plan: Plan, studio: Studio, access: Access) -> Predict:
    """The pipeline as what predicts a run's tasks."""
    return lambda tasks: predict_tasks(tasks, plan, studio, access, Deadline.after(_TEN_YEARS_S))


def until_it_hangs(predict: Predict, plan: Plan) -> Predict:
    """What predicts a run's tasks in a process that nobody starts anew.

    It raises OperatorError where a model does not come back: no other task would have its turn.
    """
    asked = [step.predictor for step in plan.steps]

    def predicted(tasks: Iterable[Task]) -> Iterator[tuple[int, Outcome]]:
        for index, outcome in predict(tasks):
            if isinstance(outcome, NotReached) and (hung := first_hang(asked)):
                raise OperatorError(
                    hung.model,
                    hung.cause,
                    "Run the same command again, which goes on where this one ended; an image at "
                    "which the model hangs twice is left out.",
                )
            yield index, outcome

    return predicted
