"""Reading COCO annotations, and the photos that the embedded pose is measured on."""

import json

import cv2
import numpy as np
import pytest

from prelabel.errors import ImageUnreachable, InvalidRequest, ModelError, SettingsError
from prelabel.evaluation.coco import predict_people, read_coco
from prelabel.evaluation.report import evaluate
from prelabel.predictors.wholebody import build_embedded
from prelabel.types import Detections, Poses

BODY = [10.0, 20.0, 2.0] * 17


class Finds:
    """A predictor with a memory of what it was shown."""

    name = "finds"
    fingerprint = ""
    wants_neighbours = False
    batch_size = 2

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def predict(self, images, ask):
        self.asked.append(([image.name for image in images], ask))
        return [self.answer(ask) for _ in images]


def people(ask):
    boxes = np.array(ask.within_xyxy or [[0, 0, 30, 30]], np.float32)
    places = np.tile(np.array([10, 20], np.float32), (len(boxes), 133, 1))
    ones = np.ones((len(boxes), 133), np.float32)
    return Poses(boxes, ones[:, 0], places, ones, "finds")


@pytest.fixture
def folder(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 60, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((40, 60, 3), np.uint8))
    return tmp_path


@pytest.fixture
def written(folder):
    def write(*annotations, **changes):
        path = folder / "annotations.json"
        images = [
            {"id": number, "file_name": f"{name}.png", "width": 60, "height": 40}
            for number, name in enumerate("ab")
        ]
        rows = [
            {"id": place, "category_id": 1, "image_id": 0, "bbox": [0, 0, 30, 30], **annotation}
            for place, annotation in enumerate(annotations)
        ]
        categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
        file = {"images": images, "annotations": rows, "categories": categories, **changes}
        path.write_text(json.dumps(file))
        return path

    return write


def test_an_image_without_annotations_has_nobody_on_it(written, folder):
    images, absent = read_coco(written(), folder)

    assert [(image.path.name, len(image.people)) for image in images] == [
        ("a.png", 0),
        ("b.png", 0),
    ]
    assert absent == 0


def test_the_parts_of_a_person_come_together_in_their_order(written, folder):
    foot = {"foot_kpts": [7, 8, 1] * 6}
    (image, _), _ = read_coco(written({"keypoints": BODY, **foot, "area": 500}), folder)

    assert image.people.annotated[0].nonzero()[0].tolist() == list(range(23))
    assert image.people.keypoints_xy[0, 22].tolist() == [7, 8]
    assert image.people.areas.tolist() == [500]


def test_a_person_without_an_area_has_that_of_its_box(written, folder):
    (image, _), _ = read_coco(written({}), folder)

    assert image.people.areas.tolist() == [900]
    assert not image.people.area_given.any()


def test_a_dog_is_not_a_person(written, folder):
    (image, _), _ = read_coco(written({"category_id": 2}), folder)

    assert len(image.people) == 0


def test_images_that_are_not_there_are_counted(written, folder):
    (folder / "b.png").unlink()

    images, absent = read_coco(written(), folder)

    assert (len(images), absent) == (1, 1)


def test_a_folder_without_any_of_the_images_is_refused(written, folder):
    with pytest.raises(ImageUnreachable, match="none of the 2 images"):
        read_coco(written(), folder / "nowhere")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"images": None}, "images"),
        ({"categories": [{"id": "x", "name": ""}]}, "categories.0.id"),
        ({"categories": [{"id": 1, "name": "Person"}]}, "there are: Person"),
    ],
)
def test_a_file_of_another_format_is_refused_by_what_is_wrong_in_it(
    written, folder, changes, named
):
    with pytest.raises(InvalidRequest, match=named):
        read_coco(written(**changes), folder)


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        ({"keypoints": [float("nan"), 5, 2] + [0] * 48}, "annotations.0.keypoints.0"),
        ({"bbox": [0, 0, -5, 5]}, "annotations.0.bbox.2"),
        ({"area": float("inf")}, "annotations.0.area"),
    ],
)
def test_numbers_that_measure_nothing_are_refused(written, folder, annotation, named):
    with pytest.raises(InvalidRequest, match=named):
        read_coco(written(annotation), folder)


def test_a_wrong_number_of_keypoints_is_refused(written, folder):
    with pytest.raises(InvalidRequest, match="3 numbers instead of 51"):
        read_coco(written({"keypoints": [1, 2, 2]}), folder)


def test_images_are_shown_in_the_batches_that_the_predictor_likes(written, folder):
    predictor = Finds(people)
    images, _ = read_coco(written({"keypoints": BODY}), folder)

    scenes = list(predict_people(images, predictor, in_annotated_boxes=False))

    assert [names for names, _ in predictor.asked] == [["a.png", "b.png"]]
    report = evaluate(scenes, {})
    assert report.poses["body"].mean_oks == pytest.approx(1)
    assert report.boxes["person"].found == 1
    assert [image.people_predicted for image in report.images] == [1, 1]


def test_only_people_with_keypoints_and_an_area_are_looked_at_in_their_boxes(written, folder):
    predictor = Finds(people)
    annotations = written(
        {"bbox": [100, 0, 10, 10], "keypoints": BODY},  # beside the image
        {"bbox": [0, 0, 5, 5]},  # nobody said where its keypoints are
        {"bbox": [1, 2, 30, 30], "keypoints": BODY},
        {"bbox": [0, 0, 60, 40], "keypoints": BODY, "iscrowd": 1},
    )
    images, _ = read_coco(annotations, folder)

    first, _ = predict_people(images, predictor, in_annotated_boxes=True)

    assert [ask.within_xyxy for _, ask in predictor.asked] == [((1, 2, 31, 32),)]
    assert first.owners.tolist() == [2]
    assert evaluate([first], {}).poses["body"].mean_oks == pytest.approx(0.5)


def test_every_keypoint_is_asked_for_however_unsure(written, folder):
    predictor = Finds(people)
    images, _ = read_coco(written({"keypoints": BODY}), folder)

    for in_boxes in (True, False):
        list(predict_people(images, predictor, in_annotated_boxes=in_boxes))

    assert {ask.min_score for _, ask in predictor.asked} == {0.0}


def test_an_image_of_another_size_than_annotated_is_refused(written, folder):
    cv2.imwrite(str(folder / "a.png"), np.zeros((20, 30, 3), np.uint8))
    images, _ = read_coco(written(), folder)

    with pytest.raises(InvalidRequest, match=r"its size is \(30, 20\)"):
        list(predict_people(images, Finds(people), in_annotated_boxes=False))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda ask: Detections.none("finds"), SettingsError),
        (lambda ask: ModelError("a.png", "it broke", "Try again."), ModelError),
    ],
)
def test_a_predictor_that_gives_no_poses_ends_the_evaluation(written, folder, answer, error):
    images, _ = read_coco(written(), folder)

    with pytest.raises(error):
        list(predict_people(images, Finds(answer), in_annotated_boxes=False))


@pytest.fixture(scope="module")
def pose():
    pytest.importorskip("onnxruntime", reason="pip install 'prelabel[pose]'")
    return build_embedded({"POSE_THREADS": 1})


def test_the_embedded_pose_agrees_with_the_annotated_skier_in_its_box(shared_data, pose):
    images, _ = read_coco(
        shared_data / "annotations" / "coco_wholebody_785.json", shared_data / "images"
    )

    report = evaluate(list(predict_people(images, pose, in_annotated_boxes=True)), {})

    assert report.poses["body"].mean_oks >= 0.90


def test_the_embedded_pose_finds_the_annotated_skier_by_itself(shared_data, pose):
    images, _ = read_coco(
        shared_data / "annotations" / "coco_wholebody_785.json", shared_data / "images"
    )

    report = evaluate(list(predict_people(images, pose, in_annotated_boxes=False)), {})

    assert report.images[0].people_predicted == 1
    assert report.poses["body"].precision.found == 1
    assert report.boxes["person"].ap50 == pytest.approx(1)


def test_the_embedded_pose_finds_who_is_there_and_nobody_else(shared_data, pose, tmp_path):
    expected = {
        "coffee.png": 0,
        "chelsea.png": 0,
        "astronaut.png": 1,
        "grace_hopper.jpg": 1,
        "camera.png": 1,
    }
    images = [{"id": number, "file_name": name} for number, name in enumerate(expected)]
    file = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    annotations = tmp_path / "nobody.json"
    annotations.write_text(json.dumps(file))
    photos, _ = read_coco(annotations, shared_data / "images")

    report = evaluate(list(predict_people(photos, pose, in_annotated_boxes=False)), {})

    assert {image.name: image.people_predicted for image in report.images} == expected
