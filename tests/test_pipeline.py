"""From tasks to predictions: neighbours, pages, and what does not fit."""

import gc
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakSet

import numpy as np
import pytest

from prelabel.errors import (
    ImageUnavailable,
    ImageUnreachable,
    MissingPackage,
    ModelError,
    PrelabelError,
)
from prelabel.gathering import Access, Studio
from prelabel.labelstudio.tasks import Task
from prelabel.labelstudio_api.siblings import Siblings
from prelabel.learning.marks import FrameAnswer
from prelabel.pipeline import Prediction, predict_tasks
from prelabel.plan import Predictors, Taught, make_plan
from prelabel.runtime.deadline import Deadline
from prelabel.types import Detections, Image, Poses

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="cat"/></RectangleLabels></View>'
)


class Seeing:
    """Remembers what it was shown."""

    name = "seeing"
    fingerprint = ""
    batch_size = 2

    def __init__(self, answer=None, *, wants_neighbours=False):
        self.answer = answer
        self.wants_neighbours = wants_neighbours
        self.seen = {}

    def check(self): ...

    def load(self): ...

    def health(self):
        return {}

    def predict(self, images, ask):
        for image in images:
            self.seen[image.name] = tuple(
                beside and beside.name for beside in (image.before, image.after)
            )
        found = Detections.none(self.name) if self.answer is None else self.answer
        return [found for _ in images]


class Images:
    """Any address but those that are missing."""

    def load(self, reference):
        if "away" in reference.uri:
            raise ImageUnavailable(reference.uri, "answered 503", "Wait.")
        if "missing" in reference.uri:
            raise ImageUnreachable(reference.uri, "is missing", "Find it.")
        return Image(np.zeros((10, 10, 3), np.uint8), reference.uri)


@pytest.fixture
def fetchers():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def run(tasks, predictor, fetchers, *, config=CONFIG, siblings=(), budget_s=5.0, poses=None):
    plan = make_plan(config, Predictors(predictor, poses or predictor))
    studio = Studio(Images(), fetchers, lambda _: siblings, ahead=3)
    return dict(predict_tasks(tasks, plan, studio, Access(), Deadline.after(budget_s)))


def task(number, uri, **data):
    return Task(id=number, data={"image": uri, **data})


def test_no_tasks_have_no_outcomes(fetchers):
    assert run([], Seeing(), fetchers) == {}


def test_every_task_has_an_outcome_under_its_own_index(fetchers):
    tasks = [task(n, "missing" if n % 3 == 0 else f"{n}.png") for n in range(20)]
    outcomes = run(tasks, Seeing(), fetchers)
    assert sorted(outcomes) == list(range(20))
    for index, outcome in outcomes.items():
        assert isinstance(outcome, ImageUnreachable if index % 3 == 0 else Prediction)


def test_after_the_deadline_nothing_is_begun(fetchers):
    predictor = Seeing()
    assert run([task(1, "a.png")], predictor, fetchers, budget_s=0) == {}
    assert predictor.seen == {}


def test_neighbouring_frames_are_found_in_the_request(fetchers):
    tasks = [task(n, f"/data/upload/1/clip_{n:03}.png") for n in (3, 1, 2)]
    predictor = Seeing(wants_neighbours=True)
    run(tasks, predictor, fetchers)
    one, two, three = (f"/data/upload/1/clip_00{n}.png" for n in (1, 2, 3))
    assert predictor.seen == {one: (None, two), two: (one, three), three: (two, None)}


def test_neighbouring_frames_are_found_in_the_project(fetchers):
    predictor = Seeing(wants_neighbours=True)
    siblings = [task(n, f"/data/upload/1/clip_{n:03}.png") for n in (1, 2, 3)]
    run([siblings[1]], predictor, fetchers, siblings=siblings)
    assert list(predictor.seen.values()) == [tuple(t.data["image"] for t in siblings[::2])]


def test_neighbours_are_found_by_the_numbers_of_tasks_where_the_data_names_the_video(fetchers):
    """A request tells a task's number in its project, and so must the listing of the others."""

    names = dict(zip(range(1001, 1008), "pqrstuv", strict=True))

    class Project:
        def tasks(self, project, *, after_id, page_size):
            for number, name in names.items():
                yield {"id": number, "inner_id": number - 1000, "data": data_of(name)}

    def data_of(name):
        return {"image": f"{name}.png", "video": "v"}

    asked = Task(id=1005, inner_id=5, project=1, data=data_of("t"))
    predictor = Seeing(wants_neighbours=True)
    run([asked], predictor, fetchers, siblings=Siblings(Project())(asked))
    assert predictor.seen == {"t.png": ("s.png", "u.png")}


def test_frames_of_two_videos_are_no_neighbours(fetchers):
    predictor = Seeing(wants_neighbours=True)
    run([task(1, "a_1.png"), task(2, "b_2.png"), task(3, "a_3.png")], predictor, fetchers)
    assert predictor.seen["b_2.png"] == (None, None)
    assert predictor.seen["a_1.png"] == (None, "a_3.png")


def test_a_missing_neighbour_costs_only_itself(fetchers):
    predictor = Seeing(wants_neighbours=True)
    outcomes = run(
        [task(1, "clip_1_missing.png", video="v", frame=1), task(2, "b.png", video="v", frame=2)],
        predictor,
        fetchers,
    )
    assert isinstance(outcomes[0], ImageUnreachable)
    assert isinstance(outcomes[1], Prediction)
    assert predictor.seen == {"b.png": (None, None)}


def test_a_neighbour_that_is_away_for_a_moment_leaves_nothing_to_store(fetchers):
    predictor = Seeing(wants_neighbours=True)
    outcomes = run(
        [task(1, "clip_1_away.png", video="v", frame=1), task(2, "b.png", video="v", frame=2)],
        predictor,
        fetchers,
    )
    assert isinstance(outcomes[1], ImageUnavailable)


class Breaking(Seeing):
    """Breaks on images of a certain name, as a defect would."""

    def predict(self, images, ask):
        if any("odd" in image.name for image in images):
            raise ZeroDivisionError("a defect")
        return super().predict(images, ask)


def test_a_defect_costs_the_task_that_meets_it_and_no_other(fetchers):
    tasks = [task(n, "odd.png" if n == 2 else f"{n}.png") for n in range(6)]
    outcomes = run(tasks, Breaking(), fetchers)
    assert isinstance(outcomes.pop(2), ModelError)
    assert sorted(outcomes) == [0, 1, 3, 4, 5]
    assert all(isinstance(outcome, Prediction) for outcome in outcomes.values())


def test_a_failure_does_not_keep_the_image_for_as_long_as_it_is_told(fetchers):
    """A request may have ten thousand of them, each with the megabytes of a file in its frames."""
    alive = WeakSet()

    class File:
        size = "unknown"

    def break_over(file, error):
        alive.add(file)
        try:
            int(file.size)
        except ValueError as cause:
            raise error from cause

    class Damaged(Images):
        def load(self, reference):
            if "damaged" in reference.uri:
                break_over(File(), ImageUnreachable(reference.uri, "is damaged", "Mend it."))
            return super().load(reference)

    class Choking(Seeing):
        def predict(self, images, ask):
            break_over(File(), ModelError(images[0].name, "chokes", "Look at it."))

    plan = make_plan(CONFIG, Predictors(Choking(), Choking()))
    studio = Studio(Damaged(), fetchers, lambda _: ())
    tasks = [task(1, "damaged.png"), task(2, "b.png")]
    outcomes = dict(predict_tasks(tasks, plan, studio, Access(), Deadline.after(5)))
    assert [type(outcomes[n]) for n in range(2)] == [ImageUnreachable, ModelError]
    gc.collect()
    assert not alive


@pytest.mark.parametrize("image", [[], None, 3, {}, [None], ["a", "b"]])
def test_a_task_of_an_odd_shape_costs_no_other_its_prediction(fetchers, image):
    tasks = [Task(id=1, data={"image": image}), task(2, "b.png"), Task(id=3)]
    outcomes = run(tasks, Seeing(wants_neighbours=True), fetchers)
    assert [isinstance(outcomes[n], Prediction) for n in range(3)] == [False, True, False]


def test_a_predictor_that_cannot_be_loaded_is_the_reason_of_every_task(fetchers):
    class Missing(Seeing):
        def load(self):
            raise MissingPackage("onnxruntime", "is not installed", "Install it.")

    outcomes = run([task(1, "a.png"), task(2, "b.png")], Missing(), fetchers)
    assert [type(outcomes[n]) for n in range(2)] == [MissingPackage, MissingPackage]


def test_a_defect_while_loading_is_the_reason_of_every_task(fetchers):
    class Broken(Seeing):
        def load(self):
            raise ZeroDivisionError("a defect")

    outcomes = run([task(1, "a.png"), task(2, "b.png")], Broken(), fetchers)
    assert [type(outcomes[n]) for n in range(2)] == [ModelError, ModelError]
    assert "ZeroDivisionError" in str(outcomes[0])


def test_whether_neighbours_are_wanted_is_asked_after_loading(fetchers):
    class Late(Seeing):
        def load(self):
            self.wants_neighbours = True

    predictor = Late()
    run([task(1, "clip_1.png"), task(2, "clip_2.png")], predictor, fetchers)
    assert predictor.seen["clip_1.png"] == (None, "clip_2.png")


def test_a_prediction_bears_the_name_of_who_made_it_though_another_takes_over_meanwhile(fetchers):
    class Succeeded(Seeing):
        def predict(self, images, ask):
            made_by = Detections.none(self.name)
            self.name = "successor"
            made.append((made_by.source, [image.name for image in images]))
            return [made_by for _ in images]

    made = []
    outcomes = run([task(1, "a.png")], Succeeded(), fetchers)

    assert outcomes[0].model_version.partition("@")[0] == "successor"
    assert made[-1] == ("successor", ["a.png"])


def test_labels_of_two_images_are_each_looked_for(fetchers):
    config = (
        '<View><Image name="one" value="$one"/><Image name="two" value="$two"/>'
        '<RectangleLabels name="r1" toName="one"><Label value="cat"/></RectangleLabels>'
        '<RectangleLabels name="r2" toName="two"><Label value="cat"/></RectangleLabels></View>'
    )
    found = Detections(
        np.array([[1, 1, 5, 5]], np.float32), np.array([0.5], np.float32), ("cat",), (None,), "s"
    )
    both = Task(id=1, data={"one": "a.png", "two": "b.png"})
    (outcome,) = run([both], Seeing(found), fetchers, config=config).values()
    assert [region["to_name"] for region in outcome.result] == ["one", "two"]


def test_an_image_without_neighbours_is_not_given_any_where_none_are_wanted(fetchers):
    predictor = Seeing()
    run([task(1, "clip_1.png"), task(2, "clip_2.png")], predictor, fetchers)
    assert set(predictor.seen.values()) == {(None, None)}


def test_pages_of_a_list_are_all_looked_at_and_numbered(fetchers):
    found = Detections(
        np.array([[1, 1, 5, 5]], np.float32), np.array([0.5], np.float32), ("cat",), (None,), "s"
    )
    config = CONFIG.replace('value="$image"', 'valueList="$image"')
    pages = Task(id=1, data={"image": ["a.png", "b.png"]})
    (outcome,) = run([pages], Seeing(found), fetchers, config=config).values()
    assert isinstance(outcome, Prediction)
    assert [region["item_index"] for region in outcome.result] == [0, 1]


def test_only_the_page_that_was_drawn_on_is_fetched_and_looked_at(fetchers):
    config = CONFIG.replace('value="$image"', 'valueList="$image"')
    rectangle = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0}
    drawn = {"type": "rectanglelabels", "to_name": "image", "item_index": 1, "value": rectangle}
    predictor = Seeing()
    plan = make_plan(config, Predictors(predictor, predictor))
    asked = plan.interactive([drawn | {"original_width": 8, "original_height": 8}])
    tasks = [Task(id=1, data={"image": ["missing", "b.png"]})]
    studio = Studio(Images(), fetchers, lambda _: (), ahead=3)
    ((_, outcome),) = predict_tasks(tasks, asked, studio, Access(), Deadline.after(5))
    assert isinstance(outcome, Prediction)
    assert list(predictor.seen) == ["b.png"]


def test_a_smart_tool_that_marks_no_place_has_nothing_looked_at_and_says_why(fetchers):
    predictor = Seeing()
    plan = make_plan(CONFIG, Predictors(predictor, predictor))
    asked = plan.interactive([{"type": "brushlabels", "value": {"rle": [1]}}])
    studio = Studio(Images(), fetchers, lambda _: (), ahead=3)
    ((_, outcome),) = predict_tasks([task(1, "a.png")], asked, studio, Access(), Deadline.after(5))
    assert str(outcome).startswith("task 1: what was drawn with the smart tool marks no place")
    assert predictor.seen == {}


def test_a_smart_rectangle_in_which_no_keypoint_is_found_holds_no_person(fetchers):
    boxes = np.array([[0, 0, 4, 4], [4, 4, 8, 8]], np.float32)
    scores = np.zeros((2, 133), np.float32)
    scores[1, 0] = 0.4
    found = Poses(boxes, np.ones(2, np.float32), np.full((2, 133, 2), 6, np.float32), scores, "s")
    config = CONFIG.replace("</View>", '<KeyPointLabels name="points" toName="image">')
    config = config.replace("cat", "person") + '<Label value="nose"/></KeyPointLabels></View>'
    value = {"x": 0, "y": 0, "width": 100, "height": 100}
    drawn = {"type": "rectanglelabels", "to_name": "image", "value": value}
    plan = make_plan(config, Predictors(Seeing(), Seeing(found)))
    asked = plan.interactive([drawn | {"original_width": 8, "original_height": 8}])
    studio = Studio(Images(), fetchers, lambda _: (), ahead=3)
    ((_, outcome),) = predict_tasks([task(1, "a.png")], asked, studio, Access(), Deadline.after(5))
    assert isinstance(outcome, Prediction)
    assert [region["from_name"] for region in outcome.result] == ["label", "points"]


def test_a_label_that_the_config_does_not_have_never_leaves(fetchers):
    stray = Detections(
        np.array([[1, 1, 5, 5]], np.float32), np.array([0.5], np.float32), ("dog",), (None,), "s"
    )
    (outcome,) = run([task(1, "a.png")], Seeing(stray), fetchers).values()
    assert isinstance(outcome, ModelError)
    assert "['dog'] are not of 'label'" in str(outcome)


def test_poses_in_answer_to_a_question_for_boxes_are_a_defect_not_a_result(fetchers):
    (outcome,) = run([task(1, "a.png")], Seeing(Poses.none(3, "s")), fetchers).values()
    assert isinstance(outcome, ModelError)


def test_a_finding_that_does_not_go_with_what_was_learnt_costs_its_task_and_no_other(fetchers):
    class LearntOfOne:
        def at(self, key):
            return FrameAnswer((10, 10), ()) if key.index == 1 else None

        def annotated_on(self, key):
            return None

    class Mixing(Seeing):
        def predict(self, images, ask):
            poses, boxes = Poses.none(3, "s"), Detections.none("s")
            return [poses if "a_1" in image.name else boxes for image in images]

    predictor = Mixing()
    plan = make_plan(CONFIG, Predictors(predictor, predictor))
    plan = plan.taught(Taught(1, LearntOfOne(), prefer=True))
    studio = Studio(Images(), fetchers, lambda _: ())
    tasks = [task(1, "a_1.png"), task(2, "a_2.png")]
    outcomes = dict(predict_tasks(tasks, plan, studio, Access(), Deadline.after(5)))
    assert [type(outcomes[n]) for n in range(2)] == [ModelError, Prediction]


def test_an_error_of_the_predictor_is_the_outcome_of_its_task(fetchers):
    error = ModelError("a.png", "is odd", "Look at it.")
    (outcome,) = run([task(1, "a.png")], Seeing(error), fetchers).values()
    assert outcome is error
    assert isinstance(outcome, PrelabelError)


POSE_CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="label" toName="image"><Label value="body_distortion"/>'
    "</RectangleLabels>"
    '<RectangleLabels name="person" toName="image"><Label value="person"/></RectangleLabels>'
    '<KeyPointLabels name="points" toName="image"><Label value="nose"/><Label value="left_eye"/>'
    "</KeyPointLabels>"
    '<Choices name="body_part" toName="image" perRegion="true" whenTagName="label">'
    '<Choice value="face"/><Choice value="hand"/><Choice value="other"/></Choices></View>'
)


def two_people():
    """One whose face lies at (1, 1)-(3, 3), one without any keypoint."""
    points = np.zeros((2, 133, 2), np.float32)
    scores = np.zeros((2, 133), np.float32)
    face = np.linspace(1, 3, 68, dtype=np.float32)
    points[0, 23:91] = np.stack([face, face[::-1]], 1)
    points[0, 0] = (2, 2)
    points[0, 1] = (50, 2)
    scores[0, 23:91] = scores[0, :2] = 0.9
    boxes = np.array([[0, 0, 5, 9], [5, 0, 9, 9]], np.float32)
    return Poses(boxes, np.array([0.8, 0.6], np.float32), points, scores, "pose")


def a_box(x1, y1, x2, y2, part):
    return Detections(
        np.array([[x1, y1, x2, y2]], np.float32), np.array([0.4], np.float32),
        ("body_distortion",), (part,), "boxes",
    )  # fmt: skip


def test_boxes_and_poses_come_in_one_prediction_with_points_under_their_person(fetchers):
    found = a_box(1, 1, 3, 3, "hand")
    poses = Seeing(two_people())
    (outcome,) = run(
        [task(1, "a.png")], Seeing(found), fetchers, config=POSE_CONFIG, poses=poses
    ).values()
    assert isinstance(outcome, Prediction)
    kinds = [(region["from_name"], region["type"]) for region in outcome.result]
    assert kinds == [
        ("label", "rectanglelabels"), ("body_part", "choices"),
        ("person", "rectanglelabels"), ("points", "keypointlabels"),
        ("person", "rectanglelabels"),
    ]  # fmt: skip
    first, nose = outcome.result[2], outcome.result[3]
    assert nose["parentID"] == first["id"]
    assert nose["value"] == {"x": 20.0, "y": 20.0, "width": 0.5, "keypointlabels": ["nose"]}
    assert first["score"] == 0.8
    assert outcome.score == pytest.approx((0.4 + 0.8 + 0.6) / 3, abs=1e-4)


@pytest.mark.parametrize(
    ("box", "said", "part"),
    [
        ((1, 1, 3, 3), "hand", "face"),  # located parts say better where it is
        ((1, 1, 3, 3), "face", "face"),
        ((7, 7, 9, 9), "hand", "hand"),  # nobody there
        ((1, 6, 3, 8), "hand", "hand"),  # somebody there, but no part that was located
        ((1, 1, 3, 3), None, "face"),
    ],
)
def test_the_part_of_a_box_is_the_one_that_the_pose_shows_there(fetchers, box, said, part):
    people = two_people()
    (outcome,) = run(
        [task(1, "a.png")],
        Seeing(a_box(*box, said)),
        fetchers,
        config=POSE_CONFIG,
        poses=Seeing(people.take(np.array([0]))),
    ).values()
    assert outcome.result[1]["value"]["choices"] == [part]


def test_without_people_the_phrase_names_the_part(fetchers):
    (outcome,) = run(
        [task(1, "a.png")],
        Seeing(a_box(1, 1, 3, 3, "hand")),
        fetchers,
        config=POSE_CONFIG,
        poses=Seeing(Poses.none(133, "pose")),
    ).values()
    assert outcome.result[1]["value"]["choices"] == ["hand"]


def test_tasks_may_come_one_by_one_and_are_read_only_a_little_ahead(fetchers):
    given = []

    def tasks():
        for number in range(50):
            given.append(number)
            yield task(number, f"{number}.png")

    plan = make_plan(CONFIG, Predictors(Seeing(), Seeing()))
    studio = Studio(Images(), fetchers, lambda _: (), ahead=3)
    outcomes = predict_tasks(tasks(), plan, studio, Access(), Deadline.after(60))
    seen = {next(outcomes)[0] for _ in range(10)}
    assert len(seen) == 10
    assert len(given) <= 10 + 2 * 3
    assert seen | {index for index, _ in outcomes} == set(range(50))


def test_neighbours_of_tasks_that_come_one_by_one_are_found_in_the_project(fetchers):
    predictor = Seeing(wants_neighbours=True)
    tasks = [task(n, f"/data/upload/1/clip_{n:03}.png") for n in (1, 2, 3)]
    plan = make_plan(CONFIG, Predictors(predictor, predictor))
    studio = Studio(Images(), fetchers, lambda _: tasks, ahead=1)
    dict(predict_tasks(iter(tasks), plan, studio, Access(), Deadline.after(5)))
    one, two, three = (one.data["image"] for one in tasks)
    assert predictor.seen == {one: (None, two), two: (one, three), three: (two, None)}
