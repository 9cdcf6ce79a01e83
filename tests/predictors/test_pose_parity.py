"""The same numbers as plain rtmlib 0.0.16, wherever rtmlib is right."""

import cv2
import numpy as np
import pytest

from prelabel.benchmarks import random_pose
from prelabel.predictors.pose_models import embedded_folder
from prelabel.predictors.simcc import unit_scores
from prelabel.predictors.wholebody import build, build_embedded
from prelabel.types import Ask, Image

rtmlib = pytest.importorskip(
    "rtmlib", reason="the oracle is not installed: pip install --no-deps rtmlib==0.0.16"
)
AS_RTMLIB = {
    "POSE_CHANNEL_ORDER": "bgr",
    "POSE_DETECTOR_SHAPE": "square",
    "CONFIDENCE_THRESHOLD": 0,
}
ASK = Ask()
PIXELS, SCORE = 1e-3, 1e-5


@pytest.fixture(scope="module")
def photos(shared_data):
    """RGB pixels of photos by how many people are to be found in them."""

    def read(name):
        return cv2.imread(str(shared_data / "images" / name), cv2.IMREAD_COLOR_RGB)

    one, other = read("astronaut.png"), read("grace_hopper.jpg")[:512]
    skier = cv2.resize(read("000000000785.jpg"), (770, 512))
    return {"none": read("coffee.png"), "one": one, "several": np.hstack([one, other, skier])}


@pytest.fixture(scope="module")
def plain(shared_data):
    """Plain rtmlib on the embedded models, as a function of BGR pixels."""
    weights = shared_data / "weights"
    detector = rtmlib.RTMDet(str(weights / "nanodet_person.onnx"), (416, 416))
    pose = rtmlib.RTMPose(str(weights / "holistic133_256x192.onnx"), (192, 256))

    def estimate(pixels_bgr):
        boxes = detector(pixels_bgr)
        return boxes, *pose(pixels_bgr, boxes)

    return estimate


@pytest.mark.parametrize(("photo", "people"), [("one", 1), ("several", 3)])
def test_people_and_keypoints_are_rtmlibs(photos, plain, photo, people):
    pixels = photos[photo]
    boxes, points, scores = plain(np.ascontiguousarray(pixels[..., ::-1]))

    (poses,) = build_embedded(AS_RTMLIB).predict([Image(pixels)], ASK)

    assert len(poses) == len(boxes) == people
    assert np.abs(poses.boxes_xyxy - clipped(boxes, pixels)).max() <= PIXELS
    assert np.abs(poses.keypoints_xy - points).max() <= PIXELS
    assert np.abs(poses.keypoint_scores - scores).max() <= SCORE


def test_an_image_without_people_has_no_pose_where_rtmlib_invents_one(photos, plain):
    boxes, points, _ = plain(np.ascontiguousarray(photos["none"][..., ::-1]))

    (poses,) = build_embedded(AS_RTMLIB).predict([Image(photos["none"])], ASK)

    assert (len(boxes), len(points)) == (0, 1)
    assert len(poses) == 0


def test_a_batch_of_all_of_them_is_still_rtmlibs(photos, plain):
    expected = [plain(np.ascontiguousarray(photos[name][..., ::-1])) for name in ("one", "several")]

    images = [Image(photos[name]) for name in ("one", "none", "several")]
    one, none, several = build_embedded(AS_RTMLIB).predict(images, ASK)

    assert len(none) == 0
    for poses, (_, points, scores) in zip((one, several), expected, strict=True):
        assert np.abs(poses.keypoints_xy - points).max() <= PIXELS
        assert np.abs(poses.keypoint_scores - scores).max() <= SCORE


def test_raw_yolox_heads_give_rtmlibs_persons_and_only_those(photos, shared_data):
    weights = shared_data / "weights"
    bgr = np.ascontiguousarray(photos["several"][..., ::-1])
    oracle = rtmlib.YOLOX(str(weights / "yolox_nano_coco.onnx"), (416, 416), "multiclass")
    oracle.score_thr = 0.7
    boxes, classes = oracle(bgr)

    pose = build(
        {
            **AS_RTMLIB,
            "POSE_DETECTOR": str(weights / "yolox_nano_coco.onnx"),
            "POSE_MODEL": str(weights / "holistic133_256x192.onnx"),
        }
    )
    (poses,) = pose.predict([Image(photos["several"])], ASK)

    persons = clipped(boxes[classes == 0], photos["several"])
    assert len(poses) == len(persons) >= 1
    assert (poses.box_scores > 0.7).all()
    assert np.abs(by_place(poses.boxes_xyxy) - by_place(persons)).max() <= PIXELS


@pytest.mark.parametrize("seed", range(20))
def test_rtmdet_boxes_of_any_photo_are_rtmlibs(photos, shared_data, seed):
    path = str(shared_data / "weights" / "nanodet_person.onnx")
    random = np.random.default_rng(seed)
    height, width = random.integers(200, 500, 2)
    pixels = np.ascontiguousarray(photos["several"][:height, :width])
    oracle = rtmlib.RTMDet(path, (416, 416))(np.ascontiguousarray(pixels[..., ::-1]))

    (poses,) = build_embedded(AS_RTMLIB).predict([Image(pixels)], ASK)

    assert len(poses) == len(oracle)
    assert np.abs(poses.boxes_xyxy - clipped(oracle, pixels)).max(initial=0) <= PIXELS


def test_rectangular_input_finds_the_same_people_within_a_few_pixels(photos):
    square = build_embedded({"POSE_DETECTOR_SHAPE": "square"})
    (as_square,) = square.predict([Image(photos["several"])], ASK)
    (as_rectangle,) = build_embedded({}).predict([Image(photos["several"])], ASK)

    assert len(as_square) == len(as_rectangle)
    assert np.abs(as_square.boxes_xyxy - as_rectangle.boxes_xyxy).max() <= 12


def clipped(boxes, pixels):
    height, width = pixels.shape[:2]
    return np.clip(np.asarray(boxes).reshape(-1, 4), 0, [width, height, width, height])


def by_place(boxes):
    return boxes[np.argsort(boxes[:, 0])]


def test_rtmws_keypoints_are_rtmlibs_and_its_scores_mapped(photos, tmp_path):
    pytest.importorskip("onnx", reason="pip install onnx")
    path = tmp_path / "rtmw.onnx"
    random_pose.write_rtmw(path, depth=0.33, width=0.25, input_hw=(256, 192))
    boxes = np.array([[20, 30, 400, 500], [600, 10, 900, 480], [-40, 200, 90, 600]], np.float32)
    bgr = np.ascontiguousarray(photos["several"][..., ::-1])
    points, scores = rtmlib.RTMPose(str(path), (192, 256))(bgr, boxes)

    detector = embedded_folder() / "nanodet_person.onnx"
    pose = build({**AS_RTMLIB, "POSE_DETECTOR": str(detector), "POSE_MODEL": str(path)})
    poses = pose.pose_in_boxes(Image(photos["several"]), boxes, ASK)

    assert scores.max() > 1
    assert np.abs(poses.keypoints_xy - points).max() <= PIXELS
    assert np.abs(poses.keypoint_scores - unit_scores(scores, "logits")).max() <= SCORE


@pytest.mark.parametrize(
    ("published_gmacs", "write"),
    [
        (36.6, lambda path: random_pose.write_yolox(path, depth=0.67, width=0.75, side=640)),
        (3.18, lambda path: random_pose.write_yolox(path, depth=0.33, width=0.375, side=416)),
        (
            4.30,
            lambda path: random_pose.write_rtmw(path, depth=0.67, width=0.75, input_hw=(256, 192)),
        ),
        (7.89, lambda path: random_pose.write_rtmw(path, depth=1, width=1, input_hw=(256, 192))),
    ],
    ids=["YOLOX-m", "YOLOX-tiny", "RTMW-m", "RTMW-l"],
)
def test_the_twins_for_timing_cost_what_the_real_models_cost(published_gmacs, write, tmp_path):
    pytest.importorskip("onnx", reason="pip install onnx")

    assert write(tmp_path / "twin.onnx") / 1e9 == pytest.approx(published_gmacs, rel=0.005)
