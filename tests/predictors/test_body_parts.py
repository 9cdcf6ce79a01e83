import cv2
import numpy as np
import pytest

from prelabel.errors import WeightsUnavailable
from prelabel.predictors.body_parts import FaceLocator, covering_part, faces_of
from prelabel.types import Detections, Image


def parts(*rows):
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    names = tuple(name for name, _ in rows)
    return Detections(boxes, np.ones(len(rows), np.float32), names, names, "test")


PERSON = ("full_body", (0, 0, 100, 200))
HAND = ("hand", (10, 10, 30, 30))


@pytest.mark.parametrize(
    ("located", "box", "part"),
    [
        (parts(), (0, 0, 10, 10), None),
        (parts(HAND), (50, 50, 60, 60), None),
        (parts(HAND), (12, 12, 20, 20), "hand"),
        (parts(HAND), (8, 8, 40, 40), "hand"),
        (parts(HAND), (0, 0, 100, 100), None),
        (parts(PERSON, HAND), (10, 10, 28, 28), "hand"),
        (parts(PERSON, HAND), (60, 60, 90, 90), "full_body"),
        (parts(HAND), (25, 25, 45, 45), None),
    ],
)
def test_a_box_is_named_after_the_tightest_part_that_covers_it(located, box, part):
    assert covering_part(np.array(box, np.float32), located) == part


def test_a_missing_network_says_which_setting_to_correct(tmp_path):
    locator = FaceLocator(tmp_path / "none.onnx")
    with pytest.raises(WeightsUnavailable, match="YUNET_MODEL_PATH"):
        locator.locate(Image(np.zeros((32, 32, 3), np.uint8)))


def test_a_file_that_is_no_network_says_which_setting_to_correct(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(WeightsUnavailable, match="cannot read"):
        FaceLocator(path).locate(Image(np.zeros((32, 32, 3), np.uint8)))


def test_rows_of_the_network_become_faces_inside_the_image_surest_first():
    rows = np.zeros((3, 15), np.float32)
    rows[:, :4] = [(10, 20, 30, 40), (80, 50, 40, 30), (300, 0, 10, 10)]
    rows[:, -1] = [0.7, 0.9, 0.8]
    found = faces_of(rows, (100, 100))
    assert found.boxes_xyxy.tolist() == [[80, 50, 100, 80], [10, 20, 40, 60]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.body_parts == ("face", "face")
    assert len(faces_of(np.zeros((0, 15), np.float32), (100, 100))) == 0


def test_a_face_is_found_in_a_portrait_and_none_in_nothing(shared_data):
    locator = FaceLocator(shared_data / "weights" / "yunet_n_dynamic.onnx")
    portrait = cv2.imread(str(shared_data / "images" / "astronaut.png"))
    try:
        found = locator.locate(Image(np.ascontiguousarray(portrait[..., ::-1])))
    except WeightsUnavailable as error:
        pytest.skip(f"{error} OpenCV {cv2.__version__} reads no export with a dynamic shape")
    assert found.body_parts == ("face",)
    assert covering_part(np.array([190, 80, 260, 160], np.float32), found) == "face"
    assert len(locator.locate(Image(np.zeros((240, 320, 3), np.uint8)))) == 0
