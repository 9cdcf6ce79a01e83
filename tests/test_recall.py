"""What was learnt goes into predictions: as drawn, as carried, beside what a model found."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from prelabel.gathering import Access, Studio
from prelabel.labelstudio.tasks import Task
from prelabel.learning.lessons import lessons
from prelabel.learning.sequence import Options, learn
from prelabel.pipeline import Prediction, predict_tasks
from prelabel.plan import Predictors, Taught, make_plan
from prelabel.runtime.deadline import Deadline
from prelabel.types import Detections, Image

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="cat"/></RectangleLabels><Choices name="coat" toName="image" perRegion="true">'
    '<Choice value="black"/><Choice value="white"/></Choices></View>'
)
ANNOTATED = range(0, 40, 4)


class Blind:
    """A model that finds what it is told to."""

    name = "blind"
    fingerprint = ""
    batch_size = 2
    wants_neighbours = False

    def __init__(self, *boxes):
        self.boxes = boxes

    def check(self): ...

    def load(self): ...

    def health(self):
        return {}

    def predict(self, images, ask):
        count = len(self.boxes)
        found = Detections(
            np.array(self.boxes, np.float32).reshape(-1, 4),
            np.full(count, 0.5, np.float32),
            ("cat",) * count,
            (None,) * count,
            self.name,
        )
        return [found for _ in images]


class Images:
    def load(self, reference):
        return Image(np.zeros((100, 200, 3), np.uint8), reference.uri)


def left_pct(frame):
    """A cat walks one percent a frame."""
    return 10.0 + frame


def rectangle(frame):
    value = {"x": left_pct(frame), "y": 20.0, "width": 20.0, "height": 30.0, "rotation": 0}
    common = {
        "id": f"r{frame}",
        "to_name": "image",
        "original_width": 200,
        "original_height": 100,
        "image_rotation": 0,
        "origin": "manual",
    }
    box = {"from_name": "label", "type": "rectanglelabels", **common}
    coat = {"from_name": "coat", "type": "choices", **common}
    return [
        {**box, "value": {**value, "rectanglelabels": ["cat"]}},
        {**coat, "value": {**value, "choices": ["black"]}},
    ]


def uri(frame, video="walk"):
    return f"/data/upload/1/{video}_{frame:03}.png"


def annotated(frame, result):
    annotation = {"id": frame, "result": result, "was_cancelled": False}
    return {"id": frame, "data": {"image": uri(frame)}, "annotations": [annotation]}


@pytest.fixture(scope="module")
def learned():
    plan = make_plan(CONFIG, Predictors(Blind(), Blind()))
    tasks = [annotated(frame, rectangle(frame)) for frame in ANNOTATED]
    lesson = learn(lessons(tasks, plan.config, (6, 10)).frames, Options())
    assert lesson.learned is not None
    return lesson.learned


def run(learned, *tasks, model=None, prefer=True, number=3):
    predictor = model or Blind()
    plan = make_plan(CONFIG, Predictors(predictor, predictor))
    plan = plan.taught(Taught(number, learned, prefer) if learned else None)
    with ThreadPoolExecutor(2) as fetchers:
        studio = Studio(Images(), fetchers, lambda _: ())
        return dict(predict_tasks(tasks, plan, studio, Access(), Deadline.after(10)))


def task(number, frame, video="walk"):
    return Task(id=number, data={"image": uri(frame, video)})


def boxes_of(prediction):
    assert isinstance(prediction, Prediction), prediction
    return [r for r in prediction.result if r["type"] == "rectanglelabels"]


def test_with_nothing_learnt_the_model_answers_alone():
    outcome = run(None, task(1, 5), model=Blind((20, 20, 60, 50)))[0]
    assert ".seq" not in outcome.model_version
    assert [r["meta"]["source"] for r in boxes_of(outcome)] == ["blind"]


def test_an_annotated_frame_is_answered_with_what_people_drew(learned):
    outcome = run(learned, task(8, 8), model=Blind((0, 0, 10, 10)))[0]
    drawn = rectangle(8)
    assert [region["value"] for region in outcome.result] == [region["value"] for region in drawn]
    assert [region["id"] for region in outcome.result] == ["r8", "r8"]
    assert outcome.result[0]["meta"] == {"source": "annotation"}
    assert outcome.model_version.endswith(".seq3")
    assert outcome.score == 1.0


def test_a_frame_between_annotated_ones_has_the_box_where_it_should_be(learned):
    (box,) = boxes_of(run(learned, task(1, 10))[0])
    assert box["value"]["x"] == pytest.approx(left_pct(10), abs=0.5)
    assert box["meta"] == {"source": "sequence"}
    assert 0.6 <= box["score"] <= 1


def test_what_people_chose_is_carried_along(learned):
    outcome = run(learned, task(1, 10))[0]
    chosen = [region for region in outcome.result if region["type"] == "choices"]
    assert [region["value"]["choices"] for region in chosen] == [["black"]]
    assert chosen[0]["id"] == boxes_of(outcome)[0]["id"]


def test_a_box_of_the_model_on_the_same_object_makes_one(learned):
    here = (2 * left_pct(10), 20, 2 * left_pct(10) + 40, 50)
    (box,) = boxes_of(run(learned, task(1, 10), model=Blind(here))[0])
    assert box["meta"] == {"source": "sequence+blind"}


def test_a_box_of_the_model_elsewhere_stays(learned):
    sources = [
        r["meta"]["source"]
        for r in boxes_of(run(learned, task(1, 10), model=Blind((150, 70, 190, 95)))[0])
    ]
    assert sources == ["sequence", "blind"]


@pytest.mark.parametrize(
    ("model", "source"), [(Blind((150, 70, 190, 95)), "blind"), (Blind(), "sequence")]
)
def test_where_the_model_is_preferred_what_was_learnt_only_fills_empty_frames(
    learned, model, source
):
    outcome = run(learned, task(1, 10), model=model, prefer=False)[0]
    assert [r["meta"]["source"] for r in boxes_of(outcome)] == [source]
    assert outcome.model_version != run(learned, task(1, 10))[0].model_version


def test_frames_of_another_video_are_not_touched(learned):
    outcome = run(learned, task(1, 10, video="other"))[0]
    assert boxes_of(outcome) == []
    assert outcome.model_version.endswith(".seq3")


def test_two_videos_under_one_name_teach_each_other_nothing(learned):
    outcomes = run(learned, task(1, 10), task(2, 10), task(3, 11), task(4, 12))
    assert [boxes_of(outcome) for outcome in outcomes.values()] == [[]] * 4


def test_a_frame_is_not_given_what_people_drew_on_another_task_of_its_name(learned):
    outcome = run(learned, task(77, 8), model=Blind((0, 0, 10, 10)))[0]
    assert [r["meta"]["source"] for r in boxes_of(outcome)] == ["blind"]
    outcomes = run(learned, task(77, 8), task(78, 9))
    assert [boxes_of(outcome) for outcome in outcomes.values()] == [[], []]


def test_a_frame_without_a_number_is_taken_for_the_one_that_people_drew_on(learned):
    (box,) = boxes_of(run(learned, task(None, 8))[0])
    assert box["meta"] == {"source": "annotation"}


def test_all_tasks_of_a_sequence_are_answered(learned):
    outcomes = run(learned, *(task(n, n) for n in range(40)))
    assert sorted(outcomes) == list(range(40))
    assert all(len(boxes_of(outcome)) == 1 for outcome in outcomes.values())


def test_what_an_annotator_asks_for_here_and_now_is_the_models_to_answer(learned):
    plan = make_plan(CONFIG, Predictors(Blind(), Blind())).taught(Taught(3, learned, True))
    drawn = {"type": "textarea", "value": {"text": ["a cat"]}}
    assert plan.interactive([drawn]).lesson is None


def test_pages_beside_an_annotated_frame_are_looked_at_all_the_same():
    config = CONFIG.replace(
        "</View>",
        '<Image name="pages" valueList="$pages"/><RectangleLabels name="on_page" toName="pages">'
        '<Label value="cat"/></RectangleLabels></View>',
    )
    model = Blind((150, 70, 190, 95))
    plan = make_plan(config, Predictors(model, model))
    drawn_on = [annotated(frame, rectangle(frame)) for frame in ANNOTATED]
    lesson = learn(lessons(drawn_on, plan.config, (6, 10)).frames, Options())
    both = Task(id=8, data={"image": uri(8), "pages": ["/p/1.png", "/p/2.png"]})
    with ThreadPoolExecutor(2) as fetchers:
        studio = Studio(Images(), fetchers, lambda _: ())
        plan = plan.taught(Taught(1, lesson.learned, prefer=True))
        (outcome,) = dict(
            predict_tasks([both], plan, studio, Access(), Deadline.after(10))
        ).values()
    found = [(region["from_name"], region.get("item_index")) for region in boxes_of(outcome)]
    assert sorted(found, key=str) == [
        ("label", None), ("label", None), ("on_page", 0), ("on_page", 1)
    ]  # fmt: skip
