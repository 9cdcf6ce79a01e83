"""Where ink goes, and where it does not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prelabel import keypoints
from prelabel.preview.overlay import (
    BOX_COLOURS,
    FACE_LINKS,
    GROUP_COLOURS,
    SKY,
    VERMILION,
    WHITE,
    draw,
)
from prelabel.preview.plates import FONTS, Plate, _load_font, put_plates

GREY = np.full((480, 640, 3), 128, np.uint8)


def inked(drawn, picture=GREY):
    """Where the picture was changed: left, top, right, bottom."""
    rows, columns = np.nonzero((drawn != picture).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def has_colour(pixels, colour):
    return (np.abs(pixels.astype(int) - colour).max(axis=-1) < 30).any()


def test_nothing_found_leaves_the_picture_as_it_is(made):
    drawn = draw(GREY, made.boxes(), made.people())
    assert (drawn == GREY).all()
    assert drawn is not GREY


def test_the_picture_that_is_given_is_not_changed(made):
    given_picture = GREY.copy()
    draw(given_picture, made.boxes((100, 100, 300, 300)), made.people((50, 50, 400, 400)))
    assert (given_picture == GREY).all()


def test_a_box_is_drawn_at_its_edges_and_its_inside_stays_free(made):
    drawn = draw(GREY, made.boxes((200, 200, 400, 400)), made.people())
    for place in (drawn[200, 300], drawn[400, 300], drawn[300, 200], drawn[300, 400]):
        assert has_colour(place, VERMILION)
    assert (drawn[210:390, 210:390] == GREY[210:390, 210:390]).all()


def test_labels_have_colours_of_their_own(made):
    boxes = made.boxes((50, 100, 150, 300), (300, 100, 500, 300), labels=["b", "a"])
    drawn = draw(GREY, boxes, made.people())
    assert has_colour(drawn[200, 300], BOX_COLOURS[0])
    assert has_colour(drawn[200, 50], BOX_COLOURS[1])


def test_a_person_without_keypoints_looks_like_the_others(made):
    place = (50, 100, 150, 300)
    lone = made.boxes(place, labels=["person"], parts=[None])
    person = replace(made.people(place, seen=[]), box_scores=lone.scores)
    as_box, as_person = draw(GREY, lone, made.people()), draw(GREY, made.boxes(), person)
    assert (as_box == as_person).all()
    assert (as_box != GREY).any()


@pytest.mark.parametrize("group", keypoints.GROUPS)
def test_each_group_of_keypoints_has_its_colour(made, group):
    people = made.people((50, 50, 600, 450), seen=keypoints.GROUPS[group])
    drawn = draw(GREY, made.boxes(), people)
    for index in keypoints.GROUPS[group]:
        x, y = people.keypoints_xy[0, index].round().astype(int)
        assert has_colour(drawn[y - 2 : y + 3, x - 2 : x + 3], GROUP_COLOURS[group])


def test_a_keypoint_that_was_not_found_is_not_drawn_nor_are_its_lines(made):
    wrist, elbow = keypoints.INDEX["left_wrist"], keypoints.INDEX["left_elbow"]
    one = draw(GREY, made.boxes(), made.people((50, 50, 600, 450), seen=[wrist]))
    both = draw(GREY, made.boxes(), made.people((50, 50, 600, 450), seen=[wrist, elbow]))
    none = draw(GREY, made.boxes(), made.people((50, 50, 600, 450), seen=[]))
    ink = [(drawn != none).any(axis=2).sum() for drawn in (one, both)]
    assert 0 < ink[0] < ink[1] / 2


def test_lines_grow_with_the_picture(made):
    def width(scale):
        picture = np.full((240 * scale, 320 * scale, 3), 128, np.uint8)
        box = np.array([100, 100, 200, 200]) * scale
        drawn = draw(picture, made.boxes(box), made.people())
        left, _, _, _ = inked(drawn[120 * scale : 121 * scale], picture[120 * scale : 121 * scale])
        return (100 * scale - left) * 2

    assert width(1) <= 4
    assert 12 <= width(8) <= 32


def test_keypoints_outside_the_picture_do_no_harm(made):
    people = made.people((-5000.0, -5000.0, 9000.0, 9000.0))
    people.keypoints_xy[0, 0] = 1e30
    assert draw(GREY, made.boxes(), people).shape == GREY.shape


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(8, 90),
    width=st.integers(8, 900),
    corners=st.lists(st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)), max_size=5),
)
def test_any_picture_takes_any_boxes(made, height, width, corners):
    picture = np.full((height, width, 3), 90, np.uint8)
    boxes = [(x * width, y * height, (x + 0.1) * width, (y + 0.1) * height) for x, y in corners]
    drawn = draw(picture, made.boxes(*boxes), made.people())
    assert drawn.shape == picture.shape
    assert (drawn != picture).any() == bool(corners)


def changed_by(*plates):
    picture = GREY.copy()
    put_plates(picture, plates)
    return (picture != GREY).any(axis=2)


@pytest.mark.parametrize("count", range(7))
def test_texts_of_boxes_at_one_place_stand_apart(count):
    plate = Plate("hand 0.43", WHITE, np.array([200, 200, 400, 400], np.float32))
    one, all_of_them = changed_by(plate), changed_by(*[plate] * count)
    assert all_of_them.sum() == count * one.sum()


@pytest.mark.parametrize("corner", [(0, 0), (0, 440), (600, 0), (600, 440)])
def test_a_text_stays_in_the_picture_beside_a_box_at_its_edge(corner):
    box = np.array([*corner, corner[0] + 39, corner[1] + 39], np.float32)
    middle = np.array([300, 200, 340, 240], np.float32)
    at_edge, inside = (changed_by(Plate("hand 0.43", WHITE, place)) for place in (box, middle))
    assert at_edge.sum() == inside.sum()


def test_a_text_can_be_read_on_white_and_on_black(made):
    for level in (0, 255):
        picture = np.full((480, 640, 3), level, np.uint8)
        drawn = draw(picture, made.boxes((200, 200, 400, 400)), made.people())
        plate = drawn[180:198, 205:300].max(axis=2).astype(int)
        assert plate.max() - np.percentile(plate, 20) > 150


def test_letters_beyond_ascii_are_drawn_where_the_system_has_a_font_of_them():
    if _load_font(FONTS, 20).getname() == _load_font((), 20).getname():
        pytest.skip("no font of many scripts is installed")
    box = np.array([200, 200, 400, 400], np.float32)
    one, other = (changed_by(Plate(letter, WHITE, box)) for letter in "Äж")
    assert (one != other).any()


def test_every_link_of_a_face_joins_points_of_the_face():
    assert {index for link in FACE_LINKS for index in link} == set(keypoints.FACE)
    assert SKY in GROUP_COLOURS.values()
