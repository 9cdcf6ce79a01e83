"""A video project: no model looks at it, the learner carries what people began."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from prelabel.errors import TaskError
from prelabel.gathering import Access, Studio
from prelabel.labelstudio.tasks import Task
from prelabel.learning.lessons import lessons
from prelabel.learning.sequence import Options, learn
from prelabel.pipeline import Prediction, predict_tasks
from prelabel.plan import NO_PREDICTOR, Predictors, Taught, make_plan
from prelabel.runtime.deadline import Deadline

from .test_recall import Blind, Images

CONFIG = (
    '<View><Labels name="what" toName="video"><Label value="cat"/></Labels>'
    '<Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/></View>'
)
KEYFRAMES = range(1, 101, 10)


def keyframe(frame):
    return {
        "frame": frame,
        "time": frame / 25,
        "enabled": True,
        "rotation": 0,
        "x": 10.0 + frame / 2,
        "y": 20.0,
        "width": 20.0,
        "height": 30.0,
    }


def video_task(number):
    value = {
        "framesCount": 120,
        "duration": 4.8,
        "labels": ["cat"],
        "sequence": [keyframe(frame) for frame in KEYFRAMES],
    }
    region = {"id": "walk", "from_name": "box", "to_name": "video", "type": "videorectangle"}
    return {
        "id": number,
        "data": {"video": "/data/upload/1/walk.mp4"},
        "annotations": [{"id": 1, "result": [{**region, "value": value}]}],
    }


@pytest.fixture
def plan():
    return make_plan(CONFIG, Predictors(Blind(), Blind()))


@pytest.fixture
def taught(plan):
    learned = learn(lessons([video_task(1)], plan.config, (6, 10)).frames, Options()).learned
    return plan.taught(Taught(2, learned, prefer=True))


def run(plan, *numbers):
    tasks = [Task(id=number, data={"video": "walk.mp4"}) for number in numbers]
    with ThreadPoolExecutor(1) as fetchers:
        studio = Studio(Images(), fetchers, lambda _: ())
        return dict(predict_tasks(tasks, plan, studio, Access(), Deadline.after(10)))


def test_before_a_training_there_is_nothing_to_say_of_a_video(plan):
    outcome = run(plan, 1)[0]
    assert isinstance(outcome, TaskError)
    assert "Start Training" in str(outcome)
    assert plan.model_version == "sequence"
    assert plan.warnings == ()


def test_an_annotated_video_gets_its_tracks(taught):
    outcome = run(taught, 1)[0]
    assert isinstance(outcome, Prediction), outcome
    assert outcome.model_version == taught.model_version == "sequence.seq2"
    (region,) = outcome.result
    assert region["type"] == "videorectangle"
    assert region["value"]["labels"] == ["cat"]
    drawn = {one["frame"]: one["x"] for one in region["value"]["sequence"]}
    assert {frame: drawn[frame] for frame in KEYFRAMES} == pytest.approx(
        {frame: 10 + frame / 2 for frame in KEYFRAMES}, abs=0.01
    )
    assert 0 < outcome.score <= 1


def test_another_video_of_the_project_is_asked_for_again(taught):
    assert isinstance(run(taught, 2)[0], TaskError)


def test_a_project_with_images_and_videos_is_told_which_are_filled():
    both = CONFIG.replace(
        "<View>",
        '<View><Image name="image" value="$image"/><RectangleLabels name="r" toName="image">'
        '<Label value="cat"/></RectangleLabels>',
    )
    plan = make_plan(both, Predictors(Blind(), Blind()))
    assert plan.videos == ()
    assert any("Video" in warning for warning in plan.warnings)
    assert plan.model_version != NO_PREDICTOR
