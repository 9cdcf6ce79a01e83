"""The pose that comes with the package, on real photos."""

import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from prelabel import keypoints
from prelabel.errors import InvalidRequest, ModelError, WeightsUnavailable
from prelabel.predictors import pose_models
from prelabel.predictors.wholebody import build_embedded
from prelabel.types import Ask, Image

pytest.importorskip("onnxruntime", reason="pip install 'prelabel[pose]'")
ASK = Ask()


@pytest.fixture(scope="module")
def pose():
    return build_embedded({"POSE_THREADS": 1})


@pytest.fixture
def photo(shared_data):
    def read(name):
        pixels = cv2.imread(str(shared_data / "images" / name), cv2.IMREAD_COLOR_RGB)
        return Image(pixels, name)

    return read


def body_oks(found_xy, annotation):
    truth = np.array(annotation["keypoints"], float).reshape(17, 3)
    seen = truth[:, 2] > 0
    distances = ((found_xy[:17] - truth[:, :2]) ** 2).sum(1)[seen]
    spread = (2 * np.array(keypoints.SIGMAS[:17])[seen]) ** 2
    return np.exp(-distances / (2 * spread * annotation["area"])).mean()


def blank(height=300, width=400):
    return Image(np.full((height, width, 3), 128, np.uint8), "blank")


def test_no_images_have_no_answers(pose):
    assert list(pose.predict([], ASK)) == []


def test_a_blank_image_has_nobody_in_it(pose):
    (poses,) = pose.predict([blank()], ASK)

    assert len(poses) == 0
    assert poses.keypoints_xy.shape == (0, 133, 2)


def test_nothing_is_loaded_before_it_is_needed():
    fresh = build_embedded({})

    assert fresh.health() == {"loaded": False, "device": "cpu"}
    fresh.load()
    assert fresh.health() == {"loaded": True, "device": "cpu"}


def test_two_predictors_share_one_session_per_model(pose):
    again = build_embedded({"POSE_THREADS": 1})
    pose.load()
    again.load()

    assert again._estimator._pose.session is pose._estimator._pose.session


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("coffee.png", 0),
        ("chelsea.png", 0),
        ("astronaut.png", 1),
        ("grace_hopper.jpg", 1),
        ("camera.png", 1),
        ("000000000785.jpg", 1),
    ],
)
def test_the_people_in_a_photo_are_found_and_nobody_else(pose, photo, name, people):
    (poses,) = pose.predict([photo(name)], ASK)

    assert len(poses) == people


def test_the_astronauts_eyes_are_where_they_are(pose, photo):
    (poses,) = pose.predict([photo("astronaut.png")], ASK)

    left_eye, right_eye = poses.keypoints_xy[0, 1:3]
    assert left_eye == pytest.approx([246, 103], abs=12)
    assert right_eye == pytest.approx([204, 101], abs=12)


def test_the_skiers_body_is_right_from_the_annotated_box_and_end_to_end(pose, photo, shared_data):
    path = shared_data / "annotations" / "coco_wholebody_785.json"
    annotation = json.loads(path.read_text())["annotations"][0]
    x, y, width, height = annotation["bbox"]
    skier = photo("000000000785.jpg")

    box = np.array([[x, y, x + width, y + height]], np.float32)
    from_box = pose.pose_in_boxes(skier, box, ASK)
    (end_to_end,) = pose.predict([skier], ASK)

    assert body_oks(from_box.keypoints_xy[0], annotation) >= 0.90
    assert body_oks(end_to_end.keypoints_xy[0], annotation) >= 0.90


def test_a_batch_gives_what_single_images_give(pose, photo):
    names = ["astronaut.png", "coffee.png", "grace_hopper.jpg", "camera.png", "000000000785.jpg"]
    images = [photo(name) for name in names]

    together = pose.predict(images, ASK)
    alone = [pose.predict([image], ASK)[0] for image in images]

    for one, other in zip(together, alone, strict=True):
        assert one.boxes_xyxy == pytest.approx(other.boxes_xyxy, abs=1e-3)
        assert one.keypoints_xy == pytest.approx(other.keypoints_xy, abs=1e-3)
        assert one.keypoint_scores == pytest.approx(other.keypoint_scores, abs=1e-5)


def test_threads_get_what_one_caller_gets(pose, photo):
    astronaut = photo("astronaut.png")
    (expected,) = pose.predict([astronaut], ASK)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: pose.predict([astronaut], ASK)[0], range(8)))

    assert all(np.array_equal(a.keypoints_xy, expected.keypoints_xy) for a in answers)


def test_keypoints_under_the_asked_threshold_keep_their_place_without_a_score(pose, photo):
    skier = photo("000000000785.jpg")

    (all_points,) = pose.predict([skier], Ask(min_score=0))
    (sure_points,) = pose.predict([skier], Ask(min_score=0.9))

    unsure = all_points.keypoint_scores < 0.9
    assert unsure.any()
    assert not sure_points.keypoint_scores[unsure].any()
    assert np.array_equal(sure_points.keypoints_xy, all_points.keypoints_xy)


def test_boxes_lie_in_the_image(pose, photo):
    (poses,) = pose.predict([photo("grace_hopper.jpg")], ASK)

    assert (poses.boxes_xyxy >= 0).all()
    assert (poses.boxes_xyxy <= [512, 600, 512, 600]).all()


def test_a_drawn_box_is_taken_for_a_person_without_looking_for_any(pose):
    ask = Ask(within_xyxy=((10.0, 20.0, 110.0, 220.0),))

    (poses,) = pose.predict([blank()], ask)

    assert poses.boxes_xyxy.tolist() == [[10, 20, 110, 220]]
    assert poses.box_scores.tolist() == [1]


def test_a_box_drawn_outside_is_an_answer_about_that_image(pose):
    ask = Ask(within_xyxy=((10.0, 310.0, 110.0, 390.0),))

    too_low, inside = pose.predict([blank(height=300), blank(height=400)], ask)

    assert isinstance(too_low, InvalidRequest)
    assert len(inside) == 1


@pytest.mark.parametrize("box", [[10, 10, 10, 90], [500, 500, 600, 600], [np.nan, 0, 9, 9]])
def test_a_box_drawn_around_nothing_is_refused(pose, box):
    with pytest.raises(InvalidRequest, match="blank"):
        pose.pose_in_boxes(blank(), np.array([box], np.float32), ASK)


def test_no_given_boxes_give_no_pose_and_not_the_whole_image(pose):
    assert len(pose.pose_in_boxes(blank(), np.zeros((0, 4), np.float32), ASK)) == 0


def test_an_image_that_the_model_fails_on_does_not_take_the_others_with_it(pose, monkeypatch):
    pose.load()
    estimator = pose._estimator

    class Fails:
        def poses(self, images, min_score):
            if any(image.name == "spoilt" for image in images):
                raise ModelError("model", "it failed", "Look at the image.")
            return estimator.poses(images, min_score)

    monkeypatch.setattr(pose, "_estimator", Fails())
    spoilt = Image(blank().pixels_rgb, "spoilt")

    first, second, third = pose.predict([blank(), spoilt, blank()], ASK)

    assert len(first) == len(third) == 0
    assert isinstance(second, ModelError)


def test_a_damaged_model_file_is_refused(monkeypatch):
    monkeypatch.setitem(pose_models.EMBEDDED, "nanodet_person.onnx", "0" * 64)

    with pytest.raises(WeightsUnavailable, match=r"nanodet_person\.onnx"):
        build_embedded({}).load()
