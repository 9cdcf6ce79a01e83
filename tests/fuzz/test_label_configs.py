"""Label configs as no editor would write them: each is refused with a reason, or has a plan."""

from hypothesis import given
from hypothesis import strategies as st
from tests.server.conftest import FakePredictor

from prelabel.errors import ImageMissing, InvalidRequest
from prelabel.gathering import frame_of
from prelabel.labelstudio.config import LabelConfig, parse
from prelabel.labelstudio.messages import PredictRequest
from prelabel.labelstudio.tasks import Task
from prelabel.learning.frames import neighbours
from prelabel.plan import NO_PREDICTOR, Predictors, make_plan
from prelabel.recall import Recall

from . import shapes
from .conftest import tried

PREDICTORS = Predictors(FakePredictor("boxes"), FakePredictor("poses"))


def parsed(xml: str) -> LabelConfig | None:
    try:
        return parse(xml)
    except InvalidRequest:
        return None


@tried(50)
@given(shapes.ANY_CONFIG)
def test_every_config_is_refused_with_a_reason_or_read_in_full(xml):
    config = parsed(xml)
    for control in config.controls if config else ():
        assert control.name
        assert control.to_name
        assert all(label.value.strip() and label.stored for label in control.labels)


@tried(50)
@given(shapes.label_configs(), st.lists(shapes.regions() | shapes.JSON, max_size=3))
def test_every_config_that_is_xml_has_one_version_and_steps_on_images_it_has(xml, drawn):
    plan = make_plan(xml, PREDICTORS)
    assert (plan.model_version == NO_PREDICTOR) == (not plan.fills)
    assert plan.fills or plan.warnings
    assert make_plan(xml, PREDICTORS).model_version == plan.model_version
    assert {step.image for step in plan.steps} <= set(plan.config.images)
    assert len(plan.interactive(drawn).steps) == len(plan.steps)


@tried(50)
@given(shapes.label_configs(), st.lists(shapes.DATA, min_size=1, max_size=3))
def test_every_task_names_its_images_or_lacks_them_under_every_config(xml, data):
    tasks = [Task(id=number, data=one) for number, one in enumerate(data)]
    plan = make_plan(xml, PREDICTORS)
    for tag in plan.config.images:
        keys = [frame_of(task, tag) for task in tasks]
        assert len(neighbours(keys)) == len(tasks)
        for task in tasks:
            try:
                uris = tag.uris(task.data)
            except ImageMissing:
                continue
            assert all(uri.strip() for uri in uris)
    Recall(plan, tasks).of(tasks[0])


@tried(50)
@given(st.lists(shapes.TASKS, max_size=4))
def test_tasks_with_anything_in_them_are_as_many_as_were_sent(tasks):
    try:
        read = PredictRequest.model_validate({"tasks": tasks}).each_task
    except ValueError:  # an id of more than 4,300 digits, say
        return
    assert len(read) == len(tasks)
    for task in read:
        assert task.number is None or 0 <= task.number < 2**63
        assert str(task)
