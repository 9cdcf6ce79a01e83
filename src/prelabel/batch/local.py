"""Predicting in this process: the pipeline, with nothing to hurry for."""

from prelabel.batch.predicting import Predict
from prelabel.gathering import Access, Studio
from prelabel.pipeline import predict_tasks
from prelabel.plan import Plan
from prelabel.runtime.deadline import Deadline

_TEN_YEARS_S = 3.2e8


def local(plan: Plan, studio: Studio, access: Access) -> Predict:
    """The pipeline as what predicts a run's tasks."""
    return lambda tasks: predict_tasks(tasks, plan, studio, access, Deadline.after(_TEN_YEARS_S))
