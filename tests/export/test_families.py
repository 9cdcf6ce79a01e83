"""Keypoints without a parent find the person in whose box they lie, unless that may be wrong."""

import pytest

from prelabel.export.pictures import Schema, pictures_of, unmeasured

LEFT, RIGHT = (0, 0, 300, 480), (200, 0, 640, 480)


def box(identity, x1, y1, x2, y2, label="person", **more):
    value = {"x": x1 / 6.4, "y": y1 / 4.8, "width": (x2 - x1) / 6.4, "height": (y2 - y1) / 4.8}
    return region(identity, "person", "rectanglelabels", label, value, **more)


def point(label, x, y, parent=None, **more):
    family = {"parentID": parent} if parent else {}
    value = {"x": x / 6.4, "y": y / 4.8, "width": 0.5}
    return region(f"{label}-{x}-{y}", "keypoints", "keypointlabels", label, value, **family, **more)


def region(identity, control, kind, label, value, **more):
    size = {"original_width": 640, "original_height": 480}
    names = {"id": identity, "from_name": control, "to_name": "image", "type": kind}
    return {**names, **size, "value": {**value, kind: [label]}, **more}


def people(draw, *regions):
    """How many keypoints each person of a picture has, and the persons with a box alone."""
    project = draw.pose_project()
    project.add(list(regions))
    [picture], _ = pictures_of(project.tasks, Schema(project.config), unmeasured)
    return sorted((picture.people.keypoint_scores > 0).sum(1).tolist()), len(picture.boxes)


def test_a_keypoint_that_was_drawn_anew_belongs_to_the_person_around_it(draw):
    drawn = [box("a", *LEFT), point("nose", 50, 50, "a"), point("left_eye", 60, 40)]
    assert people(draw, *drawn) == ([2], 0)


def test_a_person_drawn_by_hand_needs_no_parents(draw):
    drawn = [point("nose", 50, 50), box("a", *LEFT), point("left_eye", 60, 40),
             box("b", *RIGHT), point("nose", 500, 50)]  # fmt: skip
    assert people(draw, *drawn) == ([1, 2], 0)


@pytest.mark.parametrize(
    "drawn",
    [
        [point("nose", 50, 50)],
        [point("nose", 50, 50), box("a", 100, 0, 300, 480)],
        [point("nose", 250, 50), box("a", *LEFT), box("b", *RIGHT)],
        [point("nose", 50, 50), box("a", *LEFT, label="chair")],
        [point("nose", 50, 50), box("a", *LEFT, original_width=None)],
        [point("nose", 50, 50), box(None, *LEFT)],
    ],
    ids=["no box", "outside", "in two", "no person", "without size", "without id"],
)
def test_a_keypoint_of_which_nobody_knows_whose_it_is_stays_alone(draw, drawn):
    found, _ = people(draw, *drawn)
    assert found == [1]


def test_a_second_person_in_front_of_the_first_keeps_its_keypoints(draw):
    drawn = [box("a", *LEFT), point("nose", 50, 50, "a"),
             point("nose", 90, 50), point("left_eye", 95, 45)]  # fmt: skip
    assert people(draw, *drawn) == ([1, 2], 0)


def test_two_people_without_parents_in_one_box_are_not_mixed_into_it(draw):
    drawn = [box("a", *LEFT), point("nose", 50, 50), point("nose", 90, 50)]
    assert people(draw, *drawn) == ([1], 1)
