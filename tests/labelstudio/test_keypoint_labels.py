"""Keypoint labels in the spellings that projects use."""

import pytest

from prelabel import keypoints
from prelabel.labelstudio.config import Label
from prelabel.labelstudio.keypoint_labels import keypoint_labels


def indices(*names):
    return keypoint_labels([Label(name, None, {}) for name in names])


def test_no_labels_name_no_keypoints():
    assert indices() == {}


def test_every_standard_name_is_its_own_keypoint():
    assert indices(*keypoints.NAMES) == dict(enumerate(keypoints.NAMES))


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("face_0", "face-0"),
        ("Face 67", "face-67"),
        ("LEFT-EYE", "left_eye"),
        ("left eye", "left_eye"),
        ("eye_left", "left_eye"),
        ("l_shoulder", "left_shoulder"),
        ("left_wrist", "left_wrist"),
        ("left_wrist_0", "left_hand_root"),
        ("left_hand_0", "left_hand_root"),
        ("right_hand_20", "right_pinky_finger4"),
        ("left_thumb_1", "left_thumb1"),
        ("left_index_5", "left_forefinger1"),
        ("left_index_finger_1", "left_forefinger1"),
        ("left_index_8", "left_forefinger4"),
        ("right_middle_9", "right_middle_finger1"),
        ("right_ring_16", "right_ring_finger4"),
        ("right_pinky_17", "right_pinky_finger1"),
        ("right_little_2", "right_pinky_finger2"),
        ("left_big_toe", "left_big_toe"),
        ("leftEye", "left_eye"),
        ("LeftShoulder", "left_shoulder"),
        ("rightshoulder", "right_shoulder"),
        ("LShoulder", "left_shoulder"),
        ("REar", "right_ear"),
        ("LBigToe", "left_big_toe"),
        ("leftThumb1", "left_thumb1"),
        ("LEFT_EYE", "left_eye"),
        ("lwrist", "left_wrist"),
        ("Rhip", "right_hip"),
        ("LEFT_WRIST", "left_wrist"),
        ("left_bigtoe", "left_big_toe"),
        ("R_Small_toe", "right_small_toe"),
        ("right_little_toe", "right_small_toe"),
        ("left_thumb_cmc", "left_thumb1"),
        ("left_thumb_mcp", "left_thumb2"),
        ("LEFT_THUMB_IP", "left_thumb3"),
        ("left_thumb_tip", "left_thumb4"),
        ("LEFT_INDEX_FINGER_MCP", "left_forefinger1"),
        ("right_hand_pinky_dip", "right_pinky_finger3"),
        ("left_index_fingertip", "left_forefinger4"),
        ("left_hand_thumb_1", "left_thumb1"),
        ("RightHandIndex4", "right_forefinger4"),
        ("L_Wrist_Hand", "left_hand_root"),
        ("right_hand_wrist", "right_hand_root"),
        ("hand_l_3", "left_thumb3"),
        ("KP_LEFT_SHOULDER", "left_shoulder"),
    ],
)
def test_other_spellings_are_understood(name, standard):
    assert indices(name) == {keypoints.INDEX[standard]: name}


@pytest.mark.parametrize(
    "name",
    ["", "spot", "face", "hand_3", "left_hand", "left_hand_22", "left_index_9",
     "left_wrist_3", "nose_1", "body_distortion", "left_thumb_5", "cat_1", "MidHip", "Rear",
     "leftover", "Neck", "left_index", "left_thumb_pip", "left_index_ip", "index_mcp", "left_toe",
     "LEFT_FOOT_INDEX", "left_eye_inner", "left_hand_index_mcp_fe", "left_thumb_0", "lear",
     "lefthanded"],
)  # fmt: skip
def test_other_names_are_no_keypoints(name):
    assert indices(name) == {}


def test_points_counted_from_one_are_told_by_their_numbers():
    hands = [f"{side}_hand_{n}" for side in ("left", "right") for n in range(1, 22)]
    faces = [f"face_{n}" for n in range(1, 69)]
    found = indices(*hands, *faces)
    assert found[keypoints.INDEX["left_hand_root"]] == "left_hand_1"
    assert found[132] == "right_hand_21"
    assert found[23] == "face_1"
    assert len(found) == 42 + 68


def test_joints_of_fingers_counted_from_nought_are_told_by_their_numbers():
    fingers = [f"{side}_thumb_{n}" for side in ("left", "right") for n in range(4)]
    assert list(indices(*fingers)) == [92, 93, 94, 95, 113, 114, 115, 116]


@pytest.mark.parametrize(
    "names",
    [
        [f"face_{n}" for n in range(98)],
        [f"face_{n}" for n in range(1, 73)],
        [f"left_hand_{n}" for n in range(22)],
        [f"left_thumb_{n}" for n in range(3)],
        [f"left_index_{n}" for n in range(5)],
    ],
)
def test_numbers_of_another_skeleton_are_no_keypoints(names):
    assert indices(*names) == {}


def numbered(names, **attributes):
    return [
        Label(name, None, {"model_index": str(n), **attributes}) for n, name in enumerate(names)
    ]


IN_GERMAN = [f"Punkt {chr(97 + n)}" for n in range(17)]


def test_a_model_index_speaks_where_a_name_says_nothing_and_the_others_agree():
    labels = numbered(["nose", "linkes Auge", *keypoints.BODY_NAMES[2:]])
    assert keypoint_labels(labels)[1] == "linkes Auge"


def test_the_model_indices_of_a_body_need_no_names_where_they_are_a_persons():
    assert list(keypoint_labels(numbered(IN_GERMAN, predicted_values="person"))) == list(range(17))
    assert keypoint_labels(numbered(IN_GERMAN)) == {}
    assert keypoint_labels(numbered(IN_GERMAN, predicted_values="court")) == {}


@pytest.mark.parametrize(
    "names", [["nose", "eye", "tail"], [*keypoints.BODY_NAMES, "neck"], ["nose", "linkes Auge"]]
)
def test_a_model_index_is_not_believed_where_they_are_not_those_of_a_body(names):
    """As in Label Studio's own example of an animal, or in COCO's body with a neck."""
    understood = [name for name in names if name in keypoints.INDEX]
    assert list(keypoint_labels(numbered(names)).values()) == understood


def test_a_model_index_of_another_skeleton_is_not_believed():
    hand = [Label(name, None, {"model_index": str(n)}) for n, name in enumerate(("palm", "tip"))]
    assert keypoint_labels(hand) == {}
    wrong = [*hand, Label("left_eye", None, {"model_index": "7"})]
    assert keypoint_labels(wrong) == {1: "left_eye"}


def test_all_133_numbers_need_no_names():
    labels = [Label(f"punkt {chr(97 + n % 26)}", None, {"model_index": str(n)}) for n in range(133)]
    assert len(keypoint_labels(labels)) == 133


def test_a_label_in_another_language_says_by_alias_or_predicted_values_what_it_is():
    labels = [Label("Nase", None, {"predicted_values": "nose"}),
              Label("linkes Auge", "left_eye", {}),
              Label("右眼", "re", {"predicted_values": "eye, right_eye, REye"})]  # fmt: skip
    assert keypoint_labels(labels) == {0: "Nase", 1: "left_eye", 2: "re"}


def test_a_label_that_stands_for_several_keypoints_is_none_of_them():
    assert keypoint_labels([Label("Auge", None, {"predicted_values": "left_eye, right_eye"})]) == {}


def test_the_name_of_a_label_goes_before_its_other_words():
    label = Label("left_eye", "right_eye", {"predicted_values": "nose"})
    assert keypoint_labels([label]) == {1: "right_eye"}


def test_of_two_labels_for_one_keypoint_the_first_counts():
    assert indices("left_eye", "l_eye") == {1: "left_eye"}
