"""Regions: pixels to percent, and what is never sent."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.read import drawn_places, prompt_texts, read
from prelabel.labelstudio.regions.write import (
    Page,
    PartChoice,
    PersonBox,
    PointLabels,
    box_regions,
    mean_score,
    pose_regions,
)
from prelabel.types import Detections, Poses

XML = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="body_distortion"/></RectangleLabels>
  <KeyPointLabels name="point" toName="image"><Label value="spot"/></KeyPointLabels>
  <Choices name="body_part" toName="image" perRegion="true">
    <Choice value="face"/><Choice value="other"/>
  </Choices>
</View>
"""
CONFIG = parse(XML)
LABEL, POINT, CHOICES = CONFIG.controls
PAGE = Page(height=200, width=400)


def found(*rows, label="body_distortion", part=None):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    scores = np.array([row[4] for row in rows], np.float32)
    count = len(rows)
    return Detections(boxes, scores, (label,) * count, (part,) * count, "test")


def choice(stored=None, labels=frozenset()):
    return PartChoice(CHOICES, stored or {"face": "face", "other": "other"}, labels)


def test_nothing_found_is_an_empty_result():
    assert box_regions(found(), LABEL, choice(), PAGE) == []
    assert mean_score([]) == 0.0


def test_a_box_is_written_in_percent_with_its_part_under_the_same_id():
    regions = box_regions(found((40, 20, 80, 120, 0.5), part="face"), LABEL, choice(), PAGE)
    box, part = regions
    assert box["value"] == {
        "x": 10.0, "y": 10.0, "width": 10.0, "height": 50.0, "rotation": 0,
        "rectanglelabels": ["body_distortion"],
    }  # fmt: skip
    assert (box["original_width"], box["original_height"], box["score"]) == (400, 200, 0.5)
    assert box["meta"] == {"source": "test"}
    assert part["id"] == box["id"]
    assert (part["type"], part["value"]["choices"]) == ("choices", ["face"])
    assert "item_index" not in box


def test_an_unknown_part_becomes_other_and_is_left_out_where_the_config_has_no_other():
    boxes = found((0, 0, 10, 10, 0.5), part="leg")
    assert box_regions(boxes, LABEL, choice(), PAGE)[1]["value"]["choices"] == ["other"]
    assert len(box_regions(boxes, LABEL, choice({"face": "face"}), PAGE)) == 1


def test_a_choice_for_other_labels_is_not_filled():
    boxes = found((0, 0, 10, 10, 0.5), part="face")
    assert len(box_regions(boxes, LABEL, choice(labels=frozenset({"cat"})), PAGE)) == 1


def test_keypoint_controls_get_the_centre_and_no_height():
    (point,) = box_regions(found((40, 20, 80, 120, 0.5), label="spot"), POINT, None, PAGE)
    assert point["value"] == {"x": 15.0, "y": 35.0, "width": 0.5, "keypointlabels": ["spot"]}


def test_pages_of_a_list_carry_their_index():
    (box,) = box_regions(found((0, 0, 10, 10, 0.5)), LABEL, None, Page(200, 400, 3))
    assert box["item_index"] == 3


side = st.floats(0, 1, width=32)


@given(
    side, side, side, side, st.floats(0, 1, width=32), st.integers(8, 9000), st.integers(8, 9000)
)
def test_whatever_is_found_passes_both_checks_and_comes_back_in_pixels(
    x1, y1, x2, y2, score, width, height
):
    x1, x2 = sorted((x1 * width, x2 * width))
    y1, y2 = sorted((y1 * height, y2 * height))
    if np.float32(x2) <= np.float32(x1) or np.float32(y2) <= np.float32(y1):
        return
    regions = box_regions(
        found((x1, y1, x2, y2, score), part="face"), LABEL, choice(), Page(height, width)
    )
    assert problems(regions, CONFIG) == []
    value = regions[0]["value"]
    assert value["x"] + value["width"] <= 100.0001
    assert value["y"] + value["height"] <= 100.0001
    tolerance = 2e-6 * max(width, height) + 1e-3
    assert value["x"] / 100 * width == pytest.approx(x1, abs=tolerance)
    assert (value["y"] + value["height"]) / 100 * height == pytest.approx(y2, abs=2 * tolerance)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": 7}, "id 7"),
        ({"id": "a#b"}, "id 'a#b'"),
        ({"from_name": "nowhere"}, "no control 'nowhere'"),
        ({"to_name": "video"}, "to_name"),
        ({"type": "choices"}, "type"),
        ({"value": None}, "no value"),
        ({"parentID": "gone"}, "parent 'gone'"),
        ({"score": float("nan")}, "score"),
        ({"score": 2.0}, "score"),
        ({"original_width": None}, "original_width"),
        ({"value": {"x": 1.0, "y": 1.0, "width": 1.0, "height": 1.0}}, "rectanglelabels None"),
        (
            {"value": {"x": 1.0, "y": 1.0, "width": 1.0, "height": 1.0, "rectanglelabels": ["x"]}},
            "rectanglelabels",
        ),
        (
            {"value": {"x": -1.0, "y": 1.0, "width": 1.0, "height": 101.0,
                       "rectanglelabels": ["body_distortion"]}},
            "percentage",
        ),
        (
            {"value": {"x": 1.0, "y": 1.0, "width": 1.0, "rectanglelabels": ["body_distortion"]}},
            "instead of",
        ),
    ],
)  # fmt: skip
def test_what_label_studio_would_drop_or_misdraw_is_named(change, reason):
    (region,) = box_regions(found((0, 0, 40, 20, 0.5)), LABEL, None, PAGE)
    assert any(reason in problem for problem in problems([region | change], CONFIG))


def test_a_keypoint_with_a_height_is_named_because_it_is_drawn_as_a_rectangle():
    (point,) = box_regions(found((0, 0, 40, 20, 0.5), label="spot"), POINT, None, PAGE)
    point["value"]["height"] = 0.5
    (problem,) = problems([point], CONFIG)
    assert "it has ['height', 'width', 'x', 'y'] instead of ['width', 'x', 'y']" in problem


def test_typed_prompts_are_read_from_text_areas_only():
    results = [
        {"type": "textarea", "value": {"text": ["cat", "dog"]}},
        {"type": "textarea", "value": {"text": "bird"}},
        {"type": "rectanglelabels", "value": {"text": ["no"]}},
        {"type": "textarea"},
    ]
    assert prompt_texts(results) == ["cat", "dog", "bird"]


POSE_XML = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="person" toName="image"><Label value="person"/></RectangleLabels>
  <KeyPointLabels name="kp" toName="image"><Label value="nose"/><Label value="left_eye"/>
  </KeyPointLabels>
  <RectangleLabels name="label" toName="image"><Label value="body_distortion"/></RectangleLabels>
  <Choices name="body_part" toName="image" perRegion="true"><Choice value="Full Body"/></Choices>
</View>
"""
POSE_CONFIG = parse(POSE_XML)
PERSON, KEYPOINTS, BOXES, PARTS = POSE_CONFIG.controls
POINTS = {0: "nose", 1: "left_eye"}


def people(*persons):
    """Each person: box, then (x, y, score) of nose and left eye."""
    xy = np.zeros((len(persons), 133, 2), np.float32)
    scores = np.zeros((len(persons), 133), np.float32)
    for row, (_, *points) in enumerate(persons):
        for index, (x, y, score) in enumerate(points):
            xy[row, index], scores[row, index] = (x, y), score
    boxes = np.array([person[0] for person in persons], np.float32).reshape(-1, 4)
    return Poses(boxes, np.full(len(persons), 0.75, np.float32), xy, scores, "pose")


ANN = ((10, 10, 110, 190), (60, 40, 0.5), (70, 30, 0.25))
BEN = ((200, 10, 300, 190), (250, 40, 1.0), (0, 0, 0.0))


def written(poses, parent=PersonBox(PERSON, "person")):  # noqa: B008 - a frozen value
    return pose_regions(poses, [PointLabels(KEYPOINTS, POINTS)], parent, PAGE)


def test_nobody_is_no_region():
    assert written(people()) == []


def test_points_lie_under_their_person_and_unfound_ones_are_left_out():
    regions = written(people(ANN, BEN))
    assert problems(regions, POSE_CONFIG) == []
    ann, nose, eye, ben, bens_nose = regions
    assert [region["from_name"] for region in regions] == ["person", "kp", "kp", "person", "kp"]
    assert nose["parentID"] == eye["parentID"] == ann["id"]
    assert bens_nose["parentID"] == ben["id"]
    assert nose["value"] == {"x": 15.0, "y": 20.0, "width": 0.5, "keypointlabels": ["nose"]}
    assert (ann["score"], nose["score"]) == (0.75, 0.5)
    assert len({region["id"] for region in regions}) == 5


def test_points_of_several_controls_lie_under_one_box_for_each_person():
    more = replace(KEYPOINTS, name="more")
    points = [PointLabels(KEYPOINTS, {0: "nose"}), PointLabels(more, {1: "left_eye"})]
    regions = pose_regions(people(ANN, BEN), points, PersonBox(PERSON, "person"), PAGE)
    assert [r["from_name"] for r in regions] == ["person", "kp", "more", "person", "kp"]
    ann, nose, eye, ben, bens_nose = regions
    assert nose["parentID"] == eye["parentID"] == ann["id"]
    assert bens_nose["parentID"] == ben["id"]


def test_what_was_chosen_for_a_person_is_written_as_far_as_the_config_still_has_it():
    chosen = ({"body_part": ("Full Body", "gone"), "missing": ("x",)}, {"body_part": ("gone",)})
    poses = replace(people(ANN, BEN), attributes=chosen)
    parent = PersonBox(PERSON, "person")
    choices = {PARTS.name: PARTS}
    regions = pose_regions(poses, [PointLabels(KEYPOINTS, POINTS)], parent, PAGE, choices)
    assert problems(regions, POSE_CONFIG) == []
    written = [r["value"]["choices"] for r in regions if r["type"] == "choices"]
    assert written == [["Full Body"]]


def test_a_point_outside_the_image_is_not_shown():
    stray = ((0, 0, 50, 50), (-5, 10, 0.9), (10, 10, 0.9))
    assert [r["value"].get("keypointlabels") for r in written(people(stray))] == [
        None, ["left_eye"]
    ]  # fmt: skip


def test_without_a_rectangle_for_persons_points_have_no_parent():
    assert all("parentID" not in region for region in written(people(ANN), None))


def test_people_are_read_back_apart_with_their_boxes_and_scores():
    drawn = read(written(people(ANN, BEN)), POSE_CONFIG)
    assert drawn.image_hw == (200, 400)
    assert len(drawn.boxes) == 0
    np.testing.assert_allclose(drawn.people.boxes_xyxy, [ANN[0], BEN[0]], atol=1e-3)
    np.testing.assert_allclose(drawn.people.keypoints_xy[0, :2], [(60, 40), (70, 30)], atol=1e-3)
    assert drawn.people.keypoint_scores[1].sum() == pytest.approx(1)


def test_points_without_a_parent_are_one_person_with_the_box_around_them():
    drawn = read(written(people(ANN), None), POSE_CONFIG)
    np.testing.assert_allclose(drawn.people.boxes_xyxy, [[60, 30, 70, 40]], atol=1e-3)


def test_boxes_are_read_back_with_label_part_and_score():
    choice = PartChoice(PARTS, {"full_body": "Full Body"}, frozenset())
    found_here = found((40, 20, 80, 120, 0.5), (0, 0, 40, 40, 0.25), part="full_body")
    drawn = read(box_regions(found_here, BOXES, choice, PAGE), POSE_CONFIG)
    np.testing.assert_allclose(drawn.boxes.boxes_xyxy, found_here.boxes_xyxy, atol=1e-3)
    assert drawn.boxes.labels == ("body_distortion", "body_distortion")
    assert drawn.boxes.body_parts == ("full_body", "full_body")
    assert drawn.boxes.scores.tolist() == [0.5, 0.25]


def test_a_turned_rectangle_is_read_as_the_upright_box_around_it():
    (region,) = box_regions(found((100, 50, 200, 60, 0.5)), BOXES, None, PAGE)
    region["value"]["rotation"] = 90
    drawn = read([region], POSE_CONFIG)
    np.testing.assert_allclose(drawn.boxes.boxes_xyxy, [[90, 50, 100, 150]], atol=1e-3)


def test_an_empty_result_reads_as_nothing():
    drawn = read([], POSE_CONFIG)
    assert (len(drawn.boxes), len(drawn.people), drawn.image_hw) == (0, 0, (0, 0))


def test_only_the_asked_page_is_read():
    here = Page(200, 400, 1)
    regions = box_regions(found((0, 0, 10, 10, 0.5)), BOXES, None, here)
    assert len(read(regions, POSE_CONFIG, 1).boxes) == 1
    assert len(read(regions, POSE_CONFIG, 0).boxes) == 0


def test_smart_tools_say_where_to_look():
    (box,) = box_regions(found((40, 20, 80, 120, 0.5)), BOXES, None, PAGE)
    (point,) = box_regions(found((40, 20, 80, 120, 0.5), label="spot"), POINT, None, PAGE)
    boxes, points = drawn_places([box, point, point | {"is_positive": False}, {"type": "textarea"}])
    np.testing.assert_allclose(boxes, [(40, 20, 80, 120)], atol=1e-3)
    np.testing.assert_allclose(points, [(60, 70)], atol=1e-3)
    assert drawn_places([]) == ((), ())


@pytest.mark.parametrize(
    ("rotation", "box"),
    [(0, (100, 80, 300, 120)), (90, (180, 0, 220, 200)), (None, (100, 80, 300, 120))],
)
def test_a_smart_ellipse_stands_for_the_box_around_it(rotation, box):
    value = {"x": 50, "y": 50, "radiusX": 25, "radiusY": 10, "rotation": rotation}
    size = {"original_width": 400, "original_height": 200}
    ellipse = {"type": "ellipselabels", "value": value, **size}
    np.testing.assert_allclose(drawn_places([ellipse])[0], [box], atol=1e-3)
    assert drawn_places([{**ellipse, "value": {**value, "radiusX": "wide"}}]) == ((), ())
