"""Marks: annotations as the learner knows them, and as predictions for their own frames."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel import keypoints
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.marks import keep, kept, read_marks
from prelabel.labelstudio.regions.turned import upright_box
from prelabel.labelstudio.regions.write import Page, box_regions
from prelabel.types import Detections

CONFIG_XML = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image">
    <Label value="body_distortion"/><Label value="person"/>
  </RectangleLabels>
  <KeyPointLabels name="point" toName="image">
    <Label value="spot"/><Label value="nose"/><Label value="left_eye"/>
  </KeyPointLabels>
  <PolygonLabels name="outline" toName="image"><Label value="hair"/></PolygonLabels>
  <Choices name="body_part" toName="image" perRegion="true">
    <Choice value="face"/><Choice value="hand"/>
  </Choices>
  <Choices name="quality" toName="image" perRegion="true" choice="multiple">
    <Choice value="blurred"/><Choice value="dark"/>
  </Choices>
  <Choices name="scene" toName="image"><Choice value="indoors"/></Choices>
  <TextArea name="note" toName="image"/>
</View>
"""
CONFIG = parse(CONFIG_XML)
HW = (200, 400)
DEFAULT_BOX_PCT = (6.0, 10.0)
NOSE, LEFT_EYE = keypoints.INDEX["nose"], keypoints.INDEX["left_eye"]


def region(identity, control, kind, parent=None, **value):
    """A region as the editor stores it."""
    family = {"parentID": parent} if parent else {}
    return {
        "id": identity,
        "from_name": control,
        "to_name": "image",
        "type": kind,
        "original_width": HW[1],
        "original_height": HW[0],
        "image_rotation": 0,
        "origin": "manual",
        "value": value,
        **family,
    }


def box(identity="b", label="body_distortion", x=10, y=10, width=20, height=50, rotation=0):
    return region(
        identity, "box", "rectanglelabels",
        x=x, y=y, width=width, height=height, rotation=rotation, rectanglelabels=[label],
    )  # fmt: skip


def point(identity, label, x, y, parent=None):
    return region(
        identity, "point", "keypointlabels", parent, x=x, y=y, width=0.5, keypointlabels=[label]
    )


def choice(identity, control, *chosen):
    return region(identity, control, "choices", x=1, y=1, width=1, height=1, choices=list(chosen))


def marks_of(*regions, page=None):
    return read_marks(regions, CONFIG, DEFAULT_BOX_PCT, page)[1]


def test_an_empty_annotation_has_no_marks_and_no_size():
    assert read_marks([], CONFIG, DEFAULT_BOX_PCT) == ((0, 0), ())


def test_a_box_is_a_mark_in_pixels_with_all_that_was_chosen_for_it():
    hw, (mark,) = read_marks(
        [box(), choice("b", "body_part", "face"), choice("b", "quality", "dark", "blurred")],
        CONFIG,
        DEFAULT_BOX_PCT,
    )
    assert hw == HW
    assert (mark.control, mark.label) == ("box", "body_distortion")
    assert mark.box_xyxy.tolist() == [40, 20, 120, 120]
    assert mark.attributes == {"body_part": ("face",), "quality": ("dark", "blurred")}
    assert mark.points_xy.shape == (0, 2)


def test_all_boxes_of_an_annotation_count():
    assert len(marks_of(box("a"), box("b", x=50), box("c", label="person"))) == 3


def test_a_lone_keypoint_counts_as_a_box_around_it_cut_to_the_image():
    inside, at_the_edge = marks_of(point("a", "spot", 50, 50), point("b", "spot", 100, 50))
    assert (inside.control, inside.label) == ("point", "spot")
    assert inside.box_xyxy.tolist() == [188, 90, 212, 110]
    assert at_the_edge.box_xyxy.tolist() == [388, 90, 400, 110]


def test_the_keypoints_under_one_box_are_one_person_and_the_box_is_no_mark_of_its_own():
    (person,) = marks_of(
        box("p", label="person"),
        choice("p", "quality", "dark"),
        point("n", "nose", 20, 20, parent="p"),
        point("e", "left_eye", 22, 18, parent="p"),
    )
    assert (person.control, person.label) == ("point", "person")
    assert person.box_xyxy.tolist() == [40, 20, 120, 120]
    assert person.attributes == {"quality": ("dark",)}
    assert person.points_xy.shape == (133, 2)
    assert np.flatnonzero(person.points_seen).tolist() == [NOSE, LEFT_EYE]
    assert person.points_xy[NOSE].tolist() == [80, 40]


def test_people_are_told_apart_by_their_parents():
    people = marks_of(
        box("p", label="person"),
        box("q", label="person", x=60),
        point("a", "nose", 20, 20, parent="p"),
        point("b", "nose", 70, 20, parent="q"),
    )
    assert [person.box_xyxy[0] for person in people] == [40, 240]


def test_a_keypoint_drawn_anew_is_of_the_person_in_whose_box_it_lies():
    (person,) = marks_of(
        box("p", label="person"),
        point("e", "left_eye", 22, 18, parent="p"),
        point("n", "nose", 20, 20),
    )
    assert person.label == "person"
    assert np.flatnonzero(person.points_seen).tolist() == [NOSE, LEFT_EYE]


def test_a_person_whose_points_are_of_several_controls_is_one_of_the_first():
    face = '<KeyPointLabels name="face" toName="image"><Label value="left_eye"/></KeyPointLabels>'
    config = parse(CONFIG_XML.replace("</View>", f"{face}</View>"))
    regions = [
        region("e", "face", "keypointlabels", "p", x=22, y=18, keypointlabels=["left_eye"]),
        point("n", "nose", 20, 20, parent="p"),
        box("p", label="person"),
    ]
    _, (person,) = read_marks(regions, config, DEFAULT_BOX_PCT)
    assert (person.control, person.label) == ("point", "person")
    assert np.flatnonzero(person.points_seen).tolist() == [NOSE, LEFT_EYE]


def test_keypoints_without_a_parent_are_one_person_with_the_box_around_them():
    (person,) = marks_of(point("n", "nose", 20, 20), point("e", "left_eye", 30, 40))
    assert person.label == ""
    assert person.box_xyxy.tolist() == [80, 40, 120, 80]


@pytest.mark.parametrize("points", [[(50, 50)], [(50, 40), (50, 60)]], ids=["one", "in line"])
def test_a_person_without_extent_gets_that_of_a_lone_keypoint(points):
    labels = ("nose", "left_eye")
    (person,) = marks_of(
        *(point(label, label, *xy) for label, xy in zip(labels, points, strict=False))
    )
    assert (person.box_xyxy[2:] > person.box_xyxy[:2]).all()
    assert person.box_xyxy[[0, 2]].tolist() == [188, 212]


def test_a_person_under_a_box_that_is_gone_keeps_its_points():
    (person,) = marks_of(
        point("n", "nose", 20, 20, parent="?"), point("e", "left_eye", 30, 40, parent="?")
    )
    assert person.points_seen.sum() == 2


def test_shapes_that_are_not_filled_are_no_marks():
    outline = region("o", "outline", "polygonlabels", points=[[1, 1]], polygonlabels=["hair"])
    assert marks_of(outline) == ()


def test_a_turned_box_is_turned_back_about_its_centre():
    """Label Studio turns about the corner: by 90 degrees what was to its right lies below it."""
    (mark,) = marks_of(box(x=50, y=20, width=20, height=20, rotation=90))
    x, y, across, down = 200, 0.2 * HW[0], 80, 0.2 * HW[0]
    middle = np.array([x - down / 2, y + across / 2])
    half = np.array([across, down]) / 2
    assert mark.turn == 90
    assert mark.box_xyxy == pytest.approx(np.concatenate([middle - half, middle + half]))


def test_a_turned_box_without_a_width_that_can_be_told_is_no_mark():
    assert marks_of(box(x=90, y=20, width=1e-9, height=20, rotation=30)) == ()


def test_a_turned_box_beyond_the_image_is_no_mark():
    assert marks_of(box(x=-30, y=-30, width=5, height=5, rotation=30)) == ()


def test_of_a_list_only_the_page_asked_for_is_read():
    pages = [{**box("a"), "item_index": 0}, {**box("b", x=50), "item_index": 1}]
    (mark,) = marks_of(*pages, page=1)
    assert mark.box_xyxy[0] == 200


BROKEN = [
    None,
    "text",
    {},
    {**box(), "value": None},
    {**box(), "value": {}},
    {**box(), "from_name": "gone"},
    {**box(), "from_name": None},
    {**box(), "original_width": None},
    {**box(), "original_width": "400"},
    {**box(), "original_width": 10**400},
    box(label="gone"),
    box(x="10"),
    box(x=math.nan),
    box(x=math.inf),
    box(x=10**400),
    box(x=None),
    box(width=0),
    box(width=-5),
    box(x=150),
    box(rotation="much"),
    region("b", "box", "rectanglelabels", x=1, y=1, width=1, height=1, rectanglelabels="person"),
    region("b", "box", "rectanglelabels", x=1, y=1, width=1, height=1, rectanglelabels=[["a"]]),
    region("b", "box", "rectanglelabels", x=1, y=1, width=1, height=1),
    point("n", "spot", math.nan, 1),
    point("n", "nose", "1", 1),
    choice("b", "body_part", "gone"),
    choice(["b"], "body_part", "face"),
    {**choice("b", "body_part"), "value": {"choices": "face"}},
    {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_what_is_broken_is_passed_over_and_the_rest_is_read(broken):
    whole = box("whole", x=50, width=10, height=10)
    (mark,) = marks_of(broken, whole)
    assert mark.box_xyxy.tolist() == [200, 20, 240, 40]
    assert [one["id"] for one in kept(keep([broken, whole]), CONFIG)][-1:] == ["whole"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
WHOLE = [
    box("b"),
    choice("b", "body_part", "face"),
    box("p", label="person", x=40),
    point("n", "nose", 45, 20, parent="p"),
    {"type": "relation", "from_id": "b", "to_id": "p", "direction": "right"},
]


@given(st.sampled_from(range(len(WHOLE))), st.data())
def test_whatever_stands_in_a_region_nothing_breaks_and_what_comes_back_is_right(place, data):
    result = copy.deepcopy(WHOLE)
    inside = [key for key in ("value", None) if key is None or key in result[place]]
    part = result[place].get(data.draw(st.sampled_from(inside)), result[place])
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(anything)
    assert marks_of(*result)
    assert problems(kept(keep(result), CONFIG), CONFIG) == []


side = st.floats(0, 1, width=32)


@given(side, side, side, side, st.integers(8, 9000), st.integers(8, 9000))
def test_a_box_that_prelabel_wrote_comes_back_as_the_same_mark(x1, y1, x2, y2, width, height):
    box_xyxy = np.array(
        [*np.multiply(sorted((x1, x2)), width), *np.multiply(sorted((y1, y2)), height)]
    )
    box_xyxy = box_xyxy[[0, 2, 1, 3]].astype(np.float32)
    if (box_xyxy[2:] - box_xyxy[:2] < 0.1).any():
        return
    found = Detections(
        box_xyxy[None], np.ones(1, np.float32), ("body_distortion",), (None,), "test"
    )
    regions = box_regions(found, CONFIG.controls[0], None, Page(height, width))
    hw, (mark,) = read_marks(regions, CONFIG, DEFAULT_BOX_PCT)
    assert hw == (height, width)
    assert mark.box_xyxy == pytest.approx(box_xyxy, abs=2e-6 * max(width, height) + 1e-3)


def test_nothing_drawn_is_kept_as_nothing():
    assert keep([]) == b""
    assert kept(b"", CONFIG) == []


def test_what_was_drawn_comes_back_as_a_prediction_that_passes_the_check():
    drawn = [
        {**box("b", x=10.5), "meta": {"text": ["odd thumb"]}, "readonly": True, "score": 0.4},
        choice("b", "body_part", "face"),
        box("p", label="person", x=40),
        point("n", "nose", 45, 20, parent="p"),
    ]
    made = kept(keep(drawn), CONFIG)
    assert problems(made, CONFIG) == []
    assert [one["id"] for one in made] == ["b", "b", "p", "n"]
    first, second, _, last = made
    assert first["value"] == drawn[0]["value"]
    assert first["meta"] == {"text": ["odd thumb"], "source": "annotation"}
    assert (first["score"], last["score"]) == (1.0, 1.0)
    assert last["parentID"] == "p"
    assert second["value"]["choices"] == ["face"]
    assert all(not {"origin", "readonly"} & set(one) for one in made)
    assert "score" not in second


def test_shapes_that_are_no_marks_come_back_too():
    drawn = [
        box("t", rotation=300, x=-3),
        region("o", "outline", "polygonlabels", points=[[1, 1], [2, 2], [3, 1]],
               polygonlabels=["hair"]),
        {"from_id": "t", "to_id": "o", "type": "relation", "direction": "right"},
        {"id": "s", "from_name": "scene", "to_name": "image", "type": "choices",
         "value": {"choices": ["indoors"]}},
        {"id": "w", "from_name": "note", "to_name": "image", "type": "textarea",
         "value": {"text": ["a hand"]}},
    ]  # fmt: skip
    made = kept(keep(drawn), CONFIG)
    assert problems(made, CONFIG) == []
    assert len(made) == 5
    assert made[0]["value"] == drawn[0]["value"]


def test_a_turned_box_begins_at_a_corner_that_label_studio_imports():
    drawn = box(rotation=60, x=101)
    (made,) = kept(keep([drawn]), CONFIG)
    assert problems([made], CONFIG) == []
    assert upright_box(made["value"], HW) == pytest.approx(upright_box(drawn["value"], HW), abs=0.1)


def test_a_turned_box_that_lies_outside_is_left_out():
    assert kept(keep([box(rotation=60, x=150)]), CONFIG) == []


def test_ids_with_the_editors_own_mark_are_renamed_wherever_they_stand():
    made = kept(
        keep(
            [
                box("p#1", label="person"),
                choice("p#1", "quality", "dark"),
                point("n#1", "nose", 20, 20, parent="p#1"),
                {"type": "relation", "from_id": "p#1", "to_id": "n#1", "direction": "bi"},
            ]
        ),
        CONFIG,
    )
    assert problems(made, CONFIG) == []
    assert [one.get("id") for one in made] == ["p-1", "p-1", "n-1", None]
    assert (made[2]["parentID"], made[3]["from_id"]) == ("p-1", "p-1")


def test_what_the_config_has_no_place_for_any_more_goes_with_all_that_hangs_on_it():
    drawn = [
        box("old", label="renamed"),
        choice("old", "body_part", "face"),
        point("n", "nose", 20, 20, parent="old"),
        {"type": "relation", "from_id": "old", "to_id": "b", "direction": "right"},
        box("b"),
        choice("b", "body_part", "tail"),
    ]
    assert [one["id"] for one in kept(keep(drawn), CONFIG)] == ["b"]


@pytest.mark.parametrize(
    ("x", "width", "expected"),
    [
        (0.1, 99.9, (0.1, 99.9)),
        (-1e-13, 100.00000001, (0, 100)),
        (-5, 20, (0, 15)),
        (90, 20, (90, 10)),
    ],
)
def test_what_of_a_box_lies_outside_the_image_is_cut_off(x, width, expected):
    (made,) = kept(keep([box(x=x, width=width)]), CONFIG)
    assert (made["value"]["x"], made["value"]["width"]) == expected
    assert problems([made], CONFIG) == []


def test_letters_of_all_languages_are_kept_compactly():
    assert keep([{"id": "é"}]) == '[{"id":"é"}]'.encode()
    assert json.loads(keep([box()])) == [box()]


@pytest.mark.parametrize("turn", [float("nan"), float("inf"), "a little"])
def test_a_rotation_that_is_no_angle_is_not_given_back(turn):
    config = parse(
        '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
        '<Label value="cat"/></RectangleLabels></View>'
    )
    value = {"x": 1.0, "y": 1.0, "width": 5.0, "height": 5.0, "rotation": turn}
    region = {
        "id": "a",
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 100,
        "original_height": 100,
        "value": {**value, "rectanglelabels": ["cat"]},
    }
    assert kept(keep([region]), config) == []
